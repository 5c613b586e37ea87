//! Lines that were damaged on disk: they are reported, and everything else stays readable.

use std::sync::Arc;

use wafka_broker::{IdSpec, ReadError, ReadRange, Topic, wait};
use wafka_core::{EventId, PartitionId};

use crate::support::{ALL, Bench, Entry, Home, NEVER, accept, eventually, ids, read_until_error};

/// How a line is damaged.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A byte of the message changed.
    Message,
    /// The id became a higher one.
    IdUp,
    /// The id became a lower one.
    IdDown,
    /// The line does not begin like one.
    Head,
    /// The offset became a higher one.
    OffsetUp,
    /// The line has no newline of its own any more.
    Newline,
    /// All of it is something else.
    Garbage,
}

const KINDS: [Kind; 7] =
    [Kind::Message, Kind::IdUp, Kind::IdDown, Kind::Head, Kind::OffsetUp, Kind::Newline, Kind::Garbage];

/// Damages a line; returns how many lines are lost with it.
fn damage(text: &str, line: usize, kind: Kind) -> (Vec<u8>, usize) {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let at = &mut lines[line];
    let before = at.clone();
    let mut lost = 1;
    match kind {
        Kind::Message => *at = at.replace("\"v\":\"", "\"w\":\""),
        Kind::IdUp => *at = at.replace("\"5000-", "\"9000-"),
        Kind::IdDown => *at = at.replace("\"5000-", "\"4000-"),
        Kind::Head => *at = at.replacen('{', "[", 1),
        Kind::OffsetUp => {
            let digit = at.find("\"offset\":").unwrap() + "\"offset\":".len();
            at.replace_range(digit..=digit, "9");
        }
        Kind::Newline => {
            *at = at.replace('\n', " ");
            lost = 2;
        }
        Kind::Garbage => *at = format!("{}\n", "x".repeat(at.len() - 1)),
    }
    assert_ne!(*at, before);
    (lines.concat().into_bytes(), lost)
}

fn add(bench: &Bench, topic: &Arc<Topic>, partition: Option<u16>, ms: u64) -> EventId {
    let appended = accept(topic, IdSpec::AutoSeq { ms }, partition, &[b"v", b"some value"], None).unwrap();
    bench.engine().kick();
    wait(topic.committed(appended.ticket)).unwrap();
    appended.id
}

/// A topic of two partitions with 60 events and a damaged line in the first one; the ids that can still be read.
fn damaged(kind: Kind, line: usize, interval: u64, restart: bool, indexes: bool) -> (Bench, Vec<EventId>) {
    let mut bench = Bench::new(Home::Sim(wafka_storage::fs::SimFs::new()), 2)
        .with(|options| {
            options.index_interval_bytes = interval;
            options.tail_bytes = 0;
            options.reclaim = NEVER;
        })
        .started();
    let topic = bench.topic("t");
    let added: Vec<(EventId, u16)> = (0..60u16)
        .map(|n| {
            let partition = u16::from(n % 3 == 2) + 1;
            (add(&bench, &topic, Some(partition), 5_000), partition)
        })
        .collect();
    let text = bench.content("t-1.txt");
    // What is still in memory is not affected by damage to a file.
    let newest = ReadRange { from: added.iter().rfind(|(_, p)| *p == 1).unwrap().0, ..ALL };
    let newest = ReadRange { partition: Some(PartitionId(1)), ..newest };
    eventually("the tail to be forgotten", || !topic.in_memory(&newest));
    if restart {
        drop(topic);
        bench.stop();
        if !indexes {
            bench.remove_indexes();
        }
    }
    let line = line.min(text.lines().count() - 1);
    let (bytes, lost) = damage(&text, line, kind);
    bench.put("t-1.txt", &bytes);
    if restart {
        bench.start().unwrap();
    }
    let mut first: Vec<EventId> = added.iter().filter(|(_, p)| *p == 1).map(|(id, _)| *id).collect();
    first.drain(line..(line + lost).min(first.len()));
    let left = added.iter().filter(|(id, p)| *p == 2 || first.contains(id)).map(|(id, _)| *id).collect();
    (bench, left)
}

/// The second of two lines that became one may still be found by the index; else it is lost with the first.
fn assert_read(kind: Kind, mut found: Vec<EventId>, left: &[EventId], case: &str) {
    assert!(found.is_sorted_by(|a, b| a < b), "{case}");
    if matches!(kind, Kind::Newline) && found.len() == left.len() + 1 {
        found.retain(|id| left.contains(id));
    }
    assert_eq!(found, left, "{case}");
}

/// Reads as a consumer does that goes on from its last id, and behind the damage when there is some.
fn consume(topic: &Topic, count: u64, partition: Option<u16>) -> (Vec<EventId>, usize) {
    let mut found = Vec::new();
    let mut reports = 0;
    let mut from = EventId::MIN;
    loop {
        let range = ReadRange { from, count: Some(count), partition: partition.map(PartitionId), ..ALL };
        let (entries, result) = read_until_error(topic, &range);
        check(&entries, &result);
        found.extend(ids(&entries));
        if let Some((last, _)) = entries.last() {
            reports += usize::from(result.is_err());
            from = last.next().unwrap();
        } else if let Err(ReadError::Damaged { next_readable, .. }) = result {
            reports += 1;
            match next_readable {
                Some(next) => {
                    assert!(next >= from, "{next} below {from}");
                    from = next;
                }
                None => return (found, reports),
            }
            assert!(reports < 9, "the damage is not passed");
        } else {
            return (found, reports);
        }
    }
}

/// The same, newest first.
fn consume_back(topic: &Topic, count: u64, partition: Option<u16>) -> (Vec<EventId>, usize) {
    let mut found = Vec::new();
    let mut reports = 0;
    let mut to = EventId::MAX;
    loop {
        let partition = partition.map(PartitionId);
        let range = ReadRange { to, count: Some(count), reverse: true, partition, ..ALL };
        let (entries, result) = read_until_error(topic, &range);
        check(&entries, &result);
        found.extend(ids(&entries));
        if let Some((last, _)) = entries.last() {
            reports += usize::from(result.is_err());
            to = last.prev().unwrap();
        } else if let Err(ReadError::Damaged { after, .. }) = result {
            reports += 1;
            assert!(after <= to, "{after} above {to}");
            if after == EventId::MIN {
                break;
            }
            to = after;
            assert!(reports < 9, "the damage is not passed");
        } else {
            break;
        }
    }
    found.reverse();
    (found, reports)
}

fn check(entries: &[Entry], result: &Result<(), ReadError>) {
    for (_, parts) in entries {
        assert_eq!(parts, &[b"v".to_vec(), b"some value".to_vec()]);
    }
    match result {
        Ok(()) => {}
        Err(ReadError::Damaged { log, .. }) => assert_eq!(log, "t-1.txt"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn everything_but_the_damaged_line_is_read_and_the_damage_reported() {
    for kind in KINDS {
        for line in [0, 1, 17, usize::MAX] {
            if line == usize::MAX && matches!(kind, Kind::Newline) {
                // A last line that lacks its newline alone is whole.
                continue;
            }
            for (interval, restart, indexes) in [
                (64, false, true),
                (4096, false, true),
                (64, true, true),
                (64, true, false),
                (1000, true, false),
            ] {
                let case = format!("{kind:?} {line} {interval} {restart} {indexes}");
                let (bench, left) = damaged(kind, line, interval, restart, indexes);
                let topic = bench.topic("t");
                for count in [1, 7, 1000] {
                    let (found, reports) = consume(&topic, count, None);
                    assert_read(kind, found, &left, &format!("{case} {count}"));
                    // A page may end right where the damage would be met.
                    assert!(reports > 0 || count < 1000, "{case} {count}");
                    let (found, reports) = consume_back(&topic, count, None);
                    assert_read(kind, found, &left, &format!("back {case} {count}"));
                    assert!(reports > 0 || count < 1000, "back {case} {count}");
                }
                let second = consume(&topic, 7, Some(2));
                assert_eq!(second.1, 0, "the other partition is whole");
            }
        }
    }
}

#[test]
fn damage_at_the_end_is_reported_when_events_follow() {
    for kind in [Kind::Message, Kind::IdUp, Kind::Head, Kind::OffsetUp, Kind::Garbage] {
        let (bench, mut left) = damaged(kind, usize::MAX, 64, true, true);
        let topic = bench.topic("t");
        for partition in [1, 2, 1, 1] {
            // Ids go on where they would have: a damaged id is not believed.
            let id = add(&bench, &topic, Some(partition), 6_000);
            assert_eq!(id.ms, 6_000, "{kind:?}");
            left.push(id);
        }
        let (found, reports) = consume(&topic, 3, None);
        assert_eq!(found, left, "{kind:?}");
        assert!(reports > 0, "{kind:?}");
        let (found, reports) = consume_back(&topic, 3, None);
        assert_eq!(found, left, "{kind:?}");
        assert!(reports > 0, "{kind:?}");
    }
}

#[test]
fn the_report_names_file_place_and_what_follows() {
    let (bench, left) = damaged(Kind::Message, 17, 64, true, true);
    let topic = bench.topic("t");
    let text = bench.content("t-1.txt");
    let expected: usize = text.split_inclusive('\n').take(17).map(str::len).sum();
    let (entries, result) = read_until_error(&topic, &ALL);
    let Err(ReadError::Damaged { log, position, after, next_readable, reason }) = result else {
        panic!("not reported")
    };
    assert_eq!((log.as_str(), position), ("t-1.txt", expected as u64));
    assert!(reason.contains("checksum"), "{reason}");
    // Lines 16 and 18 of the first partition.
    let first: Vec<EventId> = left.iter().copied().filter(|id| id.seq % 3 != 2).collect();
    // What follows begins right behind the lowest id that the lost event can have had.
    let next = first[16].next().unwrap().next();
    assert_eq!((after, next_readable), (first[16], next));
    let (before, behind): (Vec<EventId>, Vec<EventId>) = left.iter().partition(|id| **id <= first[16]);
    assert_eq!(ids(&entries), before);
    let rest = read_until_error(&topic, &ReadRange { from: next.unwrap(), ..ALL });
    assert_eq!(ids(&rest.0), behind);
    assert!(rest.1.is_ok());
}

#[test]
fn damage_outside_a_range_does_not_matter() {
    for kind in KINDS {
        let (bench, left) = damaged(kind, 17, 64, true, true);
        let topic = bench.topic("t");
        for reverse in [false, true] {
            for range in [
                ReadRange { to: left[20], reverse, ..ALL },
                ReadRange { from: left[40], reverse, ..ALL },
                ReadRange { from: left[3], to: left[9], reverse, ..ALL },
            ] {
                let (entries, result) = read_until_error(&topic, &range);
                assert!(result.is_ok(), "{kind:?} {range:?}: {result:?}");
                let expected = left.iter().filter(|id| **id >= range.from && **id <= range.to);
                assert_eq!(entries.len(), expected.count(), "{kind:?}");
            }
        }
    }
}
