//! Opening a topic: what the engine adds to what the catalog says of it.

use std::sync::Arc;

use wafka_core::partitioner::Partitioner;
use wafka_core::storage::StorageError;
use wafka_core::{Database, TopicName};

use crate::catalog::CatalogTopic;
use crate::engine::Engine;
use crate::topic::{Limits, OpenTopic, Topic, open_topic};

/// How a topic is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Opening {
    /// Its logs were just made.
    New,
    /// They were just written: all of them are there.
    Written,
    /// They are as the server finds them: the topic does without those that cannot be opened.
    Start,
}

impl Engine {
    /// The strategy of a topic, or why there is none.
    pub(crate) fn partitioner_of(
        &self,
        record: &CatalogTopic,
        name: &TopicName,
    ) -> Result<Box<dyn Partitioner>, String> {
        let factory =
            self.options.partitioners.get(&record.partitioner).map_err(|error| error.to_string())?;
        if factory.version() != record.partitioner_version {
            return Err(format!(
                "it was made with version {} of partitioner '{}', this is version {}",
                record.partitioner_version,
                record.partitioner,
                factory.version()
            ));
        }
        factory.create(&record.create_request(name)).map_err(|error| error.to_string())
    }

    /// Opens a topic, which nobody finds yet.
    pub(crate) fn open_with(
        &self,
        record: &CatalogTopic,
        name: TopicName,
        partitioner: Result<Box<dyn Partitioner>, String>,
        opening: Opening,
    ) -> Result<Arc<Topic>, StorageError> {
        let database = Database(record.database);
        let backend = record.backend.as_deref();
        let files = record.files_of(&name, &self.storage);
        open_topic(OpenTopic {
            watch: self.names.watch(database, name.as_bytes()),
            database,
            name,
            uid: record.uid,
            partitions: record.partitions,
            partitioner_name: record.partitioner.clone(),
            partitioner_version: record.partitioner_version,
            options: record.options.clone(),
            files,
            backend: backend.unwrap_or(self.storage.default_name()).into(),
            standing: self.storage.standing(backend),
            partitioner,
            brokers: Arc::clone(&self.brokers),
            deadlines: Arc::clone(&self.deadlines),
            // An index that outlived the events would speak of others.
            index: self.options.index.as_ref().filter(|_| self.storage.keeps_indexes(backend)),
            limits: Limits {
                index_interval_bytes: self.options.index_interval_bytes,
                queue_bytes_max: self.options.queue_bytes_max,
                reclaim: self.options.reclaim,
                journal_snapshot_bytes: self.options.journal_snapshot_bytes,
            },
            create: opening == Opening::New,
            tolerant: opening == Opening::Start,
        })
    }
}
