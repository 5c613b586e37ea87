//! Opening a topic: its partitions, what their files hold, and what its journal says became of it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::{Condvar, Mutex};
use wafka_core::partitioner::{Options, Partitioner, PartitionerError, Route, RouteRequest};
use wafka_core::storage::{Cursor, LogName, LogReader, OpenRequest, Opened, Shard, StorageError};
use wafka_core::{Database, EventId, PartitionId, TopicName};
use wafka_storage::line::{self, EventEncoder};

use super::lane::Pending;
use super::presence::Presence;
use super::unread;
use super::{Deletions, Journal, Lane, LaneState, Limits, Nodes, State, Strategy, Topic};
use crate::backends::Backends;
use crate::broker::Broker;
use crate::expiry::Deadlines;
use crate::group::Groups;
use crate::index::{IndexEntry, SparseIndex};
use crate::lines::{self, Lines};
use crate::options::IndexPlace;
use crate::tail::Tail;
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
        let opening =
            OpenLane { spec: &spec, log: files.partition(index), index: Arc::new(sparse), number: index };
        lanes.push(match brokers[broker].with_shard(|shard| opening.open(shard, broker)) {
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

fn io(operation: &'static str, log: &LogName, source: std::io::Error) -> StorageError {
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

impl State {
    /// Works out what follows from files and journal together.
    fn settle(&mut self) -> Result<(), StorageError> {
        let read = self.lanes.iter().filter(|lane| !lane.unread);
        let newest = read.map(|lane| lane.last_id).max().unwrap_or(EventId::MIN);
        self.last_id = self.last_id.max(newest).max(self.floor).max(self.max_deleted_id);
        self.visible_id = self.last_id;
        self.journal.durable_floor = self.floor;
        if self.journal.held.is_some() {
            // A line that cannot be read may have said that it lives on.
            self.expire_at_ms = None;
        }
        self.journal.durable_expire_at_ms = self.expire_at_ms;
        let partitions = self.lanes.len() as u64;
        let offsets: u64 = self.lanes.iter().map(|lane| lane.next_offset).sum();
        self.cycle = u16::try_from((offsets + partitions - 1) % partitions).unwrap_or(0);
        self.forget_missing_deletions()?;
        let deleted = self.deletions.count_up_to(EventId::MAX, self.lanes.len());
        let floor = self.floor;
        for (lane, deleted) in self.lanes.iter_mut().zip(deleted).filter(|(lane, _)| !lane.unread) {
            let trimmed = if floor == EventId::MIN { 0 } else { lane.rank(floor).map_err(into_storage)? };
            lane.live = lane.lines.saturating_sub(trimmed).saturating_sub(deleted);
        }
        Ok(())
    }

    /// A rewrite may have removed deleted events without the journal having been told.
    fn forget_missing_deletions(&mut self) -> Result<(), StorageError> {
        let floor = self.floor;
        let mut gone = Vec::new();
        let mut lanes: Vec<_> = self.lanes.iter().map(|lane| (lane, Presence::new(lane))).collect();
        for (id, deleted) in self.deletions.iter() {
            let present = match lanes.get_mut(usize::from(deleted.lane)) {
                Some((lane, _)) if lane.unread => true,
                Some((_, presence)) if id > floor => presence.holds(id, deleted.offset)?,
                _ => false,
            };
            if !present {
                gone.push(id);
            }
        }
        if !gone.is_empty() {
            Arc::make_mut(&mut self.deletions).forget(|id, _| gone.binary_search(&id).is_ok());
        }
        Ok(())
    }
}

fn into_storage(error: crate::error::ReadError) -> StorageError {
    match error {
        crate::error::ReadError::Storage(error) => error,
        other => StorageError::Io {
            log: String::new(),
            operation: "read",
            source: std::io::Error::other(other.to_string()),
        },
    }
}

/// Opens one partition.
struct OpenLane<'a> {
    spec: &'a OpenTopic<'a>,
    log: LogName,
    index: Arc<SparseIndex>,
    number: usize,
}

impl OpenLane<'_> {
    fn open(self, shard: &mut dyn Shard, broker: usize) -> Result<Lane, StorageError> {
        let last = self.index.last();
        let known = self.index.last_known();
        let opened = shard.open(&self.log, OpenRequest { create: false, known })?;
        let slot = opened.slot;
        let lane = self.read(opened, last, broker);
        if lane.is_err() {
            shard.close(slot);
        }
        lane
    }

    /// Looks through what the index does not know of a log; `last` is the last entry that it had.
    fn read(self, opened: Opened, last: Option<IndexEntry>, broker: usize) -> Result<Lane, StorageError> {
        report(&self.log, &opened);
        let generation = opened.reader.generation();
        self.index.set_generation(generation);
        self.index.truncate_from(opened.end.offset);
        let start = match self.index.last() {
            Some(entry) if stands(&*opened.reader, &entry)? => Some(entry),
            Some(_) => {
                tracing::warn!(log = %self.log, "the index does not fit the log, it is rebuilt");
                self.index.reset().map_err(|source| io("reset the index", &self.log, source))?;
                None
            }
            None => None,
        };
        let mut tally = Tally {
            index: &self.index,
            interval: self.spec.limits.index_interval_bytes,
            lines: start.map_or(0, |entry| entry.ordinal),
            since_mark: if start.is_some() { 0 } else { u64::MAX },
            last_id: start.map_or(EventId::MIN, |entry| entry.id),
            skip_mark: start.is_some(),
            // Only what stands behind the entry that was given as known was verified when the log was opened.
            unverified: !opened.damage.is_empty() || start != last,
        };
        let from = start.map_or(Cursor { generation, ..opened.first }, |entry| Cursor {
            offset: entry.offset,
            position: entry.position,
            generation,
        });
        scan(&*opened.reader, from, |cursor, line| tally.line(cursor, line))?;
        let (lines, since_mark, last_id) = (tally.lines, tally.since_mark, tally.last_id);
        let partition = PartitionId::from_index(self.number);
        Ok(Lane {
            broker,
            slot: opened.slot,
            encoder: EventEncoder::new(self.spec.name.as_bytes(), partition),
            tail: Tail::default(),
            pending: Pending::default(),
            spare: Vec::new(),
            in_flight: None,
            queued: false,
            next_offset: opened.end.offset,
            end: opened.end,
            last_id,
            last_sequence_committed: 0,
            lines,
            live: 0,
            since_mark,
            state: LaneState::Online,
            epoch: 0,
            failures: VecDeque::new(),
            damage: opened.damage,
            rewriting: false,
            swapping: false,
            rewrite_after: None,
            unread: false,
            reader: opened.reader,
            index: self.index,
            log: self.log,
        })
    }
}

/// Counts lines and fills the index while a log is looked through.
struct Tally<'a> {
    index: &'a SparseIndex,
    interval: u64,
    lines: u64,
    since_mark: u64,
    last_id: EventId,
    /// The first line is in the index already.
    skip_mark: bool,
    /// Lines may be damaged: none is believed without being verified.
    unverified: bool,
}

impl Tally<'_> {
    fn line(&mut self, cursor: Cursor, line: &[u8]) {
        let mark = self.since_mark >= self.interval && !self.skip_mark;
        // A wrong id in the index would mislead every search: a mark is verified whatever is known.
        let believed = !(self.unverified || mark) || line::verify(line).is_ok();
        if let Some((id, offset)) = lines::peek(line).filter(|_| believed) {
            if mark {
                let entry = IndexEntry { id, offset, position: cursor.position, ordinal: self.lines };
                self.index.push(std::iter::once(entry));
                self.since_mark = 0;
            }
            self.last_id = self.last_id.max(id);
        } else {
            // It had some id above the one before it, and that must not be given to another event.
            self.last_id = self.last_id.next().unwrap_or(EventId::MAX);
        }
        self.skip_mark = false;
        self.since_mark = self.since_mark.saturating_add(line.len() as u64);
        self.lines += 1;
    }
}

/// Whether the line that an index entry names stands where it says.
fn stands(reader: &dyn LogReader, entry: &IndexEntry) -> Result<bool, StorageError> {
    let cursor = Cursor { offset: entry.offset, position: entry.position, generation: reader.generation() };
    let mut lines = Lines::none();
    lines.fill(reader, cursor, 1)?;
    Ok(lines.advance()
        && lines::peek(lines.current()) == Some((entry.id, entry.offset))
        && line::verify(lines.current()).is_ok())
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
