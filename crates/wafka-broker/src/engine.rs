//! The engine: brokers, catalog and topics together.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;
use wafka_core::storage::Storage;
use wafka_core::{BrokerId, Database, EventId, Offset, TopicName};

use crate::backends::{Backends, TellLost};
use crate::broker::{Broker, Shared};
use crate::catalog::{Catalog, CatalogRecord, CatalogTopic};
use crate::creation::Wanted;
use crate::error::{StartError, TopicError};
use crate::expiry::Deadlines;
use crate::namespace::Namespace;
use crate::options::{EngineOptions, FsyncPolicy, TopicSpec};
use crate::starting::claim_indexes;
use crate::topic::RETRY_AFTER;
use crate::topic::{PartitionInfo, PartitionState, Topic};
use crate::transaction::{Transactions, Undo};
use crate::watch::{Change, WatchPoint};

/// Everything that holds topics. Shared by all connections.
pub struct Engine {
    pub(crate) options: EngineOptions,
    pub(crate) storage: Backends,
    pub(crate) brokers: Arc<[Arc<Broker>]>,
    shared: Arc<Shared>,
    pub(crate) names: Namespace,
    /// Held while topics are made, changed and deleted: one group at a time.
    pub(crate) catalog: Mutex<Catalog>,
    pub(crate) transactions: Transactions,
    /// Topics that cannot be written to until the catalog is settled.
    pub(crate) held: Mutex<Vec<Arc<Topic>>>,
    /// Topics that lack a partition whose log could not be opened.
    pub(crate) degraded: Mutex<Vec<Arc<Topic>>>,
    /// Topics to be made by whoever holds the catalog next.
    pub(crate) wanted: Wanted,
    /// When topics end that have a time to live.
    pub(crate) deadlines: Arc<Deadlines>,
    expiry_thread: Mutex<Option<JoinHandle<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held while the policy of syncing changes.
    switching: Mutex<()>,
}

/// A partition as its broker shows it.
#[derive(Clone, Debug)]
pub struct BrokerPartition {
    /// The topic's database.
    pub database: Database,
    /// The topic.
    pub topic: TopicName,
    /// The id of the current message: the last one committed.
    pub current: Option<EventId>,
    /// The offset of the next event.
    pub next_offset: Offset,
    /// Whether it can be written to.
    pub state: PartitionState,
    /// The file's size, in bytes.
    pub bytes: u64,
}

/// What can be told about a broker.
#[derive(Clone, Debug)]
pub struct BrokerInfo {
    /// The broker.
    pub id: BrokerId,
    /// The partitions it serves.
    pub partitions: Vec<BrokerPartition>,
    /// Turns done since start.
    pub turns: u64,
    /// Lines written since start.
    pub events: u64,
    /// Bytes written since start.
    pub bytes: u64,
    /// Syncs awaited since start.
    pub syncs: u64,
}

impl Engine {
    /// Opens the data of `storage` and starts the brokers.
    ///
    /// # Errors
    /// When the data cannot be opened, or contradicts the options.
    pub fn start(options: EngineOptions, storage: Arc<dyn Storage>) -> Result<Arc<Self>, StartError> {
        Self::start_on(options, Backends::one(storage))
    }

    /// As [`Engine::start`], where topics may be in several backends.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_on(mut options: EngineOptions, storage: Backends) -> Result<Arc<Self>, StartError> {
        let (sender, receiver) = channel();
        let count = options.brokers.max(1);
        let tail_bytes = options.tail_bytes / usize::from(count);
        let shared = Arc::new(Shared::new(options.fsync, Arc::clone(&options.clock), tail_bytes, sender));
        let brokers = (1..=count)
            .map(|id| {
                let shard = storage.shard(BrokerId(id))?;
                Ok(Broker::new(BrokerId(id), shard, Arc::clone(&shared)))
            })
            .collect::<Result<Arc<[_]>, StartError>>()?;
        let deadlines = Deadlines::new(Arc::clone(&options.clock));
        let loaded = Catalog::open(&storage, &brokers[0], options.clock.now_ms(), options.catalog_expected)?;
        let Some(mut loaded) = loaded else {
            return Err(StartError::CatalogMissing { backend: storage.default_name().to_owned() });
        };
        claim_indexes(&mut options, &storage, &mut loaded)?;
        let undo = Undo { storage: &storage, brokers: &brokers, options: &options };
        let transactions = Transactions::new(undo.run(&mut loaded)?);
        let engine = Arc::new(Engine {
            storage,
            brokers,
            shared,
            names: Namespace::new(Arc::clone(&deadlines)),
            deadlines,
            expiry_thread: Mutex::new(None),
            catalog: Mutex::new(loaded.catalog),
            transactions,
            held: Mutex::default(),
            degraded: Mutex::default(),
            wanted: Wanted::default(),
            threads: Mutex::new(Vec::new()),
            switching: Mutex::new(()),
            options,
        });
        engine.tell_lost_backends();
        engine.remove_left_behind(&loaded.topics, &loaded.deleted)?;
        engine.open_all(&loaded.topics)?;
        engine.start_threads(receiver)?;
        for declared in &engine.options.declared {
            if let Err(error) = engine.declare(declared) {
                engine.shutdown();
                return Err(error);
            }
        }
        Ok(engine)
    }

    /// Sees to it that who waits for a topic is answered when its backend's data is another server's.
    fn tell_lost_backends(self: &Arc<Self>) {
        let engine = Arc::downgrade(self);
        let tell = move |backend: &str| {
            let topics = engine.upgrade().map_or_else(Vec::new, |engine| engine.names.all(None));
            for topic in topics.iter().filter(|topic| &*topic.backend == backend) {
                topic.watch.notify(Change::Any);
            }
        };
        let tell: Arc<TellLost> = Arc::new(tell);
        self.storage.on_lost(&tell);
    }

    fn start_threads(self: &Arc<Self>, receiver: Receiver<Arc<Topic>>) -> Result<(), StartError> {
        let mut threads = self.threads.lock();
        for broker in self.brokers.iter() {
            threads.push(broker.start().map_err(StartError::Thread)?);
        }
        let engine = Arc::downgrade(self);
        let reclaimer = std::thread::Builder::new()
            .name("reclaim".to_owned())
            .spawn(move || Engine::run_upkeep(&engine, &receiver));
        threads.push(reclaimer.map_err(StartError::Thread)?);
        let (engine, deadlines) = (Arc::downgrade(self), Arc::clone(&self.deadlines));
        let expiry = std::thread::Builder::new()
            .name("expiry".to_owned())
            .spawn(move || Engine::run_expiry(&engine, &deadlines));
        *self.expiry_thread.lock() = Some(expiry.map_err(StartError::Thread)?);
        Ok(())
    }

    /// Gives back space as it is asked for, and again and again looks after what could not be done before, however much
    /// is asked for.
    fn run_upkeep(engine: &Weak<Engine>, requests: &Receiver<Arc<Topic>>) {
        let mut next = Instant::now() + RETRY_AFTER;
        loop {
            match requests.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(topic) => topic.reclaim(),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() < next {
                continue;
            }
            if let Some(engine) = engine.upgrade() {
                engine.settle_catalog();
                engine.finish_deletions();
                engine.take_back_failed();
                engine.reopen_degraded();
            }
            next = Instant::now() + RETRY_AFTER;
        }
    }

    /// Commits and syncs everything accepted and ends the threads. Nothing may be appended any more.
    pub fn shutdown(&self) {
        // First, for a deletion waits for the brokers.
        self.deadlines.stop();
        if self.expiry_thread.lock().take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that deletes topics in time panicked");
        }
        for topic in self.names.all(None) {
            topic.tell_all_idempotence();
        }
        self.shared.stop();
        for broker in self.brokers.iter() {
            broker.wake();
        }
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the engine panicked");
            }
        }
        // Twice, for a turn of one broker may leave a journal for another.
        for broker in self.brokers.iter().chain(self.brokers.iter()) {
            broker.finish();
        }
        self.storage.end();
    }

    /// At the end, when no thread appends any more but those that a strategy's route has not returned to: says in the log
    /// which routes these are, and sees to it that nothing comes of them. How many there are.
    pub fn abandon_routes(&self) -> usize {
        self.names.all(None).iter().filter(|topic| topic.abandon_route()).count()
    }

    /// The topic called `name`; also one that a failed transaction made, which can be neither read nor written.
    #[must_use]
    pub fn topic(&self, database: Database, name: &[u8]) -> Option<Arc<Topic>> {
        self.names.get(database, name).filter(|topic| !topic.is_expired())
    }

    /// All topics of a database, in the order of their creation, but for those that a failed transaction made.
    #[must_use]
    pub fn topics(&self, database: Database) -> Vec<Arc<Topic>> {
        let mut topics = self.names.all(Some(database));
        topics.retain(|topic| !topic.is_expired() && !topic.is_made_in_vain());
        topics
    }

    /// How many topics a database has.
    #[must_use]
    pub fn topic_count(&self, database: Database) -> usize {
        self.names.count(database)
    }

    /// A page of a database's topics, as `SCAN` wants it: cursor 0 begins, and is returned at the end. A topic that is
    /// there all the time is returned once.
    #[must_use]
    pub fn scan(&self, database: Database, cursor: u64, count: usize) -> (u64, Vec<Arc<Topic>>) {
        let (next, mut topics) = self.names.scan(database, cursor, count);
        topics.retain(|topic| !topic.is_expired() && !topic.is_made_in_vain());
        (next, topics)
    }

    /// How many partitions have an index that is yet to have a file, and then keeps it open.
    #[must_use]
    pub fn indexes_without_file(&self) -> usize {
        self.names.all(None).iter().map(|topic| topic.indexes_without_file()).sum()
    }

    /// Where to wait for a name to change, whether or not there is a topic of that name.
    #[must_use]
    pub fn watch(&self, database: Database, name: &[u8]) -> Arc<WatchPoint> {
        self.names.watch(database, name)
    }

    /// How many names somebody waits for, and for how many of them as a member of a group. Looks at every topic.
    #[must_use]
    pub fn names_waited_for(&self) -> (usize, usize) {
        self.names.waited_for()
    }

    /// Has `tell` called when a log refuses an append or a sync because the server does not own the data any more
    /// (`NotOwner` or `Fenced` of [`wafka_core::storage::StorageError`]). It must not block: it is called in a broker's turn.
    pub fn on_not_owner(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.shared.on_not_owner(Box::new(tell));
    }

    /// Sees to it that what was appended is written: called after a batch of commands.
    pub fn kick(&self) {
        for broker in self.brokers.iter() {
            broker.kick();
        }
    }

    /// As [`Engine::kick`], by a thread that has nothing else to do until the few events it appended are committed: it
    /// takes the turn of one broker itself, if that broker's syncs are short, and spares a hand-over.
    pub fn kick_and_help(&self) {
        let mut busy = self.brokers.iter().filter(|broker| broker.has_work()).peekable();
        while let Some(broker) = busy.next() {
            if busy.peek().is_none() && broker.syncs_fast() {
                broker.turn_here();
            } else {
                broker.kick();
            }
        }
    }

    /// When written events are made durable.
    #[must_use]
    pub fn fsync(&self) -> FsyncPolicy {
        self.shared.fsync()
    }

    /// Changes when written events are made durable. With [`FsyncPolicy::Always`], what was answered before is synced when
    /// this returns. Blocks.
    pub fn set_fsync(&self, policy: FsyncPolicy) {
        let _switching = self.switching.lock();
        self.shared.set_fsync(policy);
        if policy == FsyncPolicy::Always {
            for broker in self.brokers.iter() {
                broker.sync_appended();
            }
        }
    }

    /// Whether everything that was answered is as durable as the backend makes it: every event is synced, and what was
    /// answered before that became so, too.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.fsync() == FsyncPolicy::Always && !self.switching.is_locked()
    }

    /// How many events Redis would keep in one node of a stream (`stream-node-max-entries`): what `~` rounds to when
    /// trimming; 0 stands for any number.
    #[must_use]
    pub fn node_entries(&self) -> u64 {
        self.shared.node_entries()
    }

    /// See [`Engine::node_entries`]. Nodes that are full stay as they are.
    pub fn set_node_entries(&self, entries: u64) {
        self.shared.set_node_entries(entries);
    }

    /// The storage backends that topics can be in.
    #[must_use]
    pub fn backends(&self) -> &Backends {
        &self.storage
    }

    /// The strategies there are, sorted.
    pub fn partitioner_names(&self) -> impl Iterator<Item = &str> {
        self.options.partitioners.names()
    }

    /// The topic that an `XADD` is for: the one there is, or a new one as declared, or by the defaults.
    ///
    /// # Errors
    /// As [`Engine::create_topic`].
    pub fn ensure_topic(&self, database: Database, name: &TopicName) -> Result<Arc<Topic>, TopicError> {
        self.create_topic(database, name, Some(self.spec_of(database, name))).map(|(topic, _)| topic)
    }

    /// What a topic of that name is made of if nobody says more: as declared, or the defaults.
    #[must_use]
    pub fn spec_of(&self, database: Database, name: &TopicName) -> &TopicSpec {
        self.options
            .declared
            .iter()
            .find(|declared| declared.database == database && declared.name == *name)
            .map_or(&self.options.topic_defaults, |declared| &declared.spec)
    }

    /// Changes a topic's strategy options, and lets a topic whose strategy is gone be written to with another one; events
    /// that are there stay where they are, and the partition count stays for life. `TOPIC ALTER` changes options alone.
    /// Blocks until the change is durable.
    ///
    /// # Errors
    /// When there is no such topic, the change is not allowed, or the backend fails.
    pub fn alter_topic(&self, database: Database, name: &[u8], spec: &TopicSpec) -> Result<(), TopicError> {
        let mut catalog = self.catalog.lock();
        let topic = self.topic(database, name).ok_or(TopicError::Missing)?;
        let current = topic.catalog_record();
        if spec.partitions.is_some_and(|partitions| partitions != current.partitions) {
            return Err(TopicError::Fixed(format!(
                "topic '{}' has {} partitions for life: its data is never re-hashed",
                topic.name(),
                current.partitions
            )));
        }
        let factory = self.options.partitioners.get(&spec.partitioner)?;
        let record = CatalogTopic {
            partitioner: spec.partitioner.clone(),
            partitioner_version: factory.version(),
            options: spec.options.clone(),
            ..current
        };
        let partitioner = factory.create(&record.create_request(topic.name()))?;
        catalog.append(&[CatalogRecord::Alter(record.clone())], self.options.clock.now_ms())?;
        topic.set_partitioner(partitioner, record.partitioner, record.partitioner_version, record.options);
        Ok(())
    }

    /// What can be told about the brokers.
    #[must_use]
    pub fn brokers(&self) -> Vec<BrokerInfo> {
        let mut infos: Vec<_> = self
            .brokers
            .iter()
            .map(|broker| BrokerInfo {
                id: broker.id(),
                partitions: Vec::new(),
                turns: broker.counters.turns.load(Ordering::Relaxed),
                events: broker.counters.events.load(Ordering::Relaxed),
                bytes: broker.counters.bytes.load(Ordering::Relaxed),
                syncs: broker.counters.syncs.load(Ordering::Relaxed),
            })
            .collect();
        for topic in self.names.all(None) {
            for info in topic.partition_infos() {
                if let Some(broker) = infos.iter_mut().find(|broker| broker.id == info.broker) {
                    broker.partitions.push(of_broker(&topic, info));
                }
            }
        }
        infos
    }
}

fn of_broker(topic: &Topic, info: PartitionInfo) -> BrokerPartition {
    BrokerPartition {
        database: topic.database(),
        topic: topic.name().clone(),
        current: (info.current > EventId::MIN).then_some(info.current),
        next_offset: info.next_offset,
        state: info.state,
        bytes: info.bytes,
    }
}
