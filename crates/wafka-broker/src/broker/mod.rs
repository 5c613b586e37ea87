//! A broker: a thread that writes the logs it serves, one batch per log and one sync per turn (group commit).
//!
//! Who enqueues work says [`crate::Engine::kick`] when a batch of commands is done. Where a sync is awaited, the kick
//! wakes the broker's thread; where none is, the caller does the turn itself, because handing it over would cost more
//! than the turn. Either way the turn runs under the lock on the broker's [`Writer`].

mod checkpoint;
mod gather;
mod turn;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wafka_core::storage::{LogSlot, Shard, StorageError};
use wafka_core::{BrokerId, Clock};

use crate::index::SparseIndex;
use crate::options::FsyncPolicy;
use crate::ticket::TicketKind;
use crate::topic::Topic;
use gather::Gathering;
use turn::Work;

/// So many entries of [`Writer::tails`] are never looked through.
const TAILS_PRUNE_MIN: usize = 1024;
/// A thread that serves connections takes a turn itself only if the broker's syncs take less than this of late: its other
/// clients wait meanwhile.
const FAST_SYNC: Duration = Duration::from_millis(1);
/// Entries that Redis keeps in one node of a stream, unless `stream-node-max-entries` says otherwise.
pub const NODE_ENTRIES: u64 = 100;
/// How often what nobody waits for is made durable.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// How often a broker without other work looks whether what its shard put off is due.
const CATCH_UP_EVERY: Duration = Duration::from_millis(20);

/// What all brokers share.
pub(crate) struct Shared {
    fsync: AtomicU8,
    pub(crate) clock: Arc<dyn Clock>,
    /// Memory for the tails of one broker's partitions, in bytes.
    tail_bytes_max: usize,
    /// Events per node, as `~` rounds when trimming.
    node_entries: AtomicU64,
    stopping: AtomicBool,
    reclaim: Mutex<Option<Sender<Arc<Topic>>>>,
    /// To be told when the backend says that this server does not own the data.
    not_owner: OnceLock<Box<dyn Fn() + Send + Sync>>,
    started: Instant,
    /// When a turn of any broker last ended, in microseconds since `started`.
    answered: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        fsync: FsyncPolicy,
        clock: Arc<dyn Clock>,
        tail_bytes_max: usize,
        reclaim: Sender<Arc<Topic>>,
    ) -> Self {
        Shared {
            fsync: AtomicU8::new(fsync as u8),
            clock,
            tail_bytes_max,
            node_entries: AtomicU64::new(NODE_ENTRIES),
            stopping: AtomicBool::new(false),
            reclaim: Mutex::new(Some(reclaim)),
            not_owner: OnceLock::new(),
            started: Instant::now(),
            answered: AtomicU64::new(0),
        }
    }

    /// When a turn of any broker last ended that was synced.
    fn answered(&self) -> Instant {
        self.started + Duration::from_micros(self.answered.load(Ordering::Relaxed))
    }

    fn note_answered(&self, now: Instant) {
        let micros = now.saturating_duration_since(self.started).as_micros();
        self.answered.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn fsync(&self) -> FsyncPolicy {
        FsyncPolicy::from_byte(self.fsync.load(Ordering::Relaxed))
    }

    pub(crate) fn set_fsync(&self, policy: FsyncPolicy) {
        self.fsync.store(policy as u8, Ordering::Relaxed);
    }

    pub(crate) fn node_entries(&self) -> u64 {
        self.node_entries.load(Ordering::Relaxed)
    }

    pub(crate) fn set_node_entries(&self, entries: u64) {
        self.node_entries.store(entries, Ordering::Relaxed);
    }

    /// Has `tell` called when a log refuses what another owner of the data may have caused to be refused.
    pub(crate) fn on_not_owner(&self, tell: Box<dyn Fn() + Send + Sync>) {
        // The first one stays: there is one server.
        let _ = self.not_owner.set(tell);
    }

    /// To be told of every error of a log.
    pub(crate) fn note_error(&self, error: &StorageError) {
        if matches!(error, StorageError::NotOwner { .. } | StorageError::Fenced { .. })
            && let Some(tell) = self.not_owner.get()
        {
            tell();
        }
    }

    /// Ends the brokers once their queues are empty, and the thread that reclaims space.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        *self.reclaim.lock() = None;
    }
}

/// Work that was done, since start.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) turns: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) syncs: AtomicU64,
}

/// One broker.
pub(crate) struct Broker {
    id: BrokerId,
    shared: Arc<Shared>,
    queue: Mutex<Vec<(Arc<Topic>, TicketKind)>>,
    has_work: AtomicBool,
    /// How many events wait, and journals that have something to say: see [`Broker::count`].
    queued: AtomicU64,
    writer: Mutex<Writer>,
    thread: OnceLock<Thread>,
    asleep: AtomicBool,
    /// How many events the thread waits for before it takes its turn; 0 when it does not.
    gathers: AtomicU64,
    /// Whether the shard put something off.
    behind: AtomicBool,
    /// How long syncs took of late, in microseconds.
    sync_micros: AtomicU64,
    tail_bytes: AtomicUsize,
    pub(crate) counters: Counters,
}

/// What it takes to write: one turn at a time.
pub(crate) struct Writer {
    shard: Box<dyn Shard>,
    /// Whose log a slot is.
    owners: HashMap<LogSlot, (Weak<Topic>, TicketKind)>,
    work: Vec<Work>,
    queue: Vec<(Arc<Topic>, TicketKind)>,
    /// The blocks in the tails of this broker's partitions, oldest first.
    tails: VecDeque<(Weak<Topic>, u16)>,
    /// When there are so many, those of blocks that were forgotten otherwise are dropped.
    tails_prune_at: usize,
    /// Indexes with entries whose lines are not synced yet.
    unsynced: Vec<Arc<SparseIndex>>,
    gathering: Gathering,
    /// Something was appended since the last sync.
    dirty: bool,
    /// [`Counters::bytes`] when the last checkpoint synced.
    synced_bytes: u64,
    /// Logs that failed, the one first that is to be tried next.
    offline: VecDeque<(Weak<Topic>, TicketKind)>,
}

impl Broker {
    pub(crate) fn new(id: BrokerId, shard: Box<dyn Shard>, shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Broker {
            id,
            shared,
            queue: Mutex::new(Vec::new()),
            has_work: AtomicBool::new(false),
            queued: AtomicU64::new(0),
            writer: Mutex::new(Writer {
                shard,
                owners: HashMap::new(),
                work: Vec::new(),
                queue: Vec::new(),
                tails: VecDeque::new(),
                tails_prune_at: TAILS_PRUNE_MIN,
                unsynced: Vec::new(),
                gathering: Gathering::new(),
                dirty: false,
                synced_bytes: 0,
                offline: VecDeque::new(),
            }),
            thread: OnceLock::new(),
            asleep: AtomicBool::new(false),
            gathers: AtomicU64::new(0),
            behind: AtomicBool::new(false),
            sync_micros: AtomicU64::new(0),
            tail_bytes: AtomicUsize::new(0),
            counters: Counters::default(),
        })
    }

    /// Starts the thread.
    pub(crate) fn start(self: &Arc<Self>) -> std::io::Result<JoinHandle<()>> {
        let broker = Arc::clone(self);
        let handle =
            std::thread::Builder::new().name(format!("broker-{}", self.id)).spawn(move || broker.run())?;
        // Only this call sets it.
        let _ = self.thread.set(handle.thread().clone());
        Ok(handle)
    }

    /// How many events a node takes; 0 stands for any number.
    pub(crate) fn node_entries(&self) -> u64 {
        self.shared.node_entries()
    }

    pub(crate) fn id(&self) -> BrokerId {
        self.id
    }

    /// Notes that a log of a topic has something to write. The caller kicks later.
    pub(crate) fn enqueue(&self, topic: &Arc<Topic>, kind: TicketKind) {
        if kind == TicketKind::Journal {
            self.queued.fetch_add(1, Ordering::SeqCst);
        }
        self.queue.lock().push((Arc::clone(topic), kind));
        self.has_work.store(true, Ordering::SeqCst);
    }

    /// Whether anything is queued.
    pub(crate) fn has_work(&self) -> bool {
        self.has_work.load(Ordering::SeqCst)
    }

    /// Sees to it that queued work is done: soon by the broker's thread, or at once by this one where no sync is awaited.
    pub(crate) fn kick(&self) {
        if !self.has_work() {
            return;
        }
        if self.syncs_always() {
            self.wake();
        } else {
            self.turn_here();
        }
    }

    /// Does the turn on this thread, unless the broker is at it.
    pub(crate) fn turn_here(&self) {
        // Who came while the writer was held found it locked, and the thread perhaps busy with a checkpoint: that work
        // is done here too.
        while self.has_work() {
            match self.writer.try_lock() {
                Some(mut writer) => self.turn(&mut writer),
                None => return self.wake(),
            }
        }
    }

    /// Whether a turn's sync was short of late.
    pub(crate) fn syncs_fast(&self) -> bool {
        self.last_syncs() < FAST_SYNC
    }

    /// How long syncs took of late: on average, but never less than the last one.
    fn last_syncs(&self) -> Duration {
        Duration::from_micros(self.sync_micros.load(Ordering::Relaxed))
    }

    /// Takes a turn's sync into the average.
    fn note_sync(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let average = self.sync_micros.load(Ordering::Relaxed);
        // A long sync counts at once, short ones by and by.
        let next = if took > average { took } else { average - (average - took).div_ceil(8) };
        self.sync_micros.store(next, Ordering::Relaxed);
    }

    pub(crate) fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        } else {
            self.gathered();
        }
    }

    /// Whether events become visible only when they are synced.
    pub(crate) fn syncs_always(&self) -> bool {
        self.shared.fsync() == FsyncPolicy::Always
    }

    /// Does something with the broker's shard between two turns.
    pub(crate) fn with_shard<T>(&self, run: impl FnOnce(&mut dyn Shard) -> T) -> T {
        run(&mut *self.writer.lock().shard)
    }

    /// Notes whose log a slot is.
    pub(crate) fn register(&self, slot: LogSlot, topic: &Arc<Topic>, kind: TicketKind) {
        self.writer.lock().owners.insert(slot, (Arc::downgrade(topic), kind));
    }

    /// Closes a log.
    pub(crate) fn close(&self, slot: LogSlot) {
        let mut writer = self.writer.lock();
        writer.owners.remove(&slot);
        writer.shard.close(slot);
    }

    /// Memory that a tail gave back.
    pub(crate) fn tail_forgotten(&self, bytes: usize) {
        self.tail_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Asks for space of a topic to be given back.
    pub(crate) fn request_reclaim(&self, topic: &Arc<Topic>) {
        if let Some(sender) = &*self.shared.reclaim.lock() {
            // The receiver goes only when the engine stops.
            let _ = sender.send(Arc::clone(topic));
        }
    }

    fn run(&self) {
        let mut checkpoint = Instant::now() + CHECKPOINT_EVERY;
        // Logs that failed and have not been tried again since the last checkpoint.
        let mut to_reopen = 0;
        loop {
            if self.has_work.load(Ordering::SeqCst) {
                self.gather();
                let mut writer = self.writer.lock();
                self.turn(&mut writer);
                drop(writer);
            } else if self.shared.stopping.load(Ordering::SeqCst) {
                break;
            } else if to_reopen == 0 {
                self.sleep(checkpoint.saturating_duration_since(Instant::now()));
                if self.behind.load(Ordering::SeqCst) {
                    self.catch_up(&mut self.writer.lock(), false);
                }
            }
            if Instant::now() >= checkpoint {
                self.checkpoint();
                to_reopen = self.count_offline();
                checkpoint = Instant::now() + CHECKPOINT_EVERY;
            }
            if to_reopen > 0 {
                self.reopen_next();
                to_reopen -= 1;
            }
        }
    }

    /// After the threads have ended: what their last turns left for each other, and the last sync.
    pub(crate) fn finish(&self) {
        while self.has_work() {
            self.turn(&mut self.writer.lock());
        }
        self.catch_up(&mut self.writer.lock(), true);
        self.checkpoint();
        self.flush_all_indexes();
    }

    fn sleep(&self, at_most: Duration) {
        self.asleep.store(true, Ordering::SeqCst);
        let at_most = if self.behind.load(Ordering::SeqCst) { at_most.min(CATCH_UP_EVERY) } else { at_most };
        // Work that came before the flag was seen by nobody else.
        if !self.has_work.load(Ordering::SeqCst) && !self.shared.stopping.load(Ordering::SeqCst) {
            std::thread::park_timeout(at_most);
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
