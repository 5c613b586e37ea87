//! The consumers of a group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wafka_core::EventId;

use super::pending::Owner;

/// A consumer.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    pub(crate) name: Arc<[u8]>,
    /// When it last tried anything, in milliseconds since 1970.
    pub(crate) seen_ms: u64,
    /// When it last got anything, likewise.
    pub(crate) active_ms: Option<u64>,
    /// What is pending for it.
    pub(crate) pending: BTreeSet<EventId>,
}

/// The consumers of a group, by name and by number. A number is free again when its consumer goes.
#[derive(Clone, Default, Debug)]
pub(crate) struct Consumers {
    slots: Vec<Option<Consumer>>,
    free: Vec<Owner>,
    by_name: BTreeMap<Arc<[u8]>, Owner>,
}

impl Consumers {
    pub(crate) fn len(&self) -> u64 {
        self.by_name.len() as u64
    }

    pub(crate) fn number(&self, name: &[u8]) -> Option<Owner> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn get(&self, number: Owner) -> Option<&Consumer> {
        self.slots.get(usize::try_from(number).ok()?)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: Owner) -> Option<&mut Consumer> {
        self.slots.get_mut(usize::try_from(number).ok()?)?.as_mut()
    }

    /// All of them, in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Owner, &Consumer)> {
        self.by_name.values().filter_map(|number| Some((*number, self.get(*number)?)))
    }

    /// The number of the consumer of that name, which is made if there is none; whether it was.
    pub(crate) fn ensure(&mut self, name: &[u8], now_ms: u64) -> (Owner, bool) {
        if let Some(number) = self.number(name) {
            return (number, false);
        }
        let name: Arc<[u8]> = name.into();
        let consumer =
            Consumer { name: Arc::clone(&name), seen_ms: now_ms, active_ms: None, pending: BTreeSet::new() };
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.slots.push(None);
                // Memory ends long before numbers do.
                Owner::try_from(self.slots.len() - 1).unwrap_or(Owner::MAX - 1)
            }
        };
        if let Some(slot) = usize::try_from(number).ok().and_then(|at| self.slots.get_mut(at)) {
            *slot = Some(consumer);
        }
        self.by_name.insert(name, number);
        (number, true)
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Consumer> {
        let number = self.by_name.remove(name)?;
        self.free.push(number);
        self.slots.get_mut(usize::try_from(number).ok()?)?.take()
    }
}
