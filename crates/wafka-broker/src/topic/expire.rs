//! A topic's time to live.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::journal::JournalRecord;
use super::{State, Topic};
use crate::error::AppendError;
use crate::ticket::Ticket;

/// Stands for no time.
const NEVER: u64 = u64::MAX;

/// On what condition a topic's time is set: `NX`, `XX`, `GT`, `LT`. All that are set must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExpireIf {
    /// `NX`: it has none.
    pub none: bool,
    /// `XX`: it has one.
    pub some: bool,
    /// `GT`: the new one is later. No time is the latest there is.
    pub later: bool,
    /// `LT`: the new one is earlier.
    pub earlier: bool,
}

/// What became of [`Topic::expire`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// A condition does not hold.
    Refused,
    /// The time has come already: the caller deletes the topic.
    Due,
    /// It is set; durable when the ticket is redeemed.
    Set(Ticket),
}

impl ExpireIf {
    fn holds(self, now: Option<u64>, at: u64) -> bool {
        let later = now.is_some_and(|now| at > now);
        let earlier = now.is_none_or(|now| at < now);
        !(self.none && now.is_some()
            || self.some && now.is_none()
            || self.later && !later
            || self.earlier && !earlier)
    }
}

impl Topic {
    /// When the topic's time comes, in milliseconds since 1970; from that moment on it is gone.
    #[must_use]
    pub fn expire_at_ms(&self) -> Option<u64> {
        Some(self.expire_at.load(Ordering::Acquire)).filter(|at| *at != NEVER)
    }

    /// Whether the topic's time has come. It does not while a transaction on it is under way, as in Redis: the time may
    /// be one that is going to be taken back.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        // The clock is asked only where there is a time.
        self.expire_at_ms().is_some_and(|at| at <= self.deadlines.now_ms()) && !self.freeze.is_under_way()
    }

    /// Whether who looks the topic's name up does not find it any more: it was deleted, or its time has come.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.is_deleted() || self.is_expired()
    }

    /// Sets when the topic's time comes, in milliseconds since 1970 (`PEXPIREAT`), if `condition` holds.
    ///
    /// # Errors
    /// When the topic is gone, or its journal cannot be written.
    pub fn expire(self: &Arc<Self>, at_ms: i64, condition: ExpireIf) -> Result<Expiry, AppendError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        // What lies before 1970 is as much in the past as its first millisecond.
        let at = u64::try_from(at_ms).unwrap_or(0);
        if !condition.holds(state.expire_at_ms, at) {
            return Ok(Expiry::Refused);
        }
        if at <= self.deadlines.now_ms() {
            return Ok(Expiry::Due);
        }
        self.set_expiry(state, Some(at));
        Ok(Expiry::Set(self.journal_ticket(state)))
    }

    /// Lets the topic live (`PERSIST`); `None` when it has no time.
    ///
    /// # Errors
    /// As [`Topic::expire`].
    pub fn persist(self: &Arc<Self>) -> Result<Option<Ticket>, AppendError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        if state.expire_at_ms.is_none() {
            return Ok(None);
        }
        self.set_expiry(state, None);
        Ok(Some(self.journal_ticket(state)))
    }

    fn set_expiry(self: &Arc<Self>, state: &mut State, at_ms: Option<u64>) {
        state.journal.push(JournalRecord::Expire { at_ms });
        self.change_expiry(state, at_ms);
    }

    /// The journal failed: who set a time that is not in the file is told so, and the topic must not be deleted then.
    pub(super) fn take_back_expiry(self: &Arc<Self>, state: &mut State) {
        if state.expire_at_ms != state.journal.durable_expire_at_ms {
            self.change_expiry(state, state.journal.durable_expire_at_ms);
        }
    }

    fn change_expiry(self: &Arc<Self>, state: &mut State, at_ms: Option<u64>) {
        let before = std::mem::replace(&mut state.expire_at_ms, at_ms);
        self.watch.modified();
        self.expire_at.store(at_ms.unwrap_or(NEVER), Ordering::Release);
        self.deadlines.change(self, before, at_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let condition = |text: &str| ExpireIf {
            none: text.contains("NX"),
            some: text.contains("XX"),
            later: text.contains("GT"),
            earlier: text.contains("LT"),
        };
        for (text, now, holds) in [
            ("", None, true),
            ("", Some(5), true),
            ("NX", None, true),
            ("NX", Some(5), false),
            ("XX", None, false),
            ("XX", Some(5), true),
            ("GT", None, false),
            ("GT", Some(10), false),
            ("GT", Some(9), true),
            ("LT", None, true),
            ("LT", Some(10), false),
            ("LT", Some(11), true),
            ("XX GT", Some(9), true),
            ("XX LT", None, false),
        ] {
            assert_eq!(condition(text).holds(now, 10), holds, "{text} {now:?}");
        }
    }
}
