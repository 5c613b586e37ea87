//! Trimming: which events go, and remembering it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wafka_core::EventId;

use super::set_id::newest;
use super::view::View;
use super::{State, Topic};
use crate::error::{AppendError, ReadError};
use crate::ticket::{Ticket, TicketKind};

/// Entries that Redis keeps in one node of a stream (`stream-node-max-entries`): what `~` rounds to.
const NODE_ENTRIES: u64 = 100;
/// What Redis takes when `~` is given without `LIMIT`: a hundred nodes.
const LIMIT_DEFAULT: u64 = 100 * NODE_ENTRIES;
/// Up to this many events are found by walking from the oldest one; beyond it by searching the indexes.
const WALK_MAX: u64 = 1024;
/// Appends that are remembered for having trimmed something.
const TRIMMED_WITH_MAX: usize = 4096;
/// How many of the oldest events are looked up at a time.
const HEAD_EVENTS: usize = 256;

/// What decides how many events stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrimStrategy {
    /// At most so many events.
    MaxLen(u64),
    /// No event below this id.
    MinId(EventId),
}

/// `MAXLEN` or `MINID`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trim {
    /// What decides.
    pub strategy: TrimStrategy,
    /// `~`: whole nodes of 100 events only.
    pub approximate: bool,
    /// `LIMIT`: with `~`, at most so many events in one go; 0 = no limit, `None` = Redis's default.
    pub limit: Option<u64>,
}

impl State {
    /// Remembers that the append of this dense number trimmed something.
    pub(super) fn note_trimmed_with(&mut self, sequence: u64) {
        if self.trimmed_with.len() >= TRIMMED_WITH_MAX {
            self.trimmed_with.pop_front();
        }
        self.trimmed_with.push_back(sequence);
    }
}

/// A trimming that was worked out and not yet applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TrimPlan {
    /// Everything at or below this id goes.
    floor: EventId,
    /// How many events that is, by partition.
    removed: Vec<u64>,
}

impl Topic {
    /// Trims the topic (`XTRIM`): returns how many events went, and the ticket of its durability.
    ///
    /// # Errors
    /// When the topic cannot be read or written.
    pub fn trim(self: &Arc<Self>, trim: &Trim) -> Result<(u64, Option<Ticket>), ReadError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        match self.plan_trim(state, trim)? {
            None => Ok((0, None)),
            Some(plan) => {
                let removed = plan.removed.iter().sum();
                Ok((removed, Some(self.apply_trim(state, &plan))))
            }
        }
    }

    /// Whether something may be done to events of the topic.
    pub(crate) fn check_journal(&self, state: &State) -> Result<(), AppendError> {
        if self.is_absent() {
            return Err(AppendError::Deleted);
        }
        match state.journal_reason() {
            None => Ok(()),
            Some(reason) => Err(self.journal_offline(reason)),
        }
    }

    /// Carries out the trimming that came with an event which has just become visible. Not before: else a crash could
    /// take an event that was there because of one that never came to be. Whether anything went.
    pub(super) fn trim_behind(self: &Arc<Self>, state: &mut State, trim: &Trim) -> bool {
        match self.plan_trim(state, trim) {
            Ok(None) => false,
            Ok(Some(plan)) => {
                self.apply_trim(state, &plan);
                // Nobody waits for it, so nobody kicks.
                self.brokers[self.home].wake();
                true
            }
            // The next event with such an option trims for this one too.
            Err(error) => {
                tracing::error!(topic = %self.name, %error, "not trimmed");
                false
            }
        }
    }

    /// Whether the trimming that came with an append removed events: for notifications, to be asked right after the
    /// ticket of that append was redeemed; forgotten after some thousands of others.
    #[must_use]
    pub fn has_trimmed_with(&self, append: &Ticket) -> bool {
        self.state.lock().trimmed_with.binary_search(&append.sequence).is_ok()
    }

    /// Works out what a trimming removes of the visible events.
    fn plan_trim(&self, state: &mut State, trim: &Trim) -> Result<Option<TrimPlan>, ReadError> {
        let (wanted, floor) = match trim.strategy {
            TrimStrategy::MaxLen(max) => (state.len().saturating_sub(max), None),
            TrimStrategy::MinId(min) => {
                let Some(below) = min.prev() else { return Ok(None) };
                if state.head.is_empty() && state.len() > 0 {
                    state.head = View::of_topic(state).oldest(HEAD_EVENTS)?.into();
                }
                // The common case: nothing is old enough.
                if state.head.front().is_none_or(|oldest| oldest.id > below) {
                    return Ok(None);
                }
                // Not behind the last event: `XSETID` may have gone ahead, and may come back to it.
                let floor = below.min(newest(state)).min(state.visible_id);
                if floor <= state.floor {
                    return Ok(None);
                }
                (live_up_to(state, floor)?.iter().sum(), Some(floor))
            }
        };
        let count = if trim.approximate { whole_nodes(wanted, trim.limit) } else { wanted };
        if count == 0 {
            return Ok(None);
        }
        self.check_journal(state)?;
        match floor {
            Some(floor) if count == wanted => {
                Ok(Some(TrimPlan { floor, removed: live_up_to(state, floor)? }))
            }
            _ => oldest(state, count).map(Some),
        }
    }

    /// Applies a plan and notes it in the journal.
    fn apply_trim(self: &Arc<Self>, state: &mut State, plan: &TrimPlan) -> Ticket {
        self.watch.modified();
        state.floor = state.floor.max(plan.floor);
        let floor = state.floor;
        for (lane, removed) in state.lanes.iter_mut().zip(&plan.removed) {
            lane.live = lane.live.saturating_sub(*removed);
        }
        if state.deletions.len() > 0 {
            Arc::make_mut(&mut state.deletions).forget_up_to(floor);
        }
        while state.head.front().is_some_and(|event| event.id <= floor) {
            state.head.pop_front();
        }
        state.journal.push_trim(floor);
        self.journal_ticket(state)
    }

    /// Queues the journal and returns the ticket for what was pushed.
    pub(crate) fn journal_ticket(self: &Arc<Self>, state: &mut State) -> Ticket {
        if !state.journal.queued {
            state.journal.queued = true;
            self.brokers[self.home].enqueue(self, TicketKind::Journal);
        }
        Ticket {
            kind: TicketKind::Journal,
            epoch: state.journal.epoch,
            sequence: state.journal.next_batch(),
            id: state.last_id,
        }
    }

    pub(super) fn consider_reclaim(self: &Arc<Self>, state: &State) {
        if !self.reclaiming.load(Ordering::Relaxed) && self.wants_reclaim(state) {
            self.reclaiming.store(true, Ordering::Relaxed);
            self.brokers[self.home].request_reclaim(self);
        }
    }
}

/// Whole nodes out of `wanted` events, within the limit.
fn whole_nodes(wanted: u64, limit: Option<u64>) -> u64 {
    let most = match limit.unwrap_or(LIMIT_DEFAULT) {
        0 => wanted,
        limit => wanted.min(limit),
    };
    most / NODE_ENTRIES * NODE_ENTRIES
}

/// Whether lines cannot be counted by the index, because a rewrite is just taking its place.
fn is_swapping(state: &State) -> bool {
    state.lanes.iter().any(|lane| lane.swapping)
}

/// How many visible events lie at or below `id`, by partition.
fn live_up_to(state: &State, id: EventId) -> Result<Vec<u64>, ReadError> {
    let mut counts = vec![0; state.lanes.len()];
    let up_to = id.min(state.visible_id);
    if is_swapping(state) {
        return View::of_topic(state).count_up_to(up_to);
    }
    if up_to > state.floor {
        let deleted = state.deletions.count_up_to(up_to, counts.len());
        for (at, lane) in state.lanes.iter().enumerate() {
            let below = lane.rank(up_to)?.saturating_sub(lane.rank(state.floor)?);
            counts[at] = below.saturating_sub(deleted[at]);
        }
    }
    Ok(counts)
}

/// The plan that removes the `count` oldest visible events.
fn oldest(state: &mut State, count: u64) -> Result<TrimPlan, ReadError> {
    if count <= WALK_MAX || is_swapping(state) {
        return walk(state, count);
    }
    // Smallest id with at least `count` live events at or below it, by bisection over the 128 bits of an id.
    let (mut low, mut high) = (number(state.floor), number(state.visible_id));
    while low < high {
        let middle = low + (high - low) / 2;
        if live_up_to(state, from_number(middle))?.iter().sum::<u64>() >= count {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let floor = from_number(low);
    Ok(TrimPlan { floor, removed: live_up_to(state, floor)? })
}

fn walk(state: &mut State, count: u64) -> Result<TrimPlan, ReadError> {
    let wanted = usize::try_from(count).unwrap_or(usize::MAX);
    if state.head.len() < wanted {
        state.head = View::of_topic(state).oldest(wanted.max(HEAD_EVENTS))?.into();
    }
    let mut removed = vec![0; state.lanes.len()];
    let mut floor = state.floor;
    for event in state.head.iter().take(wanted) {
        removed[usize::from(event.lane)] += 1;
        floor = event.id;
    }
    Ok(TrimPlan { floor, removed })
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
    fn approximate_trimming_takes_whole_nodes() {
        assert_eq!(whole_nodes(445, None), 400);
        assert_eq!(whole_nodes(2, Some(2)), 0);
        assert_eq!(whole_nodes(99_999, None), 10_000);
        assert_eq!(whole_nodes(99_999, Some(0)), 99_900);
        assert_eq!(whole_nodes(500, Some(250)), 200);
    }

    #[test]
    fn ids_and_numbers_correspond() {
        for id in [EventId::MIN, EventId::new(3, u64::MAX), EventId::MAX] {
            assert_eq!(from_number(number(id)), id);
        }
    }
}
