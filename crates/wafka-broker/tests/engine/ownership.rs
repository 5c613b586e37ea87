//! Data that several servers reach, each with indexes of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use wafka_broker::{
    BackendSource, Backends, Engine, EngineOptions, IdSpec, IndexPlace, ReadRange, Ticket, Topic, TopicSpec,
    wait,
};
use wafka_core::EventId;
use wafka_core::storage::{Acquired, Options, Owner, Ownership, Storage};
use wafka_storage::fs::{FileSystem, SimFs, StdFs};
use wafka_storage::memory::{SharedMemory, SharedServer};
use wafka_storage::text::TextStorage;

use crate::backends::two::HeldClock;
use crate::support::{ALL, DB, EAGER, accept, eventually, ids, maxlen, name, read, strings, values};

fn memory() -> SharedMemory {
    SharedMemory::new("shared", Duration::from_secs(3), || Duration::ZERO)
}

fn acquire(server: &SharedServer, id: &str) {
    let owner = Owner { id: id.to_owned(), address: "here:1".to_owned() };
    assert!(matches!(server.acquire(&owner), Ok(Acquired::Ours(_))));
}

/// A server's machine.
struct Machine {
    dir: TempDir,
    runs: usize,
}

/// A server that owns the data.
struct Owning {
    engine: Arc<Engine>,
    way: SharedServer,
}

impl Machine {
    fn new() -> Self {
        Machine { dir: tempfile::tempdir().unwrap(), runs: 0 }
    }

    fn start(&mut self, memory: &SharedMemory) -> Owning {
        let way = memory.server();
        self.runs += 1;
        acquire(&way, &format!("{} {}", self.dir.path().display(), self.runs));
        let options = EngineOptions {
            index: Some(IndexPlace { fs: Arc::new(StdFs), dir: self.index() }),
            index_interval_bytes: 1,
            tail_bytes: 0,
            reclaim: EAGER,
            ..EngineOptions::new(1, Arc::new(HeldClock))
        };
        Owning { engine: Engine::start(options, Arc::new(way.storage())).unwrap(), way }
    }

    fn index(&self) -> PathBuf {
        self.dir.path().join("index")
    }

    /// When the index of a partition was made.
    fn index_of(&self, partition: &str) -> std::fs::Metadata {
        std::fs::metadata(self.index().join("db0").join(partition)).unwrap()
    }
}

impl Owning {
    fn topic(&self) -> Arc<Topic> {
        self.engine.ensure_topic(DB, &name("t")).unwrap()
    }

    fn add(&self, ids: impl Iterator<Item = EventId>) {
        let topic = self.topic();
        let tickets: Vec<Ticket> = ids
            .map(|id| {
                accept(&topic, IdSpec::Explicit(id), None, &[b"v", id.to_string().as_bytes()], None)
                    .unwrap()
                    .ticket
            })
            .collect();
        self.engine.kick();
        tickets.into_iter().for_each(|ticket| wait(topic.committed(ticket)).unwrap());
    }

    fn end(self) {
        self.engine.shutdown();
        self.way.release().unwrap();
    }
}

fn millis(range: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = EventId> {
    range.map(|ms| EventId::new(ms, 0))
}

#[test]
fn an_index_of_before_another_server_rewrote_the_log_is_not_believed() {
    let memory = memory();
    let (mut first, mut second) = (Machine::new(), Machine::new());
    let owner = first.start(&memory);
    owner.add(millis(1..=200));
    owner.end();
    let owner = second.start(&memory);
    let topic = owner.topic();
    let (trimmed, ticket) = topic.trim(&maxlen(50)).unwrap();
    assert_eq!(trimmed, 150);
    owner.engine.kick();
    wait(topic.committed(ticket.unwrap())).unwrap();
    let lines = || topic.info().unwrap().partitions[0].lines;
    eventually("a rewrite", || lines() == 50);
    drop(topic);
    owner.end();
    let owner = first.start(&memory);
    let topic = owner.topic();
    assert_eq!(topic.info().unwrap().partitions[0].lines, 50);
    assert_eq!(topic.len(None).unwrap(), 50);
    let left: Vec<EventId> = millis(151..=200).collect();
    assert_eq!(ids(&read(&topic, &ALL).unwrap()), left);
    drop(topic);
    owner.end();
}

#[test]
fn an_index_of_a_topic_that_another_server_made_anew_is_not_believed() {
    let memory = memory();
    let (mut first, mut second) = (Machine::new(), Machine::new());
    let owner = first.start(&memory);
    owner.add(millis(1..=100));
    owner.end();
    let owner = second.start(&memory);
    owner.engine.delete_topics(DB, &[b"t"]).unwrap();
    // The last line is where the old topic had one with the same id.
    let new: Vec<EventId> = (1..=50).map(|seq| EventId::new(50, seq)).chain(millis(51..=100)).collect();
    owner.add(new.iter().copied());
    owner.end();
    let owner = first.start(&memory);
    let topic = owner.topic();
    let range = ReadRange { from: EventId::new(50, 10), ..ALL };
    assert_eq!(strings(&read(&topic, &range).unwrap()), values(&topic)[9..]);
    assert_eq!(ids(&read(&topic, &range).unwrap()), new[9..]);
    drop(topic);
    owner.end();
}

#[test]
fn the_index_of_the_last_owner_is_kept() {
    let memory = memory();
    let (mut first, mut second) = (Machine::new(), Machine::new());
    let owner = first.start(&memory);
    owner.add(millis(1..=100));
    owner.end();
    let made = first.index_of("t-1.idx").modified().unwrap();
    let owner = first.start(&memory);
    owner.topic();
    owner.end();
    assert_eq!(first.index_of("t-1.idx").modified().unwrap(), made, "nobody was here in between");
    let owner = second.start(&memory);
    owner.end();
    let owner = first.start(&memory);
    owner.add(millis(101..=102));
    owner.end();
    assert_ne!(first.index_of("t-1.idx").modified().unwrap(), made);
}

/// An engine over the text log, with the shared memory beside it.
fn beside(fs: &SimFs, way: &SharedServer) -> Arc<Engine> {
    let fs: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let text: Arc<dyn Storage> =
        Arc::new(TextStorage::open(fs, "data".as_ref(), crate::backends::two::text_options()).unwrap());
    let source =
        BackendSource { factory: Arc::new(way.clone()), data_dir: "data".into(), options: Options::new() };
    let me = Owner { id: "me".to_owned(), address: "here:1".to_owned() };
    let backends = Backends::of(me, "text", text, [source]).unwrap();
    Engine::start_on(EngineOptions::new(1, Arc::new(HeldClock)), backends).unwrap()
}

fn add(engine: &Engine) -> Result<(), String> {
    let topic = engine.topic(DB, b"t").unwrap();
    let appended =
        accept(&topic, IdSpec::Auto, None, &[b"v", b"x"], None).map_err(|error| error.to_string())?;
    engine.kick();
    wait(topic.committed(appended.ticket)).map_err(|error| error.to_string())
}

#[test]
fn a_backend_beside_the_default_one_waits_for_its_lease() {
    let memory = memory();
    let fs = SimFs::new();
    let engine = beside(&fs, &memory.server());
    let spec = TopicSpec { backend: Some("shared".to_owned()), ..TopicSpec::default() };
    engine.create_topic(DB, &name("t"), Some(&spec)).unwrap();
    add(&engine).unwrap();
    engine.shutdown();
    // The lease was given up at once; another server has it until it gives it up, too.
    let other = memory.server();
    acquire(&other, "other");
    let engine = beside(&fs, &memory.server());
    let refused = add(&engine).unwrap_err();
    assert!(refused.contains("other at here:1 owns the data since epoch 2"), "{refused}");
    other.release().unwrap();
    eventually("the backend is ours", || add(&engine).is_ok());
    assert_eq!(values(&engine.topic(DB, b"t").unwrap()), ["x", "x"]);
    engine.shutdown();
}
