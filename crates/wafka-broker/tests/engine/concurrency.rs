//! Many threads on one topic: nothing lost, duplicated, reordered, or seen by one and missed by another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wafka_broker::{FsyncPolicy, IdSpec, ReadRange, Topic, TopicSpec, wait};
use wafka_core::{EventId, PartitionId};
use wafka_storage::fs::SimFs;

use crate::support::{ALL, Bench, Home, Rng, StopOnDrop, accept, eventually, ids, read, strings, values};

const WRITERS: u64 = 4;
const EACH: u64 = 400;

fn bench(fsync: FsyncPolicy, brokers: u16, home: Home) -> Bench {
    Bench::new(home, brokers)
        .with(|options| {
            options.fsync = fsync;
            options.tail_bytes = 8 << 10;
            options.index_interval_bytes = 500;
        })
        .started()
}

/// Follows the topic from its last id until it has seen so many events.
fn follow(topic: &Topic, partition: Option<PartitionId>, count: u64, done: &AtomicBool) -> Vec<EventId> {
    let mut seen: Vec<EventId> = Vec::new();
    loop {
        let ended = done.load(Ordering::SeqCst);
        let last = seen.last().copied().unwrap_or(EventId::MIN);
        let range = ReadRange::after(last, Some(count), partition).unwrap();
        let found = ids(&read(topic, &range).unwrap());
        assert!(found.iter().all(|id| *id > last) && found.is_sorted_by(|a, b| a < b));
        if found.is_empty() && ended {
            return seen;
        }
        seen.extend(found);
    }
}

fn run(fsync: FsyncPolicy, brokers: u16, home: Home, pipeline: u64) {
    let bench = bench(fsync, brokers, home);
    let topic = bench.topic("t");
    let done = AtomicBool::new(false);
    let (added, seen, by_partition) = std::thread::scope(|scope| {
        let stop = StopOnDrop(&done);
        let (topic, done, bench) = (&topic, &done, &bench);
        let readers: Vec<_> = [1, 7, 1000]
            .map(|count| scope.spawn(move || follow(topic, None, count, done)))
            .into_iter()
            .collect();
        let partition_readers: Vec<_> = (1..=brokers)
            .map(|p| scope.spawn(move || follow(topic, Some(PartitionId(p)), 20, done)))
            .collect();
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| scope.spawn(move || write(bench, topic, writer, pipeline))).collect();
        let added: Vec<Vec<(EventId, String)>> =
            writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        drop(stop);
        let join = |threads: Vec<std::thread::ScopedJoinHandle<'_, Vec<EventId>>>| -> Vec<Vec<EventId>> {
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        };
        (added, join(readers), join(partition_readers))
    });
    let mut all: BTreeMap<EventId, String> = BTreeMap::new();
    for of_writer in added {
        assert!(of_writer.is_sorted_by(|a, b| a.0 < b.0), "a writer's events are in its order");
        for (id, value) in of_writer {
            assert!(all.insert(id, value).is_none(), "{id} given out twice");
        }
    }
    let found = read(&topic, &ALL).unwrap();
    let expected: Vec<EventId> = all.keys().copied().collect();
    assert_eq!(ids(&found), expected);
    assert_eq!(strings(&found), all.values().cloned().collect::<Vec<_>>());
    for reader in seen {
        assert_eq!(reader, expected, "a reader that goes on from its last id sees every event");
    }
    let counts: Vec<usize> = by_partition.iter().map(Vec::len).collect();
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
    let mut united: Vec<EventId> = by_partition.into_iter().flatten().collect();
    united.sort();
    assert_eq!(united, expected);
}

fn write(bench: &Bench, topic: &Arc<Topic>, writer: u64, pipeline: u64) -> Vec<(EventId, String)> {
    let mut added = Vec::new();
    let mut n = 0;
    while n < EACH {
        let batch: Vec<_> = (n..(n + pipeline).min(EACH))
            .map(|n| {
                let value = format!("{writer}:{n}");
                let appended = accept(topic, IdSpec::Auto, None, &[b"v", value.as_bytes()], None).unwrap();
                (appended, value)
            })
            .collect();
        n += pipeline;
        bench.engine().kick();
        for (appended, value) in batch {
            wait(topic.committed(appended.ticket)).unwrap();
            // What was answered can be read, by anybody, at once.
            assert!(topic.visible_id() >= appended.id);
            let range = ReadRange { from: appended.id, to: appended.id, ..ALL };
            assert_eq!(strings(&read(topic, &range).unwrap()), std::slice::from_ref(&value));
            added.push((appended.id, value));
        }
    }
    added
}

#[test]
fn always() {
    run(FsyncPolicy::Always, 4, Home::Sim(SimFs::new()), 1);
    run(FsyncPolicy::Always, 2, Home::Sim(SimFs::new()), 32);
}

#[test]
fn always_on_disk() {
    run(FsyncPolicy::Always, 2, Home::Disk(tempfile::tempdir().unwrap()), 16);
}

#[test]
fn everysec() {
    run(FsyncPolicy::EverySec, 4, Home::Sim(SimFs::new()), 1);
    run(FsyncPolicy::EverySec, 1, Home::Sim(SimFs::new()), 16);
}

#[test]
fn no() {
    run(FsyncPolicy::No, 2, Home::Sim(SimFs::new()), 8);
    run(FsyncPolicy::No, 3, Home::Memory(wafka_storage::memory::MemoryStorage::new()), 8);
}

#[test]
fn the_policy_changes_while_events_are_written() {
    let bench = bench(FsyncPolicy::Always, 3, Home::Sim(SimFs::new()));
    let topic = bench.topic("t");
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (bench, topic) = (&bench, &topic);
                scope.spawn(move || write(bench, topic, writer, 4))
            })
            .collect();
        let mut rng = Rng(7);
        let policies = [FsyncPolicy::Always, FsyncPolicy::EverySec, FsyncPolicy::No];
        eventually("the writers to end", || {
            bench.engine().set_fsync(rng.pick(&policies));
            writers.iter().all(|writer| writer.is_finished())
        });
    });
    assert_eq!(values(&topic).len() as u64, WRITERS * EACH);
}

#[test]
fn keys_stay_where_they_are() {
    let mut bench = Bench::sim(4);
    let options = serde_json::from_str(r#"{"partition_key":"truck"}"#).unwrap();
    let spec = TopicSpec { partitions: None, partitioner: "key".to_owned(), options, backend: None };
    let place_all = |bench: &Bench| {
        let topic = bench.engine().topic(crate::support::DB, b"t").unwrap();
        for n in 0..40 {
            let truck = (n % 10).to_string();
            let appended = accept(&topic, IdSpec::Auto, None, &[b"truck", truck.as_bytes()], None).unwrap();
            bench.engine().kick();
            wait(topic.committed(appended.ticket)).unwrap();
        }
    };
    bench.engine().create_topic(crate::support::DB, &crate::support::name("t"), Some(&spec)).unwrap();
    place_all(&bench);
    bench.restart();
    place_all(&bench);
    let topic = bench.topic("t");
    let mut places: BTreeMap<String, u16> = BTreeMap::new();
    for p in 1..=4 {
        let range = ReadRange { partition: Some(PartitionId(p)), ..ALL };
        for truck in strings(&read(&topic, &range).unwrap()) {
            assert_eq!(*places.entry(truck.clone()).or_insert(p), p, "{truck}");
        }
    }
    assert_eq!(places.len(), 10);
    // (murmur2("3") & 0x7fffffff) % 4 and so on, as a Kafka producer places them, are checked beside the strategy.
    accept(&topic, IdSpec::Auto, None, &[b"other", b"x"], None).unwrap();
    bench.engine().kick();
    assert_eq!(topic.info().unwrap().unkeyed, 1);
}
