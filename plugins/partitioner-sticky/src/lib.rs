//! The partitioner `sticky`: events stay on one partition for one commit window.
//!
//! Where round-robin spreads the events that are committed together over all partitions, this strategy writes them to one
//! file, and the next ones to the next file: as many events in fewer, larger writes. It is what Kafka's producer does with
//! events without a key since version 2.4 (KIP-480, "Sticky Partitioner"): an event goes to the partition whose batch is
//! open; when that batch is on its way, the next event opens one on another partition.
//!
//! The *commit window* is the time for which a batch takes events: until its broker is ready to write it. A pipeline of
//! events stays together, as do the events of many producers while a sync is under way; a producer that waits for
//! each reply has a window for each event, so its events go round-robin. Over many windows the partitions get as many
//! windows each, but not as many events. Kafka chooses the next partition at random among those that are available; this
//! takes the next in the topic's cycle that is online, so that n windows over p partitions differ by at most one.
//! A window ends early when its partition goes offline, or when as much waits for it as `storage.queue_bytes_max` allows.
//!
//! Events that have a place of their own, by a key or because the producer named the partition, take no part in this:
//! where such an event opens a batch after the sticky one was taken, the next event without a place opens one on
//! the next partition, as a new batch on the sticky partition makes Kafka's producer move on.
//!
//! With `partition_key`, events that have this field go where Kafka's producer puts their key, as with the built-in
//! strategy `key`, and only those without it are sticky.
//!
//! ```toml
//! [[plugins]]
//! path = "/usr/lib/wafka/libwafka_partitioner_sticky.so"
//!
//! [topics.clicks]
//! partitions = 4
//! partitioner = "sticky"
//! ```
//!
//! | option | what | default |
//! |---|---|---|
//! | `partition_key` | the name of a field whose value decides, for events that have it | none: all events are sticky |

use serde::Deserialize;
use wafka_core::partitioner::kafka_partition;
use wafka_plugin_sdk::{
    Error, Event, FieldName, OptionsError, Partitioner, Route, Topic, export_partitioner,
};

/// The options of the strategy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    partition_key: Option<FieldName>,
}

/// The strategy at work for one topic.
#[derive(Debug)]
pub struct Sticky {
    field: Option<FieldName>,
}

impl Partitioner for Sticky {
    type Options = Options;

    fn new(options: Options, _topic: &Topic<'_>) -> Result<Self, OptionsError> {
        Ok(Sticky { field: options.partition_key })
    }

    fn route(&mut self, event: &Event<'_>) -> Result<Route, Error> {
        if let Some(value) = self.field.as_ref().and_then(|field| event.get(field.as_bytes())) {
            return Ok(Route::Partition(kafka_partition(value, event.partitions())));
        }
        // Without a preference, the topic's cycle turns to its next partition that is online, and a batch is opened there.
        Ok(event.open_partition().map_or(Route::Any, Route::Partition))
    }
}

export_partitioner!(Sticky, name = "sticky", route_version = 1);

#[cfg(test)]
mod tests {
    use wafka_plugin_sdk::testing::strategy;

    use super::*;

    /// What becomes of it in the engine, with Kafka's own cases: `crates/wafka-broker/tests/engine/routing.rs`.
    #[test]
    fn events_go_into_the_open_batch_or_anywhere() {
        let mut sticky = strategy::<Sticky>("{}", 3).unwrap();
        assert_eq!(sticky.route_with_open(&[("f", "v")], Some(2)), Ok(Route::Partition(2)));
        assert_eq!(sticky.route_with_open(&[("f", "v")], None), Ok(Route::Any));
    }

    /// The numbers are from Kafka's tests: see `wafka_core::partitioner::kafka_partition`.
    #[test]
    fn events_with_a_key_go_by_their_key() {
        let mut sticky = strategy::<Sticky>(r#"{"partition_key":"truck"}"#, 12).unwrap();
        assert_eq!(sticky.route_with_open(&[("truck", "100:48069")], Some(3)), Ok(Route::Partition(9)));
        assert_eq!(sticky.route_with_open(&[("other", "100:48069")], Some(3)), Ok(Route::Partition(3)));
        assert_eq!(sticky.route(&[("other", "100:48069")]), Ok(Route::Any));
    }

    #[test]
    fn options_are_checked() {
        for (json, option) in
            [(r#"{"partition_key":""}"#, "partition_key"), (r#"{"partitionkey":"a"}"#, "partitionkey")]
        {
            assert_eq!(strategy::<Sticky>(json, 4).err().unwrap().option(), option, "{json}");
        }
    }
}
