//! A partition whose log cannot be opened when the server starts: the others serve, and nothing is passed over silently.

use std::sync::atomic::{AtomicBool, Ordering};

use wafka_broker::{AppendError, GroupStart, Placed, Placing, ReadError, ReadRange, TopicError};
use wafka_core::{EventId, PartitionId};
use wafka_storage::fs::{FileSystem, Operation};

use crate::support::{
    ALL, Bench, DB, EAGER, EIO, StopOnDrop, accept, eventually, ids, is_offline, maxlen, name, path, read,
    state, strings, values,
};

/// A topic `t` of two partitions with events `0` to `7`, stopped.
fn filled() -> Bench {
    let mut bench = Bench::direct(2);
    let topic = bench.topic("t");
    for n in 0..8 {
        bench.add(&topic, &n.to_string()).unwrap();
    }
    let ticket = topic.create_group(b"g", GroupStart::Id(EventId::MIN), None).unwrap();
    bench.commit(&topic, ticket);
    bench.add(&bench.topic("other"), "fine").unwrap();
    drop(topic);
    bench.stop();
    bench
}

fn of_partition(number: u16) -> ReadRange {
    ReadRange { partition: Some(PartitionId(number)), ..ALL }
}

#[test]
fn the_others_serve_until_it_is_back() {
    let mut bench = filled();
    let text = bench.content("t-2.txt");
    let fs: &dyn FileSystem = bench.fs();
    fs.remove(&path("t-2.txt")).unwrap();
    bench.start().unwrap();
    assert_eq!(values(&bench.topic("other")), ["fine"]);
    let topic = bench.topic("t");
    assert!(is_offline(&topic, 2) && !is_offline(&topic, 1));
    // What needs the partition says which file is missing.
    for range in
        [ALL, ReadRange { reverse: true, ..ALL }, ReadRange { count: Some(1), ..ALL }, of_partition(2)]
    {
        let error = read(&topic, &range).unwrap_err();
        assert!(matches!(error, ReadError::Storage(_)), "{error}");
        assert!(error.to_string().contains("t-2.txt"), "{error}");
    }
    assert!(topic.trim(&maxlen(1)).is_err());
    let info = topic.info().unwrap();
    assert_eq!((info.partitions[1].lines, info.partitions[1].next_offset, info.length), (0, 0, 4));
    let rename = Placing { copy: false, replace: false };
    let error = bench.engine().place_topic((DB, b"t"), (DB, &name("u")), rename).unwrap_err();
    assert!(matches!(error, TopicError::Held { .. }), "{error}");
    assert!(error.to_string().contains("t-2.txt"), "{error}");
    // The other partition is read and written; the cycle passes over the missing one.
    assert_eq!(strings(&read(&topic, &of_partition(1)).unwrap()), ["0", "2", "4", "6"]);
    let new: Vec<EventId> = (8..12).map(|n| bench.add(&topic, &n.to_string()).unwrap()).collect();
    assert!(matches!(bench.add_to(&topic, Some(2), "x"), Err(AppendError::Offline { .. })));
    assert_eq!(read(&topic, &of_partition(1)).unwrap().len(), 8);
    assert!(!bench.files().contains(&"t-2.txt".to_owned()), "a missing file is not made anew");
    drop(topic);
    bench.restart();
    assert_eq!(read(&bench.topic("t"), &of_partition(1)).unwrap().len(), 8);
    // The file comes back, and with it the topic as a whole.
    bench.put("t-2.txt", text.as_bytes());
    eventually("the partition to come back", || read(&bench.topic("t"), &ALL).is_ok());
    let topic = bench.topic("t");
    let expected: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    assert_eq!(values(&topic), expected);
    assert!(ids(&read(&topic, &ALL).unwrap()).ends_with(&new));
    assert_eq!(topic.info().unwrap().entries_added, 12);
    assert!(!is_offline(&topic, 2));
    assert!(bench.add_to(&topic, Some(2), "12").unwrap() > new[3]);
    assert_eq!(bench.consume(&topic, "g", "c", 100).len(), 13);
    drop(topic);
    bench.crash(3);
    assert_eq!(values(&bench.topic("t")).len(), 13);
}

#[test]
fn a_disk_that_fails_takes_its_partition_and_no_more() {
    let mut bench = filled();
    bench.fault(Operation::Open, "t-1.txt", EIO, u64::MAX);
    bench.start().unwrap();
    let topic = bench.topic("t");
    assert!(read(&topic, &ALL).unwrap_err().to_string().contains("t-1.txt"));
    assert_eq!(strings(&read(&topic, &of_partition(2)).unwrap()), ["1", "3", "5", "7"]);
    // Writers go on while it comes back.
    let under_way = accept(&topic, wafka_broker::IdSpec::Auto, None, &[b"v", b"8"], None).unwrap();
    bench.engine().kick();
    wafka_broker::wait(topic.committed(under_way.ticket)).unwrap();
    bench.fs().heal();
    eventually("the partition to come back", || read(&bench.topic("t"), &ALL).is_ok());
    assert!(topic.is_deleted());
    assert_eq!(bench.add(&topic, "no"), Err(AppendError::Deleted));
    let topic = bench.topic("t");
    bench.add(&topic, "9").unwrap();
    let expected: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    assert_eq!(values(&topic), expected);
    assert!(matches!(state(&topic, 1), wafka_broker::PartitionState::Online));
}

/// However often space is given back, partitions are looked for.
#[test]
fn a_partition_comes_back_on_a_busy_server() {
    let mut bench = filled();
    bench.options.reclaim = EAGER;
    bench.fault(Operation::Open, "t-1.txt", EIO, u64::MAX);
    bench.start().unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stopper = StopOnDrop(&stop);
        let (bench, stop) = (&bench, &stop);
        let busy = scope.spawn(move || {
            let topic = bench.topic("busy");
            while !stop.load(Ordering::SeqCst) {
                bench.add(&topic, "x").unwrap();
                bench.trim(&topic, &maxlen(0)).unwrap();
            }
        });
        bench.fs().heal();
        eventually("the partition to come back", || read(&bench.topic("t"), &ALL).is_ok());
        drop(stopper);
        busy.join().unwrap();
    });
}

#[test]
fn a_topic_that_lacks_a_partition_can_be_deleted() {
    let mut bench = filled();
    let fs: &dyn FileSystem = bench.fs();
    fs.remove(&path("t-1.txt")).unwrap();
    bench.start().unwrap();
    assert_eq!(bench.engine().delete_topics(DB, &[b"t"]).unwrap(), 1);
    assert!(!bench.files().iter().any(|file| file.starts_with("t-") || file.starts_with("t.")));
    let topic = bench.topic("t");
    bench.add(&topic, "new").unwrap();
    assert_eq!(values(&topic), ["new"]);
    drop(topic);
    bench.restart();
    assert_eq!(values(&bench.topic("t")), ["new"]);
    let copy = Placing { copy: true, replace: false };
    assert_eq!(bench.engine().place_topic((DB, b"t"), (DB, &name("u")), copy).unwrap(), Placed::Done);
}

#[test]
fn one_of_two_comes_back_and_is_not_read_from_its_beginning() {
    let mut bench = Bench::direct(3);
    let topic = bench.topic("t");
    let text = "x".repeat(2_000);
    for n in 0..600 {
        bench.add(&topic, &format!("{n}{text}")).unwrap();
    }
    drop(topic);
    bench.stop();
    let text = bench.content("t-2.txt");
    let fs: &dyn FileSystem = bench.fs();
    fs.remove(&path("t-1.txt")).unwrap();
    fs.remove(&path("t-2.txt")).unwrap();
    bench.start().unwrap();
    assert!(is_offline(&bench.topic("t"), 2));
    let before = bench.fs().bytes_read();
    bench.put("t-2.txt", text.as_bytes());
    eventually("the partition to come back", || !is_offline(&bench.topic("t"), 2));
    let bytes = bench.fs().bytes_read() - before;
    assert!(bytes < text.len() as u64 / 2, "{bytes} of {}", text.len());
    assert!(is_offline(&bench.topic("t"), 1) && !is_offline(&bench.topic("t"), 3));
    assert_eq!(read(&bench.topic("t"), &of_partition(2)).unwrap().len(), 200);
}
