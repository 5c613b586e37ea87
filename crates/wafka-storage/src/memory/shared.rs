//! A memory that several servers reach, one of which owns it at a time: an engine for the tests of what servers do with
//! [`Ownership`]. Nothing of it outlives the process.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use wafka_core::storage::{
    Acquired, Holder, Lease, Options, Owner, Ownership, Renewed, Storage, StorageError, StorageFactory,
};

use super::{MemoryStorage, Shared, refused};

/// A memory for several servers. Clones are the same one.
#[derive(Clone)]
pub struct SharedMemory {
    engine: Arc<Engine>,
}

struct Engine {
    name: String,
    time_to_live: Duration,
    now: Box<dyn Fn() -> Duration + Send + Sync>,
    logs: Arc<Shared>,
    lease: Mutex<State>,
}

/// Who has the lease.
#[derive(Default)]
struct State {
    /// The last epoch given out.
    epoch: u64,
    /// Who has it, or had it last and did not give it up, and until when.
    held: Option<(Owner, Duration)>,
}

/// What a server reaches of the memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reach {
    /// All of it.
    #[default]
    Everything,
    /// The logs, but not the lease: renewals fail, appends and reads go on.
    Logs,
    /// Nothing but what is read: as when the engine has lost its quorum.
    Reads,
}

impl SharedMemory {
    /// A memory without logs, known to configurations by `name`. A lease ends after `time_to_live` as `now` counts it: any
    /// clock that never goes back.
    pub fn new(
        name: &str,
        time_to_live: Duration,
        now: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let (name, now) = (name.to_owned(), Box::new(now));
        let engine = Engine { name, time_to_live, now, logs: Arc::default(), lease: Mutex::default() };
        SharedMemory { engine: Arc::new(engine) }
    }

    /// A further server's way to the memory.
    #[must_use]
    pub fn server(&self) -> SharedServer {
        let engine = Arc::clone(&self.engine);
        SharedServer { inner: Arc::new(Inner { engine, epoch: AtomicU64::new(0), reach: Mutex::default() }) }
    }
}

/// One server's way to a [`SharedMemory`]; as a factory it opens that. Clones are the same server.
#[derive(Clone)]
pub struct SharedServer {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<Engine>,
    /// Of the lease that this server has or had; 0: it has none.
    epoch: AtomicU64,
    reach: Mutex<Reach>,
}

impl SharedServer {
    /// Lets the server reach no more than this from now on.
    pub fn set_reach(&self, reach: Reach) {
        *self.inner.reach.lock() = reach;
    }

    /// The memory as this server has it.
    #[must_use]
    pub fn storage(&self) -> MemoryStorage {
        MemoryStorage { shared: Arc::clone(&self.inner.engine.logs), server: Some(self.clone()) }
    }

    pub(super) fn name(&self) -> &str {
        &self.inner.engine.name
    }

    /// Holds the lease still while something is done that its owner alone may do.
    pub(super) fn owning(&self, of: &str, operation: &'static str) -> Result<Owning<'_>, StorageError> {
        self.inner.reached(of, operation, Reach::Logs)?;
        let state = self.inner.engine.lease.lock();
        let epoch = self.inner.epoch.load(Ordering::Acquire);
        if epoch == 0 || epoch != state.epoch {
            return Err(self.inner.not_owner(of, &state));
        }
        Ok(Owning { epoch, _state: state })
    }

    /// Whether a log that was opened in the epoch `opened` and is marked with `marked` may be written.
    pub(super) fn may_write(&self, opened: u64, marked: u64) -> Result<(), Refusal> {
        if *self.inner.reach.lock() == Reach::Reads {
            return Err(Refusal::NotReached);
        }
        if marked > opened || self.inner.epoch.load(Ordering::Acquire) == 0 {
            return Err(Refusal::NotOwner);
        }
        Ok(())
    }

    pub(super) fn refusal(&self, why: Refusal, of: &str, operation: &'static str) -> StorageError {
        match why {
            Refusal::NotReached => unanswered(of, operation),
            Refusal::NotOwner => self.inner.not_owner(of, &self.inner.engine.lease.lock()),
        }
    }
}

/// Why something is not written.
pub(super) enum Refusal {
    NotReached,
    NotOwner,
}

fn unanswered(of: &str, operation: &'static str) -> StorageError {
    refused(of, operation, std::io::ErrorKind::TimedOut, "the engine did not answer")
}

/// The lease cannot change hands while this is there.
pub(super) struct Owning<'a> {
    pub(super) epoch: u64,
    _state: MutexGuard<'a, State>,
}

impl Inner {
    fn reached(&self, of: &str, operation: &'static str, least: Reach) -> Result<(), StorageError> {
        let reach = *self.reach.lock();
        if reach == Reach::Everything || reach == least {
            return Ok(());
        }
        Err(unanswered(of, operation))
    }

    fn not_owner(&self, of: &str, state: &State) -> StorageError {
        let reason = match &state.held {
            Some((owner, _)) => format!("{} at {} has it in epoch {}", owner.id, owner.address, state.epoch),
            None => format!("nobody has it since the end of epoch {}", state.epoch),
        };
        StorageError::NotOwner { log: of.to_owned(), reason }
    }
}

impl Engine {
    fn holder(&self, state: &State) -> Option<Holder> {
        let (owner, until) = state.held.as_ref()?;
        let remaining = until.saturating_sub((self.now)());
        Some(Holder { owner: owner.clone(), epoch: state.epoch, remaining })
    }
}

impl Ownership for SharedServer {
    fn acquire(&self, owner: &Owner) -> Result<Acquired, StorageError> {
        let Inner { engine, epoch, .. } = &*self.inner;
        self.inner.reached("lease", "acquire", Reach::Everything)?;
        let mut state = engine.lease.lock();
        let other = engine.holder(&state).filter(|holder| holder.owner.id != owner.id);
        if let Some(holder) = other.filter(|holder| !holder.remaining.is_zero()) {
            return Ok(Acquired::HeldBy(holder));
        }
        state.epoch += 1;
        state.held = Some((owner.clone(), (engine.now)() + engine.time_to_live));
        epoch.store(state.epoch, Ordering::Release);
        Ok(Acquired::Ours(Lease { epoch: state.epoch, time_to_live: engine.time_to_live }))
    }

    fn renew(&self) -> Result<Renewed, StorageError> {
        let Inner { engine, epoch, .. } = &*self.inner;
        self.inner.reached("lease", "renew", Reach::Everything)?;
        let mut state = engine.lease.lock();
        match epoch.load(Ordering::Acquire) {
            0 => Err(self.inner.not_owner("lease", &state)),
            own if own == state.epoch => {
                let until = (engine.now)() + engine.time_to_live;
                if let Some(held) = &mut state.held {
                    held.1 = until;
                }
                Ok(Renewed::Ours)
            }
            _ => Ok(Renewed::Lost(engine.holder(&state))),
        }
    }

    fn release(&self) -> Result<(), StorageError> {
        let Inner { engine, epoch, .. } = &*self.inner;
        self.inner.reached("lease", "release", Reach::Everything)?;
        let mut state = engine.lease.lock();
        if epoch.swap(0, Ordering::AcqRel) == state.epoch {
            state.held = None;
        }
        Ok(())
    }
}

impl StorageFactory for SharedServer {
    fn name(&self) -> &str {
        &self.inner.engine.name
    }

    fn open(&self, _data_dir: &Path, _options: &Options) -> Result<Arc<dyn Storage>, StorageError> {
        Ok(Arc::new(self.storage()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::conformance::ownership::{self, SharedHarness};
    use crate::conformance::{self, Harness};

    const TIME_TO_LIVE: Duration = Duration::from_secs(3);

    /// A memory whose time stands still until it is told.
    struct Held {
        memory: SharedMemory,
        millis: Arc<AtomicU64>,
    }

    impl Held {
        fn new() -> Self {
            let millis = Arc::new(AtomicU64::new(0));
            let clock = Arc::clone(&millis);
            let now = move || Duration::from_millis(clock.load(Ordering::Acquire));
            Held { memory: SharedMemory::new("shared", TIME_TO_LIVE, now), millis }
        }
    }

    impl SharedHarness for Held {
        fn open(&mut self) -> Arc<dyn Storage> {
            Arc::new(self.memory.server().storage())
        }

        fn now(&self) -> Duration {
            Duration::from_millis(self.millis.load(Ordering::Acquire))
        }

        fn wait(&mut self, time: Duration) {
            self.millis.fetch_add(time.as_millis() as u64, Ordering::AcqRel);
        }
    }

    #[test]
    fn its_ownership_conforms() {
        ownership::run(&mut || Box::new(Held::new()));
    }

    /// One server after the other.
    struct Owned {
        memory: SharedMemory,
        storage: MemoryStorage,
        runs: usize,
    }

    impl Owned {
        fn new() -> Self {
            let memory = Held::new().memory;
            let mut owned = Owned { storage: memory.server().storage(), memory, runs: 0 };
            owned.restart();
            owned
        }
    }

    impl Harness for Owned {
        fn storage(&self) -> &dyn Storage {
            &self.storage
        }

        fn restart(&mut self) {
            let _not_owned_at_first = self.storage.ownership().map(|ownership| ownership.release());
            self.storage = self.memory.server().storage();
            self.runs += 1;
            let owner = Owner { id: format!("run {}", self.runs), address: "localhost:1".to_owned() };
            let acquired = self.storage.ownership().unwrap().acquire(&owner);
            assert!(matches!(acquired, Ok(Acquired::Ours(_))), "{acquired:?}");
        }
    }

    #[test]
    fn it_conforms() {
        conformance::run(&mut || Box::new(Owned::new()));
    }
}
