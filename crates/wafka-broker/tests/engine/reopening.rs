//! A backend whose engine does not answer: each attempt to reopen a log takes as long as it has patience.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;
use wafka_broker::{AppendError, AppendRequest, Engine, EngineOptions, IdSpec, Ticket, Topic, wait};
use wafka_core::storage::{
    Batch, Cursor, KeptLine, LogName, LogSlot, OpenRequest, Opened, PendingSync, Rewrite, RewritePlan,
    Rewritten, Shard, Storage, StorageError, SyncFailure,
};
use wafka_core::{BrokerId, Fields, SystemClock};
use wafka_storage::memory::MemoryStorage;

use crate::support::{DB, eventually, name};

/// Logs whose names begin with `down` cannot be appended to while `is_down`; to reopen them blocks until the test lets it go.
struct Unanswering {
    inner: MemoryStorage,
    is_down: Arc<AtomicBool>,
    begun: Sender<String>,
    go_on: Arc<Mutex<Receiver<()>>>,
}

impl Storage for Unanswering {
    fn name(&self) -> &str {
        "unanswering"
    }

    fn list(&self) -> Result<Vec<LogName>, StorageError> {
        self.inner.list()
    }

    fn create(&self, logs: &[LogName]) -> Result<(), StorageError> {
        self.inner.create(logs)
    }

    fn shard(&self, broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        Ok(Box::new(UnansweringShard {
            inner: self.inner.shard(broker)?,
            names: HashMap::new(),
            is_down: Arc::clone(&self.is_down),
            begun: self.begun.clone(),
            go_on: Arc::clone(&self.go_on),
        }))
    }

    fn delete(&self, logs: &[LogName]) -> Result<(), StorageError> {
        self.inner.delete(logs)
    }
}

struct UnansweringShard {
    inner: Box<dyn Shard>,
    names: HashMap<LogSlot, String>,
    is_down: Arc<AtomicBool>,
    begun: Sender<String>,
    go_on: Arc<Mutex<Receiver<()>>>,
}

impl UnansweringShard {
    fn check(&self, slot: LogSlot, operation: &'static str) -> Result<(), StorageError> {
        let log = &self.names[&slot];
        if !(log.starts_with("down") && self.is_down.load(Ordering::SeqCst)) {
            return Ok(());
        }
        let source = std::io::Error::other("no answer");
        Err(StorageError::Io { log: log.clone(), operation, source })
    }
}

impl Shard for UnansweringShard {
    fn open(&mut self, log: &LogName, request: OpenRequest) -> Result<Opened, StorageError> {
        let opened = self.inner.open(log, request)?;
        self.names.insert(opened.slot, log.stem().to_owned());
        Ok(opened)
    }

    fn append(&mut self, slot: LogSlot, batch: Batch<'_>) -> Result<Cursor, StorageError> {
        self.check(slot, "append")?;
        self.inner.append(slot, batch)
    }

    fn begin_sync(&mut self) -> Box<dyn PendingSync> {
        self.inner.begin_sync()
    }

    fn finish_sync(&mut self, failures: &[SyncFailure]) {
        self.inner.finish_sync(failures);
    }

    fn reopen(&mut self, slot: LogSlot, end: Cursor) -> Result<(), StorageError> {
        // The test may have ended.
        let _ = self.begun.send(self.names[&slot].clone());
        let _ = self.go_on.lock().recv();
        self.check(slot, "reopen")?;
        self.inner.reopen(slot, end)
    }

    fn begin_rewrite(&mut self, slot: LogSlot, plan: RewritePlan) -> Result<Box<dyn Rewrite>, StorageError> {
        self.inner.begin_rewrite(slot, plan)
    }

    fn finish_rewrite(
        &mut self,
        rewrite: Box<dyn Rewrite>,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        self.inner.finish_rewrite(rewrite, kept)
    }

    fn close(&mut self, slot: LogSlot) {
        self.inner.close(slot);
    }
}

/// Accepts an event, which is written when the engine is kicked.
fn queue(topic: &Arc<Topic>) -> Result<Ticket, AppendError> {
    let flat: [&[u8]; 2] = [b"f", b"v"];
    let fields = Fields::new(&flat).unwrap();
    let request =
        AppendRequest { id: IdSpec::Auto, partition: None, fields, trim: None, idempotence: None, now_ms: 1 };
    topic.append(&request).map(|appended| appended.ticket)
}

fn add(engine: &Engine, topic: &Arc<Topic>) -> Result<(), AppendError> {
    let ticket = queue(topic)?;
    engine.kick();
    wait(topic.committed(ticket))
}

#[test]
fn between_two_reopenings_other_topics_are_served() {
    let is_down = Arc::new(AtomicBool::new(false));
    let (begun, reopenings) = channel();
    let (go_on, permits) = channel();
    let storage = Unanswering {
        inner: MemoryStorage::new(),
        is_down: Arc::clone(&is_down),
        begun,
        go_on: Arc::new(Mutex::new(permits)),
    };
    let engine = Engine::start(EngineOptions::new(1, Arc::new(SystemClock)), Arc::new(storage)).unwrap();
    let names = ["down-a", "down-b", "down-c"];
    let failing = names.map(|topic| engine.ensure_topic(DB, &name(topic)).unwrap());
    let idle = engine.ensure_topic(DB, &name("idle")).unwrap();
    is_down.store(true, Ordering::SeqCst);
    // In one turn: behind the first reopening nothing more could fail.
    let tickets = failing.each_ref().map(|topic| queue(topic).unwrap());
    engine.kick();
    for (topic, ticket) in failing.iter().zip(tickets) {
        assert!(matches!(wait(topic.committed(ticket)), Err(AppendError::Offline { .. })));
    }
    let mut tried = Vec::new();
    for events in 1..=6 {
        tried.push(reopenings.recv().unwrap());
        // While a log is being reopened, work for another one of the same broker arrives.
        queue(&idle).unwrap();
        engine.kick();
        go_on.send(()).unwrap();
        // The next reopening may have begun, and nothing lets it go on: the event did not wait for it.
        eventually("the event is committed", || idle.len(None).unwrap() == events);
    }
    // Each has its turn.
    tried.sort();
    tried.dedup();
    assert_eq!(tried.len(), names.len(), "{tried:?}");
    is_down.store(false, Ordering::SeqCst);
    // From here on every attempt goes on at once, and succeeds.
    drop(go_on);
    for topic in &failing {
        eventually("the topic is back", || add(&engine, topic).is_ok());
    }
    engine.shutdown();
}
