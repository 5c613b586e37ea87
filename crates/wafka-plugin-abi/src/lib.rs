//! The C ABI between Wafka and its plugins: `#[repr(C)]` types and constants, and how they are read. Rust programmers use
//! `wafka-plugin-sdk` instead; C programmers include `include/wafka_plugin.h`, which a test compares with this crate.
//! `docs/plugin-abi.md` explains all of it, with the offset of every field.
//!
//! A plugin is a shared library that exports one function, [`ENTRY_SYMBOL`]. It returns a [`Manifest`], which says what the
//! plugin is and points to the functions the host calls: a [`PartitionerVtable`] or a [`StorageVtable`].
//!
//! # Rules for both sides
//!
//! * **Borrowed.** What a pointer among the arguments points to is valid until the call returns, and not longer; whoever
//!   needs it longer copies it. What a manifest points to is valid, and unchanged, for ever: libraries are never unloaded.
//! * **No allocation crosses.** Results go into structs and buffers of the caller, or to a *sink*, a function of the caller
//!   that copies what it is given. A handle (`*mut c_void`) is made by the plugin, opaque to the host, and released by the
//!   function of the plugin that is for it, once.
//! * **Growing.** A struct that may grow begins with `struct_size`, the size its maker knows it to have, and only ever
//!   grows at its end. Nobody reads or writes past it: a field behind it is absent, which means its default.
//! * **Threads.** Each function says which of them may run at once. None of them may unwind: neither a Rust panic nor a C++
//!   exception may leave a function.
//! * **Status.** Functions that can fail return a [`status`]; what there is to say goes into an [`ErrorOut`].

#![no_std]
#![allow(unsafe_code, reason = "this crate describes the boundary where the compiler can check nothing")]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("Wafka's plugin ABI is defined for machines with 64-bit pointers");

mod bytes;
mod error;
pub mod growing;
mod host;
pub mod layout;
mod manifest;
mod partitioner;
mod storage;

pub use bytes::Bytes;
pub use error::{ErrorOut, status};
pub use host::{Host, level};
pub use manifest::{ABI_MAJOR, ABI_MINOR, ENTRY_SYMBOL, Entry, MAGIC, MANIFEST_SIZE_MIN, Manifest, kind};
pub use partitioner::{
    Field, PARTITIONER_VTABLE_SIZE_MIN, PartitionerConfig, PartitionerVtable, ROUTE_REQUEST_SIZE_MIN,
    RouteRequest, route,
};
pub use storage::{
    Appended, Batch, ByteSink, Chunk, Cursor, DamageSink, FailureSink, Holder, HolderSink, KeptSink, Lease,
    LogFailure, LogName, NOTHING_DUE, NameSink, OpenRequest, Opened, Owner, RewritePlan, Rewritten,
    STORAGE_VTABLE_SIZE_MIN, StorageConfig, StorageVtable, lease,
};
