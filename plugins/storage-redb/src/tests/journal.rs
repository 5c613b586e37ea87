//! Commits of a few lines each: they are in the journal alone until many have come together.

use redb::{ReadableDatabase, ReadableTableMetadata};
use wafka_core::storage::RewritePlan;

use super::*;
use crate::schema::{JOURNAL, RUNS};

/// Rows of the journal, and of the table that is read.
fn rows(storage: &RedbStorage) -> (u64, u64) {
    let counted = storage.home().with(|database| {
        let transaction = database.begin_read()?;
        Ok((transaction.open_table(JOURNAL)?.len()?, transaction.open_table(RUNS)?.len()?))
    });
    counted.expect("count")
}

#[test]
fn a_start_writes_its_lines_where_they_belong() {
    let mut harness = InFile::new();
    let names: Vec<String> = (0..50).map(|number| format!("a{number}-1")).collect();
    {
        let storage = harness.storage();
        let mut shard = shard(storage, 1);
        let opened: Vec<Opened> = names.iter().map(|name| create(&mut *shard, name)).collect();
        for end in 1..=6 {
            for opened in &opened {
                append(&mut *shard, opened.slot, end - 1, end);
            }
            sync(&mut *shard);
        }
        assert_eq!(rows(storage), (6, 0));
        assert_holds(&*opened[7].reader, 0..6);
        // Deleted and made again, a log has nothing of what the journal says of the old one.
        shard.close(opened[0].slot);
        storage.delete(&[log("a0-1")]).expect("delete");
        let again = create(&mut *shard, "a0-1");
        append(&mut *shard, again.slot, 0, 2);
        // One that is given up is closed with what is not durable.
        append(&mut *shard, opened[1].slot, 6, 7);
        shard.close(opened[1].slot);
        assert_eq!(create(&mut *shard, "a1-1").end.offset, 7);
        sync(&mut *shard);
    }
    for _ in 0..2 {
        harness.restart();
        assert_eq!(rows(harness.storage()), (0, 50));
        let mut shard = shard(harness.storage(), 1);
        for (number, name) in names.iter().enumerate() {
            let opened = create(&mut *shard, name);
            let end = [2, 7].get(number).copied().unwrap_or(6);
            assert_eq!(opened.end.offset, end);
            assert_holds(&*opened.reader, 0..end);
        }
    }
}

#[test]
fn it_is_emptied_before_it_is_large() {
    let harness = InFile::new();
    let mut shard = shard(harness.storage(), 1);
    let opened: Vec<Opened> = (0..100).map(|number| create(&mut *shard, &format!("a{number}-1"))).collect();
    let mut emptied = 0;
    for end in (10..=600).step_by(10) {
        for opened in &opened {
            append(&mut *shard, opened.slot, end - 10, end);
        }
        sync(&mut *shard);
        emptied += u64::from(rows(harness.storage()).0 == 0);
    }
    // 60,000 lines of 180 bytes.
    assert_eq!(emptied, 1);
    assert_holds(&*opened[50].reader, 0..600);
}

#[test]
fn what_is_cut_does_not_come_back() {
    let mut harness = InFile::new();
    {
        let storage = harness.storage();
        let mut shard = shard(storage, 1);
        let (a, b) = (create(&mut *shard, "a-1"), create(&mut *shard, "b-1"));
        append(&mut *shard, a.slot, 0, 9);
        append(&mut *shard, b.slot, 0, 9);
        sync(&mut *shard);
        assert_eq!(rows(storage), (1, 0));
        shard.reopen(a.slot, Cursor::at_offset(4)).expect("reopen");
        let rewrite =
            shard.begin_rewrite(b.slot, RewritePlan { drop_below: 6, drop: vec![7] }).expect("begin");
        shard.finish_rewrite(rewrite, &mut |_| ()).expect("finish");
        assert_holds(&*a.reader, 0..4);
        append(&mut *shard, a.slot, 4, 5);
        sync(&mut *shard);
    }
    harness.restart();
    let mut shard = shard(harness.storage(), 1);
    assert_holds(&*create(&mut *shard, "a-1").reader, 0..5);
    assert_holds(&*create(&mut *shard, "b-1").reader, [6, 8]);
}

/// Emptying the journal fails: its lines were durable before and stay so, and only what was new is lost.
#[test]
fn failing_to_empty_it_loses_nothing() {
    for (writes, syncs) in [(1, 0), (0, 1)] {
        let mut harness = InFile::new();
        {
            let storage = harness.storage();
            let home = storage.home();
            let mut shard = shard(storage, 1);
            let (a, b) = (create(&mut *shard, "a-1"), create(&mut *shard, "b-1"));
            append(&mut *shard, a.slot, 0, 9);
            append(&mut *shard, b.slot, 0, 9);
            sync(&mut *shard);
            append(&mut *shard, b.slot, 9, 12);
            home.disk.faults.fail_writes(writes);
            home.disk.faults.fail_syncs(syncs);
            home.commit(&home.writing.lock(), true);
            let failed: Vec<LogSlot> = shard.begin_sync().wait().iter().map(|failure| failure.slot).collect();
            assert_eq!(failed, [b.slot]);
            assert_holds(&*a.reader, 0..9);
            append(&mut *shard, a.slot, 9, 10);
            assert_eq!(shard.begin_sync().wait().len(), 1);
            shard.reopen(b.slot, Cursor::at_offset(9)).expect("reopen");
            sync(&mut *shard);
        }
        harness.restart();
        let mut shard = shard(harness.storage(), 1);
        assert_holds(&*create(&mut *shard, "a-1").reader, 0..10);
        assert_holds(&*create(&mut *shard, "b-1").reader, 0..9);
    }
}

/// Where the journal is empty a start writes nothing that it would take.
#[test]
fn a_start_with_nothing_in_it_commits_nothing() {
    let mut harness = InFile::new();
    let mut syncs = Vec::new();
    for is_emptied in [false, true] {
        {
            let storage = harness.storage();
            let mut shard = shard(storage, 1);
            let opened = create(&mut *shard, "a-1");
            append(&mut *shard, opened.slot, opened.end.offset, opened.end.offset + 1);
            sync(&mut *shard);
            assert_eq!(rows(storage).0, 1);
            if is_emptied {
                storage.home().commit(&storage.home().writing.lock(), true);
            }
        }
        harness.restart();
        assert_eq!(rows(harness.storage()).0, 0);
        syncs.push(harness.storage().home().disk.faults.syncs_done());
    }
    assert!(syncs[1] < syncs[0], "{syncs:?}");
}
