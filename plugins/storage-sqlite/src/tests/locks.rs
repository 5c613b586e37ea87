//! Who waits for whom: for other processes that have a file locked, and for a sync under way.

use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use wafka_plugin_sdk::storage::{Batch, BrokerId, Cursor, LogName, Storage};
use wafka_storage::conformance::lines_of;

use super::{CREATE, Writer, directory, log};
use crate::{Options, SqliteStorage};

#[test]
fn a_lock_of_somebody_else_is_waited_for_once_for_all_logs() {
    let dir = directory();
    let options = Options { busy_timeout_ms: 200, ..Options::default() };
    let storage = SqliteStorage::open(dir.path(), options).unwrap();
    let names: Vec<LogName> = (0..100).map(|index| log(&format!("t{index}-1"))).collect();
    storage.create(&names).unwrap();
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    let slots: Vec<_> = names.iter().map(|name| shard.open(name, CREATE).unwrap().slot).collect();
    let other = Connection::open(dir.path().join("sqlite").join("broker-1.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let bytes = lines_of([0]);
    let batch = Batch { first_offset: 0, lines: 1, bytes: &bytes };
    let began = Instant::now();
    for slot in &slots {
        let error = shard.append(*slot, batch).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
    }
    for slot in &slots {
        shard.reopen(*slot, Cursor::at_offset(0)).unwrap_err();
    }
    // A wait for each of them would be forty seconds.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    other.execute_batch("ROLLBACK").unwrap();
    // After a second it is looked at again.
    while shard.reopen(slots[0], Cursor::at_offset(0)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::yield_now();
    }
    for slot in &slots {
        shard.reopen(*slot, Cursor::at_offset(0)).unwrap();
        shard.append(*slot, batch).unwrap();
    }
    assert!(shard.begin_sync().wait().is_empty());
}

#[test]
fn appends_and_further_syncs_begin_while_a_sync_is_waited_for() {
    let dir = directory();
    let storage = SqliteStorage::open(dir.path(), Options::default()).unwrap();
    let mut writer = Writer::new(&storage, "a-1");
    let faults = &storage.home.database_of(&log("a-1")).unwrap().faults;
    let (sender, began) = mpsc::channel();
    writer.append(3);
    let (first, second) = std::thread::scope(|scope| {
        let held = faults.hold_sync.lock();
        *faults.sync_began.lock() = Some(sender);
        let pending = writer.shard.begin_sync();
        let first = scope.spawn(move || pending.wait());
        began.recv().unwrap();
        // With the sync under way: this would hang if anything of it waited.
        writer.append(4);
        let pending = writer.shard.begin_sync();
        writer.append(5);
        writer.shard.catch_up(false);
        writer.assert_lines(0..12);
        drop(held);
        (first.join().unwrap(), pending.wait())
    });
    assert!(first.is_empty() && second.is_empty());
    writer.sync();
    writer.assert_lines(0..12);
}

#[test]
fn files_are_nobody_elses_business() {
    let dir = directory();
    let storage = SqliteStorage::open(dir.path(), Options::default()).unwrap();
    let mut writer = Writer::new(&storage, "a-1");
    writer.append(1);
    writer.sync();
    let home = dir.path().join("sqlite");
    for name in ["", "lock", "broker-1.db", "broker-1.db-wal", "broker-1.db-shm"] {
        let mode = std::fs::metadata(home.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o027, 0, "{name}: {mode:o}");
    }
}
