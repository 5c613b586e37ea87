//! Rewrites in a plugin's backend.

use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use wafka_core::Offset;
use wafka_core::storage::{Cursor, KeptLine, LogName, LogSlot, Rewrite, Rewritten, StorageError};
use wafka_plugin_abi as abi;
use wafka_plugin_abi::Bytes;

use super::backend::Handle;
use super::book::LogEnd;
use super::shard::ShardHandle;
use super::{call, core_cursor};
use crate::text::borrowed;

/// A rewrite under way.
pub(super) struct HostRewrite {
    pub(super) shard: Arc<ShardHandle>,
    /// The plugin's handle, until it was taken back or given up.
    handle: Option<Handle>,
    slot: LogSlot,
    name: LogName,
    end: Arc<LogEnd>,
    seen: Seen,
    /// Why it cannot be finished.
    failed: Option<String>,
}

/// The lines that were kept so far.
#[derive(Clone, Copy, Default)]
struct Seen {
    first: Option<Cursor>,
    last: Option<Offset>,
}

/// Takes the lines that a plugin keeps.
struct Kept<'a> {
    to: &'a mut dyn FnMut(KeptLine<'_>),
    seen: Seen,
    /// Where the log ends, once nothing is appended meanwhile.
    end: Option<Offset>,
    lie: Option<String>,
    /// A panic of `to`, which must not unwind into the plugin.
    panic: Option<Box<dyn Any + Send>>,
}

impl HostRewrite {
    pub(super) fn new(
        shard: Arc<ShardHandle>,
        handle: Handle,
        slot: LogSlot,
        name: LogName,
        end: Arc<LogEnd>,
    ) -> Self {
        HostRewrite { shard, handle: Some(handle), slot, name, end, seen: Seen::default(), failed: None }
    }

    /// Calls a function of the plugin that tells of kept lines; what it did wrong is an error with its reason.
    fn telling(
        &mut self,
        kept: &mut dyn FnMut(KeptLine<'_>),
        finishing: bool,
        run: impl FnOnce(*const abi::KeptSink, *mut abi::ErrorOut) -> u32,
    ) -> Result<Result<(), String>, StorageError> {
        let backend = &self.shard.storage.backend;
        let end = finishing.then(|| self.end.get());
        let mut kept = Kept { to: kept, seen: self.seen, end, lie: None, panic: None };
        let sink = abi::KeptSink { ctx: std::ptr::from_mut(&mut kept).cast(), put: Some(put) };
        let called = backend.call(|error| run(&raw const sink, error));
        let Kept { seen, lie, panic, .. } = kept;
        self.seen = seen;
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
        called.map_err(|failure| {
            self.failed = Some(failure.to_line());
            if finishing {
                self.shard.note_panic("rewrite", &failure);
            }
            backend.log_error(&self.name, "rewrite", &failure)
        })?;
        Ok(lie.map_or(Ok(()), Err))
    }

    /// Puts the rewritten log in the old one's place. The caller has the shard to itself.
    pub(super) fn finish(mut self, kept: &mut dyn FnMut(KeptLine<'_>)) -> Result<Rewritten, StorageError> {
        let shard = Arc::clone(&self.shard);
        let backend = &shard.storage.backend;
        let panicked = shard.book.lock().panicked.as_deref().map(str::to_owned);
        if let Some(reason) = panicked.or_else(|| self.failed.clone()) {
            return Err(backend.faulty(&self.name, "rewrite", reason));
        }
        let Some(handle) = self.handle.take() else {
            return Err(backend.faulty(&self.name, "rewrite", "it is finished already".to_owned()));
        };
        let mut out = abi::Rewritten {
            struct_size: size_of::<abi::Rewritten>() as u32,
            reserved: 0,
            first: abi::Cursor::default(),
            end: abi::Cursor::default(),
            bytes_freed: 0,
        };
        // SAFETY: who has the shard to itself calls; this is the last use of the rewrite's handle, which the call releases;
        // sink and result are lent for the call.
        let told = self.telling(kept, true, |sink, error| unsafe {
            call!(backend, finish_rewrite(shard.handle.0, handle.0, sink, &raw mut out, error))
        })?;
        let had_lines = shard.book.lock().logs.get(&self.slot).is_some_and(|entry| entry.has_lines);
        told.and_then(|()| self.check(&out, had_lines))
            .map_err(|reason| shard.lied(self.slot, &self.name, "rewrite", reason))?;
        let (first, end) = (core_cursor(out.first), core_cursor(out.end));
        Ok(Rewritten { first, end, bytes_freed: out.bytes_freed })
    }

    /// Compares what the plugin says with the lines it told of.
    fn check(&self, out: &abi::Rewritten, had_lines: bool) -> Result<(), String> {
        let end = self.end.get();
        if out.end.offset != end {
            return Err(format!(
                "it says that the log ends at offset {} now, expected {end}",
                out.end.offset
            ));
        }
        if had_lines && self.seen.last != end.checked_sub(1) {
            let kept = self.seen.last.map_or("no line".to_owned(), |last| format!("offset {last}"));
            return Err(format!(
                "the last line it kept is {kept}, expected the log's last, offset {}",
                end - 1
            ));
        }
        let first = self.seen.first.map_or(end, |first| first.offset);
        if out.first.offset != first {
            let said = out.first.offset;
            return Err(format!("it says that the log begins at offset {said} now, expected {first}"));
        }
        Ok(())
    }
}

impl Rewrite for HostRewrite {
    fn slot(&self) -> LogSlot {
        self.slot
    }

    fn run(&mut self, kept: &mut dyn FnMut(KeptLine<'_>)) -> Result<(), StorageError> {
        let shard = Arc::clone(&self.shard);
        let backend = &shard.storage.backend;
        if let Some(reason) = self.failed.clone() {
            return Err(backend.faulty(&self.name, "rewrite", reason));
        }
        let Some(handle) = self.handle else { return Ok(()) };
        // SAFETY: a rewrite is run by who has it to itself; the sink is lent for the call.
        let told = self.telling(kept, false, |sink, error| unsafe {
            call!(backend, rewrite_run(handle.0, sink, error))
        })?;
        told.map_err(|reason| {
            self.failed = Some(reason.clone());
            backend.faulty(&self.name, "rewrite", reason)
        })
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Drop for HostRewrite {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take()
            && let Some(abandon) = self.shard.storage.backend.vtable.rewrite_abandon
        {
            // SAFETY: nobody else has the rewrite; this is the last use of its handle.
            unsafe { abandon(handle.0) };
        }
    }
}

impl Kept<'_> {
    fn line(&mut self, cursor: Cursor, bytes: &[u8]) -> Result<(), String> {
        let offset = cursor.offset;
        if let Some(last) = self.seen.last.filter(|last| offset <= *last) {
            return Err(format!("it keeps offset {offset} after {last}, expected a higher one"));
        }
        if let Some(end) = self.end.filter(|end| offset >= *end) {
            return Err(format!("it keeps offset {offset}, expected one below the log's end, {end}"));
        }
        if bytes.iter().position(|byte| *byte == b'\n') != bytes.len().checked_sub(1) {
            return Err(format!(
                "what it keeps at offset {offset} is not one line, expected one with its newline"
            ));
        }
        self.seen.first.get_or_insert(cursor);
        self.seen.last = Some(offset);
        Ok(())
    }
}

unsafe extern "C" fn put(ctx: *mut c_void, cursor: *const abi::Cursor, line: Bytes) {
    // SAFETY: `ctx` is the `Kept` of the call of the plugin that calls this.
    let kept = unsafe { &mut *ctx.cast::<Kept<'_>>() };
    if kept.lie.is_some() || kept.panic.is_some() {
        return;
    }
    if cursor.is_null() {
        kept.lie = Some("it keeps a line at a null pointer".to_owned());
        return;
    }
    // SAFETY: not null; the plugin lends the cursor and the line for this call.
    let (cursor, bytes) = unsafe { (core_cursor(*cursor), borrowed(line)) };
    match kept.line(cursor, bytes) {
        Err(lie) => kept.lie = Some(lie),
        Ok(()) => {
            let told = catch_unwind(AssertUnwindSafe(|| (kept.to)(KeptLine { cursor, bytes })));
            kept.panic = told.err();
        }
    }
}
