//! Reading structs that the plugin's side may know shorter or longer than this one does.

use std::mem::MaybeUninit;

/// A struct of the ABI that begins with its size and has nothing but integers, pointers, `Bytes` and optional functions.
///
/// # Safety
/// All zeros must be a value of the type.
pub(crate) unsafe trait Growing: Copy {
    /// How many bytes of it must be there.
    const SIZE_MIN: usize;
}

/// Reads a struct of which `size` bytes are there: what is behind them is zero, what is behind this type is left alone.
///
/// # Safety
/// `from` points to `size` readable bytes.
pub(crate) unsafe fn read_prefix<T: Growing>(from: *const T, size: usize) -> T {
    let mut value = MaybeUninit::<T>::zeroed();
    let len = size.min(size_of::<T>());
    // SAFETY: `len` bytes are there on both sides, and `value` is a local that nothing else points to.
    unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), len) };
    // SAFETY: a prefix from the plugin, which says that it is such a struct, and zeros, which `Growing` allows.
    unsafe { value.assume_init() }
}
