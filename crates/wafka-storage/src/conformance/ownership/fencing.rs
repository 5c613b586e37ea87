//! Who lost the lease writes no more, however late it finds out, and loses nothing that was acknowledged.

use std::sync::mpsc;
use std::thread;

use wafka_core::storage::{RewritePlan, StorageError, SyncFailure};

use super::leases::assert_not_owner;
use super::*;

pub(super) const CASES: &[Case] = &[
    the_next_owner_has_what_was_synced,
    an_old_owner_appends_no_more,
    who_gave_it_up_writes_no_more,
    who_does_not_know_yet_loses_nothing,
    what_was_under_way_is_there_at_once_or_never,
    an_old_owner_changes_no_log,
    an_old_rewrite_changes_nothing,
    a_log_that_was_made_anew_is_another,
    owners_follow_each_other,
];

/// Lines whose payload tells who wrote them.
fn lines_by(writer: usize, from: Offset, to: Offset) -> Vec<u8> {
    (from..to).flat_map(|offset| line_of(offset, 300 + writer)).collect()
}

fn append_by(
    shard: &mut dyn Shard,
    slot: LogSlot,
    writer: usize,
    from: Offset,
    to: Offset,
) -> Result<Cursor, StorageError> {
    let bytes = lines_by(writer, from, to);
    shard.append(slot, Batch { first_offset: from, lines: to - from, bytes: &bytes })
}

fn sync_failures(shard: &mut dyn Shard) -> Vec<SyncFailure> {
    let failures = shard.begin_sync().wait();
    shard.finish_sync(&failures);
    failures
}

/// Makes a log with three synced lines of writer 1.
fn begun(server: &Server, name: &str) -> (Box<dyn Shard>, Opened) {
    let mut shard = server.shard();
    let opened = create(&mut *shard, &log(name));
    append_by(&mut *shard, opened.slot, 1, 0, 3).expect("append");
    sync(&mut *shard);
    (shard, opened)
}

fn whole(opened: &Opened) -> Vec<u8> {
    read_all(&*opened.reader, opened.first, 500)
}

/// Tries to append as one who lost the lease: it is refused, at once or by the sync.
#[track_caller]
fn assert_refused(shard: &mut dyn Shard, slot: LogSlot, from: Offset) {
    match append_by(shard, slot, 1, from, from + 2) {
        Ok(_) => {
            let failures = sync_failures(shard);
            let own = failures.iter().find(|failure| failure.slot == slot);
            let error = own.map(|failure| &failure.error);
            assert!(matches!(error, Some(StorageError::NotOwner { .. })), "{error:?} of an old owner's sync");
        }
        Err(StorageError::NotOwner { .. } | StorageError::Poisoned { .. }) => {}
        Err(other) => panic!("{other:?}, expected that it does not own the data"),
    }
}

fn the_next_owner_has_what_was_synced(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    let [mut a, mut b] = ["a", "b"].map(|id| Server::open(harness, id));
    a.own(harness);
    let (old, _) = begun(&a, "a-1");
    let epoch = b.take_over(harness);
    let mut shard = b.shard();
    let opened = create(&mut *shard, &log("a-1"));
    assert_eq!((opened.first.offset, opened.end.offset), (0, 3));
    assert_lines(&whole(&opened), &lines_by(1, 0, 3));
    assert_eq!(append_by(&mut *shard, opened.slot, 2, 3, 6).expect("append").offset, 3);
    sync(&mut *shard);
    let expected = [lines_by(1, 0, 3), lines_by(2, 3, 6)].concat();
    assert_lines(&whole(&opened), &expected);
    // Opened again within the epoch, and in a later one.
    shard.close(opened.slot);
    let opened = create(&mut *shard, &log("a-1"));
    assert_eq!(opened.end.offset, 6);
    assert_lines(&whole(&opened), &expected);
    drop((old, shard, opened));
    b.ownership.release().expect("release");
    let mut c = Server::open(harness, "c");
    assert!(c.own(harness) > epoch);
    let mut shard = c.shard();
    let opened = create(&mut *shard, &log("a-1"));
    assert_lines(&whole(&opened), &expected);
    Ok(())
}

fn an_old_owner_appends_no_more(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    let [mut a, mut b] = ["a", "b"].map(|id| Server::open(harness, id));
    a.own(harness);
    let (mut old, old_log) = begun(&a, "a-1");
    b.take_over(harness);
    let mut shard = b.shard();
    let opened = create(&mut *shard, &log("a-1"));
    assert_refused(&mut *old, old_log.slot, 3);
    for end in [3, 2] {
        assert_not_owner(old.reopen(old_log.slot, Cursor::at_offset(end)));
        assert_refused(&mut *old, old_log.slot, end);
    }
    append_by(&mut *shard, opened.slot, 2, 3, 5).expect("append");
    sync(&mut *shard);
    // Neither where it believes the log to end, nor where it ends.
    for end in [3, 5] {
        assert_refused(&mut *old, old_log.slot, end);
        assert_not_owner(old.reopen(old_log.slot, Cursor::at_offset(end)));
    }
    old.close(old_log.slot);
    assert_not_owner(old.open(&log("a-1"), EXISTING).map(|_| ()));
    drop(old);
    let expected = [lines_by(1, 0, 3), lines_by(2, 3, 5)].concat();
    assert_lines(&whole(&opened), &expected);
    assert!(sync_failures(&mut *shard).is_empty());
    Ok(())
}

fn who_gave_it_up_writes_no_more(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    let [mut a, mut b] = ["a", "b"].map(|id| Server::open(harness, id));
    a.own(harness);
    let (mut old, old_log) = begun(&a, "a-1");
    a.ownership.release().expect("release");
    assert_refused(&mut *old, old_log.slot, 3);
    assert_not_owner(old.reopen(old_log.slot, Cursor::at_offset(3)));
    b.own(harness);
    let opened = create(&mut *b.shard(), &log("a-1"));
    assert_lines(&whole(&opened), &lines_by(1, 0, 3));
    Ok(())
}

/// So many batches are appended before a sync.
const BATCHES: usize = 8;

/// The old owner goes on appending and syncing while the next one takes over: what it was told is durable is there.
fn who_does_not_know_yet_loses_nothing(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|id| Server::open(harness, id));
    a.own(harness);
    let (mut old, old_log) = begun(&a, "a-1");
    let (progress, is_going_on) = mpsc::channel();
    thread::scope(move |scope| {
        let is_going_on = is_going_on;
        let writing = scope.spawn(move || {
            let mut end = 3;
            loop {
                // Several are on their way at once.
                let batches = (end..).step_by(2).take(BATCHES);
                let mut appended =
                    batches.map(|from| append_by(&mut *old, old_log.slot, 1, from, from + 2).err());
                if let Some(error) = appended.find_map(|failed| failed) {
                    break (end, error, old.reopen(old_log.slot, Cursor::at_offset(end)));
                }
                if let Some(failure) = sync_failures(&mut *old).pop() {
                    break (end, failure.error, old.reopen(old_log.slot, Cursor::at_offset(end)));
                }
                end += 2 * BATCHES as Offset;
                progress.send(end).expect("the next owner did not fail meanwhile");
            }
        });
        assert!(is_going_on.iter().any(|end| end >= 50), "it did not get so far");
        b.take_over(harness);
        let mut shard = b.shard();
        let opened = create(&mut *shard, &log("a-1"));
        let found = opened.end.offset;
        let before = lines_by(1, 0, found);
        assert_lines(&whole(&opened), &before);
        append_by(&mut *shard, opened.slot, 2, found, found + 2).expect("append");
        sync(&mut *shard);
        let (end, error, reopened) = writing.join().expect("the old owner ends");
        let is_told = matches!(error, StorageError::NotOwner { .. } | StorageError::Poisoned { .. });
        assert!(is_told, "{error:?} of an old owner");
        assert_not_owner(reopened);
        assert!(end <= found, "what was synced up to {end} is not there: the log ended at {found}");
        let expected = [before, lines_by(2, found, found + 2)].concat();
        assert_lines(&whole(&opened), &expected);
        drop((shard, opened));
        b.ownership.release().expect("release");
        c.own(harness);
        assert_lines(&whole(&create(&mut *c.shard(), &log("a-1"))), &expected);
    });
    Ok(())
}

fn what_was_under_way_is_there_at_once_or_never(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|id| Server::open(harness, id));
    a.own(harness);
    let names = ["a-1", "b-1", "c-1", "d-1", "e-1"];
    let mut old = a.shard();
    let slots = names.map(|name| create(&mut *old, &log(name)).slot);
    for slot in slots {
        append_by(&mut *old, slot, 1, 0, 3).expect("append");
    }
    sync(&mut *old);
    for (index, slot) in slots.into_iter().enumerate() {
        append_by(&mut *old, slot, 1, 3, 5 + 50 * index as u64).expect("append");
    }
    let pending = old.begin_sync();
    b.take_over(harness);
    let mut shard = b.shard();
    let mut expected = Vec::new();
    for name in names {
        let opened = create(&mut *shard, &log(name));
        let end = opened.end.offset;
        assert!(end >= 3, "{name} ends at {end}: what was synced is gone");
        let found = lines_by(1, 0, end);
        assert_lines(&whole(&opened), &found);
        append_by(&mut *shard, opened.slot, 2, end, end + 2).expect("append");
        expected.push((end, [found, lines_by(2, end, end + 2)].concat()));
    }
    sync(&mut *shard);
    let failures = pending.wait();
    for (index, slot) in slots.into_iter().enumerate() {
        match failures.iter().find(|failure| failure.slot == slot) {
            Some(SyncFailure { error: StorageError::NotOwner { .. }, .. }) => {}
            Some(other) => panic!("{other:?}, expected that it does not own the data"),
            None => assert_eq!(expected[index].0, 5 + 50 * index as u64, "what was synced is not there"),
        }
    }
    old.finish_sync(&failures);
    for slot in slots {
        assert_not_owner(old.reopen(slot, Cursor::at_offset(3)));
    }
    drop((old, shard));
    b.ownership.release().expect("release");
    c.own(harness);
    let mut shard = c.shard();
    for (name, (_, lines)) in names.into_iter().zip(expected) {
        assert_lines(&whole(&create(&mut *shard, &log(name))), &lines);
    }
    Ok(())
}

fn an_old_owner_changes_no_log(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    let [mut a, mut b] = ["a", "b"].map(|id| Server::open(harness, id));
    a.own(harness);
    a.storage.create(&[log("b-1")]).expect("create");
    let (mut old, old_log) = begun(&a, "a-1");
    b.take_over(harness);
    // Before any log is opened in the new epoch.
    assert_not_owner(a.storage.create(&[log("c-1")]));
    assert_not_owner(a.storage.delete(&[log("b-1")]));
    assert_not_owner(old.open(&log("b-1"), CREATE).map(|_| ()));
    let mut shard = b.shard();
    let opened = create(&mut *shard, &log("a-1"));
    assert_not_owner(a.storage.create(&[log("c-1"), log("d-1")]));
    old.close(old_log.slot);
    assert_not_owner(a.storage.delete(&[log("a-1"), log("b-1")]));
    assert_not_owner(old.open(&log("c-1"), CREATE).map(|_| ()));
    let mut logs = b.storage.list().expect("list");
    logs.sort_by_key(ToString::to_string);
    assert_eq!(logs, [log("a-1"), log("b-1")]);
    append_by(&mut *shard, opened.slot, 2, 3, 4).expect("append");
    sync(&mut *shard);
    assert_lines(&whole(&opened), &[lines_by(1, 0, 3), lines_by(2, 3, 4)].concat());
    Ok(())
}

fn an_old_rewrite_changes_nothing(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    if !harness.rewrites() {
        return Ok(());
    }
    let [mut a, mut b] = ["a", "b"].map(|id| Server::open(harness, id));
    a.own(harness);
    let plan = || RewritePlan { drop_below: 1, drop: vec![1] };
    let [early, late] = ["a-1", "b-1"].map(|name| {
        let (mut old, old_log) = begun(&a, name);
        let mut rewrite = old.begin_rewrite(old_log.slot, plan()).expect("rewrite");
        rewrite.run(&mut |_| {}).expect("run");
        (name, old, old_log, rewrite)
    });
    b.take_over(harness);
    let mut shard = b.shard();
    for ((name, mut old, old_log, rewrite), is_late) in [(early, false), (late, true)] {
        let opened = create(&mut *shard, &log(name));
        assert_eq!((opened.first.offset, opened.end.offset), (0, 3));
        let mut rewrite = Some(rewrite);
        let mut finish_old = |old: &mut dyn Shard| {
            let rewrite = rewrite.take().expect("once");
            let finished = old.finish_rewrite(rewrite, &mut |_| {});
            assert!(finished.is_err(), "an old owner's rewrite took its place");
            assert!(old.begin_rewrite(old_log.slot, plan()).is_err(), "an old owner begins a rewrite");
        };
        if !is_late {
            finish_old(&mut *old);
            assert_lines(&whole(&opened), &lines_by(1, 0, 3));
        }
        append_by(&mut *shard, opened.slot, 2, 3, 5).expect("append");
        sync(&mut *shard);
        // The new owner's own goes well, whatever the old one left or has under way.
        let mut own = shard.begin_rewrite(opened.slot, plan()).expect("rewrite");
        own.run(&mut |_| {}).expect("run");
        let rewritten = shard.finish_rewrite(own, &mut |_| {}).expect("rewrite");
        assert_eq!((rewritten.first.offset, rewritten.end.offset), (2, 5));
        if is_late {
            finish_old(&mut *old);
        }
        assert_refused(&mut *old, old_log.slot, 3);
        let left = [lines_by(1, 2, 3), lines_by(2, 3, 5)].concat();
        assert_lines(&read_all(&*opened.reader, Cursor::at_offset(0), 500), &left);
    }
    Ok(())
}

fn a_log_that_was_made_anew_is_another(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    let [mut a, mut b] = ["a", "b"].map(|id| Server::open(harness, id));
    a.own(harness);
    let (mut old, old_log) = begun(&a, "a-1");
    b.take_over(harness);
    b.storage.delete(&[log("a-1")]).expect("delete");
    let mut shard = b.shard();
    let opened = create(&mut *shard, &log("a-1"));
    assert_eq!(opened.end.offset, 0);
    append_by(&mut *shard, opened.slot, 2, 0, 3).expect("append");
    sync(&mut *shard);
    assert_refused(&mut *old, old_log.slot, 3);
    assert_not_owner(old.reopen(old_log.slot, Cursor::at_offset(3)));
    assert_lines(&whole(&opened), &lines_by(2, 0, 3));
    Ok(())
}

/// Each owner appends, synced and not, and sleeps; all that were owners before go on trying.
fn owners_follow_each_other(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    let mut all: Vec<(Server, Box<dyn Shard>, Opened)> = Vec::new();
    let mut lines = Vec::new();
    for round in 0..5 {
        let mut server = Server::open(harness, &format!("s{round}"));
        server.take_over(harness);
        let mut shard = server.shard();
        let opened = create(&mut *shard, &log("a-1"));
        let found = whole(&opened);
        assert!(found.starts_with(&lines), "what was synced is gone, or something came before it");
        let end = opened.end.offset;
        let of_last =
            lines_by(round, end - found[lines.len()..].split_inclusive(|b| *b == b'\n').count() as u64, end);
        assert_lines(&found[lines.len()..], &of_last);
        for (_, old, log) in &mut all {
            assert_refused(&mut **old, log.slot, end);
        }
        append_by(&mut *shard, opened.slot, round + 1, end, end + 3).expect("append");
        sync(&mut *shard);
        lines = [found, lines_by(round + 1, end, end + 3)].concat();
        assert_lines(&whole(&opened), &lines);
        append_by(&mut *shard, opened.slot, round + 1, end + 3, end + 5).expect("append");
        all.push((server, shard, opened));
    }
    Ok(())
}
