//! Much at once: batches that are written past the page cache, and what is written back before it is synced.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};

use wafka_core::Offset;
use wafka_core::storage::SyncFailure;

use super::*;

/// Lines of about so many bytes in all, from an offset on.
fn batch(first: Offset, bytes: usize) -> (Vec<u8>, u64) {
    let (mut batch, mut lines) = (Vec::new(), 0);
    while batch.len() < bytes {
        batch.extend_from_slice(&line_of(first + lines, (lines as usize * 37) % 300));
        lines += 1;
    }
    (batch, lines)
}

/// Appends batches of these sizes to a new log and syncs each; returns what the log should hold.
fn fill(shard: &mut dyn Shard, log: &LogName, sizes: &[usize]) -> (Vec<u8>, Arc<dyn LogReader>) {
    let opened = shard.open(log, OpenRequest { create: true, known: None }).unwrap();
    let (mut expected, mut offset) = (Vec::new(), 0);
    for bytes in sizes {
        let (bytes, lines) = batch(offset, *bytes);
        shard.append(opened.slot, Batch { first_offset: offset, lines, bytes: &bytes }).unwrap();
        assert!(shard.begin_sync().wait().is_empty());
        expected.extend_from_slice(&bytes);
        offset += lines;
        assert_eq!(all(&*opened.reader), expected);
    }
    (expected, opened.reader)
}

const SIZES: [usize; 7] = [70_000, 100, 300_000, 65_536, 1, 2_500_000, 90_000];

fn bench(fs: &SimFs, synced_first: bool) -> (TextStorage, Box<dyn Shard>) {
    let options = TextOptions { inline: true, ..TextOptions::default() };
    let storage = TextStorage::open(Arc::new(fs.clone()), Path::new("data"), options).unwrap();
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    shard.set_synced_first(synced_first);
    (storage, shard)
}

/// On the operating system's files.
fn on_disk() -> (tempfile::TempDir, TextStorage, Box<dyn Shard>) {
    let temporary = tempfile::tempdir().unwrap();
    let storage = TextStorage::open(Arc::new(StdFs), temporary.path(), TextOptions::default()).unwrap();
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    shard.set_synced_first(true);
    (temporary, storage, shard)
}

#[test]
fn of_large_batches_whole_blocks_go_past_the_page_cache() {
    let fs = SimFs::new();
    fs.allow_direct(true);
    let (_storage, mut shard) = bench(&fs, true);
    let (expected, _) = fill(&mut *shard, &name("log"), &SIZES);
    let direct = fs.bytes_written_directly();
    // Small batches go with the commit journal, whose records are written past the page cache, too.
    assert!(direct > 2_900_000 && direct.is_multiple_of(4096), "{direct}");
    // Who reads the file meanwhile may have the page in the cache that it ends in.
    assert!(!fs.was_overwritten_directly(&path("log")));
    drop(shard);
    assert_eq!(fs.crash(3).content(&path("log")).unwrap(), expected);
}

#[test]
fn batches_that_no_reply_waits_for_go_through_the_page_cache() {
    let fs = SimFs::new();
    fs.allow_direct(true);
    let (_storage, mut shard) = bench(&fs, false);
    fill(&mut *shard, &name("log"), &[300_000, 300_000]);
    assert_eq!(fs.bytes_written_directly(), 0);
}

#[test]
fn a_file_system_that_finds_out_late_gets_the_rest_the_other_way() {
    for short in [0, 512, 5000, 8192] {
        let fs = SimFs::new();
        fs.allow_direct(true);
        let (_storage, mut shard) = bench(&fs, true);
        let fault = |kind| Fault {
            operation: Operation::Write,
            path_contains: "log.txt".into(),
            skip: 0,
            times: 1,
            kind,
        };
        if short > 0 {
            fs.inject(fault(FaultKind::ShortWrite(short)));
        } else {
            fs.inject(fault(FaultKind::Errno(22)));
        }
        let (expected, _) = fill(&mut *shard, &name("log"), &SIZES[..3]);
        assert!(!fs.was_overwritten_directly(&path("log")), "{short}");
        drop(shard);
        assert_eq!(fs.crash(5).content(&path("log")).unwrap(), expected, "{short}");
    }
}

#[test]
fn a_direct_write_that_fails_takes_the_log_offline_with_nothing_of_it_seen() {
    let fs = SimFs::new();
    fs.allow_direct(true);
    let (_storage, mut shard) = bench(&fs, true);
    let opened = shard.open(&name("log"), OpenRequest { create: true, known: None }).unwrap();
    let (bytes, lines) = batch(0, 200_000);
    let whole = Batch { first_offset: 0, lines, bytes: &bytes };
    fs.inject(Fault {
        operation: Operation::Write,
        path_contains: "log.txt".into(),
        skip: 0,
        times: 1,
        kind: EIO,
    });
    assert!(matches!(shard.append(opened.slot, whole), Err(StorageError::Io { operation: "append", .. })));
    assert!(all(&*opened.reader).is_empty());
    assert!(matches!(shard.append(opened.slot, whole), Err(StorageError::Poisoned { .. })));
    shard.reopen(opened.slot, opened.end).unwrap();
    shard.append(opened.slot, whole).unwrap();
    assert!(shard.begin_sync().wait().is_empty());
    assert_eq!(all(&*opened.reader), bytes);
}

#[test]
fn a_log_that_is_closed_lets_its_file_go() {
    let fs = SimFs::new();
    fs.allow_direct(true);
    let (_storage, mut shard) = bench(&fs, true);
    fill(&mut *shard, &name("log"), &SIZES[..1]);
    assert_eq!(fs.files_open(), 2);
    shard.close(LogSlot(0));
    // Until the next one begins, the last sync is remembered with its file.
    assert_eq!(fs.files_open(), 1);
}

#[test]
fn the_operating_systems_files_are_the_same() {
    let (temporary, _storage, mut shard) = on_disk();
    let (expected, reader) = fill(&mut *shard, &name("log"), &SIZES);
    assert_eq!(std::fs::read(temporary.path().join("log.txt")).unwrap(), expected);
    assert_eq!(all(&*reader), expected);
}

struct AtEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// What `tail -f` and `grep` of a live log are shown are its lines, whatever moment they read at.
#[test]
fn who_reads_a_file_while_it_is_written_sees_its_bytes() {
    let (temporary, _storage, mut shard) = on_disk();
    let opened = shard.open(&name("log"), OpenRequest { create: true, known: None }).unwrap();
    let path = temporary.path().join("log.txt");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut file = std::fs::File::open(&path).unwrap();
            let mut seen = Vec::new();
            while !over.load(Ordering::SeqCst) {
                let from = seen.len();
                file.read_to_end(&mut seen).unwrap();
                assert_eq!(seen[from..].iter().position(|byte| *byte == 0), None, "after byte {from}");
            }
            file.read_to_end(&mut seen).unwrap();
            seen
        });
        // Also when this fails.
        let ending = AtEnd(|| over.store(true, Ordering::SeqCst));
        let (mut offset, mut written) = (0, Vec::new());
        for round in 0..60 {
            let (bytes, lines) = batch(offset, 66_000 + round * 1_237);
            shard.append(opened.slot, Batch { first_offset: offset, lines, bytes: &bytes }).unwrap();
            assert!(shard.begin_sync().wait().is_empty());
            offset += lines;
            written.extend_from_slice(&bytes);
        }
        drop(ending);
        assert!(reader.join().unwrap() == written);
    });
}

#[test]
fn what_much_is_written_back_before_the_sync_may_fail_like_it() {
    let fs = SimFs::new();
    let (_storage, mut shard) = bench(&fs, false);
    let opened = shard.open(&name("log"), OpenRequest { create: true, known: None }).unwrap();
    let (bytes, lines) = batch(0, 2_500_000);
    shard.append(opened.slot, Batch { first_offset: 0, lines, bytes: &bytes }).unwrap();
    let operation = Operation::WriteBack;
    fs.inject(Fault { operation, path_contains: "log.txt".into(), skip: 0, times: 1, kind: EIO });
    let failures = shard.begin_sync().wait();
    let failed = |failures: &[SyncFailure]| failures.iter().any(|failure| failure.slot == opened.slot);
    assert!(failed(&failures));
    shard.finish_sync(&failures);
    // The next sync does not make it good: the kernel may have dropped those pages.
    assert!(failed(&shard.begin_sync().wait()));
    let end = Cursor { offset: lines, position: bytes.len() as u64, ..opened.end };
    shard.reopen(opened.slot, end).unwrap();
    assert_eq!(all(&*opened.reader), bytes);
    drop(shard);
    assert_eq!(fs.crash(1).content(&path("log")).unwrap(), bytes);
}

#[test]
fn a_little_is_synced_without_further_ado() {
    let fs = SimFs::new();
    let (_storage, mut shard) = bench(&fs, false);
    fill(&mut *shard, &name("log"), &[1_000_000, 2_000_000]);
    assert_eq!(fs.count(Operation::WriteBack), 1);
}

#[test]
fn what_was_written_directly_is_not_read_again_for_the_few_lines_of_another_log() {
    let fs = SimFs::new();
    fs.allow_direct(true);
    let (_storage, mut shard) = bench(&fs, true);
    let request = || OpenRequest { create: true, known: None };
    let large = shard.open(&name("large"), request()).unwrap();
    let small = shard.open(&name("small"), request()).unwrap();
    // The commit journal is there.
    let (bytes, lines) = batch(0, 100);
    shard.append(small.slot, Batch { first_offset: 0, lines, bytes: &bytes }).unwrap();
    assert!(shard.begin_sync().wait().is_empty());
    let (more, more_lines) = batch(lines, 100);
    let (much, much_lines) = batch(0, 500_000);
    shard.append(large.slot, Batch { first_offset: 0, lines: much_lines, bytes: &much }).unwrap();
    shard.append(small.slot, Batch { first_offset: lines, lines: more_lines, bytes: &more }).unwrap();
    let read = fs.bytes_read();
    assert!(shard.begin_sync().wait().is_empty());
    assert_eq!(fs.bytes_read(), read);
    drop(shard);
    let fs = fs.crash(11);
    assert_eq!(fs.content(&path("large")).unwrap(), much);
    let (_storage, mut shard) = bench(&fs, true);
    let small = shard.open(&name("small"), OpenRequest { create: false, known: None }).unwrap();
    assert_eq!(all(&*small.reader), [bytes, more].concat());
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_whose_name_was_given_to_another_gets_all_its_lines() {
    let (temporary, _storage, mut shard) = on_disk();
    let opened = shard.open(&name("log"), OpenRequest { create: true, known: None }).unwrap();
    let path = temporary.path().join("log.txt");
    std::fs::rename(&path, temporary.path().join("moved")).unwrap();
    std::fs::write(&path, b"somebody else's").unwrap();
    let (bytes, lines) = batch(0, 200_000);
    shard.append(opened.slot, Batch { first_offset: 0, lines, bytes: &bytes }).unwrap();
    assert!(shard.begin_sync().wait().is_empty());
    assert_eq!(std::fs::read(temporary.path().join("moved")).unwrap(), bytes);
    assert_eq!(std::fs::read(&path).unwrap(), b"somebody else's");
}
