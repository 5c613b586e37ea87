//! What a strategy is told, and what becomes of its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wafka_broker::{AppendError, Appended, EngineOptions, IdSpec, Topic, TopicError, TopicSpec, wait};
use wafka_core::PartitionId;
use wafka_core::partitioner::{
    CreateRequest, Partitioner, PartitionerError, PartitionerFactory, Route, RouteRequest,
};
use wafka_storage::fs::Operation;

use crate::support::{Bench, DB, EIO, Home, accept, eventually, is_offline, name};

/// What the sticky strategy does: events stay in the open batch.
#[derive(Default)]
struct StickyFactory {
    made: Arc<AtomicU64>,
}

impl PartitionerFactory for StickyFactory {
    fn name(&self) -> &str {
        "sticky"
    }

    fn version(&self) -> u32 {
        1
    }

    fn create(&self, request: &CreateRequest<'_>) -> Result<Box<dyn Partitioner>, PartitionerError> {
        if request.topic == b"refused" {
            let (partitioner, option) = ("sticky".to_owned(), "none".to_owned());
            let expected = format!("told of {} partitions", request.partitions);
            return Err(PartitionerError::BadOption { partitioner, option, expected });
        }
        self.made.fetch_add(u64::from(request.partitions), Ordering::SeqCst);
        Ok(Box::new(Sticky))
    }
}

struct Sticky;

impl Partitioner for Sticky {
    fn route(&mut self, request: &RouteRequest<'_>) -> Result<Route, PartitionerError> {
        Ok(request.open.map_or(Route::Any, Route::Partition))
    }
}

/// Topics are sticky unless said otherwise.
pub fn sticky_by_default(options: &mut EngineOptions) {
    assert!(options.partitioners.register(Arc::new(StickyFactory::default())));
    options.topic_defaults.partitioner = "sticky".to_owned();
}

fn sticky(mut bench: Bench) -> (Bench, Arc<Topic>) {
    bench.stop();
    sticky_by_default(&mut bench.options);
    bench.start().unwrap();
    let topic = bench.topic("t");
    (bench, topic)
}

fn put(topic: &Arc<Topic>, value: &[u8]) -> Result<Appended, AppendError> {
    accept(topic, IdSpec::Auto, None, &[b"v", value], None)
}

fn commit(bench: &Bench, topic: &Arc<Topic>, events: &[Appended]) {
    bench.engine().kick();
    for event in events {
        wait(topic.committed(event.ticket)).unwrap();
    }
}

fn lengths(topic: &Topic) -> Vec<u64> {
    (1..=topic.partitions()).map(|number| topic.len(Some(PartitionId(number))).unwrap()).collect()
}

#[test]
fn what_is_committed_together_stays_together_and_the_next_commit_goes_on() {
    let (bench, topic) = sticky(Bench::sim(3));
    let mut expected = vec![0; 3];
    for window in 0..7 {
        let events: Vec<_> = (0..5).map(|_| put(&topic, b"x").unwrap()).collect();
        commit(&bench, &topic, &events);
        expected[window % 3] += 5;
        assert_eq!(lengths(&topic), expected, "window {window}");
    }
}

#[test]
fn what_others_put_elsewhere_does_not_end_the_batch() {
    let (bench, topic) = sticky(Bench::sim(3));
    let mut events = vec![put(&topic, b"x").unwrap()];
    let elsewhere = accept(&topic, IdSpec::Auto, Some(3), &[b"v", b"y"], None).unwrap();
    events.extend([elsewhere, put(&topic, b"x").unwrap()]);
    commit(&bench, &topic, &events);
    assert_eq!(lengths(&topic), [2, 0, 1]);
    let events = [put(&topic, b"x").unwrap(), put(&topic, b"x").unwrap()];
    commit(&bench, &topic, &events);
    assert_eq!(lengths(&topic), [2, 2, 1]);
}

#[test]
fn a_full_batch_is_left_for_the_next_partition() {
    let (bench, topic) = sticky(Bench::new(Home::Memory(Default::default()), 2).with(|options| {
        options.queue_bytes_max = 1000;
    }));
    let value = [b'v'; 600];
    let events: Vec<_> = (0..4).map(|_| put(&topic, &value).unwrap()).collect();
    // Both are full.
    assert!(matches!(put(&topic, &value), Err(AppendError::Overloaded { .. })));
    commit(&bench, &topic, &events);
    assert_eq!(lengths(&topic), [2, 2]);
}

#[test]
fn partitions_that_are_offline_are_passed_over() {
    let (bench, topic) = sticky(Bench::direct(3));
    bench.fault(Operation::Write, "t-1.txt", EIO, u64::MAX);
    let events = [put(&topic, b"x").unwrap(), put(&topic, b"x").unwrap()];
    bench.engine().kick();
    for event in events {
        assert!(wait(topic.committed(event.ticket)).is_err());
    }
    assert!(is_offline(&topic, 1));
    for _ in 0..4 {
        let events = [put(&topic, b"x").unwrap(), put(&topic, b"x").unwrap()];
        commit(&bench, &topic, &events);
    }
    assert_eq!(lengths(&topic), [0, 4, 4]);
    bench.fs().heal();
    eventually("the partition to come back", || !is_offline(&topic, 1));
    for _ in 0..3 {
        let events = [put(&topic, b"x").unwrap(), put(&topic, b"x").unwrap()];
        commit(&bench, &topic, &events);
    }
    assert_eq!(lengths(&topic), [2, 6, 6]);
}

#[test]
fn a_strategy_is_told_how_many_partitions_its_topic_has() {
    let mut bench = Bench::sim(3);
    bench.stop();
    let factory = StickyFactory::default();
    let made = Arc::clone(&factory.made);
    assert!(bench.options.partitioners.register(Arc::new(factory)));
    bench.start().unwrap();
    let spec = TopicSpec { partitions: Some(2), partitioner: "sticky".to_owned(), ..TopicSpec::default() };
    let told = |what: &str| match made.swap(0, Ordering::SeqCst) {
        0 => panic!("{what}: no strategy was made"),
        told => assert_eq!(told % 2, 0, "{what}: told {told}"),
    };
    bench.engine().create_topic(DB, &name("t"), Some(&spec)).unwrap();
    told("made");
    bench.engine().alter_topic(DB, b"t", &spec).unwrap();
    told("altered");
    bench.restart();
    told("opened");
    let error = bench.engine().create_topic(DB, &name("refused"), Some(&spec)).err().unwrap();
    assert!(matches!(error, TopicError::Partitioner(_)), "{error:?}");
    assert!(error.to_string().contains("told of 2 partitions"), "{error}");
    assert!(bench.engine().topic(DB, b"refused").is_none());
}
