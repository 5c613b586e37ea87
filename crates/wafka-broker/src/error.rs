//! What the engine answers when it cannot do what was asked. The texts begin with the error's RESP code.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use wafka_core::partitioner::PartitionerError;
use wafka_core::storage::StorageError;
use wafka_core::{EventId, PartitionId};

/// Why an event was not appended.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AppendError {
    /// The topic's last id is the highest there is.
    #[error("ERR The stream has exhausted the last possible ID, unable to add more items")]
    Exhausted,
    /// The id asked for does not go up.
    #[error("ERR The ID specified in XADD is equal or smaller than the target stream top item")]
    TooSmall,
    /// The id asked for is `0-0`.
    #[error("ERR The ID specified in XADD must be greater than 0-0")]
    Zero,
    /// The key names a partition that the topic does not have.
    #[error("NOPARTITION {0}")]
    NoSuchPartition(NoSuchPartition),
    /// The partition cannot be written to for now.
    #[error("OFFLINE partition {partition} of topic '{topic}': {reason}")]
    Offline {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionId,
        /// Why.
        reason: Arc<str>,
    },
    /// The topic cannot be written to.
    #[error("READONLY topic '{topic}': {reason}")]
    ReadOnly {
        /// The topic.
        topic: String,
        /// Why.
        reason: Arc<str>,
    },
    /// The topic's backend holds data that several servers reach, and this one does not own it now, or any more.
    #[error("{0}")]
    NotOwned(Arc<str>),
    /// The topic was deleted meanwhile; the caller looks its name up again.
    #[error("ERR the topic was deleted")]
    Deleted,
    /// The topic takes idempotent events only after [`crate::Topic::prepare_idempotence`].
    #[error("ERR the topic is not prepared for idempotent events")]
    NotPrepared,
    /// The topic remembers more of its producers than fits.
    #[error(
        "ERR what topic '{topic}' remembers of its producers takes more than {limit} bytes: lower IDMP-DURATION or \
         IDMP-MAXSIZE, or use fewer producer ids"
    )]
    TooManyProducers {
        /// The topic.
        topic: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The strategy failed.
    #[error("ERR {0}")]
    Partitioner(#[from] PartitionerError),
    /// The strategy has not returned from an earlier event.
    #[error(
        "BUSY partitioner '{partitioner}' ({origin}) has not returned for {:.1} s while routing another event of topic \
         '{topic}': this one is refused", .stuck_for.as_secs_f64()
    )]
    StrategyBusy {
        /// The topic.
        topic: String,
        /// The strategy.
        partitioner: String,
        /// Where it is from.
        origin: String,
        /// For about how long it has not returned.
        stuck_for: Duration,
    },
    /// A strategy chose a partition that does not exist.
    #[error("ERR the partitioner of topic '{topic}' chose index {index}, expected one below {partitions}")]
    BadRoute {
        /// The topic.
        topic: String,
        /// What it chose.
        index: u16,
        /// How many there are.
        partitions: u16,
    },
    /// The event's line would be longer than a line may be.
    #[error("ERR the event is too large: its line would have {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// How long the line would be, in bytes.
        bytes: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// Too much is accepted and not yet written.
    #[error("BUSY more than {limit} bytes wait to be written to partition {partition}; try again")]
    Overloaded {
        /// The partition.
        partition: PartitionId,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Trimming, asked for together with the append, failed before anything was appended.
    #[error("ERR trimming failed: {0}")]
    Trim(Arc<str>),
    /// The write's outcome is not known any more.
    #[error("UNKNOWN the outcome of this write is not known: its partition failed many times since")]
    Unknown,
}

/// A key named a partition that is not there.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("topic '{topic}' has partitions 1 to {partitions}, not {asked}")]
pub struct NoSuchPartition {
    /// The topic.
    pub topic: String,
    /// What was asked for.
    pub asked: String,
    /// How many there are.
    pub partitions: u16,
}

/// Why events could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A line within the range fails its check.
    #[error(
        "DAMAGED {log}: at byte {position}, after event {after}: {reason}; {next}",
        next = readable_from(next_readable)
    )]
    Damaged {
        /// The log.
        log: String,
        /// Where the line begins, in bytes.
        position: u64,
        /// The event before it.
        after: EventId,
        /// What is wrong.
        reason: String,
        /// The first event behind the damage, if any.
        next_readable: Option<EventId>,
    },
    /// The backend failed.
    #[error("IOERR {0}")]
    Storage(#[from] StorageError),
    /// The key names a partition that the topic does not have.
    #[error("NOPARTITION {0}")]
    NoSuchPartition(NoSuchPartition),
    /// What there is of the topic may be taken back.
    #[error("READONLY topic '{topic}' cannot be read either: {reason}")]
    Hidden {
        /// The topic.
        topic: String,
        /// Why.
        reason: Arc<str>,
    },
    /// The read was not to wait, and would have to.
    #[error("ERR the read would have to wait")]
    WouldWait,
    /// A write that belongs to the command was refused.
    #[error("{0}")]
    Refused(#[from] AppendError),
}

fn readable_from(next: &Option<EventId>) -> String {
    match next {
        Some(id) => format!("events from {id} on are readable"),
        None => "no event follows it in this file".to_owned(),
    }
}

/// Why a topic could not be made, changed or deleted.
#[derive(Debug, Error)]
pub enum TopicError {
    /// There is a topic of that name.
    #[error("TOPICEXISTS topic '{0}' exists already")]
    Exists(String),
    /// There is no topic of that name.
    #[error("ERR no such key")]
    Missing,
    /// The partition count is out of range.
    #[error("ERR a topic has 1 to {brokers} partitions (the number of brokers), not {asked}")]
    Partitions {
        /// What was asked for.
        asked: u16,
        /// How many there may be.
        brokers: u16,
    },
    /// A change that a topic's life does not allow.
    #[error("ERR {0}")]
    Fixed(String),
    /// The strategy or its options.
    #[error("ERR {0}")]
    Partitioner(#[from] PartitionerError),
    /// The backend failed.
    #[error("IOERR {0}")]
    Storage(#[from] StorageError),
    /// A file of that name is there already though the catalog knows nothing of it.
    #[error(
        "ERR {log} exists and holds {bytes} bytes, but no topic of the catalog owns it: move it away first"
    )]
    Orphan {
        /// The log.
        log: String,
        /// Its size.
        bytes: u64,
    },
    /// The topic's events cannot be read.
    #[error("{0}")]
    Unreadable(ReadError),
    /// What was to be done together with others failed for all of them.
    #[error("{0}")]
    Shared(Arc<TopicError>),
    /// The catalog cannot be written.
    #[error("ERR the catalog: {0}")]
    Catalog(String),
    /// It cannot be written to for the moment.
    #[error("READONLY topic '{topic}': {reason}")]
    Held {
        /// The topic.
        topic: String,
        /// Why.
        reason: Arc<str>,
    },
    /// Another server may own its data, or does.
    #[error("{0}")]
    NotOwned(Arc<str>),
    /// Its data is out of reach, and would be left behind.
    #[error("OFFLINE topic '{topic}' is not deleted: {error}")]
    OutOfReach {
        /// The topic.
        topic: String,
        /// Why.
        error: Box<StorageError>,
    },
    /// A transaction that is not at its end deleted the topic of that name.
    #[error("ERR topic '{0}' was deleted in this transaction: it can be made anew after EXEC")]
    DeletedInTransaction(String),
    /// A transaction about that name failed.
    #[error("READONLY a transaction on topic '{0}' failed, and is not taken back yet")]
    TransactionFailed(String),
}

/// Why `XSETID` was refused, in Redis's words.
#[derive(Debug, Error)]
pub enum SetIdError {
    /// The id is below the last event's.
    #[error("ERR The ID specified in XSETID is smaller than the target stream top item")]
    BelowTop,
    /// The id is below the highest deleted one.
    #[error("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id")]
    BelowDeleted,
    /// The count is below the topic's length.
    #[error("ERR The entries_added specified in XSETID is smaller than the target stream length")]
    AddedTooSmall,
    /// It could not be carried out.
    #[error(transparent)]
    Refused(#[from] AppendError),
    /// The backend failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why the engine did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The backend failed.
    #[error("{0}")]
    Storage(#[from] StorageError),
    /// The catalog is gone, and with it all knowledge of what there was.
    #[error(
        "storage backend '{backend}' has no catalog, or an empty one, although it was begun by an earlier start: expected \
         its data where it was; restore it (is its disk mounted?), or begin anew in an empty data directory"
    )]
    CatalogMissing {
        /// The backend that held it.
        backend: String,
    },
    /// The catalog is damaged.
    #[error("the catalog cannot be trusted: {0}")]
    Catalog(String),
    /// The log of transactions is damaged, or one cannot be taken back.
    #[error("the log of transactions cannot be trusted: {0}")]
    Transactions(String),
    /// A declared topic contradicts the catalog or cannot be made.
    #[error("topic '{topic}': {reason}")]
    Topic {
        /// The topic.
        topic: String,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A thread could not be started.
    #[error("cannot start a broker's thread: {0}")]
    Thread(#[source] std::io::Error),
}
