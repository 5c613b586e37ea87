//! The one suite that every storage backend passes. A backend's tests call [`run`]; it panics where the backend does not
//! keep the contract of [`wafka_core::storage`]. One that several servers reach passes [`ownership::run`] too.

mod faults;
mod logs;
mod many;
pub mod ownership;
mod reads;
mod rewrites;
mod rewrites_beside;

use wafka_core::storage::{
    Batch, Chunk, Cursor, LogName, LogReader, LogSlot, OpenRequest, Opened, Shard, Storage,
};
use wafka_core::{BrokerId, Database, Offset};

use crate::line;

/// What a backend can be made to fail at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failing {
    /// The next append to the log: the device refuses, is full, the connection broke, …
    Append,
    /// The next sync that covers the log.
    Sync,
}

/// How the suite gets at a backend.
pub trait Harness {
    /// The backend, freshly opened.
    fn storage(&self) -> &dyn Storage;

    /// Opens the backend again on what it kept. Every shard and reader was dropped before; nothing else happened to it.
    fn restart(&mut self);

    /// Whether the backend can rewrite logs.
    fn rewrites(&self) -> bool {
        true
    }

    /// By how many hundredths [`wafka_core::storage::LogReader::size_bytes`] may differ, in a log that was opened again, from
    /// the bytes of its lines: where these are not counted by themselves, it is an estimate.
    fn size_percent(&self) -> u64 {
        0
    }

    /// Whether [`Harness::fail_next`] does what it says. Without it the cases about faults are passed over: a backend
    /// whose writes can fail should have a way to make them.
    fn faults(&self) -> bool {
        false
    }

    /// Makes the backend itself fail, once, as `failing` says; all else goes well. Other logs of the same shard may fail
    /// with it.
    fn fail_next(&mut self, failing: Failing, log: &LogName) {
        let _ = (failing, log);
    }
}

/// Makes a backend without logs.
pub type Make<'a> = &'a mut dyn FnMut() -> Box<dyn Harness>;

/// Runs the suite; each case has a fresh backend.
///
/// # Panics
/// When the backend breaks the contract.
pub fn run(make: Make<'_>) {
    for case in logs::CASES.iter().chain(many::CASES).chain(reads::CASES) {
        case(&mut *make());
    }
    if make().rewrites() {
        for case in rewrites::CASES.iter().chain(rewrites_beside::CASES) {
            case(&mut *make());
        }
    }
    if make().faults() {
        for case in faults::CASES {
            case(&mut *make());
        }
    }
}

type Case = fn(&mut dyn Harness);

/// A sealed line with this offset and a payload of `payload_len` bytes, newline included.
#[must_use]
pub fn line_of(offset: Offset, payload_len: usize) -> Vec<u8> {
    let mut out = format!("{{\"log\":\"conformance\",\"offset\":{offset},\"payload\":\"").into_bytes();
    out.extend((0..payload_len).map(|at| b'a' + ((at as u64 ^ offset) % 26) as u8));
    out.push(b'"');
    line::seal(&mut out, 0);
    out
}

/// The lines of these offsets, each with a payload whose length follows from its offset.
#[must_use]
pub fn lines_of(offsets: impl IntoIterator<Item = Offset>) -> Vec<u8> {
    offsets.into_iter().flat_map(|offset| line_of(offset, (offset * 37 % 200) as usize)).collect()
}

fn log(stem: &str) -> LogName {
    LogName::new(Database(0), stem)
}

fn shard(harness: &dyn Harness) -> Box<dyn Shard> {
    harness.storage().shard(BrokerId(1)).expect("a shard")
}

const CREATE: OpenRequest = OpenRequest { create: true, known: None };
const EXISTING: OpenRequest = OpenRequest { create: false, known: None };

/// Opens a log that need not exist.
fn create(shard: &mut dyn Shard, log: &LogName) -> Opened {
    let opened = shard.open(log, CREATE).expect("open");
    assert!(opened.damage.is_empty() && opened.torn.is_none(), "{:?} {:?}", opened.damage, opened.torn);
    assert!(opened.end.generation > 0 && opened.reader.generation() > 0);
    if let Some(said) = opened.lines {
        let lines = read_all(&*opened.reader, opened.first, 1 << 20);
        assert_eq!(
            said,
            memchr::memchr_iter(b'\n', &lines).count() as u64,
            "the lines that {log} is said to have"
        );
    }
    opened
}

/// Appends the lines of an offset range and returns where they begin.
fn append(shard: &mut dyn Shard, slot: LogSlot, from: Offset, to: Offset) -> Cursor {
    let bytes = lines_of(from..to);
    let batch = Batch { first_offset: from, lines: to - from, bytes: &bytes };
    shard.append(slot, batch).expect("append")
}

fn sync(shard: &mut dyn Shard) {
    let failures = shard.begin_sync().wait();
    assert!(failures.is_empty(), "{failures:?}");
    shard.finish_sync(&failures);
}

fn read(reader: &dyn LogReader, from: Cursor, bytes_max: usize) -> (Vec<u8>, Chunk) {
    let mut bytes = b"before".to_vec();
    let chunk = reader.read(from, bytes_max, &mut bytes).expect("read");
    assert!(bytes.starts_with(b"before"), "what the buffer held was overwritten");
    let bytes = bytes.split_off(6);
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').filter_map(line::offset_of);
    if let Some(first) = lines.next() {
        let last = lines.next_back().unwrap_or(first);
        assert_eq!((chunk.start.offset, chunk.next.offset), (first, last + 1), "the lines are other ones");
    }
    (bytes, chunk)
}

/// Reads everything from `from` on in chunks, each from where the last one ended.
fn read_all(reader: &dyn LogReader, from: Cursor, bytes_max: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut cursor = from;
    loop {
        let (bytes, chunk) = read(reader, cursor, bytes_max);
        if bytes.is_empty() {
            assert_eq!(chunk.start, chunk.next);
            return all;
        }
        assert!(bytes.ends_with(b"\n") && chunk.next.offset > chunk.start.offset);
        all.extend(bytes);
        cursor = chunk.next;
    }
}

#[track_caller]
fn assert_lines(found: &[u8], expected: &[u8]) {
    assert_eq!(String::from_utf8_lossy(found), String::from_utf8_lossy(expected));
}
