//! The functions of a vtable that have to do with who may write.

use std::ffi::c_void;

use wafka_core::storage::{Acquired, Holder, Owner, Renewed};
use wafka_plugin_abi as abi;
use wafka_plugin_abi::{Bytes, ErrorOut, lease, status};

use super::fail::{Poison, Told, contained, guarded};
use super::glue::{no_sink, storage_of};
use super::handles::{OwnershipHandle, from_handle, into_handle, lent, lent_bytes, put, put_sized};

/// The ownership behind a handle.
///
/// # Safety
/// `handle` was made by [`ownership`] and is not closed for `'a`.
unsafe fn ownership_of<'a>(handle: *mut c_void) -> &'a OwnershipHandle {
    // SAFETY: the caller's promise; it is only ever shared.
    unsafe { &*handle.cast::<OwnershipHandle>() }
}

pub(super) unsafe extern "C" fn ownership(
    storage: *mut c_void,
    ownership: *mut *mut c_void,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host's handle is open.
    let handle = unsafe { storage_of(storage) };
    let run = || {
        let none = || Told::new(status::UNSUPPORTED, "the data directory's lock says who may write");
        let found = handle.storage.ownership().ok_or_else(none)?;
        // SAFETY: the place for the handle is lent by the host for the call.
        unsafe {
            put(ownership, into_handle(OwnershipHandle { ownership: found, poison: Poison::default() }))
        }
    };
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, &handle.poison, run) }
}

pub(super) unsafe extern "C" fn acquire(
    ownership: *mut c_void,
    owner: *const abi::Owner,
    result: *mut abi::Lease,
    holder: *const abi::HolderSink,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host's handle is open.
    let handle = unsafe { ownership_of(ownership) };
    let run = || {
        // SAFETY: lent by the host for the call, and so are its texts.
        let owner = unsafe { owner_of(lent(owner)?) }?;
        let mut told = abi::Lease {
            struct_size: size_of::<abi::Lease>() as u32,
            state: lease::OTHERS,
            epoch: 0,
            time_to_live_nanos: 0,
        };
        match handle.ownership.acquire(&owner)? {
            Acquired::Ours(ours) => {
                told.state = lease::OURS;
                told.epoch = ours.epoch;
                told.time_to_live_nanos = nanos(ours.time_to_live);
            }
            // SAFETY: the sink is lent by the host for the call.
            Acquired::HeldBy(other) => unsafe { tell(holder, &other) }?,
        }
        // SAFETY: lent by the host for the call.
        unsafe { put_sized(result, &told) }
    };
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, &handle.poison, run) }
}

pub(super) unsafe extern "C" fn renew(
    ownership: *mut c_void,
    state: *mut u32,
    holder: *const abi::HolderSink,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host's handle is open.
    let handle = unsafe { ownership_of(ownership) };
    let run = || {
        let renewed = match handle.ownership.renew()? {
            Renewed::Ours => lease::OURS,
            Renewed::Lost(None) => lease::OTHERS,
            Renewed::Lost(Some(other)) => {
                // SAFETY: the sink is lent by the host for the call.
                unsafe { tell(holder, &other) }?;
                lease::OTHERS
            }
        };
        // SAFETY: the place is lent by the host for the call.
        unsafe { put(state, renewed) }
    };
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, &handle.poison, run) }
}

pub(super) unsafe extern "C" fn release(ownership: *mut c_void, error: *mut ErrorOut) -> u32 {
    // SAFETY: the host's handle is open.
    let handle = unsafe { ownership_of(ownership) };
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, &handle.poison, || Ok(handle.ownership.release()?)) }
}

pub(super) unsafe extern "C" fn ownership_close(ownership: *mut c_void) {
    // SAFETY: the host closes each ownership once.
    let handle = unsafe { from_handle::<OwnershipHandle>(ownership) };
    contained(&Poison::default(), (), move || drop(handle));
}

/// A server that the host lends.
///
/// # Safety
/// Its texts are as [`Bytes::get`] wants them.
unsafe fn owner_of(owner: &abi::Owner) -> Result<Owner, Told> {
    // SAFETY: the caller's promise.
    let (id, address) = unsafe { (lent_bytes(owner.id)?, lent_bytes(owner.address)?) };
    match (std::str::from_utf8(id), std::str::from_utf8(address)) {
        (Ok(id), Ok(address)) => Ok(Owner { id: id.to_owned(), address: address.to_owned() }),
        _ => Err(Told::new(status::FAILED, "the host gave an owner that is no text")),
    }
}

/// Gives the owner of the data to the host.
///
/// # Safety
/// `sink` is null or a sink that the host lends for the call.
unsafe fn tell(sink: *const abi::HolderSink, holder: &Holder) -> Result<(), Told> {
    // SAFETY: the caller's promise.
    let sink = unsafe { lent(sink) }?;
    let put = sink.put.ok_or_else(no_sink)?;
    let told = abi::Holder {
        owner: abi::Owner {
            id: Bytes::new(holder.owner.id.as_bytes()),
            address: Bytes::new(holder.owner.address.as_bytes()),
        },
        epoch: holder.epoch,
        remaining_nanos: nanos(holder.remaining),
    };
    // SAFETY: the sink's function takes its own `ctx`, and a holder for the call.
    unsafe { put(sink.ctx, &raw const told) };
    Ok(())
}

/// What is longer than some centuries is told as such.
fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
