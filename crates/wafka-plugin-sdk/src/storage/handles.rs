//! What the host's handles lead to, and what it lends, in Rust's terms.

use std::ffi::c_void;
use std::sync::Arc;

use wafka_core::Database;
use wafka_core::storage::{Cursor, LogName, LogReader, Ownership, PendingSync, Rewrite, Shard, Storage};
use wafka_plugin_abi as abi;
use wafka_plugin_abi::growing::{Growing, write_sized};
use wafka_plugin_abi::{Bytes, status};

use super::fail::{Poison, Told};
use crate::fail::{given, misfit};

pub(super) struct StorageHandle {
    pub(super) storage: Box<dyn Storage>,
    pub(super) poison: Poison,
}

pub(super) struct OwnershipHandle {
    pub(super) ownership: Arc<dyn Ownership>,
    pub(super) poison: Poison,
}

pub(super) struct ShardHandle {
    pub(super) shard: Box<dyn Shard>,
    pub(super) poison: Poison,
}

pub(super) struct ReaderHandle {
    pub(super) reader: Arc<dyn LogReader>,
    pub(super) poison: Poison,
}

pub(super) struct PendingHandle {
    pub(super) pending: Box<dyn PendingSync>,
}

pub(super) struct RewriteHandle {
    pub(super) rewrite: Box<dyn Rewrite>,
    pub(super) poison: Poison,
}

/// Makes a handle.
pub(super) fn into_handle<T>(value: T) -> *mut c_void {
    Box::into_raw(Box::new(value)).cast()
}

/// Takes a handle back.
///
/// # Safety
/// `handle` was made by [`into_handle`] of this type, and this is its last use.
pub(super) unsafe fn from_handle<T>(handle: *mut c_void) -> Box<T> {
    // SAFETY: the caller's promise: it is a box of this type that nobody uses any more.
    unsafe { Box::from_raw(handle.cast()) }
}

/// Writes a result to its place in the host's memory.
///
/// # Safety
/// `place` is null or a place for such a value.
pub(super) unsafe fn put<T>(place: *mut T, value: T) -> Result<(), Told> {
    if place.is_null() {
        return Err(null());
    }
    // SAFETY: not null; the rest is the caller's promise.
    unsafe { place.write(value) };
    Ok(())
}

/// What the host lends.
///
/// # Safety
/// `lent` is null or a value that stays there for `'a`.
pub(super) unsafe fn lent<'a, T>(lent: *const T) -> Result<&'a T, Told> {
    // SAFETY: the caller's promise.
    unsafe { lent.as_ref() }.ok_or_else(null)
}

/// What the host lends, as much of it as the host knows: a struct that begins with its size.
///
/// # Safety
/// `lent` is null or such a struct, of as many bytes as it says.
pub(super) unsafe fn sized<T: Growing>(lent: *const T) -> Result<T, Told> {
    // SAFETY: the caller's promise is the same.
    unsafe { given(lent) }.map_err(|text| Told::new(status::FAILED, text))
}

/// Fills such a struct of the host.
///
/// # Safety
/// As [`sized`], and nobody else uses it meanwhile.
pub(super) unsafe fn put_sized<T: Growing>(place: *mut T, value: &T) -> Result<(), Told> {
    if place.is_null() {
        return Err(null());
    }
    // SAFETY: not null; the rest is the caller's promise.
    unsafe { write_sized(place, value) }.map_err(|size| Told::new(status::FAILED, misfit::<T>(size)))
}

/// An array that the host lends.
///
/// # Safety
/// `lent` is null or an array of `count` values that stays there for `'a`.
pub(super) unsafe fn lent_slice<'a, T>(lent: *const T, count: usize) -> Result<&'a [T], Told> {
    if count == 0 {
        return Ok(&[]);
    }
    if lent.is_null() {
        return Err(null());
    }
    // SAFETY: not null; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(lent, count) })
}

/// Bytes that the host lends.
///
/// # Safety
/// As [`Bytes::get`].
pub(super) unsafe fn lent_bytes<'a>(bytes: Bytes) -> Result<&'a [u8], Told> {
    // SAFETY: the caller's promise.
    unsafe { bytes.get() }.ok_or_else(null)
}

fn null() -> Told {
    Told::new(status::FAILED, "the host gave a null pointer")
}

/// A log's name that the host lends.
///
/// # Safety
/// The name's stem is as [`Bytes::get`] wants it.
pub(super) unsafe fn name(lent: &abi::LogName) -> Result<LogName, Told> {
    // SAFETY: the caller's promise.
    let stem = unsafe { lent_bytes(lent.stem) }?;
    match (u16::try_from(lent.database), std::str::from_utf8(stem)) {
        (Ok(database), Ok(stem)) => Ok(LogName::new(Database(database), stem)),
        _ => Err(Told::new(status::FAILED, "the host gave a name that is none")),
    }
}

/// Names that the host lends.
///
/// # Safety
/// `lent` is null or an array of `count` names, their stems as [`Bytes::get`] wants them.
pub(super) unsafe fn names(lent: *const abi::LogName, count: usize) -> Result<Vec<LogName>, Told> {
    // SAFETY: the caller's promise, here and for each stem.
    unsafe { lent_slice(lent, count)?.iter().map(|lent| name(lent)).collect() }
}

pub(super) fn core_cursor(cursor: abi::Cursor) -> Cursor {
    Cursor { offset: cursor.offset, position: cursor.position, generation: cursor.generation }
}

pub(super) fn abi_cursor(cursor: Cursor) -> abi::Cursor {
    abi::Cursor {
        offset: cursor.offset,
        position: cursor.position,
        generation: cursor.generation,
        reserved: 0,
    }
}

pub(super) fn abi_name(log: &LogName) -> abi::LogName {
    abi::LogName {
        database: u32::from(log.database().0),
        reserved: 0,
        stem: Bytes::new(log.stem().as_bytes()),
    }
}
