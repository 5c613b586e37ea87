//! Starting on what a server left behind, whole or not.

use std::path::Path;
use std::sync::Arc;

use wafka_broker::{AppendError, DeclaredTopic, StartError, TopicError, TopicSpec};
use wafka_core::partitioner::{
    CreateRequest, Partitioner, PartitionerError, PartitionerFactory, Route, RouteRequest,
};
use wafka_storage::fs::{FileSystem, Operation};
use wafka_storage::line::{RecordKind, encode_record};

use crate::support::{Bench, DB, EIO, name, values};

const CATALOG: &str = "wafka.catalog.txt";

fn filled(brokers: u16) -> Bench {
    let bench = Bench::sim(brokers);
    for topic in ["a", "b"] {
        let topic = bench.topic(topic);
        for n in 0..8 {
            bench.add(&topic, &n.to_string()).unwrap();
        }
    }
    bench
}

fn eight() -> Vec<String> {
    (0..8).map(|n| n.to_string()).collect()
}

#[track_caller]
fn refused(bench: &mut Bench) -> String {
    match bench.start() {
        Ok(()) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_torn_catalog_is_cut() {
    let mut bench = filled(2);
    bench.stop();
    let whole = bench.content(CATALOG);
    bench.put(CATALOG, format!("{whole}{{\"catalog\":\"wafka\",\"off").as_bytes());
    bench.start().unwrap();
    assert_eq!(bench.content(CATALOG), whole);
    assert_eq!(values(&bench.topic("b")), eight());
    let topic = bench.topic("c");
    bench.add(&topic, "x").unwrap();
    drop(topic);
    bench.restart();
    assert_eq!(bench.engine().topic_count(DB), 3);
}

#[test]
fn a_catalog_that_is_expected_is_not_begun_anew() {
    let mut bench = filled(2);
    bench.options.catalog_expected = true;
    bench.restart();
    bench.stop();
    let whole = bench.content(CATALOG);
    bench.fs().remove(&Path::new("data").join(CATALOG)).unwrap();
    let error = refused(&mut bench);
    for part in ["'text' has no catalog", "restore it", "empty data directory"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!bench.files().iter().any(|file| file == CATALOG), "nothing is begun");
    // A file whose lines are gone says no more than none.
    bench.put(CATALOG, b"");
    assert!(refused(&mut bench).contains("has no catalog"));
    bench.put(CATALOG, whole.as_bytes());
    bench.start().unwrap();
    assert_eq!(values(&bench.topic("b")), eight());
}

#[test]
fn a_damaged_catalog_refuses_the_start() {
    let mut bench = filled(2);
    bench.stop();
    let whole = bench.content(CATALOG);
    let first = whole.split_inclusive('\n').next().unwrap().len();
    bench.put(CATALOG, whole.replacen("\"topic\":\"a\"", "\"topic\":\"x\"", 1).as_bytes());
    let error = refused(&mut bench);
    assert!(error.contains(CATALOG) && error.contains(&format!("at byte {first}")), "{error}");
    // Mended, all is there.
    bench.put(CATALOG, whole.as_bytes());
    bench.start().unwrap();
    assert_eq!(values(&bench.topic("a")), eight());
}

#[test]
fn an_unknown_format_is_refused() {
    let mut bench = Bench::sim(1);
    bench.stop();
    let mut line = Vec::new();
    let record = serde_json::json!({"type": "format", "version": 2});
    encode_record(&mut line, RecordKind::Catalog, b"wafka", 0, 0, &record).unwrap();
    bench.put(CATALOG, &line);
    let error = refused(&mut bench);
    assert!(error.contains("format version 2") && error.contains(CATALOG), "{error}");
    let mut line = Vec::new();
    let record = serde_json::json!({"type": "rename", "uid": 2});
    encode_record(&mut line, RecordKind::Catalog, b"wafka", 0, 0, &record).unwrap();
    bench.put(CATALOG, &line);
    assert!(refused(&mut bench).contains("at byte 0"));
}

#[test]
fn a_deletion_cut_short_leaves_no_files() {
    for skip in 0..3 {
        let mut bench = filled(2);
        let topic = bench.topic("a");
        bench.trim(&topic, &crate::support::maxlen(3)).unwrap();
        drop(topic);
        let kind = EIO;
        let path_contains = "a".to_owned();
        let fault =
            wafka_storage::fs::Fault { operation: Operation::Remove, path_contains, skip, times: 99, kind };
        bench.fs().inject(fault);
        assert!(bench.engine().delete_topics(DB, &[b"a"]).is_err());
        assert!(bench.engine().topic(DB, b"a").is_none());
        bench.crash_only(skip);
        bench.fs().heal();
        bench.start().unwrap();
        assert_eq!(bench.files(), ["b-1.txt", "b-2.txt", CATALOG]);
        let topic = bench.topic("a");
        bench.add(&topic, "new").unwrap();
        assert_eq!(values(&topic), ["new"]);
        assert_eq!(values(&bench.topic("b")), eight());
    }
}

#[test]
fn a_file_that_no_topic_owns_is_not_taken_over() {
    let mut bench = filled(2);
    bench.stop();
    let events = bench.content("a-2.txt");
    bench.put("c-2.txt", events.as_bytes());
    bench.start().unwrap();
    for _ in 0..2 {
        let error = bench.engine().create_topic(DB, &name("c"), None).err().unwrap();
        assert!(matches!(&error, TopicError::Orphan { log, .. } if log == "c-2.txt"), "{error}");
    }
    assert_eq!(bench.content("c-2.txt"), events);
    assert!(bench.engine().topic(DB, b"c").is_none());
    // Once it is moved away the name is free.
    bench.stop();
    let fs: &dyn wafka_storage::fs::FileSystem = bench.fs();
    fs.remove(&crate::support::path("c-2.txt")).unwrap();
    bench.start().unwrap();
    let topic = bench.topic("c");
    bench.add(&topic, "x").unwrap();
    assert_eq!(values(&topic), ["x"]);
}

#[test]
fn a_journal_that_no_topic_owns_is_not_taken_over() {
    let mut bench = filled(2);
    let topic = bench.topic("a");
    bench.trim(&topic, &crate::support::maxlen(3)).unwrap();
    drop(topic);
    bench.stop();
    let journal = bench.content("a.journal.txt");
    bench.put("c.journal.txt", journal.as_bytes());
    bench.start().unwrap();
    for _ in 0..2 {
        let error = bench.engine().create_topic(DB, &name("c"), None).err().unwrap();
        assert!(matches!(&error, TopicError::Orphan { log, .. } if log == "c.journal.txt"), "{error}");
    }
    assert_eq!(bench.content("c.journal.txt"), journal);
    // Once it is moved away the name is free.
    let fs: &dyn wafka_storage::fs::FileSystem = bench.fs();
    fs.remove(&crate::support::path("c.journal.txt")).unwrap();
    let topic = bench.topic("c");
    bench.add(&topic, "x").unwrap();
    drop(topic);
    bench.restart();
    assert_eq!(values(&bench.topic("c")), ["x"]);
}

#[test]
fn files_put_back_after_a_deletion_are_left_alone() {
    let mut bench = filled(2);
    let events = bench.content("a-1.txt");
    bench.engine().delete_topics(DB, &[b"a"]).unwrap();
    bench.stop();
    bench.put("a-1.txt", events.as_bytes());
    for _ in 0..2 {
        bench.start().unwrap();
        assert_eq!(bench.content("a-1.txt"), events);
        let error = bench.engine().create_topic(DB, &name("a"), None).err().unwrap();
        assert!(matches!(&error, TopicError::Orphan { log, .. } if log == "a-1.txt"), "{error}");
        bench.stop();
    }
}

#[test]
fn the_number_of_brokers_may_change() {
    let mut bench = filled(4);
    bench.stop();
    for (brokers, partitions) in [(1, 1), (3, 3), (6, 6)] {
        bench.options.brokers = brokers;
        bench.start().unwrap();
        for topic in ["a", "b"] {
            let topic = bench.topic(topic);
            assert_eq!(topic.partitions(), 4);
            bench.add_to(&topic, Some(4), "more").unwrap();
            assert_eq!(values(&topic)[..8], eight());
            bench.trim(&topic, &crate::support::maxlen(8)).unwrap();
            let ids = crate::support::ids(&crate::support::read(&topic, &crate::support::ALL).unwrap());
            bench.delete(&topic, &ids[7..]).unwrap();
            bench.delete(&topic, &[]).unwrap();
            assert_eq!(topic.len(None).unwrap(), 7);
            // As it was, for the next round.
            drop(topic);
        }
        let new = bench.topic(&format!("new{brokers}"));
        assert_eq!(new.partitions(), partitions);
        bench.add(&new, "x").unwrap();
        drop(new);
        for topic in ["a", "b"] {
            bench.engine().delete_topics(DB, &[topic.as_bytes()]).unwrap();
        }
        bench.options.brokers = 4;
        bench.restart();
        for topic in ["a", "b"] {
            let topic = bench.topic(topic);
            assert_eq!(topic.partitions(), 4);
            for n in 0..8 {
                bench.add(&topic, &n.to_string()).unwrap();
            }
        }
        bench.stop();
    }
}

/// A strategy of a test's own.
struct Fixed(u32);

impl PartitionerFactory for Fixed {
    fn name(&self) -> &str {
        "fixed"
    }

    fn version(&self) -> u32 {
        self.0
    }

    fn create(&self, _request: &CreateRequest<'_>) -> Result<Box<dyn Partitioner>, PartitionerError> {
        Ok(Box::new(First))
    }
}

struct First;

impl Partitioner for First {
    fn route(&mut self, _request: &RouteRequest<'_>) -> Result<Route, PartitionerError> {
        Ok(Route::Partition(0))
    }
}

#[test]
fn a_topic_without_its_strategy_is_read_only() {
    let mut bench = Bench::sim(2);
    bench.stop();
    assert!(bench.options.partitioners.register(Arc::new(Fixed(1))));
    assert!(!bench.options.partitioners.register(Arc::new(Fixed(2))), "the name is taken");
    bench.start().unwrap();
    let spec = TopicSpec { partitioner: "fixed".to_owned(), ..TopicSpec::default() };
    let (topic, _) = bench.engine().create_topic(DB, &name("t"), Some(&spec)).unwrap();
    for n in 0..4 {
        bench.add(&topic, &n.to_string()).unwrap();
    }
    drop(topic);
    bench.stop();
    let with = bench.options.partitioners.clone();
    for (partitioners, part) in [
        (wafka_broker::Partitioners::built_in(), "unknown partitioner 'fixed'"),
        (
            {
                let mut other = wafka_broker::Partitioners::built_in();
                assert!(other.register(Arc::new(Fixed(2))));
                other
            },
            "version 1",
        ),
    ] {
        bench.options.partitioners = partitioners;
        bench.start().unwrap();
        let topic = bench.topic("t");
        for partition in [None, Some(1)] {
            let error = bench.add_to(&topic, partition, "x").unwrap_err();
            assert!(
                matches!(error, AppendError::ReadOnly { .. }) && error.to_string().contains(part),
                "{error}"
            );
        }
        assert_eq!(values(&topic), ["0", "1", "2", "3"]);
        assert!(topic.info().unwrap().read_only.is_some());
        drop(topic);
        bench.stop();
    }
    bench.options.partitioners = with;
    bench.start().unwrap();
    let topic = bench.topic("t");
    bench.add(&topic, "4").unwrap();
    // Told so, it takes another strategy.
    bench.engine().alter_topic(DB, b"t", &TopicSpec::default()).unwrap();
    drop(topic);
    bench.stop();
    bench.options.partitioners = wafka_broker::Partitioners::built_in();
    bench.start().unwrap();
    let topic = bench.topic("t");
    bench.add(&topic, "5").unwrap();
    assert_eq!(values(&topic), ["0", "1", "2", "3", "4", "5"]);
}

#[test]
fn a_declaration_that_contradicts_the_data_refuses_the_start() {
    let mut bench = filled(2);
    bench.stop();
    let spec = TopicSpec { partitions: Some(1), ..TopicSpec::default() };
    bench.options.declared = vec![DeclaredTopic { database: DB, name: name("a"), spec }];
    match bench.start() {
        Err(StartError::Topic { topic, reason }) => {
            assert_eq!(topic, "a");
            assert!(reason.contains("2 partitions for life"), "{reason}");
        }
        other => panic!("{:?}", other.err()),
    }
    bench.options.declared.clear();
    bench.start().unwrap();
}
