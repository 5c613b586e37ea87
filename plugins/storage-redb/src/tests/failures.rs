//! Disks that fail: what was acknowledged stays, what was not may come back or not, and nothing in between.

use wafka_core::storage::{Batch, Cursor, RewritePlan, StorageError};

use super::*;

/// A failed sync is told of each log it was about, each refuses to be written, and is right again after its reopening;
/// a log that had nothing to lose goes on.
#[test]
fn a_failed_sync_poisons_what_it_was_about() {
    let mut harness = InFile::new();
    {
        let storage = harness.storage();
        let (mut first, mut second) = (shard(storage, 1), shard(storage, 2));
        let (a, b) = (create(&mut *first, "a-1"), create(&mut *first, "b-1"));
        let c = create(&mut *second, "c-1");
        append(&mut *first, a.slot, 0, 10);
        append(&mut *first, b.slot, 0, 20);
        sync(&mut *first);
        append(&mut *first, a.slot, 10, 15);
        append(&mut *first, b.slot, 20, 25);
        storage.home().disk.faults.fail_syncs(1);
        let failures = first.begin_sync().wait();
        let mut slots: Vec<LogSlot> = failures.iter().map(|failure| failure.slot).collect();
        slots.sort_unstable();
        assert_eq!(slots, [a.slot, b.slot]);
        let text = failures[0].error.to_string();
        assert!(text.contains("logs.redb") && text.contains("on purpose"), "{text}");
        first.finish_sync(&failures);
        let bytes = lines_of(15..16);
        let refused = first.append(a.slot, Batch { first_offset: 15, lines: 1, bytes: &bytes });
        assert!(matches!(refused, Err(StorageError::Poisoned { .. })), "{refused:?}");
        // As long as it is poisoned each sync says so.
        assert_eq!(first.begin_sync().wait().len(), 2);

        first.reopen(a.slot, Cursor::at_offset(10)).expect("reopen");
        // What was published without a sync is still there to be committed.
        first.reopen(b.slot, Cursor::at_offset(25)).expect("reopen");
        assert_holds(&*a.reader, 0..10);
        assert_holds(&*b.reader, 0..25);
        append(&mut *first, a.slot, 10, 12);
        append(&mut *second, c.slot, 0, 3);
        sync(&mut *first);
        sync(&mut *second);
    }
    harness.restart();
    let mut shard = shard(harness.storage(), 1);
    for (stem, end) in [("a-1", 12), ("b-1", 25), ("c-1", 3)] {
        let opened = create(&mut *shard, stem);
        assert_eq!(opened.end.offset, end);
        assert_holds(&*opened.reader, 0..end);
    }
}

/// Failures at every write and sync that some work takes, one after the other: after each of them everything that was
/// synced is there, and work goes on.
#[test]
fn every_write_may_fail() {
    let harness = InFile::new();
    let storage = harness.storage();
    let mut shard = shard(storage, 1);
    let opened = create(&mut *shard, "a-1");
    let mut synced = 0;
    for round in 0..60 {
        let (from, to) = (synced, synced + 1 + round % 7 * 40);
        append(&mut *shard, opened.slot, from, to);
        match round % 3 {
            0 => storage.home().disk.faults.fail_writes(1 + round % 2),
            1 => storage.home().disk.faults.fail_syncs(1),
            _ => {}
        }
        let failures = shard.begin_sync().wait();
        shard.finish_sync(&failures);
        if failures.is_empty() {
            synced = to;
        } else {
            // The disk may fail while the database is opened again, too.
            while shard.reopen(opened.slot, Cursor::at_offset(synced)).is_err() {}
        }
        storage.home().disk.faults.fail_writes(0);
        assert_holds(&*opened.reader, 0..synced);
    }
    assert!(synced > 300);
}

/// A disk that is full says so for each log, nothing that was there is lost, and it goes on when there is room.
#[test]
fn a_full_disk() {
    let harness = InFile::new();
    let storage = harness.storage();
    let mut shard = shard(storage, 1);
    let opened = create(&mut *shard, "a-1");
    append(&mut *shard, opened.slot, 0, 100);
    sync(&mut *shard);
    storage.home().disk.faults.limit_len(600_000);
    let mut end = 100;
    let failures = loop {
        append(&mut *shard, opened.slot, end, end + 100);
        let failures = shard.begin_sync().wait();
        if !failures.is_empty() {
            break failures;
        }
        end += 100;
        assert!(end < 100_000, "600 KB hold no more");
    };
    assert!(failures[0].error.to_string().contains("no storage space"), "{}", failures[0].error);
    shard.finish_sync(&failures);
    // There may not even be room to open the database again.
    let _ = shard.reopen(opened.slot, Cursor::at_offset(end));
    storage.home().disk.faults.limit_len(0);
    shard.reopen(opened.slot, Cursor::at_offset(end)).expect("reopen");
    assert_holds(&*opened.reader, 0..end);
    append(&mut *shard, opened.slot, end, end + 100);
    sync(&mut *shard);
    assert_holds(&*opened.reader, 0..end + 100);
}

/// Neither a reading that fails nor one beside a database that is opened afresh is a panic, and later ones succeed.
#[test]
fn reads_fail_and_come_back() {
    let mut harness = InFile::new();
    {
        let mut shard = shard(harness.storage(), 1);
        let opened = create(&mut *shard, "a-1");
        append(&mut *shard, opened.slot, 0, 30_000);
        sync(&mut *shard);
    }
    harness.storage = None;
    // Less memory than there are lines.
    let options = Options { cache_mib: 1, ..Options::default() };
    harness.storage = Some(RedbStorage::open(harness.dir.path(), options).expect("open"));
    let storage = harness.storage();
    let mut shard = shard(storage, 1);
    let opened = create(&mut *shard, "a-1");
    storage.home().disk.faults.fail_reads(u64::MAX);
    let mut bytes = b"before".to_vec();
    let failed = opened.reader.read(Cursor::at_offset(1500), 1 << 20, &mut bytes);
    assert!(matches!(&failed, Err(StorageError::Io { .. })), "{failed:?}");
    assert_eq!(bytes, b"before");
    storage.home().disk.faults.fail_reads(0);
    shard.reopen(opened.slot, Cursor::at_offset(30_000)).expect("reopen");
    assert_holds(&*opened.reader, 0..30_000);
}

/// A rewrite whose transaction fails poisons the log: whether it came about is found out by opening it again.
#[test]
fn a_failed_rewrite() {
    for (writes, syncs) in [(1, 0), (0, 1)] {
        let harness = InFile::new();
        let storage = harness.storage();
        let mut shard = shard(storage, 1);
        let opened = create(&mut *shard, "a-1");
        append(&mut *shard, opened.slot, 0, 50);
        sync(&mut *shard);
        let plan = RewritePlan { drop_below: 10, drop: vec![20, 30] };
        let mut rewrite = shard.begin_rewrite(opened.slot, plan.clone()).expect("begin");
        rewrite.run(&mut |_| ()).expect("run");
        storage.home().disk.faults.fail_writes(writes);
        storage.home().disk.faults.fail_syncs(syncs);
        assert!(shard.finish_rewrite(rewrite, &mut |_| ()).is_err());
        let bytes = lines_of(50..51);
        assert!(shard.append(opened.slot, Batch { first_offset: 50, lines: 1, bytes: &bytes }).is_err());
        shard.reopen(opened.slot, Cursor::at_offset(50)).expect("reopen");
        append(&mut *shard, opened.slot, 50, 60);
        sync(&mut *shard);
        let left: Vec<Offset> = (10..60).filter(|offset| ![20, 30].contains(offset)).collect();
        let found = read_all(&*opened.reader);
        let (all, rewritten) = (lines_of(0..60), lines_of(left.iter().copied()));
        assert!(found == all || found == rewritten, "{}", String::from_utf8_lossy(&found));
        assert_eq!(opened.reader.size_bytes(), found.len() as u64);
        // It can be done again.
        let rewrite = shard.begin_rewrite(opened.slot, plan).expect("begin");
        shard.finish_rewrite(rewrite, &mut |_| ()).expect("finish");
        assert_holds(&*opened.reader, left);
    }
}

/// With quick repair each commit says what a start needs to know: what was durable is there after a crash, too.
#[test]
fn a_start_without_reading_everything() {
    let dir = TempDir::new().expect("a directory");
    let options = || Options { quick_repair: true, ..Options::default() };
    let copy = TempDir::new().expect("a directory");
    {
        let storage = RedbStorage::open(dir.path(), options()).expect("open");
        let mut shard = shard(&storage, 1);
        let opened = create(&mut *shard, "a-1");
        append(&mut *shard, opened.slot, 0, 2000);
        sync(&mut *shard);
        append(&mut *shard, opened.slot, 2000, 2003);
        sync(&mut *shard);
        // As the file is at this moment a crash would leave it.
        std::fs::create_dir(copy.path().join("redb")).expect("a directory");
        let file = "redb/logs.redb";
        std::fs::copy(dir.path().join(file), copy.path().join(file)).expect("copy");
    }
    for options in [options(), Options::default()] {
        let storage = RedbStorage::open(copy.path(), options).expect("open");
        let mut shard = shard(&storage, 1);
        assert_holds(&*create(&mut *shard, "a-1").reader, 0..2003);
    }
}

/// As long as the disk fails the database is opened afresh, which reads all of it, once for all logs and not for each;
/// when it works again, all come back by one commit.
#[test]
fn many_logs_are_opened_afresh_together() {
    let harness = InFile::new();
    let storage = harness.storage();
    let (home, faults) = (storage.home(), &storage.home().disk.faults);
    *home.recover_pause.lock() = Duration::from_secs(3600);
    let mut shard = shard(storage, 1);
    let opened: Vec<Opened> = (0..100).map(|number| create(&mut *shard, &format!("a{number}-1"))).collect();
    for (from, to) in [(0, 10), (10, 12)] {
        for log in &opened {
            append(&mut *shard, log.slot, from, to);
        }
        if to == 10 {
            sync(&mut *shard);
        }
    }
    faults.fail_syncs(u64::MAX);
    let failures = shard.begin_sync().wait();
    assert_eq!(failures.len(), 100);
    shard.finish_sync(&failures);
    let before = faults.connects();
    let mut reopen = |log: &Opened| shard.reopen(log.slot, Cursor::at_offset(10));
    for log in opened.iter().chain(&opened) {
        let error = reopen(log).expect_err("the disk fails");
        assert!(error.to_string().contains("logs.redb"), "{error}");
    }
    assert!(faults.connects() - before <= 1, "{}", faults.connects() - before);

    faults.fail_syncs(0);
    *home.recover_from.lock() = None;
    let before = faults.connects();
    reopen(&opened[0]).expect("reopen");
    let syncs = faults.syncs_done();
    opened[1..].iter().for_each(|log| reopen(log).expect("reopen"));
    assert_eq!((faults.connects() - before, faults.syncs_done() - syncs), (1, 0));
    for log in &opened {
        assert_holds(&*log.reader, 0..10);
        append(&mut *shard, log.slot, 10, 11);
    }
    sync(&mut *shard);
}
