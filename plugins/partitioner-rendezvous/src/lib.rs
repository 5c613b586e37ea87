//! The partitioner `rendezvous`: weighted rendezvous hash (highest random weight) of a field's value.
//!
//! Each partition has a score for each value, from their hash and the partition's weight, and the highest score wins: see
//! [`rendezvous`]. A partition with twice the weight of another gets twice as many values, for a
//! broker with the larger disk; one with the weight 0 gets none. Where one weight changes, values move to that
//! partition or from it, never between the others. The cost grows with the number of partitions: some 4 ns for
//! each, some 10 where the weights differ.
//!
//! An event without the field goes round-robin, whatever the weights, and the topic counts it (`unkeyed_events` in
//! `TOPIC DESCRIBE`). Events that were written stay where they are when the weights are altered (`TOPIC ALTER`).
//!
//! ```toml
//! [[plugins]]
//! path = "/usr/lib/wafka/libwafka_partitioner_rendezvous.so"
//!
//! [topics.deliveries]
//! partitions = 3
//! partitioner = "rendezvous"
//! partition_key = "truck"
//! weights = [1, 1, 2.5]
//! ```
//!
//! | option | what | default |
//! |---|---|---|
//! | `partition_key` | the name of the field whose value decides | required |
//! | `weights` | a number for each partition: 0, or from 0.001 to 1000000; not all 0 | all the same |

pub mod rendezvous;

use rendezvous::Rendezvous;
use serde::Deserialize;
use wafka_plugin_sdk::{
    Error, Event, FieldName, OptionsError, Partitioner, Route, Topic, export_partitioner,
};

/// The options of the strategy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    partition_key: FieldName,
    weights: Option<Vec<f64>>,
}

/// The strategy at work for one topic.
#[derive(Debug)]
pub struct Strategy {
    field: FieldName,
    partitions: Rendezvous,
}

impl Partitioner for Strategy {
    type Options = Options;

    fn new(options: Options, topic: &Topic<'_>) -> Result<Self, OptionsError> {
        let partitions = match &options.weights {
            None => Rendezvous::new(topic.partitions()),
            Some(weights) => {
                check(weights, topic.partitions()).map_err(|text| OptionsError::new("weights", text))?;
                Rendezvous::weighted(weights)
            }
        };
        Ok(Strategy { field: options.partition_key, partitions })
    }

    fn route(&mut self, event: &Event<'_>) -> Result<Route, Error> {
        let value = event.get(self.field.as_bytes());
        Ok(value.map_or(Route::Unkeyed, |value| Route::Partition(self.partitions.choose(value))))
    }
}

/// What is wrong with the weights.
fn check(weights: &[f64], partitions: u16) -> Result<(), String> {
    let allowed = |weight: &f64| *weight == 0.0 || (0.001..=1_000_000.0).contains(weight);
    if weights.len() != usize::from(partitions) {
        return Err(format!("found {}, expected {partitions}: one for each partition", weights.len()));
    }
    if let Some(weight) = weights.iter().find(|weight| !allowed(weight)) {
        return Err(format!("found {weight}, expected 0, or a number from 0.001 to 1000000"));
    }
    if weights.iter().all(|weight| *weight == 0.0) {
        return Err("found 0 for all, expected a partition that events can go to".to_owned());
    }
    Ok(())
}

export_partitioner!(Strategy, name = "rendezvous", route_version = 1);

#[cfg(test)]
mod tests {
    use wafka_plugin_sdk::testing::strategy;

    use super::*;

    #[test]
    fn values_land_by_their_weights() {
        let mut even = strategy::<Strategy>(r#"{"partition_key":"truck"}"#, 4).unwrap();
        let json = r#"{"partition_key":"truck","weights":[1,2,3,4]}"#;
        let mut weighted = strategy::<Strategy>(json, 4).unwrap();
        // As in `rendezvous::tests`.
        for (value, of_even, of_weighted) in [("21", 1, 1), ("trück", 0, 3), ("100:48069", 3, 3)] {
            assert_eq!(even.route(&[("truck", value)]), Ok(Route::Partition(of_even)));
            assert_eq!(weighted.route(&[("truck", value)]), Ok(Route::Partition(of_weighted)));
        }
        assert_eq!(weighted.route(&[("other", "21")]), Ok(Route::Unkeyed));
    }

    #[test]
    fn options_are_checked() {
        let weights = |list: &str| format!(r#"{{"partition_key":"a","weights":{list}}}"#);
        for (json, option, part) in [
            ("{}".to_owned(), "partition_key", "missing"),
            (r#"{"partition_key":""}"#.to_owned(), "partition_key", "empty"),
            (r#"{"partition_key":"a","weight":1}"#.to_owned(), "weight", "unknown"),
            (weights("[1,2]"), "weights", "found 2, expected 3"),
            (weights("[1,2,3,4]"), "weights", "found 4, expected 3"),
            (weights("[1,-2,3]"), "weights", "found -2"),
            (weights("[1,1e-9,3]"), "weights", "found 0.000000001"),
            (weights("[1,2e6,3]"), "weights", "found 2000000"),
            (weights("[0,0,0]"), "weights", "found 0 for all"),
            (weights("[1,\"2\",3]"), "weights[1]", "invalid type"),
        ] {
            let error = strategy::<Strategy>(&json, 3).err().unwrap();
            assert_eq!(error.option(), option, "{json}");
            assert!(error.expected().contains(part), "{json}: {error}");
        }
        assert!(strategy::<Strategy>(&weights("[0,0.001,1000000]"), 3).is_ok());
    }
}
