//! How far a group is behind: exactly, or as Redis estimates it.

use wafka_core::EventId;

use super::state::Group;
use crate::error::ReadError;
use crate::topic::{RankView, State, Topic, View};

/// How many of the oldest events are looked up at a time.
const HEAD_EVENTS: usize = 256;
/// So often counting begins again because a partition was just rewritten; then events are counted one by one.
const ATTEMPTS_MAX: usize = 4;

impl State {
    /// The id of the oldest visible event; `0-0` when there is none.
    pub(crate) fn first_id(&mut self) -> Result<EventId, ReadError> {
        if self.len() == 0 {
            return Ok(EventId::MIN);
        }
        if self.head.is_empty() {
            self.head = View::of_topic(self).oldest(HEAD_EVENTS)?.into();
        }
        Ok(self.head.front().map_or(EventId::MAX, |event| event.id))
    }

    /// Whether an event at or above `id` may have been deleted from among others, as far as Redis looks.
    pub(super) fn has_tombstone_from(&self, id: EventId, first_id: EventId) -> bool {
        self.len() > 0
            && self.max_deleted_id > EventId::MIN
            && first_id <= self.max_deleted_id
            && id <= self.max_deleted_id
    }

    /// How many events were ever added up to `id`, where Redis can tell.
    pub(super) fn count_up_to_if_known(&self, id: EventId, first_id: EventId) -> Option<u64> {
        let added = self.visible_entries_added();
        let len = self.len();
        let last_id = self.visible_id;
        if added == 0 {
            return Some(0);
        }
        if (len == 0 && id <= last_id) || id == last_id {
            return Some(added);
        }
        let is_fragmented = self.max_deleted_id > EventId::MIN && self.max_deleted_id >= first_id;
        if id > last_id || is_fragmented {
            return None;
        }
        if id < first_id {
            return Some(added.saturating_sub(len));
        }
        (id == first_id).then(|| added.saturating_sub(len) + 1)
    }

    /// The lag as Redis estimates it.
    pub(super) fn redis_lag(&self, group: &Group, first_id: EventId) -> Option<i64> {
        let len = self.len();
        let added = self.visible_entries_added();
        if len == 0 {
            return Some(0);
        }
        if group.last_delivered < first_id && self.max_deleted_id < first_id {
            return Some(signed(len));
        }
        let read = match group.entries_read {
            Some(read) if !self.has_tombstone_from(group.last_delivered, first_id) => Some(read),
            _ => self.count_up_to_if_known(group.last_delivered, first_id),
        };
        // `ENTRIESREAD` may have claimed more than there was.
        read.map(|read| signed(added).saturating_sub(signed(read)))
    }
}

pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What was found under the lock for counting without it.
enum Count {
    Known(u64),
    /// Lines up to the end less lines up to the beginning, less deletions between.
    Lines {
        lanes: Vec<RankView>,
        from: EventId,
        to: EventId,
        deleted: u64,
    },
    /// Counting by lines is not possible for the moment.
    OneByOne {
        view: View,
        from: EventId,
        to: EventId,
    },
}

impl Topic {
    /// How many visible events lie above `id`. May read a few KB of each partition, without holding the topic's lock.
    pub(super) fn count_above(&self, id: EventId) -> Result<u64, ReadError> {
        for attempt in 0.. {
            match self.begin_count(id, attempt >= ATTEMPTS_MAX) {
                Count::Known(count) => return Ok(count),
                Count::OneByOne { view, from, to } => {
                    let up_to = |id| view.count_up_to(id).map(|counts| counts.iter().sum::<u64>());
                    return Ok(up_to(to)?.saturating_sub(up_to(from)?));
                }
                Count::Lines { lanes, from, to, deleted } => {
                    let mut count = 0;
                    for lane in &lanes {
                        count += lane.rank(to)?.saturating_sub(lane.rank(from)?);
                    }
                    if lanes.iter().all(RankView::is_current) {
                        return Ok(count.saturating_sub(deleted));
                    }
                }
            }
        }
        Ok(0)
    }

    fn begin_count(&self, id: EventId, one_by_one: bool) -> Count {
        let state = self.state.lock();
        let to = state.visible_id;
        if id >= to {
            return Count::Known(0);
        }
        if id <= state.floor {
            return Count::Known(state.len());
        }
        if one_by_one || state.lanes.iter().any(|lane| lane.swapping) {
            return Count::OneByOne { view: View::of_topic(&state), from: id, to };
        }
        let lanes = state.lanes.iter().enumerate().map(|(number, lane)| lane.rank_view(number)).collect();
        let deleted = state.deletions.count_between(id, to);
        Count::Lines { lanes, from: id, to, deleted }
    }
}
