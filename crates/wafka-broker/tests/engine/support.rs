//! An engine over a backend that can be restarted, killed and cut off from power.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
pub use wafka_broker::ReadRange;
use wafka_broker::{
    AppendError, AppendRequest, Appended, Engine, EngineOptions, EntryFields, EntrySink, IdSpec, IndexPlace,
    PartitionState, ReadError, ReclaimOptions, StartError, Ticket, Topic, Trim, wait,
};
use wafka_core::storage::Storage;
use wafka_core::{Clock, Database, EventId, Fields, PartitionId, TopicName};
use wafka_storage::fs::{Fault, FaultKind, FileSystem, Operation, SimFs, StdFs};
use wafka_storage::memory::MemoryStorage;
use wafka_storage::text::CommitJournalUse;
use wafka_storage::text::{TextOptions, TextStorage};

use crate::offsets_only::OffsetsOnly;
use crate::streams::Streams;

pub const DB: Database = Database(0);
pub const EIO: FaultKind = FaultKind::Errno(5);
pub const ENOSPC: FaultKind = FaultKind::Errno(28);
/// No test waits longer for what must happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// A clock that stands still.
struct HeldClock;

impl Clock for HeldClock {
    fn now_ms(&self) -> u64 {
        1_000
    }
}

/// Small random numbers that are the same for the same seed (splitmix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// Where the data lies.
pub enum Home {
    Memory(MemoryStorage),
    /// The indexes are on a disk.
    OffsetsOnly(OffsetsOnly, TempDir),
    Sim(SimFs),
    Disk(TempDir),
    Streams(Streams),
}

impl Home {
    fn fs(&self) -> Option<(Arc<dyn FileSystem>, PathBuf)> {
        match self {
            Home::Memory(_) | Home::OffsetsOnly(..) | Home::Streams(_) => None,
            Home::Sim(fs) => Some((Arc::new(fs.clone()), "data".into())),
            Home::Disk(dir) => Some((Arc::new(StdFs), dir.path().join("data"))),
        }
    }
}

/// An engine and what it stands on.
pub struct Bench {
    pub home: Home,
    pub options: EngineOptions,
    pub commit_journal: CommitJournalUse,
    engine: Option<Arc<Engine>>,
}

impl Bench {
    pub fn new(home: Home, brokers: u16) -> Self {
        let options = EngineOptions::new(brokers, Arc::new(HeldClock));
        Bench { home, options, commit_journal: CommitJournalUse::Auto, engine: None }
    }

    /// Over a simulated file system, started.
    pub fn sim(brokers: u16) -> Self {
        Self::new(Home::Sim(SimFs::new()), brokers).started()
    }

    /// As [`Bench::sim`], but every log is synced by itself, so that a fault of a file is a fault of its log.
    pub fn direct(brokers: u16) -> Self {
        let mut bench = Self::new(Home::Sim(SimFs::new()), brokers);
        bench.commit_journal = CommitJournalUse::Never;
        bench.started()
    }

    /// With options as the test wants them, not started.
    pub fn with(mut self, change: impl FnOnce(&mut EngineOptions)) -> Self {
        change(&mut self.options);
        self
    }

    pub fn started(mut self) -> Self {
        self.start().unwrap();
        self
    }

    pub fn start(&mut self) -> Result<(), StartError> {
        assert!(self.engine.is_none(), "stop it first");
        let storage: Arc<dyn Storage> = match &mut self.home {
            Home::Memory(storage) => Arc::new(storage.clone()),
            Home::OffsetsOnly(storage, dir) => {
                self.options.index = Some(IndexPlace { fs: Arc::new(StdFs), dir: dir.path().join("index") });
                Arc::new(storage.clone())
            }
            Home::Streams(streams) => {
                let dir = streams.dir.path().join("index");
                self.options.index = Some(IndexPlace { fs: Arc::new(StdFs), dir });
                streams.storage()
            }
            Home::Sim(_) | Home::Disk(_) => {
                let (fs, dir) = self.home.fs().unwrap();
                self.options.index = Some(IndexPlace { fs: Arc::clone(&fs), dir: dir.join("index") });
                let commit_journal = self.commit_journal;
                let options = TextOptions { commit_journal, ..TextOptions::default() };
                Arc::new(TextStorage::open(fs, &dir, options)?)
            }
        };
        self.engine = Some(Engine::start(self.options.clone(), storage)?);
        Ok(())
    }

    pub fn stop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.shutdown();
        }
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start().unwrap();
    }

    /// The process is killed and started again.
    pub fn kill(&mut self) {
        self.kill_only();
        self.start().unwrap();
    }

    pub fn kill_only(&mut self) {
        if let Home::Sim(fs) = &self.home {
            self.home = Home::Sim(fs.kill());
        }
        self.stop();
    }

    /// Power is lost; the server starts again.
    pub fn crash(&mut self, seed: u64) {
        self.crash_only(seed);
        self.start().unwrap();
    }

    /// Power is lost; or another server has taken over when this one ends.
    pub fn crash_only(&mut self, seed: u64) {
        match &mut self.home {
            Home::Sim(fs) => self.home = Home::Sim(fs.crash(seed)),
            Home::Streams(streams) => streams.take_over(),
            Home::Memory(_) | Home::OffsetsOnly(..) | Home::Disk(_) => {}
        }
        self.stop();
    }

    pub fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().unwrap()
    }

    pub fn fs(&self) -> &SimFs {
        match &self.home {
            Home::Sim(fs) => fs,
            _ => panic!("not over a simulated file system"),
        }
    }

    pub fn topic(&self, name: &str) -> Arc<Topic> {
        self.engine().ensure_topic(DB, &self::name(name)).unwrap()
    }

    /// Removes every index file, as anybody may while the server is stopped.
    pub fn remove_indexes(&self) {
        let Some((fs, dir)) = self.home.fs() else { return };
        let index = dir.join("index").join("db0");
        for entry in fs.read_dir(&index).unwrap_or_default() {
            fs.remove(&index.join(entry.name)).unwrap();
        }
    }

    pub fn fault(&self, operation: Operation, path_contains: &str, kind: FaultKind, times: u64) {
        let path_contains = path_contains.to_owned();
        self.fs().inject(Fault { operation, path_contains, skip: 0, times, kind });
    }

    /// The text of a file in the data directory.
    pub fn content(&self, file: &str) -> String {
        String::from_utf8(self.fs().content(&path(file)).unwrap_or_default()).unwrap()
    }

    pub fn put(&self, file: &str, content: &[u8]) {
        self.fs().put(&path(file), content);
    }

    /// The names of logs and unfinished rewrites in the data directory, sorted.
    pub fn files(&self) -> Vec<String> {
        let (fs, dir) = self.home.fs().unwrap();
        let entries = fs.read_dir(&dir).unwrap().into_iter().filter(|entry| !entry.is_dir);
        let mut names: Vec<_> = entries.map(|entry| entry.name.into_string().unwrap()).collect();
        // What the backend keeps for itself does not count.
        names.retain(|name| name.ends_with(".txt") || name.ends_with(".tmp"));
        names.sort();
        names
    }

    /// Appends, kicks and waits.
    pub fn add(&self, topic: &Arc<Topic>, value: &str) -> Result<EventId, AppendError> {
        self.add_to(topic, None, value)
    }

    pub fn add_to(
        &self,
        topic: &Arc<Topic>,
        partition: Option<u16>,
        value: &str,
    ) -> Result<EventId, AppendError> {
        let appended = accept(topic, IdSpec::Auto, partition, &[b"v", value.as_bytes()], None)?;
        self.engine().kick();
        wait(topic.committed(appended.ticket)).map(|()| appended.id)
    }

    /// Accepts an event without waiting for it.
    pub fn accept(&self, topic: &Arc<Topic>, value: &str) -> Ticket {
        accept(topic, IdSpec::Auto, None, &[b"v", value.as_bytes()], None).unwrap().ticket
    }

    /// Deletes and waits until it is durable.
    pub fn delete(&self, topic: &Arc<Topic>, ids: &[EventId]) -> Result<u64, String> {
        let (count, ticket) = topic.delete_events(ids).map_err(|error| error.to_string())?;
        self.engine().kick();
        match ticket.map(|ticket| wait(topic.committed(ticket))) {
            Some(Err(error)) => Err(error.to_string()),
            _ => Ok(count),
        }
    }

    /// Trims and waits until it is durable.
    pub fn trim(&self, topic: &Arc<Topic>, trim: &Trim) -> Result<u64, String> {
        let (count, ticket) = topic.trim(trim).map_err(|error| error.to_string())?;
        self.engine().kick();
        match ticket.map(|ticket| wait(topic.committed(ticket))) {
            Some(Err(error)) => Err(error.to_string()),
            _ => Ok(count),
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn name(name: &str) -> TopicName {
    TopicName::new(name.as_bytes()).unwrap()
}

pub fn path(file: &str) -> PathBuf {
    Path::new("data").join(file)
}

/// Space is given back as soon as anything is dead.
pub const EAGER: ReclaimOptions = ReclaimOptions { dead_bytes_min: 0, dead_percent: 1, deletions_max: 2 };
/// Space is never given back.
pub const NEVER: ReclaimOptions =
    ReclaimOptions { dead_bytes_min: u64::MAX, dead_percent: 100, deletions_max: usize::MAX };

pub fn maxlen(max: u64) -> Trim {
    Trim::max_len(max)
}

/// Accepts an event without waiting for it.
pub fn accept(
    topic: &Arc<Topic>,
    id: IdSpec,
    partition: Option<u16>,
    flat: &[&[u8]],
    trim: Option<Trim>,
) -> Result<Appended, AppendError> {
    topic.append(&AppendRequest {
        id,
        partition: partition.map(PartitionId),
        fields: Fields::new(flat).unwrap(),
        trim,
        idempotence: None,
        now_ms: 1_000,
    })
}

pub type Entry = (EventId, Vec<Vec<u8>>);

#[derive(Default)]
pub struct Collected(pub Vec<Entry>);

impl EntrySink for Collected {
    fn entry(&mut self, id: EventId, fields: &EntryFields<'_>) -> ControlFlow<()> {
        self.0.push((id, fields.parts().map(<[u8]>::to_vec).collect()));
        ControlFlow::Continue(())
    }
}

pub const ALL: ReadRange =
    ReadRange { from: EventId::MIN, to: EventId::MAX, count: None, reverse: false, partition: None };

pub fn read(topic: &Topic, range: &ReadRange) -> Result<Vec<Entry>, ReadError> {
    let mut sink = Collected::default();
    topic.read(range, &mut sink).map(|()| sink.0)
}

/// What a read handed out before it ended, and how it ended.
pub fn read_until_error(topic: &Topic, range: &ReadRange) -> (Vec<Entry>, Result<(), ReadError>) {
    let mut sink = Collected::default();
    let result = topic.read(range, &mut sink);
    (sink.0, result)
}

/// The values of all events, oldest first.
pub fn values(topic: &Topic) -> Vec<String> {
    strings(&read(topic, &ALL).unwrap())
}

pub fn strings(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|(_, parts)| String::from_utf8(parts[1].clone()).unwrap()).collect()
}

pub fn ids(entries: &[Entry]) -> Vec<EventId> {
    entries.iter().map(|(id, _)| *id).collect()
}

pub fn state(topic: &Topic, partition: u16) -> PartitionState {
    topic.info().unwrap().partitions[usize::from(partition) - 1].state.clone()
}

pub fn is_offline(topic: &Topic, partition: u16) -> bool {
    matches!(state(topic, partition), PartitionState::Offline { .. })
}

/// Looks again and again until it holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Tells other threads to end, also when this one panics.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
