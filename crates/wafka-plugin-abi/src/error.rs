//! How a function says that it failed.

use crate::layout::layout;

/// What a function returns. A code that the caller does not know counts as [`status::FAILED`].
pub mod status {
    /// It is done.
    pub const OK: u32 = 0;
    /// It failed; the text says why.
    pub const FAILED: u32 = 1;
    /// It panicked; the text is the panic's message. The handle it was called with is *poisoned*: the host releases it
    /// and calls nothing else with it.
    pub const PANICKED: u32 = 2;
    /// An option is missing, unknown or has a bad value. The text is the option's key, a NUL, and what was expected.
    pub const BAD_OPTION: u32 = 3;
    /// The operating system, or the engine behind a backend, refused: `os_error` is its `errno`, or 0.
    pub const IO: u32 = 4;
    /// The log does not exist.
    pub const NOT_FOUND: u32 = 5;
    /// The log exists although it must not.
    pub const EXISTS: u32 = 6;
    /// A batch does not follow the log's end: `value` is where the log ends.
    pub const FENCED: u32 = 7;
    /// An earlier failure made the log refuse writes; the text is that failure's.
    pub const POISONED: u32 = 8;
    /// The log's content contradicts what must hold: `value` is the byte position.
    pub const DAMAGED: u32 = 9;
    /// The backend cannot do this.
    pub const UNSUPPORTED: u32 = 10;
    /// Only by `read_ready`: the lines are there, but not without waiting for a disk or a network.
    pub const NOT_READY: u32 = 11;
    /// This server does not own the data, or does no more; the text says who does instead.
    pub const NOT_OWNER: u32 = 12;
}

/// Where a function puts what there is to say about its failure. It lies in the host's memory and is all zeros but for
/// `struct_size`, `text` and `text_capacity`; a plugin changes the others, and writes to it only when it fails. The memory
/// that `text` points to may hold anything.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ErrorOut {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// The operating system's error number, with [`status::IO`]; 0 when there is none.
    pub os_error: i32,
    /// With [`status::FENCED`] the log's end, with [`status::DAMAGED`] the byte position.
    pub value: u64,
    /// Where to put the text, UTF-8.
    pub text: *mut u8,
    /// How many bytes fit there; what does not fit is cut.
    pub text_capacity: usize,
    /// How many bytes the plugin put there.
    pub text_len: usize,
}

layout! { ERROR_OUT: ErrorOut = "wafka_error_out", 40 {
    struct_size 0, os_error 4, value 8, text 16, text_capacity 24, text_len 32
} }
