//! The conformance suite, and what only this backend can get wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

mod deleted;
mod files;
mod locks;
mod sql;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use wafka_plugin_sdk::storage::BrokerId;
use wafka_plugin_sdk::storage::{
    Batch, CaughtUp, Cursor, KeptLine, LogName, LogSlot, OpenRequest, Opened, PendingSync, Rewrite,
    RewritePlan, Rewritten, Shard, Storage, StorageError, SyncFailure,
};
use wafka_storage::conformance::{self, Failing, Harness};

use crate::{Options, SqliteStorage};

/// Failures that a test asks for.
#[derive(Default)]
pub(crate) struct Faults {
    append: Mutex<Option<LogName>>,
    sync: AtomicBool,
    syncs: AtomicU64,
    /// Held by a test while no sync shall end.
    pub hold_sync: Mutex<()>,
    /// Told of every sync that begins.
    pub sync_began: Mutex<Option<std::sync::mpsc::Sender<()>>>,
}

impl Faults {
    pub fn append(&self, log: &LogName) -> rusqlite::Result<()> {
        let mut failing = self.append.lock();
        if failing.as_ref() != Some(log) {
            return Ok(());
        }
        *failing = None;
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_WRITE);
        Err(rusqlite::Error::SqliteFailure(code, Some("the test asked for it".to_owned())))
    }

    pub fn fail_sync(&self) {
        self.sync.store(true, Ordering::Release);
    }

    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Acquire)
    }

    pub fn sync(&self) -> std::io::Result<()> {
        self.syncs.fetch_add(1, Ordering::AcqRel);
        if let Some(began) = self.sync_began.lock().take() {
            let _nobody_listens = began.send(());
        }
        drop(self.hold_sync.lock());
        if self.sync.swap(false, Ordering::AcqRel) {
            return Err(std::io::Error::other("the test asked for it"));
        }
        Ok(())
    }
}

/// A temporary directory, in memory where there is such a place: no test here pulls the plug, and none need wait for a
/// disk.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The backend in a temporary directory. With `synced_first` a transaction stays open until the next sync.
struct InDirectory {
    dir: tempfile::TempDir,
    storage: Option<Turns>,
    synced_first: bool,
}

impl InDirectory {
    fn new(synced_first: bool) -> Self {
        let mut harness = InDirectory { dir: directory(), storage: None, synced_first };
        harness.restart();
        harness
    }
}

impl Harness for InDirectory {
    fn storage(&self) -> &dyn Storage {
        self.storage.as_ref().expect("open")
    }

    fn restart(&mut self) {
        self.storage = None;
        let storage = SqliteStorage::open(self.dir.path(), Options::default()).expect("open");
        self.storage = Some(Turns { storage, synced_first: self.synced_first });
    }

    fn faults(&self) -> bool {
        true
    }

    fn fail_next(&mut self, failing: Failing, log: &LogName) {
        let database = self.storage.as_ref().and_then(|turns| turns.storage.home.database_of(log));
        let faults = &database.as_ref().expect("a log there is").faults;
        match failing {
            Failing::Append => *faults.append.lock() = Some(log.clone()),
            Failing::Sync => faults.fail_sync(),
        }
    }
}

/// Shards as the engine uses them.
struct Turns {
    storage: SqliteStorage,
    synced_first: bool,
}

impl Storage for Turns {
    fn name(&self) -> &str {
        self.storage.name()
    }

    fn list(&self) -> Result<Vec<LogName>, StorageError> {
        self.storage.list()
    }

    fn create(&self, logs: &[LogName]) -> Result<(), StorageError> {
        self.storage.create(logs)
    }

    fn shard(&self, broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        let mut shard = self.storage.shard(broker)?;
        shard.set_synced_first(self.synced_first);
        Ok(Box::new(CatchingUp(shard)))
    }

    fn delete(&self, logs: &[LogName]) -> Result<(), StorageError> {
        self.storage.delete(logs)
    }
}

/// Catches up after each sync and each rewrite.
struct CatchingUp(Box<dyn Shard>);

impl CatchingUp {
    fn catch_all_up(&mut self) {
        while self.0.catch_up(false).due.is_some() {}
    }
}

impl Shard for CatchingUp {
    fn open(&mut self, log: &LogName, request: OpenRequest) -> Result<Opened, StorageError> {
        self.0.open(log, request)
    }

    fn append(&mut self, slot: LogSlot, batch: Batch<'_>) -> Result<Cursor, StorageError> {
        self.0.append(slot, batch)
    }

    fn catch_up(&mut self, all: bool) -> CaughtUp {
        self.0.catch_up(all)
    }

    fn begin_sync(&mut self) -> Box<dyn PendingSync> {
        self.0.begin_sync()
    }

    fn finish_sync(&mut self, failures: &[SyncFailure]) {
        self.0.finish_sync(failures);
        self.catch_all_up();
    }

    fn reopen(&mut self, slot: LogSlot, end: Cursor) -> Result<(), StorageError> {
        self.0.reopen(slot, end)
    }

    fn begin_rewrite(&mut self, slot: LogSlot, plan: RewritePlan) -> Result<Box<dyn Rewrite>, StorageError> {
        self.0.begin_rewrite(slot, plan)
    }

    fn finish_rewrite(
        &mut self,
        rewrite: Box<dyn Rewrite>,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        let rewritten = self.0.finish_rewrite(rewrite, kept);
        self.catch_all_up();
        rewritten
    }

    fn close(&mut self, slot: LogSlot) {
        self.0.close(slot);
    }
}

#[test]
fn it_conforms() {
    conformance::run(&mut || Box::new(InDirectory::new(false)));
}

#[test]
fn it_conforms_with_transactions_that_stay_open() {
    conformance::run(&mut || Box::new(InDirectory::new(true)));
}

const CREATE: OpenRequest = OpenRequest { create: true, known: None };

fn log(stem: &str) -> LogName {
    LogName::new(wafka_plugin_sdk::storage::Database(0), stem)
}

/// A client of its own, as a `sqlite3` shell is.
fn client(dir: &Path, broker: u16) -> Connection {
    let path = dir.join("sqlite").join(format!("broker-{broker}.db"));
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

fn number(conn: &Connection, sql: &str) -> i64 {
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// A log of broker 1 with the lines of conformance tests.
struct Writer {
    shard: Box<dyn Shard>,
    opened: Opened,
    end: u64,
}

impl Writer {
    fn new(storage: &dyn Storage, stem: &str) -> Self {
        let mut shard = storage.shard(BrokerId(1)).unwrap();
        let opened = shard.open(&log(stem), CREATE).unwrap();
        let end = opened.end.offset;
        Writer { shard, opened, end }
    }

    fn try_append(&mut self, lines: u64) -> Result<(), StorageError> {
        let bytes = conformance::lines_of(self.end..self.end + lines);
        self.shard.append(self.opened.slot, Batch { first_offset: self.end, lines, bytes: &bytes })?;
        self.end += lines;
        Ok(())
    }

    fn append(&mut self, lines: u64) {
        self.try_append(lines).unwrap();
    }

    fn sync(&mut self) {
        assert!(self.shard.begin_sync().wait().is_empty());
    }

    /// Drops everything below an offset, rows and all.
    fn drop_below(&mut self, drop_below: u64) -> Rewritten {
        let plan = RewritePlan { drop_below, drop: Vec::new() };
        let rewrite = self.shard.begin_rewrite(self.opened.slot, plan).unwrap();
        let rewritten = self.shard.finish_rewrite(rewrite, &mut |_| ()).unwrap();
        while self.shard.catch_up(false).due.is_some() {}
        rewritten
    }

    fn reopen(&mut self) {
        self.shard.reopen(self.opened.slot, Cursor::at_offset(self.end)).unwrap();
    }

    fn read(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut from = Cursor::at_offset(0);
        loop {
            let chunk = self.opened.reader.read(from, 100_000, &mut bytes).unwrap();
            if chunk.start == chunk.next {
                return bytes;
            }
            from = chunk.next;
        }
    }

    #[track_caller]
    fn assert_lines(&self, offsets: impl IntoIterator<Item = u64>) {
        let expected = conformance::lines_of(offsets);
        assert_eq!(String::from_utf8_lossy(&self.read()), String::from_utf8_lossy(&expected));
    }
}
