//! The suite for backends with an [`Ownership`]: who has the lease, and that nobody else writes.

#![allow(clippy::panic, reason = "a suite of tests, which other crates run")]

mod fencing;
mod leases;

use std::sync::Arc;
use std::time::Duration;

use wafka_core::storage::{Acquired, Holder, Lease, Owner, Ownership, Storage};

use super::*;

/// How the suite gets at data that several servers reach.
pub trait SharedHarness {
    /// Opens the data as a further server would, which has no lease. Those opened before stay open.
    fn open(&mut self) -> Arc<dyn Storage>;

    /// The time by a clock that leases run by, since some moment.
    fn now(&self) -> Duration;

    /// Lets so much time pass.
    fn wait(&mut self, time: Duration);

    /// Whether the backend can rewrite logs.
    fn rewrites(&self) -> bool {
        true
    }
}

/// Makes data without logs, which nobody owns.
pub type MakeShared<'a> = &'a mut dyn FnMut() -> Box<dyn SharedHarness>;

/// A case that took longer than the lease it needed says nothing: it is run again, so often at most.
const TRIES: usize = 10;

/// Runs the suite; each case has fresh data.
///
/// # Panics
/// When the backend breaks the contract.
pub fn run(make: MakeShared<'_>) {
    for case in leases::CASES.iter().chain(fencing::CASES) {
        let done = (0..TRIES).any(|_| case(&mut *make()).is_ok());
        assert!(done, "each of {TRIES} tries took longer than the lease: is its time to live too short?");
    }
}

/// The lease was over before the case came to what it is about.
struct TooSlow;

type Case = fn(&mut dyn SharedHarness) -> Result<(), TooSlow>;

/// A server of the suite.
struct Server {
    owner: Owner,
    storage: Arc<dyn Storage>,
    ownership: Arc<dyn Ownership>,
    /// When it last asked for its lease, and for how long it got it.
    asked: Duration,
    time_to_live: Duration,
}

impl Server {
    fn open(harness: &mut dyn SharedHarness, id: &str) -> Self {
        let storage = harness.open();
        let ownership = storage.ownership().expect("a backend with an ownership");
        let owner = Owner { id: id.to_owned(), address: format!("{id}.example:6379") };
        Server { owner, storage, ownership, asked: Duration::ZERO, time_to_live: Duration::ZERO }
    }

    fn acquire(&mut self, harness: &dyn SharedHarness) -> Acquired {
        let asked = harness.now();
        let acquired = self.ownership.acquire(&self.owner).expect("acquire");
        if let Acquired::Ours(Lease { time_to_live, .. }) = acquired {
            assert!(!time_to_live.is_zero(), "a lease without time");
            (self.asked, self.time_to_live) = (asked, time_to_live);
        }
        acquired
    }

    /// Gets the lease, which nobody has; returns its epoch.
    fn own(&mut self, harness: &dyn SharedHarness) -> u64 {
        match self.acquire(harness) {
            Acquired::Ours(lease) => lease.epoch,
            Acquired::HeldBy(holder) => panic!("{holder:?} has the lease, expected nobody"),
        }
    }

    /// Waits until whoever has the lease has lost it, and gets it.
    fn take_over(&mut self, harness: &mut dyn SharedHarness) -> u64 {
        for _ in 0..100 {
            match self.acquire(harness) {
                Acquired::Ours(lease) => return lease.epoch,
                Acquired::HeldBy(holder) => harness.wait(holder.remaining + Duration::from_millis(1)),
            }
        }
        panic!("the lease does not end although nobody renews it");
    }

    /// Whether the lease still holds, whatever happened meanwhile.
    fn in_time(&self, harness: &dyn SharedHarness) -> Result<(), TooSlow> {
        if harness.now() < self.asked + self.time_to_live { Ok(()) } else { Err(TooSlow) }
    }

    /// Asks for the lease that `other` has.
    fn refused(&mut self, harness: &dyn SharedHarness, other: &Server) -> Result<Holder, TooSlow> {
        match self.acquire(harness) {
            Acquired::HeldBy(holder) => {
                assert_eq!(holder.owner, other.owner);
                assert!(holder.remaining <= other.time_to_live, "{holder:?} of {:?}", other.time_to_live);
                Ok(holder)
            }
            Acquired::Ours(lease) => {
                other.in_time(harness)?;
                panic!("{lease:?} although {:?} has it", other.owner)
            }
        }
    }

    fn shard(&self) -> Box<dyn Shard> {
        self.storage.shard(BrokerId(1)).expect("a shard")
    }
}
