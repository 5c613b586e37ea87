//! Space is given back while the log goes on.

use wafka_core::Offset;
use wafka_core::storage::{Cursor, Rewrite, RewritePlan, Rewritten};

use super::*;

pub(super) const CASES: &[Case] = &[
    lines_are_dropped_and_positions_told,
    the_last_line_stays,
    appends_go_on_meanwhile,
    readers_go_on_meanwhile,
    one_at_a_time,
    a_restart_finds_the_rewritten_log,
];

fn plan(drop_below: Offset, drop: &[Offset]) -> RewritePlan {
    RewritePlan { drop_below, drop: drop.to_vec() }
}

/// The lines a rewrite told of.
type Kept = Vec<(Cursor, Vec<u8>)>;

fn run(rewrite: &mut dyn Rewrite, kept: &mut Kept) {
    rewrite.run(&mut |line| kept.push((line.cursor, line.bytes.to_vec()))).expect("run");
}

fn finish(shard: &mut dyn Shard, rewrite: Box<dyn Rewrite>, kept: &mut Kept) -> Rewritten {
    let mut keep = |line: wafka_core::storage::KeptLine<'_>| kept.push((line.cursor, line.bytes.to_vec()));
    shard.finish_rewrite(rewrite, &mut keep).expect("finish")
}

fn rewrite(shard: &mut dyn Shard, slot: LogSlot, plan: RewritePlan) -> (Rewritten, Kept) {
    let mut kept = Kept::new();
    let mut rewrite = shard.begin_rewrite(slot, plan).expect("begin");
    assert_eq!(rewrite.slot(), slot);
    run(&mut *rewrite, &mut kept);
    (finish(shard, rewrite, &mut kept), kept)
}

/// Checks what a rewrite said and what is read afterwards against the offsets that were to stay.
fn check(opened: &Opened, done: &Rewritten, kept: &Kept, left: &[Offset]) {
    let expected = lines_of(left.iter().copied());
    assert_lines(&kept.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<u8>>(), &expected);
    assert_eq!(kept.iter().map(|(cursor, _)| cursor.offset).collect::<Vec<_>>(), left);
    assert_eq!(kept.first().map(|(cursor, _)| *cursor), Some(done.first));
    assert_eq!(opened.reader.size_bytes(), expected.len() as u64);
    assert_eq!(opened.reader.generation(), done.end.generation);
    for (cursor, bytes) in kept {
        let (found, chunk) = read(&*opened.reader, *cursor, 0);
        assert_lines(&found, bytes);
        assert_eq!(chunk.start, *cursor);
    }
    for bytes_max in [0, 500, 1 << 20] {
        assert_lines(&read_all(&*opened.reader, Cursor::at_offset(0), bytes_max), &expected);
    }
    let first_at_least = |offset| left.iter().copied().find(|left| *left >= offset);
    for offset in 0..done.end.offset {
        let (bytes, chunk) = read(&*opened.reader, Cursor::at_offset(offset), 0);
        assert_lines(&bytes, &lines_of(first_at_least(offset)));
        assert!(chunk.start.offset >= offset);
    }
}

fn lines_are_dropped_and_positions_told(harness: &mut dyn Harness) {
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    append(&mut *shard, opened.slot, 0, 40);
    let before = opened.reader.size_bytes();
    let old = opened.reader.generation();
    let stale = read(&*opened.reader, Cursor::at_offset(33), 0).1.start;

    let (done, kept) = rewrite(&mut *shard, opened.slot, plan(10, &[3, 11, 20, 21, 22, 35]));
    let left: Vec<Offset> = (10..40).filter(|offset| ![11, 20, 21, 22, 35].contains(offset)).collect();
    check(&opened, &done, &kept, &left);
    assert_eq!(done.bytes_freed, before - opened.reader.size_bytes());
    assert_eq!(done.end.offset, 40);
    assert_ne!(opened.reader.generation(), old);
    assert_lines(&read(&*opened.reader, stale, 0).0, &lines_of([33]));

    assert_eq!(append(&mut *shard, opened.slot, 40, 45), done.end);
    sync(&mut *shard);
    let (done, kept) = rewrite(&mut *shard, opened.slot, plan(0, &[10, 39, 41]));
    let left: Vec<Offset> =
        left.into_iter().chain(40..45).filter(|offset| ![10, 39, 41].contains(offset)).collect();
    check(&opened, &done, &kept, &left);
}

fn the_last_line_stays(harness: &mut dyn Harness) {
    {
        let mut shard = shard(harness);
        let opened = create(&mut *shard, &log("a-1"));
        let (done, kept) = rewrite(&mut *shard, opened.slot, plan(100, &[]));
        assert!(kept.is_empty());
        assert_eq!((done.first, done.end.offset, done.bytes_freed), (done.end, 0, 0));
        append(&mut *shard, opened.slot, 0, 20);
        let (done, kept) = rewrite(&mut *shard, opened.slot, plan(100, &[19]));
        check(&opened, &done, &kept, &[19]);
        assert_eq!((done.first.offset, done.end.offset), (19, 20));
    }
    harness.restart();
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    assert_eq!((opened.first.offset, opened.end.offset), (19, 20));
    append(&mut *shard, opened.slot, 20, 22);
    assert_lines(&read_all(&*opened.reader, opened.first, 100), &lines_of(19..22));
}

fn appends_go_on_meanwhile(harness: &mut dyn Harness) {
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    append(&mut *shard, opened.slot, 0, 20);
    let mut kept = Kept::new();
    let mut rewrite = shard.begin_rewrite(opened.slot, plan(15, &[22])).expect("begin");
    append(&mut *shard, opened.slot, 20, 25);
    sync(&mut *shard);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&mut *rewrite, &mut kept));
        append(&mut *shard, opened.slot, 25, 30);
        sync(&mut *shard);
        running.join().expect("the rewrite ran");
    });
    append(&mut *shard, opened.slot, 30, 35);
    let pending = shard.begin_sync();
    let done = finish(&mut *shard, rewrite, &mut kept);
    let failures = pending.wait();
    assert!(failures.is_empty(), "{failures:?}");
    shard.finish_sync(&failures);
    // 22 was named before it was there: the plan speaks of what lay below the end when it was made.
    check(&opened, &done, &kept, &(15..35).collect::<Vec<_>>());
    append(&mut *shard, opened.slot, 35, 37);
    sync(&mut *shard);
    assert_lines(&read_all(&*opened.reader, done.first, 100), &lines_of(15..37));
}

/// A reader that goes from line to line misses none that stays, whenever the log is rewritten.
fn readers_go_on_meanwhile(harness: &mut dyn Harness) {
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    append(&mut *shard, opened.slot, 0, 60);
    let reader = &*opened.reader;
    let mut cursor = Cursor::at_offset(0);
    let mut found = Vec::new();
    for round in 0..12 {
        let (bytes, chunk) = read(reader, cursor, 0);
        found.extend(bytes);
        cursor = chunk.next;
        let (below, end) = (round * 5, 60 + round);
        rewrite(&mut *shard, opened.slot, plan(below.min(cursor.offset), &[]));
        append(&mut *shard, opened.slot, end, end + 1);
    }
    found.extend(read_all(reader, cursor, 1000));
    assert_lines(&found, &lines_of(0..72));
}

fn one_at_a_time(harness: &mut dyn Harness) {
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    append(&mut *shard, opened.slot, 0, 9);
    let first = shard.begin_rewrite(opened.slot, plan(5, &[])).expect("begin");
    assert!(shard.begin_rewrite(opened.slot, plan(6, &[])).is_err());
    // One that is given up leaves the log as it was.
    drop(first);
    assert_lines(&read_all(&*opened.reader, Cursor::at_offset(0), 100), &lines_of(0..9));
    let never_run = shard.begin_rewrite(opened.slot, plan(5, &[])).expect("begin");
    let mut kept = Kept::new();
    let done = finish(&mut *shard, never_run, &mut kept);
    check(&opened, &done, &kept, &[5, 6, 7, 8]);
    // One whose log lost lines meanwhile is refused.
    let outdated = shard.begin_rewrite(opened.slot, plan(6, &[])).expect("begin");
    append(&mut *shard, opened.slot, 9, 12);
    shard.reopen(opened.slot, done.end).expect("reopen");
    assert!(shard.finish_rewrite(outdated, &mut |_| {}).is_err());
    append(&mut *shard, opened.slot, 9, 10);
    assert_lines(&read_all(&*opened.reader, Cursor::at_offset(0), 100), &lines_of(5..10));
}

fn a_restart_finds_the_rewritten_log(harness: &mut dyn Harness) {
    let stale;
    {
        let mut shard = shard(harness);
        let opened = create(&mut *shard, &log("a-1"));
        append(&mut *shard, opened.slot, 0, 30);
        stale = Cursor { generation: 0, ..read(&*opened.reader, Cursor::at_offset(8), 0).1.start };
        rewrite(&mut *shard, opened.slot, plan(12, &[14, 28]));
        // One that is under way when the process ends leaves nothing behind.
        let unfinished = shard.begin_rewrite(opened.slot, plan(20, &[])).expect("begin");
        std::mem::drop(unfinished);
    }
    harness.restart();
    assert_eq!(harness.storage().list().expect("list"), [log("a-1")]);
    let mut shard = shard(harness);
    // A known line that the rewrite dropped is no damage.
    let request = OpenRequest { create: false, known: Some(stale) };
    let opened = shard.open(&log("a-1"), request).expect("open");
    assert!(opened.damage.is_empty(), "{:?}", opened.damage);
    assert_eq!((opened.first.offset, opened.end.offset), (12, 30));
    let left = (12..30).filter(|offset| ![14, 28].contains(offset));
    assert_lines(&read_all(&*opened.reader, opened.first, 100), &lines_of(left));
}
