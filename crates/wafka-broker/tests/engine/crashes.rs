//! Power is lost at any moment: what was acknowledged is there, in order, and what was not is there or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use wafka_broker::{FsyncPolicy, IdSpec, ReadError, ReadRange, Ticket, Topic, wait};
use wafka_core::EventId;
use wafka_storage::fs::{Operation, SimFs};

use crate::routing::sticky_by_default;
use crate::support::{
    ALL, Bench, DB, EAGER, Entry, Home, NEVER, Rng, accept, eventually, ids, maxlen, read_until_error, values,
};

fn bench(brokers: u16, eager: bool) -> Bench {
    Bench::new(Home::Sim(SimFs::new()), brokers)
        .with(|options| {
            options.index_interval_bytes = 200;
            options.tail_bytes = 2048;
            options.reclaim = if eager { EAGER } else { NEVER };
            if brokers == 3 {
                sticky_by_default(options);
            }
        })
        .started()
}

/// What is known from outside.
#[derive(Default)]
struct Known {
    /// Accepted, with its value; perhaps not acknowledged.
    accepted: BTreeMap<EventId, String>,
    acknowledged: BTreeSet<EventId>,
    /// Deletion was asked for.
    deleting: BTreeSet<EventId>,
    /// Deletion was acknowledged.
    deleted: BTreeSet<EventId>,
}

/// Appends and deletes until the machine is gone.
fn work(bench: &Bench, topic: &Arc<Topic>, known: &Mutex<Known>, seed: u64) {
    let mut rng = Rng(seed);
    // Each thread deletes its own: of two that delete the same event one may be told that it is gone already.
    let mut mine: Vec<EventId> = Vec::new();
    for n in 0..10_000 {
        let mut tickets: Vec<Ticket> = Vec::new();
        for _ in 0..=rng.below(8) {
            let value = format!("{seed}:{n}");
            // Known before it can be seen by anybody.
            let mut known = known.lock();
            let Ok(appended) = accept(topic, IdSpec::Auto, None, &[b"v", value.as_bytes()], None) else {
                return;
            };
            known.accepted.insert(appended.id, value);
            tickets.push(appended.ticket);
        }
        bench.engine().kick();
        for ticket in tickets {
            if wait(topic.committed(ticket)).is_err() {
                return;
            }
            known.lock().acknowledged.insert(ticket.id());
            mine.push(ticket.id());
        }
        if rng.one_in(4) {
            let ids: Vec<EventId> = mine.iter().rev().take(3).copied().collect();
            known.lock().deleting.extend(&ids);
            if bench.delete(topic, &ids).is_err() {
                return;
            }
            known.lock().deleted.extend(&ids);
        }
    }
}

/// Everything that can be read. Of a write that nobody was told of, power may leave a hole with whole lines behind it;
/// the backend keeps what it cannot tell from damage and reports it.
fn read_around_damage(topic: &Topic) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut from = EventId::MIN;
    loop {
        let (entries, result) = read_until_error(topic, &ReadRange { from, ..ALL });
        found.extend(entries);
        match result {
            Ok(()) => return found,
            Err(ReadError::Damaged { next_readable: Some(next), .. }) => from = next,
            Err(error) => panic!("{error}"),
        }
    }
}

fn check(topic: &Topic, known: &Known) {
    let found: BTreeMap<EventId, String> = read_around_damage(topic)
        .into_iter()
        .map(|(id, parts)| (id, String::from_utf8(parts[1].clone()).unwrap()))
        .collect();
    for id in &known.acknowledged {
        assert!(found.contains_key(id) || known.deleting.contains(id), "{id} was acknowledged and is lost");
    }
    for id in &known.deleted {
        assert!(!found.contains_key(id), "{id} was deleted and is back");
    }
    for (id, value) in &found {
        assert_eq!(known.accepted.get(id), Some(value), "{id} was never sent");
    }
    let damaged = topic.info().unwrap().partitions.iter().any(|partition| !partition.damage.is_empty());
    // A damaged line counts, since nobody knows that it is none.
    assert!(topic.len(None).unwrap() == found.len() as u64 || damaged);
}

#[test]
fn while_events_are_written_and_deleted() {
    for seed in 0..24 {
        let mut bench = bench(1 + (seed % 3) as u16, seed % 2 == 0);
        let known = Mutex::new(Known::default());
        for round in 0..3 {
            let topic = bench.topic("t");
            let rounds_before = known.lock().acknowledged.len();
            std::thread::scope(|scope| {
                for thread in 0..3 {
                    let (bench, topic, known) = (&bench, &topic, &known);
                    scope.spawn(move || work(bench, topic, known, seed * 100 + round * 10 + thread));
                }
                let fs = bench.fs();
                eventually("some work", || {
                    known.lock().acknowledged.len() > rounds_before + 20 + (seed as usize * 13) % 60
                });
                // The handles of the engine reach nothing from now on; the threads see errors and end.
                let after = fs.crash(seed * 7 + round);
                scope.spawn(move || drop(after));
            });
            drop(topic);
            bench.kill();
            let topic = bench.topic("t");
            check(&topic, &known.lock());
            // What came back is durable now, whatever it was before.
            let mut known = known.lock();
            let found = ids(&read_around_damage(&topic));
            let found: BTreeSet<EventId> = found.into_iter().collect();
            known.acknowledged = found.clone();
            known.accepted.retain(|id, _| found.contains(id));
            known.deleting.clear();
        }
    }
}

#[test]
fn what_was_answered_before_every_event_is_synced_is_synced_then() {
    for seed in 0..20 {
        let mut bench = bench(2, false);
        bench.engine().set_fsync(FsyncPolicy::No);
        let topic = bench.topic("t");
        for n in 0..20 {
            bench.add(&topic, &n.to_string()).unwrap();
        }
        assert!(!bench.engine().is_synced());
        bench.engine().set_fsync(FsyncPolicy::Always);
        assert!(bench.engine().is_synced());
        drop(topic);
        bench.crash(seed);
        assert_eq!(values(&bench.topic("t")).len(), 20, "seed {seed}");
    }
}

#[test]
fn many_topics_at_once_lose_nothing_when_the_process_is_killed_and_show_all_in_their_files_soon() {
    let mut bench = Bench::sim(2);
    let topics: Vec<_> = (0..60).map(|n| bench.topic(&format!("t{n}"))).collect();
    let round = |bench: &Bench, topics: &[Arc<Topic>], value: &str| {
        let tickets: Vec<_> = topics
            .iter()
            .map(|topic| accept(topic, IdSpec::Auto, None, &[b"v", value.as_bytes()], None).unwrap().ticket)
            .collect();
        bench.engine().kick();
        for (topic, ticket) in topics.iter().zip(tickets) {
            wait(topic.committed(ticket)).unwrap();
        }
    };
    for n in 0..6 {
        round(&bench, &topics, &n.to_string());
    }
    drop(topics);
    bench.kill();
    let expected: Vec<String> = (0..6).map(|n| n.to_string()).collect();
    let topics: Vec<_> = (0..60).map(|n| bench.topic(&format!("t{n}"))).collect();
    assert!(topics.iter().all(|topic| values(topic) == expected));
    for n in 6..9 {
        round(&bench, &topics, &n.to_string());
    }
    // Nobody asks for them: the broker writes what it put off by itself.
    eventually("the files hold every event", || {
        let lines = |n: u16| bench.content(&format!("t{}-{}.txt", n / 2, n % 2 + 1)).lines().count();
        (0..120).map(lines).sum::<usize>() == 60 * 9
    });
}

#[test]
fn a_torn_tail_is_cut_and_offsets_go_on() {
    let mut bench = bench(1, false);
    let topic = bench.topic("t");
    for n in 0..5 {
        bench.add(&topic, &n.to_string()).unwrap();
    }
    drop(topic);
    bench.stop();
    let whole = bench.content("t-1.txt");
    let next = whole.lines().last().unwrap().replace("\"offset\":4", "\"offset\":5");
    for cut in [1, 30, next.len() - 1] {
        bench.put("t-1.txt", format!("{whole}{}", &next[..cut]).as_bytes());
        bench.start().unwrap();
        let topic = bench.topic("t");
        assert_eq!(values(&topic), ["0", "1", "2", "3", "4"]);
        assert_eq!(bench.content("t-1.txt"), whole);
        assert!(topic.info().unwrap().partitions[0].damage.is_empty());
        drop(topic);
        bench.stop();
    }
    bench.start().unwrap();
    let topic = bench.topic("t");
    bench.add(&topic, "5").unwrap();
    assert!(bench.content("t-1.txt").lines().last().unwrap().contains("\"offset\":5,"));
}

#[test]
fn trimming_survives_once_it_was_acknowledged_and_takes_nothing_for_events_that_were_not() {
    for seed in 0..10 {
        let mut bench = bench(2, seed % 2 == 0);
        let topic = bench.topic("t");
        for n in 0..50 {
            bench.add(&topic, &n.to_string()).unwrap();
        }
        assert_eq!(bench.trim(&topic, &maxlen(20)), Ok(30));
        let trimmed = accept(&topic, IdSpec::Auto, None, &[b"v", b"50"], Some(maxlen(10))).unwrap();
        bench.engine().kick();
        wait(topic.committed(trimmed.ticket)).unwrap();
        assert_eq!(topic.len(None).unwrap(), 10);
        drop(topic);
        bench.crash(seed);
        let topic = bench.topic("t");
        // What was acknowledged is the event; its trimming is noted after it, and may have been too late.
        let found = values(&topic);
        let expected: Vec<String> = (51 - found.len()..51).map(|n| n.to_string()).collect();
        assert!([10, 21].contains(&found.len()), "{found:?}");
        assert_eq!(found, expected);
        assert_eq!(topic.len(None).unwrap(), found.len() as u64);
        assert_eq!(topic.info().unwrap().entries_added, 51);
    }
}

/// The index of a topic that was deleted must not come back beside the new topic's files.
#[test]
fn a_new_topic_has_nothing_of_the_old_one_of_its_name() {
    for seed in 0..12 {
        let mut bench = bench(2, false);
        let topic = bench.topic("t");
        let tickets: Vec<Ticket> = (0..400)
            .map(|_| accept(&topic, IdSpec::Auto, None, &[b"v", b"old"], None).unwrap().ticket)
            .collect();
        bench.engine().kick();
        for ticket in tickets {
            wait(topic.committed(ticket)).unwrap();
        }
        bench.trim(&topic, &maxlen(300)).unwrap();
        drop(topic);
        // The index is written and durable.
        bench.restart();
        let fs: &dyn wafka_storage::fs::FileSystem = bench.fs();
        fs.sync_dir(&crate::support::path("index/db0")).unwrap();
        assert!(bench.fs().count(Operation::Create) > 3);
        bench.engine().delete_topics(DB, &[b"t"]).unwrap();
        let topic = bench.topic("t");
        bench.add(&topic, "new").unwrap();
        drop(topic);
        bench.crash(seed);
        let topic = bench.topic("t");
        assert_eq!(values(&topic), ["new"]);
        for partition in topic.info().unwrap().partitions {
            assert!(partition.damage.is_empty() && partition.next_offset <= 1, "{seed} {partition:?}");
        }
    }
}
