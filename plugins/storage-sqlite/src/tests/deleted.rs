//! What is deleted: logs, lines dropped one by one, rows that somebody else wrote.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use wafka_plugin_sdk::storage::{BrokerId, Cursor, LogName, RewritePlan, Storage};
use wafka_storage::conformance::lines_of;

use super::{Writer, client, directory, log, number};
use crate::{Options, SqliteStorage};

fn open(dir: &Path) -> SqliteStorage {
    SqliteStorage::open(dir, Options::default()).unwrap()
}

fn append_and_delete(storage: &SqliteStorage, stem: &str, lines: u64) -> u64 {
    let mut writer = Writer::new(storage, stem);
    writer.append(lines);
    writer.sync();
    drop(writer);
    let database = storage.home.database_of(&log(stem)).unwrap();
    let before = database.commits();
    storage.delete(&[log(stem)]).unwrap();
    database.commits() - before
}

#[test]
fn a_log_is_deleted_in_one_transaction_whatever_its_length() {
    let dir = directory();
    let storage = open(dir.path());
    for lines in [10, 900, 5000] {
        assert_eq!(append_and_delete(&storage, "a-1", lines), 1, "{lines} lines");
        assert!(storage.list().unwrap().is_empty());
    }
}

#[test]
fn a_long_log_is_deleted_bit_by_bit_and_its_name_is_free_at_once() {
    let dir = directory();
    let storage = open(dir.path());
    let mut writer = Writer::new(&storage, "a-1");
    writer.append(7000);
    writer.sync();
    let reader = Arc::clone(&writer.opened.reader);
    drop(writer);
    storage.delete(&[log("a-1")]).unwrap();
    assert!(reader.read(Cursor::at_offset(0), 100, &mut Vec::new()).is_err());
    let conn = client(dir.path(), 1);
    assert_eq!(number(&conn, "SELECT count(*) FROM wafka_deleted"), 1);
    let pages = number(&conn, "PRAGMA page_count");
    // Twice, also with another spelling of what SQL takes for the same name.
    let mut writer = Writer::new(&storage, "A-1");
    assert_eq!(writer.end, 0);
    writer.append(3000);
    writer.sync();
    drop(writer);
    storage.delete(&[log("A-1")]).unwrap();
    let mut writer = Writer::new(&storage, "a-1");
    assert_eq!(writer.end, 0);
    writer.append(5);
    writer.sync();
    assert_eq!(number(&conn, r#"SELECT count(*) FROM "a-1""#), 5);
    // Whoever read the old one does not read the new one.
    assert!(reader.read(Cursor::at_offset(0), 100, &mut Vec::new()).is_err());
    drop((writer, storage));
    // A start goes on with it, though nobody opens a log of the file.
    let storage = open(dir.path());
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    while shard.catch_up(false).due.is_some() {}
    assert_eq!(number(&conn, "SELECT count(*) FROM wafka_deleted"), 0);
    assert_eq!(number(&conn, "SELECT count(*) FROM sqlite_master WHERE name LIKE '~%'"), 0);
    assert!(number(&conn, "PRAGMA freelist_count") > pages * 9 / 10);
    let mut writer = Writer::new(&storage, "a-1");
    writer.assert_lines(0..5);
    writer.append(6900);
    writer.sync();
    assert!(number(&conn, "PRAGMA page_count") <= pages * 3 / 2);
}

#[test]
fn a_log_whose_table_somebody_else_dropped_is_deleted() {
    let dir = directory();
    let storage = open(dir.path());
    storage.create(&[log("a-1")]).unwrap();
    let other = Connection::open(dir.path().join("sqlite").join("broker-1.db")).unwrap();
    other.execute_batch(r#"DROP TABLE "a-1""#).unwrap();
    storage.delete(&[log("a-1")]).unwrap();
    Writer::new(&storage, "a-1").append(1);
}

#[test]
fn many_logs_deleted_at_once_are_left_to_the_sweep_from_some_number_on() {
    let dir = directory();
    let storage = open(dir.path());
    let names: Vec<LogName> = (0..300).map(|index| log(&format!("t{index}-1"))).collect();
    storage.create(&names).unwrap();
    storage.delete(&names).unwrap();
    let conn = client(dir.path(), 1);
    let left = number(&conn, "SELECT count(*) FROM wafka_deleted");
    assert!((100..290).contains(&left), "{left}");
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    while shard.catch_up(false).due.is_some() {}
    assert_eq!(number(&conn, "SELECT count(*) FROM sqlite_master WHERE name LIKE 't%'"), 0);
}

#[test]
fn numbers_of_logs_are_not_given_out_twice() {
    let dir = directory();
    let storage = open(dir.path());
    let conn = client_after(&storage, dir.path());
    let mut last = number(&conn, "SELECT max(id) FROM wafka_logs");
    for _ in 0..3 {
        storage.delete(&[log("a-1")]).unwrap();
        storage.create(&[log("a-1")]).unwrap();
        let id = number(&conn, "SELECT max(id) FROM wafka_logs");
        assert!(id > last, "{id} after {last}");
        last = id;
    }
}

/// A client, of a file that there is as soon as a log is in it.
fn client_after(storage: &SqliteStorage, dir: &Path) -> Connection {
    storage.create(&[log("a-1")]).unwrap();
    client(dir, 1)
}

#[test]
fn single_lines_are_noted_a_thousand_in_a_row_and_a_cut_forgets_those_behind_it() {
    let dir = directory();
    let storage = open(dir.path());
    let mut writer = Writer::new(&storage, "a-1");
    writer.append(5000);
    writer.sync();
    let drop: Vec<u64> = (0..5000).filter(|offset| offset % 2 == 1 && *offset < 4999).collect();
    let plan = RewritePlan { drop_below: 0, drop };
    let rewrite = writer.shard.begin_rewrite(writer.opened.slot, plan).unwrap();
    writer.shard.finish_rewrite(rewrite, &mut |_| ()).unwrap();
    let conn = client(dir.path(), 1);
    assert_eq!(number(&conn, "SELECT count(*) FROM wafka_dropped"), 3);
    writer.end = 2501;
    writer.reopen();
    writer.append(40);
    writer.sync();
    let left = || (0..2501).filter(|offset| offset % 2 == 0).chain(2501..2541);
    writer.assert_lines(left());
    assert_eq!(writer.opened.reader.size_bytes(), lines_of(left()).len() as u64);
    std::mem::drop((writer, storage));
    let storage = open(dir.path());
    let mut writer = Writer::new(&storage, "a-1");
    writer.assert_lines(left());
    assert_eq!(writer.opened.reader.size_bytes(), lines_of(left()).len() as u64);
    while writer.shard.catch_up(false).due.is_some() {}
    assert_eq!(number(&conn, r#"SELECT count(*) FROM "a-1""#), left().count() as i64);
    // What is below a later floor is counted without what was dropped before.
    let plan = RewritePlan { drop_below: 2501, drop: Vec::new() };
    let rewrite = writer.shard.begin_rewrite(writer.opened.slot, plan).unwrap();
    writer.shard.finish_rewrite(rewrite, &mut |_| ()).unwrap();
    assert_eq!(writer.opened.reader.size_bytes(), lines_of(2501..2541).len() as u64);
}

#[test]
fn a_row_of_somebody_else_that_leaves_no_room_is_deleted() {
    let dir = directory();
    {
        let storage = open(dir.path());
        let mut writer = Writer::new(&storage, "a-1");
        writer.append(5);
        writer.sync();
    }
    let other = Connection::open(dir.path().join("sqlite").join("broker-1.db")).unwrap();
    for (offset, end) in [(i64::MAX, 5), (i64::MAX - 1, 7)] {
        other.execute(r#"INSERT INTO "a-1" VALUES (?, 'x')"#, [offset]).unwrap();
        let storage = open(dir.path());
        let mut writer = Writer::new(&storage, "a-1");
        assert_eq!(writer.end, end);
        writer.append(2);
        writer.sync();
        writer.assert_lines(0..end + 2);
    }
}
