//! One Redis stream as a `BTreeMap`: what a topic must look like, however many partitions it has.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::events::{Event, Fields, Id};

/// A stream.
#[derive(Clone, Default, Debug)]
pub struct Oracle {
    /// What it holds.
    pub events: BTreeMap<Id, Fields>,
    /// `last-generated-id`.
    pub last: Option<Id>,
    /// `entries-added`.
    pub added: u64,
    /// `max-deleted-entry-id`.
    pub max_deleted: Option<Id>,
}

impl Oracle {
    /// `XADD` that was given this id.
    ///
    /// # Panics
    /// When the id does not go up.
    #[track_caller]
    pub fn add(&mut self, id: Id, fields: Fields) {
        assert!(self.last.is_none_or(|last| last < id), "id {id} after {:?}", self.last);
        self.events.insert(id, fields);
        self.last = Some(id);
        self.added += 1;
    }

    /// `XDEL`: how many were there.
    pub fn delete(&mut self, ids: &[Id]) -> usize {
        let mut deleted = 0;
        for id in ids {
            if self.events.remove(id).is_some() {
                deleted += 1;
                self.max_deleted = self.max_deleted.max(Some(*id));
            }
        }
        deleted
    }

    /// `XTRIM MAXLEN =`: how many went.
    pub fn trim_to_len(&mut self, len: usize) -> usize {
        let over = self.events.len().saturating_sub(len);
        for _ in 0..over {
            self.events.pop_first();
        }
        over
    }

    /// `XTRIM MINID =`: how many went.
    pub fn trim_below(&mut self, id: Id) -> usize {
        let before = self.events.len();
        self.events = self.events.split_off(&id);
        before - self.events.len()
    }

    /// `XSETID` to a higher id.
    pub fn set_last(&mut self, id: Id) {
        self.last = Some(id);
    }

    /// `XRANGE`, or `XREVRANGE` when `reverse`.
    #[must_use]
    pub fn range(&self, from: Bound<Id>, to: Bound<Id>, count: Option<usize>, reverse: bool) -> Vec<Event> {
        let empty = match (from, to) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
                from >= to
            }
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        };
        if empty {
            return Vec::new();
        }
        let count = count.unwrap_or(usize::MAX);
        let range = self.events.range((from, to)).map(|(id, fields)| (*id, fields.clone()));
        if reverse { range.rev().take(count).collect() } else { range.take(count).collect() }
    }

    /// All events.
    #[must_use]
    pub fn all(&self) -> Vec<Event> {
        self.range(Bound::Unbounded, Bound::Unbounded, None, false)
    }
}
