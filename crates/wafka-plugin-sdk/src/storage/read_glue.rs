//! The functions of a vtable that read.

use std::cell::RefCell;
use std::ffi::c_void;

use wafka_core::storage::{Chunk, Cursor, LogReader, StorageError};
use wafka_plugin_abi as abi;
use wafka_plugin_abi::{Bytes, ErrorOut, status};

use super::fail::{Poison, Told, contained, guarded};
use super::glue::no_sink;
use super::handles::{ReaderHandle, abi_cursor, core_cursor, from_handle, lent, put};

/// A buffer that grew beyond this is given back after a read, in bytes.
const BUFFER_KEPT_MAX: usize = 1 << 20;

thread_local! {
    /// What the backend reads into; a fresh buffer for each read would cost page faults.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The reader behind a handle.
///
/// # Safety
/// `handle` was made by `log_open` and is not released for `'a`.
unsafe fn reader_of<'a>(handle: *mut c_void) -> &'a ReaderHandle {
    // SAFETY: the caller's promise; it is only ever shared.
    unsafe { &*handle.cast::<ReaderHandle>() }
}

/// Gives the host what `read` reads; without a chunk nothing is ready.
///
/// # Safety
/// `sink` and `chunk` are null or lent by the host for the call.
unsafe fn give(
    sink: *const abi::ByteSink,
    chunk: *mut abi::Chunk,
    read: impl FnOnce(&mut Vec<u8>) -> Result<Option<Chunk>, StorageError>,
) -> Result<(), Told> {
    // SAFETY: the caller's promise.
    let sink = unsafe { lent(sink) }?;
    let put_bytes = sink.put.ok_or_else(no_sink)?;
    // Not borrowed while the backend runs, which may read from another backend of its own.
    let mut buffer = BUFFER.take();
    buffer.clear();
    let Some(found) = read(&mut buffer)? else { return Err(Told::new(status::NOT_READY, "")) };
    // SAFETY: the sink's function takes its own `ctx`, and bytes for the call.
    if !buffer.is_empty() && unsafe { put_bytes(sink.ctx, Bytes::new(&buffer)) } != 0 {
        return Err(Told::new(status::FAILED, "the host takes no more bytes"));
    }
    if buffer.capacity() <= BUFFER_KEPT_MAX {
        BUFFER.set(buffer);
    }
    let found = abi::Chunk { start: abi_cursor(found.start), next: abi_cursor(found.next) };
    // SAFETY: the caller's promise.
    unsafe { put(chunk, found) }
}

/// One read from the host's cursor, of either kind.
///
/// # Safety
/// The handle is not released, and the rest is lent by the host for the call.
unsafe fn read_by(
    reader: *mut c_void,
    from: *const abi::Cursor,
    sink: *const abi::ByteSink,
    chunk: *mut abi::Chunk,
    error: *mut ErrorOut,
    read: impl Fn(&dyn LogReader, Cursor, &mut Vec<u8>) -> Result<Option<Chunk>, StorageError>,
) -> u32 {
    // SAFETY: the caller's promise.
    let ReaderHandle { reader, poison } = unsafe { reader_of(reader) };
    // SAFETY: the caller's promise.
    let run = || unsafe {
        let from = core_cursor(*lent(from)?);
        give(sink, chunk, |into| read(&**reader, from, into))
    };
    // SAFETY: the caller's promise.
    unsafe { guarded(error, poison, run) }
}

pub(super) unsafe extern "C" fn read(
    reader: *mut c_void,
    from: *const abi::Cursor,
    bytes_max: usize,
    sink: *const abi::ByteSink,
    chunk: *mut abi::Chunk,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host's handle is not released, and the rest is lent by the host for the call.
    unsafe {
        read_by(reader, from, sink, chunk, error, |reader, from, into| {
            reader.read(from, bytes_max, into).map(Some)
        })
    }
}

pub(super) unsafe extern "C" fn read_ready(
    reader: *mut c_void,
    from: *const abi::Cursor,
    bytes_max: usize,
    sink: *const abi::ByteSink,
    chunk: *mut abi::Chunk,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the host's handle is not released, and the rest is lent by the host for the call.
    unsafe {
        read_by(reader, from, sink, chunk, error, |reader, from, into| {
            reader.read_ready(from, bytes_max, into)
        })
    }
}

pub(super) unsafe extern "C" fn reader_generation(reader: *mut c_void) -> u32 {
    // SAFETY: the host's handle is not released.
    let ReaderHandle { reader, poison } = unsafe { reader_of(reader) };
    contained(poison, 0, || reader.generation())
}

pub(super) unsafe extern "C" fn reader_size(reader: *mut c_void) -> u64 {
    // SAFETY: the host's handle is not released.
    let ReaderHandle { reader, poison } = unsafe { reader_of(reader) };
    contained(poison, 0, || reader.size_bytes())
}

pub(super) unsafe extern "C" fn reader_release(reader: *mut c_void) {
    // SAFETY: the host releases each reader once.
    let handle = unsafe { from_handle::<ReaderHandle>(reader) };
    contained(&Poison::default(), (), move || drop(handle));
}
