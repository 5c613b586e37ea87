//! Topics in several storage backends at once, and backends that are not there for a while.

pub mod two;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wafka_broker::{
    BackendSource, Backends, Engine, EngineOptions, PartitionState, Placing, TopicError, TopicSpec, Trim,
};
use wafka_core::storage::Options;
use wafka_core::{EventId, TopicName};
use wafka_storage::MemoryStorage;
use wafka_storage::fs::{Operation, SimFs};

use crate::support::{ALL, DB, EAGER, eventually, is_offline, name, read};
use two::{HeldClock, OtherText, Two, files, numbers};

#[test]
fn a_topic_is_where_it_was_made_to_be() {
    let mut two = Two::new();
    two.make("there", "other");
    two.make("here", "text");
    two.make("gone", "memory");
    for topic in ["there", "here", "gone"] {
        two.add_many(topic, 5);
        two.delete(topic, 1);
    }
    two.engine().kick();
    let backends = |two: &Two| ["there", "here", "gone"].map(|topic| two.topic(topic).backend().to_owned());
    assert_eq!(backends(&two), ["other", "text", "memory"]);
    let info = two.topic("there").info().unwrap();
    assert_eq!((&*info.backend, info.partitions[0].file.as_str()), ("other", "other:there-1"));
    two.restart();
    assert_eq!(backends(&two), ["other", "text", "memory"]);
    for topic in ["there", "here"] {
        assert_eq!(two.values(topic), ["0", "2", "3", "4"], "{topic}");
    }
    // Partitions and journal of each are in its own backend; the catalog is in the default one.
    assert_eq!(files(&two.other), ["there-1.txt", "there-2.txt", "there.journal.txt"]);
    assert_eq!(files(&two.main), ["here-1.txt", "here-2.txt", "here.journal.txt", "wafka.catalog.txt"]);
}

#[test]
fn what_is_in_memory_is_empty_after_a_restart_and_the_topic_stays() {
    let mut two = Two::new();
    let spec = TopicSpec { backend: Some("memory".to_owned()), partitions: Some(1), ..TopicSpec::default() };
    two.engine().create_topic(DB, &name("t"), Some(&spec)).unwrap();
    for _ in 0..3 {
        two.add_many("t", 200);
        two.delete("t", 1);
        two.restart();
        assert_eq!(two.values("t"), [""; 0]);
        let info = two.topic("t").info().unwrap();
        assert_eq!((&*info.backend, info.partitions.len(), info.last_id), ("memory", 1, EventId::MIN));
    }
    // Another topic of that name is not taken for it.
    two.engine().delete_topics(DB, &[b"t"]).unwrap();
    two.make("t", "text");
    two.add_many("t", 3);
    two.restart();
    assert_eq!(two.values("t"), numbers(3));
}

#[test]
fn a_backend_that_nobody_knows_is_refused() {
    let two = Two::new();
    let make = |backend: &str| {
        let spec = TopicSpec { backend: Some(backend.to_owned()), ..TopicSpec::default() };
        two.engine().create_topic(DB, &name("t"), Some(&spec)).err().unwrap().to_string()
    };
    assert_eq!(
        make("sqlite"),
        "IOERR storage backend 'sqlite' is not available: there is none of that name, expected one of memory, other, text"
    );
    assert!(two.engine().topic(DB, b"t").is_none());
}

#[test]
fn a_catalog_that_is_not_kept_takes_no_topics_that_are() {
    let memory = Arc::new(MemoryStorage::new());
    let other = BackendSource {
        factory: Arc::new(OtherText { fs: SimFs::new(), failing: Arc::default() }),
        data_dir: "data".into(),
        options: Options::new(),
    };
    let backends = Backends::new("memory", memory, [other]).unwrap();
    let engine = Engine::start_on(EngineOptions::new(1, Arc::new(HeldClock)), backends).unwrap();
    let spec = TopicSpec { backend: Some("other".to_owned()), ..TopicSpec::default() };
    let error = engine.create_topic(DB, &name("t"), Some(&spec)).err().unwrap().to_string();
    assert!(error.contains("the catalog is in 'memory', which keeps nothing"), "{error}");
    engine.shutdown();
}

#[test]
fn a_topic_waits_for_its_backend_and_the_others_do_not() {
    let mut two = Two::new();
    two.make("there", "other");
    two.make("here", "text");
    two.add_many("there", 300);
    two.add_many("here", 3);
    two.delete("there", 0);
    let before = two.values("there");
    let kept = files(&two.other);
    two.restart_without_other();
    let says = |error: String| {
        for part in ["'other'", "there"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    };
    says(two.add("there", "x").unwrap_err().to_string());
    says(read(&two.topic("there"), &ALL).unwrap_err().to_string());
    assert!(is_offline(&two.topic("there"), 1));
    says(two.engine().delete_topics(DB, &[b"here", b"there"]).unwrap_err().to_string());
    says(two.engine().flush(None).unwrap_err().to_string());
    let to = name("new");
    let rename = Placing { copy: false, replace: true };
    says(two.engine().place_topic((DB, b"there"), (DB, &to), rename).unwrap_err().to_string());
    says(two.engine().place_topic((DB, b"here"), (DB, &name("there")), rename).unwrap_err().to_string());
    // It is nobody else's name meanwhile, and nothing of it is made elsewhere.
    assert_eq!(two.engine().ensure_topic(DB, &name("there")).unwrap().backend(), "other");
    two.add("here", "3").unwrap();
    assert_eq!(two.values("here"), numbers(4));
    assert!(!files(&two.main).iter().any(|file| file.starts_with("there")));
    two.restart_without_other();
    two.restart_with_other();
    assert_eq!(files(&two.other), kept);
    assert_eq!(two.values("there"), before);
    two.add("there", "more").unwrap();
    assert_eq!(two.values("there").len(), before.len() + 1);
    assert_eq!(two.values("here"), numbers(4));
}

#[test]
fn a_backend_that_opens_later_brings_its_topics_back() {
    let mut two = Two::new();
    two.make("there", "other");
    two.add_many("there", 5);
    two.delete("there", 4);
    two.stop();
    two.failing.store(2, Ordering::SeqCst);
    two.start();
    assert!(is_offline(&two.topic("there"), 1));
    eventually("the topic is back", || two.add("there", "5").is_ok());
    assert_eq!(two.values("there")[..4], numbers(4));
    assert!(two.topic("there").info().unwrap().partitions.iter().all(|p| p.state == PartitionState::Online));
}

#[test]
fn a_backend_that_does_not_open_says_why() {
    let mut two = Two::new();
    two.make("there", "other");
    two.add_many("there", 5);
    two.other_options.insert("refuse".to_owned(), "disk on fire".into());
    two.restart();
    let error = two.add("there", "x").unwrap_err().to_string();
    assert!(error.contains("disk on fire"), "{error}");
    let error = two.engine().delete_topics(DB, &[b"there"]).unwrap_err();
    assert!(matches!(error, TopicError::OutOfReach { .. }), "{error}");
    two.other_options.clear();
    two.restart();
    assert_eq!(two.values("there"), numbers(5));
}

#[test]
fn a_failure_of_one_backend_is_none_of_the_other() {
    for operation in [Operation::Write, Operation::Sync] {
        let mut two = Two::with(|options| options.brokers = 1);
        two.make("there", "other");
        two.make("here", "text");
        two.add_many("there", 3);
        two.add_many("here", 3);
        two.fault(true, operation, "there-1.txt", 1);
        let failed = two.add("there", "lost");
        assert!(failed.is_err(), "{operation:?}");
        two.add("here", "3").unwrap();
        assert!(!is_offline(&two.topic("here"), 1));
        eventually("the topic is back", || two.add("there", "3").is_ok());
        two.fault(false, operation, "here-1.txt", 1);
        assert!(two.add("here", "lost").is_err());
        two.add("there", "4").unwrap();
        eventually("the topic is back", || two.add("here", "4").is_ok());
        two.kill();
        assert_eq!(two.values("there"), numbers(5));
        assert_eq!(two.values("here"), numbers(5));
    }
}

#[test]
fn a_rename_keeps_the_backend_and_so_does_a_copy() {
    let mut two = Two::new();
    two.make("there", "other");
    two.make("here", "text");
    two.add_many("there", 5);
    two.add_many("here", 4);
    let place = |from: &str, to: &str, copy| {
        let how = Placing { copy, replace: true };
        two.engine().place_topic((DB, from.as_bytes()), (DB, &name(to)), how).unwrap();
    };
    place("there", "copy", true);
    // The one that is replaced is in another backend.
    place("there", "here", false);
    assert!(two.engine().topic(DB, b"there").is_none());
    for restarted in [false, true] {
        for topic in ["copy", "here"] {
            assert_eq!(two.values(topic), numbers(5), "{restarted}");
            assert_eq!(two.topic(topic).backend(), "other");
        }
        two.restart();
    }
    assert_eq!(files(&two.main), ["wafka.catalog.txt"]);
    assert_eq!(files(&two.other).len(), 4, "{:?}", files(&two.other));
}

#[test]
fn deleted_topics_leave_nothing_in_any_backend() {
    let mut two = Two::new();
    for backend in ["other", "text", "memory"] {
        two.make(backend, backend);
        two.add_many(backend, 3);
    }
    assert_eq!(two.engine().flush(None).unwrap(), 3);
    assert_eq!((files(&two.other), files(&two.main)), (vec![], vec!["wafka.catalog.txt".to_owned()]));
    two.restart();
    assert_eq!(two.engine().topic_count(DB), 0);
    // The names are free in every backend.
    two.make("other", "text");
    two.make("text", "other");
    two.add_many("text", 2);
    assert_eq!(two.values("text"), numbers(2));
}

#[test]
fn what_a_deletion_left_behind_goes_when_its_backend_is_there() {
    let mut two = Two::new();
    two.make("there", "other");
    two.add_many("there", 3);
    two.fault(true, Operation::Remove, "there", 100);
    assert!(two.engine().delete_topics(DB, &[b"there"]).is_err());
    two.other.heal();
    assert!(!files(&two.other).is_empty());
    two.restart_without_other();
    assert!(two.engine().topic(DB, b"there").is_none());
    two.restart_with_other();
    assert_eq!(files(&two.other), [""; 0]);
    two.make("there", "other");
    assert_eq!(two.values("there"), [""; 0]);
}

#[test]
fn what_cannot_be_removed_from_another_backend_stops_no_start() {
    let mut two = Two::new();
    two.make("there", "other");
    two.make("here", "text");
    two.add_many("there", 3);
    two.add_many("here", 3);
    two.fault(true, Operation::Remove, "there", u64::MAX);
    assert!(two.engine().delete_topics(DB, &[b"there"]).is_err());
    two.restart();
    assert_eq!(two.values("here"), numbers(3));
    assert!(!files(&two.other).is_empty());
    two.other.heal();
    two.restart();
    assert_eq!(files(&two.other), [""; 0]);
}

fn transaction(two: &Two, names: &[&str]) -> wafka_broker::Transaction {
    let names: Vec<(_, TopicName)> = names.iter().map(|topic| (DB, name(topic))).collect();
    two.engine().begin_transaction(names).unwrap()
}

#[test]
fn a_transaction_over_two_backends_is_taken_back_in_both() {
    let mut two = Two::new();
    two.make("there", "other");
    two.make("here", "text");
    two.make("gone", "memory");
    for topic in ["there", "here", "gone"] {
        two.add_many(topic, 3);
    }
    let done = transaction(&two, &["there", "here"]);
    two.add("there", "3").unwrap();
    two.add("here", "3").unwrap();
    done.commit().unwrap();
    let open = transaction(&two, &["there", "here", "gone", "new"]);
    for topic in ["there", "here", "gone"] {
        two.add(topic, "never").unwrap();
        two.delete(topic, 0);
    }
    two.make("new", "other");
    two.add("new", "never").unwrap();
    two.engine().kick();
    two.kill();
    drop(open);
    assert_eq!(two.values("there"), numbers(4));
    assert_eq!(two.values("here"), numbers(4));
    assert_eq!(two.values("gone"), [""; 0]);
    assert!(two.engine().topic(DB, b"new").is_none());
    assert!(!files(&two.other).iter().any(|file| file.starts_with("new")), "{:?}", files(&two.other));
}

#[test]
fn a_transaction_that_cannot_be_taken_back_stops_the_start() {
    let mut two = Two::new();
    two.make("there", "other");
    two.add_many("there", 3);
    let open = transaction(&two, &["there", "here"]);
    two.add("there", "never").unwrap();
    (two.main, two.other) = (two.main.kill(), two.other.kill());
    two.stop();
    drop(open);
    two.with_other = false;
    let error = two.try_start().err().unwrap().to_string();
    assert!(error.contains("cannot be taken back") && error.contains("'other'"), "{error}");
    two.with_other = true;
    two.start();
    assert_eq!(two.values("there"), numbers(3));
}

#[test]
fn space_is_given_back_in_every_backend() {
    let mut two = Two::with(|options| {
        options.reclaim = EAGER;
        options.brokers = 1;
    });
    for backend in ["other", "text", "memory"] {
        let topic = two.make(backend, backend);
        two.add_many(backend, 50);
        topic.trim(&Trim::max_len(10)).unwrap();
        two.engine().kick();
        eventually("the space is given back", || topic.info().unwrap().partitions[0].lines == 10);
        two.add(backend, "last").unwrap();
        assert_eq!(two.values(backend).len(), 11);
    }
    two.restart();
    for backend in ["other", "text"] {
        assert_eq!(two.values(backend).len(), 11);
        assert_eq!(two.topic(backend).info().unwrap().partitions[0].lines, 11);
    }
}
