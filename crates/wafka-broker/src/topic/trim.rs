//! Trimming: which events go, and remembering it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wafka_core::EventId;

use super::trim_plan::TrimPlan;
use super::{State, Topic};
use crate::error::{AppendError, ReadError};
use crate::group::RefPolicy;
use crate::ticket::{Ticket, TicketKind};

/// Appends that are remembered for having trimmed something.
const TRIMMED_WITH_MAX: usize = 4096;
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
    /// `~`: whole nodes only, see [`crate::Engine::set_node_entries`]; nothing unless references are kept.
    pub approximate: bool,
    /// `LIMIT`: with `~`, at most so many events in one go; 0 = no limit, `None` = Redis's default.
    pub limit: Option<u64>,
    /// What becomes of the groups that have an event pending.
    pub refs: RefPolicy,
}

impl Trim {
    /// `MAXLEN max`.
    #[must_use]
    pub fn max_len(max: u64) -> Self {
        Trim { strategy: TrimStrategy::MaxLen(max), approximate: false, limit: None, refs: RefPolicy::Keep }
    }
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

impl Topic {
    /// Trims the topic (`XTRIM`): returns how many events went, and the ticket of its durability.
    ///
    /// # Errors
    /// When the topic cannot be read or written.
    pub fn trim(self: &Arc<Self>, trim: &Trim) -> Result<(u64, Option<Ticket>), ReadError> {
        let (mut count, mut ticket) = (0, None);
        loop {
            // Others have their turn between one part and the next.
            let mut guard = self.state.lock();
            let state = &mut *guard;
            self.check_journal(state)?;
            let Some(plan) = state.plan_trim(trim, self.node_entries())? else { return Ok((count, ticket)) };
            if plan.count() > 0 {
                count += plan.count();
                ticket = Some(self.apply_trim(state, &plan, trim.refs));
            }
            if !plan.more {
                return Ok((count, ticket));
            }
        }
    }

    /// Whether something may be done to events of the topic.
    pub(crate) fn check_journal(&self, state: &State) -> Result<(), AppendError> {
        if self.is_absent() {
            return Err(AppendError::Deleted);
        }
        self.check_owned(true)?;
        if let Some(reason) = state.held() {
            return Err(AppendError::ReadOnly { topic: self.name.to_string(), reason: Arc::clone(reason) });
        }
        match state.journal_reason() {
            None => Ok(()),
            Some(reason) => Err(self.journal_offline(reason)),
        }
    }

    /// Carries out the trimming that came with an event which has just become visible. Not before: else a crash could
    /// take an event that was there because of one that never came to be. Whether anything went.
    pub(super) fn trim_behind(self: &Arc<Self>, state: &mut State, trim: &Trim) -> bool {
        let planned = state.plan_trim(trim, self.node_entries()).and_then(|plan| {
            self.check_journal(state)?;
            Ok(plan)
        });
        match planned {
            Ok(None) => false,
            // The next event with such an option goes on where this one ended.
            Ok(Some(plan)) if plan.count() == 0 => false,
            Ok(Some(plan)) => {
                self.apply_trim(state, &plan, trim.refs);
                // Nobody waits for it, so nobody kicks.
                self.brokers[self.home].wake();
                true
            }
            // The next event with such an option trims for this one too.
            Err(error) => {
                state.groups.referenced_up_to = EventId::MIN;
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

    /// Applies a plan and notes it in the journal.
    fn apply_trim(self: &Arc<Self>, state: &mut State, plan: &TrimPlan, refs: RefPolicy) -> Ticket {
        self.watch.modified();
        if plan.floor > state.floor {
            let (before, floor) = (state.floor, plan.floor);
            state.floor = floor;
            for (lane, removed) in state.lanes.iter_mut().zip(&plan.removed) {
                lane.live = lane.live.saturating_sub(*removed);
            }
            if state.deletions.len() > 0 {
                Arc::make_mut(&mut state.deletions).forget_up_to(floor);
            }
            while state.head.front().is_some_and(|event| event.id <= floor) {
                state.head.pop_front();
            }
            let live = state.accepted_len();
            state.nodes.trimmed(floor, live);
            state.journal.push_trim(floor);
            if refs == RefPolicy::Delete {
                self.unreference_between(state, before, floor);
            }
        }
        for (id, lane, offset) in &plan.singles {
            state.delete_event(*id, *lane, *offset);
        }
        self.note_deleted(state, &plan.singles, true);
        self.journal_ticket(state)
    }

    /// How many events a node takes, where `~` has to know.
    pub(super) fn node_entries(&self) -> u64 {
        self.brokers[self.home].node_entries()
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
