//! Opening a topic: its partitions, what their files hold, and what its journal says became of it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::{Condvar, Mutex};
use wafka_core::partitioner::{Options, Partitioner, PartitionerError, Route, RouteRequest};
use wafka_core::storage::{Cursor, LogName, LogReader, Opened, StorageError};
use wafka_core::{Database, EventId, PartitionId, TopicName};

use super::open_lane::OpenLane;
use super::unread;
use super::{Deletions, Journal, Limits, Nodes, State, Strategy, Topic};
use crate::backends::{Backends, Standing};
use crate::broker::Broker;
use crate::expiry::Deadlines;
use crate::group::Groups;
use crate::index::SparseIndex;
use crate::lines::Lines;
use crate::options::IndexPlace;
use crate::ticket::TicketKind;
use crate::watch::WatchPoint;

/// How much is read at once while a log is looked through, in bytes.
const SCAN_BYTES: usize = 1 << 20;

/// The names of a topic's logs. There are two stems for a name, so that the files of a topic which is to replace another
/// one can stand beside those of that one: the second ends in a percent sign, as no name's own stem but the empty one does.
#[derive(Clone, Debug)]
pub(crate) struct LaneFiles {
    database: Database,
    stem: String,
    /// Whether it is the second stem.
    pub(crate) second: bool,
    /// The backend they are in; `None` is the default one.
    pub(crate) backend: Option<Arc<str>>,
    /// What their names end in.
    ending: &'static str,
}

impl LaneFiles {
    pub(crate) fn new(database: Database, name: &TopicName, second: bool) -> Self {
        let mut stem = name.file_stem();
        if second {
            stem.push('%');
        }
        LaneFiles { database, stem, second, backend: None, ending: "" }
    }

    /// The logs of these names in a backend.
    pub(crate) fn in_backend(self, backend: Option<Arc<str>>, backends: &Backends) -> Self {
        let ending = backends.ending(backend.as_deref());
        LaneFiles { backend, ending, ..self }
    }

    pub(crate) fn partition(&self, index: usize) -> LogName {
        self.log(&format!("{}-{}", self.stem, PartitionId::from_index(index)))
    }

    pub(crate) fn journal(&self) -> LogName {
        self.log(&format!("{}.journal", self.stem))
    }

    fn log(&self, stem: &str) -> LogName {
        LogName::new(self.database, stem).in_backend(self.backend.clone()).with_ending(self.ending)
    }

    /// All logs that a topic of so many partitions may have.
    pub(crate) fn all(&self, partitions: usize) -> Vec<LogName> {
        (0..partitions).map(|index| self.partition(index)).chain([self.journal()]).collect()
    }

    /// Where the index of a partition lies within the directory of the indexes.
    pub(crate) fn index(&self, index: usize) -> PathBuf {
        let file = format!("{}-{}.idx", self.stem, PartitionId::from_index(index));
        PathBuf::from(format!("db{}", self.database.0)).join(file)
    }
}

/// What is needed to open a topic.
pub(crate) struct OpenTopic<'a> {
    pub(crate) database: Database,
    pub(crate) name: TopicName,
    pub(crate) uid: u64,
    pub(crate) partitions: u16,
    pub(crate) partitioner_name: String,
    pub(crate) partitioner_version: u32,
    pub(crate) options: Options,
    pub(crate) files: LaneFiles,
    /// The name of the backend that they are in.
    pub(crate) backend: Arc<str>,
    /// Where it is not the default one.
    pub(crate) standing: Option<Arc<Standing>>,
    /// The strategy, or why there is none.
    pub(crate) partitioner: Result<Box<dyn Partitioner>, String>,
    pub(crate) brokers: Arc<[Arc<Broker>]>,
    pub(crate) deadlines: Arc<Deadlines>,
    pub(crate) index: Option<&'a IndexPlace>,
    pub(crate) limits: Limits,
    pub(crate) watch: Arc<WatchPoint>,
    /// The topic is new: its logs were just made.
    pub(crate) create: bool,
    /// It does without logs that cannot be opened.
    pub(crate) tolerant: bool,
}

/// Stands in for a strategy that is missing: the topic is read-only and never routes.
struct NoPartitioner;

impl Partitioner for NoPartitioner {
    fn route(&mut self, _request: &RouteRequest<'_>) -> Result<Route, PartitionerError> {
        Ok(Route::Any)
    }
}

/// The index of the broker that writes the journal of the topic with that number.
pub(crate) fn home_of(uid: u64, brokers: usize) -> usize {
    usize::try_from(uid % brokers as u64).unwrap_or(0)
}

/// Opens a topic.
pub(crate) fn open_topic(spec: OpenTopic<'_>) -> Result<Arc<Topic>, StorageError> {
    let files = spec.files.clone();
    let brokers = Arc::clone(&spec.brokers);
    let home = home_of(spec.uid, brokers.len());
    let mut lanes = Vec::new();
    for index in 0..usize::from(spec.partitions) {
        let broker = index % brokers.len();
        let sparse = SparseIndex::open(spec.index, &files.index(index));
        if spec.create {
            sparse.reset().map_err(|source| io("remove an old index", &files.partition(index), source))?;
        }
        let interval = spec.limits.index_interval_bytes;
        let (log, sparse) = (files.partition(index), Arc::new(sparse));
        let opening = OpenLane { topic: &spec.name, log, index: sparse, interval, number: index };
        lanes.push(match opening.open(&brokers, broker) {
            Err(error) if spec.tolerant => {
                unread::lane(&spec.name, index, broker, files.partition(index), &error)
            }
            lane => lane?,
        });
    }
    let (partitioner, read_only) = match spec.partitioner {
        Ok(partitioner) => (partitioner, None),
        Err(reason) => (Box::new(NoPartitioner) as Box<dyn Partitioner>, Some(reason.into())),
    };
    let mut state = State {
        strategy: Strategy::new(partitioner),
        partitioner_name: spec.partitioner_name,
        partitioner_version: spec.partitioner_version,
        options: spec.options,
        read_only,
        until_reopened: None,
        held: None,
        last_id: EventId::MIN,
        last_sequence: 0,
        cycle: 0,
        open: None,
        unkeyed: 0,
        uncommitted: VecDeque::new(),
        trims: VecDeque::new(),
        trimmed_with: VecDeque::new(),
        visible_id: EventId::MIN,
        floor: EventId::MIN,
        head: VecDeque::new(),
        nodes: Nodes::new(0, 0, 0),
        deletions: Arc::new(Deletions::default()),
        deletions_forgotten: 0,
        groups: Groups::default(),
        max_deleted_id: EventId::MIN,
        added_extra: 0,
        expire_at_ms: None,
        idempotence: None,
        journal: Journal::new(files.journal(), spec.limits.journal_snapshot_bytes),
        waiters: VecDeque::new(),
        journal_waiters: VecDeque::new(),
        lanes,
    };
    if !spec.create {
        state.load_journal(&brokers[home], spec.tolerant)?;
    }
    state.settle_logs(spec.limits.index_interval_bytes)?;
    state.settle()?;
    state.step_over_unread(spec.deadlines.now_ms());
    state.complete_idempotence(spec.deadlines.now_ms())?;
    let added = state.lanes.iter().map(|lane| lane.next_offset).sum();
    state.nodes = Nodes::new(added, state.accepted_len(), brokers[home].node_entries());
    let topic = Arc::new(Topic {
        database: spec.database,
        name: spec.name,
        uid: spec.uid,
        files,
        backend: spec.backend,
        standing: spec.standing,
        brokers,
        home,
        limits: spec.limits,
        watch: spec.watch,
        deleted: AtomicBool::new(false),
        slots_closed: AtomicBool::new(false),
        hidden: AtomicBool::new(false),
        made_in_vain: AtomicBool::new(false),
        expire_at: AtomicU64::new(state.expire_at_ms.unwrap_or(u64::MAX)),
        used_at: AtomicU64::new(spec.deadlines.now_ms()),
        deadlines: spec.deadlines,
        visible: AtomicU64::new(0),
        journaled: AtomicU64::new(0),
        ever_failed: AtomicBool::new(false),
        freeze: super::freeze::Freeze::default(),
        reclaiming: AtomicBool::new(false),
        strategy_free: Condvar::new(),
        state: Mutex::new(state),
    });
    topic.register();
    topic.write_wanted_snapshot();
    Ok(topic)
}

pub(super) fn io(operation: &'static str, log: &LogName, source: std::io::Error) -> StorageError {
    StorageError::Io { log: log.to_string(), operation, source }
}

impl Topic {
    /// Tells the brokers whose logs are whose.
    fn register(self: &Arc<Self>) {
        let state = self.state.lock();
        let slots: Vec<_> = state.lanes.iter().map(|lane| (lane.broker, lane.slot, lane.unread)).collect();
        let journal = state.journal.slot;
        drop(state);
        for (number, (broker, slot, _)) in slots.into_iter().enumerate().filter(|(_, (.., unread))| !unread) {
            let kind = TicketKind::Partition(u16::try_from(number).unwrap_or(u16::MAX));
            self.brokers[broker].register(slot, self, kind);
        }
        if let Some(slot) = journal {
            self.brokers[self.home].register(slot, self, TicketKind::Journal);
        }
    }
}

/// Hands out every line from `from` on, with its place.
pub(crate) fn scan(
    reader: &dyn LogReader,
    from: Cursor,
    mut each: impl FnMut(Cursor, &[u8]),
) -> Result<(), StorageError> {
    let mut lines = Lines::none();
    let mut cursor = from;
    loop {
        let chunk = lines.fill(reader, cursor, SCAN_BYTES)?;
        if lines.is_empty() {
            return Ok(());
        }
        while lines.advance() {
            let at = Cursor { position: lines.position(), ..chunk.start };
            each(at, lines.current());
        }
        cursor = chunk.next;
    }
}

pub(super) fn report(log: &LogName, opened: &Opened) {
    if let Some(torn) = opened.torn {
        tracing::warn!(%log, bytes = torn.bytes, position = torn.position, "torn tail cut: the last write before a crash was not acknowledged");
    }
    for damage in &opened.damage {
        tracing::error!(%log, position = damage.position, bytes = damage.bytes, reason = %damage.reason, "damage found, it is kept");
    }
}
