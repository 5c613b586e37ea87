//! Values of journal records as text: ids, runs of ids, and byte strings.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wafka_core::EventId;

/// A run of ids read from a journal is refused when it is longer: no line that was written has such a run.
const RUN_MAX: u64 = 1 << 20;

/// An event id as text, `ms-seq`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IdText(pub(crate) EventId);

impl Serialize for IdText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for IdText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        EventId::parse(text.as_bytes(), 0).map(IdText).map_err(Error::custom)
    }
}

/// Ids of one millisecond whose sequence numbers follow one another, as text: `ms-seq`, or `ms-first..last`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IdRun {
    pub(crate) ms: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl IdRun {
    pub(crate) fn of(id: EventId) -> Self {
        IdRun { ms: id.ms, first: id.seq, last: id.seq }
    }

    /// Takes `id` in if it is the next one.
    pub(crate) fn extend(&mut self, id: EventId) -> bool {
        let follows = id.ms == self.ms && self.last.checked_add(1) == Some(id.seq);
        let fits = follows && id.seq - self.first < RUN_MAX;
        if fits {
            self.last = id.seq;
        }
        fits
    }

    pub(crate) fn ids(self) -> impl Iterator<Item = EventId> {
        (self.first..=self.last).map(move |seq| EventId::new(self.ms, seq))
    }
}

/// Ids as runs, in the order given.
pub(crate) fn runs(ids: impl IntoIterator<Item = EventId>) -> Vec<IdRun> {
    let mut runs: Vec<IdRun> = Vec::new();
    for id in ids {
        if !runs.last_mut().is_some_and(|run| run.extend(id)) {
            runs.push(IdRun::of(id));
        }
    }
    runs
}

/// The ids of runs.
pub(crate) fn ids(runs: &[IdRun]) -> impl Iterator<Item = EventId> {
    runs.iter().flat_map(|run| run.ids())
}

impl Serialize for IdRun {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last {
            serializer.collect_str(&EventId::new(self.ms, self.first))
        } else {
            serializer.collect_str(&format_args!("{}-{}..{}", self.ms, self.first, self.last))
        }
    }
}

impl<'de> Deserialize<'de> for IdRun {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Some((first, last)) = text.split_once("..") else {
            return EventId::parse(text.as_bytes(), 0).map(IdRun::of).map_err(Error::custom);
        };
        let first = EventId::parse(first.as_bytes(), 0).map_err(Error::custom)?;
        let last = last.parse::<u64>().map_err(Error::custom)?;
        match last.checked_sub(first.seq) {
            Some(more) if more < RUN_MAX => Ok(IdRun { ms: first.ms, first: first.seq, last }),
            _ => Err(Error::custom("a run of ids goes up, and not too far")),
        }
    }
}

/// Bytes as text: a string when they are UTF-8, else `{"base64":"…"}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BytesText(pub(crate) Box<[u8]>);

impl From<&[u8]> for BytesText {
    fn from(bytes: &[u8]) -> Self {
        BytesText(bytes.into())
    }
}

impl Serialize for BytesText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &STANDARD.encode(&self.0))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for BytesText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Binary { base64: String },
        }
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(BytesText(text.into_bytes().into())),
            Form::Binary { base64 } => {
                STANDARD.decode(base64).map(|bytes| BytesText(bytes.into())).map_err(Error::custom)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn runs_are_written_like_this() {
        let seqs = |ms, from: u64, to: u64| (from..=to).map(move |seq| EventId::new(ms, seq));
        let all = runs(seqs(7, 0, 17).chain(seqs(7, 19, 19)).chain(seqs(9, 1, 2)));
        assert_eq!(serde_json::to_string(&all).unwrap(), r#"["7-0..17","7-19","9-1..2"]"#);
        assert_eq!(ids(&all).count(), 21);
    }

    #[test]
    fn a_run_that_is_too_long_or_goes_down_is_refused() {
        for bad in [r#""5-0..18446744073709551615""#, r#""5-7..6""#, r#""5-1..x""#, r#""5..7-1""#, r#""-""#] {
            assert!(serde_json::from_str::<IdRun>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        let binary = BytesText::from(&b"\xff\x00"[..]);
        assert_eq!(serde_json::to_string(&binary).unwrap(), r#"{"base64":"/wA="}"#);
        assert!(serde_json::from_str::<BytesText>(r#"{"base64":"*"}"#).is_err());
    }

    proptest! {
        #[test]
        fn runs_and_bytes_round_trip(pairs: Vec<(u8, u8)>, bytes: Vec<u8>) {
            let given: Vec<EventId> =
                pairs.iter().map(|(ms, seq)| EventId::new((*ms).into(), (*seq).into())).collect();
            let json = serde_json::to_string(&runs(given.iter().copied())).unwrap();
            let read: Vec<IdRun> = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(ids(&read).collect::<Vec<_>>(), given);
            let json = serde_json::to_string(&BytesText::from(&bytes[..])).unwrap();
            prop_assert_eq!(&*serde_json::from_str::<BytesText>(&json).unwrap().0, &bytes[..]);
        }
    }
}
