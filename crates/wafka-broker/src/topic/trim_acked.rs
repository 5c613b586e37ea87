//! Trimming that leaves alone what a group refers to: `ACKED`.
//!
//! What it may remove can stand behind any number of pending events. So nobody looks at all of them in one go, and nobody
//! looks twice at events that were referred to, unless one of them is pending no more.

use wafka_core::EventId;

use super::State;
use super::set_id::newest;
use super::trim_plan::TrimPlan;
use super::view::{OldEvent, View};
use crate::error::ReadError;

/// At most so many lines are looked at in one go, with the topic's lock held.
const LOOKS_MAX: usize = 4096;
/// So many lines at least are looked at together.
const LOOKS_MIN: usize = 64;

impl State {
    /// The oldest events, up to `below`, that no group has pending or still to read, at most `wanted`; as far as may be
    /// looked in one go.
    pub(super) fn acknowledged(
        &mut self,
        wanted: u64,
        below: EventId,
    ) -> Result<Option<TrimPlan>, ReadError> {
        let delivered = self.groups.iter().map(|(_, group)| group.last_delivered).min();
        let last = below.min(delivered.unwrap_or(EventId::MAX)).min(newest(self)).min(self.visible_id);
        let mut at = self.referenced_up_to().max(self.floor);
        let mut plan = TrimPlan { removed: vec![0; self.lanes.len()], ..TrimPlan::default() };
        // The floor cannot pass an event that stays.
        let (mut from_front, mut left, mut looks) = (at == self.floor, wanted, LOOKS_MAX);
        while left > 0 && looks > 0 && at < last {
            let lines = usize::try_from(left).unwrap_or(looks).clamp(LOOKS_MIN.min(looks), looks);
            let (events, looked_at) = self.events_above(at, last, lines, &mut looks)?;
            at = looked_at.unwrap_or(last);
            for event in events {
                if left == 0 {
                    at = event.id.prev().unwrap_or(EventId::MIN);
                    break;
                }
                if self.groups.references(event.id) {
                    from_front = false;
                    continue;
                }
                left -= 1;
                if from_front {
                    plan.floor = event.id;
                    plan.removed[usize::from(event.lane)] += 1;
                } else {
                    plan.singles.push((event.id, event.lane, event.offset));
                }
            }
        }
        self.groups.referenced_up_to = at;
        plan.more = left > 0 && at < last;
        Ok((plan.count() > 0 || plan.more).then_some(plan))
    }

    /// Up to where every event was referred to by some group when it was last looked at, and still is.
    fn referenced_up_to(&mut self) -> EventId {
        let known = self.groups.referenced_up_to;
        let removed = self.groups.take_lowest_removed();
        removed.map_or(known, |lowest| known.min(lowest.prev().unwrap_or(EventId::MIN)))
    }

    /// The next events above `from` and up to `to`, among so many lines, which are taken off `looks`; and the id of the last
    /// line that was looked at, `None` when there are no more.
    fn events_above(
        &mut self,
        from: EventId,
        to: EventId,
        lines: usize,
        looks: &mut usize,
    ) -> Result<(Vec<OldEvent>, Option<EventId>), ReadError> {
        if from <= self.floor {
            self.look_up(1)?;
        }
        let known = self.head.partition_point(|event| event.id <= from);
        if known < self.head.len() {
            let next = self.head.range(known..).take(lines).take_while(|event| event.id <= to);
            let events: Vec<OldEvent> = next.copied().collect();
            *looks = looks.saturating_sub(events.len());
            let looked_at = events.last().map(|event| event.id);
            return Ok((events, looked_at));
        }
        *looks = looks.saturating_sub(lines);
        let view = View::above(self, from);
        View { visible: view.visible.min(to), ..view }.oldest_within(lines, lines)
    }
}
