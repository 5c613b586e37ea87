//! The time in which this server owns the data: from the lease's acquisition until it is given up or lost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use wafka_core::storage::{Owner, StorageError};

use crate::log::Loaded;
use crate::segments::Cut;

/// A tenure. Everything that is written names its epoch, or follows what does.
pub(crate) struct Tenure {
    pub epoch: u64,
    pub owner: Owner,
    /// Who writes: a name that each opening of the backend has for itself.
    pub session: String,
    /// Why it is over. It never begins again.
    over: OnceLock<Arc<str>>,
    /// What the logs held when they were taken over, by their streams, until they are opened.
    prepared: Mutex<HashMap<String, Arc<Prepared>>>,
}

/// A log that is being taken over, or was.
#[derive(Default)]
pub(crate) struct Prepared {
    pub loaded: OnceCell<Loaded>,
    /// It was opened since: it holds something else now.
    taken: AtomicBool,
}

impl Prepared {
    /// Whether nobody has opened the log before: true for one caller.
    pub(crate) fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::SeqCst)
    }
}

impl Tenure {
    pub(crate) fn new(epoch: u64, owner: Owner, session: String) -> Arc<Self> {
        let prepared = Mutex::default();
        Arc::new(Tenure { epoch, owner, session, over: OnceLock::new(), prepared })
    }

    /// Ends it, for the first reason that is given.
    pub(crate) fn end(&self, reason: &str) {
        if self.over.set(reason.into()).is_ok() {
            ::log::warn!("epoch {} is over: {reason}", self.epoch);
        }
    }

    /// Why it is over, if it is.
    pub(crate) fn over(&self) -> Option<&Arc<str>> {
        self.over.get()
    }

    /// # Errors
    /// When it is over; `log` is what is to be written.
    pub(crate) fn check(&self, log: &str) -> Result<(), StorageError> {
        self.over.get().map_or(Ok(()), |reason| Err(not_owner(log, reason)))
    }

    /// Whether an owner of this epoch, or what it left, comes before this one.
    pub(crate) fn outranks(&self, epoch: u64, session: &str) -> bool {
        epoch < self.epoch || self.is_own(epoch, session)
    }

    pub(crate) fn is_own(&self, epoch: u64, session: &str) -> bool {
        epoch == self.epoch && session == self.session
    }

    /// Whether a cut was written in this tenure.
    pub(crate) fn has_cut(&self, body: &[u8]) -> bool {
        serde_json::from_slice::<Cut>(body).is_ok_and(|cut| self.is_own(cut.epoch, &cut.writer))
    }

    pub(crate) fn prepared(&self, stream: &str) -> Arc<Prepared> {
        Arc::clone(self.prepared.lock().entry(stream.to_owned()).or_default())
    }
}

/// What to answer whoever wants to write, and may not.
pub(crate) fn not_owner(log: &str, reason: &str) -> StorageError {
    StorageError::NotOwner { log: log.to_owned(), reason: reason.into() }
}

/// How an owner is called where somebody else is told of it.
pub(crate) fn title(epoch: u64, owner: &str) -> String {
    format!("epoch {epoch}, of {owner}, has taken it over")
}
