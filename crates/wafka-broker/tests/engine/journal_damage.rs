//! A journal that cannot be read whole holds its topic, and is never written over.

use std::sync::Arc;

use wafka_broker::{AppendError, ExpireIf, Expiry, GroupStart, Topic};
use wafka_core::EventId;
use wafka_storage::fs::Operation;
use wafka_storage::line::{RecordKind, encode_record};

use crate::support::{Bench, DB, EIO, eventually, maxlen, values};

const JOURNAL: &str = "t.journal.txt";

/// A topic `t` of which a group has read three events of eight, with a time to live; and another one. Stopped.
fn filled() -> Bench {
    let mut bench = Bench::direct(2);
    let topic = bench.topic("t");
    for n in 0..8 {
        bench.add(&topic, &n.to_string()).unwrap();
    }
    let ticket = topic.create_group(b"g", GroupStart::Id(EventId::MIN), None).unwrap();
    bench.commit(&topic, ticket);
    assert_eq!(bench.consume(&topic, "g", "c", 3).len(), 3);
    let Ok(Expiry::Set(ticket)) = topic.expire(5_000, ExpireIf::default()) else { panic!("not set") };
    bench.commit(&topic, ticket);
    bench.add(&bench.topic("other"), "fine").unwrap();
    drop(topic);
    bench.stop();
    bench
}

/// Everything that needs the journal is refused, and says why; what is in the partitions is read.
#[track_caller]
fn assert_held(bench: &Bench, topic: &Arc<Topic>, why: &[&str]) {
    assert_eq!(values(&bench.topic("other")), ["fine"]);
    assert_eq!(values(topic).len(), 8);
    let error = bench.add(topic, "no").unwrap_err();
    assert!(matches!(error, AppendError::ReadOnly { .. }), "{error}");
    let told = topic.info().unwrap().read_only.unwrap();
    let refused = [
        error.to_string(),
        topic.create_group(b"new", GroupStart::Last, None).unwrap_err().to_string(),
        topic.group_position(b"g", b"c", 1_000).unwrap_err().to_string(),
        topic.trim(&maxlen(1)).unwrap_err().to_string(),
        topic.persist().unwrap_err().to_string(),
        format!("READONLY {told}"),
    ];
    for text in refused {
        assert!(text.starts_with("READONLY") && why.iter().all(|why| text.contains(why)), "{text}");
    }
    // What was to end its time may be what cannot be read.
    assert_eq!(topic.expire_at_ms(), None);
}

#[track_caller]
fn assert_whole(bench: &Bench) {
    let topic = bench.topic("t");
    assert_eq!(topic.info().unwrap().read_only, None);
    assert_eq!(topic.expire_at_ms(), Some(5_000));
    bench.add(&topic, "8").unwrap();
    assert_eq!(bench.consume(&topic, "g", "c", 100).len(), 6);
}

#[test]
fn a_damaged_line_holds_the_topic_until_it_is_repaired() {
    let mut bench = filled();
    let whole = bench.content(JOURNAL);
    for line in 0..whole.lines().count() - 1 {
        let mut lines: Vec<String> = whole.split_inclusive('\n').map(str::to_owned).collect();
        lines[line] = lines[line].replacen("\"type\"", "\"tyqe\"", 1);
        let damaged = lines.concat();
        assert_ne!(damaged, whole);
        let position: usize = lines[..line].iter().map(String::len).sum();
        bench.put(JOURNAL, damaged.as_bytes());
        // As long as nobody repairs it, start by start.
        for _ in 0..2 {
            bench.start().unwrap();
            let topic = bench.topic("t");
            assert_held(&bench, &topic, &[JOURNAL, &format!("at byte {position}:")]);
            bench.stop();
            assert_eq!(bench.content(JOURNAL), damaged, "the file stays as it is");
        }
    }
    bench.put(JOURNAL, whole.as_bytes());
    bench.start().unwrap();
    assert_whole(&bench);
}

#[test]
fn so_does_a_line_of_a_kind_that_is_not_known() {
    let mut bench = filled();
    let whole = bench.content(JOURNAL);
    let mut bytes = whole.clone().into_bytes();
    let record = serde_json::json!({"type": "of a later version"});
    encode_record(&mut bytes, RecordKind::Journal, b"t", whole.lines().count() as u64, 0, &record).unwrap();
    bench.put(JOURNAL, &bytes);
    bench.start().unwrap();
    assert_held(&bench, &bench.topic("t"), &[JOURNAL, &format!("at byte {}:", whole.len())]);
    bench.stop();
    assert_eq!(bench.content(JOURNAL).as_bytes(), bytes);
    bench.put(JOURNAL, whole.as_bytes());
    bench.start().unwrap();
    assert_whole(&bench);
}

#[test]
fn a_journal_that_cannot_be_opened_holds_its_topic_alone_until_it_can() {
    for operation in [Operation::Open, Operation::Read] {
        let mut bench = filled();
        bench.fault(operation, JOURNAL, EIO, u64::MAX);
        bench.start().unwrap();
        assert_held(&bench, &bench.topic("t"), &[JOURNAL]);
        bench.fs().heal();
        eventually("the journal is read", || bench.topic("t").info().unwrap().read_only.is_none());
        assert_whole(&bench);
    }
}

#[test]
fn a_topic_that_is_held_can_be_deleted() {
    let mut bench = filled();
    bench.put(JOURNAL, bench.content(JOURNAL).replacen("\"type\"", "\"tyqe\"", 1).as_bytes());
    bench.start().unwrap();
    assert_eq!(bench.engine().delete_topics(DB, &[b"t"]).unwrap(), 1);
    assert!(!bench.files().iter().any(|file| file.starts_with("t-") || file.starts_with("t.")));
    bench.add(&bench.topic("t"), "new").unwrap();
    bench.restart();
    assert_eq!(values(&bench.topic("t")), ["new"]);
}
