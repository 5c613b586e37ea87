//! What became of a write: the watermark, and waiting for it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use super::lane::{Failure, LaneState};
use super::{State, Topic};
use crate::error::AppendError;
use crate::ticket::{Ticket, TicketKind};
use crate::watch::Change;

impl Topic {
    /// What became of a write, or `None` while it is under way.
    #[must_use]
    pub fn is_committed(&self, ticket: &Ticket) -> Option<Result<(), AppendError>> {
        let reached = match ticket.kind {
            TicketKind::Partition(_) => self.visible.load(Ordering::Acquire),
            TicketKind::Journal => self.journaled.load(Ordering::Acquire),
        };
        if reached < ticket.sequence {
            return None;
        }
        if !self.ever_failed.load(Ordering::Acquire) {
            return Some(Ok(()));
        }
        Some(self.outcome(&self.state.lock(), ticket))
    }

    /// Resolves when the write is durable and visible, or has failed.
    pub fn committed(self: &Arc<Self>, ticket: Ticket) -> Committed {
        Committed { topic: Arc::clone(self), ticket }
    }

    fn outcome(&self, state: &State, ticket: &Ticket) -> Result<(), AppendError> {
        let (epoch, failures, index) = match ticket.kind {
            TicketKind::Partition(index) => {
                let lane = &state.lanes[usize::from(index)];
                (lane.epoch, &lane.failures, usize::from(index))
            }
            TicketKind::Journal => (state.journal.epoch, &state.journal.failures, usize::MAX),
        };
        if epoch == ticket.epoch {
            return Ok(());
        }
        match failures.iter().find(|failure: &&Failure| failure.epoch == ticket.epoch) {
            None => Err(AppendError::Unknown),
            Some(failure) if ticket.sequence <= failure.committed => Ok(()),
            Some(failure) if index == usize::MAX => Err(self.journal_offline(&failure.reason)),
            Some(failure) => Err(self.offline(index, &failure.reason)),
        }
    }

    /// Marks the topic as deleted; whoever waits is told that what it wrote was committed or is gone with the topic.
    pub(crate) fn set_deleted(&self) {
        self.set_deleted_quietly();
        self.watch.notify(Change::Gone);
    }

    /// As [`Topic::set_deleted`], for a topic that another one has taken the place of: who waits for its events is not
    /// told.
    pub(crate) fn set_deleted_quietly(&self) {
        let (waiters, journal_waiters) = {
            let mut state = self.state.lock();
            self.deleted.store(true, Ordering::Release);
            self.visible.store(u64::MAX, Ordering::Release);
            self.journaled.store(u64::MAX, Ordering::Release);
            (std::mem::take(&mut state.waiters), std::mem::take(&mut state.journal_waiters))
        };
        for (_, waker) in waiters.into_iter().chain(journal_waiters) {
            waker.wake();
        }
    }

    pub(super) fn journal_offline(&self, reason: &Arc<str>) -> AppendError {
        AppendError::ReadOnly {
            topic: self.name.to_string(),
            reason: format!("its journal is offline: {reason}").into(),
        }
    }
}

impl State {
    /// Why the journal cannot be written to, if so.
    pub(super) fn journal_reason(&self) -> Option<&Arc<str>> {
        match &self.journal.state {
            LaneState::Online => None,
            LaneState::Offline { reason, .. } => Some(reason),
        }
    }
}

/// See [`Topic::committed`].
pub struct Committed {
    topic: Arc<Topic>,
    ticket: Ticket,
}

impl Future for Committed {
    type Output = Result<(), AppendError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.topic.is_committed(&self.ticket) {
            return Poll::Ready(outcome);
        }
        let mut state = self.topic.state.lock();
        // Looked at again under the lock: what is published after this finds the waker.
        let (reached, waiters) = match self.ticket.kind {
            TicketKind::Partition(_) => (self.topic.visible.load(Ordering::Acquire), &mut state.waiters),
            TicketKind::Journal => (self.topic.journaled.load(Ordering::Acquire), &mut state.journal_waiters),
        };
        if reached >= self.ticket.sequence {
            return Poll::Ready(self.topic.outcome(&state, &self.ticket));
        }
        register(waiters, self.ticket.sequence, context.waker());
        Poll::Pending
    }
}

/// Keeps the queue ascending; tickets are mostly awaited in the order they were given out, so the search is short.
fn register(waiters: &mut VecDeque<(u64, Waker)>, sequence: u64, waker: &Waker) {
    let mut at = waiters.len();
    while at > 0 && waiters[at - 1].0 >= sequence {
        at -= 1;
        if waiters[at].0 == sequence && waiters[at].1.will_wake(waker) {
            return;
        }
    }
    waiters.insert(at, (sequence, waker.clone()));
}

/// Takes out the wakers of all who wait for at most `reached`.
pub(super) fn release(waiters: &mut VecDeque<(u64, Waker)>, reached: u64, into: &mut Vec<Waker>) {
    while waiters.front().is_some_and(|(sequence, _)| *sequence <= reached) {
        if let Some((_, waker)) = waiters.pop_front() {
            into.push(waker);
        }
    }
}
