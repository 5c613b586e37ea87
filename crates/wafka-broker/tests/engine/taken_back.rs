//! What becomes of the topics of a transaction that failed, before it is taken back and behind.

use wafka_broker::{AppendError, FsyncPolicy, ReadError, ReadRange, TransactionError};
use wafka_storage::fs::Operation;

use crate::support::{ALL, Bench, DB, EIO, eventually, name, read, values};
use crate::transactions::{begin, bench, fail_to_commit, prepare, strings};

/// The log of transactions is written, but neither synced nor cut.
fn fail_for_good(bench: &Bench) {
    for operation in [Operation::Sync, Operation::Open] {
        bench.fault(operation, "wafka.transactions", EIO, u64::MAX);
    }
}

#[test]
fn nobody_reads_what_a_crash_would_take_back() {
    let bench = bench(FsyncPolicy::Always);
    prepare(&bench);
    fail_to_commit(&bench, u64::MAX);
    for topic in ["a", "c", "d"] {
        let topic = bench.topic(topic);
        for range in [ALL, ReadRange { reverse: true, count: Some(1), ..ALL }] {
            let error = read(&topic, &range).unwrap_err();
            assert!(matches!(error, ReadError::Hidden { .. }), "{error}");
            assert!(error.to_string().starts_with("READONLY "), "{error}");
        }
        assert!(topic.check_readable().is_err());
    }
    assert_eq!(values(&bench.topic("b")), strings(&[("before", 0..6)]));
    bench.fs().heal();
    eventually("it is taken back", || bench.topic("a").check_readable().is_ok());
    assert_eq!(values(&bench.topic("a")), strings(&[("before", 2..6)]));
    assert_eq!(values(&bench.topic("c")), strings(&[("before", 0..6)]));
}

#[test]
fn a_topic_that_is_going_to_be_taken_back_is_among_no_names() {
    let bench = bench(FsyncPolicy::Always);
    prepare(&bench);
    let listed = || {
        let (engine, mut scanned, mut cursor) = (bench.engine(), Vec::new(), 0);
        loop {
            let (next, page) = engine.scan(DB, cursor, 1);
            scanned.extend(page.iter().map(|topic| topic.name().to_string()));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        scanned.sort();
        let mut all: Vec<_> = engine.topics(DB).iter().map(|topic| topic.name().to_string()).collect();
        all.sort();
        assert_eq!(scanned, all);
        assert_eq!(engine.topic_count(DB), all.len());
        all
    };
    fail_to_commit(&bench, u64::MAX);
    // "c", which it deleted, is there, and so is "a", which it wrote to.
    assert_eq!(listed(), ["a", "b", "c"]);
    let made = |topic: &str| bench.engine().topic(DB, topic.as_bytes()).unwrap().is_made_in_vain();
    assert_eq!(["a", "c", "d"].map(made), [false, false, true]);
    bench.fs().heal();
    eventually("it is taken back", || bench.engine().topic(DB, b"d").is_none());
    bench.add(&bench.topic("d"), "again").unwrap();
    assert_eq!(listed(), ["a", "b", "c", "d"]);
    assert!(!made("d"));
}

/// Of one that did not begin there is nothing to hide.
#[test]
fn what_was_there_before_one_that_could_not_begin_is_read() {
    let bench = bench(FsyncPolicy::Always);
    prepare(&bench);
    begin(&bench, &["a"]).unwrap().commit().unwrap();
    fail_for_good(&bench);
    begin(&bench, &["a"]).err().unwrap();
    assert!(matches!(bench.add(&bench.topic("a"), "no"), Err(AppendError::ReadOnly { .. })));
    assert_eq!(values(&bench.topic("a")), strings(&[("before", 2..6)]));
}

#[test]
fn a_deletion_that_fails_meanwhile_does_not_let_writers_in() {
    let mut bench = bench(FsyncPolicy::Always);
    prepare(&bench);
    let transaction = begin(&bench, &["a", "d"]).unwrap();
    bench.add(&bench.topic("a"), "half").unwrap();
    fail_for_good(&bench);
    let error = transaction.commit().unwrap_err();
    assert!(matches!(error, TransactionError::Unknown(_)), "{error}");
    // The catalog can be written again at once; the deletion of the other topic shows when that was seen to.
    bench.fault(Operation::Sync, "wafka.catalog", EIO, 1);
    bench.fault(Operation::Open, "wafka.catalog", EIO, 1);
    bench.engine().delete_topics(DB, &[b"a", b"b"]).unwrap_err();
    eventually("the catalog is settled", || bench.add(&bench.topic("b"), "acknowledged").is_ok());
    let error = bench.add(&bench.topic("a"), "acknowledged").unwrap_err();
    assert!(matches!(error, AppendError::ReadOnly { .. }), "{error}");
    bench.fs().heal();
    eventually("it is taken back", || bench.add(&bench.topic("a"), "acknowledged").is_ok());
    let left = [strings(&[("before", 2..6)]), vec!["acknowledged".to_owned()]].concat();
    assert_eq!(values(&bench.topic("a")), left);
    bench.kill();
    assert_eq!(values(&bench.topic("a")), left);
}

#[test]
fn a_name_that_one_could_not_begin_on_is_not_made_before_it_is_sure_that_none_began() {
    let mut bench = bench(FsyncPolicy::Always);
    prepare(&bench);
    begin(&bench, &["a"]).unwrap().commit().unwrap();
    // Nor can the line be taken out, which is in the file.
    bench.fault(Operation::Sync, "wafka.transactions", EIO, u64::MAX);
    bench.fault(Operation::Open, "wafka.transactions", EIO, u64::MAX);
    let error = begin(&bench, &["a", "d"]).err().unwrap();
    assert!(matches!(error, TransactionError::NotBegun(_)), "{error}");
    let made = || bench.engine().ensure_topic(DB, &name("d"));
    let error = made().err().unwrap().to_string();
    assert!(error.starts_with("READONLY "), "{error}");
    bench.fs().heal();
    eventually("it is taken back", || made().is_ok());
    bench.add(&bench.topic("d"), "acknowledged").unwrap();
    bench.kill();
    assert_eq!(values(&bench.topic("d")), ["acknowledged"]);
}
