//! Topics that lack a partition since the start: they are opened afresh when its log can be.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::TopicError;
use crate::opening::Opening;
use crate::topic::Topic;
use crate::wait::wait;
use crate::watch::Change;

impl Engine {
    /// Looks again at the partitions that could not be opened.
    pub(crate) fn reopen_degraded(&self) {
        let degraded = std::mem::take(&mut *self.degraded.lock());
        for topic in degraded {
            // One that may yet stay, as its deletion or replacement fails, is looked at again.
            if topic.is_gone() {
                continue;
            }
            let topic = if topic.can_be_read(self.options.index.as_ref()) {
                self.reopen(&topic)
            } else {
                Some(topic)
            };
            self.degraded.lock().extend(topic);
        }
    }

    /// Opens a topic afresh; returns it as long as a partition is missing.
    fn reopen(&self, topic: &Arc<Topic>) -> Option<Arc<Topic>> {
        let _catalog = self.catalog.lock();
        if topic.is_deleted() {
            return None;
        }
        if !self.quiesce(topic) {
            return Some(Arc::clone(topic));
        }
        topic.close_slots();
        let again = self.open_afresh(topic)?;
        again.is_unread().then_some(again)
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

    /// Puts a topic whose logs are closed in the place of itself, as its logs have it; `None` when that cannot be: then it
    /// cannot be written to. The catalog must be locked.
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
                Some(again)
            }
            Err(error) => {
                tracing::error!(topic = %topic.name(), %error, "topic cannot be opened afresh");
                topic.hold("its files could not be opened: it needs a restart");
                topic.reopen_for_writes();
                None
            }
        }
    }
}
