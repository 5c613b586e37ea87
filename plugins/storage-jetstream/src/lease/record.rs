//! The value of the lease's key, and what one that was read says.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wafka_core::storage::{Holder, Owner};

/// What no server writes: clients are told the id and the address, and a time is waited for.
const TEXT_MAX: usize = 256;
const LEASE_MAX: Duration = Duration::from_secs(3600);
const EPOCH_MAX: u64 = u64::MAX >> 1;

/// The value of the key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) address: String,
    pub(super) epoch: u64,
    pub(super) lease_ms: u64,
    #[serde(default)]
    pub(super) released: bool,
}

impl Record {
    pub(super) fn can_be(&self) -> bool {
        let is_text = |text: &str| text.len() <= TEXT_MAX && !text.contains(char::is_control);
        !self.id.is_empty() && is_text(&self.id) && is_text(&self.address) && self.epoch <= EPOCH_MAX
    }

    pub(super) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms).min(LEASE_MAX)
    }
}

/// The value as it is stored. What is no value of ours says nothing: somebody deleted or wrote it by hand.
pub(super) struct Found {
    pub(super) sequence: u64,
    pub(super) time: String,
    pub(super) record: Option<Record>,
}

/// What was seen of another's lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) sequence: u64,
    pub(super) since: Instant,
}

impl Seen {
    pub(super) fn remaining(&self, lease: Duration, now: Instant) -> Duration {
        lease.saturating_sub(now.duration_since(self.since))
    }

    /// Since when the value stands that is told now. A leader that was asleep tells an older one than was seen: that does
    /// not count while the newer one's time is not over, and begins anew then, for it may be the only one there is.
    pub(super) fn next(known: Option<Self>, sequence: u64, lease: Duration, now: Instant) -> Self {
        let stands = |seen: &Seen| {
            seen.sequence == sequence || seen.sequence > sequence && !seen.remaining(lease, now).is_zero()
        };
        known.filter(stands).unwrap_or(Seen { sequence, since: now })
    }
}

/// What is in the place of our value, where it could not be replaced.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Stands {
    /// One of ours that came through without an answer. Since when it stands is not known.
    Ours,
    /// What stood before, as a leader tells that was asleep: it says nothing about what came behind.
    Before,
    /// Another server's, as far as that can be told.
    Others(Option<Holder>),
}

impl Stands {
    /// `last` is the sequence of what was read in the place of `mine`, which has sequence `sequence`.
    pub(super) fn read(mine: &Record, sequence: u64, last: u64, found: Option<&Record>) -> Self {
        let later = found.filter(|found| found.epoch > mine.epoch);
        // A later epoch is one wherever it stands: somebody may have made the bucket anew.
        if last <= sequence && later.is_none() {
            return Stands::Before;
        }
        if found == Some(mine) {
            return Stands::Ours;
        }
        Stands::Others(later.filter(|later| !later.released).map(|later| holder(later, later.lease())))
    }
}

pub(super) fn holder(record: &Record, remaining: Duration) -> Holder {
    let owner = Owner { id: record.id.clone(), address: record.address.clone() };
    Holder { owner, epoch: record.epoch, remaining }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, epoch: u64, released: bool) -> Record {
        Record { id: id.into(), address: format!("{id}:6379"), epoch, lease_ms: 3000, released }
    }

    #[test]
    fn what_stood_before_our_value_takes_no_lease_away() {
        let mine = record("us", 5, false);
        let read = |last, found: Option<&Record>| Stands::read(&mine, 10, last, found);
        // A leader that was asleep while we took the lease, or renewed it.
        assert_eq!(read(9, Some(&record("them", 4, false))), Stands::Before);
        assert_eq!(read(9, Some(&record("them", 4, true))), Stands::Before);
        assert_eq!(read(9, Some(&mine)), Stands::Before);
        assert_eq!(read(10, Some(&mine)), Stands::Before);
        assert_eq!(read(0, None), Stands::Before);
        // What came behind it does, and what is of a later epoch in a bucket that was made anew.
        assert_eq!(read(11, Some(&mine)), Stands::Ours);
        let later = record("them", 6, false);
        let them = Some(holder(&later, Duration::from_secs(3)));
        assert_eq!(read(11, Some(&later)), Stands::Others(them.clone()));
        assert_eq!(read(1, Some(&later)), Stands::Others(them));
        assert_eq!(read(11, Some(&record("them", 6, true))), Stands::Others(None));
        assert_eq!(read(11, None), Stands::Others(None));
    }

    #[test]
    fn a_value_counts_from_when_it_was_seen_and_an_older_one_does_not_begin_it_anew() {
        let (lease, start) = (Duration::from_secs(3), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let seen = Seen::next(None, 7, lease, at(0));
        assert_eq!(seen, Seen { sequence: 7, since: start });
        assert_eq!(Seen::next(Some(seen), 7, lease, at(2)).remaining(lease, at(2)), Duration::from_secs(1));
        assert_eq!(Seen::next(Some(seen), 6, lease, at(2)), seen);
        assert_eq!(Seen::next(Some(seen), 8, lease, at(2)), Seen { sequence: 8, since: at(2) });
        // The bucket was made anew: its numbers begin again.
        assert_eq!(Seen::next(Some(seen), 1, lease, at(3)), Seen { sequence: 1, since: at(3) });
    }

    #[test]
    fn a_value_that_no_server_writes_says_nothing() {
        let good = record("us", 5, false);
        assert!(good.can_be());
        for bad in [
            Record { id: String::new(), ..good.clone() },
            Record { id: "x".repeat(257), ..good.clone() },
            Record { address: "a\r\n+OK".into(), ..good.clone() },
            Record { epoch: u64::MAX, ..good.clone() },
        ] {
            assert!(!bad.can_be(), "{bad:?}");
        }
        let long = Record { lease_ms: u64::MAX, ..good };
        assert_eq!(holder(&long, long.lease()).remaining, Duration::from_secs(3600));
    }
}
