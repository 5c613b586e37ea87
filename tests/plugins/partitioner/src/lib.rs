//! A strategy that misbehaves as it is told.

#![allow(clippy::panic, reason = "panicking is what it is for")]

use serde::Deserialize;
use wafka_core::partitioner::kafka_partition;
use wafka_plugin_sdk::{Error, Event, OptionsError, Partitioner, Route, Topic, export_partitioner, log};

/// What it is told.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// What to do.
    #[serde(default)]
    behave: Behave,
}

/// What it does.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Behave {
    /// It routes by the length of the first value.
    #[default]
    Well,
    /// It routes by the field `truck` as the built-in strategy `key` does.
    ByKey,
    /// It panics when it is made.
    PanicInNew,
    /// It panics at an event that has the field `panic`.
    PanicInRoute,
    /// It panics when it is destroyed.
    PanicInDrop,
    /// It names a partition that there is not.
    BeyondTheLast,
    /// It fails with a text that is hard to show.
    FailOddly,
}

/// The strategy.
pub struct Odd {
    behave: Behave,
}

impl Partitioner for Odd {
    type Options = Options;

    fn new(options: Options, topic: &Topic<'_>) -> Result<Self, OptionsError> {
        log::debug!("made for {} with {} partitions", topic.name().escape_ascii(), topic.partitions());
        assert!(options.behave != Behave::PanicInNew, "told to panic in new");
        Ok(Odd { behave: options.behave })
    }

    fn route(&mut self, event: &Event<'_>) -> Result<Route, Error> {
        match self.behave {
            Behave::PanicInRoute if event.get(b"panic").is_some() => panic!("told to panic in route"),
            Behave::BeyondTheLast => Ok(Route::Partition(event.partitions())),
            Behave::FailOddly => Err(Error::new(format!("line\nbreak {}", "x".repeat(10_000)))),
            Behave::ByKey => Ok(event.get(b"truck").map_or(Route::Unkeyed, |value| {
                Route::Partition(kafka_partition(value, event.partitions()))
            })),
            _ => Ok(match event.fields().first() {
                None => Route::Unkeyed,
                Some(first) => {
                    let length = u16::try_from(first.value().len()).unwrap_or(u16::MAX);
                    Route::Partition(length % event.partitions())
                }
            }),
        }
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        assert!(self.behave != Behave::PanicInDrop, "told to panic in drop");
    }
}

export_partitioner!(Odd, name = "odd", route_version = 3);
