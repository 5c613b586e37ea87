//! What a start does with what the catalog says, and with what the configuration declares.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use wafka_core::storage::LogName;

use crate::backends::Backends;
use crate::catalog::{CatalogRecord, CatalogTopic, Loaded};
use crate::engine::Engine;
use crate::error::StartError;
use crate::index::claim;
use crate::opening::Opening;
use crate::options::{DeclaredTopic, EngineOptions};

/// So many topics are opened at once where that is waiting for answers.
const OPEN_AT_ONCE: usize = 16;

/// Where several servers open the data one after the other: sees to it that no index is believed that another one has made
/// wrong, and that none of this server's is believed elsewhere. See [`claim`].
pub(crate) fn claim_indexes(
    options: &mut EngineOptions,
    storage: &Backends,
    loaded: &mut Loaded,
) -> Result<(), StartError> {
    if storage.ownership().is_none() {
        return Ok(());
    }
    let name = claim::new_name();
    if let Some(place) = &options.index {
        if loaded.indexed.as_ref().is_some_and(|named| claim::is_named(place, named)) {
            return Ok(());
        }
        if let Err(error) = claim::begin(place, &name) {
            tracing::warn!(dir = %place.dir.display(), %error, "indexes are kept in memory only");
            options.index = None;
        }
    }
    // Also where there is none: from here on those of other servers are out of date.
    let record = CatalogRecord::Indexed { place: name };
    Ok(loaded.catalog.append(&[record], options.clock.now_ms())?)
}

impl Engine {
    /// A deletion may have been cut short by a crash, after it was noted and before the files were gone.
    pub(crate) fn remove_left_behind(
        &self,
        topics: &[CatalogTopic],
        deleted: &[CatalogTopic],
    ) -> Result<(), StartError> {
        let in_use: HashSet<LogName> = topics.iter().flat_map(|topic| topic.logs(&self.storage)).collect();
        let gone: HashSet<LogName> = deleted.iter().flat_map(|topic| topic.logs(&self.storage)).collect();
        let backends: HashSet<Option<&Arc<str>>> = gone.iter().map(LogName::backend).collect();
        let mut unreachable = HashSet::new();
        for backend in backends {
            let removed = self.storage.list(backend).and_then(|mut left| {
                left.retain(|log| gone.contains(log) && !in_use.contains(log));
                if left.is_empty() {
                    return Ok(());
                }
                tracing::warn!(files = ?left, "removing what an interrupted deletion left behind");
                self.storage.delete(&left)
            });
            match (removed, backend) {
                (Ok(()), _) => {}
                (Err(error), Some(name)) => {
                    tracing::warn!(%error, "what an interrupted deletion left behind there stays until a later start");
                    unreachable.insert(&**name);
                }
                (Err(error), None) => return Err(error.into()),
            }
        }
        let reached = |topic: &&CatalogTopic| match &topic.backend {
            None => true,
            Some(backend) => !unreachable.contains(&**backend),
        };
        let uids = deleted.iter().filter(reached).map(|topic| topic.uid);
        self.catalog.lock().note_removed(uids, self.options.clock.now_ms());
        Ok(())
    }

    /// Opens the topics that the catalog knows. Where several servers reach them, each answer comes over a network, so some
    /// are waited for at once; what lies on a disk is opened in order.
    pub(crate) fn open_all(&self, topics: &[CatalogTopic]) -> Result<(), StartError> {
        let is_far = |topic: &&CatalogTopic| self.storage.is_shared(topic.backend.as_deref());
        let (far, near): (Vec<_>, Vec<_>) = topics.iter().partition(is_far);
        near.into_iter().try_for_each(|topic| self.open(topic))?;
        let begun = Instant::now();
        let next = AtomicUsize::new(0);
        let some = || {
            while let Some(topic) = far.get(next.fetch_add(1, Ordering::Relaxed)) {
                // Behind one that does not open no other one matters.
                self.open(topic).inspect_err(|_| next.store(far.len(), Ordering::Relaxed))?;
            }
            Ok(())
        };
        let result = std::thread::scope(|scope| {
            let others = (1..OPEN_AT_ONCE.min(far.len())).map_while(|_| {
                std::thread::Builder::new().name("open".to_owned()).spawn_scoped(scope, some).ok()
            });
            // A system that has no thread left has this one.
            let others: Vec<_> = others.collect();
            let first = some();
            others.into_iter().fold(first, |result, other| match other.join() {
                Ok(opened) => result.and(opened),
                Err(panic) => std::panic::resume_unwind(panic),
            })
        });
        if !far.is_empty() {
            tracing::info!(topics = far.len(), time = ?begun.elapsed(), "opened");
        }
        result
    }

    /// Opens a topic that the catalog knows.
    fn open(&self, record: &CatalogTopic) -> Result<(), StartError> {
        let Some(name) = record.name() else {
            return Err(StartError::Catalog(format!("'{}' is no topic's name", record.topic)));
        };
        let partitioner = self.partitioner_of(record, &name);
        if let Err(reason) = &partitioner {
            tracing::error!(topic = %name, %reason, "topic is read-only");
        }
        let opening = match self.storage.keeps(record.backend.as_deref()) {
            true => Opening::Start,
            // Its events were to be thrown away; what it is made of was not.
            false => {
                let files = record.files_of(&name, &self.storage);
                let logs: Vec<_> =
                    (0..usize::from(record.partitions)).map(|at| files.partition(at)).collect();
                self.storage.create(&logs)?;
                Opening::New
            }
        };
        let topic = self.open_with(record, name, partitioner, opening)?;
        self.names.insert(&topic);
        if topic.is_unread() {
            self.degraded.lock().push(topic);
        }
        Ok(())
    }

    /// Makes a declared topic, or holds the one there is against its declaration.
    pub(crate) fn declare(&self, declared: &DeclaredTopic) -> Result<(), StartError> {
        let fail = |reason: String| StartError::Topic { topic: declared.name.to_string(), reason };
        let (topic, created) = self
            .create_topic(declared.database, &declared.name, Some(&declared.spec))
            .map_err(|error| fail(error.to_string()))?;
        if created {
            return Ok(());
        }
        let record = topic.catalog_record();
        if let Some(partitions) = declared.spec.partitions
            && partitions != record.partitions
        {
            return Err(fail(format!(
                "it has {} partitions for life, the configuration says {partitions}",
                record.partitions
            )));
        }
        let backend = record.backend.as_deref().unwrap_or(self.storage.default_name());
        if let Some(asked) = declared.spec.backend.as_deref()
            && asked != backend
        {
            return Err(fail(format!(
                "it is in storage backend '{backend}' for life, the configuration says '{asked}': mend the \
                 configuration (backend of the topic, or of topic_defaults)"
            )));
        }
        let same_strategy = declared.spec.partitioner == record.partitioner;
        if !same_strategy || declared.spec.options != record.options {
            let remedy = if same_strategy {
                "change the options with TOPIC ALTER, or mend the configuration"
            } else {
                "a topic keeps its strategy for life: mend the configuration"
            };
            topic.set_read_only(format!(
                "its strategy is '{}' with options {}, the configuration says '{}' with {}: {remedy}",
                record.partitioner,
                serde_json::Value::Object(record.options),
                declared.spec.partitioner,
                serde_json::Value::Object(declared.spec.options.clone()),
            ));
        }
        Ok(())
    }
}
