//! The names there are, by database.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use wafka_core::{Database, TopicName};

use crate::expiry::Deadlines;
use crate::topic::Topic;
use crate::watch::WatchPoint;

/// The topics of one database.
#[derive(Default)]
struct Names {
    by_name: HashMap<TopicName, Arc<Topic>>,
    /// In the order of creation: what `SCAN` walks along.
    by_uid: BTreeMap<u64, Arc<Topic>>,
    /// How many of them a transaction made that failed.
    made_in_vain: usize,
}

impl Names {
    fn put_in(&mut self, topic: &Arc<Topic>) {
        self.by_name.insert(topic.name().clone(), Arc::clone(topic));
        if self.by_uid.insert(topic.uid, Arc::clone(topic)).is_none() {
            self.made_in_vain += usize::from(topic.is_made_in_vain());
        }
    }

    fn take_out(&mut self, topic: &Topic) {
        if self.by_uid.remove(&topic.uid).is_some_and(|topic| topic.is_made_in_vain()) {
            self.made_in_vain -= 1;
        }
        self.by_name.remove(topic.name().as_bytes());
        topic.watch.modified();
    }
}

/// All topics.
pub(crate) struct Namespace {
    databases: RwLock<HashMap<Database, Names>>,
    watches: Mutex<Watches>,
    deadlines: Arc<Deadlines>,
}

#[derive(Default)]
struct Watches {
    points: HashMap<(Database, Box<[u8]>), Weak<WatchPoint>>,
    /// When there are so many, those that nobody holds any more are dropped.
    prune_at: usize,
}

impl Namespace {
    pub(crate) fn new(deadlines: Arc<Deadlines>) -> Self {
        Namespace { databases: RwLock::default(), watches: Mutex::default(), deadlines }
    }

    pub(crate) fn get(&self, database: Database, name: &[u8]) -> Option<Arc<Topic>> {
        self.databases.read().get(&database)?.by_name.get(name).cloned()
    }

    pub(crate) fn insert(&self, topic: &Arc<Topic>) {
        self.replace(&[], topic);
    }

    pub(crate) fn remove(&self, topic: &Arc<Topic>) {
        if let Some(names) = self.databases.write().get_mut(&topic.database()) {
            names.take_out(topic);
        }
        self.deadlines.change(topic, topic.expire_at_ms(), None);
    }

    /// Puts a topic in, and takes others out, at once: nobody finds both, or neither.
    pub(crate) fn replace(&self, gone: &[Arc<Topic>], topic: &Arc<Topic>) {
        let mut databases = self.databases.write();
        for gone in gone {
            if let Some(names) = databases.get_mut(&gone.database()) {
                names.take_out(gone);
            }
        }
        databases.entry(topic.database()).or_default().put_in(topic);
        topic.watch.modified();
        drop(databases);
        for gone in gone {
            self.deadlines.change(gone, gone.expire_at_ms(), None);
        }
        self.deadlines.change(topic, None, topic.expire_at_ms());
    }

    /// A transaction that failed made the topic: it counts no more.
    pub(crate) fn set_made_in_vain(&self, topic: &Topic) {
        let mut databases = self.databases.write();
        if !topic.set_made_in_vain()
            && let Some(names) = databases.get_mut(&topic.database())
        {
            names.made_in_vain += usize::from(names.by_uid.contains_key(&topic.uid));
        }
    }

    pub(crate) fn all(&self, database: Option<Database>) -> Vec<Arc<Topic>> {
        let databases = self.databases.read();
        databases
            .iter()
            .filter(|(id, _)| database.is_none_or(|wanted| wanted == **id))
            .flat_map(|(_, names)| names.by_uid.values().cloned())
            .collect()
    }

    /// How many topics a database has, those not counted that a failed transaction made.
    pub(crate) fn count(&self, database: Database) -> usize {
        self.databases.read().get(&database).map_or(0, |names| names.by_uid.len() - names.made_in_vain)
    }

    /// Up to `count` topics created after the one that `cursor` stands for, and the cursor to go on with (0 = done).
    pub(crate) fn scan(&self, database: Database, cursor: u64, count: usize) -> (u64, Vec<Arc<Topic>>) {
        let databases = self.databases.read();
        let Some(names) = databases.get(&database) else { return (0, Vec::new()) };
        let mut rest = names.by_uid.range(cursor.saturating_add(1)..);
        let page: Vec<_> = rest.by_ref().take(count.max(1)).map(|(_, topic)| Arc::clone(topic)).collect();
        let next = match (rest.next(), page.last()) {
            (Some(_), Some(last)) => last.uid,
            _ => 0,
        };
        (next, page)
    }

    /// How many names somebody waits for, and for how many of them as a member of a group.
    pub(crate) fn waited_for(&self) -> (usize, usize) {
        let mut points: Vec<_> = self.all(None).iter().map(|topic| Arc::clone(&topic.watch)).collect();
        points.extend(self.watches.lock().points.values().filter_map(Weak::upgrade));
        points.sort_unstable_by_key(Arc::as_ptr);
        points.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let watched = points.iter().filter(|point| point.is_watched()).count();
        (watched, points.iter().filter(|point| point.is_lined_up_for()).count())
    }

    /// The watch point of a name, made when there is none.
    pub(crate) fn watch(&self, database: Database, name: &[u8]) -> Arc<WatchPoint> {
        if let Some(topic) = self.get(database, name) {
            return Arc::clone(&topic.watch);
        }
        let mut watches = self.watches.lock();
        let key = (database, Box::from(name));
        if let Some(point) = watches.points.get(&key).and_then(Weak::upgrade) {
            return point;
        }
        if watches.points.len() >= watches.prune_at {
            watches.points.retain(|_, point| point.strong_count() > 0);
            watches.prune_at = watches.points.len() * 2 + 64;
        }
        let point = Arc::new(WatchPoint::default());
        watches.points.insert(key, Arc::downgrade(&point));
        point
    }
}
