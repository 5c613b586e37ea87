//! Partitioning strategies: which partition of its topic an event goes to.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::fields::Fields;
pub use crate::kafka::kafka_partition;

/// What a strategy is told about an event.
#[derive(Clone, Copy, Debug)]
pub struct RouteRequest<'a> {
    /// The topic's name.
    pub topic: &'a [u8],
    /// The event's fields and values.
    pub fields: Fields<'a>,
    /// How many partitions the topic has, at least 1. It never changes during a topic's life.
    pub partitions: u16,
    /// The partition that the topic's last event without a preference ([`Route::Any`], [`Route::Unkeyed`]) went to, while
    /// the batch it went into is open: what goes there now is committed with it. `None` when its broker has taken that
    /// batch, when the batch is full, when the partition failed, and before there was any. A strategy that goes there as long as it can, and has
    /// no preference otherwise, keeps the events of one commit together and passes over partitions that are offline.
    pub open: Option<u16>,
}

/// A strategy's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// The partition at this 0-based index, below [`RouteRequest::partitions`]. When it is offline, the event is refused.
    Partition(u16),
    /// No preference: the topic's strictly cyclic round-robin decides, skipping partitions that are offline.
    Any,
    /// The event lacks what the strategy routes by: as [`Route::Any`], and the topic counts it.
    Unkeyed,
}

/// Why a strategy could not be made, or could not route.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PartitionerError {
    /// No strategy of that name is built in or loaded.
    #[error("unknown partitioner '{name}': expected one of {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are, comma-separated.
        known: String,
    },
    /// An option is missing, unknown or has a bad value.
    #[error("partitioner '{partitioner}': option '{option}': {expected}")]
    BadOption {
        /// The strategy.
        partitioner: String,
        /// The option's key.
        option: String,
        /// What is wrong and what was expected.
        expected: String,
    },
    /// The strategy failed to route an event.
    #[error("partitioner '{partitioner}' failed: {reason}")]
    Failed {
        /// The strategy.
        partitioner: String,
        /// Why.
        reason: String,
    },
    /// The strategy panicked while it routed an event: what it is in nobody knows, so it routes no more. Its topic is
    /// read-only until the strategy is made anew.
    #[error("partitioner '{partitioner}' failed: {reason}")]
    Panicked {
        /// The strategy.
        partitioner: String,
        /// What the panic said.
        reason: String,
    },
}

/// A strategy at work for one topic. Called for every event, in the order of their ids, by one thread at a time.
pub trait Partitioner: Send {
    /// Chooses the partition.
    ///
    /// # Errors
    /// When the strategy fails; the `XADD` is answered with the error and nothing is appended.
    fn route(&mut self, request: &RouteRequest<'_>) -> Result<Route, PartitionerError>;

    /// Of a strategy that is not the server's own, and may hang: what watches it. Its topic goes on while it routes, but
    /// for what is to be routed next. `None`, the default, is for strategies that never wait: they route under their
    /// topic's lock.
    fn watch(&self) -> Option<Arc<dyn RouteWatch>> {
        None
    }
}

/// What can be told of a strategy while it is called.
pub trait RouteWatch: Send + Sync {
    /// Where the strategy is from, for people: `plugin /usr/lib/jump.so`.
    fn origin(&self) -> String;

    /// For about how long the call under way has not returned. `None` when there is none, or it has not been noticed yet.
    fn stuck_for(&self) -> Option<Duration>;
}

/// A strategy's options: the keys of the topic's table that the topic itself does not know.
pub type Options = serde_json::Map<String, serde_json::Value>;

/// What a strategy is told about the topic it is made for.
#[derive(Clone, Copy, Debug)]
pub struct CreateRequest<'a> {
    /// The topic's name.
    pub topic: &'a [u8],
    /// How many partitions the topic has, at least 1. It never changes during a topic's life.
    pub partitions: u16,
    /// The strategy's options.
    pub options: &'a Options,
}

/// Makes a strategy for each topic that asks for it by name.
pub trait PartitionerFactory: Send + Sync {
    /// The name that configuration and catalog use.
    fn name(&self) -> &str;

    /// Changes whenever the strategy would route the same event elsewhere. A topic that was created under another
    /// version is read-only, never silently re-partitioned.
    fn version(&self) -> u32;

    /// Makes the strategy for one topic.
    ///
    /// # Errors
    /// When an option is missing, unknown or has a bad value, or does not fit the topic.
    fn create(&self, request: &CreateRequest<'_>) -> Result<Box<dyn Partitioner>, PartitionerError>;
}
