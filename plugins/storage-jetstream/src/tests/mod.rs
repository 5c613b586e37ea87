//! Tests of the backend, against real servers of the engine.

mod batches;
pub(crate) mod cluster;
mod conforms;
mod cuts;
mod failures;
mod lease;
mod older;
mod reading;
mod refusals;
mod silence;
mod stale;
mod wires;
mod woken;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wafka_core::storage::{
    Acquired, Batch, Cursor, Lease, LogName, LogReader, LogSlot, OpenRequest, Opened, Owner, Shard, Storage,
    SyncFailure,
};
use wafka_core::{BrokerId, Database, Offset};
use wafka_storage::conformance::lines_of;

use crate::JetStreamStorage;
use crate::api::{Stored, StreamInfo};
use crate::log::{Log, Poison};

/// The longest that anything may take: elections of leaders, one after the other, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is made to fail.
#[derive(Default)]
pub(crate) struct Faults {
    append: Mutex<Option<LogName>>,
    sync: Mutex<Option<LogName>>,
    /// Time that passed by the lease's clock although it did not.
    pub(crate) skipped: Mutex<Duration>,
}

impl Faults {
    pub(crate) fn fail_append(&self, log: &LogName) {
        *self.append.lock() = Some(log.clone());
    }

    pub(crate) fn fail_sync(&self, log: &LogName) {
        *self.sync.lock() = Some(log.clone());
    }

    pub(crate) fn take_append(&self, log: &LogName) -> bool {
        take(&self.append, log)
    }

    /// Poisons the log as if no acknowledgement had come: what was sent is under way and comes about, or not.
    pub(crate) fn take_sync(&self, log: &Log) {
        if take(&self.sync, &log.name) {
            log.poison(Poison::Failed("a sync that failed on purpose".into()));
        }
    }
}

/// Which messages of the answers that any replica gives are lost.
#[derive(Default)]
pub(crate) struct Losing {
    /// Each whose sequence can be divided by it; 0 stands for none.
    pub(crate) every: AtomicU64,
    /// All with a higher sequence; 0 stands for none. So answers a replica that is behind.
    pub(crate) above: AtomicU64,
    /// All of them, the ends of the answers too.
    pub(crate) all: AtomicBool,
    /// Counts those that were not lost.
    pub(crate) came: AtomicU64,
}

impl Losing {
    pub(crate) fn takes(&self, message: &async_nats::Message) -> bool {
        let sequence = message.headers.as_ref().and_then(|headers| headers.get("Nats-Sequence"));
        let sequence: u64 = sequence.map_or(0, |sequence| sequence.as_str().parse().expect("a number"));
        let (every, above) = (self.every.load(Ordering::SeqCst), self.above.load(Ordering::SeqCst));
        let is_one = sequence > 0 && every > 0 && sequence.is_multiple_of(every);
        let is_above = above > 0 && sequence > above;
        let lost = is_one || is_above || self.all.load(Ordering::SeqCst);
        self.came.fetch_add(u64::from(!lost && sequence > 0), Ordering::SeqCst);
        lost
    }
}

/// What is answered instead of a message of a stream, …
type Answer = Box<dyn FnMut(&str, Option<Stored>) -> Option<Stored> + Send>;
/// … and instead of what is said of it.
type Info = Box<dyn FnMut(&str, StreamInfo) -> StreamInfo + Send>;

/// Answers of servers that led a stream, were asleep, and have not heard of what came about meanwhile.
#[derive(Default)]
pub(crate) struct Stale {
    pub(crate) messages: Mutex<Option<Answer>>,
    pub(crate) infos: Mutex<Option<Info>>,
}

impl Stale {
    pub(crate) fn message(&self, stream: &str, found: Option<Stored>) -> Option<Stored> {
        match &mut *self.messages.lock() {
            Some(answer) => answer(stream, found),
            None => found,
        }
    }

    pub(crate) fn info(&self, stream: &str, info: StreamInfo) -> StreamInfo {
        match &mut *self.infos.lock() {
            Some(answer) => answer(stream, info),
            None => info,
        }
    }
}

fn take(fault: &Mutex<Option<LogName>>, log: &LogName) -> bool {
    fault.lock().take_if(|name| name == log).is_some()
}

/// Takes the lease: at once from whoever had it under this name, else when its time is over.
fn own_as(storage: &JetStreamStorage, id: &str) -> Lease {
    let ownership = storage.ownership().expect("there is one");
    let owner = Owner { id: id.into(), address: format!("{id}:6379") };
    let begun = Instant::now();
    loop {
        match ownership.acquire(&owner) {
            Ok(Acquired::Ours(lease)) => return lease,
            other => assert!(begun.elapsed() < PATIENCE, "{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A prefix for each backend of a cluster.
pub(crate) fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn log(stem: &str) -> LogName {
    LogName::new(Database(0), stem)
}

fn shard(storage: &dyn Storage) -> Box<dyn Shard> {
    storage.shard(BrokerId(1)).expect("a shard")
}

fn create(shard: &mut dyn Shard, stem: &str) -> Opened {
    shard.open(&log(stem), OpenRequest { create: true, known: None }).expect("open")
}

fn append(shard: &mut dyn Shard, slot: LogSlot, from: Offset, to: Offset) {
    let bytes = lines_of(from..to);
    shard.append(slot, Batch { first_offset: from, lines: to - from, bytes: &bytes }).expect("append");
}

/// Syncs, and returns what failed.
fn sync(shard: &mut dyn Shard) -> Vec<SyncFailure> {
    let failures = shard.begin_sync().wait();
    shard.finish_sync(&failures);
    failures
}

fn read_all(reader: &dyn LogReader) -> Vec<u8> {
    let (mut bytes, mut cursor) = (Vec::new(), Cursor::default());
    loop {
        let chunk = reader.read(cursor, 1 << 20, &mut bytes).expect("read");
        if chunk.next == chunk.start {
            return bytes;
        }
        cursor = chunk.next;
    }
}

#[track_caller]
fn assert_holds(reader: &dyn LogReader, offsets: impl IntoIterator<Item = Offset>) {
    assert_eq!(String::from_utf8(read_all(reader)), String::from_utf8(lines_of(offsets)));
}
