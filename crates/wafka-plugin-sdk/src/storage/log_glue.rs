//! The functions of a vtable that have to do with the logs of a shard.

use std::ffi::c_void;
use std::time::Instant;

use wafka_core::storage::{Batch, LogSlot, OpenRequest, StorageError, SyncFailure};
use wafka_plugin_abi as abi;
use wafka_plugin_abi::{Bytes, ErrorOut, NOTHING_DUE};

use super::fail::{Poison, Told, contained, guarded};
use super::glue::no_sink;
use super::handles::{
    PendingHandle, ReaderHandle, ShardHandle, abi_cursor, core_cursor, from_handle, into_handle, lent,
    lent_bytes, lent_slice, name, put, put_sized, sized,
};

/// The shard behind a handle.
///
/// # Safety
/// `handle` was made by `shard`, is not closed for `'a`, and nobody else uses it meanwhile.
pub(super) unsafe fn shard_of<'a>(handle: *mut c_void) -> &'a mut ShardHandle {
    // SAFETY: the caller's promise.
    unsafe { &mut *handle.cast::<ShardHandle>() }
}

pub(super) unsafe extern "C" fn log_open(
    shard: *mut c_void,
    log: *const abi::LogName,
    request: *const abi::OpenRequest,
    opened: *mut abi::Opened,
    damage: *const abi::DamageSink,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host uses a shard by one thread at a time.
    let ShardHandle { shard, poison } = unsafe { shard_of(shard) };
    let run = || {
        // SAFETY: all of it is lent by the host for the call.
        let (log, request, sink) = unsafe { (name(lent(log)?)?, sized(request)?, lent(damage)?) };
        let known = (request.has_known != 0).then(|| core_cursor(request.known));
        let found = shard.open(&log, OpenRequest { create: request.create != 0, known })?;
        for damage in &found.damage {
            let put = sink.put.ok_or_else(no_sink)?;
            // SAFETY: the sink's function takes its own `ctx`, and a text for the call.
            unsafe { put(sink.ctx, damage.position, damage.bytes, Bytes::new(damage.reason.as_bytes())) };
        }
        let reader = into_handle(ReaderHandle { reader: found.reader, poison: Poison::default() });
        let result = abi::Opened {
            struct_size: size_of::<abi::Opened>() as u32,
            slot: found.slot.0,
            reader,
            first: abi_cursor(found.first),
            end: abi_cursor(found.end),
            torn_position: found.torn.map_or(0, |torn| torn.position),
            torn_bytes: found.torn.map_or(0, |torn| torn.bytes),
            lines: found.lines.unwrap_or(0),
            knows_lines: u32::from(found.lines.is_some()),
            reserved: 0,
        };
        // SAFETY: lent by the host for the call.
        unsafe { put_sized(opened, &result) }
    };
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, poison, run) }
}

pub(super) unsafe extern "C" fn log_close(shard: *mut c_void, slot: u32) {
    // SAFETY: the host uses a shard by one thread at a time.
    let ShardHandle { shard, poison } = unsafe { shard_of(shard) };
    contained(poison, (), || shard.close(LogSlot(slot)));
}

pub(super) unsafe extern "C" fn append(
    shard: *mut c_void,
    slot: u32,
    batch: *const abi::Batch,
    appended: *mut abi::Appended,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host uses a shard by one thread at a time.
    let ShardHandle { shard, poison } = unsafe { shard_of(shard) };
    let run = || {
        // SAFETY: the batch and its bytes are lent by the host for the call.
        let (first_offset, lines, bytes) = unsafe {
            let batch = lent(batch)?;
            (batch.first_offset, batch.lines, lent_bytes(batch.bytes)?)
        };
        let start = shard.append(LogSlot(slot), Batch { first_offset, lines, bytes })?;
        let end_offset = start.offset.saturating_add(lines);
        // SAFETY: lent by the host for the call.
        unsafe { put(appended, abi::Appended { start: abi_cursor(start), end_offset }) }
    };
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, poison, run) }
}

pub(super) unsafe extern "C" fn set_synced_first(shard: *mut c_void, synced_first: u32) {
    // SAFETY: the host uses a shard by one thread at a time.
    let ShardHandle { shard, poison } = unsafe { shard_of(shard) };
    contained(poison, (), || shard.set_synced_first(synced_first != 0));
}

pub(super) unsafe extern "C" fn catch_up(
    shard: *mut c_void,
    all: u32,
    due_in_nanos: *mut u64,
    failures: *const abi::FailureSink,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host uses a shard by one thread at a time.
    let ShardHandle { shard, poison } = unsafe { shard_of(shard) };
    let run = || {
        // SAFETY: lent by the host for the call.
        let sink = unsafe { lent(failures) }?;
        let caught_up = shard.catch_up(all != 0);
        let due = caught_up.due.map_or(NOTHING_DUE, |due| {
            let nanos = due.saturating_duration_since(Instant::now()).as_nanos();
            u64::try_from(nanos).unwrap_or(NOTHING_DUE - 1)
        });
        // SAFETY: lent by the host for the call.
        unsafe { put(due_in_nanos, due) }?;
        tell(sink, caught_up.failures)
    };
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, poison, run) }
}

pub(super) unsafe extern "C" fn begin_sync(
    shard: *mut c_void,
    pending: *mut *mut c_void,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host uses a shard by one thread at a time.
    let ShardHandle { shard, poison } = unsafe { shard_of(shard) };
    // SAFETY: the place for the handle is lent by the host for the call.
    let run = || unsafe { put(pending, into_handle(PendingHandle { pending: shard.begin_sync() })) };
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, poison, run) }
}

pub(super) unsafe extern "C" fn sync_wait(
    pending: *mut c_void,
    failures: *const abi::FailureSink,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host waits for each sync once.
    let handle = unsafe { from_handle::<PendingHandle>(pending) };
    let run = move || {
        let failed = handle.pending.wait();
        // SAFETY: lent by the host for the call.
        tell(unsafe { lent(failures) }?, failed)
    };
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, &Poison::default(), run) }
}

/// Tells the host of logs that failed.
fn tell(sink: &abi::FailureSink, failures: Vec<SyncFailure>) -> Result<(), Told> {
    for SyncFailure { slot, error } in failures {
        let put = sink.put.ok_or_else(no_sink)?;
        let Told { status, os_error, value, text } = error.into();
        let text = Bytes::new(text.as_bytes());
        let failure = abi::LogFailure { slot: slot.0, status, value, os_error, reserved: 0, text };
        // SAFETY: the sink's function takes its own `ctx`, and a failure for the call.
        unsafe { put(sink.ctx, &raw const failure) };
    }
    Ok(())
}

pub(super) unsafe extern "C" fn finish_sync(
    shard: *mut c_void,
    failures: *const abi::LogFailure,
    count: usize,
) {
    // SAFETY: the host uses a shard by one thread at a time.
    let ShardHandle { shard, poison } = unsafe { shard_of(shard) };
    contained(poison, (), || {
        // SAFETY: failures and their texts are lent by the host for the call.
        let Ok(lent) = (unsafe { lent_slice(failures, count) }) else { return };
        let failed = |failure: &abi::LogFailure| {
            // SAFETY: as above.
            let text = unsafe { lent_bytes(failure.text) }.unwrap_or_default();
            let source = std::io::Error::other(String::from_utf8_lossy(text).into_owned());
            let log = format!("log {}", failure.slot);
            SyncFailure {
                slot: LogSlot(failure.slot),
                error: StorageError::Io { log, operation: "sync", source },
            }
        };
        shard.finish_sync(&lent.iter().map(failed).collect::<Vec<_>>());
    });
}

pub(super) unsafe extern "C" fn reopen(
    shard: *mut c_void,
    slot: u32,
    end: *const abi::Cursor,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host uses a shard by one thread at a time.
    let ShardHandle { shard, poison } = unsafe { shard_of(shard) };
    // SAFETY: the cursor is lent by the host for the call.
    let run = || Ok(shard.reopen(LogSlot(slot), core_cursor(*unsafe { lent(end) }?))?);
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, poison, run) }
}
