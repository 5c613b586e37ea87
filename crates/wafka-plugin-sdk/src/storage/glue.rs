//! The functions of a storage backend's vtable: what [`crate::export_storage`] exports. Not to be called by anybody else.

use std::ffi::{OsStr, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::de::DeserializeOwned;
use wafka_core::BrokerId;
use wafka_core::storage::{Storage, StorageError};
use wafka_plugin_abi as abi;
use wafka_plugin_abi::{ErrorOut, StorageConfig, StorageVtable, status};

use super::fail::{Poison, Told, contained, guarded};
use super::handles::{
    ShardHandle, StorageHandle, abi_name, from_handle, into_handle, lent, lent_bytes, names, put, sized,
};
use super::{log_glue, ownership_glue, read_glue, rewrite_glue};
use crate::options::parse;

/// The type of a vtable's `open`.
pub type Open = unsafe extern "C" fn(*const StorageConfig, *mut *mut c_void, *mut ErrorOut) -> u32;
/// The type of a vtable's `check_options`.
pub type Check = unsafe extern "C" fn(*const StorageConfig, *mut ErrorOut) -> u32;

/// A vtable that opens with `open_fn`, and does everything else with what that opened.
#[must_use]
pub const fn vtable(open_fn: Open, check: Check) -> StorageVtable {
    StorageVtable {
        struct_size: size_of::<StorageVtable>() as u32,
        reserved: 0,
        open: Some(open_fn),
        close: Some(close),
        list: Some(list),
        create: Some(create),
        delete_logs: Some(delete),
        shard: Some(shard),
        shard_close: Some(shard_close),
        log_open: Some(log_glue::log_open),
        log_close: Some(log_glue::log_close),
        append: Some(log_glue::append),
        begin_sync: Some(log_glue::begin_sync),
        sync_wait: Some(log_glue::sync_wait),
        finish_sync: Some(log_glue::finish_sync),
        reopen: Some(log_glue::reopen),
        begin_rewrite: Some(rewrite_glue::begin_rewrite),
        rewrite_run: Some(rewrite_glue::rewrite_run),
        finish_rewrite: Some(rewrite_glue::finish_rewrite),
        rewrite_abandon: Some(rewrite_glue::rewrite_abandon),
        read: Some(read_glue::read),
        reader_generation: Some(read_glue::reader_generation),
        reader_size: Some(read_glue::reader_size),
        reader_release: Some(read_glue::reader_release),
        read_ready: Some(read_glue::read_ready),
        set_synced_first: Some(log_glue::set_synced_first),
        catch_up: Some(log_glue::catch_up),
        is_durable: Some(is_durable),
        check_options: Some(check),
        ownership: Some(ownership_glue::ownership),
        acquire: Some(ownership_glue::acquire),
        renew: Some(ownership_glue::renew),
        release: Some(ownership_glue::release),
        ownership_close: Some(ownership_glue::ownership_close),
    }
}

/// Opens a backend with the author's function.
///
/// # Safety
/// As the host calls `open`: configuration and results are lent for the call.
pub unsafe fn open<O, S>(
    config: *const StorageConfig,
    storage: *mut *mut c_void,
    error: *mut ErrorOut,
    open: impl FnOnce(&Path, O) -> Result<S, StorageError>,
) -> u32
where
    O: DeserializeOwned,
    S: Storage + 'static,
{
    let run = || {
        // SAFETY: lent by the host for the call, and so is what it points to.
        let (place, options) = unsafe {
            let config = sized(config)?;
            (lent_bytes(config.data_dir)?, lent_bytes(config.options)?)
        };
        let opened = open(Path::new(OsStr::from_bytes(place)), parse(options)?)?;
        let handle = StorageHandle { storage: Box::new(opened), poison: Poison::default() };
        // SAFETY: the place for the handle is lent by the host for the call.
        unsafe { put(storage, into_handle(handle)) }
    };
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, &Poison::default(), run) }
}

/// Checks the options that the author's function takes.
///
/// # Safety
/// As the host calls `check_options`: configuration and error are lent for the call.
pub unsafe fn check<O, S>(
    config: *const StorageConfig,
    error: *mut ErrorOut,
    _open: impl FnOnce(&Path, O) -> Result<S, StorageError>,
) -> u32
where
    O: DeserializeOwned,
{
    let run = || {
        // SAFETY: lent by the host for the call, and so is what it points to.
        let options = unsafe { lent_bytes(sized(config)?.options) }?;
        parse::<O>(options)?;
        Ok(())
    };
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, &Poison::default(), run) }
}

/// The storage behind a handle.
///
/// # Safety
/// `handle` was made by [`open`] and is not closed for `'a`.
pub(super) unsafe fn storage_of<'a>(handle: *mut c_void) -> &'a StorageHandle {
    // SAFETY: the caller's promise; it is only ever shared.
    unsafe { &*handle.cast::<StorageHandle>() }
}

unsafe extern "C" fn close(storage: *mut c_void) {
    // SAFETY: the host closes each storage once, after everything that was made from it.
    let handle = unsafe { from_handle::<StorageHandle>(storage) };
    contained(&Poison::default(), (), move || drop(handle));
}

unsafe extern "C" fn is_durable(storage: *mut c_void) -> u32 {
    // SAFETY: the host's handle is open.
    let handle = unsafe { storage_of(storage) };
    contained(&handle.poison, 1, || u32::from(handle.storage.is_durable()))
}

unsafe extern "C" fn list(storage: *mut c_void, sink: *const abi::NameSink, error: *mut ErrorOut) -> u32 {
    // SAFETY: the host's handle is open.
    let handle = unsafe { storage_of(storage) };
    let run = || {
        // SAFETY: lent by the host for the call.
        let sink = unsafe { lent(sink) }?;
        let put = sink.put.ok_or_else(no_sink)?;
        for log in handle.storage.list()? {
            let name = abi_name(&log);
            // SAFETY: the sink's function takes its own `ctx`, and a name for the call.
            unsafe { put(sink.ctx, &raw const name) };
        }
        Ok(())
    };
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, &handle.poison, run) }
}

unsafe extern "C" fn create(
    storage: *mut c_void,
    logs: *const abi::LogName,
    count: usize,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host's handle is open.
    let handle = unsafe { storage_of(storage) };
    // SAFETY: names and error are lent by the host for the call.
    unsafe { guarded(error, &handle.poison, || Ok(handle.storage.create(&names(logs, count)?)?)) }
}

unsafe extern "C" fn delete(
    storage: *mut c_void,
    logs: *const abi::LogName,
    count: usize,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host's handle is open.
    let handle = unsafe { storage_of(storage) };
    // SAFETY: names and error are lent by the host for the call.
    unsafe { guarded(error, &handle.poison, || Ok(handle.storage.delete(&names(logs, count)?)?)) }
}

unsafe extern "C" fn shard(
    storage: *mut c_void,
    broker: u32,
    shard: *mut *mut c_void,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host's handle is open.
    let handle = unsafe { storage_of(storage) };
    let run = || {
        let broker = u16::try_from(broker)
            .map_err(|_| Told::new(status::FAILED, format!("there is no broker {broker}")))?;
        let made = handle.storage.shard(BrokerId(broker))?;
        // SAFETY: the place for the handle is lent by the host for the call.
        unsafe { put(shard, into_handle(ShardHandle { shard: made, poison: Poison::default() })) }
    };
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, &handle.poison, run) }
}

unsafe extern "C" fn shard_close(shard: *mut c_void) {
    // SAFETY: the host closes each shard once.
    let handle = unsafe { from_handle::<ShardHandle>(shard) };
    contained(&Poison::default(), (), move || drop(handle));
}

pub(super) fn no_sink() -> Told {
    Told::new(status::FAILED, "the host gave a sink without a function")
}
