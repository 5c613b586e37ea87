//! Reopening a log with lines that were published and not synced: the broker's end is behind them.

use wafka_core::storage::Cursor;

use super::*;
use crate::conformance::lines_of;

/// Enough lines for several pages.
const LINES: u64 = 200;

/// Where a log ends that holds so many lines.
fn end_of(lines: u64, opened: &Opened) -> Cursor {
    Cursor { offset: lines, position: lines_of(0..lines).len() as u64, ..opened.end }
}

#[test]
fn pages_that_a_failed_sync_lost_are_written_again() {
    for commit_journal in [CommitJournalUse::Never, CommitJournalUse::Auto] {
        for seed in 0..4 {
            let mut bench = with(SimFs::new(), commit_journal);
            let opened = bench.open("a-1");
            bench.append(opened.slot, 0, 3).unwrap();
            assert!(bench.sync().is_empty());
            bench.append(opened.slot, 3, LINES).unwrap();
            let end = end_of(LINES, &opened);
            assert!(end.position > 4 * 4096);
            bench.fail(Operation::Sync, "a-1", EIO);
            assert_eq!(bench.sync(), [opened.slot]);
            bench.shard.reopen(opened.slot, end).unwrap();
            // Compared without being shown: they are long.
            assert!(all(&*opened.reader) == lines_of(0..LINES));
            assert!(all(&*bench.crash(seed).open("a-1").reader) == lines_of(0..LINES), "seed {seed}");
        }
    }
}

#[test]
fn a_lost_page_that_was_evicted_is_not_taken_for_lines() {
    let mut bench = with(SimFs::new(), CommitJournalUse::Never);
    let opened = bench.open("a-1");
    bench.append(opened.slot, 0, 3).unwrap();
    assert!(bench.sync().is_empty());
    bench.append(opened.slot, 3, LINES).unwrap();
    bench.fail(Operation::Sync, "a-1", EIO);
    assert_eq!(bench.sync(), [opened.slot]);
    let whole = lines_of(0..LINES);
    let mut holed = whole.clone();
    holed[2 * 4096..3 * 4096].fill(0);
    bench.fs.put(&path("a-1"), &holed);
    let end = end_of(LINES, &opened);
    assert!(matches!(bench.shard.reopen(opened.slot, end), Err(StorageError::Damaged { .. })));
    assert!(matches!(bench.append(opened.slot, LINES, LINES + 1), Err(StorageError::Poisoned { .. })));
    assert!(bench.fs.content(&path("a-1")).unwrap() == holed);
    bench.fs.put(&path("a-1"), &whole);
    bench.shard.reopen(opened.slot, end).unwrap();
}

#[test]
fn what_was_synced_is_not_written_again() {
    const MANY: u64 = 2500;
    // One file is synced by itself, many with the file system as a whole.
    for logs in [1, 20] {
        let mut bench = with(SimFs::new(), CommitJournalUse::Never);
        let opened: Vec<_> = (0..logs).map(|log| bench.open(&format!("log-{log}"))).collect();
        for log in &opened {
            bench.append(log.slot, 0, MANY).unwrap();
        }
        assert!(bench.sync().is_empty());
        assert_eq!(bench.fs.count(Operation::SyncVolume), u64::from(logs > 1));
        let log = &opened[0];
        bench.append(log.slot, MANY, MANY + 5).unwrap();
        bench.fail(Operation::Sync, "log-0.txt", EIO);
        assert_eq!(bench.sync(), [log.slot]);
        let size = lines_of(0..MANY).len() as u64;
        let before = bench.fs.bytes_read();
        bench.shard.reopen(log.slot, end_of(MANY + 5, log)).unwrap();
        assert!(bench.fs.bytes_read() - before < size / 2);
        assert!(all(&*bench.crash(2).open("log-0").reader) == lines_of(0..MANY + 5));
    }
}

#[test]
fn a_log_that_was_cut_takes_no_appends_while_a_record_holds_what_was_cut() {
    for seed in 0..6 {
        let mut bench = with(SimFs::new(), CommitJournalUse::Always);
        let opened = bench.open("a-1");
        bench.append(opened.slot, 0, 3).unwrap();
        assert!(bench.sync().is_empty());
        let cut = bench.append(opened.slot, 3, 6).unwrap();
        assert!(bench.sync().is_empty());
        // The records can neither be let go nor their file be removed.
        bench.fail(Operation::Write, "wafka.commit", EIO);
        bench.fail(Operation::Remove, "wafka.commit", EIO);
        assert!(bench.shard.reopen(opened.slot, cut).is_err());
        assert!(matches!(bench.append(opened.slot, 3, 4), Err(StorageError::Poisoned { .. })));
        if seed % 2 == 0 {
            // What was cut comes back whole, or not at all.
            let found = all(&*bench.crash(seed).open("a-1").reader);
            assert!(found == lines_of(0..3) || found == lines_of(0..6), "seed {seed}");
            continue;
        }
        bench.shard.reopen(opened.slot, cut).unwrap();
        let other = [line_of(3, 17), line_of(4, 1)].concat();
        bench.shard.append(opened.slot, Batch { first_offset: 3, lines: 2, bytes: &other }).unwrap();
        assert!(bench.sync().is_empty());
        let found = all(&*bench.crash(seed).open("a-1").reader);
        assert!(found == [lines_of(0..3), other].concat(), "seed {seed}");
    }
}
