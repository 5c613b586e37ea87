//! Topics, routing, broker threads, group commit, watermark and reads: everything between the protocol and the logs.
//!
//! The way of an event: [`Topic::append`] gives it id, partition and offset and puts its line into the partition's
//! next batch; [`Engine::kick`] has the brokers write what is queued, one batch per log and one sync per turn; when the
//! topic's watermark covers the event, [`Topic::committed`] resolves and readers see it.

mod backends;
mod broker;
mod catalog;
mod creation;
mod degraded;
mod deletion;
mod engine;
mod error;
mod expiry;
mod group;
mod index;
pub mod lease;
mod lines;
mod namespace;
mod opening;
mod options;
mod partitioners;
mod placing;
mod starting;
mod tail;
mod ticket;
mod topic;
mod transaction;
mod wait;
mod watch;

pub use backends::{BackendLease, BackendSource, Backends};
pub use broker::NODE_ENTRIES;
pub use engine::{BrokerInfo, BrokerPartition, Engine};
pub use error::{AppendError, NoSuchPartition, ReadError, SetIdError, StartError, TopicError};
pub use expiry::Expiring;
pub use group::{
    AutoClaimRequest, AutoClaimed, ClaimRequest, Claimable, Claimed, ConsumerInfo, DeleteOutcome, Delivered,
    FullConsumer, FullGroup, GroupError, GroupInfo, GroupStart, LagMode, PendingEntry, PendingQuery,
    PendingSummary, Position, RefPolicy, ReleaseMode, ReleaseRequest, check_group_name,
};
pub use options::{DeclaredTopic, EngineOptions, FsyncPolicy, IndexPlace, ReclaimOptions, TopicSpec};
pub use partitioners::Partitioners;
pub use placing::{Placed, Placing};
pub use ticket::Ticket;
pub use topic::{
    AppendRequest, Appended, Committed, EntryFields, EntrySink, ExpireIf, Expiry, IdSink, IdSpec,
    IdempotenceChange, IdempotenceInfo, IdempotenceSettings, Idempotent, PartitionInfo, PartitionState,
    ReadRange, RecordError, SetId, Topic, TopicInfo, Trim, TrimStrategy,
};
pub use transaction::{Transaction, TransactionError};
pub use wait::wait;
pub use watch::{Arrival, Call, Changed, Turn, WatchPoint};
