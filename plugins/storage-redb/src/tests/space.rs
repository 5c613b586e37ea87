//! Many logs, and the space that they take.

use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata};
use wafka_core::storage::RewritePlan;

use super::*;
use crate::schema::{RUNS, TRIMS};

/// How many runs there are, and how many logs with runs to remove.
fn rows(storage: &RedbStorage) -> (u64, u64) {
    let counted = storage.home().with(|database| {
        let transaction = database.begin_read()?;
        Ok((transaction.open_table(RUNS)?.len()?, transaction.open_table(TRIMS)?.len()?))
    });
    counted.expect("count")
}

fn sweep(storage: &RedbStorage) {
    let mut from = Some(0);
    while let Some(number) = from {
        from = crate::sweep::step(storage.home(), &storage.home().writing.lock(), number).expect("sweep");
    }
}

#[test]
fn a_thousand_logs_are_one_commit() {
    let mut harness = InFile::new();
    let names: Vec<LogName> = (0..1000).map(|number| log(&format!("topic{number}-1"))).collect();
    let before = harness.storage().home().disk.faults.syncs_done();
    harness.storage().create(&names).expect("create");
    // One sync for the commit, and one each time the file gets longer.
    assert!(harness.storage().home().disk.faults.syncs_done() - before <= 3);
    {
        let storage = harness.storage();
        let mut shards = [shard(storage, 1), shard(storage, 2)];
        let before = storage.home().disk.faults.syncs_done();
        for (index, name) in names.iter().enumerate() {
            let shard = &mut shards[index % 2];
            let opened = shard.open(name, OpenRequest::default()).expect("open");
            append(&mut **shard, opened.slot, 0, 2);
        }
        // One broker's sync takes the other's lines along.
        for shard in &mut shards {
            sync(&mut **shard);
        }
        assert!(storage.home().disk.faults.syncs_done() - before <= 3);
    }
    harness.restart();
    assert_eq!(harness.storage().list().expect("list").len(), 1000);
    let mut shard = shard(harness.storage(), 1);
    for name in &names {
        assert_eq!(shard.open(name, OpenRequest::default()).expect("open").end.offset, 2);
    }
}

#[test]
fn what_goes_is_removed_in_steps() {
    let mut harness = InFile::new();
    {
        let storage = harness.storage();
        let mut shard = shard(storage, 1);
        let opened = create(&mut *shard, "a-1");
        create(&mut *shard, "b-1");
        for offset in 0..3000 {
            append(&mut *shard, opened.slot, offset, offset + 1);
            if offset % 10 == 0 {
                sync(&mut *shard);
            }
        }
        sync(&mut *shard);
        storage.home().commit(&storage.home().writing.lock(), true);
        let before = rows(storage).0;
        let plan = RewritePlan { drop_below: 2900, drop: vec![2950] };
        let rewrite = shard.begin_rewrite(opened.slot, plan).expect("begin");
        shard.finish_rewrite(rewrite, &mut |_| ()).expect("finish");
        assert_holds(&*opened.reader, (2900..3000).filter(|offset| *offset != 2950));
        sweep(storage);
        let after = rows(storage);
        assert!(before > 20 && after.0 <= 4 && after.1 == 0, "{before} {after:?}");
        shard.close(opened.slot);
        storage.delete(&[log("a-1")]).expect("delete");
    }
    // What was not removed by then the next start removes.
    harness.restart();
    sweep(harness.storage());
    assert_eq!(rows(harness.storage()), (0, 0));
    // A new log of the name has nothing of the old one.
    let mut shard = shard(harness.storage(), 1);
    let opened = create(&mut *shard, "a-1");
    assert_eq!((opened.end.offset, opened.reader.size_bytes()), (0, 0));
}

/// A row of one log that is damaged keeps the space of that log, and of no other.
#[test]
fn a_damaged_row_hinders_one_log() {
    let harness = InFile::new();
    let storage = harness.storage();
    let mut shard = shard(storage, 1);
    let logs = ["a-1", "b-1"].map(|stem| create(&mut *shard, stem));
    for (from, to) in [(0, 10), (10, 20)] {
        logs.iter().for_each(|opened| append(&mut *shard, opened.slot, from, to));
        storage.home().commit(&storage.home().writing.lock(), true);
    }
    assert_eq!(rows(storage), (4, 0));
    let damaged = storage.home().write(&storage.home().writing.lock(), |transaction| {
        let mut runs = transaction.open_table(RUNS)?;
        let first = runs.first()?.map(|(key, _)| key.value());
        runs.insert(first.expect("a row"), &b"short"[..])?;
        Ok(())
    });
    damaged.expect("damage");
    for opened in &logs {
        let plan = RewritePlan { drop_below: 15, drop: Vec::new() };
        let rewrite = shard.begin_rewrite(opened.slot, plan).expect("begin");
        shard.finish_rewrite(rewrite, &mut |_| ()).expect("finish");
    }
    sweep(storage);
    assert_eq!(rows(storage), (3, 1));
}

/// Drops that leave nothing of a run, its first, its last, single lines of it.
#[test]
fn drops_cut_runs_up() {
    let mut harness = InFile::new();
    let drop: Vec<Offset> =
        (0..300).filter(|offset| offset % 7 == 0 || (100..180).contains(offset)).collect();
    let left: Vec<Offset> = (0..400).filter(|offset| !drop.contains(offset)).collect();
    {
        let mut shard = shard(harness.storage(), 1);
        let opened = create(&mut *shard, "a-1");
        for from in (0..400).step_by(20) {
            append(&mut *shard, opened.slot, from, from + 20);
            sync(&mut *shard);
        }
        let rewrite = shard
            .begin_rewrite(opened.slot, RewritePlan { drop_below: 0, drop: drop.clone() })
            .expect("begin");
        shard.finish_rewrite(rewrite, &mut |_| ()).expect("finish");
        assert_holds(&*opened.reader, left.iter().copied());
        // What is gone already is no trouble.
        let rewrite = shard.begin_rewrite(opened.slot, RewritePlan { drop_below: 3, drop }).expect("begin");
        let done = shard.finish_rewrite(rewrite, &mut |_| ()).expect("finish");
        assert_eq!(done.bytes_freed, lines_of([1, 2]).len() as u64);
    }
    harness.restart();
    let mut shard = shard(harness.storage(), 1);
    let opened = create(&mut *shard, "a-1");
    let left = left.into_iter().filter(|offset| *offset >= 3);
    assert_eq!(opened.reader.size_bytes(), lines_of(left.clone()).len() as u64);
    assert_holds(&*opened.reader, left);
}

/// Deletions that are spread over many runs go in several rewrites: all brokers wait for what one of them does.
#[test]
fn a_rewrite_cuts_up_some_runs_at_a_time() {
    let harness = InFile::new();
    let storage = harness.storage();
    storage.home().cut_runs_max.store(3, Ordering::Relaxed);
    let mut shard = shard(storage, 1);
    let opened = create(&mut *shard, "a-1");
    for from in (0..100).step_by(10) {
        append(&mut *shard, opened.slot, from, from + 10);
        storage.home().commit(&storage.home().writing.lock(), true);
    }
    // Two lines of each of ten runs.
    let mut drop: Vec<Offset> = (0..100).filter(|offset| [3, 7].contains(&(offset % 10))).collect();
    let mut left: Vec<Offset> = (0..100).collect();
    for gone in [6, 6, 6, 2] {
        let plan = RewritePlan { drop_below: 0, drop: drop.clone() };
        let mut rewrite = shard.begin_rewrite(opened.slot, plan).expect("begin");
        let mut told = Vec::new();
        rewrite.run(&mut |line| told.push(line.cursor.offset)).expect("run");
        let done = shard.finish_rewrite(rewrite, &mut |_| ()).expect("finish");
        let dropped: Vec<Offset> = drop.drain(..gone).collect();
        left.retain(|offset| !dropped.contains(offset));
        assert_eq!(done.bytes_freed, lines_of(dropped).len() as u64);
        assert_eq!(told, left);
        assert_holds(&*opened.reader, left.iter().copied());
    }
}
