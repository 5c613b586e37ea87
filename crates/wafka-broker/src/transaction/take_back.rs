//! Taking back what failed while the server runs: as the next start would, without one.
//!
//! Nothing was written to the topics since, for they are held. So when their logs, the catalog and the log of transactions
//! can be written again, the topics are closed, cut to where they ended, and opened afresh. A crash in between leaves the next
//! start to do it: it is noted as done behind the cuts, and before anybody may write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wafka_core::{Database, Offset, TopicName};

use super::record::{TopicBefore, TransactionRecord};
use super::{Barred, Undo};
use crate::catalog::Catalog;
use crate::engine::Engine;
use crate::topic::{RETRY_AFTER, Topic};

/// A try that failed may have held others up for as long as the backend waits for its engine, so they become rarer, up to
/// this.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A transaction that failed.
pub(super) struct Failed {
    /// Its first line; `None` where that was not written, for certain as soon as the log is settled.
    pub(super) begin: Option<Offset>,
    /// The topics concerned, as they were.
    pub(super) before: Vec<TopicBefore>,
    /// The names concerned.
    pub(super) names: Vec<(Database, TopicName)>,
    /// How long the next try is put off, and until when.
    pause: Duration,
    due: Instant,
}

impl Failed {
    pub(super) fn new(
        begin: Option<Offset>,
        before: Vec<TopicBefore>,
        names: Vec<(Database, TopicName)>,
    ) -> Self {
        Failed { begin, before, names, pause: Duration::ZERO, due: Instant::now() }
    }

    fn put_off(&mut self) {
        self.pause = (self.pause * 2).clamp(RETRY_AFTER, PAUSE_MAX);
        self.due = Instant::now() + self.pause;
    }
}

impl Engine {
    /// Tries to take back what failed.
    pub(crate) fn take_back_failed(&self) {
        let failed = std::mem::take(&mut *self.transactions.failed.lock());
        for mut transaction in failed {
            if Instant::now() < transaction.due {
                self.transactions.failed.lock().push(transaction);
                continue;
            }
            let topics = transaction.before.len();
            match self.take_back(&transaction) {
                Ok(()) => tracing::warn!(topics, "took back a transaction that had failed"),
                Err(reason) => {
                    tracing::debug!(topics, reason, "a transaction that failed cannot be taken back yet");
                    transaction.put_off();
                    self.transactions.failed.lock().push(transaction);
                }
            }
        }
    }

    fn take_back(&self, failed: &Failed) -> Result<(), String> {
        // Where the engine is silent this takes long, and nobody is to wait for the catalog meanwhile.
        self.transactions.log.settle().map_err(|error| error.to_string())?;
        let mut catalog = self.catalog.lock();
        if !catalog.settle() {
            return Err("the catalog cannot be written".to_owned());
        }
        // Others may have written meanwhile, and failed.
        if self.transactions.log.is_unsettled() {
            return Err("the log of transactions cannot be written".to_owned());
        }
        let there =
            failed.names.iter().filter_map(|(database, name)| self.names.get(*database, name.as_bytes()));
        let (old, new): (Vec<_>, Vec<_>) =
            there.partition(|topic| failed.before.iter().any(|before| before.uid == topic.uid));
        for (at, topic) in old.iter().enumerate() {
            if !self.quiesce(topic) {
                old[..at].iter().for_each(|topic| topic.reopen_for_writes());
                return Err(format!("topic '{}' has a log that cannot be written", topic.name()));
            }
        }
        let cut = self.cut_back(&mut catalog, failed, &old, &new);
        if cut.is_err() {
            old.iter().for_each(|topic| topic.reopen_for_writes());
            return cut;
        }
        // From here on there is nothing of it any more.
        for topic in &old {
            let left = self.open_afresh(topic);
            self.degraded.lock().extend(left);
        }
        let mut barred = self.transactions.barred.lock();
        for name in &failed.names {
            if matches!(barred.get(name), Some(Barred::Failed)) {
                barred.remove(name);
            }
        }
        drop((barred, catalog));
        if let Some(begin) = failed.begin {
            self.transactions.log.close(begin);
        }
        Ok(())
    }

    /// Cuts the logs of topics that there were, removes topics that there were not, and notes that it is done.
    fn cut_back(
        &self,
        catalog: &mut Catalog,
        failed: &Failed,
        old: &[Arc<Topic>],
        new: &[Arc<Topic>],
    ) -> Result<(), String> {
        for topic in old {
            topic.close_slots();
        }
        let Some(begin) = failed.begin else { return Ok(()) };
        self.delete(catalog, new).map_err(|error| error.to_string())?;
        let undo = Undo { storage: &self.storage, brokers: &self.brokers, options: &self.options };
        let mut gone = Vec::new();
        for topic in old {
            let Some(before) = failed.before.iter().find(|before| before.uid == topic.uid) else { continue };
            let ends: Vec<Offset> = before.partitions.iter().map(|end| end.0).collect();
            topic.forget_index_behind(&ends);
            gone.extend(undo.cut(&topic.catalog_record(), before).map_err(|error| error.to_string())?);
        }
        if !gone.is_empty() {
            self.storage.delete(&gone).map_err(|error| error.to_string())?;
        }
        let undone = self.transactions.log.write(TransactionRecord::Undone { begin });
        undone.map(drop).map_err(|error| error.reason.to_string())
    }
}
