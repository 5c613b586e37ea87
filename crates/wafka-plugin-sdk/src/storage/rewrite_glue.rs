//! The functions of a vtable that have to do with rewrites.

use std::ffi::c_void;

use wafka_core::storage::{KeptLine, LogSlot, RewritePlan};
use wafka_plugin_abi as abi;
use wafka_plugin_abi::{Bytes, ErrorOut};

use super::fail::{Poison, Told, contained, guarded};
use super::glue::no_sink;
use super::handles::{
    RewriteHandle, ShardHandle, abi_cursor, from_handle, into_handle, lent, lent_slice, put, put_sized, sized,
};
use super::log_glue::shard_of;

pub(super) unsafe extern "C" fn begin_rewrite(
    shard: *mut c_void,
    slot: u32,
    plan: *const abi::RewritePlan,
    rewrite: *mut *mut c_void,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host uses a shard by one thread at a time.
    let ShardHandle { shard, poison } = unsafe { shard_of(shard) };
    let run = || {
        // SAFETY: the plan and its offsets are lent by the host for the call.
        let plan = unsafe {
            let plan = sized(plan)?;
            let drop = lent_slice(plan.drop, plan.drop_count)?.to_vec();
            RewritePlan { drop_below: plan.drop_below, drop }
        };
        let begun = shard.begin_rewrite(LogSlot(slot), plan)?;
        // SAFETY: the place for the handle is lent by the host for the call.
        unsafe { put(rewrite, into_handle(RewriteHandle { rewrite: begun, poison: Poison::default() })) }
    };
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, poison, run) }
}

/// Gives kept lines to the host.
///
/// # Safety
/// `sink` is null or a sink that the host lends for `'a`.
unsafe fn kept<'a>(sink: *const abi::KeptSink) -> Result<impl FnMut(KeptLine<'_>) + 'a, Told> {
    // SAFETY: the caller's promise.
    let sink = unsafe { lent::<'a, _>(sink) }?;
    let put = sink.put.ok_or_else(no_sink)?;
    Ok(move |line: KeptLine<'_>| {
        let cursor = abi_cursor(line.cursor);
        // SAFETY: the sink's function takes its own `ctx`, and cursor and line for the call.
        unsafe { put(sink.ctx, &raw const cursor, Bytes::new(line.bytes)) };
    })
}

pub(super) unsafe extern "C" fn rewrite_run(
    rewrite: *mut c_void,
    sink: *const abi::KeptSink,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host uses a rewrite by one thread at a time.
    let RewriteHandle { rewrite, poison } = unsafe { &mut *rewrite.cast::<RewriteHandle>() };
    // SAFETY: the sink is lent by the host for the call.
    let run = || Ok(rewrite.run(&mut unsafe { kept(sink) }?)?);
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, poison, run) }
}

pub(super) unsafe extern "C" fn finish_rewrite(
    shard: *mut c_void,
    rewrite: *mut c_void,
    sink: *const abi::KeptSink,
    rewritten: *mut abi::Rewritten,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host finishes or abandons each rewrite once.
    let RewriteHandle { rewrite, .. } = *unsafe { from_handle::<RewriteHandle>(rewrite) };
    // SAFETY: the host uses a shard by one thread at a time.
    let ShardHandle { shard, poison } = unsafe { shard_of(shard) };
    let run = || {
        // SAFETY: the sink is lent by the host for the call.
        let done = shard.finish_rewrite(rewrite, &mut unsafe { kept(sink) }?)?;
        let result = abi::Rewritten {
            struct_size: size_of::<abi::Rewritten>() as u32,
            reserved: 0,
            first: abi_cursor(done.first),
            end: abi_cursor(done.end),
            bytes_freed: done.bytes_freed,
        };
        // SAFETY: lent by the host for the call.
        unsafe { put_sized(rewritten, &result) }
    };
    // SAFETY: the error is lent by the host for the call.
    unsafe { guarded(error, poison, run) }
}

pub(super) unsafe extern "C" fn rewrite_abandon(rewrite: *mut c_void) {
    // SAFETY: the host finishes or abandons each rewrite once.
    let handle = unsafe { from_handle::<RewriteHandle>(rewrite) };
    contained(&Poison::default(), (), move || drop(handle));
}
