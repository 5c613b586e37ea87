//! Consumer groups: what was delivered to whom, and what is still to be acknowledged.
//!
//! A group is part of its topic's state, under the topic's lock. Every change is applied to memory when it is accepted
//! and written as a record of the topic's journal; the caller awaits the [`crate::Ticket`] it gets. What a group has
//! pending refers to visible events only, so no failure of a partition takes an event from under it.

mod ack;
mod claim;
mod consumers;
mod error;
mod info;
mod lag;
mod membership;
mod pending;
mod reading;
mod references;
mod release;
mod state;

pub use claim::{AutoClaimRequest, AutoClaimed, ClaimRequest, Claimable, Claimed};
pub use error::GroupError;
pub use info::{
    ConsumerInfo, FullConsumer, FullGroup, GroupInfo, LagMode, PendingEntry, PendingQuery, PendingSummary,
};
pub use membership::{GroupStart, check_name as check_group_name};
pub(crate) use pending::{DELIVERIES_MAX, NOBODY, Pending};
pub use reading::{Delivered, Position};
pub use references::{DeleteOutcome, RefPolicy};
pub use release::{ReleaseMode, ReleaseRequest};
pub(crate) use state::{Group, Groups};

use std::sync::Arc;

use wafka_core::EventId;

use crate::ticket::Ticket;
use crate::topic::{GroupRecord, IdRun, JournalRecord, State, Topic};

/// So many runs of ids stand in one line of the journal at most.
const LINE_RUNS_MAX: usize = 10_000;

impl Topic {
    /// Queues a record about a group for the journal.
    fn note(self: &Arc<Self>, state: &mut State, record: GroupRecord) -> Ticket {
        state.journal.push(JournalRecord::Group(record));
        self.journal_ticket(state)
    }

    /// Queues records about `ids`, as many as their lines take; `None` when there are no ids.
    fn note_ids(
        self: &Arc<Self>,
        state: &mut State,
        ids: &[EventId],
        record: impl Fn(Vec<IdRun>) -> GroupRecord,
    ) -> Option<Ticket> {
        let runs = crate::topic::runs(ids.iter().copied());
        runs.chunks(LINE_RUNS_MAX).map(|some| self.note(state, record(some.to_vec()))).last()
    }
}
