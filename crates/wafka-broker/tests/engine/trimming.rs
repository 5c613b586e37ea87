//! Trimming as Redis does it: by whole nodes, and with an eye to groups.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use wafka_broker::{IdSpec, RefPolicy, Topic, Trim, TrimStrategy, wait};
use wafka_core::EventId;

use crate::groups::{pending, with_group};
use crate::support::{ALL, Bench, Home, NEVER, Rng, accept, ids, maxlen, read};

/// A stream as Redis keeps it: nodes, each with how many events it took, those that are left, and the last one it took.
#[derive(Default, Debug)]
struct Nodes(VecDeque<(u64, BTreeSet<EventId>, EventId)>);

impl Nodes {
    fn len(&self) -> u64 {
        self.0.iter().map(|(_, left, _)| left.len() as u64).sum()
    }

    fn add(&mut self, id: EventId, size: u64) {
        if self.0.back().is_none_or(|(taken, ..)| *taken >= size) {
            self.0.push_back((0, BTreeSet::new(), id));
        }
        let (taken, left, last) = self.0.back_mut().unwrap();
        *taken += 1;
        *last = id;
        left.insert(id);
    }

    fn delete(&mut self, id: EventId) {
        for (_, left, _) in &mut self.0 {
            left.remove(&id);
        }
        self.0.retain(|(_, left, _)| !left.is_empty());
    }

    fn exact(&mut self, max: u64) {
        while self.len() > max {
            let first = *self.0[0].1.first().unwrap();
            self.delete(first);
        }
    }

    fn whole(&mut self, strategy: TrimStrategy, limit: u64) -> u64 {
        let mut removed = 0;
        while let Some((_, first, last)) = self.0.front() {
            let count = first.len() as u64;
            let fits = match strategy {
                TrimStrategy::MaxLen(max) => self.len() - count >= max,
                TrimStrategy::MinId(min) => *last < min,
            };
            if !fits || removed + count > limit {
                break;
            }
            removed += count;
            self.0.pop_front();
        }
        removed
    }
}

fn add(topic: &Arc<Topic>, bench: &Bench) -> EventId {
    let appended = accept(topic, IdSpec::Auto, None, &[b"f", b"v"], None).unwrap();
    bench.engine().kick();
    wait(topic.committed(appended.ticket)).unwrap();
    appended.id
}

#[test]
fn nodes_are_those_of_redis() {
    for seed in 0..40 {
        let mut rng = Rng(seed);
        let bench =
            Bench::new(Home::Memory(wafka_storage::memory::MemoryStorage::new()), rng.pick(&[1, 2, 4]))
                .with(|options| options.reclaim = NEVER)
                .started();
        let topic = bench.topic("t");
        let mut nodes = Nodes::default();
        let mut size = rng.pick(&[100, 100, 0]);
        bench.engine().set_node_entries(size);
        for _ in 0..rng.pick(&[40, 120]) {
            match rng.below(8) {
                0 => {
                    // Larger nodes would go on in the last one that has something left, which is not followed.
                    let smaller = rng.pick(&[3, 10, 100]);
                    size = if size == 0 { smaller } else { size.min(smaller) };
                    bench.engine().set_node_entries(size);
                }
                1 => {
                    let live: Vec<_> = nodes.0.iter().flat_map(|(_, left, _)| left).copied().collect();
                    let newest = live.iter().rev().take(rng.below(12) as usize).copied();
                    let mut gone: Vec<EventId> = newest.collect();
                    if !live.is_empty() {
                        gone.push(rng.pick(&live));
                    }
                    bench.delete(&topic, &gone).unwrap();
                    gone.into_iter().for_each(|id| nodes.delete(id));
                }
                2 if rng.one_in(3) => {
                    let max = rng.below(nodes.len() + 3);
                    bench.trim(&topic, &maxlen(max)).unwrap();
                    nodes.exact(max);
                }
                3 | 4 => {
                    let strategy = if rng.one_in(2) {
                        TrimStrategy::MaxLen(rng.below(nodes.len() + 3))
                    } else {
                        TrimStrategy::MinId(EventId::new(1_000, rng.below(topic.visible_id().seq + 3)))
                    };
                    let limit = rng.pick(&[None, Some(0), Some(25)]);
                    let most = match limit {
                        None if size == 0 => 10_000,
                        None => 100 * size,
                        Some(0) => u64::MAX,
                        Some(limit) => limit,
                    };
                    let trim = Trim { strategy, approximate: true, limit, refs: RefPolicy::Keep };
                    let removed = bench.trim(&topic, &trim).unwrap();
                    assert_eq!(removed, nodes.whole(strategy, most), "seed {seed}: {trim:?}");
                }
                _ => {
                    for _ in 0..rng.below(40) {
                        nodes.add(add(&topic, &bench), if size == 0 { u64::MAX } else { size });
                    }
                }
            }
            assert_eq!(topic.len(None).unwrap(), nodes.len(), "seed {seed}");
        }
    }
}

#[test]
fn many_nodes_go_at_once() {
    for partitions in [1, 3] {
        let bench = Bench::sim(partitions);
        let topic = bench.topic("t");
        for n in 0..5_550 {
            accept(&topic, IdSpec::Explicit(EventId::new(n + 1, 0)), None, &[b"f", b"v"], None).unwrap();
        }
        add(&topic, &bench);
        bench.delete(&topic, &[EventId::new(1_950, 0), EventId::new(7, 0)]).unwrap();
        let trim = |strategy, limit| Trim { strategy, approximate: true, limit, refs: RefPolicy::Keep };
        let limited = trim(TrimStrategy::MinId(EventId::new(2_151, 0)), Some(2_000));
        assert_eq!(bench.trim(&topic, &limited), Ok(1_998), "1,900 and a node of 99");
        assert_eq!(bench.trim(&topic, &trim(TrimStrategy::MaxLen(555), None)), Ok(2_900));
        assert_eq!(topic.len(None).unwrap(), 651);
        assert_eq!(ids(&read(&topic, &ALL).unwrap())[0], EventId::new(4_901, 0));
        assert_eq!(bench.trim(&topic, &trim(TrimStrategy::MaxLen(0), None)), Ok(651));
    }
}

#[test]
fn trimming_heeds_references() {
    for partitions in [1, 2] {
        let mut bench = Bench::sim(partitions);
        let (topic, all) = with_group(&bench, 8);
        bench.consume(&topic, "g", "a", 7);
        let (_, ticket) = topic.ack(b"g", &[all[0], all[3], all[4], all[5]]).unwrap();
        bench.commit(&topic, ticket);
        let acked = |max| Trim { refs: RefPolicy::Acked, ..maxlen(max) };
        assert_eq!(bench.trim(&topic, &acked(6)), Ok(2));
        assert_eq!(ids(&read(&topic, &ALL).unwrap()), [all[1], all[2], all[4], all[5], all[6], all[7]]);
        assert_eq!(topic.info().unwrap().max_deleted_id, EventId::MIN);
        assert_eq!(bench.trim(&topic, &acked(0)), Ok(2));
        assert_eq!(bench.trim(&topic, &acked(0)), Ok(0));
        let old = Trim { strategy: TrimStrategy::MinId(all[6]), ..acked(0) };
        assert_eq!(bench.trim(&topic, &old), Ok(0));
        drop(topic);
        bench.kill();
        let topic = bench.topic("t");
        let info = topic.info().unwrap();
        assert_eq!((info.length, info.max_deleted_id, info.first_id), (4, EventId::MIN, all[1]));
        let cleared = Trim { refs: RefPolicy::Delete, ..maxlen(2) };
        assert_eq!(bench.trim(&topic, &Trim { approximate: true, ..cleared }), Ok(0), "as Redis does");
        assert_eq!(bench.trim(&topic, &cleared), Ok(2));
        drop(topic);
        bench.kill();
        let topic = bench.topic("t");
        let left: Vec<_> = pending(&topic, "g").into_iter().map(|(id, ..)| id).collect();
        assert_eq!(left, [all[6]]);
        // What is kept is pending and gone.
        assert_eq!(bench.trim(&topic, &maxlen(0)), Ok(2));
        assert_eq!(topic.pending_summary(b"g").unwrap().count, 1);
    }
}

#[test]
fn a_queue_that_is_emptied_from_its_front_is_as_good_as_trimmed() {
    for partitions in [1, 2] {
        let mut bench = Bench::sim(partitions).with(|options| options.reclaim = NEVER);
        let (topic, all) = with_group(&bench, 300);
        // Whoever delivers looks the oldest events up.
        bench.consume(&topic, "g", "a", 300);
        for ids in [&all[1..3], &all[..1], &all[3..260], &all[270..272]] {
            let (outcomes, ticket) = topic.ack_delete(b"g", ids, RefPolicy::Keep).unwrap();
            assert_eq!(outcomes.len(), ids.len());
            bench.commit(&topic, ticket);
        }
        let expected = [&all[260..270], &all[272..]].concat();
        let check = |topic: &Topic| {
            assert_eq!(ids(&read(topic, &ALL).unwrap()), expected);
            let info = topic.info().unwrap();
            assert_eq!((info.length, info.first_id, info.max_deleted_id), (38, all[260], all[271]));
            assert_eq!(info.entries_added, 300);
            assert_eq!(topic.pending_summary(b"g").unwrap().count, 38);
        };
        check(&topic);
        drop(topic);
        bench.kill();
        check(&bench.topic("t"));
        let journal = bench.content("t.journal.txt");
        assert!(journal.contains(r#""type":"trim""#));
    }
}

fn acked(max: u64) -> Trim {
    Trim { refs: RefPolicy::Acked, ..maxlen(max) }
}

/// What `ACKED` leaves is what a walk over all events leaves, however acknowledgements and trimmings alternate.
#[test]
fn no_acknowledged_event_is_passed_over() {
    for seed in 0..6 {
        let mut rng = Rng(seed);
        let bench = Bench::sim(1 + u16::try_from(seed % 2).unwrap());
        let (topic, _) = with_group(&bench, 1);
        let ticket = topic.create_group(b"h", wafka_broker::GroupStart::Id(EventId::MIN), None).unwrap();
        bench.commit(&topic, ticket);
        for _ in 0..300 {
            let group = rng.pick(&["g", "h"]);
            let waiting: Vec<_> = pending(&topic, group).into_iter().map(|(id, ..)| id).collect();
            match rng.below(6) {
                0 | 1 => drop(bench.add(&topic, "v").unwrap()),
                2 => drop(bench.consume(&topic, group, "c", 1 + rng.below(6))),
                3 | 4 if !waiting.is_empty() => {
                    let (_, ticket) = topic.ack(group.as_bytes(), &[rng.pick(&waiting)]).unwrap();
                    bench.commit(&topic, ticket);
                }
                _ => {
                    let max = rng.below(12);
                    let before = ids(&read(&topic, &ALL).unwrap());
                    let last = topic.group_infos(wafka_broker::LagMode::Exact).unwrap();
                    let last = last.iter().map(|group| group.last_delivered).min().unwrap();
                    let mut held: BTreeSet<EventId> = BTreeSet::new();
                    for group in ["g", "h"] {
                        held.extend(pending(&topic, group).into_iter().map(|(id, ..)| id));
                    }
                    let mut left = (before.len() as u64).saturating_sub(max);
                    let mut expected = before.clone();
                    expected.retain(|id| {
                        let goes = left > 0 && *id <= last && !held.contains(id);
                        left -= u64::from(goes);
                        !goes
                    });
                    let count = bench.trim(&topic, &acked(max)).unwrap();
                    assert_eq!(ids(&read(&topic, &ALL).unwrap()), expected, "seed {seed}");
                    assert_eq!(count, (before.len() - expected.len()) as u64);
                }
            }
        }
    }
}

#[test]
fn many_pending_events_are_not_all_looked_at_in_one_go() {
    let bench = Bench::sim(2);
    let (topic, mut all) = with_group(&bench, 6_000);
    bench.consume(&topic, "g", "c", 6_000);
    let ack = |id: EventId| {
        let (_, ticket) = topic.ack(b"g", &[id]).unwrap();
        bench.commit(&topic, ticket);
    };
    let add_and_trim = || {
        let added = accept(&topic, IdSpec::Auto, None, &[b"f", b"v"], Some(acked(0))).unwrap();
        bench.commit(&topic, added.ticket);
        topic.len(None).unwrap()
    };
    ack(all[5_990]);
    // The first one does not get there, the second one does.
    assert_eq!(add_and_trim(), 6_001);
    assert_eq!(add_and_trim(), 6_001);
    ack(all[5_995]);
    assert_eq!(add_and_trim(), 6_001, "at once, for nothing before it has changed");
    ack(all[3]);
    ack(all[5_997]);
    assert_eq!(bench.trim(&topic, &acked(0)), Ok(2), "XTRIM goes on to the end");
    for at in [5_997, 5_995, 5_990, 3] {
        all.remove(at);
    }
    assert_eq!(ids(&read(&topic, &ALL).unwrap())[..all.len()], all);
}
