//! Who may write what a backend holds, where the lock of a data directory does not say: on an engine that several
//! servers reach, one of them *owns* the data, and the others stand by.
//!
//! ```text
//!   standby ──acquire──▶ owner ──renew──▶ owner ─ … ─ release ──▶ nobody: the next acquire succeeds at once
//!      ▲                   │
//!   HeldBy                 └─ the time to live is over without a renewal: the next acquire succeeds
//! ```
//!
//! * **Epochs.** Each change of owners has a number that is greater than all before it.
//! * **Fencing.** From the moment that the owner of an epoch has opened a log, no append of an owner of a lower epoch can
//!   come to stand in it, however late it arrives: the backend marks the log with the epoch when it is opened. Time
//!   alone fences nobody, as a server may sleep between looking at the clock and writing. The refusal, at the append, the
//!   sync or whatever else was asked for, is [`StorageError::NotOwner`].
//! * **Nothing is touched before.** Until [`Ownership::acquire`] has succeeded the backend changes nothing that another server may own.
//! * **Clocks.** An owner counts its time from *before* it asked, by a clock that goes on while the machine sleeps, and
//!   acts no more when that time is over. So it ends no later for the owner than for anybody else.

use std::time::Duration;

use super::StorageError;

/// A server, as others are told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Tells this run of the server from all others, itself restarted included.
    pub id: String,
    /// Where clients reach it, as `host:port`.
    pub address: String,
}

/// The right to write, for a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Greater than that of every owner before.
    pub epoch: u64,
    /// How long it holds from the moment before it was asked for, unless it is renewed.
    pub time_to_live: Duration,
}

/// Another server that owns the data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Who it is.
    pub owner: Owner,
    /// Since which epoch.
    pub epoch: u64,
    /// How long it goes on owning the data at most, unless it renews its lease.
    pub remaining: Duration,
}

/// What came of asking for the lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Acquired {
    /// It is ours.
    Ours(Lease),
    /// Another server has it.
    HeldBy(Holder),
}

/// What came of a renewal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Renewed {
    /// It is ours for another time to live, counted from before the call.
    Ours,
    /// It is lost for good: another server has had it since, this one as far as is known.
    Lost(Option<Holder>),
}

/// Decides which of several servers may write. Each call returns in bounded time.
pub trait Ownership: Send + Sync {
    /// Asks for the lease, and does not wait for whoever has it. Succeeds at once where it was released, or its time is over.
    ///
    /// # Errors
    /// When the engine cannot be asked: whether the lease is ours is unknown then, and asking again finds out.
    fn acquire(&self, owner: &Owner) -> Result<Acquired, StorageError>;

    /// Prolongs the lease. One whose time is over is renewed too, if nobody has had it since: nothing was written meanwhile.
    ///
    /// # Errors
    /// When the engine cannot be asked, or there was no [`Ownership::acquire`] that succeeded.
    fn renew(&self) -> Result<Renewed, StorageError>;

    /// Gives the lease up, so that the next server need not wait for its end. Nothing is written after that.
    ///
    /// # Errors
    /// When the engine cannot be asked: the lease ends by itself.
    fn release(&self) -> Result<(), StorageError>;
}
