//! Giving back the space of trimmed and deleted events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wafka_broker::{IdSpec, ReadRange, SetId, Ticket, Topic, wait};
use wafka_core::EventId;
use wafka_storage::fs::{Fault, FaultKind, Operation};

use crate::support::{ALL, Bench, EAGER, EIO, Home, NEVER, accept, eventually, ids, maxlen, read, values};

fn eager(brokers: u16) -> Bench {
    Bench::new(Home::Sim(wafka_storage::fs::SimFs::new()), brokers)
        .with(|options| {
            options.reclaim = EAGER;
            options.index_interval_bytes = 300;
            options.tail_bytes = 1024;
        })
        .started()
}

fn fill(bench: &Bench, topic: &Arc<Topic>, range: std::ops::Range<u32>) -> Vec<EventId> {
    let tickets: Vec<Ticket> = range
        .map(|n| {
            let text = n.to_string();
            accept(topic, IdSpec::Auto, None, &[b"n", text.as_bytes()], None).unwrap().ticket
        })
        .collect();
    bench.engine().kick();
    tickets
        .into_iter()
        .map(|ticket| {
            wait(topic.committed(ticket)).unwrap();
            ticket.id()
        })
        .collect()
}

fn numbers(range: impl Iterator<Item = u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// Lines in the files of a topic.
fn lines(topic: &Topic) -> u64 {
    topic.info().unwrap().partitions.iter().map(|partition| partition.lines).sum()
}

#[test]
fn the_last_event_stays_deleted_though_its_line_is_kept() {
    let mut bench = eager(1);
    let topic = bench.topic("t");
    let all = fill(&bench, &topic, 0..10);
    bench.delete(&topic, &[all[2], all[3], all[9]]).unwrap();
    eventually("a rewrite", || lines(&topic) == 8);
    let expected = numbers([0, 1, 4, 5, 6, 7, 8].into_iter());
    assert_eq!(values(&topic), expected);
    assert_eq!(topic.len(None).unwrap(), 7);
    drop(topic);
    bench.crash(1);
    let topic = bench.topic("t");
    assert_eq!(values(&topic), expected);
    assert_eq!(topic.len(None).unwrap(), 7);
}

#[test]
fn survivors_keep_their_offsets_and_the_file_shrinks() {
    let mut bench = eager(1);
    let topic = bench.topic("t");
    fill(&bench, &topic, 0..1000);
    let before = bench.content("t-1.txt").len();
    bench.trim(&topic, &maxlen(10)).unwrap();
    eventually("a rewrite", || lines(&topic) == 10);
    let text = bench.content("t-1.txt");
    assert!(text.len() < before / 50);
    assert!(text.lines().next().unwrap().contains("\"offset\":990,"));
    fill(&bench, &topic, 1000..1003);
    assert!(bench.content("t-1.txt").lines().last().unwrap().contains("\"offset\":1002,"));
    assert_eq!(values(&topic), numbers(990..1003));
    drop(topic);
    bench.restart();
    let topic = bench.topic("t");
    assert_eq!(values(&topic), numbers(990..1003));
    assert_eq!(topic.info().unwrap().entries_added, 1003);
}

#[test]
fn reading_backward_over_a_wide_gap_reads_little() {
    let bench = eager(1);
    let topic = bench.topic("t");
    for start in 0..20 {
        fill(&bench, &topic, start * 1000..start * 1000 + 1000);
    }
    bench.trim(&topic, &maxlen(10)).unwrap();
    eventually("a rewrite", || lines(&topic) == 10);
    let before = bench.fs().count(Operation::Read);
    let found = read(&topic, &ReadRange { reverse: true, ..ALL }).unwrap();
    assert_eq!(found.len(), 10);
    let reads = bench.fs().count(Operation::Read) - before;
    assert!(reads < 40, "{reads} reads");
}

#[test]
fn readers_and_writers_go_on_meanwhile() {
    let bench = eager(2);
    let topic = bench.topic("t");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reverse in [false, true] {
            let (topic, done) = (&topic, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let found = ids(&read(topic, &ReadRange { reverse, ..ALL }).unwrap());
                    assert!(found.is_sorted_by(|a, b| if reverse { a > b } else { a < b }));
                    let numbers: Vec<u64> = found.iter().map(|id| id.seq).collect();
                    // Every second event is deleted at some time, and the oldest are trimmed: no other is missing.
                    let even: Vec<u64> = numbers.iter().copied().filter(|n| n % 2 == 0).collect();
                    let dense = |pair: &[u64]| pair[0].abs_diff(pair[1]) == 2;
                    assert!(even.windows(2).all(dense), "{even:?}");
                }
            });
        }
        for _ in 0..60 {
            let added = fill(&bench, &topic, 0..20);
            let odd: Vec<EventId> = added.into_iter().filter(|id| id.seq % 2 == 1).collect();
            bench.delete(&topic, &odd).unwrap();
            bench.trim(&topic, &maxlen(50)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(topic.len(None).unwrap(), 50);
}

/// Everything that a rewrite does to files, failing once.
#[test]
fn a_rewrite_that_fails_loses_nothing_and_counts_stay_right() {
    let cases = [
        (Operation::Create, ".tmp"),
        (Operation::Write, ".tmp"),
        (Operation::Read, "t-1.txt"),
        (Operation::Sync, ".tmp"),
        (Operation::Rename, "t-1.txt"),
        (Operation::Rename, "t-1.idx"),
        (Operation::SyncDir, "data"),
        (Operation::SyncDir, "db0"),
        (Operation::Remove, ".idx"),
    ];
    for ((operation, part), skip_restart) in cases.into_iter().flat_map(|case| [(case, true), (case, false)])
    {
        let mut bench = eager(1);
        let topic = bench.topic("t");
        bench.options.tail_bytes = 0;
        fill(&bench, &topic, 0..100);
        // So that there is a journal.
        let set = SetId { last: topic.visible_id(), entries_added: None, max_deleted: None };
        let ticket = topic.set_id(&set).unwrap();
        bench.engine().kick();
        wait(topic.committed(ticket)).unwrap();
        bench.fault(operation, part, FaultKind::Errno(5), 1);
        let trimmed = bench.trim(&topic, &maxlen(60));
        // The read that the trimming itself needs may be the one that fails.
        let live = if trimmed.is_ok() { 40..100 } else { 0..100 };
        eventually("the rewrite to end", || {
            !bench.files().iter().any(|file| file.ends_with(".tmp")) && topic.info().is_ok()
        });
        bench.fs().heal();
        eventually("the partition to be online", || {
            accept(&topic, IdSpec::Auto, None, &[b"n", b"100"], None).is_ok_and(|appended| {
                bench.engine().kick();
                wait(topic.committed(appended.ticket)).is_ok()
            })
        });
        let mut expected = numbers(live);
        expected.push("100".to_owned());
        assert_eq!(values(&topic), expected, "{operation:?}");
        assert_eq!(topic.len(None).unwrap(), expected.len() as u64, "{operation:?}");
        // Counting goes by the files: they and the numbers in memory must agree.
        let below = read(&topic, &ALL).unwrap()[10].0;
        let trim = wafka_broker::Trim {
            strategy: wafka_broker::TrimStrategy::MinId(below),
            approximate: false,
            limit: None,
            refs: wafka_broker::RefPolicy::Keep,
        };
        assert_eq!(bench.trim(&topic, &trim), Ok(10), "{operation:?}");
        assert_eq!(topic.len(None).unwrap(), expected.len() as u64 - 10, "{operation:?}");
        let everything = wafka_broker::Trim {
            strategy: wafka_broker::TrimStrategy::MinId(EventId::MAX),
            approximate: false,
            limit: None,
            refs: wafka_broker::RefPolicy::Keep,
        };
        if skip_restart {
            assert_eq!(bench.trim(&topic, &everything), Ok(expected.len() as u64 - 10), "{operation:?}");
            assert_eq!(topic.len(None).unwrap(), 0, "{operation:?}");
            continue;
        }
        drop(topic);
        bench.crash(7);
        let topic = bench.topic("t");
        assert_eq!(values(&topic), expected[10..], "{operation:?}");
        assert_eq!(topic.len(None).unwrap(), expected.len() as u64 - 10, "{operation:?}");
    }
}

/// Power is lost after every single operation of a rewrite.
#[test]
fn a_crash_anywhere_in_a_rewrite_loses_nothing() {
    let operations = [
        Operation::Create,
        Operation::Write,
        Operation::Sync,
        Operation::Rename,
        Operation::SyncDir,
        Operation::Remove,
    ];
    for operation in operations {
        for skip in 0..4 {
            let mut bench = eager(2);
            let topic = bench.topic("t");
            fill(&bench, &topic, 0..200);
            let all = read(&topic, &ALL).unwrap();
            // From some operation on the disk is gone: what comes after never happens.
            let times = u64::MAX;
            bench.fs().inject(Fault { operation, path_contains: String::new(), skip, times, kind: EIO });
            let deleted = bench.delete(&topic, &[all[150].0, all[151].0, all[199].0]);
            let trimmed = bench.trim(&topic, &maxlen(50));
            drop(topic);
            for fault in [Operation::Create, Operation::Write, Operation::Sync, Operation::Rename] {
                let kind = EIO;
                bench.fs().inject(Fault {
                    operation: fault,
                    path_contains: String::new(),
                    skip: 0,
                    times,
                    kind,
                });
            }
            bench.crash_only(skip * 31 + 5);
            bench.fs().heal();
            bench.options.reclaim = NEVER;
            bench.start().unwrap();
            let topic = bench.topic("t");
            let found = read(&topic, &ALL).unwrap();
            assert_eq!(topic.len(None).unwrap(), found.len() as u64, "{operation:?} {skip}");
            // What was acknowledged is done; what failed may have been done or not.
            let live = |at: usize| {
                let gone = deleted.is_ok() && [150, 151, 199].contains(&at);
                let below = trimmed.is_ok() && at < 147;
                !gone && !below
            };
            let must: Vec<EventId> =
                (147..199).filter(|at| ![150, 151].contains(at)).map(|at| all[at].0).collect();
            let may: Vec<EventId> = (0..200).filter(|at| live(*at)).map(|at| all[at].0).collect();
            let found = ids(&found);
            assert!(must[4..].iter().all(|id| found.contains(id)), "{operation:?} {skip}: {found:?}");
            assert!(found.iter().all(|id| may.contains(id)), "{operation:?} {skip}");
            assert_eq!(topic.info().unwrap().entries_added, 200);
        }
    }
}

#[test]
fn a_rewrite_that_fails_keeps_the_index_and_is_not_tried_again_at_once() {
    let mut bench = eager(1);
    let topic = bench.topic("t");
    let all = fill(&bench, &topic, 0..2000);
    bench.fault(Operation::Rename, "t-1.txt", FaultKind::Errno(5), u64::MAX);
    let renames = bench.fs().count(Operation::Rename);
    bench.trim(&topic, &maxlen(1900)).unwrap();
    // The index goes aside, the log stays as it is, the index comes back.
    eventually("the rewrite to fail", || bench.fs().count(Operation::Rename) == renames + 3);
    let before = bench.fs().bytes_read();
    let one = ReadRange { from: all[1000], count: Some(1), ..ALL };
    assert_eq!(ids(&read(&topic, &one).unwrap()), [all[1000]]);
    let bytes = bench.fs().bytes_read() - before;
    assert!(bytes < 40_000, "{bytes} bytes read of {}", bench.content("t-1.txt").len());
    let renames = bench.fs().count(Operation::Rename);
    for keep in (1000..1900).rev().step_by(50) {
        bench.trim(&topic, &maxlen(keep)).unwrap();
    }
    drop(topic);
    bench.stop();
    assert_eq!(bench.fs().count(Operation::Rename), renames, "no further attempt");
    assert!(bench.fs().content(std::path::Path::new("data/index/db0/t-1.idx")).unwrap().len() > 48 * 100);
}
