//! Tests of the backend.

pub(crate) mod faults;

mod broken_files;
mod failures;
mod journal;
mod space;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::TempDir;
use wafka_core::storage::{Batch, Cursor, LogName, LogReader, LogSlot, OpenRequest, Opened, Shard, Storage};
use wafka_core::{BrokerId, Database, Offset};
use wafka_storage::conformance::{self, Failing, Harness, lines_of};

use crate::{Options, RedbStorage};

struct InFile {
    dir: TempDir,
    storage: Option<RedbStorage>,
}

impl InFile {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        let storage = Some(open(dir.path()));
        InFile { dir, storage }
    }

    fn storage(&self) -> &RedbStorage {
        self.storage.as_ref().expect("it is open")
    }
}

impl Harness for InFile {
    fn storage(&self) -> &dyn Storage {
        InFile::storage(self)
    }

    fn restart(&mut self) {
        self.storage = None;
        self.storage = Some(open(self.dir.path()));
    }

    fn faults(&self) -> bool {
        true
    }

    fn fail_next(&mut self, failing: Failing, _log: &LogName) {
        let home = self.storage().home();
        // An append touches the disk only where too much is pending.
        let pending_bytes_max = if failing == Failing::Append { 0 } else { usize::MAX };
        home.pending_bytes_max.store(pending_bytes_max, Ordering::Relaxed);
        home.disk.faults.fail_syncs(1);
    }
}

#[test]
fn it_conforms() {
    conformance::run(&mut || Box::new(InFile::new()));
}

/// With so little memory for what is pending every append commits what came before.
#[test]
fn it_conforms_when_appends_commit() {
    let storage = |dir: &Path| {
        let storage = open(dir);
        storage.home().pending_bytes_max.store(1, Ordering::Relaxed);
        storage
    };
    struct Tight<F>(InFile, F);
    impl<F: Fn(&Path) -> RedbStorage> Harness for Tight<F> {
        fn storage(&self) -> &dyn Storage {
            self.0.storage()
        }

        fn restart(&mut self) {
            self.0.storage = None;
            self.0.storage = Some(self.1(self.0.dir.path()));
        }
    }
    conformance::run(&mut || {
        let mut harness = Tight(InFile::new(), storage);
        harness.restart();
        Box::new(harness)
    });
}

/// Who has not said `fsync = "always"` is told, once, what a killed process loses; logs that are synced at once in any
/// case, as the catalog, are no reason to.
#[test]
fn what_counts_unsynced_is_warned_of() {
    let harness = InFile::new();
    let told = || harness.storage().home().told_of_unsynced.load(Ordering::Relaxed);
    let mut shard = shard(harness.storage(), 1);
    let opened = create(&mut *shard, "a-1");
    append(&mut *shard, opened.slot, 0, 1);
    shard.set_synced_first(true);
    append(&mut *shard, opened.slot, 1, 2);
    shard.set_synced_first(false);
    assert!(!told());
    append(&mut *shard, opened.slot, 2, 3);
    assert!(told());
}

fn open(dir: &Path) -> RedbStorage {
    let storage = RedbStorage::open(dir, Options::default()).expect("open");
    // Some tests let it fail again at once.
    *storage.home().recover_pause.lock() = Duration::ZERO;
    storage
}

fn log(stem: &str) -> LogName {
    LogName::new(Database(0), stem)
}

fn shard(storage: &RedbStorage, broker: u16) -> Box<dyn Shard> {
    storage.shard(BrokerId(broker)).expect("a shard")
}

fn create(shard: &mut dyn Shard, stem: &str) -> Opened {
    shard.open(&log(stem), OpenRequest { create: true, known: None }).expect("open")
}

fn append(shard: &mut dyn Shard, slot: LogSlot, from: Offset, to: Offset) {
    let bytes = lines_of(from..to);
    shard.append(slot, Batch { first_offset: from, lines: to - from, bytes: &bytes }).expect("append");
}

#[track_caller]
fn sync(shard: &mut dyn Shard) {
    let failures = shard.begin_sync().wait();
    assert!(failures.is_empty(), "{failures:?}");
}

fn read_all(reader: &dyn LogReader) -> Vec<u8> {
    let (mut bytes, mut cursor) = (Vec::new(), Cursor::default());
    loop {
        let chunk = reader.read(cursor, 4096, &mut bytes).expect("read");
        if chunk.next == chunk.start {
            return bytes;
        }
        cursor = chunk.next;
    }
}

#[track_caller]
fn assert_holds(reader: &dyn LogReader, offsets: impl IntoIterator<Item = Offset>) {
    assert_eq!(String::from_utf8(read_all(reader)), String::from_utf8(lines_of(offsets)));
}
