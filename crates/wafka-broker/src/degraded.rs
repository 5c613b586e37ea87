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
        topic.close_for_writes();
        self.kick();
        while let Some(ticket) = topic.open_ticket() {
            self.kick();
            if wait(topic.committed(ticket)).is_err() {
                break;
            }
        }
        if !topic.is_settled() {
            // A log failed: what memory knows is in no file.
            topic.reopen_for_writes();
            return Some(Arc::clone(topic));
        }
        topic.close_slots();
        let record = topic.catalog_record();
        let opened = self
            .open_with(
                &record,
                topic.name().clone(),
                self.partitioner_of(&record, topic.name()),
                Opening::Start,
            )
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
                tracing::error!(topic = %topic.name(), %error, "topic cannot be opened afresh");
                topic.hold("its files could not be opened: it needs a restart");
                topic.reopen_for_writes();
                None
            }
        }
    }
}
