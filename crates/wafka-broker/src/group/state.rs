//! A group as the engine holds it in memory: plain data and what may be done to it. Nothing here is journaled or locked.

use std::collections::{BTreeMap, BTreeSet};

use wafka_core::EventId;

use super::consumers::Consumers;
use super::pending::{DELIVERIES_MAX, NOBODY, Owner, Pending, PendingList};

/// A consumer group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Told apart from a group of the same name before or after it.
    pub(crate) uid: u64,
    /// Everything at or below it was delivered, or passed over.
    pub(crate) last_delivered: EventId,
    /// How many events were delivered, as Redis counts, when that is known.
    pub(crate) entries_read: Option<u64>,
    /// Changes whenever `last_delivered` is set.
    pub(crate) version: u64,
    pub(crate) pending: PendingList,
    pub(crate) consumers: Consumers,
}

impl Group {
    /// Says what was delivered last.
    pub(crate) fn set_last_delivered(&mut self, id: EventId, entries_read: Option<u64>) {
        self.last_delivered = id;
        self.entries_read = entries_read;
        self.version += 1;
    }

    /// Makes an entry pending for a consumer, or hands the one there is over to it.
    pub(crate) fn assign(&mut self, id: EventId, owner: Owner, delivered_ms: u64, deliveries: u64) {
        let gone = self.pending.get(id).is_some_and(|entry| entry.gone);
        let deliveries = deliveries.min(DELIVERIES_MAX);
        let before = self.pending.insert(id, Pending { delivered_ms, deliveries, owner, gone });
        let owner_before = before.map(|entry| entry.owner);
        if owner_before == Some(owner) {
            return;
        }
        self.take_from(owner_before, id);
        if let Some(consumer) = self.consumers.get_mut(owner) {
            consumer.pending.insert(id);
        }
    }

    /// Makes an entry pending for nobody: the next in line gets it.
    pub(crate) fn release(&mut self, id: EventId, deliveries: u64) {
        let gone = self.pending.get(id).is_some_and(|entry| entry.gone);
        let entry =
            Pending { delivered_ms: 0, deliveries: deliveries.min(DELIVERIES_MAX), owner: NOBODY, gone };
        let before = self.pending.insert(id, entry);
        self.take_from(before.map(|entry| entry.owner), id);
    }

    /// An entry is pending no more; whether it was.
    pub(crate) fn remove(&mut self, id: EventId) -> bool {
        let before = self.pending.remove(id);
        self.take_from(before.map(|entry| entry.owner), id);
        before.is_some()
    }

    fn take_from(&mut self, owner: Option<Owner>, id: EventId) {
        if let Some(consumer) = owner.and_then(|owner| self.consumers.get_mut(owner)) {
            consumer.pending.remove(&id);
        }
    }

    /// Removes a consumer and what was pending for it; `None` when there is none, else how many entries that were.
    pub(crate) fn delete_consumer(&mut self, name: &[u8]) -> Option<u64> {
        let consumer = self.consumers.remove(name)?;
        for id in &consumer.pending {
            self.pending.remove(*id);
        }
        Some(consumer.pending.len() as u64)
    }
}

/// The groups of a topic, by name.
#[derive(Clone, Default, Debug)]
pub(crate) struct Groups {
    by_name: BTreeMap<Box<[u8]>, Group>,
    last_uid: u64,
    /// Every event up to this one was referred to when it was last looked at; not since what
    /// [`Groups::take_lowest_removed`] says.
    pub(crate) referenced_up_to: EventId,
}

impl Groups {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(crate) fn len(&self) -> u64 {
        self.by_name.len() as u64
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&Group> {
        self.by_name.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.by_name.get_mut(name)
    }

    /// All of them, in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Group)> {
        self.by_name.iter().map(|(name, group)| (&**name, group))
    }

    /// Makes a group; one of the same name is forgotten.
    pub(crate) fn create(&mut self, name: &[u8], last_delivered: EventId, entries_read: Option<u64>) {
        self.last_uid += 1;
        let group = Group {
            uid: self.last_uid,
            last_delivered,
            entries_read,
            version: 0,
            pending: PendingList::default(),
            consumers: Consumers::default(),
        };
        self.by_name.insert(name.into(), group);
        self.referenced_up_to = EventId::MIN;
    }

    /// Removes a group and returns it: to drop a large one takes a while.
    pub(crate) fn destroy(&mut self, name: &[u8]) -> Option<Group> {
        self.referenced_up_to = EventId::MIN;
        self.by_name.remove(name)
    }

    pub(crate) fn clear(&mut self) {
        self.referenced_up_to = EventId::MIN;
        self.by_name.clear();
    }

    /// The lowest id that became pending no more in some group since this was asked last.
    pub(crate) fn take_lowest_removed(&mut self) -> Option<EventId> {
        self.by_name.values_mut().filter_map(|group| group.pending.take_lowest_removed()).min()
    }

    /// Notes in every group that an event was deleted.
    pub(crate) fn mark_gone(&mut self, id: EventId) {
        for group in self.by_name.values_mut() {
            group.pending.mark_gone(id);
        }
    }

    /// Takes an event out of the pending entries of every group; whether it was in one.
    pub(crate) fn unreference(&mut self, id: EventId) -> bool {
        self.by_name.values_mut().map(|group| group.remove(id)).fold(false, std::ops::BitOr::bitor)
    }

    /// The events above `from` and up to `to` that are there and pending in some group, ascending.
    pub(crate) fn pending_between(&self, from: EventId, to: EventId) -> Vec<EventId> {
        let Some(from) = from.next() else { return Vec::new() };
        let mut ids = BTreeSet::new();
        for group in self.by_name.values() {
            let range = group.pending.from(from).take_while(|(id, _)| *id <= to);
            ids.extend(range.filter(|(_, entry)| !entry.gone).map(|(id, _)| id));
        }
        ids.into_iter().collect()
    }

    /// Whether some group has the event pending, or has still to read it.
    pub(crate) fn references(&self, id: EventId) -> bool {
        self.by_name.values().any(|group| id > group.last_delivered || group.pending.get(id).is_some())
    }
}
