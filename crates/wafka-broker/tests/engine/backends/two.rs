//! An engine over the text log, with another one and memory beside it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wafka_broker::{
    AppendError, BackendSource, Backends, Engine, EngineOptions, IdSpec, IndexPlace, StartError, Topic,
    TopicSpec, wait,
};
use wafka_core::storage::{Options, Storage, StorageError, StorageFactory};
use wafka_core::{Clock, EventId};
use wafka_storage::MemoryFactory;
use wafka_storage::fs::{Fault, FileSystem, Operation, SimFs};
use wafka_storage::text::{CommitJournalUse, TextOptions, TextStorage};

use crate::support::{ALL, DB, EIO, accept, ids, name, read, values};

pub struct HeldClock;

impl Clock for HeldClock {
    fn now_ms(&self) -> u64 {
        1_000
    }
}

/// A text log in a file system of its own, by another name.
pub struct OtherText {
    pub fs: SimFs,
    /// How many more attempts to open it fail.
    pub failing: Arc<AtomicU64>,
}

impl StorageFactory for OtherText {
    fn name(&self) -> &str {
        "other"
    }

    fn open(&self, _data_dir: &Path, options: &Options) -> Result<Arc<dyn Storage>, StorageError> {
        if let Some(reason) = options.get("refuse") {
            return Err(StorageError::Unavailable {
                backend: "other".to_owned(),
                reason: reason.to_string(),
            });
        }
        let counted = |left: u64| left.checked_sub(1);
        if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, counted).is_ok() {
            return Err(StorageError::Unavailable {
                backend: "other".to_owned(),
                reason: "not yet".to_owned(),
            });
        }
        Ok(Arc::new(TextStorage::open(Arc::new(self.fs.clone()), Path::new("else"), text_options())?))
    }
}

/// An engine over the text log in `main`, with `other` and `memory` beside it.
pub struct Two {
    pub main: SimFs,
    pub other: SimFs,
    pub options: EngineOptions,
    /// Whether `other` is configured.
    pub with_other: bool,
    /// The options of `other`.
    pub other_options: Options,
    pub failing: Arc<AtomicU64>,
    pub engine: Option<Arc<Engine>>,
}

impl Two {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut EngineOptions)) -> Self {
        let mut options = EngineOptions::new(2, Arc::new(HeldClock));
        change(&mut options);
        let mut two = Two {
            main: SimFs::new(),
            other: SimFs::new(),
            options,
            with_other: true,
            other_options: Options::new(),
            failing: Arc::default(),
            engine: None,
        };
        two.start();
        two
    }

    pub fn start(&mut self) {
        let engine = self.try_start().unwrap();
        self.engine = Some(engine);
    }

    pub fn try_start(&mut self) -> Result<Arc<Engine>, StartError> {
        let fs = Arc::new(self.main.clone());
        self.options.index = Some(IndexPlace { fs: fs.clone(), dir: "data/index".into() });
        let default = Arc::new(TextStorage::open(fs, Path::new("data"), text_options())?);
        let source = |factory: Arc<dyn StorageFactory>, options: &Options| BackendSource {
            factory,
            data_dir: "data".into(),
            options: options.clone(),
        };
        let mut others = vec![source(Arc::new(MemoryFactory), &Options::new())];
        if self.with_other {
            others.push(source(
                Arc::new(OtherText { fs: self.other.clone(), failing: Arc::clone(&self.failing) }),
                &self.other_options,
            ));
        }
        Engine::start_on(self.options.clone(), Backends::new("text", default, others)?)
    }

    pub fn stop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.shutdown();
        }
    }

    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    pub fn restart_without_other(&mut self) {
        self.with_other = false;
        self.restart();
    }

    pub fn restart_with_other(&mut self) {
        self.with_other = true;
        self.restart();
    }

    /// The process is killed and started again.
    pub fn kill(&mut self) {
        (self.main, self.other) = (self.main.kill(), self.other.kill());
        self.restart();
    }

    pub fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().unwrap()
    }

    pub fn make(&self, topic: &str, backend: &str) -> Arc<Topic> {
        let spec = TopicSpec { backend: Some(backend.to_owned()), ..TopicSpec::default() };
        self.engine().create_topic(DB, &name(topic), Some(&spec)).unwrap().0
    }

    pub fn topic(&self, topic: &str) -> Arc<Topic> {
        self.engine().topic(DB, topic.as_bytes()).unwrap()
    }

    pub fn add(&self, topic: &str, value: &str) -> Result<EventId, AppendError> {
        let topic = self.topic(topic);
        let appended = accept(&topic, IdSpec::Auto, None, &[b"v", value.as_bytes()], None)?;
        self.engine().kick();
        wait(topic.committed(appended.ticket)).map(|()| appended.id)
    }

    pub fn add_many(&self, topic: &str, count: usize) {
        for at in 0..count {
            self.add(topic, &at.to_string()).unwrap();
        }
    }

    /// Deletes the event at that place of a topic, durably.
    pub fn delete(&self, topic: &str, at: usize) {
        let topic = self.topic(topic);
        let id = ids(&read(&topic, &ALL).unwrap())[at];
        let (deleted, ticket) = topic.delete_events(&[id]).unwrap();
        assert_eq!(deleted, 1);
        self.engine().kick();
        if let Some(ticket) = ticket {
            wait(topic.committed(ticket)).unwrap();
        }
    }

    pub fn values(&self, topic: &str) -> Vec<String> {
        values(&self.topic(topic))
    }

    pub fn fault(&self, in_other: bool, operation: Operation, path_contains: &str, times: u64) {
        let fs = if in_other { &self.other } else { &self.main };
        fs.inject(Fault { operation, path_contains: path_contains.to_owned(), skip: 0, times, kind: EIO });
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The names of the logs of a backend.
pub fn files(fs: &SimFs) -> Vec<String> {
    let dir = ["data", "else"].iter().find_map(|dir| fs.read_dir(Path::new(dir)).ok()).unwrap_or_default();
    let names = dir.into_iter().map(|entry| entry.name.into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".txt")).collect();
    names.sort();
    names
}

/// Every log is synced by itself, so that a fault of a file is a fault of its log.
pub fn text_options() -> TextOptions {
    TextOptions { commit_journal: CommitJournalUse::Never, ..TextOptions::default() }
}

pub fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|at| at.to_string()).collect()
}
