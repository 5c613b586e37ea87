//! What SQL clients see, how tables are called, and what becomes of dropped lines.

use std::fs;
use std::path::Path;

use wafka_plugin_sdk::storage::{Batch, BrokerId, Cursor, LogName, RewritePlan, Storage};
use wafka_storage::conformance::{line_of, lines_of};

use super::{CREATE, Writer, client, directory, log, number};
use crate::{Options, SqliteStorage};

fn open(dir: &Path) -> SqliteStorage {
    SqliteStorage::open(dir, Options::default()).unwrap()
}

#[test]
fn a_log_is_queried_while_it_is_written() {
    let dir = directory();
    let storage = open(dir.path());
    let mut writer = Writer::new(&storage, "deliveries-1");
    writer.shard.set_synced_first(true);
    writer.append(50);
    writer.sync();
    let conn = client(dir.path(), 1);
    assert_eq!(number(&conn, r#"SELECT count(*) FROM "deliveries-1""#), 50);
    // Not committed: nobody else sees it, and the log's own readers do.
    writer.append(7);
    assert_eq!(number(&conn, r#"SELECT count(*) FROM "deliveries-1""#), 50);
    writer.assert_lines(0..57);
    writer.sync();
    let sql = r#"SELECT sum(json_extract(line, '$.offset')) FROM "deliveries-1""#;
    assert_eq!(number(&conn, sql), (0..57).sum::<i64>());
    let lines: Vec<String> = conn
        .prepare(r#"SELECT line FROM "deliveries-1" ORDER BY "offset""#)
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(format!("{}\n", lines.join("\n")).as_bytes(), lines_of(0..57));
    let kind = r#"SELECT count(*) FROM "deliveries-1" WHERE typeof(line) = 'text'"#;
    assert_eq!(number(&conn, kind), 57);
}

#[test]
fn each_broker_has_a_file() {
    let dir = directory();
    let storage = open(dir.path());
    let other = LogName::new(wafka_plugin_sdk::storage::Database(3), "a-2");
    storage.create(&[log("a-1"), log("a-2"), log("a.journal"), other]).unwrap();
    // A log that belongs to no partition is in the file of whoever makes it.
    storage.shard(BrokerId(3)).unwrap().open(&log("b.journal"), CREATE).unwrap();
    let tables = |broker| -> Vec<String> {
        let conn = client(dir.path(), broker);
        let mut statement = conn.prepare("SELECT table_name FROM wafka_logs ORDER BY 1").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(tables(1), ["a-1", "a.journal"]);
    assert_eq!(tables(2), ["a-2", "db3/a-2"]);
    assert_eq!(tables(3), ["b.journal"]);
}

#[test]
fn names_that_sql_cannot_tell_apart_are_apart() {
    let dir = directory();
    let stems = ["a-1", "A-1", "sqlite_a-1", "SQLite_a-1", "wafka_logs", "wafka_dropped", "x%22y-1", "a%-1"];
    for round in 0..2 {
        let storage = open(dir.path());
        let mut listed: Vec<String> =
            storage.list().unwrap().iter().map(|log| log.stem().to_owned()).collect();
        listed.sort_unstable();
        assert_eq!(listed.len(), round * stems.len(), "{listed:?}");
        for (stem, lines) in stems.iter().zip(1..) {
            let mut writer = Writer::new(&storage, stem);
            assert_eq!(writer.end, round as u64 * lines, "{stem}");
            writer.append(lines);
            writer.sync();
            writer.assert_lines(0..writer.end);
        }
    }
    let storage = open(dir.path());
    for stem in stems {
        storage.delete(&[log(stem)]).unwrap();
    }
    assert!(storage.list().unwrap().is_empty());
    let left = number(&client(dir.path(), 1), "SELECT count(*) FROM sqlite_master WHERE type = 'table'");
    assert_eq!(left, 3);
}

#[test]
fn any_bytes_come_back() {
    let dir = directory();
    let storage = open(dir.path());
    let mut writer = Writer::new(&storage, "a-1");
    let mut bytes: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    bytes.extend(b"\n\n\0\n\xff\xfe\n12\n");
    let batch = Batch { first_offset: 0, lines: 5, bytes: &bytes };
    writer.shard.append(writer.opened.slot, batch).unwrap();
    writer.sync();
    assert_eq!(writer.read(), bytes);
}

#[test]
fn dropped_rows_are_deleted_and_their_space_is_used_again() {
    let dir = directory();
    let storage = open(dir.path());
    let mut writer = Writer::new(&storage, "a-1");
    let conn = client(dir.path(), 1);
    let mut pages = Vec::new();
    for _ in 0..6 {
        writer.append(5000);
        writer.sync();
        let rewritten = writer.drop_below(writer.end - 10);
        assert!(rewritten.bytes_freed > 500_000, "{}", rewritten.bytes_freed);
        assert_eq!(number(&conn, r#"SELECT count(*) FROM "a-1""#), 10);
        assert_eq!(writer.opened.reader.size_bytes(), lines_of(writer.end - 10..writer.end).len() as u64);
        pages.push(number(&conn, "PRAGMA page_count"));
    }
    assert!(pages[5] <= pages[1] + 5, "the file grows: {pages:?}");
}

#[test]
fn dropped_lines_stay_hidden_over_a_restart_until_they_are_deleted() {
    let dir = directory();
    let plan = RewritePlan { drop_below: 3000, drop: vec![3500, 3600, 4999] };
    let left: Vec<u64> = (3000..5000).filter(|offset| ![3500, 3600].contains(offset)).collect();
    {
        let storage = open(dir.path());
        let mut writer = Writer::new(&storage, "a-1");
        writer.append(5000);
        let rewrite = writer.shard.begin_rewrite(writer.opened.slot, plan).unwrap();
        writer.shard.finish_rewrite(rewrite, &mut |_| ()).unwrap();
        writer.assert_lines(left.iter().copied());
    }
    let conn = client(dir.path(), 1);
    assert_eq!(number(&conn, r#"SELECT count(*) FROM "a-1""#), 5000);
    let storage = open(dir.path());
    let mut writer = Writer::new(&storage, "a-1");
    assert_eq!((writer.opened.first.offset, writer.end), (3000, 5000));
    writer.assert_lines(left.iter().copied());
    assert_eq!(writer.opened.reader.size_bytes(), lines_of(left.iter().copied()).len() as u64);
    while writer.shard.catch_up(false).due.is_some() {}
    assert_eq!(number(&conn, r#"SELECT count(*) FROM "a-1""#), 1998);
    assert_eq!(number(&conn, "SELECT count(*) FROM wafka_dropped"), 0);
    writer.assert_lines(left.iter().copied());
    // A second rewrite drops single lines beside those of the first.
    let plan = RewritePlan { drop_below: 0, drop: vec![3000, 3700] };
    let rewrite = writer.shard.begin_rewrite(writer.opened.slot, plan).unwrap();
    let rewritten = writer.shard.finish_rewrite(rewrite, &mut |_| ()).unwrap();
    assert_eq!(rewritten.first.offset, 3001);
    assert_eq!(rewritten.bytes_freed, lines_of([3000, 3700]).len() as u64);
}

#[test]
fn offsets_do_not_repeat_when_a_cut_leaves_no_line() {
    let dir = directory();
    {
        let storage = open(dir.path());
        let mut writer = Writer::new(&storage, "a-1");
        writer.append(20);
        writer.sync();
        writer.drop_below(20);
        writer.end = 19;
        writer.reopen();
    }
    let storage = open(dir.path());
    let mut writer = Writer::new(&storage, "a-1");
    assert_eq!((writer.opened.first.offset, writer.end), (19, 19));
    assert_eq!(writer.opened.reader.size_bytes(), 0);
    writer.append(2);
    writer.assert_lines(19..21);
}

#[test]
fn a_size_is_known_without_counting_all() {
    let dir = directory();
    let storage = open(dir.path());
    let mut writer = Writer::new(&storage, "a-1");
    let mut bytes = 0;
    let noted = |dir: &Path| number(&client(dir, 1), "SELECT counted_below FROM wafka_logs");
    for offset in 0..12 {
        let line = line_of(offset, 1 << 20);
        bytes += line.len() as u64;
        let batch = Batch { first_offset: offset, lines: 1, bytes: &line };
        writer.shard.append(writer.opened.slot, batch).unwrap();
        assert_eq!(writer.opened.reader.size_bytes(), bytes);
    }
    assert!(noted(dir.path()) >= 8, "{}", noted(dir.path()));
    writer.end = 12;
    drop(writer);
    assert_eq!(noted(dir.path()), 12);
    let writer = Writer::new(&storage, "a-1");
    assert_eq!(writer.opened.reader.size_bytes(), bytes);
}

#[test]
fn the_write_ahead_log_stays_short_and_a_client_that_reads_delays_that_only() {
    let dir = directory();
    let options = Options { checkpoint_pages: 100, ..Options::default() };
    let storage = SqliteStorage::open(dir.path(), options).unwrap();
    let mut writer = Writer::new(&storage, "a-1");
    let wal = dir.path().join("sqlite").join("broker-1.db-wal");
    let mut run = |turns: usize| {
        for _ in 0..turns {
            writer.append(100);
            writer.sync();
            writer.shard.catch_up(false);
        }
        fs::metadata(&wal).unwrap().len() / 4096
    };
    let short = run(200);
    assert!(short < 300, "{short} pages");
    let conn = client(dir.path(), 1);
    conn.execute_batch("BEGIN").unwrap();
    let seen = number(&conn, r#"SELECT count(*) FROM "a-1""#);
    let long = run(200);
    assert!(long > 500, "{long} pages");
    assert_eq!(number(&conn, r#"SELECT count(*) FROM "a-1""#), seen);
    conn.execute_batch("COMMIT").unwrap();
    assert!(run(200) <= long + 200);
    writer.assert_lines(0..writer.end);
}

#[test]
fn many_logs_are_opened_without_a_sync_for_each() {
    let dir = directory();
    let storage = open(dir.path());
    let names: Vec<LogName> = (0..1000).map(|index| log(&format!("t{index}-1"))).collect();
    storage.create(&names).unwrap();
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    let opened: Vec<_> = names.iter().map(|name| shard.open(name, CREATE).unwrap()).collect();
    let database = storage.home.database_of(&names[0]).unwrap();
    shard.set_synced_first(true);
    let made = database.syncs();
    assert!(made < 10, "{made} syncs");
    for log in &opened {
        let bytes = lines_of([0]);
        shard.append(log.slot, Batch { first_offset: 0, lines: 1, bytes: &bytes }).unwrap();
    }
    let before = database.syncs();
    assert!(shard.begin_sync().wait().is_empty());
    assert_eq!(database.syncs(), before + 1);
    drop(shard);
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    for name in &names {
        assert_eq!(shard.open(name, CREATE).unwrap().end.offset, 1);
    }
    assert!(database.syncs() <= before + 2, "{} syncs", database.syncs() - before);
    let mut bytes = Vec::new();
    opened[999].reader.read(Cursor::at_offset(0), 0, &mut bytes).unwrap();
    assert_eq!(bytes, lines_of([0]));
}
