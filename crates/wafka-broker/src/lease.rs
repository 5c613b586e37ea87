//! Keeping the lease on data that several servers reach ([`Ownership`]): renewing it in time, and knowing how long it holds.
//!
//! A lease that was asked for at the moment `t` is acted on until `t` + its time to live − a tenth of that. What was begun
//! right before then has that tenth to reach the engine, and two clocks may run apart by as much.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wafka_core::storage::{Acquired, Holder, Lease, Owner, Ownership, Renewed, StorageError};

/// How often a lease is renewed in its time to live.
const RENEWALS: u32 = 3;

/// The clock that an owner counts its time by.
pub trait LeaseClock: Send + Sync {
    /// The time since some moment in the past. It goes on while the machine sleeps, and never goes back.
    fn now(&self) -> Duration;
}

/// The system's clock that counts the time for which the machine was suspended, too.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl LeaseClock for BootClock {
    fn now(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        // Both are never negative: the clock begins with the machine.
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
    }
}

/// What a keeper is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AskKeeper {
    /// To renew now: there is reason to doubt that the lease is still ours.
    Renew,
    /// To end.
    End,
}

/// What a keeper tells.
#[derive(Debug)]
pub enum LeaseNews<'a> {
    /// The lease is ours, to be acted on until the clock shows this.
    Until(Duration),
    /// The engine cannot be asked: the lease holds for as long as was told last.
    Unknown(&'a StorageError),
    /// The lease is lost for good, to that server as far as is known.
    Lost(Option<Holder>),
}

/// How a keeper ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeeperEnd {
    /// It was asked to, and the lease may still be ours.
    Asked,
    /// Nobody can ask it for anything any more. The lease may still be ours, and somebody at work who relies on it.
    Forgotten,
    /// The lease is lost.
    Lost,
}

/// How long a lease is acted on that was asked for when the clock showed `asked_at`.
#[must_use]
pub fn acted_on_until(asked_at: Duration, lease: &Lease) -> Duration {
    asked_at + (lease.time_to_live - lease.time_to_live / 10)
}

/// Between two tries while the engine cannot be asked, or another server has the lease.
#[must_use]
pub fn retry_after(time_to_live: Duration) -> Duration {
    (time_to_live / 12).clamp(Duration::from_millis(5), Duration::from_secs(1))
}

/// Asks for the lease. One that took so long to get that it would be renewed by now is, before anybody relies on it: another
/// server may have waited for its end, and this one goes on standing by then. With it comes what the clock showed
/// before the lease was asked for last.
///
/// # Errors
/// As [`Ownership::acquire`]; also where another server, of which no more is known, has had the lease since it was given.
pub fn acquire(
    ownership: &dyn Ownership,
    me: &Owner,
    clock: &dyn LeaseClock,
) -> Result<(Acquired, Duration), StorageError> {
    let asked_at = clock.now();
    let acquired = ownership.acquire(me)?;
    let Acquired::Ours(lease) = &acquired else { return Ok((acquired, asked_at)) };
    if clock.now() < asked_at + lease.time_to_live / RENEWALS {
        return Ok((acquired, asked_at));
    }
    let asked_at = clock.now();
    match ownership.renew()? {
        Renewed::Ours => Ok((acquired, asked_at)),
        Renewed::Lost(Some(holder)) => Ok((Acquired::HeldBy(holder), asked_at)),
        Renewed::Lost(None) => Err(StorageError::NotOwner {
            log: "the lease".to_owned(),
            reason: "it took so long to get that another server has had it since".to_owned(),
        }),
    }
}

/// Renews a lease, which was asked for when the clock showed `asked_at`, at a third of its time to live, until it is lost or
/// `asks` says [`AskKeeper::End`], or has no sender any more. Blocks the calling thread, which does nothing else.
pub fn keep(
    ownership: &dyn Ownership,
    lease: &Lease,
    asked_at: Duration,
    clock: &dyn LeaseClock,
    asks: &Receiver<AskKeeper>,
    mut tell: impl FnMut(LeaseNews<'_>),
) -> KeeperEnd {
    // Counted from the question, as the lease is: an engine that takes its time to answer leaves so much less of it.
    let due_behind = |asked_at: Duration| asked_at + lease.time_to_live / RENEWALS;
    let mut due = due_behind(asked_at);
    loop {
        match asks.recv_timeout(due.saturating_sub(clock.now())) {
            Ok(AskKeeper::End) => return KeeperEnd::Asked,
            Err(RecvTimeoutError::Disconnected) => return KeeperEnd::Forgotten,
            Ok(AskKeeper::Renew) | Err(RecvTimeoutError::Timeout) => {}
        }
        // Many logs may have had the same doubt.
        if asks.try_iter().any(|ask| ask == AskKeeper::End) {
            return KeeperEnd::Asked;
        }
        // Before it is asked: the engine counts from a later moment.
        let asked_at = clock.now();
        match ownership.renew() {
            Ok(Renewed::Ours) => {
                tell(LeaseNews::Until(acted_on_until(asked_at, lease)));
                due = due_behind(asked_at);
            }
            Ok(Renewed::Lost(holder)) => {
                tell(LeaseNews::Lost(holder));
                return KeeperEnd::Lost;
            }
            Err(error) => {
                tell(LeaseNews::Unknown(&error));
                due = clock.now() + retry_after(lease.time_to_live);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::sync::mpsc::channel;

    use parking_lot::Mutex;
    use wafka_core::storage::{Acquired, Owner};

    use super::*;

    /// Gives its lease, answers renewals as told, and loses the lease behind that.
    #[derive(Default)]
    struct Told(Mutex<VecDeque<bool>>);

    impl Ownership for Told {
        fn acquire(&self, _: &Owner) -> Result<Acquired, StorageError> {
            Ok(Acquired::Ours(LEASE))
        }

        fn renew(&self) -> Result<Renewed, StorageError> {
            match self.0.lock().pop_front() {
                Some(true) => Ok(Renewed::Ours),
                Some(false) => Err(StorageError::Io {
                    log: "lease".to_owned(),
                    operation: "renew",
                    source: io::Error::other("no quorum"),
                }),
                None => Ok(Renewed::Lost(None)),
            }
        }

        fn release(&self) -> Result<(), StorageError> {
            Ok(())
        }
    }

    /// Each look takes so many seconds.
    struct Ticking(Mutex<Duration>, u64);

    impl LeaseClock for Ticking {
        fn now(&self) -> Duration {
            let mut now = self.0.lock();
            *now += Duration::from_secs(self.1);
            *now
        }
    }

    const LEASE: Lease = Lease { epoch: 7, time_to_live: Duration::from_secs(100) };

    #[test]
    fn each_renewal_counts_from_before_it_and_a_failed_one_changes_nothing() {
        let told = Told(Mutex::new([true, false, true].into()));
        let (sender, asks) = channel();
        // A third of the time to live never passes here: each renewal is asked for.
        sender.send(AskKeeper::Renew).unwrap();
        let mut news = Vec::new();
        let end = keep(&told, &LEASE, Duration::ZERO, &Ticking(Mutex::default(), 1), &asks, |new| {
            news.push(match new {
                LeaseNews::Until(until) => until.as_secs().to_string(),
                LeaseNews::Unknown(error) => error.to_string(),
                LeaseNews::Lost(_) => "lost".to_owned(),
            });
            (0..2).for_each(|_| sender.send(AskKeeper::Renew).unwrap());
        });
        assert_eq!(end, KeeperEnd::Lost);
        // The clock is looked at before each wait and before each renewal, and behind one that failed.
        assert_eq!(news, ["92", "lease: renew: no quorum", "97", "lost"]);
    }

    #[test]
    fn what_an_answer_took_is_no_time_to_rest() {
        // Each look at the clock finds a third of the lease gone, and more: nobody has to ask for the renewals.
        let lease = Lease { time_to_live: Duration::from_secs(3), ..LEASE };
        let (_sender, asks) = channel();
        let told = Told(Mutex::new([true, true].into()));
        let mut renewed = 0;
        let begun = std::time::Instant::now();
        let end = keep(&told, &lease, Duration::ZERO, &Ticking(Mutex::default(), 1), &asks, |new| {
            renewed += usize::from(matches!(new, LeaseNews::Until(_)));
        });
        assert_eq!((end, renewed), (KeeperEnd::Lost, 2));
        assert!(begun.elapsed() < Duration::from_secs(2), "it rested");
    }

    #[test]
    fn a_lease_that_took_long_to_acquire_is_renewed_at_once() {
        let told = Told(Mutex::new([true].into()));
        let (sender, asks) = channel();
        let clock = Ticking(Mutex::new(LEASE.time_to_live), 1);
        let mut renewed = 0;
        let end = keep(&told, &LEASE, Duration::ZERO, &clock, &asks, |new| {
            renewed += u32::from(matches!(new, LeaseNews::Until(_)));
            sender.send(AskKeeper::End).unwrap();
        });
        assert_eq!((end, renewed), (KeeperEnd::Asked, 1));
    }

    #[test]
    fn one_that_took_long_to_get_is_ours_when_it_is_renewed() {
        let me = Owner { id: "me".to_owned(), address: String::new() };
        // Each look at the clock takes so many seconds.
        let acquire = |steps: u64, answers: &[bool]| {
            let told = Told(Mutex::new(answers.iter().copied().collect()));
            let clock = Ticking(Mutex::default(), steps);
            acquire(&told, &me, &clock).map(|(acquired, asked_at)| (acquired, asked_at.as_secs()))
        };
        // A lease of 100 s is not renewed before 33 s.
        assert_eq!(acquire(30, &[]).unwrap(), (Acquired::Ours(LEASE), 30));
        assert_eq!(acquire(40, &[true]).unwrap(), (Acquired::Ours(LEASE), 120));
        assert!(matches!(acquire(40, &[false]), Err(StorageError::Io { .. })));
        assert!(matches!(acquire(40, &[]), Err(StorageError::NotOwner { .. })));
    }

    #[test]
    fn it_ends_when_asked_or_forgotten() {
        for says_so in [true, false] {
            let (sender, asks) = channel();
            if says_so {
                sender.send(AskKeeper::End).unwrap();
            }
            let kept = says_so.then_some(sender);
            let now = BootClock.now();
            let end = keep(&Told::default(), &LEASE, now, &BootClock, &asks, |new| panic!("{new:?}"));
            assert_eq!(end, if says_so { KeeperEnd::Asked } else { KeeperEnd::Forgotten });
            drop(kept);
        }
    }

    #[test]
    fn the_systems_clock_goes_on() {
        let first = BootClock.now();
        assert!(first > Duration::ZERO && BootClock.now() >= first);
    }
}
