//! Transactions: what several commands do to several topics counts as a whole, or not at all.
//!
//! ```text
//! begin line, synced │ the commands do what they always do │ all of it synced │ commit line, synced │ deletions
//! ```
//!
//! The begin line says where every log of the topics concerned ends. What a start finds begun and not committed it takes
//! back: it cuts those logs to the ends noted, and removes topics that were not there. One that fails while the server runs is
//! taken back as soon as its logs can be written again (`take_back.rs`). Nobody else may work on the topics
//! meanwhile: that is for the caller to see to, and rewrites are held back here. Deletions alone cannot be taken back,
//! so they are carried out behind the commit line, which names them.

mod log;
mod record;
mod take_back;
mod undo;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use thiserror::Error;
use wafka_core::{Database, Offset, TopicName};

use crate::catalog::{Catalog, CatalogRecord};
use crate::engine::Engine;
use crate::error::TopicError;
use crate::topic::{Topic, TopicEnds};
use crate::wait::wait;
use log::NotWritten;
use record::{LogEnd, NameText, TopicBefore, TransactionRecord};
use take_back::Failed;

pub(crate) use log::TransactionLog;
pub(crate) use undo::Undo;

/// Why a transaction did not come about. The texts begin with the error's RESP code.
#[derive(Clone, Debug, Error)]
pub enum TransactionError {
    /// One of its topics cannot be written to.
    #[error("READONLY topic '{topic}': {reason}")]
    ReadOnly {
        /// The topic.
        topic: String,
        /// Why.
        reason: Arc<str>,
    },
    /// Its beginning could not be noted; nothing was done.
    #[error("IOERR the transaction cannot begin, nothing of it was done: {0}")]
    NotBegun(Arc<str>),
    /// Its end could not be noted.
    #[error(
        "IOERR the transaction failed and is taken back as soon as its logs can be written, or at the next start; until \
         then its topics can be neither read nor written: {0}"
    )]
    NotCommitted(Arc<str>),
    /// Nobody knows whether its end was noted.
    #[error(
        "UNKNOWN whether the transaction counts: it is taken back as soon as its logs can be written, unless the next \
         start comes first and finds it; until then its topics can be neither read nor written: {0}"
    )]
    Unknown(Arc<str>),
}

/// What the engine knows of transactions.
pub(crate) struct Transactions {
    pub(crate) log: TransactionLog,
    /// Names that no topic may be made of.
    barred: Mutex<HashMap<(Database, TopicName), Barred>>,
    /// Committed deletions that could not be carried out yet, with the transaction they are of.
    unfinished: Mutex<Vec<(Offset, Vec<Arc<Topic>>)>>,
    /// Those that failed and are not taken back yet.
    failed: Mutex<Vec<Failed>>,
}

/// Why no topic of a name may be made.
#[derive(Clone, Copy)]
enum Barred {
    /// A transaction that is not at its end deleted the one there was.
    Deleted,
    /// One that failed was about it.
    Failed,
}

impl Transactions {
    pub(crate) fn new(log: TransactionLog) -> Self {
        Transactions { log, barred: Mutex::default(), unfinished: Mutex::default(), failed: Mutex::default() }
    }

    fn bar(&self, database: Database, name: &TopicName, why: Barred) {
        self.barred.lock().insert((database, name.clone()), why);
    }

    /// Whether a topic of that name may be made.
    pub(crate) fn check_name(&self, database: Database, name: &TopicName) -> Result<(), TopicError> {
        match self.barred.lock().get(&(database, name.clone())) {
            None => Ok(()),
            Some(Barred::Deleted) => Err(TopicError::DeletedInTransaction(name.to_string())),
            Some(Barred::Failed) => Err(TopicError::TransactionFailed(name.to_string())),
        }
    }
}

/// A transaction under way. One that is dropped without [`Transaction::commit`] is taken back.
pub struct Transaction {
    engine: Arc<Engine>,
    begin: Offset,
    /// The topics concerned, and where their logs ended.
    topics: Vec<(Arc<Topic>, TopicEnds)>,
    /// The names concerned, in no order.
    names: Vec<(Database, TopicName)>,
    /// Deleted, but for what cannot be taken back.
    deleted: Mutex<Vec<Arc<Topic>>>,
    ended: Mutex<bool>,
}

impl Engine {
    /// Begins a transaction on the topics of these names, those that exist and those that may come to be. Nobody else may
    /// use them until it ends. Waits until what was accepted before is durable. Blocks.
    ///
    /// # Errors
    /// When one of the topics cannot be written to, or the beginning cannot be noted; nothing has changed then.
    pub fn begin_transaction(
        self: &Arc<Self>,
        mut names: Vec<(Database, TopicName)>,
    ) -> Result<Transaction, TransactionError> {
        names.sort_unstable();
        names.dedup();
        let found = |(database, name): &(Database, TopicName)| self.names.get(*database, name.as_bytes());
        self.clear_expired(names.iter().filter_map(found))?;
        let topics: Vec<Arc<Topic>> = names.iter().filter_map(found).collect();
        let absent = names.iter().filter(|name| found(name).is_none());
        let absent = absent.map(|(database, name)| NameText::new(*database, name)).collect();
        for topic in &topics {
            topic.freeze.freeze();
        }
        let begun = self.note_begin(&topics, absent, &names);
        match begun {
            Ok((begin, ends)) => Ok(Transaction {
                engine: Arc::clone(self),
                begin,
                topics: topics.into_iter().zip(ends).collect(),
                names,
                deleted: Mutex::default(),
                ended: Mutex::new(false),
            }),
            Err(error) => {
                topics.iter().for_each(|topic| topic.freeze.thaw());
                Err(error)
            }
        }
    }

    /// Deletes topics whose time has come: within the transaction it would not have.
    fn clear_expired(&self, topics: impl Iterator<Item = Arc<Topic>>) -> Result<(), TransactionError> {
        let expired: Vec<_> = topics.filter(|topic| topic.is_expired()).collect();
        if expired.is_empty() {
            return Ok(());
        }
        self.expire(&expired);
        let Some(left) = expired.iter().find(|topic| !topic.is_deleted()) else { return Ok(()) };
        let reason =
            left.held_reason().unwrap_or_else(|| "its time has come, but it is not deleted yet".into());
        Err(TransactionError::ReadOnly { topic: left.name().to_string(), reason })
    }

    fn note_begin(
        &self,
        topics: &[Arc<Topic>],
        absent: Vec<NameText>,
        names: &[(Database, TopicName)],
    ) -> Result<(Offset, Vec<TopicEnds>), TransactionError> {
        for topic in topics {
            while let Some(ticket) = topic.open_ticket() {
                self.kick();
                // Whoever asked for it is told if it failed.
                let _ = wait(topic.committed(ticket));
            }
            if let Some(reason) = topic.held_reason() {
                return Err(TransactionError::ReadOnly { topic: topic.name().to_string(), reason });
            }
        }
        let ends: Vec<TopicEnds> = topics.iter().map(|topic| topic.ends()).collect();
        let before: Vec<_> = topics.iter().zip(&ends).map(|(topic, ends)| before(topic, ends)).collect();
        let record = TransactionRecord::Begin { topics: before.clone(), absent };
        let begin = self.transactions.log.write(record);
        // One that is found at the next start although it was not begun is taken back: nothing stands behind its ends
        // that was not there, unless the topics went on.
        match begin {
            Ok(begin) => Ok((begin, ends)),
            Err(NotWritten { reason, unsure: false }) => Err(TransactionError::NotBegun(reason)),
            Err(NotWritten { reason, unsure: true }) => {
                for topic in topics {
                    self.hold_for_good(topic, "the beginning of a transaction may have been noted, or not");
                }
                // The next start removes what there is of the names that the line calls new.
                for (database, name) in names {
                    self.transactions.bar(*database, name, Barred::Failed);
                }
                self.transactions.failed.lock().push(Failed::new(None, before, names.to_vec()));
                Err(TransactionError::NotBegun(reason))
            }
        }
    }

    /// The topic cannot be written to, rewritten or replaced until it is opened afresh.
    fn hold_for_good(&self, topic: &Arc<Topic>, reason: &str) {
        // First: from the moment it is not under way any more, the topic's time may have come.
        self.transactions.bar(topic.database(), topic.name(), Barred::Failed);
        topic.freeze.keep_frozen();
        topic.hold_until_reopened(reason);
    }

    /// Tries again to carry out deletions whose transaction is committed.
    pub(crate) fn finish_deletions(&self) {
        let unfinished = std::mem::take(&mut *self.transactions.unfinished.lock());
        for (begin, topics) in unfinished {
            self.carry_out(begin, topics);
        }
    }

    /// Carries out the deletions of a transaction that is committed.
    fn carry_out(&self, begin: Offset, topics: Vec<Arc<Topic>>) {
        let mut catalog = self.catalog.lock();
        if let Err(error) = self.delete_committed(&mut catalog, &topics) {
            tracing::error!(%error, "topics that a transaction deleted are not removed yet");
            self.transactions.unfinished.lock().push((begin, topics));
            return;
        }
        let mut barred = self.transactions.barred.lock();
        for topic in &topics {
            barred.remove(&(topic.database(), topic.name().clone()));
        }
        drop((barred, catalog));
        self.transactions.log.close(begin);
    }

    fn delete_committed(&self, catalog: &mut Catalog, topics: &[Arc<Topic>]) -> Result<(), TopicError> {
        if topics.is_empty() {
            return Ok(());
        }
        let records: Vec<_> = topics.iter().map(|topic| CatalogRecord::Delete { uid: topic.uid }).collect();
        catalog.append(&records, self.options.clock.now_ms())?;
        if let Err(error) = self.remove_deleted(catalog, topics) {
            // The next start looks for them, as for those of every deletion.
            tracing::error!(%error, "files of topics that a transaction deleted are left behind");
        }
        Ok(())
    }
}

impl Transaction {
    /// Deletes topics; returns how many there were. They are gone for everybody, and their names cannot be used again
    /// before [`Transaction::commit`].
    #[must_use]
    pub fn delete(&self, database: Database, names: &[&[u8]]) -> usize {
        let _catalog = self.engine.catalog.lock();
        let mut topics: Vec<_> = names.iter().filter_map(|name| self.engine.topic(database, name)).collect();
        topics.sort_by_key(|topic| topic.uid);
        topics.dedup_by_key(|topic| topic.uid);
        for topic in &topics {
            topic.close_for_writes();
        }
        self.engine.kick();
        for topic in &topics {
            for ticket in topic.last_tickets() {
                let _ = wait(topic.committed(ticket));
            }
            self.engine.transactions.bar(topic.database(), topic.name(), Barred::Deleted);
            self.engine.names.remove(topic);
        }
        let count = topics.len();
        self.deleted.lock().extend(topics);
        count
    }

    /// Makes all that was done durable, together. Blocks.
    ///
    /// # Errors
    /// When that fails: the error says what becomes of it.
    pub fn commit(&self) -> Result<(), TransactionError> {
        let mut ended = self.ended.lock();
        if std::mem::replace(&mut *ended, true) {
            return Ok(());
        }
        let deleted = self.deleted.lock().clone();
        let record = TransactionRecord::Commit {
            begin: self.begin,
            deleted: deleted.iter().map(|topic| topic.uid).collect(),
        };
        let written = self.sync().and_then(|()| self.engine.transactions.log.write(record).map(|_| ()));
        if let Err(NotWritten { reason, unsure }) = written {
            self.fail(&reason);
            return Err(match unsure {
                true => TransactionError::Unknown(reason),
                false => TransactionError::NotCommitted(reason),
            });
        }
        for (topic, _) in &self.topics {
            topic.freeze.thaw();
        }
        self.engine.carry_out(self.begin, deleted);
        Ok(())
    }

    /// Syncs what was written, whatever the policy is.
    fn sync(&self) -> Result<(), NotWritten> {
        if self.engine.is_synced() {
            return Ok(());
        }
        let now =
            |(database, name): &(Database, TopicName)| self.engine.names.get(*database, name.as_bytes());
        let before = |topic: &Arc<Topic>| self.topics.iter().find(|(other, _)| other.uid == topic.uid);
        let mut changed = HashSet::new();
        for topic in self.names.iter().filter_map(now) {
            let ends = before(&topic).map(|(_, ends)| ends);
            changed.extend(topic.slots_changed_since(ends));
        }
        for (index, broker) in self.engine.brokers.iter().enumerate() {
            if !changed.iter().any(|(at, _)| *at == index) {
                continue;
            }
            let failures = broker.sync_appended();
            if let Some(failure) = failures.iter().find(|failure| changed.contains(&(index, failure.slot))) {
                return Err(NotWritten { reason: failure.error.to_string().into(), unsure: false });
            }
        }
        Ok(())
    }

    /// Nobody may go on where something is going to be cut, or see it.
    fn fail(&self, reason: &str) {
        let held = format!(
            "a transaction on it failed, and is taken back as soon as its logs can be written, or at the next start: {reason}"
        );
        for topic in self.deleted.lock().drain(..) {
            self.engine.names.insert(&topic);
            topic.reopen_for_writes();
        }
        for (topic, _) in &self.topics {
            self.engine.hold_for_good(topic, &held);
            topic.hide();
        }
        for (database, name) in &self.names {
            if let Some(topic) = self.engine.names.get(*database, name.as_bytes()) {
                self.engine.hold_for_good(&topic, &held);
                topic.hide();
                if self.topics.iter().all(|(before, _)| before.uid != topic.uid) {
                    self.engine.names.set_made_in_vain(&topic);
                }
            }
            self.engine.transactions.bar(*database, name, Barred::Failed);
        }
        let before = self.topics.iter().map(|(topic, ends)| before(topic, ends)).collect();
        let failed = Failed::new(Some(self.begin), before, self.names.clone());
        self.engine.transactions.failed.lock().push(failed);
    }
}

fn before(topic: &Topic, ends: &TopicEnds) -> TopicBefore {
    TopicBefore {
        uid: topic.uid,
        name: NameText::new(topic.database(), topic.name()),
        partitions: ends.partitions.iter().map(|end| LogEnd::from(*end)).collect(),
        journal: ends.journal.map(LogEnd::from),
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !*self.ended.get_mut() {
            self.fail("it was cut short");
        }
    }
}
