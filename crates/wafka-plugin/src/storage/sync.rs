//! Syncs, and the logs that fail in them.

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::sync::Arc;

use wafka_core::storage::{LogSlot, PendingSync, SyncFailure};
use wafka_plugin_abi as abi;
use wafka_plugin_abi::status;

use super::backend::Handle;
use super::call;
use super::shard::ShardHandle;

/// Takes the logs that a plugin says have failed.
pub(super) struct Failures<'a> {
    shard: &'a ShardHandle,
    named: BTreeSet<LogSlot>,
    found: Vec<SyncFailure>,
    /// A slot that no log has, or had while the sync was under way.
    unknown: Option<u32>,
}

impl<'a> Failures<'a> {
    pub(super) fn new(shard: &'a ShardHandle) -> Self {
        Failures { shard, named: BTreeSet::new(), found: Vec::new(), unknown: None }
    }

    /// Where the plugin puts them; `self` must stay where it is as long as the sink is used.
    pub(super) fn sink(&mut self) -> abi::FailureSink {
        abi::FailureSink { ctx: std::ptr::from_mut(self).cast(), put: Some(put) }
    }

    /// What failed. When the plugin named a log that there is not, nobody knows which one failed: they all did.
    pub(super) fn take(self, operation: &'static str) -> Vec<SyncFailure> {
        match self.unknown {
            None => self.found,
            Some(slot) => {
                let reason =
                    format!("it says that the log in slot {slot} failed, expected the slot of an open log");
                all_failed(self.shard, operation, &reason)
            }
        }
    }
}

unsafe extern "C" fn put(ctx: *mut c_void, failure: *const abi::LogFailure) {
    // SAFETY: `ctx` is the `Failures` that `sink` was called on, lent for the call of the plugin that calls this.
    let failures = unsafe { &mut *ctx.cast::<Failures<'_>>() };
    if failure.is_null() {
        failures.unknown.get_or_insert(u32::MAX);
        return;
    }
    // SAFETY: not null; the plugin lends it for this call.
    let failure = unsafe { *failure };
    let slot = LogSlot(failure.slot);
    let book = failures.shard.book.lock();
    match book.logs.get(&slot) {
        Some(entry) => {
            if failures.named.insert(slot) {
                // SAFETY: the plugin lends the text for this call.
                let error = unsafe { failures.shard.storage.backend.sync_error(&entry.name, &failure) };
                failures.found.push(SyncFailure { slot, error });
            }
        }
        None if book.was_closed(slot) => {}
        None => _ = failures.unknown.get_or_insert(failure.slot),
    }
}

/// Every log of a shard failed, for one reason.
pub(super) fn all_failed(shard: &ShardHandle, operation: &'static str, reason: &str) -> Vec<SyncFailure> {
    let book = shard.book.lock();
    let failed = |(slot, entry): (&LogSlot, &super::book::Entry)| SyncFailure {
        slot: *slot,
        error: shard.storage.backend.faulty(&entry.name, operation, reason.to_owned()),
    };
    book.logs.iter().map(failed).collect()
}

/// A sync under way.
pub(super) struct HostPending {
    shard: Arc<ShardHandle>,
    /// The plugin's handle, or why there is none; nothing once it was waited for.
    begun: Option<Result<Handle, String>>,
}

impl HostPending {
    pub(super) fn new(shard: Arc<ShardHandle>, begun: Result<Handle, String>) -> Self {
        shard.book.lock().sync_begun();
        HostPending { shard, begun: Some(begun) }
    }

    fn finish(&mut self) -> Vec<SyncFailure> {
        let failures = match self.begun.take() {
            None => return Vec::new(),
            Some(Err(reason)) => all_failed(&self.shard, "sync", &reason),
            Some(Ok(handle)) => self.wait_for(handle),
        };
        self.shard.book.lock().sync_ended();
        failures
    }

    fn wait_for(&self, handle: Handle) -> Vec<SyncFailure> {
        let backend = &self.shard.storage.backend;
        let mut failures = Failures::new(&self.shard);
        let sink = failures.sink();
        // SAFETY: this is the only use of the handle, which the call releases; the sink and what it leads to live until the
        // call has returned.
        let waited = backend.waited_call("sync", |error| unsafe {
            call!(backend, sync_wait(handle.0, &raw const sink, error))
        });
        match waited {
            Ok(()) => failures.take("sync"),
            Err(failure) if failure.status == status::NOT_OWNER => {
                let book = self.shard.book.lock();
                let failed = |(slot, entry): (&LogSlot, &super::book::Entry)| SyncFailure {
                    slot: *slot,
                    error: backend.log_error(&entry.name, "sync", &failure),
                };
                book.logs.iter().map(failed).collect()
            }
            Err(failure) => all_failed(&self.shard, "sync", &failure.to_line()),
        }
    }
}

impl PendingSync for HostPending {
    fn wait(mut self: Box<Self>) -> Vec<SyncFailure> {
        self.finish()
    }
}

impl Drop for HostPending {
    fn drop(&mut self) {
        // Nobody waited: the handle is released all the same, and what failed must not count as durable.
        let failures = self.finish();
        self.shard.poison_all(&failures);
    }
}
