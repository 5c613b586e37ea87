use std::sync::Arc;

use wafka_core::storage::{Batch, LogName, OpenRequest, Owner, Ownership as _, Storage as _};
use wafka_core::{BrokerId, Database, EventId, Fields, PartitionId, SystemClock, TopicName};
use wafka_storage::MemoryStorage;
use wafka_storage::line::EventEncoder;
use wafka_storage::memory::{SharedMemory, SharedServer};

use super::*;
use crate::options::EngineOptions;
use crate::topic::{AppendRequest, Appended, IdSpec, SetId, Topic, Trim};
use crate::{Engine, wait};

/// Appends an event that is large enough for a block of its own. Nobody is kicked.
fn append(topic: &Arc<Topic>) -> Appended {
    let flat: [&[u8]; 2] = [b"f", &[b'v'; 1500]];
    let fields = Fields::new(&flat).unwrap();
    let request =
        AppendRequest { id: IdSpec::Auto, partition: None, fields, trim: None, idempotence: None, now_ms: 1 };
    topic.append(&request).unwrap()
}

/// Appends an event, and waits for it.
fn add(engine: &Engine, topic: &Arc<Topic>) {
    let appended = append(topic);
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

#[test]
fn what_waits_is_counted_where_syncs_are_slow() {
    let options = EngineOptions::new(1, Arc::new(SystemClock));
    let engine = Engine::start(options, Arc::new(MemoryStorage::new())).unwrap();
    let topic =
        |name: &str| engine.ensure_topic(Database(0), &TopicName::new(name.as_bytes()).unwrap()).unwrap();
    let [failing, journaled, deleted] = ["failing", "journaled", "deleted"].map(topic);
    let broker = Arc::clone(&failing.brokers[0]);
    // No turn takes anything while its writer is held.
    let writer = broker.writer.lock();
    broker.sync_micros.store(0, Ordering::Relaxed);
    broker.note_sync(gather::SLOW_SYNC - Duration::from_micros(1));
    append(&failing);
    append(&failing);
    assert_eq!(broker.queued(), 0);
    // From here on turns are put off.
    broker.note_sync(gather::SLOW_SYNC);
    append(&failing);
    assert_eq!(broker.queued(), 3, "what came before counts too");
    append(&journaled);
    append(&deleted);
    assert_eq!(broker.queued(), 5);
    // However much a journal is about to say.
    for _ in 0..2 {
        let set = SetId { last: EventId::MAX, entries_added: None, max_deleted: None };
        journaled.set_id(&set).unwrap();
        assert_eq!(broker.queued(), 6);
    }
    // What is lost does not wait.
    assert!(failing.fail_log(TicketKind::Partition(0), &"gone".into(), &mut Vec::new()));
    assert_eq!(broker.queued(), 3);
    drop(writer);
    engine.delete_topics(Database(0), &[b"deleted"]).unwrap();
    engine.shutdown();
    assert_eq!(broker.queued(), 0);
}

/// A server that owns what `memory` holds, until it is released.
fn owner(memory: &SharedMemory, id: &str) -> (SharedServer, Arc<Engine>) {
    let server = memory.server();
    server.acquire(&Owner { id: id.to_owned(), address: "here:1".to_owned() }).unwrap();
    let options = EngineOptions::new(2, Arc::new(SystemClock));
    let engine = Engine::start(options, Arc::new(server.storage())).unwrap();
    (server, engine)
}

fn put(engine: &Engine, topic: &Arc<Topic>, partition: u16, ms: u64) {
    let flat: [&[u8]; 2] = [b"f", b"v"];
    let request = AppendRequest {
        id: IdSpec::Explicit(EventId::new(ms, 0)),
        partition: Some(PartitionId(partition)),
        fields: Fields::new(&flat).unwrap(),
        trim: None,
        idempotence: None,
        now_ms: 1,
    };
    let appended = topic.append(&request).unwrap();
    engine.kick();
    wait(topic.committed(appended.ticket)).unwrap();
}

/// What became of lines that an offline partition was given is not known: the journal says nothing of it where the floor
/// stands among them.
#[test]
fn what_was_trimmed_while_its_partition_was_offline_is_not_counted_by_the_next_owner() {
    let memory = SharedMemory::new("shared", Duration::from_secs(3), || Duration::ZERO);
    let (server, engine) = owner(&memory, "a");
    let name = TopicName::new(b"t").unwrap();
    let topic = engine.ensure_topic(Database(0), &name).unwrap();
    for (partition, ms) in [(1, 10), (1, 11), (2, 12)] {
        put(&engine, &topic, partition, ms);
    }
    assert!(topic.fail_log(TicketKind::Partition(0), &"time-out".into(), &mut Vec::new()));
    put(&engine, &topic, 2, 26);
    let (_, ticket) = topic.trim(&Trim::max_len(0)).unwrap();
    engine.kick();
    wait(topic.committed(ticket.unwrap())).unwrap();
    engine.shutdown();
    drop((topic, engine));
    // The backend had taken lines whose events failed: one below the floor, one above it.
    let mut encoder = EventEncoder::new(b"t", PartitionId(1));
    let mut bytes = Vec::new();
    let flat: [&[u8]; 2] = [b"f", b"v"];
    for (offset, ms) in [(2, 25), (3, 27)] {
        encoder.encode(&mut bytes, EventId::new(ms, 0), offset, &[], Fields::new(&flat).unwrap());
    }
    let mut shard = server.storage().shard(BrokerId(1)).unwrap();
    let slot = shard.open(&LogName::new(Database(0), "t-1"), OpenRequest::default()).unwrap().slot;
    shard.append(slot, Batch { first_offset: 2, lines: 2, bytes: &bytes }).unwrap();
    assert!(shard.begin_sync().wait().is_empty());
    drop(shard);
    server.release().unwrap();
    let (_server, engine) = owner(&memory, "b");
    let topic = engine.ensure_topic(Database(0), &name).unwrap();
    assert_eq!(topic.len(None).unwrap(), 1);
}
