//! Many logs, many brokers, logs that come again under the same name, and writers that come too late.

use wafka_core::BrokerId;
use wafka_core::storage::{StorageError, SyncFailure};

use super::*;

pub(super) const CASES: &[Case] = &[
    hundreds_of_logs,
    brokers_write_at_once,
    a_writer_that_comes_too_late_is_fenced,
    a_log_made_again_is_a_new_one,
    long_lines_are_kept,
    what_is_put_off_is_not_lost,
    a_sync_that_nobody_waits_for,
    nothing_to_do_is_no_error,
];

fn hundreds_of_logs(harness: &mut dyn Harness) {
    let count: u64 = 300;
    let names: Vec<LogName> = (0..count)
        .map(|index| LogName::new(Database((index % 3) as u16), &format!("many%{index}-1")))
        .collect();
    harness.storage().create(&names).expect("create");
    {
        let mut shards = [1, 2].map(|broker| harness.storage().shard(BrokerId(broker)).expect("a shard"));
        let mut slots = Vec::new();
        for (name, index) in names.iter().zip(0_u64..) {
            let which = (index % 2) as usize;
            let opened = shards[which].open(name, EXISTING).expect("open");
            append(&mut *shards[which], opened.slot, 0, index % 5 + 1);
            slots.push((which, opened.slot));
        }
        let mut distinct = slots.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), names.len(), "two logs of a shard have one slot");
        for shard in &mut shards {
            sync(&mut **shard);
        }
    }
    harness.restart();
    let mut listed = harness.storage().list().expect("list");
    listed.sort();
    let mut expected = names.clone();
    expected.sort();
    assert_eq!(listed, expected);
    let (gone, left) = names.split_at(200);
    harness.storage().delete(gone).expect("delete");
    let mut shard = shard(harness);
    for (name, index) in left.iter().zip(200_u64..) {
        let opened = shard.open(name, EXISTING).expect("open");
        assert_lines(&read_all(&*opened.reader, opened.first, 100), &lines_of(0..index % 5 + 1));
    }
    let missing = shard.open(&gone[0], EXISTING).map(|_| ());
    assert!(matches!(missing, Err(StorageError::NotFound(_))), "{missing:?}");
}

/// No shard waits for another one's turn to end, and none sees another one's lines.
fn brokers_write_at_once(harness: &mut dyn Harness) {
    let storage = harness.storage();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=4_u16)
            .map(|broker| {
                scope.spawn(move || {
                    let mut shard = storage.shard(BrokerId(broker)).expect("a shard");
                    let opened =
                        ["a", "b"].map(|name| create(&mut *shard, &log(&format!("{name}-{broker}"))));
                    for round in 0..20 {
                        for opened in &opened {
                            let from = round * u64::from(broker);
                            append(&mut *shard, opened.slot, from, from + u64::from(broker));
                        }
                        sync(&mut *shard);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().expect("the writer found what it expected");
        }
    });
    harness.restart();
    let mut shard = shard(harness);
    for broker in 1..=4 {
        for name in ["a", "b"] {
            let opened = create(&mut *shard, &log(&format!("{name}-{broker}")));
            assert_lines(&read_all(&*opened.reader, opened.first, 4000), &lines_of(0..20 * broker));
        }
    }
}

fn a_writer_that_comes_too_late_is_fenced(harness: &mut dyn Harness) {
    let mut first = shard(harness);
    let mut second = harness.storage().shard(BrokerId(2)).expect("a shard");
    let opened = create(&mut *first, &log("a-1"));
    append(&mut *first, opened.slot, 0, 5);
    sync(&mut *first);
    first.close(opened.slot);
    let taken_over = create(&mut *second, &log("a-1"));
    append(&mut *second, taken_over.slot, 5, 8);
    // The first one lost the log with its slot …
    let late = lines_of([5]);
    assert!(first.append(opened.slot, Batch { first_offset: 5, lines: 1, bytes: &late }).is_err());
    sync(&mut *second);
    // Its reader keeps what it had; the new writer's reader sees everything.
    assert!(read_all(&*opened.reader, Cursor::at_offset(0), 500).starts_with(&lines_of(0..5)));
    assert_lines(&read_all(&*taken_over.reader, Cursor::at_offset(0), 500), &lines_of(0..8));
    drop((first, second, opened, taken_over));
    harness.restart();
    // … and who still believes in an older end is told where the log ends, after a restart too.
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    for first_offset in [5, 7, 9] {
        let bytes = lines_of([first_offset]);
        let refused = shard.append(opened.slot, Batch { first_offset, lines: 1, bytes: &bytes });
        assert!(
            matches!(refused, Err(StorageError::Fenced { batch, end: 8, .. }) if batch == first_offset),
            "{refused:?}"
        );
    }
    // Being refused is no failure of the log.
    append(&mut *shard, opened.slot, 8, 9);
    assert_lines(&read_all(&*opened.reader, Cursor::at_offset(0), 500), &lines_of(0..9));
}

fn a_log_made_again_is_a_new_one(harness: &mut dyn Harness) {
    let name = log("a-1");
    let mut old_end = Cursor::default();
    for round in 0..4_u64 {
        let mut shard = shard(harness);
        if round % 2 == 0 {
            harness.storage().create(std::slice::from_ref(&name)).expect("create");
        }
        let mut opened = create(&mut *shard, &name);
        assert_eq!((opened.first.offset, opened.end.offset), (0, 0), "round {round}");
        assert_eq!(opened.reader.size_bytes(), 0);
        // A place in the log that is gone is no place in this one.
        let (bytes, chunk) = read(&*opened.reader, old_end, 1000);
        assert!(bytes.is_empty() && chunk.start == chunk.next, "round {round}");
        let line = line_of(0, round as usize * 10);
        shard.append(opened.slot, Batch { first_offset: 0, lines: 1, bytes: &line }).expect("append");
        append(&mut *shard, opened.slot, 1, 20);
        sync(&mut *shard);
        old_end = read(&*opened.reader, Cursor::at_offset(7), 0).1.next;
        if round == 1 {
            // Whatever has to do with the backend may keep what it has open.
            drop((shard, opened));
            harness.restart();
            shard = super::shard(harness);
            opened = create(&mut *shard, &name);
            assert_lines(&read(&*opened.reader, Cursor::at_offset(0), 0).0, &line);
            assert_eq!(opened.end.offset, 20);
        }
        shard.close(opened.slot);
        drop(shard);
        harness.storage().delete(std::slice::from_ref(&name)).expect("delete");
        // Who still holds a reader gets an answer or an error, and never ends the process.
        let _answer = opened.reader.read(Cursor::at_offset(0), 100, &mut Vec::new());
        assert!(harness.storage().list().expect("list").is_empty());
    }
}

fn long_lines_are_kept(harness: &mut dyn Harness) {
    let lens = [0, 5_000_000, 100, 1_200_000, 70_000, 65_536, 1];
    let lines: Vec<Vec<u8>> = lens.iter().zip(0..).map(|(len, offset)| line_of(offset, *len)).collect();
    {
        let mut shard = shard(harness);
        let opened = create(&mut *shard, &log("a-1"));
        let bytes = lines.concat();
        let batch = Batch { first_offset: 0, lines: lens.len() as u64, bytes: &bytes };
        shard.append(opened.slot, batch).expect("append");
        sync(&mut *shard);
    }
    harness.restart();
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    assert_eq!(opened.end.offset, lens.len() as u64);
    for bytes_max in [0, 66_000, 1 << 21, 1 << 30] {
        assert!(
            read_all(&*opened.reader, opened.first, bytes_max) == lines.concat(),
            "for {bytes_max} bytes"
        );
    }
    for (line, offset) in lines.iter().zip(0..) {
        assert!(read(&*opened.reader, Cursor::at_offset(offset), 0).0 == *line, "line {offset}");
    }
}

/// What a shard puts off while each append is synced before it is told of is seen by readers all the same.
fn what_is_put_off_is_not_lost(harness: &mut dyn Harness) {
    {
        let mut shard = shard(harness);
        shard.set_synced_first(true);
        let opened: Vec<Opened> =
            (0..40).map(|index| create(&mut *shard, &log(&format!("a{index}-1")))).collect();
        for round in 0..3 {
            for opened in &opened {
                append(&mut *shard, opened.slot, round * 2, round * 2 + 2);
            }
            sync(&mut *shard);
            for opened in &opened {
                let found = read_all(&*opened.reader, Cursor::at_offset(0), 500);
                assert_lines(&found, &lines_of(0..round * 2 + 2));
            }
            let caught_up = shard.catch_up(round == 2);
            assert!(caught_up.failures.is_empty(), "{:?}", caught_up.failures);
            assert!(round < 2 || caught_up.due.is_none(), "something is put off although all was to be done");
        }
    }
    harness.restart();
    let mut shard = shard(harness);
    for index in 0..40 {
        let opened = create(&mut *shard, &log(&format!("a{index}-1")));
        assert_lines(&read_all(&*opened.reader, opened.first, 500), &lines_of(0..6));
    }
}

fn a_sync_that_nobody_waits_for(harness: &mut dyn Harness) {
    {
        let mut shard = shard(harness);
        let opened = create(&mut *shard, &log("a-1"));
        append(&mut *shard, opened.slot, 0, 2);
        drop(shard.begin_sync());
        append(&mut *shard, opened.slot, 2, 4);
        let (early, late) = (shard.begin_sync(), shard.begin_sync());
        // They may be waited for in any order, and on any thread.
        let failures = std::thread::spawn(move || late.wait()).join().expect("no panic");
        assert!(failures.is_empty() && early.wait().is_empty(), "{failures:?}");
        shard.finish_sync(&failures);
        append(&mut *shard, opened.slot, 4, 5);
        sync(&mut *shard);
    }
    harness.restart();
    assert_eq!(create(&mut *shard(harness), &log("a-1")).end.offset, 5);
}

fn nothing_to_do_is_no_error(harness: &mut dyn Harness) {
    harness.storage().create(&[]).expect("create nothing");
    harness.storage().delete(&[]).expect("delete nothing");
    harness.storage().create(&[log("a-1"), log("a-1")]).expect("one name twice");
    assert_eq!(harness.storage().list().expect("list"), [log("a-1")]);
    let mut shard = shard(harness);
    sync(&mut *shard);
    let no_failures: [SyncFailure; 0] = [];
    shard.finish_sync(&no_failures);
    shard.close(LogSlot(u32::MAX));
    drop(shard);
    harness.storage().delete(&[log("a-1"), log("a-1")]).expect("one name twice");
    assert!(harness.storage().list().expect("list").is_empty());
}
