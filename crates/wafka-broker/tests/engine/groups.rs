//! Consumer groups: what is delivered, acknowledged, and remembered over a restart.

use std::sync::Arc;

use wafka_broker::{
    Delivered, GroupError, GroupStart, LagMode, PendingQuery, ReadRange, Ticket, Topic, wait,
};
use wafka_core::EventId;

use crate::support::{Bench, ids, read};

pub const NOW: u64 = 5_000;
pub const ALL_PENDING: PendingQuery<'static> =
    PendingQuery { from: EventId::MIN, to: EventId::MAX, count: u64::MAX, consumer: None, min_idle_ms: 0 };

impl Bench {
    /// Waits until a change of a group is durable.
    pub fn commit(&self, topic: &Arc<Topic>, ticket: impl Into<Option<Ticket>>) {
        self.engine().kick();
        if let Some(ticket) = ticket.into() {
            wait(topic.committed(ticket)).unwrap();
        }
    }

    /// Reads up to `count` new events as a member of a group.
    pub fn consume(&self, topic: &Arc<Topic>, group: &str, consumer: &str, count: u64) -> Vec<EventId> {
        let (group, consumer) = (group.as_bytes(), consumer.as_bytes());
        let position = topic.group_position(group, consumer, NOW).unwrap();
        self.commit(topic, position.ticket);
        let range = ReadRange::after(position.last_delivered, Some(count), None).unwrap();
        let found = ids(&read(topic, &range).unwrap());
        if found.is_empty() {
            return found;
        }
        match topic.deliver(group, consumer, &position, &found, false, NOW).unwrap() {
            Delivered::Yes(ticket) => self.commit(topic, ticket),
            Delivered::Moved => panic!("nobody else reads"),
        }
        found
    }
}

/// A topic with `count` events and a group `g` at the beginning.
pub fn with_group(bench: &Bench, count: u64) -> (Arc<Topic>, Vec<EventId>) {
    let topic = bench.topic("t");
    let all = (0..count).map(|n| bench.add(&topic, &n.to_string()).unwrap()).collect();
    let ticket = topic.create_group(b"g", GroupStart::Id(EventId::MIN), None).unwrap();
    bench.commit(&topic, ticket);
    (topic, all)
}

pub fn pending(topic: &Topic, group: &str) -> Vec<(EventId, String, u64, u64)> {
    let entries = topic.pending_range(group.as_bytes(), &ALL_PENDING, NOW).unwrap();
    let owner = |name: Option<Arc<[u8]>>| name.map_or(String::new(), |name| name.escape_ascii().to_string());
    entries
        .into_iter()
        .map(|entry| (entry.id, owner(entry.consumer), entry.delivered_ms, entry.deliveries))
        .collect()
}

#[test]
fn what_is_delivered_is_pending_until_it_is_acknowledged() {
    for partitions in [1, 2, 4] {
        let mut bench = Bench::sim(partitions);
        let (topic, all) = with_group(&bench, 10);
        assert_eq!(bench.consume(&topic, "g", "a", 4), all[..4]);
        assert_eq!(bench.consume(&topic, "g", "b", 100), all[4..]);
        assert_eq!(bench.consume(&topic, "g", "b", 100), []);
        let (acked, ticket) = topic.ack(b"g", &[all[0], all[5], all[5], EventId::MAX]).unwrap();
        assert_eq!(acked, 2);
        bench.commit(&topic, ticket);
        let check = |topic: &Topic| {
            let summary = topic.pending_summary(b"g").unwrap();
            assert_eq!((summary.count, summary.range), (8, Some((all[1], all[9]))));
            let counts: Vec<_> = summary.consumers.iter().map(|(name, count)| (&**name, *count)).collect();
            assert_eq!(counts, [(&b"a"[..], 3), (&b"b"[..], 5)]);
            let info = &topic.group_infos(LagMode::Exact).unwrap()[0];
            assert_eq!((info.last_delivered, info.entries_read, info.lag), (all[9], Some(10), Some(0)));
            let mine = PendingQuery { consumer: Some(b"a"), ..ALL_PENDING };
            let mine = topic.pending_range(b"g", &mine, NOW).unwrap();
            assert_eq!(mine.iter().map(|entry| entry.id).collect::<Vec<_>>(), all[1..4]);
        };
        check(&topic);
        drop(topic);
        bench.kill();
        let topic = bench.topic("t");
        check(&topic);
        let (history, _) = topic.pending_after(b"g", b"a", EventId::MIN, None, NOW).unwrap();
        assert_eq!(history, all[1..4]);
        bench.commit(&topic, topic.redelivered(b"g", b"a", &history[..2], NOW + 7).unwrap());
        drop(topic);
        bench.crash(3);
        let topic = bench.topic("t");
        let first: Vec<_> = pending(&topic, "g").into_iter().take(3).collect();
        assert_eq!(
            first,
            [
                (all[1], "a".into(), NOW + 7, 2),
                (all[2], "a".into(), NOW + 7, 2),
                (all[3], "a".into(), NOW, 1)
            ]
        );
    }
}

#[test]
fn groups_and_consumers_come_and_go() {
    let mut bench = Bench::sim(2);
    let (topic, all) = with_group(&bench, 6);
    assert!(matches!(topic.create_group(b"g", GroupStart::Last, None), Err(GroupError::Busy)));
    bench.commit(&topic, topic.create_group(b"h\xff", GroupStart::Last, Some(99)).unwrap());
    let (created, ticket) = topic.create_consumer(b"h\xff", b"\x00c", NOW).unwrap();
    assert!(created);
    bench.commit(&topic, ticket);
    assert!(!topic.create_consumer(b"h\xff", b"\x00c", NOW).unwrap().0);
    assert!(matches!(topic.create_consumer(b"no", b"c", NOW), Err(GroupError::NoGroup)));
    let long = vec![b'x'; 70_000];
    assert!(matches!(
        topic.create_group(&long, GroupStart::Last, None),
        Err(GroupError::NameTooLong { bytes: 70_000 })
    ));
    bench.consume(&topic, "g", "a", 4);
    let (gone, ticket) = topic.delete_consumer(b"g", b"a").unwrap();
    assert_eq!(gone, 4);
    bench.commit(&topic, ticket);
    assert_eq!(topic.delete_consumer(b"g", b"a").unwrap(), (0, None));
    bench.commit(&topic, topic.set_group_id(b"g", GroupStart::Id(all[1]), None).unwrap());
    drop(topic);
    bench.kill();
    let topic = bench.topic("t");
    let infos = topic.group_infos(LagMode::Exact).unwrap();
    let brief: Vec<_> = infos
        .iter()
        .map(|info| (&*info.name, info.consumers, info.last_delivered, info.entries_read, info.lag))
        .collect();
    assert_eq!(brief, [(&b"g"[..], 0, all[1], None, Some(4)), (&b"h\xff"[..], 1, all[5], Some(6), Some(0))]);
    assert_eq!(&*topic.consumer_infos(b"h\xff").unwrap()[0].name, b"\x00c");
    assert_eq!(bench.consume(&topic, "g", "b", 2), all[2..4]);
    bench.commit(&topic, topic.destroy_group(b"g").unwrap());
    assert_eq!(topic.destroy_group(b"g").unwrap(), None);
    drop(topic);
    bench.crash(1);
    let topic = bench.topic("t");
    assert!(!topic.has_group(b"g"));
    assert_eq!(topic.group_count(), 1);
}

#[test]
fn one_of_two_who_read_the_same_is_turned_away() {
    let bench = Bench::sim(2);
    let (topic, all) = with_group(&bench, 4);
    let position = topic.group_position(b"g", b"a", NOW).unwrap();
    assert_eq!(bench.consume(&topic, "g", "b", 1), all[..1]);
    let late = topic.deliver(b"g", b"a", &position, &all[..2], false, NOW).unwrap();
    assert_eq!(late, Delivered::Moved);
    // An event that was deleted since it was read is not delivered.
    let position = topic.group_position(b"g", b"a", NOW).unwrap();
    bench.delete(&topic, &all[2..3]).unwrap();
    let gone = topic.deliver(b"g", b"a", &position, &all[1..3], false, NOW).unwrap();
    assert_eq!(gone, Delivered::Moved);
    let taken = topic.deliver(b"g", b"a", &position, &all[1..2], true, NOW).unwrap();
    assert!(matches!(taken, Delivered::Yes(_)));
    assert_eq!(pending(&topic, "g").len(), 1, "without acknowledgement nothing is pending");
}
