//! Plugins for Wafka in safe Rust: implement a trait, add one macro line, build, and
//! name the library in the server's configuration.
//!
//! A plugin is a *partitioning strategy* (which partition of its topic an event goes to) or a *storage backend*. This
//! page is the tutorial for the former; that for the latter is in [`storage`].
//!
//! # A strategy in twenty lines
//!
//! `Cargo.toml` asks for a C library (`cdylib`), and for a Rust one (`rlib`), so that tests can use the crate too:
//!
//! ```toml
//! [package]
//! name = "wafka-partitioner-first-letter"
//! version = "1.0.0"
//! edition = "2024"
//! description = "Routes by the first letter of a field"
//!
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//!
//! [dependencies]
//! serde = { version = "1", features = ["derive"] }
//! wafka-plugin-sdk = { path = "…/crates/wafka-plugin-sdk" }
//! ```
//!
//! `src/lib.rs` is the strategy:
//!
//! ```
//! use wafka_plugin_sdk::{
//!     Error, Event, FieldName, OptionsError, Partitioner, Route, Topic, export_partitioner,
//! };
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! pub struct Options {
//!     /// The field to route by.
//!     partition_key: FieldName,
//! }
//!
//! pub struct FirstLetter {
//!     field: FieldName,
//! }
//!
//! impl Partitioner for FirstLetter {
//!     type Options = Options;
//!
//!     fn new(options: Options, _topic: &Topic<'_>) -> Result<Self, OptionsError> {
//!         Ok(FirstLetter { field: options.partition_key })
//!     }
//!
//!     fn route(&mut self, event: &Event<'_>) -> Result<Route, Error> {
//!         let Some(value) = event.get(self.field.as_bytes()) else { return Ok(Route::Unkeyed) };
//!         let letter = value.first().copied().ok_or("the field is empty")?;
//!         Ok(Route::Partition(u16::from(letter) % event.partitions()))
//!     }
//! }
//!
//! export_partitioner!(FirstLetter, name = "first-letter", route_version = 1);
//! #
//! # fn main() {
//! use wafka_plugin_sdk::testing::strategy;
//!
//! let mut first_letter = strategy::<FirstLetter>(r#"{"partition_key":"truck"}"#, 4).unwrap();
//! let route = first_letter.route(&[("truck", "anna")]).unwrap();
//! assert_eq!(route, Route::Partition(1), "97 modulo 4");
//!
//! let refused = strategy::<FirstLetter>(r#"{"partition_kex":"truck"}"#, 4).err().unwrap();
//! assert_eq!(refused.option(), "partition_kex");
//! let refused = strategy::<FirstLetter>(r#"{"partition_key":""}"#, 4).err().unwrap();
//! assert_eq!(refused.option(), "partition_key");
//! # }
//! ```
//!
//! The tests at its end are how one tests a strategy without a server: [`testing`].
//!
//! # Use it
//!
//! `cargo build --release` makes `target/release/libwafka_partitioner_first_letter.so`. The server's configuration names it,
//! and topics use it by the name that the macro was given; the keys of a topic's table that the server does not know are
//! the strategy's options:
//!
//! ```toml
//! [[plugins]]
//! path = "/usr/lib/wafka/libwafka_partitioner_first_letter.so"
//!
//! [topics.deliveries]
//! partitioner = "first-letter"
//! partition_key = "truck"
//! ```
//!
//! or `TOPIC CREATE deliveries PARTITIONER first-letter OPTION partition_key truck`. `PLUGIN LIST` shows what is loaded.
//!
//! # What to know
//!
//! * **One instance for each topic.** [`Partitioner::new`] is called when a topic is created, opened or altered, and once
//!   more to see whether the options are right. [`Partitioner::route`] is called for every event of the topic, in the order
//!   of their ids, by one thread at a time, which serves connections: it must not block, and should take nanoseconds. A route
//!   that takes longer than a tenth of a second may be noticed, and from two tenths on it is: then it is counted, and
//!   logged, at most every ten seconds for one topic. One that hangs takes that thread's connections with it, and the topic takes no more events but those that
//!   name their partition; the rest of the server goes on.
//! * **The route is for ever.** An event stays where it is put. Change `route_version` whenever the strategy would put the
//!   same event elsewhere: topics made with another version are then read-only, instead of silently split in two.
//! * **Options** are deserialised by serde from the topic's table; say `deny_unknown_fields`, so that a misspelt key is an
//!   error. The error names the option and says what was expected, as [`OptionsError`] does.
//! * **Errors.** An [`Error`] refuses the one event: its `XADD` is answered with the text and the name of the plugin's file.
//! * **Panics** are caught where the plugin is called, logged with their place, and answered as errors. An instance
//!   that panicked is not called again: its topic is read-only until `TOPIC ALTER` or the next start makes the strategy
//!   anew. Plugins are
//!   built with `panic = "unwind"`, which is the default; with `panic = "abort"` they do not compile.
//! * **Logging.** Use the [`log`] crate: `log::info!("…")` goes to the server's log, with the level and target it has, and is
//!   filtered there (`RUST_LOG`-like, by the crate's name). Whether a line is wanted is asked of the server each time, which costs
//!   some hundred nanoseconds even when it is not: log nothing in `route` that is not rare, and let the
//!   features `release_max_level_*` of [`log`] take out what your dependencies trace.
//! * **Versions.** The server refuses a plugin of another ABI major; the plugin's own version is that of its `Cargo.toml`.
//! * **Trust.** A plugin runs within the server, with all its rights. The server loads no file that others may write, and
//!   only those that its configuration names. What your library is linked with in turn is found by the dynamic linker, and
//!   not checked: link statically what you need, or keep it beside the plugin (`$ORIGIN`).
//!
//! The boundary beneath all this is `docs/plugin-abi.md`.

#![allow(unsafe_code, reason = "this crate is called by a host that the compiler knows nothing of")]

mod entry;
mod fail;
mod glue;
mod host;
mod options;
mod partitioner;
pub mod storage;
pub mod testing;

pub use log;
pub use options::{FieldName, OptionsError};
pub use partitioner::{Error, Event, Field, Partitioner, Topic};
pub use wafka_core::partitioner::Route;

/// What the macros expand to; no part of what authors use.
#[doc(hidden)]
pub mod private {
    pub use crate::entry::{enter, partitioner_manifest, storage_manifest};
    pub use crate::glue::partitioner_vtable;
    pub use crate::storage::glue as storage;
    pub use wafka_plugin_abi::{ErrorOut, Host, Manifest, PartitionerVtable, StorageConfig, StorageVtable};
}
