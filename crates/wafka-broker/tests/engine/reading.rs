//! Which reads touch files.

use wafka_broker::{IdSpec, ReadError, ReadRange};
use wafka_core::{EventId, PartitionId};
use wafka_storage::fs::Operation;

use crate::support::{ALL, Bench, Collected, Entry, accept, ids, read, strings};

/// As a thread that must not wait reads.
fn ready(topic: &wafka_broker::Topic, range: &ReadRange) -> Option<Vec<Entry>> {
    let mut sink = Collected::default();
    match topic.read_ready(range, &mut sink) {
        Ok(()) => Some(sink.0),
        Err(ReadError::WouldWait) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_is_recent_is_read_from_memory() {
    let mut bench = Bench::direct(2);
    let topic = bench.topic("t");
    let first = bench.add(&topic, "0").unwrap();
    for n in 1..20 {
        bench.add(&topic, &n.to_string()).unwrap();
    }
    let last = topic.visible_id();
    let reads = bench.fs().count(Operation::Read);
    let after = |id| ReadRange::after(id, Some(5), None).unwrap();
    assert_eq!(ready(&topic, &ALL).unwrap().len(), 20);
    assert_eq!(strings(&ready(&topic, &after(first)).unwrap()), ["1", "2", "3", "4", "5"]);
    // Nothing there yet: what a consumer at the end asks again and again.
    for partition in [None, Some(PartitionId(1)), Some(PartitionId(2))] {
        let range = ReadRange { partition, ..after(last) };
        assert!(topic.in_memory(&range));
        assert_eq!(ready(&topic, &range).unwrap(), []);
        assert_eq!(read(&topic, &range).unwrap(), []);
    }
    assert_eq!(bench.fs().count(Operation::Read), reads);
    drop(topic);
    bench.restart();
    // No tail yet; still there is nothing to look for in files.
    let topic = bench.topic("t");
    let reads = bench.fs().count(Operation::Read);
    assert_eq!(ready(&topic, &after(last)).unwrap(), []);
    assert_eq!(bench.fs().count(Operation::Read), reads);
    assert!(!topic.in_memory(&ALL));
    assert_eq!(read(&topic, &ALL).unwrap().len(), 20);
    bench.add(&topic, "20").unwrap();
    let reads = bench.fs().count(Operation::Read);
    assert_eq!(strings(&ready(&topic, &after(last)).unwrap()), ["20"]);
    assert_eq!(bench.fs().count(Operation::Read), reads);
}

#[test]
fn a_topic_without_events_is_read_from_memory() {
    let bench = Bench::sim(3);
    let topic = bench.topic("t");
    let reads = bench.fs().count(Operation::Read);
    assert_eq!(ready(&topic, &ALL).unwrap(), []);
    assert_eq!(read(&topic, &ReadRange { reverse: true, ..ALL }).unwrap(), []);
    assert_eq!(bench.fs().count(Operation::Read), reads);
}

#[test]
fn the_highest_id_there_is_is_read_in_both_directions() {
    let mut bench = Bench::sim(2);
    let topic = bench.topic("t");
    let first = bench.add(&topic, "0").unwrap();
    accept(&topic, IdSpec::Explicit(EventId::MAX), None, &[b"v", b"1"], None).unwrap();
    bench.stop();
    drop(topic);
    bench.start().unwrap();
    let topic = bench.topic("t");
    assert_eq!(ids(&read(&topic, &ALL).unwrap()), [first, EventId::MAX]);
    let reverse = ReadRange { reverse: true, ..ALL };
    assert_eq!(ids(&read(&topic, &reverse).unwrap()), [EventId::MAX, first]);
}
