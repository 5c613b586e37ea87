//! Rewrites beside readers and appends, rewrite after rewrite, and over restarts: offsets never change or repeat.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wafka_core::storage::RewritePlan;

use super::*;

pub(super) const CASES: &[Case] =
    &[readers_run_beside_rewrites, offsets_are_kept_for_good, long_lines_are_moved];

fn rewrite(shard: &mut dyn Shard, slot: LogSlot, drop_below: Offset, drop: &[Offset]) {
    let plan = RewritePlan { drop_below, drop: drop.to_vec() };
    let mut rewrite = shard.begin_rewrite(slot, plan).expect("begin");
    rewrite.run(&mut |_| {}).expect("run");
    shard.finish_rewrite(rewrite, &mut |_| {}).expect("finish");
}

/// Tells other threads to end, also when this one panics.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// While the log is appended to and rewritten, readers come across each line that stays, whole and once, in order.
fn readers_run_beside_rewrites(harness: &mut dyn Harness) {
    let rounds: u64 = 25;
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    append(&mut *shard, opened.slot, 0, 40);
    let (reader, floor, stop) = (&*opened.reader, AtomicU64::new(0), AtomicBool::new(false));
    // Of each ten lines one goes by itself; the others go only with what lies below the floor.
    let goes = |offset: Offset| offset % 10 == 3;
    std::thread::scope(|scope| {
        let readers: Vec<_> = [0, 700, 1 << 20]
            .map(|bytes_max| {
                let (floor, stop) = (&floor, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        walk(reader, floor, bytes_max, &goes);
                        std::thread::yield_now();
                    }
                })
            })
            .into();
        let stopped = StopOnDrop(&stop);
        let mut end = 40;
        for round in 0..rounds {
            append(&mut *shard, opened.slot, end, end + 15);
            end += 15;
            // First it is said that these lines may go, then they go.
            let below = floor.fetch_add(round % 3 * 10, Ordering::SeqCst) + round % 3 * 10;
            let drops: Vec<Offset> = (below..end - 20).filter(|offset| goes(*offset)).collect();
            rewrite(&mut *shard, opened.slot, below, &drops);
        }
        sync(&mut *shard);
        drop(stopped);
        for reader in readers {
            reader.join().expect("the reader saw the lines");
        }
    });
    let below = floor.into_inner();
    let end = 40 + rounds * 15;
    let left = (below..end).filter(|offset| !goes(*offset) || *offset >= end - 20);
    assert_lines(&read_all(reader, Cursor::at_offset(0), 900), &lines_of(left));
}

/// Reads from the floor to the end, and checks each line against what may have gone by now.
fn walk(reader: &dyn LogReader, floor: &AtomicU64, bytes_max: usize, goes: &dyn Fn(Offset) -> bool) {
    let mut cursor = Cursor::at_offset(floor.load(Ordering::SeqCst));
    let mut next = cursor.offset;
    loop {
        let (bytes, chunk) = read(reader, cursor, bytes_max);
        if bytes.is_empty() {
            return;
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let offset = crate::line::offset_of(line).expect("each line has its offset");
            assert_lines(line, &lines_of([offset]));
            assert!(offset >= next, "line {offset} comes again, {next} was expected");
            let gone = floor.load(Ordering::SeqCst);
            let missed = (next..offset).find(|offset| *offset >= gone && !goes(*offset));
            assert_eq!(missed, None, "a line that stays was passed over");
            next = offset + 1;
        }
        assert!(chunk.next.offset >= next);
        cursor = chunk.next;
        std::thread::yield_now();
    }
}

fn offsets_are_kept_for_good(harness: &mut dyn Harness) {
    let mut left: Vec<Offset> = Vec::new();
    let mut end = 0;
    for round in 0..5_u64 {
        let mut shard = shard(harness);
        let opened = create(&mut *shard, &log("a-1"));
        let first = left.first().copied().unwrap_or(0);
        assert_eq!((opened.first.offset, opened.end.offset), (first, end), "round {round}");
        append(&mut *shard, opened.slot, end, end + 12);
        left.extend(end..end + 12);
        end += 12;
        sync(&mut *shard);
        // Every line, some lines, single lines, none; and more than there is.
        let (below, drops) = match round {
            0 => (end - 4, vec![]),
            1 => (0, left.iter().copied().filter(|offset| offset % 3 == 0).collect()),
            2 => (end + 1000, vec![end - 1, end, end + 5, u64::MAX]),
            3 => (0, vec![]),
            _ => (end - 6, left.clone()),
        };
        rewrite(&mut *shard, opened.slot, below, &drops);
        let last = end - 1;
        left.retain(|offset| *offset == last || (*offset >= below && drops.binary_search(offset).is_err()));
        assert_lines(&read_all(&*opened.reader, Cursor::at_offset(0), 300), &lines_of(left.iter().copied()));
        for first_offset in [0, last] {
            let bytes = lines_of([first_offset]);
            let refused = shard.append(opened.slot, Batch { first_offset, lines: 1, bytes: &bytes });
            assert!(refused.is_err(), "offset {first_offset} is given out a second time");
        }
        drop((shard, opened));
        harness.restart();
    }
}

fn long_lines_are_moved(harness: &mut dyn Harness) {
    let lens = [10, 3_000_000, 0, 200_000, 1_500_000, 7];
    let lines: Vec<Vec<u8>> = lens.iter().zip(0..).map(|(len, offset)| line_of(offset, *len)).collect();
    {
        let mut shard = shard(harness);
        let opened = create(&mut *shard, &log("a-1"));
        let bytes = lines.concat();
        shard.append(opened.slot, Batch { first_offset: 0, lines: 6, bytes: &bytes }).expect("append");
        rewrite(&mut *shard, opened.slot, 1, &[2, 3]);
        sync(&mut *shard);
    }
    harness.restart();
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    let expected = [&lines[1][..], &lines[4], &lines[5]].concat();
    assert!(read_all(&*opened.reader, Cursor::at_offset(0), 1000) == expected);
}
