//! The server's side of plugins: finds their files, loads them, and makes the core's traits of what they export.

pub mod file;

pub use file::{FileError, PluginFile};
