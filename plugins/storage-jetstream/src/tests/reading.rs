//! What any replica may be asked, and what becomes of an answer that is not the whole truth.

use std::sync::atomic::Ordering;

use wafka_core::storage::{LogSlot, RewritePlan};

use super::cluster::Cluster;
use super::*;
use crate::{JetStreamStorage, Options};

const LINES: u64 = 3000;

fn any_from(storage: &JetStreamStorage, stem: &str) -> Offset {
    storage.home().logs.lock()[&log(stem)].state.lock().any_from
}

fn rewrite(shard: &mut dyn Shard, slot: LogSlot, drop_below: Offset, drop: &[Offset]) {
    let plan = RewritePlan { drop_below, drop: drop.to_vec() };
    let mut rewrite = shard.begin_rewrite(slot, plan).expect("begin");
    rewrite.run(&mut |_| ()).expect("run");
    shard.finish_rewrite(rewrite, &mut |_| ()).expect("finish");
}

#[test]
fn what_one_replica_lacks_is_asked_of_the_leader() {
    let cluster = Cluster::three();
    let storage = cluster.open(&prefix());
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    append(&mut *shard, opened.slot, 0, LINES);
    assert!(sync(&mut *shard).is_empty());
    let losing = &storage.home().direct.losing;
    let came = |what: &str| {
        let before = losing.came.load(Ordering::SeqCst);
        assert_holds(&*opened.reader, 0..LINES);
        let came = losing.came.load(Ordering::SeqCst) - before;
        eprintln!("{what}: {came} lines came from any replica");
        came
    };
    // What one replica lacks for now may be asked of the leader.
    came("as it is");
    losing.every.store(700, Ordering::SeqCst);
    assert!(came("with holes") > 0);
    losing.every.store(0, Ordering::SeqCst);
    losing.above.store(1234, Ordering::SeqCst);
    assert!(came("by one that is behind") > 0);
    losing.above.store(0, Ordering::SeqCst);
    losing.all.store(true, Ordering::SeqCst);
    assert_eq!(came("without an answer"), 0);
    losing.all.store(false, Ordering::SeqCst);
    assert_eq!(came("while nobody but the leader is asked"), 0);
}

#[test]
fn where_lines_were_removed_the_leader_is_asked() {
    let cluster = Cluster::start(1, true);
    let prefix = prefix();
    let storage = cluster.open(&prefix);
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    let slot = opened.slot;
    assert_eq!(any_from(&storage, "a-1"), 0);
    append(&mut *shard, slot, 0, 100);
    assert!(sync(&mut *shard).is_empty());
    rewrite(&mut *shard, slot, 10, &[]);
    assert_eq!(any_from(&storage, "a-1"), 0, "what lies below is not read");
    rewrite(&mut *shard, slot, 20, &[20, 50, 51]);
    assert_eq!(any_from(&storage, "a-1"), 100, "a replica that is behind may still have 50");
    append(&mut *shard, slot, 100, 300);
    assert!(sync(&mut *shard).is_empty());
    let kept: Vec<Offset> = (21..300).filter(|offset| ![50, 51].contains(offset)).collect();
    assert_holds(&*opened.reader, kept.clone());
    shard.close(slot);
    let opened = create(&mut *shard, "a-1");
    assert_eq!(any_from(&storage, "a-1"), 300, "some line was removed, nobody knows which");
    assert_eq!(opened.lines, Some(277));
    assert_holds(&*opened.reader, kept);
    rewrite(&mut *shard, opened.slot, 60, &[]);
    shard.close(opened.slot);
    let opened = create(&mut *shard, "a-1");
    assert_eq!(any_from(&storage, "a-1"), 60, "what lies behind it is complete");
    // Two lines are removed, and two that are cut are in the stream in their place.
    rewrite(&mut *shard, opened.slot, 0, &[70, 71]);
    append(&mut *shard, opened.slot, 300, 302);
    assert!(sync(&mut *shard).is_empty());
    shard.reopen(opened.slot, Cursor::at_offset(300)).expect("reopen");
    shard.close(opened.slot);
    let opened = create(&mut *shard, "a-1");
    assert_eq!(any_from(&storage, "a-1"), 300, "two lines were removed");
    assert_eq!(opened.lines, Some(238), "those that were cut do not count");
    assert_holds(&*opened.reader, (60..300).filter(|offset| ![70, 71].contains(offset)));
    rewrite(&mut *shard, opened.slot, 80, &[]);
    shard.close(opened.slot);
    let opened = create(&mut *shard, "a-1");
    assert_eq!((any_from(&storage, "a-1"), opened.lines), (80, Some(220)), "whatever was cut");
    append(&mut *shard, opened.slot, 300, 310);
    assert!(sync(&mut *shard).is_empty());
    assert_holds(&*opened.reader, 80..310);
}

#[test]
fn an_end_that_was_removed_and_cut_is_no_riddle() {
    let cluster = Cluster::start(1, true);
    let storage = cluster.open(&prefix());
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    append(&mut *shard, opened.slot, 0, 100);
    assert!(sync(&mut *shard).is_empty());
    rewrite(&mut *shard, opened.slot, 0, &[90, 91, 92, 93, 94]);
    shard.reopen(opened.slot, Cursor::at_offset(95)).expect("reopen");
    assert_holds(&*opened.reader, 0..90);
    let mut bytes = Vec::new();
    let chunk = opened.reader.read(Cursor::at_offset(90), 1000, &mut bytes).expect("read");
    assert_eq!((chunk.start.offset, chunk.next.offset, bytes.len()), (95, 95, 0));
    append(&mut *shard, opened.slot, 95, 97);
    assert!(sync(&mut *shard).is_empty());
    assert_holds(&*opened.reader, (0..90).chain(95..97));
}

#[test]
fn a_leader_that_does_not_know_of_a_line_yet_is_asked_again_in_bounded_time() {
    let cluster = Cluster::start(1, true);
    let options =
        Options { prefix: prefix(), publish_timeout_ms: 500, request_timeout_ms: 600, ..cluster.options() };
    let storage = crate::open("".as_ref(), options).expect("open");
    own_as(&storage, "test");
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    append(&mut *shard, opened.slot, 0, 10);
    assert!(sync(&mut *shard).is_empty());
    {
        // As a leader answers that slept while the others went on without it.
        let logs = storage.home().logs.lock();
        let mut state = logs[&log("a-1")].state.lock();
        (state.acked, state.sent, state.end) = (12, 12, 12);
    }
    let mut bytes = Vec::new();
    let chunk = opened.reader.read(Cursor::default(), 1 << 20, &mut bytes).expect("what came");
    assert_eq!((chunk.start.offset, chunk.next.offset), (0, 10));
    let begun = Instant::now();
    let error = opened.reader.read(chunk.next, 1 << 20, &mut bytes).expect_err("nobody has it").to_string();
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    // The time may be over between two requests, or while one is under way.
    assert!(error.contains("offset 10") || error.contains("came in time"), "{error}");
}

#[test]
fn many_lines_are_removed_in_several_rewrites() {
    let cluster = Cluster::start(1, false);
    let options = Options { prefix: prefix(), accept_unsynced_loss: true, ..cluster.options() };
    let storage = crate::open("".as_ref(), options).expect("open");
    own_as(&storage, "test");
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    append(&mut *shard, opened.slot, 0, LINES);
    assert!(sync(&mut *shard).is_empty());
    let drop: Vec<Offset> = (1..1200).step_by(2).chain(1200..2990).collect();
    for (from, removed) in [(0, 2000), (2000, drop.len())] {
        let plan = RewritePlan { drop_below: 0, drop: drop[from..].to_vec() };
        let mut rewrite = shard.begin_rewrite(opened.slot, plan).expect("begin");
        let mut kept = 0;
        rewrite.run(&mut |_| kept += 1).expect("run");
        shard.finish_rewrite(rewrite, &mut |_| kept += 1).expect("finish");
        assert_eq!(kept, LINES - removed as u64, "what was kept is told");
    }
    assert_holds(&*opened.reader, (0..LINES).filter(|offset| drop.binary_search(offset).is_err()));
}
