//! Files that are not as they should be, disks that are full, databases that others have locked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;
use wafka_plugin_sdk::storage::{Cursor, Storage, StorageError};

use super::{CREATE, Writer, directory, log};
use crate::connect::wal_path;
use crate::{Options, SqliteStorage};

fn open(dir: &Path) -> Result<SqliteStorage, StorageError> {
    SqliteStorage::open(dir, Options::default())
}

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join("sqlite").join("broker-1.db")
}

/// Says that the directory does not open, and why.
#[track_caller]
fn assert_refused(dir: &Path, words: &[&str]) {
    let refused = open(dir).map(|_| ()).unwrap_err().to_string();
    for word in words {
        assert!(refused.contains(word), "'{word}' is not in: {refused}");
    }
}

/// A directory with one database that holds ten lines.
fn ten_lines() -> TempDir {
    let dir = directory();
    let storage = open(dir.path()).unwrap();
    let mut writer = Writer::new(&storage, "a-1");
    writer.append(10);
    writer.sync();
    dir
}

#[test]
fn what_is_no_database_is_refused_and_stays_as_it_is() {
    let dir = ten_lines();
    let text = b"this is no database, whatever its name says: ".repeat(100);
    fs::write(file(&dir), &text).unwrap();
    assert_refused(dir.path(), &["broker-1.db", "not a database", "move the file away"]);
    assert_eq!(fs::read(file(&dir)).unwrap(), text);
}

#[test]
fn a_database_that_somebody_else_made_is_refused_and_stays_as_it_is() {
    let dir = directory();
    fs::create_dir(dir.path().join("sqlite")).unwrap();
    let conn = Connection::open(file(&dir)).unwrap();
    conn.execute_batch("CREATE TABLE accounts (name TEXT); INSERT INTO accounts VALUES ('anna')").unwrap();
    drop(conn);
    let before = fs::read(file(&dir)).unwrap();
    assert_refused(dir.path(), &["broker-1.db", "none that Wafka made"]);
    assert_eq!(fs::read(file(&dir)).unwrap(), before);
}

#[test]
fn a_newer_version_is_refused() {
    let dir = ten_lines();
    Connection::open(file(&dir)).unwrap().pragma_update(None, "user_version", 7).unwrap();
    assert_refused(dir.path(), &["broker-1.db", "version 7, expected 2"]);
}

#[test]
fn a_directory_has_one_server() {
    let dir = ten_lines();
    // As another process would.
    let lock = fs::File::open(dir.path().join("sqlite").join("lock")).unwrap();
    lock.lock().unwrap();
    assert_refused(dir.path(), &["sqlite/lock", "another server"]);
    drop(lock);
    // This process may have it twice, and is careful with itself.
    let (first, second) = (open(dir.path()).unwrap(), open(dir.path()).unwrap());
    let writer = Writer::new(&first, "a-1");
    let mut shard = second.shard(wafka_plugin_sdk::storage::BrokerId(1)).unwrap();
    let busy = shard.open(&log("a-1"), CREATE).map(|_| ()).unwrap_err();
    assert!(busy.to_string().contains("open already"), "{busy}");
    let other = Options { cache_kib: 100, ..Options::default() };
    assert!(SqliteStorage::open(dir.path(), other.clone()).is_err());
    drop((first, second, shard, writer));
    assert!(SqliteStorage::open(dir.path(), other).is_ok());
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = directory();
    fs::write(dir.path().join("sqlite"), "a file").unwrap();
    assert_refused(dir.path(), &["/sqlite"]);
    assert_refused(Path::new("/proc/no/such/place"), &["/proc/no/such/place/sqlite"]);
}

#[test]
fn a_log_in_two_files_is_refused() {
    let dir = ten_lines();
    fs::copy(file(&dir), dir.path().join("sqlite").join("broker-2.db")).unwrap();
    assert_refused(dir.path(), &["a-1", "broker-1.db", "broker-2.db"]);
}

#[test]
fn options_say_what_was_expected() {
    let parse = |json: &str| serde_json::from_str::<Options>(json);
    assert_eq!(parse("{}").unwrap(), Options::default());
    assert_eq!(parse(r#"{"cache_kib": 64}"#).unwrap().cache_kib, 64);
    for (json, words) in [
        (r#"{"cache_kib": 63}"#, "63: expected a number from 64 to 1048576"),
        (r#"{"checkpoint_pages": -1}"#, "-1: expected a number from 100"),
        (r#"{"busy_timeout_ms": 60001}"#, "60001: expected a number from 0 to 60000"),
        (r#"{"cache_kib": "64"}"#, "invalid type"),
        (r#"{"mmap": true}"#, "unknown field `mmap`"),
        (r#"{"pages_max": 5}"#, "unknown field"),
    ] {
        let refused = parse(json).unwrap_err().to_string();
        assert!(refused.contains(words), "{json}: {refused}");
    }
}

#[test]
fn a_full_disk_loses_nothing_and_goes_on_when_there_is_space() {
    for synced_first in [false, true] {
        let dir = directory();
        let options = Options { pages_max: Some(60), ..Options::default() };
        let storage = SqliteStorage::open(dir.path(), options.clone()).unwrap();
        let mut writer = Writer::new(&storage, "a-1");
        writer.shard.set_synced_first(synced_first);
        let error = loop {
            if let Err(error) = writer.try_append(50) {
                break error;
            }
            writer.sync();
        };
        assert!(
            matches!(&error, StorageError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull),
            "{error}"
        );
        assert!(error.to_string().contains("broker-1.db"), "{error}");
        assert!(matches!(writer.try_append(1), Err(StorageError::Poisoned { .. })));
        assert!(writer.end > 500, "full after {} lines", writer.end);
        assert!(!writer.shard.begin_sync().wait().is_empty());
        writer.reopen();
        writer.assert_lines(0..writer.end);
        // Dropping lines needs a page or two itself, and there are some in the tree's leaves.
        let kept = writer.end - 100;
        writer.drop_below(kept);
        writer.append(50);
        writer.sync();
        writer.assert_lines(kept..writer.end);
        let end = writer.end;
        drop(writer);
        drop(storage);
        let storage = SqliteStorage::open(dir.path(), options).unwrap();
        let writer = Writer::new(&storage, "a-1");
        assert_eq!((writer.opened.first.offset, writer.end), (kept, end));
        writer.assert_lines(kept..end);
    }
}

#[test]
fn a_database_that_somebody_locked_is_written_to_afterwards() {
    let dir = directory();
    let options = Options { busy_timeout_ms: 0, ..Options::default() };
    let storage = SqliteStorage::open(dir.path(), options).unwrap();
    let mut writer = Writer::new(&storage, "a-1");
    writer.append(5);
    writer.sync();
    let other = Connection::open(file(&dir)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = writer.try_append(1).unwrap_err();
    assert!(
        matches!(&error, StorageError::Io { source, .. } if source.kind() == io::ErrorKind::ResourceBusy),
        "{error}"
    );
    assert!(error.to_string().contains("another process"), "{error}");
    assert!(writer.shard.reopen(writer.opened.slot, Cursor::at_offset(5)).is_err());
    // Reading goes on all the time.
    writer.assert_lines(0..5);
    other.execute_batch("ROLLBACK").unwrap();
    writer.reopen();
    writer.append(2);
    writer.sync();
    writer.assert_lines(0..7);
}

#[test]
fn lines_that_somebody_else_wrote_are_no_lines_of_the_log() {
    let dir = directory();
    let storage = open(dir.path()).unwrap();
    let mut writer = Writer::new(&storage, "a-1");
    writer.append(5);
    writer.sync();
    Connection::open(file(&dir)).unwrap().execute(r#"INSERT INTO "a-1" VALUES (5, 'mine')"#, []).unwrap();
    let error = writer.try_append(3).unwrap_err();
    assert!(matches!(error, StorageError::Fenced { batch: 5, end: 6, .. }), "{error}");
    writer.reopen();
    writer.append(3);
    writer.sync();
    writer.assert_lines(0..8);
}

#[test]
fn a_corrupt_page_is_an_error_and_other_logs_go_on() {
    let dir = directory();
    let storage = open(dir.path()).unwrap();
    let mut writer = Writer::new(&storage, "a-1");
    writer.append(2000);
    writer.sync();
    drop(writer);
    let mut other = Writer::new(&storage, "b-1");
    other.append(3);
    other.sync();
    drop((other, storage));
    let bytes = fs::read(file(&dir)).unwrap();
    let needle = br#""offset":1000,"#;
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap() / 4096 * 4096;
    let mut broken = bytes;
    broken[at..at + 64].fill(0xee);
    fs::write(file(&dir), &broken).unwrap();

    let storage = open(dir.path()).unwrap();
    let mut shard = storage.shard(wafka_plugin_sdk::storage::BrokerId(1)).unwrap();
    let opened = shard.open(&log("a-1"), CREATE).unwrap();
    assert_eq!(opened.end.offset, 2000);
    let mut bytes = Vec::new();
    let error = opened.reader.read(Cursor::at_offset(0), usize::MAX / 2, &mut bytes).unwrap_err();
    assert!(bytes.is_empty());
    assert!(
        matches!(&error, StorageError::Io { source, .. } if source.kind() == io::ErrorKind::InvalidData),
        "{error}"
    );
    assert!(error.to_string().contains("broker-1.db"), "{error}");
    drop(shard);
    let mut other = Writer::new(&storage, "b-1");
    other.append(2);
    other.sync();
    other.assert_lines(0..5);
}

/// Copies the files as they are now; of the write-ahead log all up to `torn` bytes, and garbage behind.
fn as_the_power_left_it(dir: &TempDir, torn: usize) -> TempDir {
    let left = directory();
    fs::create_dir(left.path().join("sqlite")).unwrap();
    fs::copy(file(dir), file(&left)).unwrap();
    let mut wal = fs::read(wal_path(&file(dir))).unwrap();
    assert!(torn < wal.len(), "nothing came behind {torn} bytes");
    for byte in &mut wal[torn..] {
        *byte = byte.wrapping_mul(31).wrapping_add(7);
    }
    fs::write(wal_path(&file(&left)), wal).unwrap();
    left
}

#[test]
fn what_was_synced_survives_whatever_the_power_leaves_behind_it() {
    let dir = directory();
    let storage = open(dir.path()).unwrap();
    let mut writer = Writer::new(&storage, "a-1");
    writer.shard.set_synced_first(true);
    for round in 0..12 {
        writer.append(40 + round * 13);
        let ticket = writer.shard.begin_sync();
        assert!(ticket.wait().is_empty());
        let synced = writer.end;
        let torn = fs::metadata(wal_path(&file(&dir))).unwrap().len() as usize;
        // Behind it pages are written, and none of them is synced.
        writer.append(60);
        writer.opened.reader.read(Cursor::at_offset(synced), 1, &mut Vec::new()).unwrap();
        for torn in [torn, torn + 1, torn + 24, torn + 4000] {
            let left = as_the_power_left_it(&dir, torn);
            let storage = open(left.path()).unwrap();
            let found = Writer::new(&storage, "a-1");
            assert!((synced..=writer.end).contains(&found.end), "{} of {synced} lines", found.end);
            found.assert_lines(0..found.end);
        }
        writer.sync();
    }
}

#[test]
fn logs_whose_making_could_not_be_synced_are_made_when_asked_again() {
    let dir = ten_lines();
    let storage = open(dir.path()).unwrap();
    let names = [log("b-1"), log("c-1")];
    let database = storage.home.database_of(&log("a-1")).unwrap();
    database.faults.fail_sync();
    let error = storage.create(&names).unwrap_err();
    assert!(error.to_string().contains("broker-1.db"), "{error}");
    storage.create(&names).unwrap();
    database.faults.fail_sync();
    assert!(storage.delete(&names).is_err());
    storage.delete(&names).unwrap();
    assert_eq!(storage.list().unwrap(), [log("a-1")]);
    storage.create(&names).unwrap();
    let mut writer = Writer::new(&storage, "b-1");
    writer.append(3);
    writer.sync();
    Writer::new(&storage, "a-1").assert_lines(0..10);
}
