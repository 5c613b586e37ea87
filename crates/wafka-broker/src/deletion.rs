//! Deleting topics: noted in the catalog first, then their files go.

use std::sync::Arc;

use wafka_core::Database;
use wafka_core::storage::LogName;

use crate::catalog::{Catalog, CatalogRecord};
use crate::engine::Engine;
use crate::error::TopicError;
use crate::topic::Topic;
use crate::wait::wait;

impl Engine {
    /// Tries to take back what a failed write left in the catalog; then the topics that were held can be written to.
    pub(crate) fn settle_catalog(&self) {
        if self.held.lock().is_empty() {
            return;
        }
        let mut catalog = self.catalog.lock();
        if catalog.settle() {
            for topic in self.held.lock().drain(..) {
                topic.release();
            }
        }
    }

    /// Deletes topics; returns how many there were. Blocks until the deletion is durable.
    ///
    /// # Errors
    /// When the catalog cannot be written (nothing is deleted then), or files cannot be removed.
    pub fn delete_topics(&self, database: Database, names: &[&[u8]]) -> Result<usize, TopicError> {
        let mut catalog = self.catalog.lock();
        let mut topics: Vec<_> = names.iter().filter_map(|name| self.topic(database, name)).collect();
        topics.sort_by_key(|topic| topic.uid);
        topics.dedup_by_key(|topic| topic.uid);
        self.delete(&mut catalog, &topics)
    }

    /// Deletes all topics of a database, or of all; returns how many there were.
    ///
    /// # Errors
    /// As [`Engine::delete_topics`].
    pub fn flush(&self, database: Option<Database>) -> Result<usize, TopicError> {
        let mut catalog = self.catalog.lock();
        let topics = self.names.all(database);
        self.delete(&mut catalog, &topics)
    }

    pub(crate) fn delete(&self, catalog: &mut Catalog, topics: &[Arc<Topic>]) -> Result<usize, TopicError> {
        if topics.is_empty() {
            return Ok(0);
        }
        self.check_reach(topics)?;
        for topic in topics {
            topic.close_for_writes();
        }
        self.kick();
        for topic in topics {
            // Whatever was accepted is answered before the topic goes.
            for ticket in topic.last_tickets() {
                let _ = wait(topic.committed(ticket));
            }
        }
        let records: Vec<_> = topics.iter().map(|topic| CatalogRecord::Delete { uid: topic.uid }).collect();
        if let Err(error) = catalog.append(&records, self.options.clock.now_ms()) {
            for topic in topics {
                if catalog.is_unsettled() {
                    // The next start may find the deletion in the file: nothing may be acknowledged until it is out.
                    topic.hold(&format!("its deletion failed and could not be taken back: {error}"));
                    self.held.lock().push(Arc::clone(topic));
                }
                topic.reopen_for_writes();
            }
            return Err(error);
        }
        // All names at once: whoever looks one up from here on may make the topic anew, when the files are gone.
        for topic in topics {
            self.names.remove(topic);
        }
        self.remove_deleted(catalog, topics)?;
        Ok(topics.len())
    }

    /// Whether topics can be deleted with all they have: what a backend holds that is not there now would come back, and
    /// what is another server's is not to be deleted.
    pub(crate) fn check_reach(&self, topics: &[Arc<Topic>]) -> Result<(), TopicError> {
        for topic in topics {
            self.storage.check_owned(topic.files.backend.as_deref())?;
            let reached = self.storage.check(topic.files.backend.as_deref());
            let topic = || topic.name().to_string();
            reached.map_err(|error| TopicError::OutOfReach { topic: topic(), error: Box::new(error) })?;
        }
        Ok(())
    }

    /// Ends topics whose deletion is in the catalog and whose names are gone.
    pub(crate) fn remove_deleted(
        &self,
        catalog: &mut Catalog,
        topics: &[Arc<Topic>],
    ) -> Result<(), TopicError> {
        for topic in topics {
            topic.set_deleted();
        }
        for topic in topics {
            topic.close_logs();
        }
        self.remove_files(topics)?;
        catalog.note_removed(topics.iter().map(|topic| topic.uid), self.options.clock.now_ms());
        Ok(())
    }

    /// Waits until topics whose deletion is under way are gone, or there again if it failed. Blocks.
    pub fn wait_for_deletions(&self) {
        drop(self.catalog.lock());
    }

    /// Removes the files of deleted topics, with one sync per directory.
    pub(crate) fn remove_files(&self, topics: &[Arc<Topic>]) -> Result<(), TopicError> {
        let logs_of = |topic: &Arc<Topic>| topic.files.all(usize::from(topic.partitions()));
        let logs: Vec<LogName> = topics.iter().flat_map(logs_of).collect();
        let result = self.storage.delete(&logs);
        if result.is_err() {
            // A file that cannot be removed must not leave those of other topics behind: their names are free again.
            for topic in topics {
                if let Err(error) = self.storage.delete(&logs_of(topic)) {
                    tracing::error!(topic = %topic.name(), %error, "files of a deleted topic not removed");
                }
            }
        }
        Ok(result?)
    }
}
