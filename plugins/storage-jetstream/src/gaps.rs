//! Where a log has gaps: single lines that were removed, and that a replica which is behind may still have; and so, how many
//! lines there are.

use std::ops::Range;

use futures_util::future::join_all;
use wafka_core::Offset;

use crate::api::{Api, Failure, StreamInfo};
use crate::segments::Segments;

/// With more places than these where lines may have been cut, nobody looks whether they were.
const LOOK_AT_MAX: usize = 64;
/// Nor are the lines counted of one that has room for more than so many.
const CUT_LINES_MAX: u64 = 2048;
/// So many messages are asked for at once.
const AT_ONCE: usize = 128;

/// What the numbers of a stream's leader say of a log.
pub(crate) struct Counts {
    /// From which offset on any replica may be asked for lines: none of those was ever removed by itself.
    pub any_from: Offset,
    /// How many lines there are, where that can be known.
    pub lines: Option<u64>,
}

impl Api {
    /// Counts the lines of a log. `info` is what the leader says, with the number of messages on the subject `lines`; `offsets`
    /// are those of the log's lines.
    pub(crate) async fn counts(
        &self,
        stream: &str,
        lines: &str,
        info: &StreamInfo,
        segments: &Segments,
        offsets: Range<Offset>,
    ) -> Result<Counts, Failure> {
        let span = offsets.end - offsets.start;
        let there = match info.state.subjects.get(lines) {
            _ if span == 0 => Some(0),
            None => None,
            // Lines that were cut are counted too.
            Some(there) => {
                let cut = self.cut_lines(stream, lines, segments, &offsets).await?;
                cut.and_then(|cut| there.checked_sub(cut))
            }
        };
        let lines = there.filter(|there| *there <= span && (*there > 0 || span == 0));
        let any_from = match lines {
            _ if !info.config.allow_direct => Offset::MAX,
            Some(lines) if lines == span => offsets.start,
            _ => offsets.end,
        };
        Ok(Counts { any_from, lines })
    }

    /// How many lines the stream holds that were cut; `None` where those are too many to be looked at.
    async fn cut_lines(
        &self,
        stream: &str,
        lines: &str,
        segments: &Segments,
        offsets: &Range<Offset>,
    ) -> Result<Option<u64>, Failure> {
        if segments.is_plain() {
            return Ok(Some(0));
        }
        let below = 1..segments.sequence_of(offsets.start);
        let between: Vec<Range<u64>> = segments.between(offsets.start).chain([below]).collect();
        if between.len() > LOOK_AT_MAX {
            return Ok(None);
        }
        let counts = between.into_iter().map(|sequences| self.lines_at(stream, lines, sequences));
        let mut sum = 0;
        for count in join_all(counts).await {
            let Some(count) = count? else { return Ok(None) };
            sum += count;
        }
        Ok(Some(sum))
    }

    /// How many of these sequences are messages on the subject `lines`; `None` where there may be too many.
    async fn lines_at(
        &self,
        stream: &str,
        lines: &str,
        sequences: Range<u64>,
    ) -> Result<Option<u64>, Failure> {
        let first = self.at_or_behind(stream, sequences.start, lines).await?;
        let Some(first) = first.filter(|line| line.sequence < sequences.end) else { return Ok(Some(0)) };
        if sequences.end - first.sequence > CUT_LINES_MAX {
            return Ok(None);
        }
        let (mut count, behind) = (1, first.sequence + 1..sequences.end);
        for some in behind.collect::<Vec<_>>().chunks(AT_ONCE) {
            for found in join_all(some.iter().map(|sequence| self.at(stream, *sequence))).await {
                count += u64::from(found?.is_some_and(|message| message.subject == lines));
            }
        }
        Ok(Some(count))
    }
}
