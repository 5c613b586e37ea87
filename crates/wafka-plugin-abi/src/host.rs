//! What the host offers to plugins.

use core::ffi::c_void;

use crate::bytes::Bytes;
use crate::layout::layout;

/// How important a line of the log is.
pub mod level {
    /// Something failed.
    pub const ERROR: u32 = 1;
    /// Something is not as it should be.
    pub const WARN: u32 = 2;
    /// What an operator wants to know.
    pub const INFO: u32 = 3;
    /// What somebody who looks for a fault wants to know.
    pub const DEBUG: u32 = 4;
    /// Everything.
    pub const TRACE: u32 = 5;
}

/// The host, as given to the plugin's entry. It lives for ever, and its functions may be called from any thread at any
/// time.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// The host's ABI version.
    pub abi_major: u16,
    /// The host's ABI version.
    pub abi_minor: u16,
    /// To be given to the functions as it is.
    pub ctx: *mut c_void,
    /// Writes a line to the server's log. `target` says which part of the plugin speaks, as a Rust module's path does
    /// (empty = the plugin as a whole), and is what the server's log filter looks at; `text` is one line. Both are UTF-8.
    pub log: Option<unsafe extern "C" fn(ctx: *mut c_void, level: u32, target: Bytes, text: Bytes)>,
    /// Whether such a line would be written (1) or not (0). Ask before building a text that is costly.
    pub log_enabled: Option<unsafe extern "C" fn(ctx: *mut c_void, level: u32, target: Bytes) -> u32>,
}

layout! { HOST: Host = "wafka_host", 32 {
    struct_size 0, abi_major 4, abi_minor 6, ctx 8, log 16, log_enabled 24
} }

// SAFETY: the host's `ctx` is only ever used by the host's own functions, which may be called from any thread.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}
