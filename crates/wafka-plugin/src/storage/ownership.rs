//! Who may write, as a plugin says it, compared with what it said before.

use std::ffi::c_void;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use wafka_core::storage::{Acquired, Holder, Lease, Owner, Ownership, Renewed, StorageError};
use wafka_plugin_abi as abi;
use wafka_plugin_abi::{Bytes, ErrorOut, lease, status};

use super::backend::Handle;
use super::{StorageHandle, call};
use crate::text::{borrowed, shown};

/// The longest id and address of a server, in bytes.
const TEXT_MAX: usize = 256;

/// What a lease may last: below, a moment's delay would end it; above, it is a mistake.
const TIME_TO_LIVE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

/// An ownership of the plugin; closed when the last one goes who has it. Any threads may call its functions at once.
pub(super) struct HostOwnership {
    storage: Arc<StorageHandle>,
    handle: Handle,
    /// Held while the plugin is asked for the lease or to give it up: of two answers it is known which came later. A renewal
    /// waits for neither.
    asking: Mutex<()>,
    said: Mutex<Said>,
    /// What a panic said, after which the handle is used no more.
    panicked: OnceLock<String>,
}

/// What the plugin said so far.
#[derive(Clone, Copy, Default)]
struct Said {
    /// The epoch of the last lease that was ours; 0: there was none.
    epoch: u64,
    /// Whether it was neither lost nor given up since.
    ours: bool,
}

impl HostOwnership {
    /// Asks an open storage for its ownership, if it has one.
    pub(super) fn of(storage: &Arc<StorageHandle>) -> Result<Option<Arc<Self>>, StorageError> {
        let Some(function) = storage.backend.vtable.ownership else { return Ok(None) };
        let mut handle = Handle::NONE;
        // SAFETY: a storage takes calls from any thread; the handle's place is lent for the call.
        let got = storage
            .call("ownership", |storage, error| unsafe { function(storage.0, &raw mut handle.0, error) });
        match got {
            Ok(()) => {
                let storage = Arc::clone(storage);
                let (asking, said, panicked) = Default::default();
                Ok(Some(Arc::new(HostOwnership { storage, handle, asking, said, panicked })))
            }
            Err(StorageError::Unsupported { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn faulty(&self, operation: &'static str, reason: String) -> StorageError {
        self.storage.backend.faulty(&self.storage.place, operation, reason)
    }

    fn call(
        &self,
        operation: &'static str,
        run: impl FnOnce(Handle, *mut ErrorOut) -> u32,
    ) -> Result<(), StorageError> {
        if let Some(reason) = self.panicked.get() {
            let reason = format!("{reason}; it is not used until the server starts again");
            return Err(self.faulty(operation, reason));
        }
        let backend = &self.storage.backend;
        backend.call(|error| run(self.handle, error)).map_err(|failure| {
            if failure.status == status::PANICKED {
                // Only the first of several panics is kept.
                let _ = self.panicked.set(failure.to_line());
            }
            backend.error(&self.storage.place, operation, &failure)
        })
    }

    /// Who has the lease instead of us, if the plugin said so.
    fn other(&self, operation: &'static str, told: Told, own: u64) -> Result<Option<Holder>, StorageError> {
        let holder = told.holder.transpose().and_then(|holder| match holder {
            Some(holder) if holder.epoch <= own => {
                Err(format!("{} has it in epoch {}, expected one after {own}", holder.owner.id, holder.epoch))
            }
            _ if told.count > 1 => Err(format!("it names {} owners, expected one", told.count)),
            holder => Ok(holder),
        });
        holder.map_err(|reason| self.faulty(operation, reason))
    }

    /// Checks a lease that the plugin says is ours.
    fn lease(&self, told: &abi::Lease, said: Said) -> Result<Lease, StorageError> {
        let ours = Lease { epoch: told.epoch, time_to_live: Duration::from_nanos(told.time_to_live_nanos) };
        let wrong = if told.epoch < said.epoch || (told.epoch == said.epoch && !said.ours) {
            format!("the lease is of epoch {}, expected one after {}", told.epoch, said.epoch)
        } else if !TIME_TO_LIVE.contains(&ours.time_to_live) {
            let (least, most) = (TIME_TO_LIVE.start(), TIME_TO_LIVE.end());
            format!("the lease lasts {:?}, expected {least:?} to {most:?}", ours.time_to_live)
        } else {
            return Ok(ours);
        };
        Err(self.faulty("acquire", wrong))
    }
}

impl Ownership for HostOwnership {
    fn acquire(&self, owner: &Owner) -> Result<Acquired, StorageError> {
        let lent = lent_owner(owner).map_err(|reason| StorageError::Io {
            log: self.storage.place.clone(),
            operation: "acquire",
            source: io::Error::new(io::ErrorKind::InvalidInput, reason),
        })?;
        let _asking = self.asking.lock();
        let mut lease = abi::Lease {
            struct_size: size_of::<abi::Lease>() as u32,
            state: 0,
            epoch: 0,
            time_to_live_nanos: 0,
        };
        let mut told = Told::default();
        let sink = told.sink();
        let backend = &self.storage.backend;
        // SAFETY: an ownership takes calls from any thread; owner, lease, sink and what it leads to live until the call has
        // returned.
        self.call("acquire", |ownership, error| unsafe {
            call!(backend, acquire(ownership.0, &raw const lent, &raw mut lease, &raw const sink, error))
        })?;
        let said = *self.said.lock();
        match lease.state {
            lease::OURS => {
                let lease = self.lease(&lease, said)?;
                *self.said.lock() = Said { epoch: lease.epoch, ours: true };
                Ok(Acquired::Ours(lease))
            }
            lease::OTHERS => match self.other("acquire", told, said.epoch)? {
                Some(holder) => {
                    self.said.lock().ours = false;
                    Ok(Acquired::HeldBy(holder))
                }
                None => {
                    Err(self.faulty("acquire", "another has the lease, expected to be told who".to_owned()))
                }
            },
            unknown => Err(self.faulty("acquire", unknown_state(unknown))),
        }
    }

    fn renew(&self) -> Result<Renewed, StorageError> {
        let (mut state, mut told) = (0, Told::default());
        let sink = told.sink();
        let backend = &self.storage.backend;
        let before = *self.said.lock();
        // SAFETY: an ownership takes calls from any thread; state, sink and what it leads to live until the call has returned.
        self.call("renew", |ownership, error| unsafe {
            call!(backend, renew(ownership.0, &raw mut state, &raw const sink, error))
        })?;
        match state {
            lease::OURS if before.ours => Ok(Renewed::Ours),
            lease::OURS => {
                let reason = "it renewed a lease that this server does not have, expected that it is lost";
                Err(self.faulty("renew", reason.to_owned()))
            }
            lease::OTHERS => {
                // Where the lease was acquired again meanwhile, another one was lost.
                let mut said = self.said.lock();
                said.ours &= said.epoch != before.epoch;
                drop(said);
                // It is lost whatever else is said: who does not learn that goes on asking for it.
                let holder = self.other("renew", told, before.epoch);
                Ok(Renewed::Lost(holder.unwrap_or_else(|error| {
                    ::log::warn!("{error}");
                    None
                })))
            }
            unknown => Err(self.faulty("renew", unknown_state(unknown))),
        }
    }

    fn release(&self) -> Result<(), StorageError> {
        let _asking = self.asking.lock();
        // Also when it fails: it may have been given up then.
        self.said.lock().ours = false;
        let backend = &self.storage.backend;
        // SAFETY: an ownership takes calls from any thread.
        self.call("release", |ownership, error| unsafe { call!(backend, release(ownership.0, error)) })
    }
}

impl Drop for HostOwnership {
    fn drop(&mut self) {
        if let Some(close) = self.storage.backend.vtable.ownership_close {
            // SAFETY: nobody else has it any more, and the storage is open still: this is its last use.
            unsafe { close(self.handle.0) };
        }
    }
}

fn unknown_state(state: u32) -> String {
    format!("the lease is in state {state}, expected {} (ours) or {} (another's)", lease::OURS, lease::OTHERS)
}

/// An owner to lend to the plugin.
fn lent_owner(owner: &Owner) -> Result<abi::Owner, String> {
    let id = text("id", owner.id.as_bytes(), 1)?;
    let address = text("address", owner.address.as_bytes(), 0)?;
    Ok(abi::Owner { id: Bytes::new(id.as_bytes()), address: Bytes::new(address.as_bytes()) })
}

/// A text that describes a server; clients are shown it.
fn text<'a>(what: &str, bytes: &'a [u8], least: usize) -> Result<&'a str, String> {
    let expected = format!("{least} to {TEXT_MAX} bytes of UTF-8 without control characters");
    if bytes.len() < least || bytes.len() > TEXT_MAX {
        return Err(format!("an owner's {what} has {} bytes, expected {expected}", bytes.len()));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => Ok(text),
        _ => Err(format!("an owner's {what} is '{}', expected {expected}", shown(bytes))),
    }
}

/// Takes the server that a plugin says owns the data.
#[derive(Default)]
struct Told {
    /// The first one, or what is wrong with it.
    holder: Option<Result<Holder, String>>,
    /// How many there were.
    count: usize,
}

impl Told {
    /// Where the plugin puts it; `self` must stay where it is as long as the sink is used.
    fn sink(&mut self) -> abi::HolderSink {
        abi::HolderSink { ctx: std::ptr::from_mut(self).cast(), put: Some(put) }
    }
}

unsafe extern "C" fn put(ctx: *mut c_void, holder: *const abi::Holder) {
    // SAFETY: `ctx` is the `Told` that `sink` was called on, lent for the call of the plugin that calls this.
    let told = unsafe { &mut *ctx.cast::<Told>() };
    told.count = told.count.saturating_add(1);
    if told.holder.is_some() {
        return;
    }
    if holder.is_null() {
        told.holder = Some(Err("it names a null pointer as owner".to_owned()));
        return;
    }
    // SAFETY: not null; the plugin lends it, and its texts, for this call.
    let (holder, id, address) = unsafe {
        let holder = *holder;
        (holder, borrowed(holder.owner.id), borrowed(holder.owner.address))
    };
    told.holder = Some(holder_of(&holder, id, address));
}

fn holder_of(holder: &abi::Holder, id: &[u8], address: &[u8]) -> Result<Holder, String> {
    let owner = Owner { id: text("id", id, 1)?.to_owned(), address: text("address", address, 0)?.to_owned() };
    let remaining = Duration::from_nanos(holder.remaining_nanos);
    if remaining > *TIME_TO_LIVE.end() {
        let most = TIME_TO_LIVE.end();
        return Err(format!(
            "{} has the lease for another {remaining:?}, expected at most {most:?}",
            owner.id
        ));
    }
    Ok(Holder { owner, epoch: holder.epoch, remaining })
}
