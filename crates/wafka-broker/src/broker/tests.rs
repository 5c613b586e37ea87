use std::sync::Arc;

use wafka_core::{Database, Fields, SystemClock, TopicName};
use wafka_storage::MemoryStorage;

use super::*;
use crate::options::EngineOptions;
use crate::topic::{AppendRequest, IdSpec};
use crate::{Engine, wait};

/// Appends an event that is large enough for a block of its own.
fn add(engine: &Engine, topic: &Arc<Topic>) {
    let flat: [&[u8]; 2] = [b"f", &[b'v'; 1500]];
    let fields = Fields::new(&flat).unwrap();
    let request =
        AppendRequest { id: IdSpec::Auto, partition: None, fields, trim: None, idempotence: None, now_ms: 1 };
    let appended = topic.append(&request).unwrap();
    engine.kick();
    wait(topic.committed(appended.ticket)).unwrap();
}

#[test]
fn blocks_that_went_with_their_topic_leave_nothing_behind() {
    let options = EngineOptions::new(1, Arc::new(SystemClock));
    let engine = Engine::start(options, Arc::new(MemoryStorage::new())).unwrap();
    let kept = engine.ensure_topic(Database(0), &TopicName::new(b"kept").unwrap()).unwrap();
    let name = TopicName::new(b"t").unwrap();
    for _ in 0..40 {
        let topic = engine.ensure_topic(Database(0), &name).unwrap();
        for _ in 0..100 {
            add(&engine, &topic);
        }
        add(&engine, &kept);
        engine.delete_topics(Database(0), &[b"t"]).unwrap();
    }
    add(&engine, &kept);
    let broker = Arc::clone(&kept.brokers[0]);
    engine.shutdown();
    let writer = broker.writer.lock();
    assert!(writer.tails.len() < 2 * TAILS_PRUNE_MIN, "{}", writer.tails.len());
    let of_kept = writer.tails.iter().filter(|(topic, _)| topic.as_ptr() == Arc::as_ptr(&kept));
    assert_eq!((of_kept.count(), kept.tail_blocks(0)), (41, 41));
}
