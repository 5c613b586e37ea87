//! Topics that lack a partition since the start, or that could not be opened afresh: they are when their logs can be.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::TopicError;
use crate::opening::Opening;
use crate::topic::Topic;
use crate::wait::wait;
use crate::watch::Change;

impl Engine {
    /// Looks again at the partitions, and the topics, that could not be opened.
    pub(crate) fn reopen_degraded(&self) {
        let degraded = std::mem::take(&mut *self.degraded.lock());
        let mut failed = false;
        for topic in degraded {
            // One that may yet stay, as its deletion or replacement fails, is looked at again.
            if topic.is_gone() {
                continue;
            }
            // One that fails is enough for a round: the catalog is locked meanwhile, and others wait for it.
            let topic = if topic.is_closed() && failed {
                Some(topic)
            } else if topic.is_closed() || topic.can_be_read(self.options.index.as_ref()) {
                let left = self.reopen(&topic);
                failed |= left.as_ref().is_some_and(|left| left.is_closed());
                left
            } else {
                Some(topic)
            };
            self.degraded.lock().extend(topic);
        }
    }

    /// Opens a topic afresh; returns it as long as a partition is missing, or the topic is as it was.
    fn reopen(&self, topic: &Arc<Topic>) -> Option<Arc<Topic>> {
        let _catalog = self.catalog.lock();
        if topic.is_deleted() {
            return None;
        }
        // Nothing was accepted since they were closed.
        if !topic.is_closed() {
            if !self.quiesce(topic) {
                return Some(Arc::clone(topic));
            }
            topic.close_slots();
        }
        self.open_afresh(topic)
    }

    /// Lets nobody append to a topic, and waits for what was accepted. False when a log failed: what memory knows is in no
    /// file, and the topic goes on as it is. The catalog must be locked.
    pub(crate) fn quiesce(&self, topic: &Arc<Topic>) -> bool {
        topic.close_for_writes();
        self.kick();
        while let Some(ticket) = topic.open_ticket() {
            self.kick();
            if wait(topic.committed(ticket)).is_err() {
                break;
            }
        }
        let settled = topic.is_settled();
        if !settled {
            topic.reopen_for_writes();
        }
        settled
    }

    /// Puts a topic whose logs are closed in the place of itself, as its logs have it. Returns what has to be looked at
    /// again: the new one when a partition is missing, or the old one, which cannot be written to, when it could not be
    /// opened. The catalog must be locked.
    pub(crate) fn open_afresh(&self, topic: &Arc<Topic>) -> Option<Arc<Topic>> {
        let record = topic.catalog_record();
        let partitioner = self.partitioner_of(&record, topic.name());
        let opened = self
            .open_with(&record, topic.name().clone(), partitioner, Opening::Start)
            .map_err(TopicError::from);
        match opened {
            Ok(again) => {
                self.names.replace(std::slice::from_ref(topic), &again);
                topic.set_deleted_quietly();
                // To who waits for its events nothing has changed but that there may be more.
                again.watch.notify(Change::Any);
                tracing::info!(topic = %again.name(), "topic is opened afresh");
                again.is_unread().then_some(again)
            }
            Err(error) => {
                topic.hold_until_reopened(&format!(
                    "its logs could not be opened afresh, which is tried again until they can: {error}"
                ));
                topic.reopen_for_writes();
                Some(Arc::clone(topic))
            }
        }
    }
}
