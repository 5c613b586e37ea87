//! Every fault of the file-system seam, and what must hold after it.

use wafka_core::storage::{Cursor, RewritePlan};

use super::*;
use crate::conformance::lines_of;
use crate::fs::Fault;

#[test]
fn short_writes_are_continued() {
    let mut bench = on(SimFs::new());
    let opened = bench.open("a-1");
    for bytes in [1, 7, 100] {
        bench.fail(Operation::Write, "a-1", FaultKind::ShortWrite(bytes));
    }
    bench.append(opened.slot, 0, 10).unwrap();
    assert_eq!(all(&*opened.reader), lines_of(0..10));
    assert_eq!(bench.fs.content(&path("a-1")).unwrap(), lines_of(0..10));
}

#[test]
fn a_full_disk_stops_one_log_until_it_is_reopened() {
    let mut bench = on(SimFs::new());
    let (a, b) = (bench.open("a-1"), bench.open("b-1"));
    let durable = bench.append(a.slot, 0, 3).unwrap();
    bench.append(b.slot, 0, 1).unwrap();
    assert!(bench.sync().is_empty());
    bench.fs.limit_space(300);
    let end = Cursor { offset: 3, position: lines_of(0..3).len() as u64, ..durable };
    let StorageError::Io { source, .. } = bench.append(a.slot, 3, 20).unwrap_err() else { panic!() };
    assert_eq!(source.raw_os_error(), Some(28));
    // What was written of the batch is seen by nobody, and nothing may follow it.
    assert!(bench.fs.content(&path("a-1")).unwrap().len() as u64 > end.position);
    assert_eq!(all(&*a.reader), lines_of(0..3));
    assert!(matches!(bench.append(a.slot, 3, 4), Err(StorageError::Poisoned { .. })));
    assert!(matches!(
        bench.shard.begin_rewrite(a.slot, RewritePlan::default()).map(|_| ()),
        Err(StorageError::Poisoned { .. })
    ));
    bench.fs.heal();
    bench.append(b.slot, 1, 2).unwrap();
    assert!(matches!(bench.append(a.slot, 3, 4), Err(StorageError::Poisoned { .. })));

    bench.shard.reopen(a.slot, end).unwrap();
    assert_eq!(bench.fs.content(&path("a-1")).unwrap(), lines_of(0..3));
    // No line that anybody saw was cut: positions hold.
    assert_eq!(a.reader.generation(), end.generation);
    assert_eq!(bench.append(a.slot, 3, 5).unwrap(), end);
    assert!(bench.sync().is_empty());
    let mut bench = bench.crash(1);
    assert_eq!(all(&*bench.open("a-1").reader), lines_of(0..5));
    assert_eq!(all(&*bench.open("b-1").reader), lines_of(0..2));
}

#[test]
fn a_failed_sync_is_not_repeated() {
    let mut bench = with(SimFs::new(), CommitJournalUse::Never);
    let (a, b) = (bench.open("a-1"), bench.open("b-1"));
    bench.append(a.slot, 0, 3).unwrap();
    assert!(bench.sync().is_empty());
    let end = bench.append(a.slot, 3, 6).unwrap();
    bench.append(b.slot, 0, 2).unwrap();
    bench.fail(Operation::Sync, "a-1", EIO);
    let pending = bench.shard.begin_sync();
    bench.append(a.slot, 6, 8).unwrap();
    let also_pending = bench.shard.begin_sync();
    let failures = pending.wait();
    assert_eq!(failures.iter().map(|failure| failure.slot).collect::<Vec<_>>(), [a.slot]);
    // The kernel would say yes the second time.
    assert_eq!(also_pending.wait().len(), 1);
    bench.shard.finish_sync(&failures);
    assert!(matches!(bench.append(a.slot, 8, 9), Err(StorageError::Poisoned { .. })));
    bench.append(b.slot, 2, 4).unwrap();
    assert_eq!(bench.sync(), [a.slot]);
    assert_eq!(bench.sync(), [a.slot]);

    bench.shard.reopen(a.slot, end).unwrap();
    assert_eq!(all(&*a.reader), lines_of(0..3));
    assert_ne!(a.reader.generation(), end.generation);
    bench.append(a.slot, 3, 4).unwrap();
    assert!(bench.sync().is_empty());
    for seed in 0..5 {
        bench = bench.crash(seed);
        assert_eq!(all(&*bench.open("a-1").reader), lines_of(0..4));
        assert_eq!(all(&*bench.open("b-1").reader), lines_of(0..4));
    }
}

#[test]
fn a_sync_from_before_a_reopening_does_not_speak_for_cut_lines() {
    for commit_journal in [CommitJournalUse::Never, CommitJournalUse::Always] {
        let mut bench = with(SimFs::new(), commit_journal);
        let opened = bench.open("a-1");
        let end = bench.append(opened.slot, 0, 3).unwrap();
        let pending = bench.shard.begin_sync();
        bench.shard.reopen(opened.slot, end).unwrap();
        bench.append(opened.slot, 0, 1).unwrap();
        assert_eq!(pending.wait().len(), 1);
        assert!(bench.sync().is_empty());
        assert_eq!(all(&*bench.crash(5).open("a-1").reader), lines_of(0..1));
    }
}

#[test]
fn a_reopening_that_fails_leaves_the_log_poisoned() {
    for (operation, part) in [
        (Operation::Open, "a-1"),
        (Operation::Read, "a-1"),
        (Operation::Write, "a-1"),
        (Operation::SetLen, "a-1"),
        (Operation::Sync, "a-1"),
        (Operation::SyncDir, "data"),
    ] {
        let mut bench = on(SimFs::new());
        let opened = bench.open("a-1");
        bench.append(opened.slot, 0, 3).unwrap();
        assert!(bench.sync().is_empty());
        bench.fail(Operation::Write, "a-1", EIO);
        assert!(bench.append(opened.slot, 3, 4).is_err());
        let end = Cursor { offset: 3, position: lines_of(0..3).len() as u64, ..opened.end };
        bench.fail(operation, part, EIO);
        assert!(bench.shard.reopen(opened.slot, end).is_err(), "{operation:?}");
        assert!(matches!(bench.append(opened.slot, 3, 4), Err(StorageError::Poisoned { .. })));
        bench.shard.reopen(opened.slot, end).unwrap();
        bench.append(opened.slot, 3, 5).unwrap();
        assert!(bench.sync().is_empty());
        assert_eq!(all(&*bench.crash(3).open("a-1").reader), lines_of(0..5));
    }
}

#[test]
fn a_reopening_does_not_accept_a_file_that_changed() {
    let mut bench = with(SimFs::new(), CommitJournalUse::Never);
    let opened = bench.open("a-1");
    let first = bench.append(opened.slot, 0, 3).unwrap();
    assert!(bench.sync().is_empty());
    let end = Cursor { offset: 3, position: lines_of(0..3).len() as u64, ..first };
    let mut changed = lines_of(0..3);
    for content in [lines_of(0..2), [&lines_of(0..2)[..], b"rubbish\n"].concat(), {
        changed[end.position as usize - 30] ^= 1;
        changed
    }] {
        bench.fs.put(&path("a-1"), &content);
        assert!(matches!(bench.shard.reopen(opened.slot, end), Err(StorageError::Damaged { .. })));
    }
    bench.fs.put(&path("a-1"), &lines_of(0..3));
    let wrong = Cursor { position: end.position - 1, ..end };
    assert!(matches!(bench.shard.reopen(opened.slot, wrong), Err(StorageError::Damaged { .. })));
    let wrong = Cursor { offset: 2, ..end };
    assert!(matches!(bench.shard.reopen(opened.slot, wrong), Err(StorageError::Damaged { .. })));
    bench.shard.reopen(opened.slot, end).unwrap();
}

#[test]
fn a_failed_read_is_an_error_and_the_next_one_is_not() {
    let mut bench = on(SimFs::new());
    let opened = bench.open("a-1");
    bench.append(opened.slot, 0, 3).unwrap();
    bench.fail(Operation::Read, "a-1", EIO);
    let mut into = b"kept".to_vec();
    assert!(opened.reader.read(Cursor::at_offset(0), 100, &mut into).is_err());
    assert_eq!(into, b"kept");
    assert_eq!(all(&*opened.reader), lines_of(0..3));
}

#[test]
fn an_opening_that_fails_can_be_repeated() {
    let torn = [&lines_of(0..3)[..], b"{\"half"].concat();
    for operation in [Operation::Open, Operation::Read, Operation::SetLen, Operation::Sync] {
        let mut bench = on(SimFs::new());
        bench.fs.put(&path("a-1"), &torn);
        bench.fail(operation, "a-1", EIO);
        assert!(bench.try_open("a-1").is_err(), "{operation:?}");
        let opened = bench.open("a-1");
        assert_eq!(opened.end.offset, 3);
        bench.append(opened.slot, 3, 4).unwrap();
        assert!(bench.sync().is_empty());
        assert_eq!(bench.fs.content(&path("a-1")).unwrap(), lines_of(0..4));
    }
    for operation in [Operation::Create, Operation::SyncDir] {
        for seed in 0..8 {
            let mut bench = on(SimFs::new());
            bench.fail(operation, "data", EIO);
            assert!(bench.try_open("a-1").is_err());
            let opened = bench.open("a-1");
            bench.append(opened.slot, 0, 2).unwrap();
            assert!(bench.sync().is_empty());
            assert_eq!(all(&*bench.crash(seed).open("a-1").reader), lines_of(0..2));
        }
    }
}

#[test]
fn too_many_open_files_are_explained() {
    let mut bench = on(SimFs::new());
    bench.fail(Operation::Create, "a-1", FaultKind::Errno(24));
    let error = bench.try_open("a-1").map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with("a-1.txt: open: ") && error.contains("ulimit -n"), "{error}");
}

#[test]
fn a_rewrite_that_fails_changes_nothing() {
    let cases = [
        (Operation::Create, ".tmp"),
        (Operation::Write, ".tmp"),
        (Operation::Read, "a-1.txt"),
        (Operation::Sync, ".tmp"),
        (Operation::Rename, "a-1"),
    ];
    for (operation, part) in cases {
        for skip in 0..2 {
            let mut bench = with(SimFs::new(), CommitJournalUse::Never);
            let opened = bench.open("a-1");
            bench.append(opened.slot, 0, 9).unwrap();
            assert!(bench.sync().is_empty());
            bench.fs.inject(Fault { operation, path_contains: part.into(), skip, times: 1, kind: EIO });
            let plan = RewritePlan { drop_below: 4, drop: vec![6] };
            let outcome = bench.shard.begin_rewrite(opened.slot, plan).and_then(|mut rewrite| {
                rewrite.run(&mut |_| {})?;
                bench.append(opened.slot, 9, 11)?;
                bench.shard.finish_rewrite(rewrite, &mut |_| {})
            });
            let entries = bench.fs.read_dir(Path::new("data")).unwrap();
            assert_eq!(entries.len(), 1, "{operation:?}: {entries:?}");
            if skip == 0 {
                assert!(outcome.is_err(), "{operation:?}");
            }
            let end = opened.reader.size_bytes();
            bench.fs.heal();
            let next = if bench.append(opened.slot, 9, 11).is_ok() { 11 } else { 12 };
            if next == 12 {
                bench.append(opened.slot, 11, 12).unwrap();
            }
            assert!(bench.sync().is_empty());
            let expected = match outcome {
                Ok(_) => [lines_of([4, 5]), lines_of(7..next)].concat(),
                Err(_) => lines_of(0..next),
            };
            assert!(opened.reader.size_bytes() > end);
            assert_eq!(all(&*opened.reader), expected, "{operation:?}");
            assert_eq!(all(&*bench.crash(2).open("a-1").reader), expected);
        }
    }
}

#[test]
fn a_rewrite_whose_rename_is_not_durable_poisons() {
    for seed in 0..10 {
        let mut bench = on(SimFs::new());
        let opened = bench.open("a-1");
        bench.append(opened.slot, 0, 9).unwrap();
        assert!(bench.sync().is_empty());
        let plan = RewritePlan { drop_below: 4, drop: vec![] };
        let mut rewrite = bench.shard.begin_rewrite(opened.slot, plan).unwrap();
        rewrite.run(&mut |_| {}).unwrap();
        bench.fail(Operation::SyncDir, "data", EIO);
        assert!(bench.shard.finish_rewrite(rewrite, &mut |_| {}).is_err());
        assert!(matches!(bench.append(opened.slot, 9, 10), Err(StorageError::Poisoned { .. })));
        assert_eq!(all(&*opened.reader), lines_of(4..9));
        if seed % 2 == 0 {
            // Either file may be found, and both hold what was acknowledged.
            let content = all(&*bench.crash(seed).open("a-1").reader);
            assert!(content == lines_of(0..9) || content == lines_of(4..9));
        } else {
            bench.shard.reopen(opened.slot, Cursor::at_offset(9)).unwrap();
            bench.append(opened.slot, 9, 10).unwrap();
            assert!(bench.sync().is_empty());
            assert_eq!(all(&*bench.crash(seed).open("a-1").reader), lines_of(4..10));
        }
    }
}

#[test]
fn leftovers_of_a_rewrite_are_removed_at_the_next_start() {
    let mut bench = with(SimFs::new(), CommitJournalUse::Never);
    let opened = bench.open("a-1");
    bench.append(opened.slot, 0, 9).unwrap();
    assert!(bench.sync().is_empty());
    let rewrite = bench.shard.begin_rewrite(opened.slot, RewritePlan::default()).unwrap();
    let foreign = Path::new("data/notes.tmp");
    bench.fs.put(foreign, b"not ours");
    let bench = on(bench.fs.kill());
    drop(rewrite);
    let mut names: Vec<_> =
        bench.fs.read_dir(Path::new("data")).unwrap().into_iter().map(|e| e.name).collect();
    names.sort();
    assert_eq!(names, ["a-1.txt", "notes.tmp"]);
}

#[test]
fn a_deletion_that_fails_can_be_repeated() {
    for operation in [Operation::Remove, Operation::SyncDir] {
        let mut bench = on(SimFs::new());
        let slot = bench.open("a-1").slot;
        bench.shard.close(slot);
        bench.fail(operation, "data", EIO);
        assert!(bench.storage.delete(&[name("a-1")]).is_err());
        bench.storage.delete(&[name("a-1")]).unwrap();
        assert!(bench.crash(4).storage.list().unwrap().is_empty());
    }
}

#[test]
fn damage_in_the_middle_is_reported_and_the_rest_stays_readable() {
    let mut content = lines_of(0..300);
    let start = lines_of(0..150).len();
    content[start + 5] ^= 4;
    let bad = lines_of([150]).len();
    let mut bench = on(SimFs::new());
    bench.fs.put(&path("a-1"), &content);
    let opened = bench.open("a-1");
    assert_eq!(
        opened.damage.iter().map(|d| (d.position, d.bytes)).collect::<Vec<_>>(),
        [(start as u64, bad as u64)]
    );
    assert_eq!(all(&*opened.reader), content);
    // The damaged line comes in its place, alone or with others, and so does what follows.
    let mut cursor = Cursor::at_offset(149);
    for expected in [&lines_of([149])[..], &content[start..start + bad], &lines_of([151])] {
        let mut bytes = Vec::new();
        cursor = opened.reader.read(cursor, 0, &mut bytes).unwrap().next;
        assert_eq!(bytes, expected);
    }
    let mut bytes = Vec::new();
    opened.reader.read(Cursor::at_offset(150), 0, &mut bytes).unwrap();
    assert_eq!(bytes, content[start..start + bad]);
    // A rewrite keeps it.
    let plan = RewritePlan { drop_below: 200, drop: vec![] };
    let rewrite = bench.shard.begin_rewrite(opened.slot, plan).unwrap();
    let mut kept = Vec::new();
    bench.shard.finish_rewrite(rewrite, &mut |line| kept.push(line.cursor.offset)).unwrap();
    assert_eq!(all(&*opened.reader), [&content[start..start + bad], &lines_of(200..300)].concat());
    assert_eq!(kept[1..], (200..300).collect::<Vec<_>>());
}

#[test]
fn an_editor_that_drops_the_last_newline_loses_nothing() {
    let content = lines_of(0..3);
    let mut bench = on(SimFs::new());
    bench.fs.put(&path("a-1"), &content[..content.len() - 1]);
    let opened = bench.open("a-1");
    assert_eq!(opened.end.offset, 3);
    bench.append(opened.slot, 3, 4).unwrap();
    assert!(bench.sync().is_empty());
    assert_eq!(bench.fs.content(&path("a-1")).unwrap(), lines_of(0..4));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let mut bench = on(SimFs::new());
    for stem in ["", "../a", "a/b", ".a", "a b", "a\0"] {
        assert!(bench.try_open(stem).is_err(), "{stem}");
        assert!(bench.storage.delete(&[name(stem)]).is_err(), "{stem}");
    }
}

#[test]
fn what_is_cut_behind_a_lost_page_is_kept_apart() {
    let content = {
        let mut content = lines_of(0..100);
        content[4096..8192].fill(0);
        content
    };
    let other = [&content[..9000], &lines_of(200..220)].concat();
    let fs = SimFs::new();
    // What was kept once stays, whatever is cut at the same place later.
    for (content, suffix) in [(&content, ""), (&other, ".1"), (&content, ".2")] {
        fs.put(&path("a-1"), content);
        let mut bench = on(fs.kill());
        // What could be kept in part only is kept the next time.
        for operation in [Operation::Write, Operation::Sync] {
            bench.fail(operation, ".torn-", EIO);
            assert!(bench.try_open("a-1").is_err());
        }
        let opened = bench.open("a-1");
        let torn = opened.torn.unwrap();
        assert!(all(&*opened.reader) == content[..torn.position as usize]);
        let kept = format!("data/a-1.txt.torn-{}{suffix}", torn.position);
        assert!(bench.fs.content(Path::new(&kept)).unwrap() == content[torn.position as usize..]);
        bench.append(opened.slot, opened.end.offset, opened.end.offset + 1).unwrap();
        assert!(bench.sync().is_empty());
        assert_eq!(bench.storage.list().unwrap(), [name("a-1")]);
    }
}
