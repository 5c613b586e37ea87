//! Structs that the other side may know shorter or longer than this one does.

use core::mem::MaybeUninit;

use crate::error::ErrorOut;
use crate::host::Host;
use crate::layout::StructLayout;
use crate::manifest::{MANIFEST_SIZE_MIN, Manifest};
use crate::partitioner::{
    PARTITIONER_VTABLE_SIZE_MIN, PartitionerConfig, PartitionerVtable, ROUTE_REQUEST_SIZE_MIN, RouteRequest,
};
use crate::storage::{
    Lease, OpenRequest, Opened, RewritePlan, Rewritten, STORAGE_VTABLE_SIZE_MIN, StorageConfig, StorageVtable,
};

/// A struct that says how long its maker knows it to be, and only ever grows at its end.
///
/// # Safety
/// The type is `repr(C)`, of integers, pointers, [`Bytes`](crate::Bytes) and optional functions, so that all zeros are a
/// value of it. `LAYOUT` is its layout.
pub unsafe trait Growing: Copy {
    /// How many bytes it had in the first version, all of which must be there: it never changes within a major.
    const SIZE_MIN: usize;
    /// Its fields.
    const LAYOUT: &'static StructLayout;
}

macro_rules! growing {
    ($($type:ident from $least:expr, $layout:expr;)+) => {
        // SAFETY: integers, pointers, `Bytes` and optional functions; zeros are null, empty and absent.
        $(unsafe impl Growing for $type {
            const SIZE_MIN: usize = $least;
            const LAYOUT: &'static StructLayout = &$layout;
        }
        // A size that ends within a field would be one that no version had.
        const _: () = assert!(is_boundary::<$type>($type::SIZE_MIN));)+
    };
}

growing! {
    Host from 32, crate::host::HOST;
    Manifest from MANIFEST_SIZE_MIN, crate::manifest::MANIFEST;
    PartitionerVtable from PARTITIONER_VTABLE_SIZE_MIN, crate::partitioner::PARTITIONER_VTABLE;
    PartitionerConfig from 40, crate::partitioner::PARTITIONER_CONFIG;
    RouteRequest from ROUTE_REQUEST_SIZE_MIN, crate::partitioner::ROUTE_REQUEST;
    StorageVtable from STORAGE_VTABLE_SIZE_MIN, crate::storage::STORAGE_VTABLE;
    StorageConfig from 40, crate::storage::types::STORAGE_CONFIG;
    Lease from 24, crate::storage::ownership::LEASE;
    OpenRequest from 40, crate::storage::types::OPEN_REQUEST;
    Opened from 80, crate::storage::types::OPENED;
    RewritePlan from 32, crate::storage::types::REWRITE_PLAN;
    Rewritten from 64, crate::storage::types::REWRITTEN;
    ErrorOut from 40, crate::error::ERROR_OUT;
}

/// Whether a struct of so many bytes ends where a field does. What is longer than this side knows it is not judged.
#[must_use]
pub const fn is_boundary<T: Growing>(size: usize) -> bool {
    if size >= size_of::<T>() {
        return true;
    }
    let fields = T::LAYOUT.fields;
    let mut at = 0;
    while at < fields.len() {
        if fields[at].offset == size {
            return true;
        }
        at += 1;
    }
    false
}

/// Reads a struct of which `size` bytes are there: what is behind them is zero, what is behind this type is left alone.
///
/// # Safety
/// `from` is aligned and points to `size` readable bytes of such a struct.
#[inline]
pub unsafe fn read_prefix<T: Growing>(from: *const T, size: usize) -> T {
    if size >= size_of::<T>() {
        // SAFETY: all of it is there.
        return unsafe { from.read() };
    }
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: so many bytes are there on both sides, and `value` is a local that nothing else points to.
    unsafe { core::ptr::copy_nonoverlapping(from.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), size) };
    // SAFETY: a prefix from the other side, which says that it is such a struct, and zeros, which `Growing` allows.
    unsafe { value.assume_init() }
}

/// Reads a struct that begins with its size. When it is shorter than it ever was, or ends within a field, the result is that
/// size.
///
/// # Errors
/// The size it says, which cannot be.
///
/// # Safety
/// `from` is aligned and points to such a struct, of as many bytes as it says.
#[inline]
pub unsafe fn read_sized<T: Growing>(from: *const T) -> Result<T, u32> {
    // SAFETY: it begins with its size; the caller's promise.
    let said = unsafe { from.cast::<u32>().read() };
    let size = said as usize;
    if size < T::SIZE_MIN || !is_boundary::<T>(size) {
        return Err(said);
    }
    // SAFETY: the caller's promise: so many bytes are there.
    Ok(unsafe { read_prefix(from, size) })
}

/// Fills a struct of the other side that begins with its size: as much of it as that side knows, but for the size.
///
/// # Errors
/// The size it says, which is less than it ever was.
///
/// # Safety
/// `into` is aligned and points to such a struct, of as many bytes as it says, which nobody else uses meanwhile.
pub unsafe fn write_sized<T: Growing>(into: *mut T, value: &T) -> Result<(), u32> {
    // SAFETY: it begins with its size; the caller's promise.
    let said = unsafe { into.cast::<u32>().read() };
    let size = said as usize;
    if size < T::SIZE_MIN {
        return Err(said);
    }
    let (skip, len) = (size_of::<u32>(), size.min(size_of::<T>()));
    let from = core::ptr::from_ref(value).cast::<u8>();
    // SAFETY: so many bytes are there on both sides, which are apart: one is lent to this side, the other is its own.
    unsafe { core::ptr::copy_nonoverlapping(from.add(skip), into.cast::<u8>().add(skip), len - skip) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bytes, Cursor};

    /// What a request may look like in a version to come.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Longer {
        struct_size: u32,
        partitions: u32,
        topic: Bytes,
        later: u64,
    }

    // SAFETY: integers and `Bytes`.
    unsafe impl Growing for Longer {
        const SIZE_MIN: usize = 24;
        const LAYOUT: &'static StructLayout = &LONGER;
    }

    crate::layout::layout! { LONGER: Longer = "longer", 32 { struct_size 0, partitions 4, topic 8, later 24 } }

    #[repr(C)]
    struct Shorter {
        struct_size: u32,
        partitions: u32,
        topic: Bytes,
    }

    /// Under Miri or a sanitizer this also shows that nothing behind the shorter one is touched.
    #[test]
    fn of_a_shorter_struct_what_it_lacks_is_zero() {
        let mut short = Shorter { struct_size: 24, partitions: 7, topic: Bytes::new(b"t") };
        // SAFETY: as much is there as it says.
        let read = unsafe { read_sized::<Longer>((&raw const short).cast()) }.unwrap();
        // SAFETY: lent above.
        assert_eq!((read.partitions, unsafe { read.topic.get() }, read.later), (7, Some(&b"t"[..]), 0));
        for size in [0, 23, 25, 31] {
            short.struct_size = size;
            // SAFETY: what cannot be is not read.
            let refused = unsafe { read_sized::<Longer>((&raw const short).cast()) };
            assert_eq!(refused.map(|read| read.partitions), Err(size));
        }
    }

    #[test]
    fn a_shorter_struct_is_not_written_beyond_its_end() {
        let mut pair = (Shorter { struct_size: 24, partitions: 0, topic: Bytes::EMPTY }, 9_u64);
        let value = Longer { struct_size: 32, partitions: 3, topic: Bytes::EMPTY, later: u64::MAX };
        // SAFETY: as much is there as it says.
        unsafe { write_sized::<Longer>((&raw mut pair.0).cast(), &value) }.unwrap();
        assert_eq!((pair.0.struct_size, pair.0.partitions, pair.1), (24, 3, 9));
        pair.0.struct_size = 8;
        // SAFETY: it is refused for its size.
        assert_eq!(unsafe { write_sized::<Longer>((&raw mut pair.0).cast(), &value) }, Err(8));
    }

    #[test]
    fn sizes_end_where_fields_do() {
        assert!(is_boundary::<StorageVtable>(184) && is_boundary::<StorageVtable>(192));
        assert!(!is_boundary::<StorageVtable>(188) && is_boundary::<StorageVtable>(1001));
        assert!(!is_boundary::<Opened>(size_of::<Cursor>()));
    }
}
