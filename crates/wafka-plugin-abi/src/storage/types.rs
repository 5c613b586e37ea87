//! What the functions of a backend take and give.

use core::ffi::c_void;

use crate::bytes::Bytes;
use crate::layout::layout;

/// Names a log.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LogName {
    /// The database it belongs to.
    pub database: u32,
    /// 0.
    pub reserved: u32,
    /// Such as `deliveries-1`: ASCII, safe for a file name, at most 255 bytes.
    pub stem: Bytes,
}

layout! { LOG_NAME: LogName = "wafka_log_name", 24 { database 0, reserved 4, stem 8 } }

/// A place in a log.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    /// The line's offset.
    pub offset: u64,
    /// The byte position of the line's first byte, in a backend that keeps a log as one run of bytes; else 0.
    pub position: u64,
    /// The rewrite of the log that `position` belongs to; 0 = the position is unknown.
    pub generation: u32,
    /// 0.
    pub reserved: u32,
}

layout! { CURSOR: Cursor = "wafka_cursor", 24 { offset 0, position 8, generation 16, reserved 20 } }

/// A run of lines to append.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The offset of the first line; the others follow densely. It must be the log's end.
    pub first_offset: u64,
    /// How many lines there are, at least 1.
    pub lines: u64,
    /// The lines, each ending in a newline.
    pub bytes: Bytes,
}

layout! { BATCH: Batch = "wafka_batch", 32 { first_offset 0, lines 8, bytes 16 } }

/// What became of a batch.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Appended {
    /// Where its first line lies.
    pub start: Cursor,
    /// Where the log ends now: the offset the next line gets.
    pub end_offset: u64,
}

layout! { APPENDED: Appended = "wafka_appended", 32 { start 0, end_offset 24 } }

/// What a backend is opened with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StorageConfig {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// The server's data directory, a path in the file system's own bytes.
    pub data_dir: Bytes,
    /// The options: a JSON object without insignificant blanks, the backend's table in the configuration.
    pub options: Bytes,
}

layout! { STORAGE_CONFIG: StorageConfig = "wafka_storage_config", 40 {
    struct_size 0, reserved 4, data_dir 8, options 24
} }

/// How to open a log.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OpenRequest {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// 1: create the log, durably, when it does not exist. 0: a missing log is an error.
    pub create: u32,
    /// 1: `known` is a line that is known to be whole and synced, so that only what follows is verified.
    pub has_known: u32,
    /// 0.
    pub reserved: u32,
    /// That line; its generation is to be ignored.
    pub known: Cursor,
}

layout! { OPEN_REQUEST: OpenRequest = "wafka_open_request", 40 {
    struct_size 0, create 4, has_known 8, reserved 12, known 16
} }

/// An opened log. It lies in the host's memory, all zeros but for `struct_size`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// The slot that the log has in its shard from now on; no other open log of the shard has it.
    pub slot: u32,
    /// A handle to read with, to be released by `reader_release`.
    pub reader: *mut c_void,
    /// The first line there is; equal to `end` when the log is empty.
    pub first: Cursor,
    /// Where the next line goes.
    pub end: Cursor,
    /// Where the log ends after a torn tail was cut off, in bytes.
    pub torn_position: u64,
    /// How many bytes were cut; 0: there was no torn tail.
    pub torn_bytes: u64,
    /// How many lines there are from `first` to `end`, exactly, when `knows_lines` is 1.
    pub lines: u64,
    /// 1: the backend knows how many lines there are without going through them, and finds single ones by their offsets
    /// fast, so that the log is opened without being read. 0: it is read once where no index of it is there.
    pub knows_lines: u32,
    /// 0.
    pub reserved: u32,
}

layout! { OPENED: Opened = "wafka_opened", 96 {
    struct_size 0, slot 4, reader 8, first 16, end 40, torn_position 64, torn_bytes 72, lines 80, knows_lines 88,
    reserved 92
} }

/// The lines that a read gave.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Chunk {
    /// Where the first of them lies.
    pub start: Cursor,
    /// Where to read on.
    pub next: Cursor,
}

layout! { CHUNK: Chunk = "wafka_chunk", 48 { start 0, next 24 } }

/// What a rewrite leaves out.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RewritePlan {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Every line below this offset goes.
    pub drop_below: u64,
    /// Single offsets that go, ascending.
    pub drop: *const u64,
    /// How many of them there are.
    pub drop_count: usize,
}

layout! { REWRITE_PLAN: RewritePlan = "wafka_rewrite_plan", 32 {
    struct_size 0, reserved 4, drop_below 8, drop 16, drop_count 24
} }

/// A rewrite that has taken its place. It lies in the host's memory, all zeros but for `struct_size`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Rewritten {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// The first line there is now.
    pub first: Cursor,
    /// Where the next line goes.
    pub end: Cursor,
    /// Bytes given back.
    pub bytes_freed: u64,
}

layout! { REWRITTEN: Rewritten = "wafka_rewritten", 64 {
    struct_size 0, reserved 4, first 8, end 32, bytes_freed 56
} }

/// A log that failed, and why.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LogFailure {
    /// The log's slot.
    pub slot: u32,
    /// One of [`status`](crate::status).
    pub status: u32,
    /// As in [`ErrorOut`](crate::ErrorOut).
    pub value: u64,
    /// As in [`ErrorOut`](crate::ErrorOut).
    pub os_error: i32,
    /// 0.
    pub reserved: u32,
    /// Why it failed, UTF-8.
    pub text: Bytes,
}

layout! { LOG_FAILURE: LogFailure = "wafka_log_failure", 40 {
    slot 0, status 4, value 8, os_error 16, reserved 20, text 24
} }

/// Takes names of logs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NameSink {
    /// To be given to the function as it is.
    pub ctx: *mut c_void,
    /// Takes one name.
    pub put: Option<unsafe extern "C" fn(ctx: *mut c_void, name: *const LogName)>,
}

layout! { NAME_SINK: NameSink = "wafka_name_sink", 16 { ctx 0, put 8 } }

/// Takes damage found in a log.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DamageSink {
    /// To be given to the function as it is.
    pub ctx: *mut c_void,
    /// Takes the byte position of the first bad byte, how many there are, and what is wrong with them.
    pub put: Option<unsafe extern "C" fn(ctx: *mut c_void, position: u64, bytes: u64, reason: Bytes)>,
}

layout! { DAMAGE_SINK: DamageSink = "wafka_damage_sink", 16 { ctx 0, put 8 } }

/// Takes logs that failed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FailureSink {
    /// To be given to the function as it is.
    pub ctx: *mut c_void,
    /// Takes one log.
    pub put: Option<unsafe extern "C" fn(ctx: *mut c_void, failure: *const LogFailure)>,
}

layout! { FAILURE_SINK: FailureSink = "wafka_failure_sink", 16 { ctx 0, put 8 } }

/// Takes lines that a rewrite kept.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KeptSink {
    /// To be given to the function as it is.
    pub ctx: *mut c_void,
    /// Takes where the line lies from now on, and the line with its newline.
    pub put: Option<unsafe extern "C" fn(ctx: *mut c_void, cursor: *const Cursor, line: Bytes)>,
}

layout! { KEPT_SINK: KeptSink = "wafka_kept_sink", 16 { ctx 0, put 8 } }

/// Takes lines that were read.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ByteSink {
    /// To be given to the function as it is.
    pub ctx: *mut c_void,
    /// Takes the next bytes; returns 0, or 1 when they are more than was asked for: the plugin then stops.
    pub put: Option<unsafe extern "C" fn(ctx: *mut c_void, bytes: Bytes) -> u32>,
}

layout! { BYTE_SINK: ByteSink = "wafka_byte_sink", 16 { ctx 0, put 8 } }
