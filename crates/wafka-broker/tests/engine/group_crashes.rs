//! Groups and the loss of power: what was acknowledged is never delivered again, what was not always can be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use wafka_broker::{Delivered, GroupStart, IdSpec, ReadRange, Topic, wait};
use wafka_core::EventId;
use wafka_storage::fs::SimFs;

use crate::groups::{ALL_PENDING, NOW};
use crate::support::{ALL, Bench, EAGER, Home, NEVER, Rng, accept, eventually, ids, read_until_error};

/// What is known from outside.
#[derive(Default)]
struct Known {
    /// Acknowledged to the producer.
    added: BTreeSet<EventId>,
    /// Whose each delivered event is, for good.
    owned: BTreeMap<EventId, &'static str>,
    /// To be acknowledged; nobody knows whether it came about.
    acking: BTreeSet<EventId>,
    acked: BTreeSet<EventId>,
}

fn produce(bench: &Bench, topic: &Arc<Topic>, known: &Mutex<Known>) {
    for n in 0..10_000 {
        let value = n.to_string();
        let Ok(appended) = accept(topic, IdSpec::Auto, None, &[b"v", value.as_bytes()], None) else { return };
        bench.engine().kick();
        if wait(topic.committed(appended.ticket)).is_err() {
            return;
        }
        known.lock().added.insert(appended.id);
    }
}

/// Reads as a member of the group and acknowledges two thirds, until the machine is gone.
fn consume(
    bench: &Bench,
    topic: &Arc<Topic>,
    known: &Mutex<Known>,
    me: &'static str,
    seed: u64,
) -> Option<()> {
    let mut rng = Rng(seed);
    for _ in 0..100_000 {
        let position = topic.group_position(b"g", me.as_bytes(), NOW).ok()?;
        let range = ReadRange::after(position.last_delivered, Some(rng.below(5) + 1), None)?;
        let (entries, result) = read_until_error(topic, &range);
        result.ok()?;
        let found = ids(&entries);
        if found.is_empty() {
            std::thread::yield_now();
            continue;
        }
        let ticket = match topic.deliver(b"g", me.as_bytes(), &position, &found, false, NOW).ok()? {
            Delivered::Yes(ticket) => ticket,
            Delivered::Moved => continue,
        };
        bench.engine().kick();
        wait(topic.committed(ticket)).ok()?;
        for id in &found {
            let before = known.lock().owned.insert(*id, me);
            assert_eq!(before, None, "{id} was delivered to two");
        }
        let done: Vec<EventId> = found.into_iter().filter(|_| !rng.one_in(3)).collect();
        known.lock().acking.extend(&done);
        let (count, ticket) = topic.ack(b"g", &done).ok()?;
        assert_eq!(count, done.len() as u64);
        bench.engine().kick();
        if let Some(ticket) = ticket {
            wait(topic.committed(ticket)).ok()?;
        }
        known.lock().acked.extend(done);
    }
    None
}

fn check(topic: &Arc<Topic>, known: &mut Known, seed: u64) {
    let pending = topic.pending_range(b"g", &ALL_PENDING, NOW).unwrap();
    let pending: BTreeMap<EventId, String> = pending
        .into_iter()
        .map(|entry| (entry.id, entry.consumer.unwrap().escape_ascii().to_string()))
        .collect();
    let last = topic.group_position(b"g", b"a", NOW).unwrap().last_delivered;
    for id in &known.acked {
        assert!(*id <= last && !pending.contains_key(id), "seed {seed}: {id} would be delivered again");
    }
    for (id, owner) in known.owned.iter().filter(|(id, _)| !known.acking.contains(id)) {
        assert_eq!(pending.get(id).map(String::as_str), Some(*owner), "seed {seed}: {id} is not pending");
    }
    for id in known.added.iter().filter(|id| !known.acking.contains(id)) {
        assert!(*id > last || pending.contains_key(id), "seed {seed}: {id} is lost to the group");
    }
    let (entries, _) = read_until_error(topic, &ALL);
    let there: BTreeSet<EventId> = ids(&entries).into_iter().collect();
    assert!(pending.keys().all(|id| there.contains(id)), "seed {seed}: what is pending is there");
    // What came back is as it is, whatever the readers were told.
    known.owned = pending.keys().map(|id| (*id, if pending[id] == "a" { "a" } else { "b" })).collect();
    known.acked = there.iter().copied().filter(|id| *id <= last && !pending.contains_key(id)).collect();
    known.acking = known.acked.clone();
    known.added = there;
}

#[test]
fn what_is_acknowledged_stays_so_and_the_rest_is_delivered() {
    for seed in 0..12 {
        let mut bench = Bench::new(Home::Sim(SimFs::new()), 1 + (seed % 3) as u16)
            .with(|options| {
                options.tail_bytes = 2_000;
                options.reclaim = if seed % 2 == 0 { EAGER } else { NEVER };
                options.journal_snapshot_bytes = [300, 5_000, 1 << 20][seed as usize % 3];
            })
            .started();
        let topic = bench.topic("t");
        let created = topic.create_group(b"g", GroupStart::Id(EventId::MIN), None).unwrap();
        bench.commit(&topic, created);
        drop(topic);
        let known = Mutex::new(Known::default());
        for round in 0..3 {
            let topic = bench.topic("t");
            let acked_before = known.lock().acked.len();
            std::thread::scope(|scope| {
                let (bench, topic, known) = (&bench, &topic, &known);
                scope.spawn(move || produce(bench, topic, known));
                for (me, number) in [("a", 1), ("b", 2)] {
                    scope.spawn(move || consume(bench, topic, known, me, seed * 100 + round * 10 + number));
                }
                eventually("some work", || {
                    known.lock().acked.len() > acked_before + 20 + (seed as usize * 7) % 40
                });
                // The handles of the engine reach nothing from now on; the threads see errors and end.
                drop(bench.fs().crash(seed * 7 + round));
            });
            drop(topic);
            bench.kill();
            let topic = bench.topic("t");
            check(&topic, &mut known.lock(), seed);
        }
    }
}

#[test]
fn a_journal_that_fails_for_a_while_forgets_nothing() {
    let mut bench = Bench::direct(2);
    let (topic, all) = crate::groups::with_group(&bench, 12);
    bench.consume(&topic, "g", "a", 6);
    bench.fault(wafka_storage::fs::Operation::Sync, "t.journal", crate::support::EIO, 1);
    let (_, ticket) = topic.ack(b"g", &all[..2]).unwrap();
    bench.engine().kick();
    assert!(wait(topic.committed(ticket.unwrap())).is_err());
    eventually("the journal to come back", || topic.ack(b"g", &all[2..3]).is_ok());
    let (_, ticket) = topic.ack(b"g", &all[3..4]).unwrap();
    bench.commit(&topic, ticket);
    drop(topic);
    bench.crash(9);
    let topic = bench.topic("t");
    // Memory went on: what failed then is told with what came after it.
    let left: Vec<EventId> = crate::groups::pending(&topic, "g").into_iter().map(|(id, ..)| id).collect();
    assert_eq!(left, all[4..6]);
    assert_eq!(bench.consume(&topic, "g", "b", 99), all[6..]);
}
