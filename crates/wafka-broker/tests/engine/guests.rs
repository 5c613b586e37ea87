//! Strategies that may take long: what goes on meanwhile, and what they are called under.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use wafka_broker::{AppendError, Engine, IdSpec, ReadRange, Topic, TopicSpec};
use wafka_core::PartitionId;
use wafka_core::partitioner::{
    CreateRequest, Partitioner, PartitionerError, PartitionerFactory, Route, RouteRequest, RouteWatch,
};

use crate::support::{ALL, Bench, DB, accept, name, read, values};

/// Longer than anything takes that does not hang.
const LONG: Duration = Duration::from_secs(20);

/// What all instances share.
#[derive(Default)]
struct Shared {
    made: AtomicU64,
    dropped: AtomicU64,
    is_inside: AtomicBool,
    overlapped: AtomicBool,
    /// Told when a route waits, and what it waits for.
    waits: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    stuck_for: Mutex<Option<Duration>>,
    /// What the engine is asked for while an instance is made or dropped.
    engine: Mutex<Weak<Engine>>,
    /// Calls during which the engine did not answer.
    locked: Mutex<Vec<&'static str>>,
}

impl Shared {
    /// Another thread makes and describes topics while this one is in a call.
    fn look_from_within(&self, call: &'static str) {
        let Some(engine) = self.engine.lock().upgrade() else { return };
        let (done, is_done) = channel();
        thread::spawn(move || {
            let spec = TopicSpec { partitioner: "round-robin".to_owned(), ..TopicSpec::default() };
            let (topic, _) = engine.create_topic(DB, &name("seen from within"), Some(&spec)).unwrap();
            topic.info().unwrap();
            if let Some(topic) = engine.topic(DB, b"t") {
                topic.info().unwrap();
            }
            // Nobody waits for it when it took too long.
            let _ = done.send(());
        });
        if is_done.recv_timeout(Duration::from_secs(5)) == Err(RecvTimeoutError::Timeout) {
            self.locked.lock().push(call);
        }
    }
}

impl RouteWatch for Shared {
    fn origin(&self) -> String {
        "plugin /guest.so".to_owned()
    }

    fn stuck_for(&self) -> Option<Duration> {
        *self.stuck_for.lock()
    }
}

struct Guests(Arc<Shared>);

impl PartitionerFactory for Guests {
    fn name(&self) -> &str {
        "guest"
    }

    fn version(&self) -> u32 {
        1
    }

    fn create(&self, _request: &CreateRequest<'_>) -> Result<Box<dyn Partitioner>, PartitionerError> {
        self.0.look_from_within("create");
        let number = self.0.made.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(Box::new(Guest { shared: Arc::clone(&self.0), number, calls: 0 }))
    }
}

/// Puts its events in turn, or, if they say "instance", where its number says.
struct Guest {
    shared: Arc<Shared>,
    number: u64,
    calls: u64,
}

impl Partitioner for Guest {
    fn route(&mut self, request: &RouteRequest<'_>) -> Result<Route, PartitionerError> {
        if self.shared.is_inside.swap(true, Ordering::SeqCst) {
            self.shared.overlapped.store(true, Ordering::SeqCst);
        }
        let value = request.fields.get(b"v").unwrap_or_default();
        if value == b"wait" {
            let waits = self.shared.waits.lock().take();
            if let Some((waiting, go)) = waits {
                waiting.send(()).unwrap();
                go.recv().unwrap();
            }
        }
        let index = if value == b"x" { self.calls } else { self.number };
        self.calls += u64::from(value == b"x");
        self.shared.is_inside.store(false, Ordering::SeqCst);
        Ok(Route::Partition(u16::try_from(index % u64::from(request.partitions)).unwrap()))
    }

    fn watch(&self) -> Option<Arc<dyn RouteWatch>> {
        Some(Arc::clone(&self.shared) as Arc<dyn RouteWatch>)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.shared.look_from_within("drop");
        self.shared.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn guests(partitions: u16) -> (Bench, Arc<Shared>, Arc<Topic>) {
    let mut bench = Bench::sim(partitions);
    bench.stop();
    let shared = Arc::new(Shared::default());
    assert!(bench.options.partitioners.register(Arc::new(Guests(Arc::clone(&shared)))));
    bench.start().unwrap();
    let (topic, _) = bench.engine().create_topic(DB, &name("t"), Some(&spec())).unwrap();
    (bench, shared, topic)
}

fn spec() -> TopicSpec {
    TopicSpec { partitioner: "guest".to_owned(), ..TopicSpec::default() }
}

fn lengths(topic: &Topic) -> Vec<u64> {
    (1..=topic.partitions()).map(|number| topic.len(Some(PartitionId(number))).unwrap()).collect()
}

#[test]
fn events_are_routed_one_at_a_time_in_the_order_of_their_ids() {
    let (bench, shared, topic) = guests(3);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..500 {
                    // Some name their partition, and are not routed.
                    bench.accept(&topic, "x");
                    if n % 5 == 0 {
                        accept(&topic, IdSpec::Auto, Some(1), &[b"v", b"y"], None).unwrap();
                    }
                }
            });
        }
    });
    bench.add(&topic, "x").unwrap();
    assert!(!shared.overlapped.load(Ordering::SeqCst));
    let mut partitions: Vec<VecDeque<_>> = (1..=3)
        .map(|number| {
            let range = ReadRange { partition: Some(PartitionId(number)), ..ALL };
            let entries = read(&topic, &range).unwrap();
            let routed = entries.into_iter().filter(|entry| entry.1.contains(&b"x".to_vec()));
            routed.map(|entry| entry.0).collect()
        })
        .collect();
    let mut last = None;
    for n in 0..2001 {
        let id = partitions[n % 3].pop_front();
        assert!(id > last, "event {n}");
        last = id;
    }
}

#[test]
fn while_a_route_is_out_the_topic_goes_on() {
    let (bench, shared, topic) = guests(3);
    let (waiting, is_waiting) = channel();
    let (go, may_go) = channel();
    *shared.waits.lock() = Some((waiting, may_go));
    thread::scope(|scope| {
        let stuck = scope.spawn(|| bench.add(&topic, "wait").unwrap());
        is_waiting.recv_timeout(LONG).unwrap();
        bench.add_to(&topic, Some(1), "placed").unwrap();
        assert_eq!(values(&topic), ["placed"]);
        assert_eq!(topic.info().unwrap().length, 1);
        // Not noticed yet, so it waits for a while; and then not at all.
        for (stuck_for, said) in [(None, "for 0.2 s"), (Some(Duration::from_millis(7300)), "for 7.3 s")] {
            *shared.stuck_for.lock() = stuck_for;
            let refused = bench.add(&topic, "routed").unwrap_err();
            assert!(matches!(refused, AppendError::StrategyBusy { .. }), "{refused}");
            for part in ["BUSY partitioner 'guest' (plugin /guest.so)", said, "topic 't'"] {
                assert!(refused.to_string().contains(part), "{part:?} is not in: {refused}");
            }
        }
        // Another instance decides from here on, also about the event that waits.
        let before = shared.made.load(Ordering::SeqCst);
        bench.engine().alter_topic(DB, b"t", &spec()).unwrap();
        let number = shared.made.load(Ordering::SeqCst);
        assert!(number > before);
        bench.add(&topic, "routed").unwrap();
        let dropped = shared.dropped.load(Ordering::SeqCst);
        *shared.engine.lock() = Arc::downgrade(bench.engine());
        go.send(()).unwrap();
        stuck.join().unwrap();
        assert_eq!(shared.dropped.load(Ordering::SeqCst), dropped + 1);
        let mut expected = vec![1, 0, 0];
        expected[usize::try_from(number % 3).unwrap()] += 2;
        assert_eq!(lengths(&topic), expected);
    });
    *shared.stuck_for.lock() = None;
    assert_eq!(*shared.locked.lock(), [""; 0]);
    *shared.engine.lock() = Weak::new();
}

#[test]
fn a_topic_that_is_deleted_while_a_route_is_out_takes_no_event_of_it() {
    let (bench, shared, topic) = guests(2);
    let (waiting, is_waiting) = channel();
    let (go, may_go) = channel();
    *shared.waits.lock() = Some((waiting, may_go));
    thread::scope(|scope| {
        let stuck = scope.spawn(|| accept(&topic, IdSpec::Auto, None, &[b"v", b"wait"], None));
        is_waiting.recv_timeout(LONG).unwrap();
        bench.engine().delete_topics(DB, &[b"t"]).unwrap();
        go.send(()).unwrap();
        assert_eq!(stuck.join().unwrap().unwrap_err(), AppendError::Deleted);
    });
    assert!(bench.engine().topic(DB, b"t").is_none());
}

#[test]
fn what_routes_when_the_engine_ends_is_told_and_comes_to_nothing() {
    let (bench, shared, topic) = guests(2);
    assert_eq!(bench.engine().abandon_routes(), 0);
    let (waiting, is_waiting) = channel();
    let (go, may_go) = channel();
    *shared.waits.lock() = Some((waiting, may_go));
    thread::scope(|scope| {
        let stuck = scope.spawn(|| accept(&topic, IdSpec::Auto, None, &[b"v", b"wait"], None));
        is_waiting.recv_timeout(LONG).unwrap();
        assert_eq!(bench.engine().abandon_routes(), 1);
        go.send(()).unwrap();
        let refused = stuck.join().unwrap().unwrap_err();
        assert!(refused.to_string().contains("the server has shut down"), "{refused}");
    });
}
