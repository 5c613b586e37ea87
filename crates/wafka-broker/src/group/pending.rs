//! What a group delivered and nobody acknowledged: its pending entries.

use std::collections::{BTreeMap, BTreeSet};

use wafka_core::EventId;

/// A consumer of the group, by its number.
pub(crate) type Owner = u32;

/// Owns entries that were released.
pub(crate) const NOBODY: Owner = Owner::MAX;

/// The highest delivery count: Redis's counters are signed.
pub(crate) const DELIVERIES_MAX: u64 = i64::MAX as u64;

/// A pending entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pending {
    /// When it was delivered last, in milliseconds since 1970; 0 when it was released.
    pub(crate) delivered_ms: u64,
    pub(crate) deliveries: u64,
    pub(crate) owner: Owner,
    /// The event was deleted; one that was trimmed is known by the topic's floor.
    pub(crate) gone: bool,
}

/// The pending entries of a group, by id.
#[derive(Clone, Default, Debug)]
pub(crate) struct PendingList {
    entries: BTreeMap<EventId, Pending>,
    /// Those with an owner, longest idle first. Made when somebody first asks: most groups never do.
    by_time: Option<BTreeSet<(u64, EventId)>>,
    /// Those without, first released first.
    released: BTreeMap<u64, EventId>,
    /// Where each of them stands in that line.
    places: BTreeMap<EventId, u64>,
    last_place: u64,
    /// The lowest id that was taken out since somebody asked.
    lowest_removed: Option<EventId>,
}

impl PendingList {
    pub(crate) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(crate) fn released_len(&self) -> u64 {
        self.released.len() as u64
    }

    pub(crate) fn get(&self, id: EventId) -> Option<&Pending> {
        self.entries.get(&id)
    }

    pub(crate) fn first(&self) -> Option<EventId> {
        self.entries.first_key_value().map(|(id, _)| *id)
    }

    pub(crate) fn last(&self) -> Option<EventId> {
        self.entries.last_key_value().map(|(id, _)| *id)
    }

    /// From `from` on, ascending.
    pub(crate) fn from(&self, from: EventId) -> impl Iterator<Item = (EventId, &Pending)> {
        self.entries.range(from..).map(|(id, entry)| (*id, entry))
    }

    /// Puts an entry in, or in the place of the one there was, which is returned.
    pub(super) fn insert(&mut self, id: EventId, entry: Pending) -> Option<Pending> {
        let before = self.entries.insert(id, entry);
        if let Some(before) = &before {
            self.leave_line(id, before);
        }
        if entry.owner == NOBODY {
            self.last_place += 1;
            self.released.insert(self.last_place, id);
            self.places.insert(id, self.last_place);
        } else if let Some(by_time) = &mut self.by_time {
            by_time.insert((entry.delivered_ms, id));
        }
        before
    }

    pub(super) fn remove(&mut self, id: EventId) -> Option<Pending> {
        let entry = self.entries.remove(&id)?;
        self.lowest_removed = Some(self.lowest_removed.map_or(id, |lowest| lowest.min(id)));
        self.leave_line(id, &entry);
        Some(entry)
    }

    /// The lowest id that was taken out since this was asked last; `None` when none was.
    pub(super) fn take_lowest_removed(&mut self) -> Option<EventId> {
        self.lowest_removed.take()
    }

    fn leave_line(&mut self, id: EventId, entry: &Pending) {
        if entry.owner == NOBODY {
            if let Some(place) = self.places.remove(&id) {
                self.released.remove(&place);
            }
        } else if let Some(by_time) = &mut self.by_time {
            by_time.remove(&(entry.delivered_ms, id));
        }
    }

    /// Notes that the event was deleted.
    pub(crate) fn mark_gone(&mut self, id: EventId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.gone = true;
        }
    }

    /// The released ones, first released first.
    pub(crate) fn released(&self) -> impl Iterator<Item = EventId> {
        self.released.values().copied()
    }

    /// Those with an owner and when they were delivered, longest idle first.
    pub(crate) fn by_time(&mut self) -> impl Iterator<Item = (u64, EventId)> {
        self.times().iter().copied()
    }

    /// The released ones, and then those with an owner that were delivered at `latest` or before, longest idle first.
    pub(crate) fn in_line(&mut self, latest: u64) -> impl Iterator<Item = (EventId, &Pending)> {
        self.times();
        let entries = &self.entries;
        let delivered = self.by_time.iter().flatten().take_while(move |(at, _)| *at <= latest);
        let ids = self.released.values().chain(delivered.map(|(_, id)| id));
        ids.filter_map(|id| entries.get(id).map(|entry| (*id, entry)))
    }

    fn times(&mut self) -> &BTreeSet<(u64, EventId)> {
        let entries = &self.entries;
        self.by_time.get_or_insert_with(|| {
            let owned = entries.iter().filter(|(_, entry)| entry.owner != NOBODY);
            owned.map(|(id, entry)| (entry.delivered_ms, *id)).collect()
        })
    }
}
