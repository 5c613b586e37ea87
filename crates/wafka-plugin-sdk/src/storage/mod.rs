//! Storage backends in safe Rust: implement the server's own storage traits, add one macro line, build, and name the
//! library in the server's configuration.
//!
//! Everything durable in Wafka is a *log of lines*: the partitions of topics, their journals, the catalog. A backend
//! stores logs. It knows offsets and bytes, and nothing of events, groups or transactions: these work the same on
//! every backend.
//!
//! # The traits
//!
//! | trait | what it is | used by |
//! |---|---|---|
//! | [`Storage`] | the backend: lists, makes and deletes logs, makes shards | any threads at once |
//! | [`Shard`] | the logs that one broker writes, each in a *slot* | one thread at a time |
//! | [`LogReader`] | reads one log, while it is written and rewritten | any threads at once |
//! | [`PendingSync`] | a sync under way | one thread, which may be another than the shard's |
//! | [`Rewrite`] | a log being written anew without what was trimmed or deleted | the same |
//! | [`Ownership`] | says which of several servers may write, where an engine is reached by several | any threads at once |
//!
//! What each function must do is said there, above all in [`wafka_core::storage`]. The rules that backends break most
//! often:
//!
//! * A batch that does not begin at the log's end is [`StorageError::Fenced`]: offsets never repeat, and are never given out
//!   twice, whatever was trimmed. That is why a rewrite always keeps the last line.
//! * After a failed append or sync the log is *poisoned*: it refuses appends ([`StorageError::Poisoned`]) until
//!   [`Shard::reopen`] has brought it back to an end known to be durable. A sync that failed fails again until then.
//! * What [`PendingSync::wait`] does not name is durable: it survives the loss of power. A reply means it is on disk.
//! * A read gives whole lines from the first whose offset is at least the one asked for, as many as fit, at least one when
//!   there is one, and nothing only at the log's end. [`Chunk::next`] has the offset right behind the last line given.
//!
//! # An engine that several servers reach
//!
//! What the lock of a data directory does elsewhere, an [`Ownership`] does there: a lease that one server has at a time, and an
//! *epoch* that grows with each of them. [`Storage::ownership`] gives it; the server asks for it once, right after it opened the
//! backend, and for nothing else before it has acquired the lease. Then it renews it, from a thread that does nothing else, while other
//! threads append and sync: [`Ownership::renew`] must not wait for these. A backend without one says nothing.
//!
//! The lease alone is not enough, as a server may sleep between looking at its clock and writing. So mark each log with the
//! epoch when it is opened, in a way that makes the engine itself refuse whoever opened it in an earlier one; that server gets
//! [`StorageError::NotOwner`] from then on, from whatever it asks for. `wafka_storage::conformance::ownership::run` tries all of it.
//!
//! # A complete backend
//!
//! This one keeps lines in memory and cannot rewrite. It is `examples/storage_vec.rs`, and passes the same suite as the
//! server's own backends:
//!
//! ```ignore
#![doc = include_str!("../../examples/storage_vec.rs")]
//! ```
//!
//! [`export_storage!`](crate::export_storage) takes the backend's name and a function that opens it: of the server's
//! data directory and the options, which serde reads from the backend's table:
//!
//! ```toml
//! [[plugins]]
//! path = "/usr/lib/wafka/libstorage_vec.so"
//!
//! [storage]
//! backend = "vec"          # for all topics; or `backend = "vec"` in a topic's table
//!
//! [backends.vec]
//! lines_max = 1000000
//! ```
//!
//! # Test it
//!
//! `wafka_storage::conformance::run` is the suite that `text` and `memory` pass. It takes a harness that opens the backend,
//! opens it again, and, where the backend has a way to, makes it fail. A backend that passes holds everything Wafka has.
//!
//! # What to know
//!
//! * **Errors** carry what people need: [`StorageError::Io`] with the path of the file, if it is another than the log's. The
//!   server adds the backend, its plugin's file and the log.
//! * **Panics** are caught where the plugin is called. What it happened to, a shard, a reader, the whole backend, is used no
//!   more until the server starts again: do not rely on it.
//! * **The server checks** what a backend says, as far as it can: where batches begin, slots, names, lines. A backend
//!   that says what cannot be is answered with an error that names its file, and its log is reopened.
//! * **Nothing crosses but bytes**: the plugin's allocations stay its own, lines are copied into the server's buffers.
//! * **Threads and tasks** of the backend are its own matter; its functions return when they are done.

mod fail;
#[doc(hidden)]
pub mod glue;
mod handles;
mod log_glue;
mod ownership_glue;
mod read_glue;
mod rewrite_glue;

pub use wafka_core::storage::{
    Acquired, Batch, CaughtUp, Chunk, Cursor, Damage, Holder, KeptLine, Lease, LogName, LogReader, LogSlot,
    OpenRequest, Opened, Owner, Ownership, PendingSync, Renewed, Rewrite, RewritePlan, Rewritten, Shard,
    Storage, StorageError, SyncFailure, TornTail,
};
pub use wafka_core::{BrokerId, Database, Offset};

/// Exports a storage backend as a plugin: once in a crate, with the name that configuration will use and a function
/// `fn(&Path, Options) -> Result<impl Storage, StorageError>` that opens it, in the server's data directory. `Options` is any
/// type that serde deserialises; with `#[serde(deny_unknown_fields)]`, a key that is not one of its fields is refused. The
/// plugin's version and description are those of `Cargo.toml`.
///
/// A crate that is linked into a program together with another plugin (as a Rust library, `rlib`) clashes with it: each
/// exports the one function that the host looks for.
#[macro_export]
macro_rules! export_storage {
    (name = $name:expr, open = $open:path $(,)?) => {
        $crate::refuse_panic_abort!();
        const _: () = {
            // The names of items are seen by `$open`, too.
            unsafe extern "C" fn wafka_storage_open(
                config: *const $crate::private::StorageConfig,
                storage: *mut *mut ::core::ffi::c_void,
                error: *mut $crate::private::ErrorOut,
            ) -> u32 {
                // SAFETY: the host promises it.
                unsafe { $crate::private::storage::open(config, storage, error, $open) }
            }

            unsafe extern "C" fn wafka_storage_check_options(
                config: *const $crate::private::StorageConfig,
                error: *mut $crate::private::ErrorOut,
            ) -> u32 {
                // SAFETY: the host promises it.
                unsafe { $crate::private::storage::check(config, error, $open) }
            }

            static FUNCTIONS: $crate::private::StorageVtable =
                $crate::private::storage::vtable(wafka_storage_open, wafka_storage_check_options);
            static MANIFEST: $crate::private::Manifest = $crate::private::storage_manifest(
                $name,
                env!("CARGO_PKG_VERSION"),
                env!("CARGO_PKG_DESCRIPTION"),
                &FUNCTIONS,
            );
            $crate::export_manifest!(MANIFEST);
        };
    };
}
