//! Topics that are deleted when their time has come: their deadlines in order, and the thread that waits for the next.
//!
//! Whoever looks a topic up finds it gone from its millisecond on; the thread only clears away what is left of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use wafka_core::{Clock, Database, TopicName};

use crate::engine::Engine;
use crate::topic::Topic;

/// The wall clock may be set: no deadline is waited for longer than this without another look at it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A topic that could not be deleted is tried again after so many milliseconds.
const RETRY_AFTER_MS: u64 = 1_000;
/// So many topics are deleted in one go.
const BATCH: usize = 256;

/// Who is told of a topic that was deleted because its time had come.
type Listener = Box<dyn Fn(Database, &TopicName) + Send + Sync>;

/// When which topic's time comes.
pub(crate) struct Deadlines {
    clock: Arc<dyn Clock>,
    due: Mutex<Due>,
    changed: Condvar,
    /// Topics deleted because of their time, since start.
    expired: AtomicU64,
    listener: OnceLock<Listener>,
}

#[derive(Default)]
struct Due {
    /// By time, in milliseconds since 1970, and the topic's uid.
    by_time: BTreeMap<(u64, u64), Weak<Topic>>,
    stopped: bool,
}

/// The topics of a database that have a time to live.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Expiring {
    /// How many there are.
    pub topics: u64,
    /// How long they have on average, in milliseconds.
    pub average_ttl_ms: u64,
}

impl Deadlines {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Deadlines {
            clock,
            due: Mutex::default(),
            changed: Condvar::new(),
            expired: AtomicU64::new(0),
            listener: OnceLock::new(),
        })
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// A topic's deadline, if it had one, is another one from here on, or none.
    pub(crate) fn change(&self, topic: &Arc<Topic>, before: Option<u64>, after: Option<u64>) {
        let mut due = self.due.lock();
        if let Some(before) = before {
            due.by_time.remove(&(before, topic.uid));
        }
        if let Some(after) = after {
            due.by_time.insert((after, topic.uid), Arc::downgrade(topic));
            if due.by_time.first_key_value().is_some_and(|(first, _)| *first == (after, topic.uid)) {
                self.changed.notify_one();
            }
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.due.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Waits for topics whose time has come; `None` when there is nothing to wait for any more.
    fn wait(&self) -> Option<Vec<Arc<Topic>>> {
        let mut due = self.due.lock();
        loop {
            if due.stopped {
                return None;
            }
            let now = self.now_ms();
            match due.by_time.first_key_value().map(|((at, _), _)| *at) {
                None => self.changed.wait(&mut due),
                Some(at) if at > now => {
                    let left = Duration::from_millis(at - now).min(LOOK_AGAIN);
                    self.changed.wait_for(&mut due, left);
                }
                Some(_) => return Some(take_due(&mut due, now)),
            }
        }
    }
}

/// Takes the topics out whose time has come. Those that stay after all come back with [`Deadlines::change`].
fn take_due(due: &mut Due, now: u64) -> Vec<Arc<Topic>> {
    let mut topics = Vec::new();
    while topics.len() < BATCH
        && let Some(first) = due.by_time.first_entry().filter(|first| first.key().0 <= now)
    {
        topics.extend(first.remove().upgrade());
    }
    topics
}

impl Engine {
    /// The topics of a database that have a time to live.
    #[must_use]
    pub fn expiring(&self, database: Database) -> Expiring {
        let now = self.deadlines.now_ms();
        let due = self.deadlines.due.lock();
        let of_database = |topic: &Weak<Topic>| topic.upgrade().is_some_and(|t| t.database() == database);
        let ttls = due.by_time.iter().filter(|(_, topic)| of_database(topic)).map(|((at, _), _)| at);
        let (topics, sum) = ttls
            .fold((0u64, 0u128), |(topics, sum), at| (topics + 1, sum + u128::from(at.saturating_sub(now))));
        let average = sum.checked_div(u128::from(topics)).unwrap_or(0);
        Expiring { topics, average_ttl_ms: u64::try_from(average).unwrap_or(u64::MAX) }
    }

    /// How many topics were deleted because their time had come, since start.
    #[must_use]
    pub fn expired_topics(&self) -> u64 {
        self.deadlines.expired.load(Ordering::Relaxed)
    }

    /// Says who is to be told of every topic that is deleted because its time has come, before its name can be taken
    /// again: neither topics may be made there nor deleted. Only the first call counts.
    pub fn on_expired(&self, listener: impl Fn(Database, &TopicName) + Send + Sync + 'static) {
        // Who comes second is not told.
        let _ = self.deadlines.listener.set(Box::new(listener));
    }

    /// Deletes topics whose time has come.
    pub(crate) fn expire(&self, topics: &[Arc<Topic>]) {
        let mut catalog = self.catalog.lock();
        // A time that the next start may have to take back must not be the end of what it does not take back. First its
        // time is looked at: a transaction that set it froze the topic before.
        let is_due =
            |topic: &&Arc<Topic>| !topic.is_deleted() && topic.is_expired() && !topic.freeze.is_frozen();
        // One that is out of reach keeps no other one from going.
        let is_reached = |topic: &&Arc<Topic>| match self.check_reach(std::slice::from_ref(*topic)) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(topic = %topic.name(), %error, "its time has come, and it is not deleted yet");
                false
            }
        };
        let due: Vec<_> = topics.iter().filter(is_due).filter(is_reached).map(Arc::clone).collect();
        match self.delete(&mut catalog, &due) {
            Ok(_) => self.note_expired(&due),
            Err(error) => {
                tracing::error!(%error, topics = due.len(), "topics whose time has come are not deleted");
            }
        }
        drop(catalog);
        for topic in topics.iter().filter(|topic| !topic.is_deleted()) {
            // Its time was changed, or it could not be deleted, or not yet.
            if let Some(at) = topic.expire_at_ms() {
                let now = self.deadlines.now_ms();
                let at = if at <= now { now + RETRY_AFTER_MS } else { at };
                self.deadlines.change(topic, None, Some(at));
            }
        }
    }

    /// Counts topics that went because their time had come, and tells of them.
    pub(crate) fn note_expired(&self, topics: &[Arc<Topic>]) {
        for topic in topics {
            self.deadlines.expired.fetch_add(1, Ordering::Relaxed);
            if let Some(listener) = self.deadlines.listener.get() {
                listener(topic.database(), topic.name());
            }
        }
    }

    /// What the thread does.
    pub(crate) fn run_expiry(engine: &Weak<Engine>, deadlines: &Deadlines) {
        while let Some(topics) = deadlines.wait() {
            match engine.upgrade() {
                Some(engine) => engine.expire(&topics),
                None => return,
            }
        }
    }
}
