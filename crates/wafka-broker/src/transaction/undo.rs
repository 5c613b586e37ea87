//! What a start does about transactions: takes back what was not committed, and carries through what was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wafka_core::storage::{Cursor, LogName, OpenRequest, StorageError};

use super::log::{LoadedTransactions, TransactionLog};
use super::record::{LogEnd, NameText, TopicBefore, TransactionRecord};
use crate::backends::Backends;
use crate::broker::Broker;
use crate::catalog::{CatalogRecord, CatalogTopic, Loaded};
use crate::error::StartError;
use crate::index::SparseIndex;
use crate::options::EngineOptions;
use crate::topic::home_of;

/// What is needed to take transactions back, before any topic is open.
pub(crate) struct Undo<'a> {
    pub(crate) storage: &'a Backends,
    pub(crate) brokers: &'a [Arc<Broker>],
    pub(crate) options: &'a EngineOptions,
}

/// A transaction that began and was not committed.
struct Begun {
    topics: Vec<TopicBefore>,
    absent: Vec<NameText>,
}

impl Undo<'_> {
    /// Opens the log of transactions and does what it asks for.
    pub(crate) fn run(&self, catalog: &mut Loaded) -> Result<TransactionLog, StartError> {
        let LoadedTransactions { log, records } =
            TransactionLog::open(self.storage, &self.brokers[0], Arc::clone(&self.options.clock))?;
        let mut open: BTreeMap<u64, Begun> = BTreeMap::new();
        let mut deleted = BTreeSet::new();
        for (offset, record) in records {
            match record {
                TransactionRecord::Begin { topics, absent } => {
                    open.insert(offset, Begun { topics, absent });
                }
                TransactionRecord::Commit { begin, deleted: uids } => {
                    open.remove(&begin);
                    deleted.extend(uids);
                }
                TransactionRecord::Undone { begin } => {
                    open.remove(&begin);
                }
            }
        }
        self.delete(catalog, |topic| deleted.contains(&topic.uid))?;
        for (begin, begun) in &open {
            tracing::warn!(
                transaction = begin,
                topics = begun.topics.len(),
                "taking back a transaction that was not committed"
            );
            self.take_back(catalog, begun).map_err(|error| {
                let topics: Vec<_> = begun.topics.iter().map(|before| before.name.topic.as_str()).collect();
                StartError::Transactions(format!(
                    "the transaction of line {begin}, on topics {topics:?}, was not committed and cannot be taken back: {error}; \
                     expected their storage backends as they were: configure them again and start once"
                ))
            })?;
            // Never again: what is written from here on stands where this was cut.
            log.write(TransactionRecord::Undone { begin: *begin }).map_err(|error| {
                StartError::Transactions(format!("not noted that one was taken back: {}", error.reason))
            })?;
        }
        Ok(log)
    }

    fn take_back(&self, catalog: &mut Loaded, begun: &Begun) -> Result<(), StartError> {
        let mut gone = Vec::new();
        for before in &begun.topics {
            match catalog.topics.iter().find(|topic| topic.uid == before.uid) {
                Some(topic) => gone.extend(self.cut(topic, before)?),
                // Somebody deleted it after the transaction had failed, or its time had come before it began.
                None => tracing::warn!(topic = %before.name.topic, "deleted since the transaction began"),
            }
        }
        if !gone.is_empty() {
            self.storage.delete(&gone)?;
        }
        let is_new = |topic: &CatalogTopic| {
            let is_it = |name: &NameText| name.database == topic.database && name.topic == topic.topic;
            begun.absent.iter().any(is_it)
                || begun.topics.iter().any(|before| is_it(&before.name) && before.uid != topic.uid)
        };
        self.delete(catalog, is_new)
    }

    /// Deletes topics from the catalog; their files go with those of other deletions.
    fn delete(
        &self,
        catalog: &mut Loaded,
        is_gone: impl Fn(&CatalogTopic) -> bool,
    ) -> Result<(), StartError> {
        let (gone, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut catalog.topics).into_iter().partition(|topic| is_gone(topic));
        catalog.topics = left;
        if gone.is_empty() {
            return Ok(());
        }
        let records: Vec<_> = gone.iter().map(|topic| CatalogRecord::Delete { uid: topic.uid }).collect();
        catalog.catalog.append(&records, self.options.clock.now_ms())?;
        catalog.deleted.extend(gone);
        Ok(())
    }

    /// Cuts a topic's logs to where they ended; returns its journal if that was not there.
    pub(super) fn cut(
        &self,
        topic: &CatalogTopic,
        before: &TopicBefore,
    ) -> Result<Option<LogName>, StartError> {
        let Some(files) = topic.files(self.storage) else { return Ok(None) };
        if !self.storage.keeps(topic.backend.as_deref()) {
            // It is empty as it is.
            return Ok(None);
        }
        for (index, end) in before.partitions.iter().enumerate() {
            let place = self.options.index.as_ref();
            let place = place.filter(|_| self.storage.keeps_indexes(topic.backend.as_deref()));
            let sparse = SparseIndex::open(place, &files.index(index));
            let last = sparse.last().filter(|entry| entry.offset < end.0);
            let known =
                last.map(|entry| Cursor { offset: entry.offset, position: entry.position, generation: 0 });
            let broker = &self.brokers[index % self.brokers.len()];
            cut_log(broker, &files.partition(index), *end, known)?;
            if sparse.last().is_some_and(|entry| entry.offset >= end.0) {
                // It speaks of lines that are gone; the topic's opening makes a new one.
                sparse.reset().map_err(|source| StorageError::Io {
                    log: files.partition(index).to_string(),
                    operation: "reset the index",
                    source,
                })?;
            }
        }
        match before.journal {
            None => Ok(Some(files.journal())),
            Some(end) => {
                let home = home_of(topic.uid, self.brokers.len());
                cut_log(&self.brokers[home], &files.journal(), end, None)?;
                Ok(None)
            }
        }
    }
}

/// Cuts a log to where it ended, if there is more of it.
fn cut_log(broker: &Broker, log: &LogName, end: LogEnd, known: Option<Cursor>) -> Result<(), StorageError> {
    let LogEnd(offset, position) = end;
    broker.with_shard(|shard| {
        let opened = shard.open(log, OpenRequest { create: false, known })?;
        let more = opened.end.offset > offset || opened.end.position > position;
        let generation = opened.end.generation;
        let cut = match more {
            true => shard.reopen(opened.slot, Cursor { offset, position, generation }),
            false => Ok(()),
        };
        if more && cut.is_ok() {
            tracing::warn!(%log, offset, "cut back to where it ended when the transaction began");
        }
        shard.close(opened.slot);
        cut
    })
}
