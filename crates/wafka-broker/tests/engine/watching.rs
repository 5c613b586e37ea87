//! Waiting for a name to change.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use wafka_broker::{Changed, ReadRange, wait};
use wafka_core::EventId;

use crate::support::{Bench, DB, EIO, StopOnDrop, eventually, ids, read};

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn is_ready(changed: &mut Changed, woken: &Arc<Woken>) -> bool {
    let waker = Waker::from(Arc::clone(woken));
    matches!(Pin::new(changed).poll(&mut Context::from_waker(&waker)), Poll::Ready(()))
}

#[test]
fn creation_events_and_deletion_wake() {
    let bench = Bench::sim(2);
    let point = bench.engine().watch(DB, b"t");
    let woken = Arc::new(Woken::default());
    let mut changed = point.changed(None);
    assert!(!is_ready(&mut changed, &woken));
    let topic = bench.topic("t");
    assert!(is_ready(&mut changed, &woken), "made");
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);

    let mut changed = point.changed(None);
    assert!(!is_ready(&mut changed, &woken));
    let id = bench.add(&topic, "x").unwrap();
    wait(&mut changed);
    assert_eq!(topic.visible_id(), id);

    // Other names are not concerned.
    let other = bench.topic("other");
    let mut changed = point.changed(None);
    bench.add(&other, "x").unwrap();
    bench.trim(&topic, &crate::support::maxlen(5)).unwrap();
    assert!(!is_ready(&mut changed, &woken));

    bench.engine().delete_topics(DB, &[b"t"]).unwrap();
    wait(&mut changed);
    assert!(topic.is_deleted());

    // The place to wait outlives the topic.
    let mut changed = point.changed(None);
    assert!(!is_ready(&mut changed, &woken));
    let again = bench.topic("t");
    assert!(is_ready(&mut changed, &woken));
    assert!(Arc::ptr_eq(&point, &bench.engine().watch(DB, b"t")));
    let changed = point.changed(None);
    bench.add(&again, "y").unwrap();
    wait(changed);
}

#[test]
fn when_a_waiter_is_woken_the_event_is_visible() {
    let bench = Bench::sim(4);
    let topic = bench.topic("t");
    let point = bench.engine().watch(DB, b"t");
    let done = std::sync::atomic::AtomicBool::new(false);
    let total = 2_000;
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (topic, point) = (&topic, &point);
                scope.spawn(move || {
                    let (mut last, mut seen) = (EventId::MIN, 0);
                    // Sleeps only on the watch point: one wake-up that is missed and this never ends.
                    while seen < total {
                        let changed = point.changed(None);
                        let range = ReadRange::after(last, Some(50), None).unwrap();
                        let found = ids(&read(topic, &range).unwrap());
                        match found.last() {
                            Some(newest) => {
                                assert!(found[0] > last && found.is_sorted());
                                last = *newest;
                                seen += found.len();
                            }
                            None => wait(changed),
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let _stop = StopOnDrop(&done);
            for n in 0..total {
                bench.add(&topic, &n.to_string()).unwrap();
            }
        });
        eventually("all readers to see all events", || readers.iter().all(|reader| reader.is_finished()));
    });
}

#[test]
fn a_partition_that_fails_wakes_those_it_held_back() {
    use wafka_storage::fs::Operation;
    let bench = Bench::direct(2);
    let topic = bench.topic("t");
    bench.add(&topic, "a").unwrap();
    bench.add(&topic, "b").unwrap();
    bench.fault(Operation::Sync, "t-1.txt", EIO, 1);
    let changed = bench.engine().watch(DB, b"t").changed(None);
    let first = crate::support::accept(&topic, wafka_broker::IdSpec::Auto, Some(1), &[b"v", b"lost"], None);
    let second = crate::support::accept(&topic, wafka_broker::IdSpec::Auto, Some(2), &[b"v", b"kept"], None);
    bench.engine().kick();
    assert!(wait(topic.committed(first.unwrap().ticket)).is_err());
    let second = second.unwrap();
    wait(topic.committed(second.ticket)).unwrap();
    wait(changed);
    assert_eq!(crate::support::values(&topic), ["a", "b", "kept"]);
    assert_eq!(topic.visible_id(), second.id);
}

#[test]
fn readers_of_a_partition_are_woken_by_its_events_alone() {
    let bench = Bench::sim(2);
    let topic = bench.topic("t");
    let point = bench.engine().watch(DB, b"t");
    let woken = Arc::new(Woken::default());
    let [mut first, mut second] =
        [1, 2].map(|partition| point.changed(Some(wafka_core::PartitionId(partition))));
    assert!(!is_ready(&mut first, &woken) && !is_ready(&mut second, &woken));
    let fields: [&[u8]; 2] = [b"v", b"x"];
    let accepted = crate::support::accept(&topic, wafka_broker::IdSpec::Auto, Some(2), &fields, None);
    bench.engine().kick();
    wait(topic.committed(accepted.unwrap().ticket)).unwrap();
    wait(&mut second);
    assert!(!is_ready(&mut first, &woken));
}

/// However many wait for a group's events, one event wakes one of them.
#[test]
fn an_event_wakes_one_member_of_each_group() {
    let bench = Bench::sim(2);
    let topic = bench.topic("t");
    let line_up = |group: &[u8]| {
        let mut turn = topic.watch_point().pass(group, wafka_broker::Arrival::now());
        turn.line_up(false);
        turn.end_look();
        turn
    };
    let groups: [&[u8]; 2] = [b"g", b"h"];
    let mut turns: Vec<_> = (0..1_000).flat_map(|_| groups.map(line_up)).collect();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let called = |turns: &mut Vec<wafka_broker::Turn>| {
        let is_called =
            |turn: &mut wafka_broker::Turn| turn.poll_called(&mut Context::from_waker(&waker)).is_ready();
        turns.iter_mut().map(is_called).filter(|called| *called).count()
    };
    assert_eq!(called(&mut turns), 0);
    bench.add(&topic, "x").unwrap();
    eventually("both are woken", || woken.0.load(Ordering::SeqCst) == 2);
    assert_eq!(called(&mut turns), 2);
    // What is written about events later, here that one is trimmed away, wakes nobody.
    bench.trim(&topic, &crate::support::maxlen(0)).unwrap();
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
}
