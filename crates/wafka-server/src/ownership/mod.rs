//! Whether this server owns the data it serves, where several servers reach the same data
//! ([`Ownership`](wafka_core::storage::Ownership)), and what it refuses when it does not.
//!
//! ```text
//!   standby ──the lease is ours──▶ opening ──topics are open──▶ owner ──not renewed in time──▶ lapsed
//!                                                                 ▲ └──────────────┐            │ │
//!                                                                 └────renewed─────│────────────┘ │
//!                                                       another server has had it: ▼              │
//!                                                                               fenced ◀──────────┘
//! ```
//!
//! * `standby`, `opening`: what Redis refuses while it loads its data gets `-LOADING` with the reason.
//! * `owner`: everything is served. A server on a backend without ownership always is.
//! * `lapsed`: `-LAPSED` to what may write. What is there can be read: it was durable when this server owned the data.
//! * `fenced`: `-FENCED` to what `-LOADING` refuses; for good.
//!
//! Every command costs one load of an atomic. The clock is looked at once per batch of requests, and only where there is an
//! ownership, so that a server that slept finds out before it accepts anything.

mod keeper;
mod refusal;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use wafka_broker::lease::LeaseClock;
use wafka_core::storage::{Holder, Owner, StorageError};

pub(crate) use keeper::Keeper;

/// What a server may do with the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Role {
    /// All of it is its own to serve.
    Owner = 0,
    /// Another server owns it, or that is unknown.
    Standby = 1,
    /// It owns the data, and is opening it.
    Opening = 2,
    /// It owned the data, and does not know whether it still does.
    Lapsed = 3,
    /// It owned the data; another server has taken it over.
    Fenced = 4,
}

impl Role {
    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Role::Owner,
            1 => Role::Standby,
            2 => Role::Opening,
            3 => Role::Lapsed,
            _ => Role::Fenced,
        }
    }

    /// The role as `INFO` names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Standby => "standby",
            Role::Opening => "opening",
            Role::Lapsed => "lapsed",
            Role::Fenced => "fenced",
        }
    }
}

/// Whether this server owns its data.
pub struct Standing {
    role: AtomicU8,
    /// Until when the lease is acted on, in nanoseconds of the lease's clock.
    until: AtomicU64,
    lease: Option<Shares>,
    failed: AtomicBool,
}

/// What there is to know where several servers reach the data.
struct Shares {
    /// This server, as others are told of it.
    me: Owner,
    clock: Arc<dyn LeaseClock>,
    wall_clock: Arc<dyn wafka_core::Clock>,
    told: Mutex<Told>,
}

/// What is known of who owns the data.
#[derive(Clone, Default)]
struct Told {
    /// The epoch that is or was this server's.
    epoch: Option<u64>,
    /// Who has the data instead, and when the clock showed what that was heard.
    holder: Option<(Holder, Duration)>,
    /// Why the engine could not be asked when it was asked last.
    unknown: Option<String>,
    /// When the lease ended, in milliseconds since 1970.
    ended_ms: Option<u64>,
}

impl Standing {
    /// That of a server whose data nobody else reaches.
    #[must_use]
    pub fn alone() -> Self {
        Standing {
            role: AtomicU8::new(Role::Owner as u8),
            until: AtomicU64::new(u64::MAX),
            lease: None,
            failed: AtomicBool::new(false),
        }
    }

    /// That of the server `me` whose data others reach, until it has asked for the lease.
    #[must_use]
    pub fn standby(me: Owner, clock: Arc<dyn LeaseClock>, wall_clock: Arc<dyn wafka_core::Clock>) -> Self {
        let lease = Some(Shares { me, clock, wall_clock, told: Mutex::default() });
        Standing { role: AtomicU8::new(Role::Standby as u8), lease, ..Standing::alone() }
    }

    /// Whether everything may be served, as far as is known: see [`Standing::look`].
    #[inline]
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.role.load(Ordering::Acquire) == Role::Owner as u8
    }

    /// Looks at the clock, where there is a lease that may have ended.
    #[inline]
    pub fn look(&self) {
        if let Some(lease) = &self.lease {
            self.look_at(lease);
        }
    }

    fn look_at(&self, lease: &Shares) {
        let role = self.role();
        if role != Role::Owner && role != Role::Lapsed {
            return;
        }
        let until = Duration::from_nanos(self.until.load(Ordering::Acquire));
        let now = lease.clock.now();
        if role == Role::Owner && now >= until && self.change(Role::Owner, Role::Lapsed) {
            let ended_ms = lease.wall_now().saturating_sub(millis(now - until));
            lease.told.lock().ended_ms = Some(ended_ms);
            tracing::error!("the lease on the data has ended without being renewed: writes are refused");
        } else if role == Role::Lapsed && now < until && self.change(Role::Lapsed, Role::Owner) {
            let mut told = lease.told.lock();
            (told.ended_ms, told.unknown) = (None, None);
            tracing::info!("the lease on the data is renewed: writes are accepted again");
        }
    }

    /// What the server may do.
    #[must_use]
    pub fn role(&self) -> Role {
        Role::from_byte(self.role.load(Ordering::Acquire))
    }

    /// What `INFO` tells of the role, the epoch and who owns the data; `None` where nobody else reaches it.
    pub(crate) fn info(&self) -> Option<(Role, Option<u64>, Option<String>)> {
        self.look();
        let lease = self.lease.as_ref()?;
        let (role, told) = (self.role(), lease.told.lock());
        let holder = told.holder.as_ref().map(|(holder, _)| holder);
        let (epoch, owner) = match role {
            Role::Owner | Role::Opening | Role::Lapsed => (told.epoch, Some(&lease.me)),
            Role::Standby | Role::Fenced => {
                (holder.map(|holder| holder.epoch), holder.map(|holder| &holder.owner))
            }
        };
        Some((role, epoch, owner.map(|owner| format!("{} {}", owner.id, owner.address))))
    }

    /// Whether the server ends by a fault of its own.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Notes that the server ends by a fault of its own.
    fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    fn change(&self, from: Role, to: Role) -> bool {
        let (from, to) = (from as u8, to as u8);
        self.role.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn set(&self, role: Role) {
        self.role.store(role as u8, Ordering::Release);
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        if let Some(lease) = &self.lease {
            change(&mut lease.told.lock());
        }
    }

    /// Another server has the data; the clock showed `asked_at` when that was asked. Whether it is news.
    fn held_by(&self, holder: Holder, asked_at: Duration) -> bool {
        let mut news = false;
        self.tell(|told| {
            let known = told.holder.as_ref().map(|(known, _)| (known.epoch, &known.owner));
            news = known != Some((holder.epoch, &holder.owner));
            told.unknown = None;
            told.holder = Some((holder, asked_at));
        });
        news
    }

    /// The engine could not be asked. Whether it is news.
    fn unknown(&self, error: &StorageError) -> bool {
        let reason = error.to_string();
        let mut news = false;
        self.tell(|told| {
            news = told.unknown.as_ref() != Some(&reason);
            told.unknown = Some(reason);
        });
        self.look();
        news
    }

    /// The lease is ours, and the data is being opened.
    fn opening(&self, epoch: u64, until: Duration) {
        self.tell(|told| *told = Told { epoch: Some(epoch), ..Told::default() });
        self.renewed(until);
        self.set(Role::Opening);
    }

    /// The data is open; false when it was lost meanwhile.
    fn opened(&self) -> bool {
        self.change(Role::Opening, Role::Owner)
    }

    /// The lease holds until the clock shows this.
    fn renewed(&self, until: Duration) {
        self.until.store(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX), Ordering::Release);
        self.tell(|told| told.unknown = None);
        self.look();
    }

    /// The lease is lost.
    fn lost(&self, holder: Option<Holder>) {
        self.look();
        if let Some(lease) = &self.lease {
            let now = lease.clock.now();
            lease.told.lock().holder = holder.map(|holder| (holder, now));
        }
        self.set(Role::Fenced);
    }
}

impl Shares {
    fn wall_now(&self) -> u64 {
        self.wall_clock.now_ms()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
