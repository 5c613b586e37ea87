//! Pending entries change hands, are released, and lose their events.

use std::ops::ControlFlow;

use wafka_broker::{
    AutoClaimRequest, ClaimRequest, Claimable, DeleteOutcome, Delivered, EntryFields, EntrySink, IdSink,
    RefPolicy, ReleaseMode, ReleaseRequest, Topic,
};
use wafka_core::EventId;

use crate::groups::{NOW, pending, with_group};
use crate::support::{Bench, EAGER, ids, read};

const CLAIM: ClaimRequest<'static> = ClaimRequest {
    min_idle_ms: 0,
    ids: &[],
    delivered_ms: None,
    deliveries: None,
    force: false,
    just_ids: false,
    last_id: None,
};

/// Ids that were handed out, and whether their events were there.
#[derive(Default)]
struct ById(Vec<(EventId, bool)>);

impl EntrySink for ById {
    fn entry(&mut self, id: EventId, _: &EntryFields<'_>) -> ControlFlow<()> {
        self.0.push((id, true));
        ControlFlow::Continue(())
    }
}

impl IdSink for ById {
    fn gone(&mut self, id: EventId) -> ControlFlow<()> {
        self.0.push((id, false));
        ControlFlow::Continue(())
    }
}

fn by_id(topic: &Topic, ids: &[EventId]) -> Vec<(EventId, bool)> {
    let mut sink = ById::default();
    topic.read_ids(ids, &mut sink).unwrap();
    sink.0
}

fn brief(topic: &Topic) -> Vec<(EventId, String, u64)> {
    pending(topic, "g").into_iter().map(|(id, owner, _, count)| (id, owner, count)).collect()
}

#[test]
fn claims_take_what_is_idle_and_drop_what_is_gone() {
    for partitions in [1, 2, 4] {
        let mut bench = Bench::sim(partitions);
        let (topic, all) = with_group(&bench, 8);
        bench.consume(&topic, "g", "a", 5);
        let ask = |ids| ClaimRequest { ids, ..CLAIM };
        let young = ClaimRequest { min_idle_ms: 100, ..ask(&all) };
        let claimed = topic.claim(b"g", b"b", &young, NOW + 99).unwrap();
        assert_eq!(claimed.ids, []);
        bench.commit(&topic, claimed.ticket);
        bench.delete(&topic, &all[1..2]).unwrap();
        let some = [all[2], all[1], all[0], all[6]];
        let claimed = topic.claim(b"g", b"b", &ask(&some), NOW).unwrap();
        assert_eq!(claimed.ids, [all[2], all[0]]);
        bench.commit(&topic, claimed.ticket);
        let forced = ClaimRequest {
            force: true,
            just_ids: true,
            delivered_ms: Some(NOW - 9),
            last_id: Some(all[7]),
            ..ask(&all[6..])
        };
        let claimed = topic.claim(b"g", b"b", &forced, NOW).unwrap();
        assert_eq!(claimed.ids, all[6..]);
        bench.commit(&topic, claimed.ticket);
        let set = ClaimRequest { deliveries: Some(7), ..ask(&all[3..4]) };
        bench.commit(&topic, topic.claim(b"g", b"c", &set, NOW).unwrap().ticket);
        let expected = [
            (all[0], "b".to_owned(), 2),
            (all[2], "b".into(), 2),
            (all[3], "c".into(), 7),
            (all[4], "a".into(), 1),
            (all[6], "b".into(), 1),
            (all[7], "b".into(), 1),
        ];
        assert_eq!(brief(&topic), expected);
        assert_eq!(bench.consume(&topic, "g", "a", 9), [], "LASTID passed over the rest");
        drop(topic);
        bench.kill();
        let topic = bench.topic("t");
        assert_eq!(brief(&topic), expected);
        assert_eq!(pending(&topic, "g")[4].2, NOW - 9);
    }
}

#[test]
fn auto_claim_walks_the_pending_entries() {
    let bench = Bench::sim(2);
    let (topic, all) = with_group(&bench, 30);
    bench.consume(&topic, "g", "a", 30);
    bench.delete(&topic, &[all[1], all[3]]).unwrap();
    let ask = |start, count| AutoClaimRequest { min_idle_ms: 10, start, count, just_ids: false };
    let claim = |ask, now| topic.auto_claim(b"g", b"b", &ask, now).unwrap();
    let first = claim(ask(EventId::MIN, 3), NOW + 10);
    assert_eq!((first.next, first.ids, first.deleted), (all[3], vec![all[0], all[2]], vec![all[1]]));
    // Those that are gone are dropped however young they are; ten looks for each.
    let young = claim(ask(all[3], 2), NOW + 9);
    assert_eq!((young.next, young.ids, young.deleted), (all[23], vec![], vec![all[3]]));
    let rest = claim(ask(all[3], 100), NOW + 10);
    assert_eq!((rest.next, rest.ids, rest.deleted), (EventId::MIN, all[4..].to_vec(), vec![]));
    bench.commit(&topic, rest.ticket);
}

#[test]
fn released_entries_are_first_in_line() {
    let mut bench = Bench::sim(2);
    let (topic, all) = with_group(&bench, 6);
    bench.consume(&topic, "g", "a", 4);
    let release = |topic: &std::sync::Arc<Topic>, mode, ids: &[EventId]| {
        let request = ReleaseRequest { mode, ids, deliveries: None, force: mode == ReleaseMode::Silent };
        topic.release_pending(b"g", &request).unwrap()
    };
    assert_eq!(release(&topic, ReleaseMode::Fail, &[all[2], EventId::MAX]).0, 1);
    assert_eq!(release(&topic, ReleaseMode::Silent, &[all[5], EventId::MAX, all[1]]).0, 2);
    let (count, ticket) = release(&topic, ReleaseMode::Fatal, &all[..1]);
    assert_eq!(count, 1);
    bench.commit(&topic, ticket);
    let check = |topic: &std::sync::Arc<Topic>| {
        let line = topic.claimable(b"g", 50, None, NOW + 50).unwrap();
        let line: Vec<_> =
            line.iter().map(|entry| (entry.id, entry.delivered_ms, entry.deliveries)).collect();
        let most = i64::MAX as u64;
        assert_eq!(
            line,
            [(all[2], 0, 1), (all[5], 0, 0), (all[1], 0, 0), (all[0], 0, most), (all[3], NOW, 1)]
        );
        assert_eq!(topic.claimable(b"g", 51, None, NOW + 50).unwrap().len(), 4);
        let summary = topic.pending_summary(b"g").unwrap();
        assert_eq!((summary.count, summary.consumers), (5, vec![(b"a"[..].into(), 1)]));
    };
    check(&topic);
    drop(topic);
    bench.crash(5);
    let topic = bench.topic("t");
    check(&topic);
    let line = topic.claimable(b"g", 50, Some(2), NOW + 50).unwrap();
    let Delivered::Yes(ticket) = topic.claim_idle(b"g", b"b", &line, NOW + 60).unwrap() else { panic!() };
    bench.commit(&topic, ticket);
    assert_eq!(topic.claim_idle(b"g", b"c", &line, NOW).unwrap(), Delivered::Moved);
    let stale = Claimable { id: all[0], delivered_ms: 3, deliveries: 1 };
    assert_eq!(topic.claim_idle(b"g", b"c", &[stale], NOW).unwrap(), Delivered::Moved);
    assert_eq!(brief(&topic)[3..], [(all[3], "a".into(), 1), (all[5], "b".into(), 1)]);
    assert_eq!(brief(&topic)[2], (all[2], "b".into(), 2));
}

#[test]
fn policies_say_what_becomes_of_references() {
    use DeleteOutcome::{Deleted, Gone, Missing, Referenced};
    for partitions in [1, 3] {
        let mut bench = Bench::sim(partitions);
        let (topic, all) = with_group(&bench, 5);
        let start = wafka_broker::GroupStart::Id(EventId::MIN);
        bench.commit(&topic, topic.create_group(b"h", start, None).unwrap());
        bench.consume(&topic, "g", "a", 3);
        bench.consume(&topic, "h", "x", 2);
        let nothing = EventId::new(0, 5);
        let acked = topic.delete_events_with(&[all[0], all[4], nothing], RefPolicy::Acked).unwrap();
        assert_eq!(acked, (vec![Referenced, Referenced, Missing], None));
        let kept = topic.delete_events_with(&[all[0], all[0]], RefPolicy::Keep).unwrap();
        assert_eq!(kept.0, [Deleted, Missing]);
        let (outcomes, ticket) =
            topic.ack_delete(b"g", &[all[0], all[1], all[2], all[3]], RefPolicy::Acked).unwrap();
        assert_eq!(outcomes, [Referenced, Referenced, Referenced, Missing]);
        bench.commit(&topic, ticket);
        assert_eq!(brief(&topic), []);
        let (outcomes, ticket) = topic.ack_delete(b"h", &all[..2], RefPolicy::Delete).unwrap();
        assert_eq!(outcomes, [Gone, Deleted]);
        bench.commit(&topic, ticket);
        bench.consume(&topic, "h", "x", 9);
        bench.consume(&topic, "g", "a", 9);
        let (outcomes, ticket) = topic.delete_events_with(&all[3..4], RefPolicy::Delete).unwrap();
        assert_eq!(outcomes, [Deleted]);
        bench.commit(&topic, ticket);
        assert_eq!(topic.ack_delete(b"no", &all[4..], RefPolicy::Keep).unwrap(), (vec![Missing], None));
        let check = |topic: &Topic| {
            assert_eq!(ids(&read(topic, &crate::support::ALL).unwrap()), [all[2], all[4]]);
            assert_eq!(brief(topic), [(all[4], "a".into(), 1)]);
            let others: Vec<_> = pending(topic, "h").into_iter().map(|(id, ..)| id).collect();
            assert_eq!(others, [all[2], all[4]]);
        };
        check(&topic);
        drop(topic);
        bench.kill();
        check(&bench.topic("t"));
    }
}

#[test]
fn events_are_read_by_their_ids_wherever_they_are() {
    for (tail, partitions) in [(0, 1), (1 << 20, 2), (4096, 3)] {
        let bench = Bench::new(crate::support::Home::Sim(wafka_storage::fs::SimFs::new()), partitions)
            .with(|options| {
                options.tail_bytes = tail;
                options.index_interval_bytes = 300;
                options.reclaim = EAGER;
            })
            .started();
        let (topic, all) = with_group(&bench, 1_200);
        let dead = [all[3], all[600], all[1_199]];
        bench.delete(&topic, &dead).unwrap();
        let check = |asked: &[EventId]| {
            let there = |id: &EventId| all.contains(id) && !dead.contains(id);
            let expected: Vec<_> = asked.iter().map(|id| (*id, there(id))).collect();
            assert_eq!(by_id(&topic, asked), expected);
        };
        check(&all);
        check(&all[500..700]);
        check(&[all[0], all[3], all[4], all[700], all[1_199], all[1_198], all[5], all[5], EventId::MAX]);
        let scattered: Vec<EventId> = all.iter().copied().step_by(97).collect();
        check(&scattered);
        let back: Vec<EventId> = scattered.into_iter().rev().collect();
        check(&back);
    }
}

#[test]
fn what_is_gone_takes_nobodys_place_in_a_claim() {
    let bench = Bench::sim(2);
    let (topic, all) = with_group(&bench, 8);
    assert_eq!(bench.consume(&topic, "g", "a", 8).len(), 8);
    bench.delete(&topic, &all[..3]).unwrap();
    let line = topic.claimable(b"g", 10, Some(2), NOW + 10).unwrap();
    assert_eq!(line.iter().map(|entry| entry.id).collect::<Vec<_>>(), all[3..5]);
    assert_eq!(brief(&topic).len(), 5, "those that are gone left the group");
    assert!(topic.claimable(b"g", 11, Some(2), NOW + 10).unwrap().is_empty());
}
