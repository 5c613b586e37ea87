//! A topic that is to be opened afresh before anything else: a transaction on it failed, or its logs are closed and could
//! not be opened again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Topic;
use crate::error::{AppendError, ReadError};

impl Topic {
    /// Refuses writes until the topic is opened afresh, whatever else holds it and is over.
    pub(crate) fn hold_until_reopened(&self, reason: &str) {
        let mut state = self.state.lock();
        if state.until_reopened.as_deref() != Some(reason) {
            tracing::error!(topic = %self.name, %reason, "topic cannot be written to");
            state.until_reopened = Some(reason.into());
        }
    }

    /// Refuses reads until the topic is opened afresh: what memory knows of it is going to be taken back.
    pub(crate) fn hide(&self) {
        self.hidden.store(true, Ordering::Release);
    }

    /// The topic is going to be removed as if it had never been. Only for [`Namespace`](crate::namespace::Namespace), which
    /// counts those that are not. Whether it was said before.
    pub(crate) fn set_made_in_vain(&self) -> bool {
        self.made_in_vain.swap(true, Ordering::AcqRel)
    }

    /// Whether a transaction that failed made the topic, so that it is going to be removed as if it had never been: whoever
    /// asks which names there are does not find it.
    #[must_use]
    pub fn is_made_in_vain(&self) -> bool {
        self.made_in_vain.load(Ordering::Acquire)
    }

    /// Whether the topic can be read.
    ///
    /// # Errors
    /// When what there is of it may be taken back, or is another server's.
    pub fn check_readable(&self) -> Result<(), ReadError> {
        self.check_owned(false)?;
        if !self.hidden.load(Ordering::Acquire) {
            return Ok(());
        }
        let reason = self.state.lock().until_reopened.clone();
        let reason = reason.unwrap_or_else(|| Arc::from("it is going to be opened afresh"));
        Err(ReadError::Hidden { topic: self.name.to_string(), reason })
    }

    /// Whether it is this server's to read, or to write.
    pub(crate) fn check_owned(&self, writes: bool) -> Result<(), AppendError> {
        let Some(standing) = &self.standing else { return Ok(()) };
        standing.check(writes).map_err(AppendError::NotOwned)
    }

    /// Whether the topic's slots at its brokers are closed: they may be other logs' by now.
    pub(crate) fn is_closed(&self) -> bool {
        self.slots_closed.load(Ordering::Acquire)
    }
}
