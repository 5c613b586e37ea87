//! Logs come into being, are appended to, closed, listed and deleted.

use wafka_core::storage::{Batch, Cursor, LogName, LogSlot, OpenRequest, StorageError};
use wafka_core::{BrokerId, Database};

use super::*;

pub(super) const CASES: &[Case] = &[
    a_missing_log_is_an_error,
    logs_are_made_together,
    an_empty_log_has_no_lines,
    a_log_has_one_writer,
    appends_go_on_at_the_end,
    batches_that_do_not_fit_are_refused,
    a_restart_keeps_everything,
    a_known_line_is_only_a_hint,
    a_sync_covers_every_log,
    a_reopening_cuts,
    deleted_logs_are_gone,
    databases_are_apart,
    a_closed_slot_is_an_error,
];

fn a_missing_log_is_an_error(harness: &mut dyn Harness) {
    let mut shard = shard(harness);
    let missing = shard.open(&log("a-1"), EXISTING).map(|_| ());
    assert!(matches!(missing, Err(StorageError::NotFound(name)) if name == log("a-1")));
    assert!(harness.storage().list().expect("list").is_empty());
}

fn logs_are_made_together(harness: &mut dyn Harness) {
    let (first, second) = (log("first-1"), log("second-1"));
    assert_eq!(create(&mut *shard(harness), &first).end.offset, 0);
    let mut writer = shard(harness);
    let slot = create(&mut *writer, &first).slot;
    append(&mut *writer, slot, 0, 3);
    sync(&mut *writer);
    drop(writer);
    harness.storage().create(&[first.clone(), second.clone()]).expect("create");
    harness.restart();
    let mut shard = shard(harness);
    assert_eq!(shard.open(&second, EXISTING).expect("open what was made").end.offset, 0);
    assert_eq!(shard.open(&first, EXISTING).expect("open what was there").end.offset, 3);
}

fn an_empty_log_has_no_lines(harness: &mut dyn Harness) {
    {
        let mut shard = shard(harness);
        let opened = create(&mut *shard, &log("a-1"));
        assert_eq!(opened.first, opened.end);
        assert_eq!(opened.end.offset, 0);
        assert_eq!(opened.reader.size_bytes(), 0);
        let (bytes, chunk) = read(&*opened.reader, Cursor::at_offset(0), 100);
        assert!(bytes.is_empty());
        assert_eq!(chunk.start, chunk.next);
    }
    harness.restart();
    assert!(shard(harness).open(&log("a-1"), EXISTING).is_ok());
}

fn a_log_has_one_writer(harness: &mut dyn Harness) {
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    assert!(shard.open(&log("a-1"), CREATE).is_err());
    let mut other = harness.storage().shard(BrokerId(2)).expect("a shard");
    assert!(other.open(&log("a-1"), CREATE).is_err());
    assert!(harness.storage().delete(&[log("a-1")]).is_err());
    append(&mut *shard, opened.slot, 0, 1);
    shard.close(opened.slot);
    assert_eq!(other.open(&log("a-1"), CREATE).expect("open").end.offset, 1);
    drop(other);
    assert_eq!(shard.open(&log("a-1"), CREATE).expect("open").end.offset, 1);
}

fn appends_go_on_at_the_end(harness: &mut dyn Harness) {
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    let mut next = 0;
    for lines in [1, 2, 50, 1, 1000] {
        let start = append(&mut *shard, opened.slot, next, next + lines);
        assert_eq!(start.offset, next);
        let (bytes, chunk) = read(&*opened.reader, start, usize::MAX / 2);
        assert_lines(&bytes, &lines_of(next..next + lines));
        assert_eq!(chunk.start, start);
        next += lines;
        assert_eq!(chunk.next.offset, next);
        assert_lines(&read_all(&*opened.reader, Cursor::at_offset(0), 1000), &lines_of(0..next));
    }
}

fn batches_that_do_not_fit_are_refused(harness: &mut dyn Harness) {
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    append(&mut *shard, opened.slot, 0, 3);
    for first_offset in [0, 2, 4, u64::MAX] {
        let bytes = lines_of([first_offset.min(4)]);
        let refused = shard.append(opened.slot, Batch { first_offset, lines: 1, bytes: &bytes });
        let expected = matches!(&refused, Err(StorageError::Fenced { log: name, batch, end })
            if *name == log("a-1") && *batch == first_offset && *end == 3);
        assert!(expected, "{refused:?} although the batch does not begin at the end");
    }
    for (lines, bytes) in [(0, &b""[..]), (1, b""), (1, b"{\"no newline\":1}")] {
        assert!(shard.append(opened.slot, Batch { first_offset: 3, lines, bytes }).is_err());
    }
    append(&mut *shard, opened.slot, 3, 5);
    assert_lines(&read_all(&*opened.reader, Cursor::at_offset(0), 1000), &lines_of(0..5));
}

fn a_restart_keeps_everything(harness: &mut dyn Harness) {
    let mut last = Cursor::default();
    for round in 0..4 {
        let mut shard = shard(harness);
        for (index, name) in ["a-1", "b.journal", "c%2F-1"].into_iter().enumerate() {
            let end = 10 * round * (index as u64 + 1);
            let opened = create(&mut *shard, &log(name));
            assert_eq!((opened.end.offset, opened.first.offset), (end, 0));
            assert_lines(&read_all(&*opened.reader, opened.first, 300), &lines_of(0..end));
            let bytes = read_all(&*opened.reader, Cursor::at_offset(0), 300).len() as u64;
            let size = opened.reader.size_bytes();
            assert!(size.abs_diff(bytes) * 100 <= bytes * harness.size_percent(), "{size}, expected {bytes}");
            // A position from before the restart must not mislead.
            assert_lines(&read_all(&*opened.reader, last, 300), &lines_of(last.offset.min(end)..end));
            last = append(&mut *shard, opened.slot, end, end + 10 * (index as u64 + 1));
        }
        sync(&mut *shard);
        drop(shard);
        harness.restart();
    }
}

fn a_known_line_is_only_a_hint(harness: &mut dyn Harness) {
    let mut starts = Vec::new();
    {
        let mut shard = shard(harness);
        let opened = create(&mut *shard, &log("a-1"));
        for offset in 0..20 {
            starts.push(append(&mut *shard, opened.slot, offset, offset + 1));
        }
        sync(&mut *shard);
    }
    let hints = [starts[0], starts[7], starts[19], Cursor { offset: 7, ..starts[8] }, Cursor::at_offset(3)];
    for known in hints.map(Some) {
        harness.restart();
        let mut shard = shard(harness);
        let opened = shard.open(&log("a-1"), OpenRequest { create: false, known }).expect("open");
        assert_eq!((opened.first.offset, opened.end.offset), (0, 20), "{known:?}");
        assert!(opened.damage.is_empty() && opened.torn.is_none(), "{known:?}: {:?}", opened.damage);
        assert_lines(&read_all(&*opened.reader, opened.first, 4000), &lines_of(0..20));
    }
}

fn a_sync_covers_every_log(harness: &mut dyn Harness) {
    {
        let mut shard = shard(harness);
        let slots: Vec<LogSlot> =
            (0..9).map(|index| create(&mut *shard, &log(&format!("a{index}-1"))).slot).collect();
        sync(&mut *shard);
        for slot in &slots {
            append(&mut *shard, *slot, 0, 2);
        }
        let pending = shard.begin_sync();
        for slot in &slots[..4] {
            append(&mut *shard, *slot, 2, 3);
        }
        let failures = std::thread::spawn(move || pending.wait()).join().expect("no panic");
        assert!(failures.is_empty(), "{failures:?}");
        shard.finish_sync(&failures);
        sync(&mut *shard);
        sync(&mut *shard);
    }
    harness.restart();
    let mut shard = shard(harness);
    for index in 0..9 {
        let opened = create(&mut *shard, &log(&format!("a{index}-1")));
        assert_eq!(opened.end.offset, if index < 4 { 3 } else { 2 });
    }
}

fn a_reopening_cuts(harness: &mut dyn Harness) {
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    append(&mut *shard, opened.slot, 0, 5);
    sync(&mut *shard);
    let end = append(&mut *shard, opened.slot, 5, 9);
    let behind = read(&*opened.reader, Cursor::at_offset(7), 1).1.start;
    shard.reopen(opened.slot, end).expect("reopen");
    assert_lines(&read_all(&*opened.reader, Cursor::at_offset(0), 100), &lines_of(0..5));
    let longer = [line_of(5, 700), line_of(6, 0), line_of(7, 3)].concat();
    shard.append(opened.slot, Batch { first_offset: 5, lines: 3, bytes: &longer }).expect("append");
    // A position behind the cut belongs to another line now.
    assert_lines(&read(&*opened.reader, behind, 1).0, &line_of(7, 3));
    sync(&mut *shard);
    shard.reopen(opened.slot, Cursor::at_offset(6)).expect("reopen by offset alone");
    append(&mut *shard, opened.slot, 6, 7);
    sync(&mut *shard);
    drop((shard, opened));
    harness.restart();
    let mut shard = super::shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    let expected = [lines_of(0..5), line_of(5, 700), lines_of(6..7)].concat();
    assert_lines(&read_all(&*opened.reader, opened.first, 100), &expected);
    assert!(shard.reopen(opened.slot, Cursor { position: 1 << 40, offset: 99, ..opened.end }).is_err());
}

fn deleted_logs_are_gone(harness: &mut dyn Harness) {
    {
        let mut shard = shard(harness);
        for name in ["a-1", "b-1"] {
            let opened = create(&mut *shard, &log(name));
            append(&mut *shard, opened.slot, 0, 3);
        }
        sync(&mut *shard);
    }
    harness.storage().delete(&[log("a-1"), log("never-1")]).expect("delete");
    assert_eq!(harness.storage().list().expect("list"), [log("b-1")]);
    harness.restart();
    assert_eq!(harness.storage().list().expect("list"), [log("b-1")]);
    let mut shard = shard(harness);
    assert!(matches!(shard.open(&log("a-1"), EXISTING).map(|_| ()), Err(StorageError::NotFound(_))));
    assert_eq!(create(&mut *shard, &log("a-1")).end.offset, 0);
    assert_eq!(create(&mut *shard, &log("b-1")).end.offset, 3);
}

fn databases_are_apart(harness: &mut dyn Harness) {
    let names: Vec<LogName> = [0, 1, 15].map(|number| LogName::new(Database(number), "a-1")).into();
    let expected = |name: &LogName| u64::from(name.database().0) + 1;
    {
        let mut shard = shard(harness);
        for name in &names {
            let opened = create(&mut *shard, name);
            append(&mut *shard, opened.slot, 0, expected(name));
        }
        sync(&mut *shard);
    }
    harness.restart();
    let mut listed = harness.storage().list().expect("list");
    listed.sort();
    assert_eq!(listed, names);
    {
        let mut shard = shard(harness);
        for name in &names {
            let opened = shard.open(name, EXISTING).expect("open");
            assert_eq!(opened.end.offset, expected(name));
        }
    }
    harness.storage().delete(&names[1..]).expect("delete");
    assert_eq!(harness.storage().list().expect("list"), names[..1]);
}

fn a_closed_slot_is_an_error(harness: &mut dyn Harness) {
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    append(&mut *shard, opened.slot, 0, 2);
    let pending = shard.begin_sync();
    append(&mut *shard, opened.slot, 2, 3);
    shard.close(opened.slot);
    shard.close(opened.slot);
    assert!(pending.wait().is_empty());
    let bytes = lines_of([3]);
    assert!(shard.append(opened.slot, Batch { first_offset: 3, lines: 1, bytes: &bytes }).is_err());
    assert!(shard.reopen(opened.slot, opened.end).is_err());
    // A reader outlives its log's writer.
    assert_lines(&read_all(&*opened.reader, Cursor::at_offset(0), 100), &lines_of(0..3));
    let again = create(&mut *shard, &log("a-1"));
    assert_ne!(again.slot, opened.slot);
    assert_eq!(again.end.offset, 3);
}
