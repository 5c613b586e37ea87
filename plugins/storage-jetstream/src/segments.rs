//! Which sequence of the stream an offset has.
//!
//! A stream gives out its sequences once, and cannot take any back. Where the end of a log is cut off, the lines that
//! stood there stay in the stream and count no more: a message on the stream's other subject, the *cut*, says which offset
//! the next sequence has. As long as nothing was cut, an offset is its sequence minus one.
//!
//! A server that takes a log over cuts it where it ends, so that nothing that an earlier owner sent fits behind that. If
//! nothing was written since the last cut, the new one replaces it. So there is one segment, of some 16 bytes, for each time
//! that the log was taken over or cut *and* written to afterwards, as far back as the first line that is kept: a message
//! of 1 MB has room for some 25,000. With more the log is not taken over, and says why: servers with a larger `max_payload`
//! take it; from half of that on there is a warning.

use serde::{Deserialize, Serialize};
use wafka_core::Offset;

/// Sequences from `sequence` on, up to where the next segment begins, have the offsets from `offset` on. Written as
/// `[sequence, offset]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "(u64, Offset)", into = "(u64, Offset)")]
pub(crate) struct Segment {
    pub sequence: u64,
    pub offset: Offset,
}

impl From<(u64, Offset)> for Segment {
    fn from((sequence, offset): (u64, Offset)) -> Self {
        Segment { sequence, offset }
    }
}

impl From<Segment> for (u64, Offset) {
    fn from(segment: Segment) -> Self {
        (segment.sequence, segment.offset)
    }
}

/// All segments of a log, ascending by both. There is at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Segments(Vec<Segment>);

/// What a cut says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cut {
    /// All segments, the last of which begins behind the cut.
    pub segments: Vec<Segment>,
    /// The stream's last sequence when it was decided to cut: the cut is the next message.
    pub base: u64,
    /// That of its writer: no owner of a lower one writes behind it.
    pub epoch: u64,
    /// Its writer's address.
    pub owner: String,
    /// Who wrote it: a name that each opening of the backend has for itself.
    pub writer: String,
}

impl Default for Segments {
    fn default() -> Self {
        Segments(vec![Segment { sequence: 1, offset: 0 }])
    }
}

impl Segments {
    /// The segments that a cut names; what is wrong with them, else.
    pub(crate) fn from_cut(cut: &Cut) -> Result<Self, String> {
        let segments = &cut.segments;
        let ascends = segments
            .windows(2)
            .all(|pair| pair[0].sequence < pair[1].sequence && pair[0].offset < pair[1].offset);
        let follows = |segment: &Segment| segment.sequence > segment.offset;
        if segments.is_empty() || !ascends || !segments.iter().all(follows) {
            return Err(format!("its segments do not follow each other: {segments:?}"));
        }
        Ok(Segments(segments.clone()))
    }

    pub(crate) fn as_slice(&self) -> &[Segment] {
        &self.0
    }

    /// Whether every offset is its sequence minus one.
    pub(crate) fn is_plain(&self) -> bool {
        self.0 == [Segment { sequence: 1, offset: 0 }]
    }

    /// The sequence that this offset's line has, or will have.
    pub(crate) fn sequence_of(&self, offset: Offset) -> u64 {
        let at = self.0.partition_point(|segment| segment.offset <= offset).saturating_sub(1);
        let segment = self.0[at];
        segment.sequence + offset.saturating_sub(segment.offset)
    }

    /// The offset of the line with this sequence, if it counts; else that of the first line behind it.
    pub(crate) fn offset_from(&self, sequence: u64) -> Offset {
        let at = self.0.partition_point(|segment| segment.sequence <= sequence).saturating_sub(1);
        let segment = self.0[at];
        let offset = segment.offset + sequence.saturating_sub(segment.sequence);
        self.0.get(at + 1).map_or(offset, |next| offset.min(next.offset))
    }

    /// Where, from the line with this offset on, sequences stand that have no offset, and more than one of them: one alone is
    /// the cut itself.
    pub(crate) fn between(&self, first: Offset) -> impl Iterator<Item = std::ops::Range<u64>> {
        self.0.windows(2).filter(move |pair| pair[1].offset > first).filter_map(|pair| {
            let end = pair[0].sequence + (pair[1].offset - pair[0].offset);
            (pair[1].sequence - end > 1).then_some(end..pair[1].sequence)
        })
    }

    /// How many lines from offset `from` on have sequences without a break.
    pub(crate) fn unbroken(&self, from: Offset) -> u64 {
        let next = self.0.iter().find(|segment| segment.offset > from);
        next.map_or(u64::MAX, |next| next.offset - from)
    }

    /// The segments after a cut before offset `end`, when the next sequence is `sequence`.
    pub(crate) fn cut(&self, end: Offset, sequence: u64) -> Self {
        let mut segments = self.0.clone();
        segments.retain(|segment| segment.offset < end);
        segments.push(Segment { sequence, offset: end });
        Segments(segments)
    }

    /// The segments without those that hold nothing from offset `first` on: a log that is trimmed has few, however often
    /// it was cut.
    pub(crate) fn from(&self, first: Offset) -> Self {
        let gone = self.0.iter().skip(1).take_while(|next| next.offset <= first).count();
        Segments(self.0[gone..].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_its_sequence_minus_one_until_something_is_cut() {
        let segments = Segments::default();
        assert!(segments.is_plain());
        assert_eq!((segments.sequence_of(0), segments.sequence_of(41)), (1, 42));
        assert_eq!((segments.offset_from(0), segments.offset_from(42)), (0, 41));
        assert_eq!(segments.unbroken(5), u64::MAX);
    }

    #[test]
    fn what_was_cut_has_no_offset() {
        // Lines 0 to 5, of which 4 and 5 are cut by the message 7, then lines 4 and 5, again cut, by 10.
        let segments = Segments::default().cut(4, 8);
        assert!(!segments.is_plain());
        assert_eq!([3, 4, 5].map(|offset| segments.sequence_of(offset)), [4, 8, 9]);
        assert_eq!([4, 5, 6, 7, 8, 9].map(|sequence| segments.offset_from(sequence)), [3, 4, 4, 4, 4, 5]);
        assert_eq!((segments.unbroken(1), segments.unbroken(4)), (3, u64::MAX));
        assert!(segments.between(3).eq(std::iter::once(5..8)));
        assert_eq!(segments.between(4).count(), 0);
        let again = segments.cut(5, 11);
        assert_eq!([3, 4, 5, 6].map(|offset| again.sequence_of(offset)), [4, 8, 11, 12]);
        // A cut of everything behind the first lines makes the later segments nothing.
        let all = again.cut(2, 13);
        assert_eq!(all.as_slice().len(), 2);
        assert_eq!([1, 2, 3].map(|offset| all.sequence_of(offset)), [2, 13, 14]);
        assert_eq!(Segments::default().cut(0, 5).as_slice(), [Segment { sequence: 5, offset: 0 }]);
    }

    #[test]
    fn what_was_trimmed_is_forgotten() {
        let segments = Segments::default().cut(4, 8).cut(10, 20);
        assert_eq!(segments.from(3), segments);
        let trimmed = segments.from(4);
        assert_eq!(trimmed.as_slice().len(), 2);
        assert_eq!([4, 9, 10].map(|offset| trimmed.sequence_of(offset)), [8, 13, 20]);
        // What is below the first line is looked for where that stands.
        assert_eq!((trimmed.sequence_of(0), trimmed.offset_from(2)), (8, 4));
        assert_eq!(segments.from(1000).as_slice(), [Segment { sequence: 20, offset: 10 }]);
    }

    #[test]
    fn cuts_that_contradict_themselves_are_refused() {
        let cut = |segments: &[(u64, u64)]| Cut {
            segments: segments.iter().map(|&(sequence, offset)| Segment { sequence, offset }).collect(),
            base: 0,
            epoch: 1,
            owner: String::new(),
            writer: String::new(),
        };
        assert!(Segments::from_cut(&cut(&[(1, 0), (8, 4)])).is_ok());
        for bad in [&[][..], &[(8, 4), (1, 0)], &[(1, 0), (8, 0)], &[(3, 3)], &[(1, 0), (4, 9)]] {
            assert!(Segments::from_cut(&cut(bad)).is_err(), "{bad:?}");
        }
    }
}
