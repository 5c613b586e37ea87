//! Whether this server owns what a backend beside the default one holds, as whoever reads and writes its topics needs to
//! know it: as with the default backend, what may write is refused once the lease has ended without being renewed, and
//! everything once another server has had it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use wafka_core::storage::Holder;

use super::Backends;
use crate::error::TopicError;
use crate::lease::{BootClock, LeaseClock};

/// There is no lease, or none yet: topics that need one are offline.
const NONE: u8 = 0;
/// It is ours until its time is over.
const OURS: u8 = 1;
/// Another server has had it since.
const LOST: u8 = 2;

/// Is told the name of a backend whose lease is lost.
pub(crate) type TellLost = dyn Fn(&str) + Send + Sync;

/// What became of the lease on a backend's data, as `INFO` tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendLease {
    /// The backend's name.
    pub backend: Arc<str>,
    /// The epoch that is or was this server's.
    pub epoch: u64,
    /// `owner`, `lapsed` or `fenced`.
    pub role: &'static str,
    /// What writers are told, unless they are let in.
    pub refusal: Option<Arc<str>>,
}

/// The lease on the data of one backend.
pub(crate) struct Standing {
    backend: Arc<str>,
    phase: AtomicU8,
    /// Until when the lease is acted on, in nanoseconds of the lease's clock.
    until: AtomicU64,
    told: Mutex<Told>,
    /// Told when it is lost.
    on_lost: OnceLock<Arc<TellLost>>,
}

/// What is known of it.
#[derive(Default)]
struct Told {
    epoch: u64,
    holder: Option<Holder>,
    /// Why the engine could not be asked when it was asked last.
    unknown: Option<String>,
}

impl Backends {
    /// Whether topics may be made and deleted in a backend.
    ///
    /// # Errors
    /// When the lease on its data is over.
    pub(crate) fn check_owned(&self, backend: Option<&str>) -> Result<(), TopicError> {
        let Some(standing) = self.standing(backend) else { return Ok(()) };
        standing.check(true).map_err(TopicError::NotOwned)
    }
}

impl Standing {
    pub(super) fn new(backend: Arc<str>) -> Arc<Self> {
        Arc::new(Standing {
            backend,
            phase: AtomicU8::new(NONE),
            until: AtomicU64::new(0),
            told: Mutex::default(),
            on_lost: OnceLock::new(),
        })
    }

    /// Has `tell` called with the backend's name when the lease is lost, by the thread that keeps it.
    pub(super) fn on_lost(&self, tell: Arc<TellLost>) {
        // There is one engine.
        let _ = self.on_lost.set(tell);
    }

    pub(super) fn acquired(&self, epoch: u64, until: Duration) {
        *self.told.lock() = Told { epoch, ..Told::default() };
        self.renewed(until);
        self.phase.store(OURS, Ordering::Release);
    }

    /// It was given up at once: nobody keeps it.
    pub(super) fn none(&self) {
        self.phase.store(NONE, Ordering::Release);
    }

    pub(super) fn renewed(&self, until: Duration) {
        self.until.store(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX), Ordering::Release);
        self.told.lock().unknown = None;
    }

    /// The engine could not be asked.
    pub(super) fn unknown(&self, reason: String) {
        self.told.lock().unknown = Some(reason);
    }

    pub(super) fn lost(&self, holder: Option<Holder>) {
        self.told.lock().holder = holder;
        self.phase.store(LOST, Ordering::Release);
        if let Some(tell) = self.on_lost.get() {
            tell(&self.backend);
        }
    }

    /// # Errors
    /// What is said to whoever reads, or writes, and may not.
    pub(crate) fn check(&self, writes: bool) -> Result<(), Arc<str>> {
        match self.phase.load(Ordering::Acquire) {
            LOST => Err(self.fenced()),
            OURS if writes => {
                let until = Duration::from_nanos(self.until.load(Ordering::Acquire));
                let over = BootClock.now().checked_sub(until);
                over.map_or(Ok(()), |over| Err(self.lapsed(over)))
            }
            _ => Ok(()),
        }
    }

    /// What is to be told; `None` where there is no lease.
    pub(super) fn info(&self) -> Option<BackendLease> {
        let phase = self.phase.load(Ordering::Acquire);
        let refusal = self.check(true).err();
        let role = match (phase, &refusal) {
            (NONE, _) => return None,
            (LOST, _) => "fenced",
            (_, Some(_)) => "lapsed",
            (_, None) => "owner",
        };
        let epoch = self.told.lock().epoch;
        Some(BackendLease { backend: Arc::clone(&self.backend), epoch, role, refusal })
    }

    fn lapsed(&self, over: Duration) -> Arc<str> {
        let told = self.told.lock();
        let reason = told.unknown.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        format!(
            "LAPSED Wafka's lease on the data of backend '{}' (epoch {}) ended {} ms ago and could not be renewed{reason}; \
             what may write there is refused until it is",
            self.backend,
            told.epoch,
            over.as_millis()
        )
        .into()
    }

    fn fenced(&self) -> Arc<str> {
        let told = self.told.lock();
        let by = told.holder.as_ref().map_or_else(
            || "another server took it over".to_owned(),
            |Holder { owner, epoch, .. }| {
                format!("{} at {} took it over at epoch {epoch}", owner.id, owner.address)
            },
        );
        let backend = &self.backend;
        format!("FENCED Wafka no longer owns the data of backend '{backend}': {by}; restart this server")
            .into()
    }
}
