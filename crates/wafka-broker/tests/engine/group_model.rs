//! Random work with groups, compared with plain maps, over restarts and on several partitions.

use std::sync::Arc;

use wafka_broker::{
    AutoClaimRequest, ClaimRequest, Delivered, FsyncPolicy, GroupStart, IdSpec, LagMode, ReadRange,
    RefPolicy, ReleaseMode, ReleaseRequest, Ticket, Topic, Trim, wait,
};
use wafka_core::EventId;
use wafka_storage::fs::SimFs;

use crate::group_oracle::{Group, Oracle};
use crate::groups::ALL_PENDING;
use crate::support::{Bench, EAGER, Home, NEVER, Rng, accept, ids, maxlen, read};

const GROUPS: [&str; 3] = ["g", "h", "other"];
const CONSUMERS: [&str; 4] = ["a", "b", "c", "d"];
const POLICIES: [RefPolicy; 3] = [RefPolicy::Keep, RefPolicy::Delete, RefPolicy::Acked];

struct Run {
    bench: Bench,
    rng: Rng,
    oracle: Oracle,
    topic: Option<Arc<Topic>>,
    now: u64,
    known: Vec<EventId>,
    seed: u64,
}

pub fn run(seed: u64, home: Home, operations: usize) {
    let mut rng = Rng(seed);
    let bench = Bench::new(home, rng.pick(&[1, 2, 4]))
        .with(|options| {
            options.tail_bytes = rng.pick(&[0, 4096, 1 << 20]);
            options.reclaim = rng.pick(&[EAGER, NEVER]);
            options.journal_snapshot_bytes = rng.pick(&[100, 2_000, 1 << 20]);
            options.fsync = rng.pick(&[FsyncPolicy::Always, FsyncPolicy::EverySec]);
        })
        .started();
    let topic = bench.topic("t");
    let oracle = Oracle::default();
    let mut run = Run { bench, rng, oracle, topic: Some(topic), now: 1_000, known: Vec::new(), seed };
    run.add();
    for _ in 0..operations {
        run.step();
        run.compare();
    }
    run.again(0);
    run.compare();
}

impl Run {
    fn topic(&self) -> Arc<Topic> {
        Arc::clone(self.topic.as_ref().unwrap())
    }

    fn commit(&self, ticket: impl Into<Option<Ticket>>) {
        self.bench.engine().kick();
        if let Some(ticket) = ticket.into() {
            wait(self.topic().committed(ticket)).unwrap();
        }
    }

    fn some_ids(&mut self) -> Vec<EventId> {
        let mut ids: Vec<EventId> = (0..self.rng.below(7)).map(|_| self.rng.pick(&self.known)).collect();
        if self.rng.one_in(4) {
            ids.push(EventId::new(self.now + 99, 0));
        }
        if self.rng.one_in(2) {
            ids.sort();
        }
        ids
    }

    fn step(&mut self) {
        self.now += self.rng.below(20);
        let group = self.rng.pick(&GROUPS);
        let consumer = self.rng.pick(&CONSUMERS);
        match self.rng.below(30) {
            0..4 => self.add(),
            4 => self.again(self.rng.0),
            5 => self.delete(),
            6 => self.trim(),
            7 => self.set_group(group),
            _ if !self.oracle.groups.contains_key(group) => self.set_group(group),
            8 => self.drop_one(group, consumer),
            9..15 => self.consume(group, consumer),
            15..17 => self.history(group, consumer),
            17..20 => self.ack(group),
            20..22 => self.claim(group, consumer),
            22..24 => self.auto_claim(group, consumer),
            24..27 => self.release(group),
            _ => self.claim_first(group, consumer),
        }
    }

    fn add(&mut self) {
        let topic = self.topic();
        for _ in 0..=self.rng.below(12) {
            let appended = accept(&topic, IdSpec::AutoSeq { ms: self.now }, None, &[b"f", b"v"], None);
            let Ok(appended) = appended else { return };
            self.commit(appended.ticket);
            self.oracle.live.push(appended.id);
            self.known.push(appended.id);
        }
    }

    fn delete(&mut self) {
        let (ids, policy) = (self.some_ids(), self.rng.pick(&POLICIES));
        let group = self.rng.pick(&GROUPS);
        let (outcomes, ticket) = if self.rng.one_in(2) {
            self.topic().delete_events_with(&ids, policy).map(|done| (done, self.oracle.delete(&ids, policy)))
        } else {
            let done = self.topic().ack_delete(group.as_bytes(), &ids, policy);
            done.map(|done| (done, self.oracle.ack_delete(group, &ids, policy)))
        }
        .map(|((outcomes, ticket), expected)| {
            assert_eq!(outcomes, expected, "seed {}: {ids:?} {policy:?}", self.seed);
            (outcomes, ticket)
        })
        .unwrap();
        assert!(ticket.is_some() || outcomes.len() <= ids.len());
        self.commit(ticket);
    }

    fn trim(&mut self) {
        let max = self.rng.below(self.oracle.live.len() as u64 + 2);
        let refs = self.rng.pick(&POLICIES);
        let (removed, ticket) = self.topic().trim(&Trim { refs, ..maxlen(max) }).unwrap();
        let expected = self.oracle.trim(max as usize, refs);
        assert_eq!(removed, expected, "seed {}: {max} {refs:?}", self.seed);
        self.commit(ticket);
    }

    fn set_group(&mut self, name: &str) {
        let (start, last) = match self.rng.below(3) {
            0 => (GroupStart::Last, self.topic().visible_id()),
            1 => (GroupStart::Id(EventId::MIN), EventId::MIN),
            _ => {
                let id = self.rng.pick(&self.known);
                (GroupStart::Id(id), id)
            }
        };
        let ticket = match self.oracle.groups.get_mut(name) {
            Some(group) => {
                group.last = last;
                self.topic().set_group_id(name.as_bytes(), start, None).unwrap()
            }
            None => {
                self.oracle.groups.insert(name.to_owned(), Group { last, ..Group::default() });
                self.topic().create_group(name.as_bytes(), start, None).unwrap()
            }
        };
        self.commit(ticket);
    }

    fn drop_one(&mut self, group: &str, consumer: &str) {
        if self.rng.one_in(4) {
            self.oracle.groups.remove(group);
            self.commit(self.topic().destroy_group(group.as_bytes()).unwrap());
        } else if self.rng.one_in(2) {
            let expected = self.oracle.delete_consumer(group, consumer);
            let (pending, ticket) =
                self.topic().delete_consumer(group.as_bytes(), consumer.as_bytes()).unwrap();
            assert_eq!(pending, expected, "seed {}", self.seed);
            self.commit(ticket);
        } else {
            self.oracle.deliver(group, consumer, &[], false, self.now);
            let made = self.topic().create_consumer(group.as_bytes(), consumer.as_bytes(), self.now);
            self.commit(made.unwrap().1);
        }
    }

    fn consume(&mut self, group: &str, consumer: &str) {
        let (count, noack) = (self.rng.below(9) + 1, self.rng.one_in(5));
        let topic = self.topic();
        let (name, who) = (group.as_bytes(), consumer.as_bytes());
        let position = topic.group_position(name, who, self.now).unwrap();
        let found = match ReadRange::after(position.last_delivered, Some(count), None) {
            Some(range) => ids(&read(&topic, &range).unwrap()),
            None => Vec::new(),
        };
        assert_eq!(found, self.oracle.unread(group, count as usize), "seed {}", self.seed);
        self.oracle.deliver(group, consumer, &found, noack, self.now);
        if found.is_empty() {
            return self.commit(position.ticket);
        }
        match topic.deliver(name, who, &position, &found, noack, self.now).unwrap() {
            Delivered::Yes(ticket) => self.commit(ticket),
            // A rewrite in the background may have come between.
            Delivered::Moved => {
                let again = topic.group_position(name, who, self.now).unwrap();
                let delivered = topic.deliver(name, who, &again, &found, noack, self.now).unwrap();
                let Delivered::Yes(ticket) = delivered else { panic!("seed {}", self.seed) };
                self.commit(ticket);
            }
        }
    }

    fn history(&mut self, group: &str, consumer: &str) {
        let topic = self.topic();
        let (name, who) = (group.as_bytes(), consumer.as_bytes());
        let after = if self.rng.one_in(2) { EventId::MIN } else { self.rng.pick(&self.known) };
        let (found, ticket) = topic.pending_after(name, who, after, Some(5), self.now).unwrap();
        self.commit(ticket);
        self.oracle.deliver(group, consumer, &[], false, self.now);
        let mine = self.oracle.groups[group].of(consumer).into_iter().filter(|id| *id > after).take(5);
        assert_eq!(found, mine.collect::<Vec<_>>(), "seed {}", self.seed);
        let there: Vec<EventId> = found.into_iter().filter(|id| self.oracle.is_live(*id)).collect();
        self.commit(topic.redelivered(name, who, &there, self.now).unwrap());
        let group = self.oracle.groups.get_mut(group).unwrap();
        for id in there {
            let entry = group.pending.get_mut(&id).unwrap();
            entry.delivered = self.now;
            entry.count = (entry.count + 1).min(i64::MAX as u64);
        }
    }

    fn ack(&mut self, group: &str) {
        let ids = self.some_ids();
        let (acked, ticket) = self.topic().ack(group.as_bytes(), &ids).unwrap();
        let expected = self.oracle.groups.get_mut(group).unwrap();
        let expected = ids.iter().filter(|id| expected.remove(**id)).count() as u64;
        assert_eq!(acked, expected, "seed {}", self.seed);
        self.commit(ticket);
    }

    fn claim(&mut self, group: &str, consumer: &str) {
        let ids = self.some_ids();
        let delivered = self.now + 5 - self.rng.below(20);
        let request = ClaimRequest {
            min_idle_ms: self.rng.pick(&[0, 0, 30]),
            ids: &ids,
            delivered_ms: self.rng.pick(&[None, Some(delivered)]),
            deliveries: self.rng.pick(&[None, None, Some(4), Some(u64::MAX)]),
            force: self.rng.one_in(2),
            just_ids: self.rng.one_in(3),
            last_id: self.rng.pick(&[None, None, ids.first().copied()]),
        };
        let (name, who) = (group.as_bytes(), consumer.as_bytes());
        let claimed = self.topic().claim(name, who, &request, self.now).unwrap();
        let expected = self.oracle.claim(group, consumer, &request, self.now);
        assert_eq!(claimed.ids, expected, "seed {}: {request:?}", self.seed);
        self.commit(claimed.ticket);
    }

    fn auto_claim(&mut self, group: &str, consumer: &str) {
        let request = AutoClaimRequest {
            min_idle_ms: self.rng.pick(&[0, 25]),
            start: if self.rng.one_in(2) { EventId::MIN } else { self.rng.pick(&self.known) },
            count: self.rng.below(6) + 1,
            just_ids: self.rng.one_in(3),
        };
        let (name, who) = (group.as_bytes(), consumer.as_bytes());
        let claimed = self.topic().auto_claim(name, who, &request, self.now).unwrap();
        let expected = self.oracle.auto_claim(group, consumer, &request, self.now);
        let found = (claimed.next, claimed.ids, claimed.deleted);
        assert_eq!(found, expected, "seed {}: {request:?}", self.seed);
        self.commit(claimed.ticket);
    }

    fn release(&mut self, group: &str) {
        let ids = self.some_ids();
        let mode = self.rng.pick(&[ReleaseMode::Silent, ReleaseMode::Fail, ReleaseMode::Fatal]);
        let deliveries = self.rng.pick(&[None, None, Some(3)]);
        let force = self.rng.one_in(3);
        let request = ReleaseRequest { mode, ids: &ids, deliveries, force };
        let (released, ticket) = self.topic().release_pending(group.as_bytes(), &request).unwrap();
        let expected = self.oracle.release(group, &ids, mode, deliveries, force);
        assert_eq!(released, expected, "seed {}: {request:?}", self.seed);
        self.commit(ticket);
    }

    /// Released entries first, then those idle longest; what is gone on the way is pending no more.
    fn claim_first(&mut self, group: &str, consumer: &str) {
        let (min_idle, count) = (self.rng.below(40), self.rng.below(6) + 1);
        let topic = self.topic();
        let line = topic.claimable(group.as_bytes(), min_idle, Some(count), self.now).unwrap();
        let live = self.oracle.live.clone();
        let found = self.oracle.groups.get_mut(group).unwrap();
        let mut idle: Vec<(u64, EventId)> = found
            .pending
            .iter()
            .filter(|(_, entry)| entry.owner.is_some() && self.now - entry.delivered >= min_idle)
            .map(|(id, entry)| (entry.delivered, *id))
            .collect();
        idle.sort();
        let mut expected: Vec<EventId> = found.released.clone();
        expected.extend(idle.into_iter().map(|(_, id)| id));
        let (mut there, mut gone) = (Vec::new(), Vec::new());
        for id in expected {
            if there.len() as u64 == count {
                break;
            }
            let of = if live.binary_search(&id).is_ok() { &mut there } else { &mut gone };
            of.push(id);
        }
        for id in gone {
            found.remove(id);
        }
        assert_eq!(line.iter().map(|entry| entry.id).collect::<Vec<_>>(), there, "seed {}", self.seed);
        if there.is_empty() {
            return;
        }
        let claimed = topic.claim_idle(group.as_bytes(), consumer.as_bytes(), &line, self.now).unwrap();
        let Delivered::Yes(ticket) = claimed else { panic!("seed {}: nobody else claims", self.seed) };
        self.commit(ticket);
        let request = ClaimRequest {
            min_idle_ms: 0,
            ids: &there,
            delivered_ms: None,
            deliveries: None,
            force: false,
            just_ids: false,
            last_id: None,
        };
        self.oracle.claim(group, consumer, &request, self.now);
    }

    /// The engine ends in one way or another and starts again on what there is.
    fn again(&mut self, way: u64) {
        // What nobody waits for is noted behind everything else: this is noted behind that.
        let last = self.topic().visible_id();
        let set = wafka_broker::SetId { last, entries_added: None, max_deleted: None };
        if let Ok(ticket) = self.topic().set_id(&set) {
            self.commit(ticket);
        }
        self.topic = None;
        let durable = self.bench.options.fsync == FsyncPolicy::Always;
        match way % 3 {
            0 => self.bench.stop(),
            1 if durable => self.bench.crash_only(way),
            _ => self.bench.kill_only(),
        }
        self.bench.start().unwrap();
        self.topic = self.bench.engine().topic(crate::support::DB, b"t");
    }

    fn compare(&self) {
        let (topic, seed) = (self.topic(), self.seed);
        let infos = topic.group_infos(LagMode::Exact).unwrap();
        let names: Vec<_> = infos.iter().map(|info| String::from_utf8(info.name.to_vec()).unwrap()).collect();
        assert_eq!(names, self.oracle.groups.keys().cloned().collect::<Vec<_>>(), "seed {seed}");
        for (info, (name, group)) in infos.iter().zip(&self.oracle.groups) {
            let lag = self.oracle.live.iter().filter(|id| **id > group.last).count() as i64;
            assert_eq!((info.last_delivered, info.lag), (group.last, Some(lag)), "seed {seed}: {name}");
            assert_eq!(info.released, group.released.len() as u64, "seed {seed}: {name}");
            let found = topic.pending_range(name.as_bytes(), &ALL_PENDING, self.now).unwrap();
            let owner =
                |name: &Option<Arc<[u8]>>| name.as_deref().map(|name| name.escape_ascii().to_string());
            let found: Vec<_> = found
                .iter()
                .map(|entry| (entry.id, owner(&entry.consumer), entry.delivered_ms, entry.deliveries))
                .collect();
            let expected: Vec<_> = group
                .pending
                .iter()
                .map(|(id, entry)| (*id, entry.owner.clone(), entry.delivered, entry.count))
                .collect();
            assert_eq!(found, expected, "seed {seed}: {name}");
            let consumers = topic.consumer_infos(name.as_bytes()).unwrap();
            let consumers: Vec<_> = consumers
                .iter()
                .map(|info| (owner(&Some(Arc::clone(&info.name))).unwrap(), info.pending, info.active_ms))
                .collect();
            let expected: Vec<_> = group
                .consumers
                .iter()
                .map(|(name, active)| (name.clone(), group.of(name).len() as u64, *active))
                .collect();
            assert_eq!(consumers, expected, "seed {seed}: {name}");
        }
    }
}

#[test]
fn groups_are_as_simple_as_maps() {
    for seed in 0..30 {
        run(seed, Home::Sim(SimFs::new()), 150);
    }
}
