//! Reads from a plugin's backend.

use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

use wafka_core::storage::{Chunk, Cursor, LogName, LogReader, StorageError};
use wafka_plugin_abi as abi;
use wafka_plugin_abi::{Bytes, ErrorOut, status};
use wafka_storage::{LINE_BYTES_MAX, line};

use super::backend::Handle;
use super::book::LogEnd;
use super::{StorageHandle, call, core_cursor, lent_cursor};
use crate::text::borrowed;

/// Reads a log in a plugin's backend.
pub(super) struct HostReader {
    storage: Arc<StorageHandle>,
    handle: Handle,
    name: LogName,
    end: Arc<LogEnd>,
    /// Damage was found in the log when it was opened: what follows the last whole line may be nothing.
    damaged: bool,
    /// What a panic said, after which the handle is used no more.
    panicked: OnceLock<String>,
}

/// Takes the bytes of one read.
struct Lines<'a> {
    into: &'a mut Vec<u8>,
    /// Where they begin.
    begin: usize,
    bytes_max: usize,
    /// More came than was asked for.
    too_much: bool,
}

impl HostReader {
    pub(super) fn new(
        storage: Arc<StorageHandle>,
        handle: Handle,
        name: LogName,
        end: Arc<LogEnd>,
        damaged: bool,
    ) -> Self {
        HostReader { storage, handle, name, end, damaged, panicked: OnceLock::new() }
    }

    /// Reads with one of the plugin's two functions that do; `None` when it has nothing ready.
    fn read_with(
        &self,
        from: Cursor,
        bytes_max: usize,
        into: &mut Vec<u8>,
        run: impl FnOnce(*const abi::Cursor, *const abi::ByteSink, *mut abi::Chunk, *mut ErrorOut) -> u32,
    ) -> Result<Option<Chunk>, StorageError> {
        let backend = &self.storage.backend;
        if let Some(reason) = self.panicked.get() {
            let reason = format!("{reason}; it is not read until the server starts again");
            return Err(backend.faulty(&self.name, "read", reason));
        }
        let (begin, end) = (into.len(), self.end.get());
        let lent = lent_cursor(from);
        let mut out = abi::Chunk::default();
        let mut lines = Lines { into, begin, bytes_max, too_much: false };
        let sink = abi::ByteSink { ctx: std::ptr::from_mut(&mut lines).cast(), put: Some(put) };
        let called = backend.call(|error| run(&raw const lent, &raw const sink, &raw mut out, error));
        let Lines { into, too_much, .. } = lines;
        if let Err(failure) = called {
            into.truncate(begin);
            if failure.status == status::NOT_READY {
                return Ok(None);
            }
            if failure.status == status::PANICKED {
                // Only the first of several panics is kept.
                let _ = self.panicked.set(failure.to_line());
            }
            if !too_much {
                return Err(backend.log_error(&self.name, "read", &failure));
            }
        }
        let chunk = Chunk { start: core_cursor(out.start), next: core_cursor(out.next) };
        // A log that was cut meanwhile ends earlier.
        let end = if self.damaged { 0 } else { end.min(self.end.get()) };
        let checked =
            if too_much { Err(more_than(bytes_max)) } else { check(from, &chunk, &into[begin..], end) };
        checked.map(|()| Some(chunk)).map_err(|reason| {
            into.truncate(begin);
            backend.faulty(&self.name, "read", reason)
        })
    }
}

fn more_than(bytes_max: usize) -> String {
    format!(
        "it gives more than the {bytes_max} bytes that were asked for, expected at most these, or one line"
    )
}

/// What is wrong with what a read from `from` gave of a log that ends at `end` or later.
fn check(from: Cursor, chunk: &Chunk, bytes: &[u8], end: u64) -> Result<(), String> {
    let (asked, start, next) = (from.offset, chunk.start.offset, chunk.next.offset);
    if bytes.is_empty() {
        if next != start {
            return Err(format!(
                "it gives no lines, and says that they are those of offsets {start}..{next}"
            ));
        }
        if asked < end {
            return Err(format!(
                "it gives nothing from offset {asked} on, expected lines: the log ends at {end}"
            ));
        }
        return Ok(());
    }
    if bytes.last() != Some(&b'\n') {
        return Err(format!("what it gives from offset {start} on ends within a line, expected whole lines"));
    }
    if start < asked {
        return Err(format!("it gives lines from offset {start} on, expected none below {asked}"));
    }
    if next <= start {
        return Err(format!("it gives lines from offset {start} on, and says to read on at {next}"));
    }
    let first = memchr::memchr(b'\n', bytes).map_or(bytes, |newline| &bytes[..=newline]);
    if let Some(found) = other_than(start, first) {
        return Err(format!(
            "it says that its first line is of offset {start}, and gives that of offset {found}"
        ));
    }
    let before = &bytes[..bytes.len() - 1];
    let last = memchr::memrchr(b'\n', before).map_or(bytes, |newline| &bytes[newline + 1..]);
    match other_than(next - 1, last) {
        Some(found) => Err(format!("its last line is of offset {found}, and it says to read on at {next}")),
        None => Ok(()),
    }
}

/// The offset of a line, when it is certain to be another than `offset`. A damaged line says nothing.
fn other_than(offset: u64, line: &[u8]) -> Option<u64> {
    line::offset_of(line).filter(|found| *found != offset && line::verify(line).is_ok())
}

impl LogReader for HostReader {
    fn read(&self, from: Cursor, bytes_max: usize, into: &mut Vec<u8>) -> Result<Chunk, StorageError> {
        let backend = &self.storage.backend;
        // SAFETY: a reader takes calls from any thread; cursor, sink and result are lent for the call.
        let chunk = self.read_with(from, bytes_max, into, |from, sink, chunk, error| unsafe {
            call!(backend, read(self.handle.0, from, bytes_max, sink, chunk, error))
        })?;
        chunk.ok_or_else(|| {
            let reason = "it says that lines are not ready, expected it to wait for them".to_owned();
            backend.faulty(&self.name, "read", reason)
        })
    }

    fn read_ready(
        &self,
        from: Cursor,
        bytes_max: usize,
        into: &mut Vec<u8>,
    ) -> Result<Option<Chunk>, StorageError> {
        let Some(read_ready) = self.storage.backend.vtable.read_ready else { return Ok(None) };
        // SAFETY: as above.
        self.read_with(from, bytes_max, into, |from, sink, chunk, error| unsafe {
            read_ready(self.handle.0, from, bytes_max, sink, chunk, error)
        })
    }

    fn generation(&self) -> u32 {
        let Some(generation) = self.storage.backend.vtable.reader_generation else { return 0 };
        // SAFETY: a reader takes calls from any thread.
        unsafe { generation(self.handle.0) }
    }

    fn size_bytes(&self) -> u64 {
        let Some(size) = self.storage.backend.vtable.reader_size else { return 0 };
        // SAFETY: a reader takes calls from any thread.
        unsafe { size(self.handle.0) }
    }
}

impl Drop for HostReader {
    fn drop(&mut self) {
        if let Some(release) = self.storage.backend.vtable.reader_release {
            // SAFETY: nobody else has the reader; this is the last use of its handle.
            unsafe { release(self.handle.0) };
        }
    }
}

impl Lines<'_> {
    /// Takes bytes as long as they are not more than was asked for, or belong to the first line.
    fn add(&mut self, bytes: &[u8]) -> bool {
        let held = self.into.len() - self.begin;
        let total = held.saturating_add(bytes.len());
        let fits = total <= self.bytes_max || {
            let newline = |bytes: &[u8]| memchr::memchr(b'\n', bytes);
            total as u64 <= LINE_BYTES_MAX
                && newline(&self.into[self.begin..]).is_none()
                && newline(bytes).is_none_or(|at| at + 1 == bytes.len())
        };
        if fits {
            self.into.extend_from_slice(bytes);
        }
        fits
    }
}

unsafe extern "C" fn put(ctx: *mut c_void, bytes: Bytes) -> u32 {
    // SAFETY: `ctx` is the `Lines` of the call of the plugin that calls this.
    let lines = unsafe { &mut *ctx.cast::<Lines<'_>>() };
    // SAFETY: the plugin lends the bytes for this call.
    let bytes = unsafe { borrowed(bytes) };
    if !lines.too_much && !bytes.is_empty() {
        lines.too_much = !lines.add(bytes);
    }
    u32::from(lines.too_much)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wafka_storage::conformance::{line_of, lines_of};

    fn chunk(start: u64, next: u64) -> Chunk {
        Chunk { start: Cursor::at_offset(start), next: Cursor::at_offset(next) }
    }

    #[test]
    fn what_is_right_passes() {
        let from = Cursor::at_offset(3);
        assert_eq!(check(from, &chunk(3, 6), &lines_of(3..6), 9), Ok(()));
        // A gap, and more than the host knows of.
        assert_eq!(check(from, &chunk(5, 12), &lines_of([5, 11]), 9), Ok(()));
        assert_eq!(check(from, &chunk(3, 3), b"", 3), Ok(()));
        // Damaged lines come as they are.
        assert_eq!(check(from, &chunk(3, 4), b"\"offset\":99\n", 9), Ok(()));
    }

    #[test]
    fn what_is_wrong_does_not() {
        let from = Cursor::at_offset(3);
        for (given, bytes, said) in [
            (chunk(3, 3), Vec::new(), "gives nothing from offset 3"),
            (chunk(3, 4), Vec::new(), "gives no lines"),
            (chunk(3, 6), lines_of(3..6)[..300].to_vec(), "within a line"),
            (chunk(2, 6), lines_of(2..6), "expected none below 3"),
            (chunk(3, 3), lines_of(3..6), "read on at 3"),
            (chunk(3, 1), lines_of(3..6), "read on at 1"),
            (chunk(4, 6), lines_of(3..6), "gives that of offset 3"),
            (chunk(3, 8), lines_of(3..6), "last line is of offset 5"),
            (chunk(3, 5), lines_of(3..6), "last line is of offset 5"),
        ] {
            let found = check(from, &given, &bytes, 9);
            assert!(found.as_ref().is_err_and(|reason| reason.contains(said)), "{said}: {found:?}");
        }
    }

    #[test]
    fn not_more_than_was_asked_for_is_taken() {
        let long = line_of(0, 1000);
        let take = |bytes_max: usize, parts: &[&[u8]]| {
            let mut into = b"before".to_vec();
            let mut lines = Lines { begin: into.len(), into: &mut into, bytes_max, too_much: false };
            let fits = parts.iter().all(|part| lines.add(part));
            (fits, into.len() - 6)
        };
        assert_eq!(take(10, &[&long]), (true, long.len()));
        assert_eq!(take(10, &[&long[..500], &long[500..]]), (true, long.len()));
        assert_eq!(take(10, &[&long, b"x"]), (false, long.len()));
        assert_eq!(take(10, &[&[&long[..], &long].concat()]), (false, 0));
        assert_eq!(take(3000, &[&long, &long]), (true, 2 * long.len()));
        assert_eq!(take(1500, &[&long, &long]), (false, long.len()));
    }
}
