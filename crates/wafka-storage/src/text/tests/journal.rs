//! The commit journal as seen from outside: which files are synced when, and what a start does with it.

use wafka_core::storage::Cursor;

use super::*;

fn journal_path() -> &'static Path {
    Path::new("data/wafka.commit-1.log")
}

/// Logs `a-1`, `b-1`, …, opened.
fn logs(bench: &mut Bench, count: u8) -> Vec<Opened> {
    (b'a'..b'a' + count).map(|letter| bench.open(&format!("{}-1", char::from(letter)))).collect()
}

/// Appends lines to each and makes them durable; returns how many syncs it took.
fn commit(bench: &mut Bench, logs: &[Opened], from: u64, to: u64) -> u64 {
    for log in logs {
        bench.append(log.slot, from, to).unwrap();
    }
    let before = bench.fs.count(Operation::Sync);
    assert!(bench.sync().is_empty());
    bench.fs.count(Operation::Sync) - before
}

#[test]
fn one_sync_covers_many_logs_and_a_large_turn_of_one_needs_no_journal() {
    let options = TextOptions { commit_journal_bytes: 1 << 20, inline: true, ..TextOptions::default() };
    let fs = SimFs::new();
    let storage = TextStorage::open(Arc::new(fs.clone()), Path::new("data"), options).unwrap();
    let shard = storage.shard(BrokerId(1)).unwrap();
    let mut bench = Bench { fs, storage, shard };
    let logs = logs(&mut bench, 9);
    // More than is a small turn, and less than a record may hold.
    assert!((1 << 16..1 << 18).contains(&lines_of(0..900).len()));
    for turn in 0..3 {
        assert_eq!(commit(&mut bench, &logs[..1], turn * 900, turn * 900 + 900), 1);
    }
    assert_eq!(bench.fs.content(journal_path()), None);
    // The first small turn makes the journal.
    commit(&mut bench, &logs[1..2], 0, 1);
    assert_eq!(commit(&mut bench, &logs[1..2], 1, 3), 1);
    commit(&mut bench, &logs[2..], 0, 3);
    for turn in 3..12 {
        assert_eq!(commit(&mut bench, &logs[1..], turn, turn + 1), 1);
    }
    let journal = bench.fs.content(journal_path()).unwrap();
    assert!(String::from_utf8(journal).unwrap().contains("{\"log\":\"i-1.txt\",\"position\":"));
    for seed in 0..3 {
        bench = bench.crash(seed);
        for (number, log) in super::journal::logs(&mut bench, 9).iter().enumerate() {
            assert!(all(&*log.reader) == lines_of(0..if number == 0 { 2700 } else { 12 }));
            assert!(log.damage.is_empty() && log.torn.is_none());
        }
    }
}

#[test]
fn direct_writes_take_whole_blocks_and_give_way_where_they_fail() {
    for short in [false, true] {
        let fs = SimFs::new();
        fs.allow_direct(true);
        let options = TextOptions {
            commit_journal: CommitJournalUse::Always,
            commit_journal_bytes: 1 << 16,
            inline: true,
            ..TextOptions::default()
        };
        let storage = TextStorage::open(Arc::new(fs.clone()), Path::new("data"), options).unwrap();
        let shard = storage.shard(BrokerId(1)).unwrap();
        let mut bench = Bench { fs, storage, shard };
        let opened = logs(&mut bench, 2);
        commit(&mut bench, &opened, 0, 3);
        if short {
            // What is left of the record is no whole block: as on a disk with larger ones.
            bench.fs.inject(Fault {
                operation: Operation::Write,
                path_contains: "commit-1".into(),
                skip: 0,
                times: 1,
                kind: FaultKind::ShortWrite(100),
            });
        }
        commit(&mut bench, &opened, 3, 6);
        commit(&mut bench, &opened, 6, 9);
        commit(&mut bench, &opened, 9, 10);
        let journal = bench.fs.content(journal_path()).unwrap();
        let records = |text: &[u8]| text.starts_with(b"{\"commit\":");
        let blocks = journal.chunks(4096).filter(|block| records(block)).count();
        // The last one stands right behind another where blocks have been given up.
        assert_eq!(blocks, if short { 3 } else { 4 });
        for seed in 0..10 {
            bench = bench.crash(seed);
            for log in logs(&mut bench, 2) {
                assert_eq!(all(&*log.reader), lines_of(0..10));
            }
        }
    }
}

#[test]
fn what_is_appended_to_many_logs_waits_for_more_and_is_lost_by_nobody() {
    let mut bench = on(SimFs::new());
    let logs = logs(&mut bench, 20);
    bench.shard.set_synced_first(true);
    for turn in 0..3 {
        commit(&mut bench, &logs, turn, turn + 1);
    }
    let in_file = |bench: &Bench, letter: &str| bench.fs.content(&path(&format!("{letter}-1"))).unwrap();
    assert_eq!(in_file(&bench, "p"), lines_of(0..3), "the first sixteen are written at once");
    // The first turn went without the journal, which it made.
    assert_eq!(in_file(&bench, "q"), lines_of(0..1));
    assert_eq!(all(&*logs[17].reader), lines_of(0..3), "a reader has them written");
    assert_eq!(in_file(&bench, "r"), lines_of(0..3));
    bench.append(logs[18].slot, 3, 4).unwrap();
    assert_eq!(in_file(&bench, "s"), lines_of(0..4), "what waits goes along with what does not");
    assert!(bench.shard.catch_up(false).due.is_some());
    let mut killed = on(bench.fs.kill());
    for (number, log) in super::journal::logs(&mut killed, 20).iter().enumerate() {
        assert_eq!(all(&*log.reader), lines_of(0..if number == 18 { 4 } else { 3 }));
    }
    // Nothing of the disk is left: what waited was durable, so it stays readable, and comes back with the space.
    let mut bench = on(killed.fs.kill());
    let logs = super::journal::logs(&mut bench, 20);
    bench.shard.set_synced_first(true);
    commit(&mut bench, &logs[..18], 3, 4);
    commit(&mut bench, &logs[..18], 4, 5);
    bench.fs.limit_space(0);
    let caught_up = bench.shard.catch_up(true);
    assert_eq!(caught_up.failures.iter().map(|f| f.slot).collect::<Vec<_>>(), [logs[16].slot, logs[17].slot]);
    assert!(caught_up.due.is_none());
    bench.shard.finish_sync(&caught_up.failures);
    assert!(matches!(bench.append(logs[17].slot, 5, 6), Err(StorageError::Poisoned { .. })));
    bench.fs.heal();
    let end = Cursor { offset: 5, position: lines_of(0..5).len() as u64, ..logs[17].end };
    bench.shard.reopen(logs[17].slot, end).unwrap();
    bench.append(logs[17].slot, 5, 6).unwrap();
    assert_eq!(all(&*logs[17].reader), lines_of(0..6));
}

#[test]
fn a_kill_needs_no_replay_and_a_clean_end_leaves_nothing() {
    let mut bench = with(SimFs::new(), CommitJournalUse::Always);
    let opened = logs(&mut bench, 3);
    commit(&mut bench, &opened, 0, 5);
    let Bench { fs, storage, shard } = bench;
    drop(shard);
    drop(storage);
    let before = fs.count(Operation::Sync);
    let mut bench = with(fs, CommitJournalUse::Always);
    // Only the new run is begun.
    assert_eq!(bench.fs.count(Operation::Sync) - before, 1);
    let opened = logs(&mut bench, 3);
    commit(&mut bench, &opened, 5, 9);
    let mut bench = with(bench.fs.kill(), CommitJournalUse::Always);
    for log in logs(&mut bench, 3) {
        assert_eq!(all(&*log.reader), lines_of(0..9));
    }
}

#[test]
fn large_turns_go_to_their_files() {
    let mut bench = with(SimFs::new(), CommitJournalUse::Always);
    let opened = logs(&mut bench, 4);
    commit(&mut bench, &opened, 0, 1);
    assert_eq!(commit(&mut bench, &opened, 1, 2), 1);
    // A quarter of 64 KiB, which these exceed.
    assert_eq!(commit(&mut bench, &opened, 2, 50), 4);
    assert_eq!(commit(&mut bench, &opened, 50, 51), 1);
    for log in logs(&mut bench.crash(1), 4) {
        assert_eq!(all(&*log.reader), lines_of(0..51));
    }
}

#[test]
fn a_journal_that_cannot_be_made_is_done_without() {
    for (operation, kind) in [
        (Operation::Create, EIO),
        (Operation::Write, FaultKind::Errno(28)),
        (Operation::Sync, EIO),
        (Operation::SyncDir, EIO),
    ] {
        let mut bench = with(SimFs::new(), CommitJournalUse::Always);
        let opened = logs(&mut bench, 3);
        let part = if operation == Operation::SyncDir { "data" } else { "wafka.commit" };
        bench.fail(operation, part, kind);
        assert!(commit(&mut bench, &opened, 0, 4) >= 3);
        assert_eq!(bench.fs.content(journal_path()), None);
        assert_eq!(commit(&mut bench, &opened, 4, 5), 3);
        for log in logs(&mut bench.crash(2), 3) {
            assert_eq!(all(&*log.reader), lines_of(0..5));
        }
    }
}

#[test]
fn a_journal_that_fails_is_removed_and_nothing_is_lost() {
    for operation in [Operation::Write, Operation::Sync] {
        for seed in 0..5 {
            let mut bench = with(SimFs::new(), CommitJournalUse::Always);
            let opened = logs(&mut bench, 3);
            commit(&mut bench, &opened, 0, 4);
            bench.fail(operation, "wafka.commit", EIO);
            commit(&mut bench, &opened, 4, 6);
            assert_eq!(bench.fs.content(journal_path()), None);
            assert_eq!(commit(&mut bench, &opened, 6, 7), 3);
            for log in logs(&mut bench.crash(seed), 3) {
                assert_eq!(all(&*log.reader), lines_of(0..7));
            }
        }
    }
}

/// The file of one log cannot be synced for a while: what its records hold outlives that.
#[test]
fn a_log_that_a_checkpoint_could_not_sync_keeps_what_was_acknowledged() {
    let mut bench = with(SimFs::new(), CommitJournalUse::Always);
    let opened = logs(&mut bench, 3);
    for turn in 0..8 {
        commit(&mut bench, &opened[..1], turn * 10, turn * 10 + 10);
    }
    commit(&mut bench, &opened[1..], 0, 1);
    bench.fs.inject(Fault {
        operation: Operation::Sync,
        path_contains: "a-1".into(),
        skip: 0,
        times: 3,
        kind: EIO,
    });
    // Closing a log releases its records, which syncs all that they cover.
    bench.shard.close(opened[1].slot);
    assert!(bench.try_open("b-1").is_err(), "its records still matter");
    assert!(bench.storage.delete(&[name("b-1")]).is_err());
    bench.fs.heal();
    assert!(matches!(bench.append(opened[0].slot, 80, 81), Err(StorageError::Poisoned { .. })));
    bench.shard.reopen(opened[0].slot, Cursor::at_offset(80)).unwrap();
    bench.append(opened[0].slot, 80, 81).unwrap();
    assert!(bench.sync().is_empty());
    // From here on no record matters any more.
    bench.shard.close(opened[2].slot);
    for seed in 0..4 {
        bench = bench.crash(seed);
        assert_eq!(all(&*bench.open("a-1").reader), lines_of(0..81));
        assert_eq!(all(&*bench.open("b-1").reader), lines_of(0..1));
    }
}

#[test]
fn a_start_refuses_a_journal_it_cannot_read_and_passes_over_logs_that_are_gone() {
    let mut bench = with(SimFs::new(), CommitJournalUse::Always);
    let opened = logs(&mut bench, 3);
    commit(&mut bench, &opened, 0, 4);
    let fs = bench.fs.kill();
    let journal = fs.content(journal_path()).unwrap();

    fs.remove(Path::new("data/b-1.txt")).unwrap();
    let mut without = with(fs.kill(), CommitJournalUse::Always);
    assert_eq!(without.open("b-1").end.offset, 0);
    assert_eq!(without.open("c-1").end.offset, 4);

    let fs = without.fs.kill();
    let mut damaged = journal.clone();
    damaged[..8192].fill(b'x');
    fs.put(journal_path(), &damaged);
    let opened = TextStorage::open(Arc::new(fs.clone()), Path::new("data"), TextOptions::default());
    let error = opened.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("wafka.commit-1.log") && error.contains("headers are damaged"), "{error}");

    // A damaged record ends the replay; the records before it count.
    let mut damaged = journal;
    let record = damaged.windows(10).rposition(|bytes| bytes == b"{\"commit\":").unwrap();
    damaged[record + 30] ^= 1;
    fs.put(journal_path(), &damaged);
    with(fs, CommitJournalUse::Always);
}

#[test]
fn a_turn_waits_for_room_and_gets_it() {
    let options = TextOptions {
        commit_journal: CommitJournalUse::Always,
        commit_journal_bytes: 1 << 14,
        ..TextOptions::default()
    };
    let fs = SimFs::new();
    let storage = TextStorage::open(Arc::new(fs.clone()), Path::new("data"), options).unwrap();
    let shard = storage.shard(BrokerId(1)).unwrap();
    let mut bench = Bench { fs, storage, shard };
    let opened = logs(&mut bench, 4);
    for turn in 0..400 {
        commit(&mut bench, &opened, turn, turn + 1);
    }
    for log in logs(&mut bench.crash(3), 4) {
        assert_eq!(all(&*log.reader), lines_of(0..400));
    }
}
