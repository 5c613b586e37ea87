//! What a strategy is told, and what becomes of its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use wafka_broker::{
    AppendError, Appended, EngineOptions, FsyncPolicy, IdSpec, Topic, TopicError, TopicSpec, wait,
};
use wafka_core::PartitionId;
use wafka_core::partitioner::{
    CreateRequest, Partitioner, PartitionerError, PartitionerFactory, Route, RouteRequest, kafka_partition,
};
use wafka_partitioner_sticky::{self as sticky, Sticky};
use wafka_plugin_sdk::{self as sdk, Event, Field, Partitioner as _};
use wafka_storage::fs::Operation;

use crate::support::{Bench, DB, EIO, Home, accept, eventually, is_offline, name};

/// The strategy of `plugins/partitioner-sticky`.
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
            return Err(bad("none", format!("told of {} partitions", request.partitions)));
        }
        let options = serde_json::from_value(Value::Object(request.options.clone()));
        let options: sticky::Options = options.map_err(|error| bad("options", error.to_string()))?;
        let made = Sticky::new(options, &sdk::Topic::new(request.topic, request.partitions));
        let strategy = made.map_err(|error| bad(error.option(), error.expected().to_owned()))?;
        self.made.fetch_add(u64::from(request.partitions), Ordering::SeqCst);
        Ok(Box::new(Adapter(strategy)))
    }
}

fn bad(option: &str, expected: String) -> PartitionerError {
    PartitionerError::BadOption { partitioner: "sticky".to_owned(), option: option.to_owned(), expected }
}

/// The strategy as the engine calls it, without the ABI between.
struct Adapter(Sticky);

impl Partitioner for Adapter {
    fn route(&mut self, request: &RouteRequest<'_>) -> Result<Route, PartitionerError> {
        let fields: Vec<_> = request.fields.iter().map(|(name, value)| Field::new(name, value)).collect();
        let event = Event::new(sdk::Topic::new(request.topic, request.partitions), &fields);
        let partitioner = "sticky".to_owned();
        self.0
            .route(&event.with_open_partition(request.open))
            .map_err(|error| PartitionerError::Failed { partitioner, reason: error.to_string() })
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
    // The events' thread does the turns: when a batch is taken is up to the test.
    bench.options.fsync = FsyncPolicy::No;
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

/// Kafka's `StickyPartitionCacheTest.testStickyPartitionCache`: the same partition until there is a new batch, then
/// another one; and the windows are spread evenly, whatever their size.
#[test]
fn what_is_committed_together_stays_together_and_the_next_commit_goes_on() {
    let (bench, topic) = sticky(Bench::sim(3));
    let mut expected = vec![0; 3];
    for window in 0..10 {
        let size = 1 + window % 5;
        let events: Vec<_> = (0..size).map(|_| put(&topic, b"x").unwrap()).collect();
        commit(&bench, &topic, &events);
        expected[window % 3] += size as u64;
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

/// Windows of two free events each, behind one of `other`, which goes to the partition at `of_other`: they take turns.
fn free_windows_take_turns(of_other: usize, other: impl Fn(&Arc<Topic>) -> Appended) {
    let (bench, topic) = sticky(Bench::sim(4));
    let spec = serde_json::json!({ "partition_key": "truck" });
    let options = spec.as_object().unwrap().clone();
    let spec = TopicSpec { partitioner: "sticky".to_owned(), options, ..TopicSpec::default() };
    bench.engine().alter_topic(DB, b"t", &spec).unwrap();
    let mut expected = vec![0; 4];
    for window in 0..12 {
        let events = [other(&topic), put(&topic, b"x").unwrap(), put(&topic, b"x").unwrap()];
        commit(&bench, &topic, &events);
        expected[of_other] += 1;
        expected[window % 4] += 2;
        assert_eq!(lengths(&topic), expected, "window {window}, others at {of_other}");
    }
}

#[test]
fn a_batch_that_an_event_with_a_key_opened_is_not_the_open_one() {
    free_windows_take_turns(usize::from(kafka_partition(b"21", 4)), |topic| {
        accept(topic, IdSpec::Auto, None, &[b"truck", b"21"], None).unwrap()
    });
}

#[test]
fn a_batch_that_a_placed_event_opened_is_not_the_open_one() {
    for number in 1..=4_u16 {
        free_windows_take_turns(usize::from(number - 1), |topic| {
            accept(topic, IdSpec::Auto, Some(number), &[b"v", b"y"], None).unwrap()
        });
    }
}

#[test]
fn before_any_free_event_no_batch_is_open() {
    let (mut bench, mut topic) = sticky(Bench::sim(4));
    let mut expected = [0; 4];
    for _ in 0..6 {
        // After a start, the cycle goes on by the number of events.
        let next = expected.iter().sum::<usize>() % 4;
        let before = (next + 3) % 4;
        let number = u16::try_from(before + 1).unwrap();
        let placed = accept(&topic, IdSpec::Auto, Some(number), &[b"v", b"y"], None).unwrap();
        commit(&bench, &topic, &[placed, put(&topic, b"x").unwrap()]);
        expected[before] += 1;
        expected[next] += 1;
        assert_eq!(lengths(&topic), expected.iter().map(|n| *n as u64).collect::<Vec<_>>());
        bench.restart();
        topic = bench.topic("t");
    }
}

#[test]
fn a_free_event_makes_the_batch_that_it_joins_the_open_one() {
    let (bench, topic) = sticky(Bench::sim(4));
    let mut events = vec![accept(&topic, IdSpec::Auto, Some(1), &[b"v", b"y"], None).unwrap()];
    events.extend((0..5).map(|_| put(&topic, b"x").unwrap()));
    commit(&bench, &topic, &events);
    assert_eq!(lengths(&topic), [6, 0, 0, 0]);
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

/// Kafka's `testUnavailablePartitions`: only those that are available are chosen.
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
