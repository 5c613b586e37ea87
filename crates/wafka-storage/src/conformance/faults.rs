//! Appends and syncs that fail: the log refuses what follows, says so, and is right again once it was reopened.

use std::collections::BTreeMap;

use wafka_core::storage::{RewritePlan, StorageError};

use super::*;

pub(super) const CASES: &[Case] = &[
    a_failed_append_poisons_until_it_is_reopened,
    a_failed_sync_is_told_and_poisons,
    a_sync_begun_before_the_failure_is_known_fails_too,
    a_failure_is_not_forgotten_by_closing,
    a_log_goes_on_after_many_failures,
];

/// The logs of one shard, and where each is known to be durable.
struct Writer {
    shard: Box<dyn Shard>,
    logs: BTreeMap<LogSlot, (Opened, Offset, Cursor)>,
}

impl Writer {
    /// Two logs with three durable lines each.
    fn new(harness: &dyn Harness) -> (Self, LogSlot, LogSlot) {
        let mut writer = Writer { shard: shard(harness), logs: BTreeMap::new() };
        let slots = ["a-1", "b-1"].map(|name| {
            let opened = create(&mut *writer.shard, &log(name));
            let slot = opened.slot;
            writer.logs.insert(slot, (opened, 0, Cursor::default()));
            writer.append(slot, 0, 3);
            slot
        });
        let [a, b] = slots;
        assert_eq!(writer.sync(), []);
        (writer, a, b)
    }

    fn append(&mut self, slot: LogSlot, from: Offset, to: Offset) {
        let start = append(&mut *self.shard, slot, from, to);
        assert_eq!(start.offset, from);
        if let Some((_, end, _)) = self.logs.get_mut(&slot) {
            *end = to;
        }
    }

    fn try_append(&mut self, slot: LogSlot, from: Offset, to: Offset) -> Result<Cursor, StorageError> {
        let bytes = lines_of(from..to);
        self.shard.append(slot, Batch { first_offset: from, lines: to - from, bytes: &bytes })
    }

    /// Syncs; what did not fail is durable up to its end. Returns what failed.
    fn sync(&mut self) -> Vec<LogSlot> {
        let failures = self.shard.begin_sync().wait();
        self.shard.finish_sync(&failures);
        let failed: Vec<LogSlot> = failures.iter().map(|failure| failure.slot).collect();
        for (slot, (opened, end, durable)) in &mut self.logs {
            if !failed.contains(slot) {
                *durable = opened_end(opened, *end);
            }
        }
        failed
    }

    /// Brings a log back to where it was durable.
    fn reopen(&mut self, slot: LogSlot) {
        let (opened, end, durable) = self.logs.get_mut(&slot).expect("opened by this writer");
        *end = durable.offset;
        self.shard.reopen(slot, *durable).expect("reopen");
        assert_lines(&read_all(&*opened.reader, Cursor::at_offset(0), 500), &lines_of(0..*end));
    }

    fn lines(&self, slot: LogSlot) -> Vec<u8> {
        read_all(&*self.logs[&slot].0.reader, Cursor::at_offset(0), 500)
    }

    #[track_caller]
    fn assert_poisoned(&mut self, slot: LogSlot, next: Offset) {
        let refused = self.try_append(slot, next, next + 1);
        assert!(matches!(refused, Err(StorageError::Poisoned { .. })), "{refused:?} of a log that failed");
        let refused = self.shard.begin_rewrite(slot, RewritePlan::default()).map(|_| ());
        assert!(refused.is_err(), "a log that failed is rewritten");
    }
}

/// The cursor that a log's owner keeps of its end: what it knows from reading there.
fn opened_end(opened: &Opened, end: Offset) -> Cursor {
    let position = opened.reader.read(Cursor::at_offset(end), 0, &mut Vec::new()).expect("read").start;
    Cursor { offset: end, ..position }
}

fn a_failed_append_poisons_until_it_is_reopened(harness: &mut dyn Harness) {
    {
        let (mut writer, a, b) = Writer::new(harness);
        harness.fail_next(Failing::Append, &log("a-1"));
        let failed = writer.try_append(a, 3, 40);
        assert!(failed.is_err(), "the append went well although it was made to fail");
        // Nothing of it counts, and nothing may follow it.
        assert_lines(&writer.lines(a), &lines_of(0..3));
        writer.assert_poisoned(a, 3);
        writer.assert_poisoned(a, 40);
        let _told = writer.sync();
        writer.assert_poisoned(a, 3);
        writer.reopen(a);
        writer.append(a, 3, 5);
        if writer.try_append(b, 3, 5).is_err() {
            // What they share failed.
            writer.reopen(b);
            writer.append(b, 3, 5);
        }
        assert_eq!(writer.sync(), []);
    }
    harness.restart();
    let mut shard = shard(harness);
    for name in ["a-1", "b-1"] {
        let opened = create(&mut *shard, &log(name));
        assert_lines(&read_all(&*opened.reader, opened.first, 500), &lines_of(0..5));
    }
}

fn a_failed_sync_is_told_and_poisons(harness: &mut dyn Harness) {
    {
        let (mut writer, a, b) = Writer::new(harness);
        writer.append(a, 3, 6);
        writer.append(b, 3, 6);
        harness.fail_next(Failing::Sync, &log("a-1"));
        let failed = writer.sync();
        assert!(failed.contains(&a), "the sync did not tell of the log that failed");
        assert!(failed.iter().all(|slot| [a, b].contains(slot)), "{failed:?}: no such log was open");
        writer.assert_poisoned(a, 6);
        // The lines are still not durable, and a second sync must not say otherwise.
        assert!(writer.sync().contains(&a), "a second sync says that lines are durable whose sync failed");
        for slot in failed {
            writer.reopen(slot);
        }
        assert_lines(&writer.lines(a), &lines_of(0..3));
        let line = line_of(3, 999);
        writer.shard.append(a, Batch { first_offset: 3, lines: 1, bytes: &line }).expect("append");
        assert_eq!(writer.sync(), []);
    }
    harness.restart();
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    let expected = [lines_of(0..3), line_of(3, 999)].concat();
    assert_lines(&read_all(&*opened.reader, opened.first, 500), &expected);
    assert_eq!(opened.end.offset, 4);
    let opened = create(&mut *shard, &log("b-1"));
    let lines = read_all(&*opened.reader, opened.first, 500);
    assert!(lines == lines_of(0..3) || lines == lines_of(0..6));
}

fn a_sync_begun_before_the_failure_is_known_fails_too(harness: &mut dyn Harness) {
    let (mut writer, a, _) = Writer::new(harness);
    writer.append(a, 3, 6);
    harness.fail_next(Failing::Sync, &log("a-1"));
    let first = writer.shard.begin_sync();
    let appended = writer.try_append(a, 6, 8).is_ok();
    let second = writer.shard.begin_sync();
    let failures = first.wait();
    assert!(failures.iter().any(|failure| failure.slot == a), "{failures:?}");
    let also = second.wait();
    assert!(also.iter().any(|failure| failure.slot == a), "{also:?} although lines before it are lost");
    writer.shard.finish_sync(&failures);
    writer.shard.finish_sync(&also);
    writer.assert_poisoned(a, if appended { 8 } else { 6 });
    writer.reopen(a);
    writer.append(a, 3, 4);
    assert_lines(&writer.lines(a), &lines_of(0..4));
}

fn a_failure_is_not_forgotten_by_closing(harness: &mut dyn Harness) {
    {
        let (mut writer, a, _) = Writer::new(harness);
        harness.fail_next(Failing::Append, &log("a-1"));
        assert!(writer.try_append(a, 3, 6).is_err());
        writer.shard.close(a);
        // What of the batch reached the backend may stand or be gone, in whole lines, from the first on.
        let opened = create_however_torn(&mut *writer.shard, &log("a-1"));
        assert!((3..=6).contains(&opened.end.offset));
        assert_lines(&read_all(&*opened.reader, opened.first, 500), &lines_of(0..opened.end.offset));
        append(&mut *writer.shard, opened.slot, opened.end.offset, 9);
        sync(&mut *writer.shard);
        let (mut writer, other) = (writer, log("b-1"));
        harness.fail_next(Failing::Append, &other);
        let b = *writer.logs.keys().find(|slot| **slot != a).expect("two logs");
        assert!(writer.try_append(b, 3, 6).is_err());
    }
    harness.restart();
    let mut shard = shard(harness);
    let opened = create_however_torn(&mut *shard, &log("b-1"));
    assert!((3..=6).contains(&opened.end.offset));
    assert_lines(&read_all(&*opened.reader, opened.first, 500), &lines_of(0..opened.end.offset));
    let opened = create(&mut *shard, &log("a-1"));
    assert_lines(&read_all(&*opened.reader, opened.first, 500), &lines_of(0..9));
}

fn a_log_goes_on_after_many_failures(harness: &mut dyn Harness) {
    let (mut writer, a, b) = Writer::new(harness);
    let mut end = 3;
    for round in 0..6 {
        let failing = if round % 2 == 0 { Failing::Sync } else { Failing::Append };
        harness.fail_next(failing, &log("a-1"));
        let appended = writer.try_append(a, end, end + 4);
        assert_eq!(appended.is_err(), failing == Failing::Append, "{appended:?}");
        let told = writer.sync();
        assert!(told.contains(&a) || failing == Failing::Append, "{told:?}");
        writer.assert_poisoned(a, end);
        for slot in [a, b] {
            writer.reopen(slot);
        }
        writer.append(a, end, end + 2);
        end += 2;
        assert_eq!(writer.sync(), []);
        assert_lines(&writer.lines(a), &lines_of(0..end));
        assert_lines(&writer.lines(b), &lines_of(0..3));
    }
}

/// Opens a log behind which a failed append may have left something.
fn create_however_torn(shard: &mut dyn Shard, log: &LogName) -> Opened {
    let opened = shard.open(log, CREATE).expect("open");
    assert!(opened.damage.is_empty(), "{:?}", opened.damage);
    opened
}
