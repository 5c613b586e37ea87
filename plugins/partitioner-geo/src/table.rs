//! Which label belongs to which partition.

use std::collections::BTreeMap;

use serde::Deserialize;
use wafka_plugin_sdk::{FieldName, OptionsError};

/// The options of the strategy.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The name of the field that holds the label.
    pub partition_key: FieldName,
    /// The partition of each label, by its number, from 1 as in `topic#1`.
    pub labels: BTreeMap<String, u16>,
    /// What becomes of an event whose label is not in the table, or that has none.
    #[serde(default)]
    pub unknown: Unknown,
}

/// What becomes of an event without a label that the table knows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Deserialize)]
#[serde(try_from = "UnknownOption")]
pub enum Unknown {
    /// It is refused.
    #[default]
    Refuse,
    /// It goes round-robin, and is counted.
    RoundRobin,
    /// It goes to the partition of this number, from 1.
    Partition(u16),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum UnknownOption {
    Word(String),
    Number(u16),
    Other(serde::de::IgnoredAny),
}

impl TryFrom<UnknownOption> for Unknown {
    type Error = &'static str;

    fn try_from(option: UnknownOption) -> Result<Self, Self::Error> {
        match option {
            UnknownOption::Word(word) if word == "error" => Ok(Unknown::Refuse),
            UnknownOption::Word(word) if word == "round-robin" => Ok(Unknown::RoundRobin),
            UnknownOption::Number(number) => Ok(Unknown::Partition(number)),
            _ => Err("expected \"error\", \"round-robin\" or a partition's number"),
        }
    }
}

impl Options {
    /// Checks that the options fit a topic of so many partitions.
    ///
    /// # Errors
    /// When they do not: the first option that does not, and what was expected.
    pub fn check(&self, partitions: u16) -> Result<(), OptionsError> {
        let misfit = |option: &str, expected: String| Err(OptionsError::new(option, expected));
        let range = 1..=partitions;
        if self.labels.is_empty() {
            return misfit("labels", "found none, expected a table of labels and partitions".into());
        }
        if let Some((label, number)) = self.labels.iter().find(|(_, number)| !range.contains(number)) {
            let expected = format!(
                "found partition {number} for label '{label}', expected 1 to {partitions}: so many has the topic"
            );
            return misfit("labels", expected);
        }
        match self.unknown {
            Unknown::Partition(number) if !range.contains(&number) => {
                let expected =
                    format!("found partition {number}, expected 1 to {partitions}: so many has the topic");
                misfit("unknown", expected)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(json: &str) -> Result<Options, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn checked(json: &str, partitions: u16) -> Result<(), String> {
        options(json)?.check(partitions).map_err(|error| format!("{}: {}", error.option(), error.expected()))
    }

    #[test]
    fn options_are_read() {
        let found = options(r#"{"partition_key":"region","labels":{"eu":1,"us":2}}"#).unwrap();
        let labels = BTreeMap::from([("eu".to_owned(), 1), ("us".to_owned(), 2)]);
        let partition_key = FieldName::try_from("region".to_owned()).unwrap();
        assert_eq!(found, Options { partition_key, labels, unknown: Unknown::Refuse });
        for (text, unknown) in [
            ("\"error\"", Unknown::Refuse),
            ("\"round-robin\"", Unknown::RoundRobin),
            ("3", Unknown::Partition(3)),
        ] {
            let json = format!(r#"{{"partition_key":"r","labels":{{"eu":1}},"unknown":{text}}}"#);
            assert_eq!(options(&json).unwrap().unknown, unknown, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (json, part) in [
            (r#"{"labels":{"eu":1}}"#, "missing field `partition_key`"),
            (r#"{"partition_key":"r"}"#, "missing field `labels`"),
            (r#"{"partition_key":"","labels":{"eu":1}}"#, "found an empty name"),
            (r#"{"partition_key":"r","labels":{}}"#, "labels: found none"),
            (r#"{"partition_key":"r","labels":{"eu":"1"}}"#, "invalid type: string"),
            (r#"{"partition_key":"r","labels":{"eu":1,"us":0}}"#, "found partition 0 for label 'us'"),
            (r#"{"partition_key":"r","labels":{"eu":3}}"#, "expected 1 to 2: so many has the topic"),
            (r#"{"partition_key":"r","labels":{"eu":1},"unknown":3}"#, "unknown: found partition 3"),
            (r#"{"partition_key":"r","labels":{"eu":1},"unknown":0}"#, "unknown: found partition 0"),
            (r#"{"partition_key":"r","labels":{"eu":1},"unknown":"x"}"#, "expected \"error\""),
            (r#"{"partition_key":"r","labels":{"eu":1},"unknown":1.5}"#, "expected \"error\""),
            (r#"{"partition_key":"r","labels":{"eu":1},"default":1}"#, "unknown field `default`"),
        ] {
            let error = checked(json, 2).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        }
        assert_eq!(checked(r#"{"partition_key":"r","labels":{"eu":1,"us":2},"unknown":2}"#, 2), Ok(()));
    }
}
