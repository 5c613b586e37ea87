//! Reads by offset, with and without a position, in chunks of any size, while the log is written.

use std::sync::atomic::{AtomicU64, Ordering};

use wafka_core::storage::Cursor;

use super::*;

pub(super) const CASES: &[Case] =
    &[any_offset_and_any_chunk, a_long_line_comes_alone, stale_positions_do_not_mislead, readers_keep_up];

fn any_offset_and_any_chunk(harness: &mut dyn Harness) {
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    let count = 300;
    let mut starts = Vec::new();
    for offset in (0..count).step_by(3) {
        starts.push(append(&mut *shard, opened.slot, offset, offset + 3));
    }
    for bytes_max in [0, 1, 100, 350, 4096, 1 << 20] {
        for from in [0, 1, 2, 150, count - 2, count - 1] {
            let (bytes, chunk) = read(&*opened.reader, Cursor::at_offset(from), bytes_max);
            assert_eq!(chunk.start.offset, from);
            let lines = chunk.next.offset - from;
            assert_lines(&bytes, &lines_of(from..from + lines));
            assert!(lines == 1 || bytes.len() <= bytes_max, "{lines} lines in {} bytes", bytes.len());
            // Not fewer than would have fitted.
            let room = bytes.len() + lines_of([chunk.next.offset]).len();
            assert!(chunk.next.offset == count || room > bytes_max, "{lines} lines for {bytes_max} bytes");
            assert_lines(&read_all(&*opened.reader, chunk.start, bytes_max), &lines_of(from..count));
        }
        for start in &starts {
            let (bytes, chunk) = read(&*opened.reader, *start, bytes_max);
            assert_eq!(chunk.start, *start);
            assert_lines(&bytes, &lines_of(start.offset..chunk.next.offset));
        }
        for beyond in [count, count + 1, u64::MAX] {
            let (bytes, chunk) = read(&*opened.reader, Cursor::at_offset(beyond), bytes_max);
            assert!(bytes.is_empty());
            assert_eq!(chunk.start, chunk.next);
        }
    }
}

fn a_long_line_comes_alone(harness: &mut dyn Harness) {
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    let lines: Vec<Vec<u8>> = [10, 3_000_000, 70_000, 0, 5_000]
        .iter()
        .zip(0..)
        .map(|(len, offset)| line_of(offset, *len))
        .collect();
    for (bytes, first_offset) in lines.iter().zip(0..) {
        shard.append(opened.slot, Batch { first_offset, lines: 1, bytes }).expect("append");
    }
    for bytes_max in [0, 100, 10_000, 1 << 22] {
        let (bytes, chunk) = read(&*opened.reader, Cursor::at_offset(1), bytes_max);
        assert!(bytes.starts_with(&lines[1]));
        assert_eq!(bytes, lines[1..chunk.next.offset as usize].concat());
        assert_eq!(read_all(&*opened.reader, Cursor::at_offset(0), bytes_max), lines.concat());
    }
}

fn stale_positions_do_not_mislead(harness: &mut dyn Harness) {
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    append(&mut *shard, opened.slot, 0, 50);
    let other = opened.reader.generation().wrapping_add(1);
    for position in [0, 1, 777, 1 << 40] {
        for (generation, offset) in [(0, 31), (other, 31), (0, 0), (other, 49), (other, 50)] {
            let (bytes, chunk) = read(&*opened.reader, Cursor { offset, position, generation }, 1 << 20);
            assert_eq!(chunk.start.offset, offset);
            assert_lines(&bytes, &lines_of(offset..50));
        }
    }
}

/// Readers beside the writer see whole lines, in order, and all of them.
fn readers_keep_up(harness: &mut dyn Harness) {
    let count: u64 = 3000;
    let mut shard = shard(harness);
    let opened = create(&mut *shard, &log("a-1"));
    let (reader, seen) = (&*opened.reader, AtomicU64::new(0));
    std::thread::scope(|scope| {
        let readers: Vec<_> = [0, 1000, 100_000]
            .map(|bytes_max| {
                let seen = &seen;
                scope.spawn(move || {
                    let mut cursor = Cursor::at_offset(0);
                    while cursor.offset < count {
                        let (bytes, chunk) = read(reader, cursor, bytes_max);
                        assert_lines(&bytes, &lines_of(cursor.offset..chunk.next.offset));
                        cursor = chunk.next;
                        seen.fetch_max(cursor.offset, Ordering::Relaxed);
                        std::thread::yield_now();
                    }
                })
            })
            .into();
        let mut next = 0;
        while next < count {
            let lines = (next % 7 + 1).min(count - next);
            append(&mut *shard, opened.slot, next, next + lines);
            next += lines;
        }
        sync(&mut *shard);
        for reader in readers {
            reader.join().expect("the reader saw the lines");
        }
    });
    assert_eq!(seen.into_inner(), count);
}
