//! The server's side of plugins: finds their files, loads them, and makes the core's traits of what they export.
//!
//! A plugin runs in the server's process and can do whatever the server can; this crate guards against mistakes, not
//! against malice. What a plugin returns is checked; what it says is shown as the text it is; a panic that it reports, or
//! an answer that cannot be, is an error that names the plugin's file. Nobody can guard against a plugin that writes where
//! it must not, or lets a panic out.

#![allow(unsafe_code, reason = "this crate calls functions that the compiler knows nothing of")]

mod elf;
mod error;
mod failure;
pub mod file;
mod host;
mod load;
mod manifest;
mod partitioner;
mod storage;
mod text;

pub use error::PluginError;
pub use file::{FileError, PluginFile};
pub use load::{Plugin, PluginInfo, PluginKind, load};
