//! Every fault of the file-system seam while the engine runs: what fails is told, what does not goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use wafka_broker::{AppendError, FsyncPolicy, IdSpec, Topic, TopicSpec, wait};
use wafka_core::{EventId, PartitionId};
use wafka_storage::fs::{Fault, FaultKind, Operation, SimFs};
use wafka_storage::text::CommitJournalUse;

use crate::support::{
    ALL, Bench, DB, EAGER, EIO, ENOSPC, Home, ReadRange, StopOnDrop, accept, eventually, ids, is_offline,
    maxlen, name, read, values,
};

/// Waits for a thread that must end.
#[track_caller]
fn ends(what: &str, thread: JoinHandle<()>) {
    eventually(what, || thread.is_finished());
    thread.join().unwrap();
}

#[test]
fn a_partition_that_fails_goes_offline_and_comes_back() {
    let faults: [&[(Operation, FaultKind)]; 4] = [
        &[(Operation::Write, EIO)],
        &[(Operation::Write, FaultKind::ShortWrite(20)), (Operation::Write, ENOSPC)],
        &[(Operation::Sync, EIO)],
        &[(Operation::Sync, EIO), (Operation::Open, EIO)],
    ];
    std::thread::scope(|scope| {
        for fault in faults {
            scope.spawn(move || fails_and_comes_back(fault));
        }
    });
}

fn fails_and_comes_back(faults: &[(Operation, FaultKind)]) {
    let mut bench = Bench::direct(3);
    let topic = bench.topic("t");
    let mut expected: Vec<String> = (0..6).map(|n| n.to_string()).collect();
    for value in &expected {
        bench.add(&topic, value).unwrap();
    }
    for (operation, kind) in faults {
        let times = if matches!(kind, FaultKind::ShortWrite(_)) { 1 } else { u64::MAX };
        bench.fault(*operation, "t-1.txt", *kind, times);
    }
    // The first one that goes to the first partition fails; the others do without it from then on.
    let mut failed = 0;
    for n in 6..20 {
        let value = n.to_string();
        match bench.add(&topic, &value) {
            Ok(_) => expected.push(value),
            Err(error) => {
                failed += 1;
                assert!(matches!(error, AppendError::Offline { partition: PartitionId(1), .. }), "{error}");
                assert!(error.to_string().starts_with("OFFLINE "), "{error}");
            }
        }
        assert_eq!(values(&topic), expected);
    }
    assert_eq!(failed, 1, "{faults:?}");
    assert!(is_offline(&topic, 1) && !is_offline(&topic, 2) && !is_offline(&topic, 3));
    assert!(matches!(bench.add_to(&topic, Some(1), "no"), Err(AppendError::Offline { .. })));
    assert_eq!(topic.len(None).unwrap(), expected.len() as u64);
    assert_eq!(topic.info().unwrap().entries_added, expected.len() as u64);

    bench.fs().heal();
    eventually("the partition to come back", || !is_offline(&topic, 1));
    for n in 20..30 {
        let value = n.to_string();
        bench.add(&topic, &value).unwrap();
        expected.push(value);
    }
    bench.add_to(&topic, Some(1), "last").unwrap();
    expected.push("last".to_owned());
    assert_eq!(values(&topic), expected);
    let offsets = |text: &str| -> Vec<usize> {
        let offset = |line: &str| line.split("\"offset\":").nth(1)?.split(',').next()?.parse().ok();
        text.lines().map(|line| offset(line).unwrap()).collect()
    };
    let written = offsets(&bench.content("t-1.txt"));
    assert_eq!(written, (0..written.len()).collect::<Vec<_>>());
    drop(topic);
    bench.crash(3);
    let topic = bench.topic("t");
    assert_eq!(values(&topic), expected);
    assert_eq!(topic.len(None).unwrap(), expected.len() as u64);
}

#[test]
fn of_many_under_way_exactly_those_that_failed_are_gone() {
    for skip in 0..3 {
        let mut bench = Bench::direct(2);
        let topic = bench.topic("t");
        let kind = EIO;
        let path_contains = "t-2.txt".to_owned();
        bench.fs().inject(Fault { operation: Operation::Sync, path_contains, skip, times: u64::MAX, kind });
        let mut kept = Vec::new();
        for round in 0..10 {
            let accepted: Vec<_> = (0..20)
                .filter_map(|n| {
                    let text = format!("{round}-{n}");
                    let appended = accept(&topic, IdSpec::Auto, None, &[b"v", text.as_bytes()], None).ok()?;
                    Some((appended, text))
                })
                .collect();
            bench.engine().kick();
            for (appended, text) in accepted {
                match wait(topic.committed(appended.ticket)) {
                    Ok(()) => kept.push(text),
                    Err(error) => assert!(matches!(error, AppendError::Offline { .. }), "{error}"),
                }
            }
            assert_eq!(values(&topic), kept);
            assert_eq!(topic.len(None).unwrap(), kept.len() as u64);
        }
        assert!(is_offline(&topic, 2) && kept.len() < 200);
        drop(topic);
        bench.crash_only(skip);
        bench.fs().heal();
        bench.start().unwrap();
        let topic = bench.topic("t");
        // Of what failed nothing is known; what was acknowledged is there.
        let found = values(&topic);
        assert!(kept.iter().all(|value| found.contains(value)));
    }
}

#[test]
fn a_full_disk_stops_writing_not_reading() {
    let mut bench = Bench::direct(2);
    let topic = bench.topic("t");
    bench.add(&topic, "before").unwrap();
    bench.fs().limit_space(1_000);
    let mut kept = vec!["before".to_owned()];
    let mut refused = 0;
    for n in 0..40 {
        let value = n.to_string();
        match bench.add(&topic, &value) {
            Ok(_) => kept.push(value),
            Err(AppendError::Offline { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 20 && kept.len() > 2);
    assert_eq!(values(&topic), kept);
    bench.fs().heal();
    eventually("all partitions to come back", || !is_offline(&topic, 1) && !is_offline(&topic, 2));
    bench.add(&topic, "after").unwrap();
    kept.push("after".to_owned());
    drop(topic);
    bench.crash(9);
    assert_eq!(values(&bench.topic("t")), kept);
}

#[test]
fn a_journal_that_fails_is_told_and_comes_back_under_load() {
    for operation in [Operation::Write, Operation::Sync, Operation::Create] {
        let mut bench = Bench::direct(1);
        let topic = bench.topic("t");
        let added: Vec<EventId> = (0..10).map(|n| bench.add(&topic, &n.to_string()).unwrap()).collect();
        if operation != Operation::Create {
            bench.delete(&topic, &[added[0]]).unwrap();
        }
        bench.fault(operation, "t.journal", EIO, 1);
        let error = bench.delete(&topic, &[added[1]]).unwrap_err();
        assert!(error.contains("journal is offline"), "{error}");
        let error = topic.delete_events(&[added[2]]).unwrap_err().to_string();
        assert!(error.starts_with("READONLY "), "{error}");
        // Events go on without it; every turn syncs the same broker's logs.
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _stop = StopOnDrop(&stop);
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    bench.add(&topic, "load").unwrap();
                }
            });
            eventually("the journal to come back", || bench.delete(&topic, &[added[3]]).is_ok());
        });
        let expected = values(&topic);
        assert!(!expected.contains(&"3".to_owned()));
        assert_eq!(topic.len(None).unwrap(), expected.len() as u64);
        drop(topic);
        bench.crash(1);
        let topic = bench.topic("t");
        assert_eq!(values(&topic), expected, "{operation:?}");
        assert_eq!(topic.len(None).unwrap(), expected.len() as u64);
    }
}

#[test]
fn nobody_waits_forever_for_a_journal_that_failed() {
    let bench = Arc::new(Bench::direct(1));
    let topic = bench.topic("t");
    for n in 0..100 {
        bench.add(&topic, &n.to_string()).unwrap();
    }
    bench.trim(&topic, &maxlen(99)).unwrap();
    let path_contains = "t.journal".to_owned();
    let (operation, kind) = (Operation::Sync, EIO);
    bench.fs().inject(Fault { operation, path_contains, skip: 5, times: u64::MAX, kind });
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (bench, topic) = (Arc::clone(&bench), Arc::clone(&topic));
            std::thread::spawn(move || {
                for max in (0..90).rev() {
                    // Most fail: what matters is that an answer comes.
                    let _ = bench.trim(&topic, &maxlen(max));
                }
            })
        })
        .collect();
    for thread in threads {
        ends("answers to trimming", thread);
    }
    assert!(topic.trim(&maxlen(0)).is_err() || topic.len(None).unwrap() == 0);
    // A topic whose journal is offline can be deleted all the same.
    let deleting = Arc::clone(&bench);
    let thread = std::thread::spawn(move || {
        assert_eq!(deleting.engine().delete_topics(DB, &[b"t"]).unwrap(), 1);
    });
    ends("the deletion", thread);
    assert!(bench.engine().topic(DB, b"t").is_none());
    assert_eq!(bench.files(), ["wafka.catalog.txt"]);
}

#[test]
fn a_catalog_that_fails_refuses_and_recovers() {
    for operation in [Operation::Write, Operation::Sync] {
        let mut bench = Bench::direct(2);
        let first = bench.topic("first");
        bench.add(&first, "x").unwrap();
        bench.fault(operation, "wafka.catalog", EIO, u64::MAX);
        assert!(bench.engine().create_topic(DB, &name("second"), None).is_err());
        assert!(bench.engine().topic(DB, b"second").is_none());
        assert!(bench.engine().delete_topics(DB, &[b"first"]).is_err());
        assert!(!first.is_deleted());
        assert!(bench.add(&first, "refused").is_err());
        bench.fs().heal();
        eventually("the catalog to be settled", || bench.add(&first, "y").is_ok());
        let (second, created) = bench.engine().create_topic(DB, &name("second"), None).unwrap();
        assert!(created);
        bench.add(&second, "z").unwrap();
        drop((first, second));
        bench.crash(5);
        assert_eq!(bench.engine().topic_count(DB), 2);
        assert_eq!(values(&bench.topic("first")), ["x", "y"]);
        assert_eq!(values(&bench.topic("second")), ["z"]);
    }
}

#[test]
fn a_deletion_that_failed_does_not_come_about_later() {
    for operation in [Operation::Write, Operation::Sync] {
        let mut bench = Bench::direct(2);
        let topic = bench.topic("t");
        bench.add(&topic, "before").unwrap();
        bench.fault(operation, "wafka.catalog", EIO, 1);
        assert!(bench.engine().delete_topics(DB, &[b"t"]).is_err());
        bench.add(&topic, "after").unwrap();
        drop(topic);
        bench.restart();
        assert_eq!(values(&bench.topic("t")), ["before", "after"]);
        bench.crash(3);
        assert_eq!(values(&bench.topic("t")), ["before", "after"]);
    }
}

#[test]
fn a_deletion_that_failed_does_not_keep_a_partition_offline() {
    let bench = Bench::direct(2);
    let topic = bench.topic("t");
    bench.fault(Operation::Sync, "t-1.txt", EIO, 1);
    assert!(bench.add_to(&topic, Some(1), "x").is_err());
    bench.fault(Operation::Write, "wafka.catalog", EIO, u64::MAX);
    // Deletions are tried until the broker has looked at its offline logs meanwhile.
    eventually("the partition to come back", || {
        assert!(bench.engine().delete_topics(DB, &[b"t"]).is_err());
        !is_offline(&topic, 1)
    });
    bench.fs().heal();
    eventually("the catalog to be settled", || bench.add_to(&topic, Some(1), "y").is_ok());
    assert_eq!(values(&topic), ["y"]);
}

#[test]
fn a_topic_that_could_not_be_made_can_be_made_later() {
    let cases = [
        (Operation::Create, "t-2.txt"),
        (Operation::SyncDir, "data"),
        (Operation::Write, "wafka.catalog"),
        (Operation::Sync, "wafka.catalog"),
    ];
    for (operation, part) in cases {
        let mut bench = Bench::direct(2);
        bench.fault(operation, part, EIO, 1);
        assert!(bench.engine().create_topic(DB, &name("t"), None).is_err(), "{operation:?}");
        assert!(bench.engine().topic(DB, b"t").is_none());
        let topic = bench.topic("t");
        for n in 0..4 {
            bench.add(&topic, &n.to_string()).unwrap();
        }
        drop(topic);
        bench.crash(4);
        assert_eq!(values(&bench.topic("t")), ["0", "1", "2", "3"], "{operation:?}");
    }
}

#[test]
fn an_index_that_cannot_be_written_does_not_matter() {
    for operation in [Operation::Write, Operation::Create, Operation::Open] {
        let mut bench = Bench::new(Home::Sim(SimFs::new()), 2)
            .with(|options| {
                options.index_interval_bytes = 64;
                options.tail_bytes = 0;
                options.reclaim = EAGER;
            })
            .started();
        bench.fault(operation, ".idx", EIO, u64::MAX);
        let topic = bench.topic("t");
        let mut expected = Vec::new();
        for n in 0..300 {
            bench.add(&topic, &n.to_string()).unwrap();
            expected.push(n.to_string());
        }
        bench.trim(&topic, &maxlen(100)).unwrap();
        assert_eq!(values(&topic), expected[200..]);
        drop(topic);
        bench.kill();
        assert_eq!(values(&bench.topic("t")), expected[200..]);
    }
}

#[test]
fn everysec_reports_a_failed_sync_and_goes_on() {
    let mut bench =
        Bench::new(Home::Sim(SimFs::new()), 2).with(|options| options.fsync = FsyncPolicy::EverySec);
    bench.commit_journal = CommitJournalUse::Never;
    bench.start().unwrap();
    let topic = bench.topic("t");
    bench.fault(Operation::Sync, "t-1.txt", EIO, u64::MAX);
    for n in 0..10 {
        bench.add(&topic, &n.to_string()).unwrap();
    }
    eventually("the failure to show", || is_offline(&topic, 1));
    assert_eq!(values(&topic).len(), 10);
    bench.fs().heal();
    eventually("the partition to come back", || !is_offline(&topic, 1));
    bench.add_to(&topic, Some(1), "10").unwrap();
    assert_eq!(values(&topic).len(), 11);
}

/// Appends until the partition's queue is full, without anything being written.
fn overload(topic: &Arc<Topic>) -> Vec<EventId> {
    let mut accepted = Vec::new();
    loop {
        match accept(topic, IdSpec::Auto, None, &[b"v", b"x"], None) {
            Ok(appended) => accepted.push(appended.id),
            Err(AppendError::Overloaded { .. }) => return accepted,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_is_refused_takes_no_part_in_the_cycle() {
    let bench = Bench::new(Home::Sim(SimFs::new()), 3)
        .with(|options| {
            options.queue_bytes_max = 1000;
            options.topic_defaults = TopicSpec::default();
        })
        .started();
    let topic = bench.topic("t");
    for _ in 0..5 {
        let accepted = overload(&topic);
        // Refused again; nothing changes.
        assert!(accept(&topic, IdSpec::Auto, None, &[b"v", b"x"], None).is_err());
        bench.engine().kick();
        eventually("the events to be written", || topic.visible_id() >= *accepted.last().unwrap());
    }
    let counts: Vec<usize> = (1..=3)
        .map(|p| read(&topic, &ReadRange { partition: Some(PartitionId(p)), ..ALL }).unwrap().len())
        .collect();
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
    let all = ids(&read(&topic, &ALL).unwrap());
    assert_eq!(all.len(), counts.iter().sum::<usize>());
}
