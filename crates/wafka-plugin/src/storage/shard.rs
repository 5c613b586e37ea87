//! The logs of one broker in a plugin's backend.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wafka_core::BrokerId;
use wafka_core::storage::{
    Batch, CaughtUp, Cursor, KeptLine, LogName, LogSlot, OpenRequest, Opened, PendingSync, Rewrite,
    RewritePlan, Rewritten, Shard, StorageError, SyncFailure,
};
use wafka_plugin_abi as abi;
use wafka_plugin_abi::{Bytes, ErrorOut, NOTHING_DUE, status};

use super::backend::Handle;
use super::book::{Book, Entry, LogEnd};
use super::opening::{Damages, checked, lent_request, lines, not_opened, torn};
use super::reader::HostReader;
use super::rewrite::HostRewrite;
use super::sync::{Failures, HostPending};
use super::{StorageHandle, call, core_cursor, lent_cursor, names};
use crate::failure::Failure;

/// A plugin that wants to be asked again later than this is asked after this.
const DUE_MAX: Duration = Duration::from_secs(3600);

/// A shard of the plugin; closed when the last one goes who has it. One thread at a time calls its functions: the one that
/// has the [`HostShard`], and at the end whoever drops the last handle.
pub(super) struct ShardHandle {
    pub(super) storage: Arc<StorageHandle>,
    pub(super) handle: Handle,
    broker: BrokerId,
    pub(super) book: Mutex<Book>,
}

impl ShardHandle {
    pub(super) fn new(storage: Arc<StorageHandle>, handle: Handle, broker: BrokerId) -> Self {
        ShardHandle { storage, handle, broker, book: Mutex::default() }
    }

    /// Calls a function with the shard's handle, unless it panicked before.
    ///
    /// The caller has the [`HostShard`] to itself.
    pub(super) fn call(
        &self,
        log: &LogName,
        operation: &'static str,
        run: impl FnOnce(Handle, *mut ErrorOut) -> u32,
    ) -> Result<(), StorageError> {
        let backend = &self.storage.backend;
        if let Some(reason) = self.book.lock().panicked.clone() {
            return Err(backend.faulty(log, operation, reason.as_ref().to_owned()));
        }
        let called = backend.call(|error| run(self.handle, error));
        called.map_err(|failure| {
            self.note_panic(operation, &failure);
            backend.log_error(log, operation, &failure)
        })
    }

    /// After a panic the shard is used no more.
    pub(super) fn note_panic(&self, operation: &'static str, failure: &Failure) {
        if failure.status == status::PANICKED {
            let reason = format!(
                "{operation} of broker {} {}; its logs are not written to until the server starts again",
                self.broker,
                failure.to_line()
            );
            self.book.lock().panicked.get_or_insert(reason.into());
        }
    }

    /// A log did what the contract rules out: it is not written to until it has been reopened.
    pub(super) fn lied(
        &self,
        slot: LogSlot,
        name: &LogName,
        operation: &'static str,
        reason: String,
    ) -> StorageError {
        let error = self.storage.backend.faulty(name, operation, reason);
        self.book.lock().poison(slot, &error.to_string());
        error
    }

    pub(super) fn poison_all(&self, failures: &[SyncFailure]) {
        let mut book = self.book.lock();
        for failure in failures {
            book.poison(failure.slot, &failure.error.to_string());
        }
    }
}

impl Drop for ShardHandle {
    fn drop(&mut self) {
        if let Some(close) = self.storage.backend.vtable.shard_close {
            // SAFETY: pending syncs and rewrites kept it until now, and the `HostShard` is gone: this is its last use.
            unsafe { close(self.handle.0) };
        }
    }
}

/// The logs of one broker.
pub(super) struct HostShard {
    shard: Arc<ShardHandle>,
    /// What the plugin was told last; nothing at first.
    synced_first: Option<bool>,
}

impl HostShard {
    pub(super) fn new(shard: ShardHandle) -> Self {
        HostShard { shard: Arc::new(shard), synced_first: None }
    }

    /// Name and end of an open log; an error when none is open in the slot.
    fn log(&self, slot: LogSlot, operation: &'static str) -> Result<(LogName, Arc<LogEnd>), StorageError> {
        let book = self.shard.book.lock();
        match book.logs.get(&slot) {
            Some(entry) => Ok((entry.name.clone(), Arc::clone(&entry.end))),
            None => Err(self.no_log(slot, operation)),
        }
    }

    fn no_log(&self, slot: LogSlot, operation: &'static str) -> StorageError {
        let reason = "no log is open in this slot";
        StorageError::Io {
            log: format!("log {} of broker {}", slot.0, self.shard.broker),
            operation,
            source: std::io::Error::new(std::io::ErrorKind::NotFound, reason),
        }
    }

    fn writable(
        &self,
        slot: LogSlot,
        operation: &'static str,
    ) -> Result<(LogName, Arc<LogEnd>), StorageError> {
        if let Some(entry) = self.shard.book.lock().logs.get(&slot) {
            entry.check_writable()?;
        }
        self.log(slot, operation)
    }

    /// Tells the plugin to close a slot.
    fn close_slot(&self, slot: u32) {
        if self.shard.book.lock().panicked.is_none()
            && let Some(close) = self.shard.storage.backend.vtable.log_close
        {
            // SAFETY: the shard's functions are called by who has the `HostShard`.
            unsafe { close(self.shard.handle.0, slot) };
        }
    }
}

impl Shard for HostShard {
    fn open(&mut self, log: &LogName, request: OpenRequest) -> Result<Opened, StorageError> {
        let backend = &self.shard.storage.backend;
        let (name, request) = (names::lent(log), lent_request(request));
        let mut damages = Damages::default();
        let sink = damages.sink();
        let mut out = not_opened();
        // SAFETY: who has the `HostShard` calls; name, request, results and sink are lent for the call.
        self.shard.call(log, "open", |shard, error| unsafe {
            call!(
                backend,
                log_open(shard.0, &raw const name, &raw const request, &raw mut out, &raw const sink, error)
            )
        })?;
        let slot = LogSlot(out.slot);
        let end = Arc::new(LogEnd::new(out.end.offset));
        let damage = damages.take();
        let reader = HostReader::new(
            Arc::clone(&self.shard.storage),
            Handle(out.reader),
            log.clone(),
            Arc::clone(&end),
            !damage.is_empty(),
        );
        let taken = self.shard.book.lock().logs.get(&slot).map(|entry| entry.name.clone());
        if let Some(other) = taken {
            // Closing it might close the other log, and so might whatever is done with either.
            let reason =
                format!("it gives slot {} to {log}, expected another one than that of {other}", slot.0);
            let mut book = self.shard.book.lock();
            book.panicked.get_or_insert_with(|| reason.as_str().into());
            return Err(backend.faulty(log, "open", reason));
        }
        if let Err(reason) = checked(&out) {
            self.close_slot(out.slot);
            return Err(backend.faulty(log, "open", reason));
        }
        let has_lines = out.first.offset < out.end.offset;
        let entry = Entry { name: log.clone(), end, has_lines, poisoned: None };
        self.shard.book.lock().logs.insert(slot, entry);
        let (first, end) = (core_cursor(out.first), core_cursor(out.end));
        Ok(Opened {
            slot,
            reader: Arc::new(reader),
            first,
            end,
            torn: torn(&out),
            damage,
            lines: lines(&out),
        })
    }

    fn append(&mut self, slot: LogSlot, batch: Batch<'_>) -> Result<Cursor, StorageError> {
        let (name, end) = self.writable(slot, "append")?;
        let backend = &self.shard.storage.backend;
        let lent = abi::Batch {
            first_offset: batch.first_offset,
            lines: batch.lines,
            bytes: Bytes::new(batch.bytes),
        };
        let mut out = abi::Appended::default();
        if let Some(reason) = self.shard.book.lock().panicked.clone() {
            return Err(backend.faulty(&name, "append", reason.as_ref().to_owned()));
        }
        // SAFETY: who has the `HostShard` calls; batch and result are lent for the call.
        let appended = backend.waited_call("append", |error| unsafe {
            call!(backend, append(self.shard.handle.0, slot.0, &raw const lent, &raw mut out, error))
        });
        if let Err(failure) = appended {
            self.shard.note_panic("append", &failure);
            return Err(match failure.status {
                status::FENCED => {
                    StorageError::Fenced { log: name, batch: batch.first_offset, end: failure.value }
                }
                _ => backend.log_error(&name, "append", &failure),
            });
        }
        let expected = batch.first_offset.saturating_add(batch.lines);
        if out.start.offset != batch.first_offset || out.end_offset != expected {
            let reason = format!(
                "it says that offsets {}..{} were appended, expected {}..{expected}",
                out.start.offset, out.end_offset, batch.first_offset
            );
            return Err(self.shard.lied(slot, &name, "append", reason));
        }
        end.set(expected);
        if let Some(entry) = self.shard.book.lock().logs.get_mut(&slot) {
            entry.has_lines = true;
        }
        Ok(core_cursor(out.start))
    }

    fn set_synced_first(&mut self, synced_first: bool) {
        let told = self.synced_first.replace(synced_first);
        if told != Some(synced_first)
            && self.shard.book.lock().panicked.is_none()
            && let Some(set) = self.shard.storage.backend.vtable.set_synced_first
        {
            // SAFETY: who has the `HostShard` calls.
            unsafe { set(self.shard.handle.0, u32::from(synced_first)) };
        }
    }

    fn catch_up(&mut self, all: bool) -> CaughtUp {
        let backend = &self.shard.storage.backend;
        let Some(catch_up) = backend.vtable.catch_up else { return CaughtUp::default() };
        if self.shard.book.lock().panicked.is_some() {
            return CaughtUp::default();
        }
        let mut due = NOTHING_DUE;
        let mut failures = Failures::new(&self.shard);
        let sink = failures.sink();
        let called = backend.call(|error| {
            // SAFETY: who has the `HostShard` calls; result and sink are lent for the call.
            unsafe { catch_up(self.shard.handle.0, u32::from(all), &raw mut due, &raw const sink, error) }
        });
        let failures = match called {
            Ok(()) => failures.take("catch up"),
            Err(failure) => {
                self.shard.note_panic("catch up", &failure);
                super::sync::all_failed(&self.shard, "catch up", &failure.to_line())
            }
        };
        let due = (due != NOTHING_DUE).then(|| Instant::now() + Duration::from_nanos(due).min(DUE_MAX));
        CaughtUp { due, failures }
    }

    fn begin_sync(&mut self) -> Box<dyn PendingSync> {
        let backend = &self.shard.storage.backend;
        let panicked = self.shard.book.lock().panicked.clone();
        let begun = match panicked {
            Some(reason) => Err(reason.as_ref().to_owned()),
            None => {
                let mut handle = Handle::NONE;
                // SAFETY: who has the `HostShard` calls; the handle's place is lent for the call.
                let begun = backend.waited_call("sync", |error| unsafe {
                    call!(backend, begin_sync(self.shard.handle.0, &raw mut handle.0, error))
                });
                begun.map(|()| handle).map_err(|failure| {
                    self.shard.note_panic("sync", &failure);
                    failure.to_line()
                })
            }
        };
        Box::new(HostPending::new(Arc::clone(&self.shard), begun))
    }

    fn finish_sync(&mut self, failures: &[SyncFailure]) {
        self.shard.poison_all(failures);
        let texts: Vec<String> = failures.iter().map(|failure| failure.error.to_string()).collect();
        let lent: Vec<abi::LogFailure> = failures
            .iter()
            .zip(&texts)
            .map(|(failure, text)| abi::LogFailure {
                slot: failure.slot.0,
                status: status::FAILED,
                value: 0,
                os_error: 0,
                reserved: 0,
                text: Bytes::new(text.as_bytes()),
            })
            .collect();
        if self.shard.book.lock().panicked.is_none()
            && let Some(finish) = self.shard.storage.backend.vtable.finish_sync
        {
            // SAFETY: who has the `HostShard` calls; the failures are lent for the call.
            unsafe { finish(self.shard.handle.0, lent.as_ptr(), lent.len()) };
        }
    }

    fn reopen(&mut self, slot: LogSlot, end: Cursor) -> Result<(), StorageError> {
        let (name, log_end) = self.log(slot, "reopen")?;
        let backend = &self.shard.storage.backend;
        let lent = lent_cursor(end);
        // SAFETY: who has the `HostShard` calls; the cursor is lent for the call.
        self.shard.call(&name, "reopen", |shard, error| unsafe {
            call!(backend, reopen(shard.0, slot.0, &raw const lent, error))
        })?;
        log_end.set(end.offset);
        if let Some(entry) = self.shard.book.lock().logs.get_mut(&slot) {
            entry.poisoned = None;
            entry.has_lines &= end.offset > 0;
        }
        Ok(())
    }

    fn begin_rewrite(&mut self, slot: LogSlot, plan: RewritePlan) -> Result<Box<dyn Rewrite>, StorageError> {
        let (name, end) = self.writable(slot, "rewrite")?;
        let backend = &self.shard.storage.backend;
        let lent = abi::RewritePlan {
            struct_size: size_of::<abi::RewritePlan>() as u32,
            reserved: 0,
            drop_below: plan.drop_below,
            drop: plan.drop.as_ptr(),
            drop_count: plan.drop.len(),
        };
        let mut handle = Handle::NONE;
        // SAFETY: who has the `HostShard` calls; plan and the handle's place are lent for the call.
        self.shard.call(&name, "rewrite", |shard, error| unsafe {
            call!(backend, begin_rewrite(shard.0, slot.0, &raw const lent, &raw mut handle.0, error))
        })?;
        Ok(Box::new(HostRewrite::new(Arc::clone(&self.shard), handle, slot, name, end)))
    }

    fn finish_rewrite(
        &mut self,
        rewrite: Box<dyn Rewrite>,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        let (name, _) = self.writable(rewrite.slot(), "rewrite")?;
        match rewrite.into_any().downcast::<HostRewrite>() {
            Ok(rewrite) if Arc::ptr_eq(&rewrite.shard, &self.shard) => rewrite.finish(kept),
            _ => {
                let source =
                    std::io::Error::new(std::io::ErrorKind::InvalidInput, "this rewrite was not begun here");
                Err(StorageError::Io { log: name.to_string(), operation: "rewrite", source })
            }
        }
    }

    fn close(&mut self, slot: LogSlot) {
        if self.shard.book.lock().close(slot) {
            self.close_slot(slot.0);
        }
    }
}
