//! Which events a trimming removes.

use wafka_core::{EventId, Offset};

use super::State;
use super::set_id::newest;
use super::trim::{Trim, TrimStrategy};
use super::view::{OldEvent, View};
use crate::error::ReadError;
use crate::group::RefPolicy;

/// Up to this many events are found by walking from the oldest one; beyond it by searching the indexes.
const WALK_MAX: u64 = 1024;
/// How many of the oldest events are looked up at a time, at least.
const HEAD_EVENTS: usize = 256;
/// Where `~` is given without `LIMIT`, Redis removes at most so many nodes in one go …
const NODES_MAX: u64 = 100;
/// … and, where a node takes any number of events, so many events; never more than so many.
const LIMIT_UNKNOWN: u64 = 10_000;
const LIMIT_MAX: u64 = 1_000_000;

/// A trimming that was worked out and not yet applied.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct TrimPlan {
    /// Everything at or below this id goes.
    pub(super) floor: EventId,
    /// How many live events that is, by partition.
    pub(super) removed: Vec<u64>,
    /// These go too: an event before them stays.
    pub(super) singles: Vec<(EventId, u16, Offset)>,
    /// There may be more to remove that was not looked at yet.
    pub(super) more: bool,
}

impl TrimPlan {
    /// How many events go.
    pub(super) fn count(&self) -> u64 {
        self.removed.iter().sum::<u64>() + self.singles.len() as u64
    }
}

impl State {
    /// Works out what a trimming removes of the visible events; `None` when that is nothing. `node_entries` is the size
    /// of a node where none is known.
    pub(super) fn plan_trim(
        &mut self,
        trim: &Trim,
        node_entries: u64,
    ) -> Result<Option<TrimPlan>, ReadError> {
        let (wanted, floor) = match trim.strategy {
            TrimStrategy::MaxLen(max) => (self.len().saturating_sub(max), None),
            TrimStrategy::MinId(min) => match self.below(min)? {
                None => return Ok(None),
                Some((count, floor)) => (count, Some(floor)),
            },
        };
        if wanted == 0 {
            return Ok(None);
        }
        if trim.approximate {
            // Redis drops whole nodes only where nobody's references matter, and then stops.
            if trim.refs != RefPolicy::Keep {
                return Ok(None);
            }
            let target = wanted.min(limit(trim, node_entries));
            let plan = self.whole_nodes(target, trim.strategy)?;
            let all = |plan: &TrimPlan| plan.count() == wanted;
            return Ok(plan.map(|plan| match floor.filter(|_| all(&plan)) {
                Some(floor) => TrimPlan { floor, ..plan },
                None => plan,
            }));
        }
        if trim.refs == RefPolicy::Acked && !self.groups.is_empty() {
            return self.acknowledged(wanted, floor.unwrap_or(EventId::MAX));
        }
        match floor {
            Some(floor) => {
                Ok(Some(TrimPlan { floor, removed: self.live_up_to(floor)?, ..TrimPlan::default() }))
            }
            None => self.oldest(wanted).map(Some),
        }
    }

    /// How many events lie below `min`, and the highest id that may be trimmed for it.
    fn below(&mut self, min: EventId) -> Result<Option<(u64, EventId)>, ReadError> {
        let Some(below) = min.prev() else { return Ok(None) };
        self.look_up(1)?;
        // The common case: nothing is old enough.
        if self.head.front().is_none_or(|oldest| oldest.id > below) {
            return Ok(None);
        }
        // Not behind the last event: `XSETID` may have gone ahead, and may come back to it.
        let floor = below.min(newest(self)).min(self.visible_id);
        if floor <= self.floor {
            return Ok(None);
        }
        let count = match self.head.back() {
            Some(last) if last.id > floor => self.head.partition_point(|event| event.id <= floor) as u64,
            _ => self.live_up_to(floor)?.iter().sum(),
        };
        Ok(Some((count, floor)))
    }

    /// Sees to it that the `count` oldest events are known, or all there are.
    pub(super) fn look_up(&mut self, count: usize) -> Result<(), ReadError> {
        if self.head.len() < count && (self.head.len() as u64) < self.len() {
            self.head = View::of_topic(self).oldest(count.max(HEAD_EVENTS))?.into();
        }
        Ok(())
    }

    /// As many whole nodes as have at most `target` events.
    fn whole_nodes(&mut self, target: u64, strategy: TrimStrategy) -> Result<Option<TrimPlan>, ReadError> {
        if target == 0 {
            return Ok(None);
        }
        if target > WALK_MAX && !self.is_swapping() && target < self.len() {
            return self.whole_nodes_by_index(target);
        }
        let target = usize::try_from(target).unwrap_or(usize::MAX);
        self.look_up(target.saturating_add(1))?;
        let mut count = 0;
        while let Some(first) = self.head.get(count) {
            let end = self.nodes.end_of(first.ordinal);
            let next = self.head.partition_point(|event| event.ordinal < end);
            if next > target || !self.ends_below(strategy, end, next)? {
                break;
            }
            count = next;
        }
        Ok((count > 0).then(|| self.head_plan(count)))
    }

    /// Whether the last event of the node that ends at `end` is below `MINID`, be it deleted or not: Redis looks at that
    /// one. `next` is where the head goes on behind the node.
    fn ends_below(&self, strategy: TrimStrategy, end: u64, next: usize) -> Result<bool, ReadError> {
        let TrimStrategy::MinId(min) = strategy else { return Ok(true) };
        let behind = self.head.get(next).map_or(EventId::MAX, |event| event.id);
        if end >= self.nodes.added_so_far() && newest(self) >= min {
            return Ok(false);
        }
        match self.deletions.first_from(min).filter(|deleted| *deleted < behind) {
            None => Ok(true),
            Some(deleted) => Ok(self.ordinals_up_to(deleted)? > end),
        }
    }

    fn whole_nodes_by_index(&mut self, target: u64) -> Result<Option<TrimPlan>, ReadError> {
        let plan = self.oldest(target)?;
        let Some(next) = View::above(self, plan.floor).oldest(1)?.pop() else { return Ok(Some(plan)) };
        let start = self.nodes.start_of(next.ordinal);
        if self.ordinals_up_to(plan.floor)? <= start {
            return Ok(Some(plan));
        }
        let floor = self.search(plan.floor, |state, id| Ok(state.ordinals_up_to(id)? >= start))?;
        let plan = TrimPlan { floor, removed: self.live_up_to(floor)?, ..TrimPlan::default() };
        Ok((plan.count() > 0).then_some(plan))
    }

    /// How many events were ever added up to `id`.
    fn ordinals_up_to(&self, id: EventId) -> Result<u64, ReadError> {
        let mut count = 0;
        for (number, lane) in self.lanes.iter().enumerate() {
            count += lane.file_view(number).first_above(id)?;
        }
        Ok(count)
    }

    /// Whether lines cannot be counted by the index, because a rewrite is just taking its place.
    fn is_swapping(&self) -> bool {
        self.lanes.iter().any(|lane| lane.swapping)
    }

    /// How many lines lie at or below the floor, by partition; nothing where lines cannot be counted by the index.
    fn floor_ranks(&self) -> Result<Vec<u64>, ReadError> {
        if self.is_swapping() {
            return Ok(Vec::new());
        }
        self.lanes.iter().map(|lane| lane.rank(self.floor)).collect()
    }

    /// How many visible events lie at or below `id`, by partition.
    fn live_up_to(&self, id: EventId) -> Result<Vec<u64>, ReadError> {
        self.live_between(&self.floor_ranks()?, id)
    }

    /// The same, with [`State::floor_ranks`].
    fn live_between(&self, floor_ranks: &[u64], id: EventId) -> Result<Vec<u64>, ReadError> {
        let mut counts = vec![0; self.lanes.len()];
        let up_to = id.min(self.visible_id);
        if self.is_swapping() {
            return View::of_topic(self).count_up_to(up_to);
        }
        if up_to > self.floor {
            let deleted = self.deletions.count_up_to(up_to, counts.len());
            for ((at, lane), floor_rank) in self.lanes.iter().enumerate().zip(floor_ranks) {
                let below = lane.rank(up_to)?.saturating_sub(*floor_rank);
                counts[at] = below.saturating_sub(deleted[at]);
            }
        }
        Ok(counts)
    }

    /// The plan that removes the `count` oldest visible events.
    fn oldest(&mut self, count: u64) -> Result<TrimPlan, ReadError> {
        if count <= WALK_MAX || self.is_swapping() {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            self.look_up(count)?;
            return Ok(self.head_plan(count));
        }
        let ranks = self.floor_ranks()?;
        let is_enough = |state: &Self, id| Ok(state.live_between(&ranks, id)?.iter().sum::<u64>() >= count);
        let floor = self.search(self.visible_id, is_enough)?;
        Ok(TrimPlan { floor, removed: self.live_between(&ranks, floor)?, ..TrimPlan::default() })
    }

    /// The plan that removes the first `count` events of the head.
    fn head_plan(&self, count: usize) -> TrimPlan {
        let mut plan =
            TrimPlan { floor: self.floor, removed: vec![0; self.lanes.len()], ..TrimPlan::default() };
        for OldEvent { id, lane, .. } in self.head.iter().take(count) {
            plan.removed[usize::from(*lane)] += 1;
            plan.floor = *id;
        }
        plan
    }

    /// The smallest id above the floor, and up to `high`, for which `is_enough` holds, by bisection over the 128 bits of
    /// an id.
    fn search(
        &self,
        high: EventId,
        is_enough: impl Fn(&Self, EventId) -> Result<bool, ReadError>,
    ) -> Result<EventId, ReadError> {
        let (mut low, mut high) = (number(self.floor), number(high));
        while low < high {
            let middle = low + (high - low) / 2;
            if is_enough(self, from_number(middle))? {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(from_number(low))
    }
}

/// The most events that go in one go.
fn limit(trim: &Trim, node_entries: u64) -> u64 {
    match trim.limit {
        Some(0) => u64::MAX,
        Some(limit) => limit,
        None if node_entries == 0 => LIMIT_UNKNOWN,
        None => node_entries.saturating_mul(NODES_MAX).min(LIMIT_MAX),
    }
}

fn number(id: EventId) -> u128 {
    (u128::from(id.ms) << 64) | u128::from(id.seq)
}

fn from_number(number: u128) -> EventId {
    let low = number & u128::from(u64::MAX);
    EventId::new(u64::try_from(number >> 64).unwrap_or(u64::MAX), u64::try_from(low).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_numbers_correspond() {
        for id in [EventId::MIN, EventId::new(3, u64::MAX), EventId::MAX] {
            assert_eq!(from_number(number(id)), id);
        }
    }

    #[test]
    fn the_limit_is_a_hundred_nodes_unless_given() {
        let trim = |limit| Trim { limit, approximate: true, ..Trim::max_len(7) };
        assert_eq!(limit(&trim(None), 100), 10_000);
        assert_eq!(limit(&trim(None), 0), 10_000);
        assert_eq!(limit(&trim(None), 1 << 40), 1_000_000);
        assert_eq!(limit(&trim(Some(0)), 100), u64::MAX);
        assert_eq!(limit(&trim(Some(7)), 100), 7);
    }
}
