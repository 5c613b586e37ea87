//! Making topics: all that are wanted at the same time share one creation of files and one sync of the catalog.
//!
//! Who wants a topic queues the wish and takes the catalog's lock; the first to get it grants every wish there is, and
//! the others find theirs granted.

use std::sync::Arc;

use parking_lot::Mutex;
use wafka_core::storage::{OpenRequest, StorageError};
use wafka_core::{Database, TopicName};

use crate::catalog::{Catalog, CatalogRecord, CatalogTopic};
use crate::engine::Engine;
use crate::error::TopicError;
use crate::opening::Opening;
use crate::options::TopicSpec;
use crate::topic::Topic;
use crate::watch::Change;

/// The topic, and whether it was made just now.
type Made = Result<(Arc<Topic>, bool), TopicError>;

/// Wishes that nobody has granted yet.
#[derive(Default)]
pub(crate) struct Wanted {
    queue: Mutex<Vec<Arc<Wish>>>,
}

struct Wish {
    database: Database,
    name: TopicName,
    spec: TopicSpec,
    granted: Mutex<Option<Made>>,
}

/// A topic on its way.
struct Making {
    wish: Arc<Wish>,
    record: CatalogTopic,
    topic: Option<Arc<Topic>>,
}

impl Engine {
    /// Makes a topic, or finds the one there is; `true` when it was made. Blocks until its creation is durable.
    ///
    /// # Errors
    /// When the specification does not fit, or the backend fails.
    pub fn create_topic(&self, database: Database, name: &TopicName, spec: Option<&TopicSpec>) -> Made {
        // One that is being deleted has its successor made when that is done.
        if let Some(topic) = self.names.get(database, name.as_bytes()).filter(|topic| !topic.is_absent()) {
            return Ok((topic, false));
        }
        let spec = spec.unwrap_or(&self.options.topic_defaults).clone();
        let wish = Arc::new(Wish { database, name: name.clone(), spec, granted: Mutex::new(None) });
        self.wanted.queue.lock().push(Arc::clone(&wish));
        let mut catalog = self.catalog.lock();
        if let Some(granted) = wish.granted.lock().take() {
            return granted;
        }
        let wishes = std::mem::take(&mut *self.wanted.queue.lock());
        self.grant(&mut catalog, wishes);
        let granted = wish.granted.lock().take();
        // The wish was queued before the lock was taken, so it was granted by this call or an earlier one.
        granted.unwrap_or_else(|| Err(TopicError::Catalog("the topic was not made".to_owned())))
    }

    fn grant(&self, catalog: &mut Catalog, wishes: Vec<Arc<Wish>>) {
        let mut twice = Vec::new();
        let mut making: Vec<Making> = Vec::new();
        for wish in wishes {
            let same = |other: &Making| other.wish.database == wish.database && other.wish.name == wish.name;
            if making.iter().any(same) {
                twice.push(wish);
                continue;
            }
            match self.begin(catalog, &wish) {
                Ok(record) => making.push(Making { wish, record, topic: None }),
                Err(made) => *wish.granted.lock() = Some(made),
            }
        }
        if !making.is_empty() {
            self.make(catalog, making);
        }
        for wish in twice {
            let found = self.names.get(wish.database, wish.name.as_bytes());
            let made = found.map(|topic| (topic, false));
            let none = || TopicError::Catalog(format!("topic '{}' could not be made", wish.name));
            *wish.granted.lock() = Some(made.ok_or_else(none));
        }
    }

    /// Checks a wish: what the catalog will say of it, or how it ends at once.
    fn begin(&self, catalog: &mut Catalog, wish: &Wish) -> Result<CatalogTopic, Made> {
        let found = self.names.get(wish.database, wish.name.as_bytes());
        if let Some(topic) = found.as_ref().filter(|topic| !topic.is_expired()) {
            return Err(Ok((Arc::clone(topic), false)));
        }
        // First: the next start may have to take back the time of the topic there is.
        self.transactions.check_name(wish.database, &wish.name).map_err(Err)?;
        if let Some(topic) = found {
            let expired = [topic];
            self.delete(catalog, &expired).map_err(Err)?;
            self.note_expired(&expired);
        }
        let record = || {
            let backend = self.storage.of_new_topic(wish.spec.backend.as_deref())?;
            self.storage.check_owned(backend.as_deref())?;
            let factory = self.options.partitioners.get(&wish.spec.partitioner)?;
            let record = CatalogTopic {
                partitions: self.partitions(&wish.spec)?,
                uid: catalog.next_uid(),
                database: wish.database.0,
                topic: wish.name.file_stem(),
                partitioner: wish.spec.partitioner.clone(),
                partitioner_version: factory.version(),
                options: wish.spec.options.clone(),
                second_files: false,
                backend: backend.as_deref().map(str::to_owned),
            };
            // Made once more when the topic is opened; here it shows whether the options are right.
            factory.create(&record.create_request(&wish.name))?;
            Ok(record)
        };
        let mut record = record;
        record().map_err(Err)
    }

    fn partitions(&self, spec: &TopicSpec) -> Result<u16, TopicError> {
        let brokers = u16::try_from(self.brokers.len()).unwrap_or(u16::MAX);
        match spec.partitions {
            None => Ok(brokers),
            Some(asked) if (1..=brokers).contains(&asked) => Ok(asked),
            Some(asked) => Err(TopicError::Partitions { asked, brokers }),
        }
    }

    /// Makes the files, opens the topics, and notes them in the catalog.
    fn make(&self, catalog: &mut Catalog, mut making: Vec<Making>) {
        let logs: Vec<_> = making
            .iter()
            .flat_map(|making| {
                let files = making.record.files_of(&making.wish.name, &self.storage);
                (0..usize::from(making.record.partitions)).map(move |index| files.partition(index))
            })
            .collect();
        if let Err(error) = self.storage.create(&logs) {
            return fail_all(making, error.into());
        }
        making.retain_mut(|making| match self.open_new(making) {
            Ok(topic) => {
                making.topic = Some(topic);
                true
            }
            Err(error) => {
                *making.wish.granted.lock() = Some(Err(error));
                false
            }
        });
        if making.is_empty() {
            return;
        }
        let records: Vec<_> =
            making.iter().map(|making| CatalogRecord::Create(making.record.clone())).collect();
        if let Err(error) = catalog.append(&records, self.options.clock.now_ms()) {
            for topic in making.iter().filter_map(|making| making.topic.as_ref()) {
                topic.discard();
            }
            return fail_all(making, error);
        }
        for Making { wish, topic, .. } in making {
            if let Some(topic) = topic {
                self.names.insert(&topic);
                topic.watch.notify(Change::Any);
                *wish.granted.lock() = Some(Ok((topic, true)));
            }
        }
    }

    fn open_new(&self, making: &Making) -> Result<Arc<Topic>, TopicError> {
        let factory = self.options.partitioners.get(&making.record.partitioner)?;
        let partitioner = factory.create(&making.record.create_request(&making.wish.name))?;
        let topic =
            self.open_with(&making.record, making.wish.name.clone(), Ok(partitioner), Opening::New)?;
        match topic.check_empty().and_then(|()| topic.check_no_journal()) {
            Ok(()) => Ok(topic),
            Err(error) => {
                topic.discard();
                Err(error)
            }
        }
    }
}

fn fail_all(making: Vec<Making>, error: TopicError) {
    let error = Arc::new(error);
    for making in making {
        *making.wish.granted.lock() = Some(Err(TopicError::Shared(Arc::clone(&error))));
    }
}

impl Topic {
    /// A new topic must not find a journal that says what became of other events.
    pub(crate) fn check_no_journal(&self) -> Result<(), TopicError> {
        let log = self.files.journal();
        let bytes = self.brokers[self.home].with_shard(|shard| -> Result<u64, StorageError> {
            match shard.open(&log, OpenRequest::default()) {
                Ok(opened) => {
                    let bytes = opened.reader.size_bytes();
                    shard.close(opened.slot);
                    Ok(bytes)
                }
                Err(StorageError::NotFound(_)) => Ok(0),
                Err(error) => Err(error),
            }
        })?;
        if bytes > 0 { Err(TopicError::Orphan { log: log.to_string(), bytes }) } else { Ok(()) }
    }

    /// Takes back a topic that nobody knows: closes its logs.
    pub(crate) fn discard(&self) {
        self.close_for_writes();
        // Another one may have the name, and others wait for that one.
        self.set_deleted_quietly();
        self.close_logs();
    }
}
