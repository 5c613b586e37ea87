//! The arguments by which `TOPIC CREATE` and `TOPIC ALTER` say what a topic is made of.

use serde_json::Value;
use wafka_broker::TopicSpec;
use wafka_core::partitioner::Options;

use super::arguments::is_word;
use crate::command::CommandError;

/// ```text
/// [PARTITIONS count] [PARTITIONER name] [BACKEND name] [OPTION key value]…
/// ```
///
/// An option's value is JSON if it can be read as such (`true`, `64`, `"64"`), else the text itself; `null` takes the
/// option away.
#[derive(Default, PartialEq, Debug)]
pub(crate) struct SpecArgs {
    /// The number of partitions.
    partitions: Option<u16>,
    /// The strategy.
    partitioner: Option<String>,
    /// The storage backend.
    backend: Option<String>,
    /// Changes to its options.
    options: Options,
}

impl SpecArgs {
    /// Reads all that follows a topic's name.
    pub(crate) fn parse(args: &[&[u8]]) -> Result<Self, CommandError> {
        let mut spec = SpecArgs::default();
        let mut rest = args;
        loop {
            rest = match rest {
                [] => return Ok(spec),
                [word, count, rest @ ..] if is_word(word, "PARTITIONS") => {
                    spec.partitions = Some(partitions(count)?);
                    rest
                }
                [word, name, rest @ ..] if is_word(word, "PARTITIONER") => {
                    spec.partitioner = Some(text(name, "PARTITIONER")?.to_owned());
                    rest
                }
                [word, name, rest @ ..] if is_word(word, "BACKEND") => {
                    spec.backend = Some(text(name, "BACKEND")?.to_owned());
                    rest
                }
                [word, key, value, rest @ ..] if is_word(word, "OPTION") => {
                    spec.options.insert(text(key, "OPTION")?.to_owned(), option_value(value)?);
                    rest
                }
                _ => return Err(CommandError::syntax()),
            }
        }
    }

    /// [`SpecArgs::parse`] for `TOPIC ALTER`, which may change options only.
    pub(crate) fn parse_alter(args: &[&[u8]]) -> Result<Self, CommandError> {
        let spec = Self::parse(args)?;
        if spec.partitions.is_some() || spec.partitioner.is_some() || spec.backend.is_some() {
            return Err(
                "ERR a topic keeps its partitions, its partitioner and its backend for life: only OPTION can change"
                    .into(),
            );
        }
        Ok(spec)
    }

    /// `base` with what was said. Another strategy begins without options.
    pub(crate) fn apply(self, base: TopicSpec) -> TopicSpec {
        let (partitioner, mut options) = match self.partitioner {
            Some(name) if name != base.partitioner => (name, Options::new()),
            _ => (base.partitioner, base.options),
        };
        for (key, value) in self.options {
            if value.is_null() {
                options.remove(&key);
            } else {
                options.insert(key, value);
            }
        }
        TopicSpec {
            partitions: self.partitions.or(base.partitions),
            partitioner,
            options,
            backend: self.backend.or(base.backend),
        }
    }
}

fn partitions(arg: &[u8]) -> Result<u16, CommandError> {
    let number = std::str::from_utf8(arg).ok().and_then(|text| text.parse().ok());
    number.filter(|number| *number > 0).ok_or("ERR PARTITIONS must be a number from 1 to 65535".into())
}

fn text<'a>(arg: &'a [u8], what: &'static str) -> Result<&'a str, CommandError> {
    std::str::from_utf8(arg).map_err(|_| CommandError::Reply(format!("ERR {what}: expected UTF-8").into()))
}

fn option_value(arg: &[u8]) -> Result<Value, CommandError> {
    let text = text(arg, "OPTION")?;
    Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn args(line: &str) -> Vec<&[u8]> {
        line.split(' ').filter(|word| !word.is_empty()).map(str::as_bytes).collect()
    }

    fn applied(line: &str) -> TopicSpec {
        let base = TopicSpec {
            partitions: Some(3),
            partitioner: "key".to_owned(),
            backend: None,
            options: Options::from_iter([("partition_key".to_owned(), json!("truck"))]),
        };
        SpecArgs::parse(&args(line)).unwrap().apply(base)
    }

    #[test]
    fn what_is_not_said_stays() {
        assert_eq!(SpecArgs::parse(&[]).unwrap(), SpecArgs::default());
        let spec = applied("PARTITIONS 5");
        assert_eq!((spec.partitions, spec.partitioner.as_str()), (Some(5), "key"));
        assert_eq!(spec.options["partition_key"], json!("truck"));
    }

    #[test]
    fn another_strategy_begins_without_options() {
        let spec = applied("partitioner jump option seed 7 option salt x");
        assert_eq!((spec.partitions, spec.partitioner.as_str()), (Some(3), "jump"));
        assert_eq!(json!(spec.options), json!({"seed": 7, "salt": "x"}));
    }

    #[test]
    fn the_backend_is_told() {
        assert_eq!(applied("PARTITIONS 5").backend, None);
        assert_eq!(applied("backend sqlite").backend.as_deref(), Some("sqlite"));
    }

    #[test]
    fn values_are_json_or_text() {
        let spec =
            applied("OPTION a true OPTION b \"5\" OPTION c 5 OPTION d trück OPTION partition_key null");
        assert_eq!(json!(spec.options), json!({"a": true, "b": "5", "c": 5, "d": "trück"}));
    }

    #[test]
    fn errors() {
        let error = |line| SpecArgs::parse(&args(line)).unwrap_err().to_string();
        for line in ["PARTITIONS", "PARTITIONER", "OPTION key", "NOPE 1", "OPTION"] {
            assert_eq!(error(line), "ERR syntax error", "{line}");
        }
        for line in ["PARTITIONS 0", "PARTITIONS x", "PARTITIONS 65536", "PARTITIONS -1"] {
            assert_eq!(error(line), "ERR PARTITIONS must be a number from 1 to 65535", "{line}");
        }
        let bad: [&[u8]; 2] = [b"PARTITIONER", b"\xff"];
        assert_eq!(SpecArgs::parse(&bad).unwrap_err().to_string(), "ERR PARTITIONER: expected UTF-8");
    }

    #[test]
    fn only_options_can_change() {
        let error = |line| SpecArgs::parse_alter(&args(line)).unwrap_err().to_string();
        assert!(error("PARTITIONS 4 OPTION a b").contains("for life"));
        assert!(error("PARTITIONER key").contains("for life"));
        assert!(error("BACKEND text").contains("for life"));
        assert_eq!(error("OPTION a"), "ERR syntax error");
        assert!(SpecArgs::parse_alter(&[]).is_ok());
        assert!(SpecArgs::parse_alter(&args("OPTION a b")).is_ok());
    }
}
