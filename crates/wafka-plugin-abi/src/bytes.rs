//! Borrowed bytes.

use core::slice;

use crate::layout::layout;

/// Bytes that somebody else owns, borrowed for the duration of a call unless it says otherwise. Text is UTF-8 without a
/// terminating NUL.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// The first byte; may be anything, null too, when `len` is 0.
    pub ptr: *const u8,
    /// How many bytes there are.
    pub len: usize,
}

layout! { BYTES: Bytes = "wafka_bytes", 16 { ptr 0, len 8 } }

// SAFETY: a pointer and a length by themselves do nothing; whoever reads through them (`Bytes::get`) answers for that.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// No bytes.
    pub const EMPTY: Bytes = Bytes { ptr: core::ptr::null(), len: 0 };

    /// Lends `bytes`: for as long as they live, which this type does not know.
    #[inline]
    #[must_use]
    pub const fn new(bytes: &[u8]) -> Self {
        Bytes { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes; `None` when there cannot be any: a null pointer with a length, or more than fit into memory.
    ///
    /// # Safety
    /// Unless `len` is 0, `ptr` must be null or point to `len` bytes that stay there, unchanged, for `'a`.
    #[inline]
    #[must_use]
    pub const unsafe fn get<'a>(self) -> Option<&'a [u8]> {
        if self.len == 0 {
            return Some(&[]);
        }
        if self.ptr.is_null() || self.len > isize::MAX as usize {
            return None;
        }
        // SAFETY: not null and not longer than an object may be, checked above; the rest is the caller's promise.
        Some(unsafe { slice::from_raw_parts(self.ptr, self.len) })
    }
}
