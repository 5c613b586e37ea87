//! The storage trait: everything durable is a log of lines, and a backend stores logs.
//!
//! A backend knows offsets and bytes, nothing else. Ids, the sparse id index, tombstones, groups and transactions live
//! above it and work the same on every backend. The lines it is given end in `\n`, hold a key `"offset"` with the
//! line's offset, and end in a checksum; a backend that keeps offsets itself may ignore both.
//!
//! ```text
//!             append            append                begin_sync().wait()
//!   ───────────┬─────────────────┬─────────────────────────┬──────────────▶ one log, one writer: its broker
//!   0 … e-1    │ e … e+k-1       │ e+k …                   │
//!              └ written: readers may see it,              └ durable: survives the loss of power
//!                a crash may cut it, last line first
//! ```
//!
//! * **One writer.** A log is written through one [`Shard`], by one thread at a time. A batch says the end it expects;
//!   a backend that finds another end refuses it, so a second writer is fenced. Where several servers reach the same
//!   logs, [`Ownership`] says which one writes.
//! * **Concurrent readers.** [`LogReader`] is shared; a read never blocks an append for long.
//! * **Failure.** After a failed append or sync the log is poisoned: it refuses appends until [`Shard::reopen`] has cut
//!   it back to an end known to be durable. A failed sync is never repeated on the same descriptor.
//! * **Offsets** may have gaps after a rewrite and never repeat: a rewrite always keeps the last line.

use std::sync::Arc;
use std::time::Instant;

use crate::place::{BrokerId, Offset};

mod error;
mod factory;
mod name;
mod ownership;

pub use error::StorageError;
pub use factory::{Options, StorageFactory};
pub use name::LogName;
pub use ownership::{Acquired, Holder, Lease, Owner, Ownership, Renewed};

/// A place in a log: an offset, and where the backend last saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    /// The line's offset.
    pub offset: Offset,
    /// The byte position of the line's first byte, in a backend that keeps a log as one run of bytes; else 0.
    pub position: u64,
    /// The rewrite of the log that `position` belongs to; 0 = the position is unknown. A reader that finds another
    /// generation looks the offset up instead.
    pub generation: u32,
}

impl Cursor {
    /// A cursor that knows the offset alone.
    #[must_use]
    pub fn at_offset(offset: Offset) -> Self {
        Cursor { offset, position: 0, generation: 0 }
    }
}

/// A run of lines to append.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The offset of the first line; the others follow densely. It must be the log's end.
    pub first_offset: Offset,
    /// How many lines there are, at least 1.
    pub lines: u64,
    /// The lines, each ending in `\n`.
    pub bytes: &'a [u8],
}

/// A log's slot in the [`Shard`] that opened it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LogSlot(pub u32);

/// Bytes of a log that are no valid line although whole lines follow or the bytes were acknowledged. They are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Byte position of the first bad byte.
    pub position: u64,
    /// How many bytes are bad.
    pub bytes: u64,
    /// What is wrong with them.
    pub reason: String,
}

/// A torn tail that was cut off when a log was opened: unacknowledged bytes of the last write before a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TornTail {
    /// Where the log ends now, in bytes.
    pub position: u64,
    /// How many bytes were cut.
    pub bytes: u64,
}

/// An opened log.
pub struct Opened {
    /// Where to append.
    pub slot: LogSlot,
    /// Where to read.
    pub reader: Arc<dyn LogReader>,
    /// The first line there is; equal to `end` when the log is empty.
    pub first: Cursor,
    /// Where the next line goes.
    pub end: Cursor,
    /// What a crash left behind the last whole line, now cut.
    pub torn: Option<TornTail>,
    /// Damage found between the known cursor and the end.
    pub damage: Vec<Damage>,
    /// How many lines there are from `first` to `end`, exactly, where the backend knows without going through them: then
    /// nobody else needs to, to open the log. Such a backend also finds single lines by their offsets fast.
    pub lines: Option<u64>,
}

/// How to open a log.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenRequest {
    /// Create the log, durably, when it does not exist. Without this a missing log is an error.
    pub create: bool,
    /// A line that is known to be whole and synced (generation 0 is ignored: the position counts): only what follows
    /// is verified. A backend that finds no such line there verifies everything.
    pub known: Option<Cursor>,
}

/// The lines a read returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Where the first line returned lies.
    pub start: Cursor,
    /// Where to read on: right behind the last line returned, whatever gap follows. Its offset is a lower bound when that line
    /// is damaged.
    pub next: Cursor,
}

/// What a rewrite leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewritePlan {
    /// Every line below this offset goes.
    pub drop_below: Offset,
    /// Single offsets that go, ascending.
    pub drop: Vec<Offset>,
}

/// A line that a rewrite kept.
#[derive(Clone, Copy, Debug)]
pub struct KeptLine<'a> {
    /// Where the line lies from now on.
    pub cursor: Cursor,
    /// The line with its newline. A damaged line is kept too and comes here as it is.
    pub bytes: &'a [u8],
}

/// A rewrite that has taken its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rewritten {
    /// The first line there is now.
    pub first: Cursor,
    /// Where the next line goes.
    pub end: Cursor,
    /// Bytes given back.
    pub bytes_freed: u64,
}

/// A storage backend: makes shards, lists and deletes logs.
pub trait Storage: Send + Sync {
    /// The name that configuration uses.
    fn name(&self) -> &str;

    /// Whether what was synced is still there when the backend is opened again. One that says no is for data to throw
    /// away: a topic in it is empty after each start.
    fn is_durable(&self) -> bool {
        true
    }

    /// Who may write, where several servers reach the same logs: none of the other functions, nor a shard, changes
    /// anything before the lease was acquired. `None` where the lock of the data directory is enough.
    fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        None
    }

    /// All logs there are, in no order.
    ///
    /// # Errors
    /// When the backend cannot be asked.
    fn list(&self) -> Result<Vec<LogName>, StorageError>;

    /// Makes logs, durably and all at one cost. One that exists already stays as it is.
    ///
    /// # Errors
    /// When a log cannot be made; others of the list may have been made by then.
    fn create(&self, logs: &[LogName]) -> Result<(), StorageError>;

    /// Begins the set of logs that `broker` writes.
    ///
    /// # Errors
    /// When what the set needs cannot be set up.
    fn shard(&self, broker: BrokerId) -> Result<Box<dyn Shard>, StorageError>;

    /// Deletes logs that no shard has open, durably. A log that does not exist counts as deleted.
    ///
    /// # Errors
    /// When a log cannot be deleted.
    fn delete(&self, logs: &[LogName]) -> Result<(), StorageError>;
}

/// The logs that one broker writes: one commit covers them all.
pub trait Shard: Send {
    /// Opens a log for writing and reading, cutting a torn tail.
    ///
    /// # Errors
    /// When it is missing, cannot be read, or is open in this shard already.
    fn open(&mut self, log: &LogName, request: OpenRequest) -> Result<Opened, StorageError>;

    /// Appends whole lines at the log's end and returns where they begin. Readers may see them at once; they are
    /// durable after the next sync. Nothing of a failed append counts.
    ///
    /// # Errors
    /// When the batch does not begin at the log's end, the log is poisoned, or the write fails (which poisons it).
    fn append(&mut self, slot: LogSlot, batch: Batch<'_>) -> Result<Cursor, StorageError>;

    /// Says whether what is appended from now on is told to nobody before a sync of it succeeded. A backend may then put
    /// off work that such a sync makes less urgent; [`Shard::catch_up`] does it.
    fn set_synced_first(&mut self, synced_first: bool) {
        let _ = synced_first;
    }

    /// Does what was put off and is due, or with `all` everything; to be called after every sync, and as long as
    /// anything is put off.
    fn catch_up(&mut self, all: bool) -> CaughtUp {
        let _ = all;
        CaughtUp::default()
    }

    /// Begins to make everything appended so far durable. The shard may append on while the sync is waited for.
    fn begin_sync(&mut self) -> Box<dyn PendingSync>;

    /// Takes note of the outcome of a sync; logs that failed are poisoned. Of a sync that went well it need not be told, so
    /// nothing may depend on that.
    fn finish_sync(&mut self, failures: &[SyncFailure]);

    /// Makes a poisoned log writable again: opens it afresh, verifies that it holds everything below `end`, cuts what
    /// stands behind it, syncs.
    ///
    /// # Errors
    /// When any of that fails; the log stays poisoned.
    fn reopen(&mut self, slot: LogSlot, end: Cursor) -> Result<(), StorageError>;

    /// Begins to write the log anew without what `plan` names, below the end at this moment.
    ///
    /// # Errors
    /// When the log is poisoned, a rewrite of it is under way, or the backend cannot rewrite.
    fn begin_rewrite(&mut self, slot: LogSlot, plan: RewritePlan) -> Result<Box<dyn Rewrite>, StorageError>;

    /// Adds what was appended while the rewrite ran, makes the result durable and puts it in the log's place. Reads
    /// under way go on unharmed. `kept` sees every line added here.
    ///
    /// # Errors
    /// When the result cannot be put in place: the log stays as it was, unless the error came after the swap, which
    /// poisons it.
    fn finish_rewrite(
        &mut self,
        rewrite: Box<dyn Rewrite>,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError>;

    /// Closes a log. What was appended and not synced stays appended.
    fn close(&mut self, slot: LogSlot);
}

/// What became of work that a shard had put off.
#[derive(Debug, Default)]
pub struct CaughtUp {
    /// When there is something to do again; `None` when nothing is put off.
    pub due: Option<Instant>,
    /// Logs that failed, to be treated as those that a sync names. What was synced of them is durable.
    pub failures: Vec<SyncFailure>,
}

/// A log that could not be made durable.
#[derive(Debug)]
pub struct SyncFailure {
    /// The log.
    pub slot: LogSlot,
    /// Why.
    pub error: StorageError,
}

/// A sync under way.
pub trait PendingSync: Send {
    /// Blocks until everything appended before [`Shard::begin_sync`] is durable; returns the logs for which it is not.
    fn wait(self: Box<Self>) -> Vec<SyncFailure>;
}

/// A rewrite under way, to be run in the background while the log is appended to and read.
pub trait Rewrite: Send {
    /// The log being rewritten.
    fn slot(&self) -> LogSlot;

    /// Copies what is kept. `kept` sees every line copied.
    ///
    /// # Errors
    /// When the copy fails; the log stays as it was.
    fn run(&mut self, kept: &mut dyn FnMut(KeptLine<'_>)) -> Result<(), StorageError>;

    /// The backend's own state, for [`Shard::finish_rewrite`] to take back.
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any>;
}

/// Reads a log while it is written.
pub trait LogReader: Send + Sync {
    /// Appends whole lines to `into`, beginning with the first whose offset is at least `from.offset`: at most
    /// `bytes_max`, but at least one line when there is one. At the log's end nothing is appended and `next` equals
    /// `start`. Lines are not verified here: what is not yet durable, or damaged, comes as it stands.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn read(&self, from: Cursor, bytes_max: usize, into: &mut Vec<u8>) -> Result<Chunk, StorageError>;

    /// As [`LogReader::read`], but only if it need not wait for a disk or a network: else `None`, and `into` is as it
    /// was. For threads that must not block.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    fn read_ready(
        &self,
        from: Cursor,
        bytes_max: usize,
        into: &mut Vec<u8>,
    ) -> Result<Option<Chunk>, StorageError> {
        let _ = (from, bytes_max, into);
        Ok(None)
    }

    /// The generation of the positions that this log has now, above 0.
    fn generation(&self) -> u32;

    /// Bytes the log takes in the backend.
    fn size_bytes(&self) -> u64;
}
