//! Storage backends. What each function must do is said in `wafka_core::storage`, whose traits these functions mirror;
//! here is how it crosses the boundary.

pub(crate) mod ownership;
pub(crate) mod types;

use core::ffi::c_void;

use crate::error::ErrorOut;
use crate::layout::layout;

pub use ownership::{Holder, HolderSink, Lease, Owner, lease};
pub use types::{
    Appended, Batch, ByteSink, Chunk, Cursor, DamageSink, FailureSink, KeptSink, LogFailure, LogName,
    NameSink, OpenRequest, Opened, RewritePlan, Rewritten, StorageConfig,
};

/// What `catch_up` puts into `due_in_nanos` when nothing is put off.
pub const NOTHING_DUE: u64 = u64::MAX;

/// The functions of a backend, in terms of six kinds of handle:
///
/// * a *storage* (`open` … `close`) and a *reader* (`log_open` … `reader_release`) are used by any threads at once;
/// * a *shard* (`shard` … `shard_close`) by one thread at a time;
/// * a *pending sync* (`begin_sync` … `sync_wait`) and a *rewrite* (`begin_rewrite` … `finish_rewrite` or
///   `rewrite_abandon`) by one thread at a time, which may be another than the shard's, while the shard is used;
/// * an *ownership* (`ownership` … `ownership_close`) by any threads at once: `renew` is called while other threads append
///   and sync, however long these take, and returns in bounded time, well below the lease's time to live.
///
/// Everything made from a storage is released before the storage is closed, and pending syncs and rewrites before
/// their shard; a reader may outlive the shard that opened it. Functions that return a `u32` return a
/// [`status`](crate::status), but for `reader_generation` and `is_durable`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StorageVtable {
    /// The size of this struct as the plugin knows it.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Opens the backend. The handle goes into `storage`.
    pub open: Option<
        unsafe extern "C" fn(
            config: *const StorageConfig,
            storage: *mut *mut c_void,
            error: *mut ErrorOut,
        ) -> u32,
    >,
    /// Closes the backend; releases the handle.
    pub close: Option<unsafe extern "C" fn(storage: *mut c_void)>,
    /// Gives the names of all logs to `names`, in no order.
    pub list: Option<
        unsafe extern "C" fn(storage: *mut c_void, names: *const NameSink, error: *mut ErrorOut) -> u32,
    >,
    /// Makes logs, durably and all at one cost. One that exists already stays as it is.
    pub create: Option<
        unsafe extern "C" fn(
            storage: *mut c_void,
            names: *const LogName,
            count: usize,
            error: *mut ErrorOut,
        ) -> u32,
    >,
    /// Deletes logs that no shard has open, durably. A log that does not exist counts as deleted.
    pub delete_logs: Option<
        unsafe extern "C" fn(
            storage: *mut c_void,
            names: *const LogName,
            count: usize,
            error: *mut ErrorOut,
        ) -> u32,
    >,
    /// Begins the set of logs that `broker` (from 1) writes. The handle goes into `shard`.
    pub shard: Option<
        unsafe extern "C" fn(
            storage: *mut c_void,
            broker: u32,
            shard: *mut *mut c_void,
            error: *mut ErrorOut,
        ) -> u32,
    >,
    /// Ends the set; releases the handle. What was appended and not synced stays appended.
    pub shard_close: Option<unsafe extern "C" fn(shard: *mut c_void)>,
    /// Opens a log for writing and reading, cutting a torn tail. `opened` takes the slot, a reader's handle, and the ends;
    /// `damage` what is damaged.
    pub log_open: Option<
        unsafe extern "C" fn(
            shard: *mut c_void,
            name: *const LogName,
            request: *const OpenRequest,
            opened: *mut Opened,
            damage: *const DamageSink,
            error: *mut ErrorOut,
        ) -> u32,
    >,
    /// Closes a log; its slot may be given out again. Its reader stays until it is released.
    pub log_close: Option<unsafe extern "C" fn(shard: *mut c_void, slot: u32)>,
    /// Appends whole lines at the log's end. `appended` takes where they begin and where the log ends now.
    pub append: Option<
        unsafe extern "C" fn(
            shard: *mut c_void,
            slot: u32,
            batch: *const Batch,
            appended: *mut Appended,
            error: *mut ErrorOut,
        ) -> u32,
    >,
    /// Begins to make everything appended so far durable. The handle goes into `pending`.
    pub begin_sync: Option<
        unsafe extern "C" fn(shard: *mut c_void, pending: *mut *mut c_void, error: *mut ErrorOut) -> u32,
    >,
    /// Waits until everything appended before `begin_sync` is durable, and gives the logs for which it is not to
    /// `failures`. Releases the handle, whatever it returns. With a status other than OK all logs of the shard failed.
    pub sync_wait: Option<
        unsafe extern "C" fn(pending: *mut c_void, failures: *const FailureSink, error: *mut ErrorOut) -> u32,
    >,
    /// Takes note of the outcome of a sync: the logs in `failures` are poisoned.
    pub finish_sync:
        Option<unsafe extern "C" fn(shard: *mut c_void, failures: *const LogFailure, count: usize)>,
    /// Makes a poisoned log writable again: opens it afresh, verifies that it holds everything below `end`, cuts what
    /// stands behind it, syncs.
    pub reopen: Option<
        unsafe extern "C" fn(shard: *mut c_void, slot: u32, end: *const Cursor, error: *mut ErrorOut) -> u32,
    >,
    /// Begins to write the log anew without what `plan` names, below the end at this moment. The handle goes into `rewrite`.
    pub begin_rewrite: Option<
        unsafe extern "C" fn(
            shard: *mut c_void,
            slot: u32,
            plan: *const RewritePlan,
            rewrite: *mut *mut c_void,
            error: *mut ErrorOut,
        ) -> u32,
    >,
    /// Copies what is kept, and gives every line copied to `kept`.
    pub rewrite_run: Option<
        unsafe extern "C" fn(rewrite: *mut c_void, kept: *const KeptSink, error: *mut ErrorOut) -> u32,
    >,
    /// Adds what was appended while the rewrite ran, makes the result durable and puts it in the log's place. Releases the
    /// rewrite's handle, whatever it returns.
    pub finish_rewrite: Option<
        unsafe extern "C" fn(
            shard: *mut c_void,
            rewrite: *mut c_void,
            kept: *const KeptSink,
            rewritten: *mut Rewritten,
            error: *mut ErrorOut,
        ) -> u32,
    >,
    /// Gives a rewrite up; releases the handle. The log is as it was.
    pub rewrite_abandon: Option<unsafe extern "C" fn(rewrite: *mut c_void)>,
    /// Gives whole lines to `bytes`, beginning with the first whose offset is at least `from`'s: at most `bytes_max` bytes in
    /// all, but at least one line when there is one. At the log's end it gives none, and `chunk.next` equals `chunk.start`.
    pub read: Option<
        unsafe extern "C" fn(
            reader: *mut c_void,
            from: *const Cursor,
            bytes_max: usize,
            bytes: *const ByteSink,
            chunk: *mut Chunk,
            error: *mut ErrorOut,
        ) -> u32,
    >,
    /// The generation of the positions that the log has now, above 0.
    pub reader_generation: Option<unsafe extern "C" fn(reader: *mut c_void) -> u32>,
    /// Bytes the log takes in the backend.
    pub reader_size: Option<unsafe extern "C" fn(reader: *mut c_void) -> u64>,
    /// Releases the reader's handle.
    pub reader_release: Option<unsafe extern "C" fn(reader: *mut c_void)>,
    /// As `read`, but only if it need not wait for a disk or a network; else [`NOT_READY`](crate::status::NOT_READY),
    /// and no bytes. May be absent: then nothing is ever ready.
    pub read_ready: Option<
        unsafe extern "C" fn(
            reader: *mut c_void,
            from: *const Cursor,
            bytes_max: usize,
            bytes: *const ByteSink,
            chunk: *mut Chunk,
            error: *mut ErrorOut,
        ) -> u32,
    >,
    /// Says whether (1) what is appended from now on is told to nobody before a sync of it succeeded, or not (0). May be
    /// absent.
    pub set_synced_first: Option<unsafe extern "C" fn(shard: *mut c_void, synced_first: u32)>,
    /// Does what was put off and is due, or with `all` = 1 everything. `due_in_nanos` takes after how many nanoseconds there is
    /// something to do again, or [`NOTHING_DUE`]; logs that failed go to `failures`. May be absent: then nothing is put off.
    pub catch_up: Option<
        unsafe extern "C" fn(
            shard: *mut c_void,
            all: u32,
            due_in_nanos: *mut u64,
            failures: *const FailureSink,
            error: *mut ErrorOut,
        ) -> u32,
    >,
    /// Whether what was synced is still there when the backend is opened again (1), or it is for data to throw away (0). May
    /// be absent: then it is there.
    pub is_durable: Option<unsafe extern "C" fn(storage: *mut c_void) -> u32>,
    /// Checks options, as `open` does, without opening anything. May be absent: then `open` has the only word.
    pub check_options:
        Option<unsafe extern "C" fn(config: *const StorageConfig, error: *mut ErrorOut) -> u32>,
    /// Gives who may write what the storage holds, where several servers reach it: the handle goes into `ownership`. Called once,
    /// when the storage has been opened; from then on nothing is changed before `acquire` has said
    /// [`lease::OURS`]. [`UNSUPPORTED`](crate::status::UNSUPPORTED) where the lock of the data directory is enough. May be absent:
    /// then it is. Since 1.1, as are those that follow.
    pub ownership: Option<
        unsafe extern "C" fn(storage: *mut c_void, ownership: *mut *mut c_void, error: *mut ErrorOut) -> u32,
    >,
    /// Asks for the lease, and does not wait for whoever has it. `lease` takes what came of it; with [`lease::OTHERS`],
    /// `holder` takes whose it is. After a failure nobody knows whether it is ours: asking again finds out. This and what
    /// follows must be there where `ownership` is.
    pub acquire: Option<
        unsafe extern "C" fn(
            ownership: *mut c_void,
            owner: *const Owner,
            lease: *mut Lease,
            holder: *const HolderSink,
            error: *mut ErrorOut,
        ) -> u32,
    >,
    /// Prolongs the lease, also one whose time is over, if nobody has had it since. `state` takes one of [`lease`]: with
    /// [`lease::OTHERS`] it is lost for good, and `holder` takes whose it is, as far as is known.
    pub renew: Option<
        unsafe extern "C" fn(
            ownership: *mut c_void,
            state: *mut u32,
            holder: *const HolderSink,
            error: *mut ErrorOut,
        ) -> u32,
    >,
    /// Gives the lease up, so that the next server need not wait for its end. Nothing is written after that.
    pub release: Option<unsafe extern "C" fn(ownership: *mut c_void, error: *mut ErrorOut) -> u32>,
    /// Releases the ownership's handle. The lease is left to end by itself.
    pub ownership_close: Option<unsafe extern "C" fn(ownership: *mut c_void)>,
}

/// A vtable of this many bytes has all that every backend must have, whatever is added.
pub const STORAGE_VTABLE_SIZE_MIN: usize = 184;

layout! { STORAGE_VTABLE: StorageVtable = "wafka_storage_vtable", 264 {
    struct_size 0, reserved 4, open 8, close 16, list 24, create 32, delete_logs 40, shard 48, shard_close 56,
    log_open 64, log_close 72, append 80, begin_sync 88, sync_wait 96, finish_sync 104, reopen 112,
    begin_rewrite 120, rewrite_run 128, finish_rewrite 136, rewrite_abandon 144, read 152,
    reader_generation 160, reader_size 168, reader_release 176, read_ready 184, set_synced_first 192,
    catch_up 200, is_durable 208, check_options 216, ownership 224, acquire 232, renew 240, release 248, ownership_close 256
} }
