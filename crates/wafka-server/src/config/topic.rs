//! `[topic_defaults]` and `[topics.NAME]`: where a topic's events are, and how they are spread over partitions.

use serde::de::{Deserialize, Deserializer, Error};
use serde_json::{Map, Value};

/// The strategy of topics that name none.
pub const DEFAULT_PARTITIONER: &str = "round-robin";

/// What the configuration says about a topic, or about those of which it says nothing else.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TopicConfig {
    /// The number of partitions; `None`, also written as 0, is one on every broker.
    pub partitions: Option<u16>,
    /// The strategy that chooses a partition; `None` is that of `[topic_defaults]`, there [`DEFAULT_PARTITIONER`].
    pub partitioner: Option<String>,
    /// The storage backend; `None` is that of `[topic_defaults]`, there that of `[storage]`.
    pub backend: Option<String>,
    /// All other keys: the strategy's own options, which it checks itself.
    pub options: Map<String, Value>,
}

impl<'de> Deserialize<'de> for TopicConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut options = Map::deserialize(deserializer)?;
        let partitions = options.remove("partitions").map(|value| partitions(&value)).transpose();
        let partitioner = options.remove("partitioner").map(partitioner).transpose();
        let backend = options.remove("backend").map(backend).transpose();
        Ok(TopicConfig {
            partitions: partitions.map_err(D::Error::custom)?.filter(|n| *n > 0),
            partitioner: partitioner.map_err(D::Error::custom)?,
            backend: backend.map_err(D::Error::custom)?,
            options,
        })
    }
}

/// A number, or the text of one: the environment has only texts.
fn partitions(value: &Value) -> Result<u16, String> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_u64().and_then(|n| u16::try_from(n).ok()),
        _ => None,
    };
    number.ok_or_else(|| {
        format!(
            "partitions: found {value}, expected a number of partitions from 0 (one on every broker) to 65535"
        )
    })
}

fn partitioner(value: Value) -> Result<String, String> {
    match value {
        Value::String(name) if !name.is_empty() => Ok(name),
        other => Err(format!(
            "partitioner: found {other}, expected the name of a strategy, such as \"round-robin\""
        )),
    }
}

fn backend(value: Value) -> Result<String, String> {
    match value {
        Value::String(name) if !name.is_empty() => Ok(name),
        other => {
            Err(format!("backend: found {other}, expected the name of a storage backend, such as \"text\""))
        }
    }
}
