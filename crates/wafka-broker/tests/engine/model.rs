//! Random commands against the engine and against a plain map, with restarts, kills and losses of power between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use wafka_broker::{
    AppendError, FsyncPolicy, IdSpec, ReadRange, ReclaimOptions, RefPolicy, SetId, Ticket, Topic, Trim,
    TrimStrategy, wait,
};
use wafka_core::{EventId, PartitionId};
use wafka_storage::fs::SimFs;
use wafka_storage::memory::MemoryStorage;

use crate::offsets_only::OffsetsOnly;
use crate::oracle::Oracle;
use crate::routing::sticky_by_default;
use crate::support::{ALL, Bench, EAGER, Entry, Home, NEVER, Rng, accept, read};

struct Run {
    bench: Bench,
    rng: Rng,
    oracle: Oracle,
    /// `None` while the engine is down.
    topic: Option<Arc<Topic>>,
    /// Where each event was seen, or was sent.
    places: BTreeMap<EventId, u16>,
    waiting: Vec<Ticket>,
    now_ms: u64,
    seed: u64,
    values: u64,
}

pub fn run(seed: u64, home: Home, operations: usize) {
    let mut rng = Rng(seed);
    let brokers = rng.pick(&[1, 2, 4]);
    let reclaim = match rng.below(3) {
        0 => NEVER,
        1 => EAGER,
        _ => ReclaimOptions { dead_bytes_min: 500, dead_percent: 30, deletions_max: 10 },
    };
    let bench = Bench::new(home, brokers)
        .with(|options| {
            options.tail_bytes = rng.pick(&[0, 4096, 1 << 20]);
            options.index_interval_bytes = rng.pick(&[64, 700, 4096]);
            options.reclaim = reclaim;
            options.fsync = rng.pick(&[FsyncPolicy::Always, FsyncPolicy::EverySec, FsyncPolicy::No]);
            if rng.one_in(3) {
                sticky_by_default(options);
            }
        })
        .started();
    let topic = bench.topic("t");
    let mut run = Run {
        bench,
        rng,
        oracle: Oracle::default(),
        topic: Some(topic),
        places: BTreeMap::new(),
        waiting: Vec::new(),
        now_ms: 1_000,
        seed,
        values: 0,
    };
    for _ in 0..operations {
        run.step();
    }
    run.settle();
    run.compare();
    run.again(false);
    run.compare();
}

impl Run {
    fn topic(&self) -> &Arc<Topic> {
        self.topic.as_ref().unwrap()
    }

    fn step(&mut self) {
        match self.rng.below(40) {
            0..10 => self.append(None),
            10..12 => {
                let trim = self.some_trim();
                self.append(Some(trim));
            }
            12 => {
                for _ in 0..self.rng.below(150) {
                    self.append(None);
                }
            }
            13 => {
                let trim = self.some_trim();
                for _ in 0..self.rng.below(60) {
                    self.append(Some(trim));
                }
            }
            14..16 => self.trim(),
            16..19 => self.delete(),
            19 => self.set_id(),
            20..22 => self.settle(),
            22 => {
                self.settle();
                self.compare();
            }
            23 => self.again(true),
            24 => self.bench.engine().kick(),
            25..27 => self.read_in_flight(),
            _ => {
                self.settle();
                self.read();
            }
        }
    }

    fn some_id(&mut self) -> EventId {
        let known: Vec<EventId> = self.oracle.live.keys().copied().collect();
        match self.rng.below(6) {
            0 => EventId::MIN,
            1 => EventId::MAX,
            2 => self.oracle.last,
            3 => EventId::new(self.now_ms.saturating_sub(self.rng.below(60)), self.rng.below(3)),
            _ if known.is_empty() => EventId::new(self.now_ms, 0),
            _ => {
                let id = self.rng.pick(&known);
                self.rng.pick(&[Some(id), id.next(), id.prev()]).unwrap_or(id)
            }
        }
    }

    fn some_trim(&mut self) -> Trim {
        let len = self.oracle.live.len() as u64;
        let strategy = match self.rng.below(5) {
            0 => TrimStrategy::MaxLen(self.rng.below(3)),
            1 | 2 => TrimStrategy::MaxLen(self.rng.below(len + 10)),
            _ => TrimStrategy::MinId(self.some_id()),
        };
        let approximate = self.rng.one_in(3);
        let limit = if approximate { self.rng.pick(&[None, Some(0), Some(150)]) } else { None };
        Trim { strategy, approximate, limit, refs: RefPolicy::Keep }
    }

    fn append(&mut self, trim: Option<Trim>) {
        if self.rng.one_in(3) {
            self.now_ms += self.rng.below(4);
        }
        let id = match self.rng.below(8) {
            0 => IdSpec::AutoSeq { ms: self.now_ms },
            1 => IdSpec::Explicit(EventId::new(self.now_ms, self.rng.below(5))),
            2 => IdSpec::AutoSeq { ms: self.now_ms.saturating_sub(3) },
            _ => IdSpec::Auto,
        };
        let partitions = u64::from(self.topic().partitions());
        let partition = self.rng.one_in(5).then(|| self.rng.below(partitions) as u16 + 1);
        self.values += 1;
        let mut parts = vec![b"n".to_vec(), self.values.to_string().into_bytes()];
        if self.rng.one_in(4) {
            parts.push(vec![0xff, b'\n', 0]);
            parts.push(vec![b'"'; self.rng.below(400) as usize]);
        }
        let flat: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let request = wafka_broker::AppendRequest {
            id,
            partition: partition.map(PartitionId),
            fields: wafka_core::Fields::new(&flat).unwrap(),
            trim,
            idempotence: None,
            now_ms: self.now_ms,
        };
        let expected = self.oracle.next_id(id, self.now_ms);
        match self.topic().append(&request) {
            Ok(appended) => {
                assert_eq!(Some(appended.id), expected, "seed {}", self.seed);
                self.oracle.append(appended.id, parts);
                if let Some(trim) = &trim {
                    // Carried out when the event becomes visible.
                    self.waiting.push(appended.ticket);
                    self.settle();
                    let left = self.topic().len(None).unwrap();
                    self.trimmed(trim, self.oracle.live.len() as u64 - left);
                }
                if let Some(partition) = partition {
                    self.places.insert(appended.id, partition);
                }
                self.waiting.push(appended.ticket);
            }
            Err(AppendError::TooSmall | AppendError::Zero) => {
                assert_eq!(expected, None, "seed {}", self.seed)
            }
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
        if self.rng.one_in(3) {
            self.bench.engine().kick();
        }
    }

    fn trim(&mut self) {
        // Only what is visible is trimmed.
        self.settle();
        let trim = self.some_trim();
        let (removed, ticket) = self.topic().trim(&trim).unwrap();
        self.trimmed(&trim, removed);
        self.waiting.extend(ticket);
    }

    /// Where nodes begin and end is tested elsewhere.
    fn trimmed(&mut self, trim: &Trim, removed: u64) {
        let expected = self.oracle.to_trim(trim);
        let is_right = if trim.approximate { removed <= expected } else { removed == expected };
        assert!(is_right, "seed {}: {trim:?} removed {removed}, expected {expected}", self.seed);
        self.oracle.trim(trim, removed);
    }

    fn delete(&mut self) {
        // Only what is visible can be deleted.
        self.settle();
        let ids: Vec<EventId> = (0..self.rng.below(6)).map(|_| self.some_id()).collect();
        let (removed, ticket) = self.topic().delete_events(&ids).unwrap();
        assert_eq!(removed, self.oracle.delete(&ids), "seed {}: {ids:?}", self.seed);
        self.waiting.extend(ticket);
    }

    fn set_id(&mut self) {
        if self.rng.one_in(2) {
            self.settle();
        }
        let ahead = EventId::new(self.now_ms + self.rng.below(5), self.rng.below(3));
        let set = SetId {
            last: self.rng.pick(&[self.oracle.last, ahead, ahead, EventId::new(1, 1)]),
            entries_added: self.rng.one_in(3).then(|| self.rng.below(500)),
            max_deleted: self.rng.one_in(3).then(|| self.some_id()),
        };
        let before = self.oracle.clone();
        match self.topic().set_id(&set) {
            Ok(ticket) => {
                assert!(self.oracle.set_id(&set), "seed {}: {set:?} on {before:?}", self.seed);
                self.waiting.push(ticket);
            }
            Err(error) => {
                assert!(!self.oracle.set_id(&set), "seed {}: {set:?}: {error} {before:?}", self.seed);
            }
        }
    }

    /// Waits for everything that was accepted.
    fn settle(&mut self) {
        self.bench.engine().kick();
        let topic = Arc::clone(self.topic());
        for ticket in self.waiting.drain(..) {
            wait(topic.committed(ticket)).unwrap();
        }
    }

    fn some_range(&mut self) -> ReadRange {
        let (a, b) = (self.some_id(), self.some_id());
        ReadRange {
            from: if self.rng.one_in(4) { EventId::MIN } else { a },
            to: if self.rng.one_in(4) { EventId::MAX } else { b },
            count: self.rng.pick(&[None, Some(0), Some(1), Some(2), Some(10), Some(100)]),
            reverse: self.rng.one_in(2),
            partition: None,
        }
    }

    fn read(&mut self) {
        let mut range = self.some_range();
        if self.rng.one_in(4) {
            let partitions = u64::from(self.topic().partitions());
            range.partition = Some(PartitionId(self.rng.below(partitions) as u16 + 1));
            self.read_partition(&range);
            return;
        }
        let expected = self.oracle.read(&range);
        self.same(&read(self.topic(), &range).unwrap(), &expected, &range);
    }

    /// A partition holds its share of the topic's events.
    fn read_partition(&mut self, range: &ReadRange) {
        let all = read(self.topic(), &ReadRange { partition: range.partition, ..ALL }).unwrap();
        let found = read(self.topic(), range).unwrap();
        let in_range = |entry: &&Entry| entry.0 >= range.from && entry.0 <= range.to;
        let mut expected: Vec<Entry> = all.iter().filter(in_range).cloned().collect();
        if range.reverse {
            expected.reverse();
        }
        expected.truncate(range.count.map_or(usize::MAX, |count| count as usize));
        self.same(&found, &expected, range);
    }

    /// What is not waited for may be visible or not; what is visible has no holes.
    fn read_in_flight(&mut self) {
        let range = ReadRange { partition: None, reverse: false, ..self.some_range() };
        let before = self.topic().visible_id();
        let found = read(self.topic(), &range).unwrap();
        let after = self.topic().visible_id();
        let expected = self.oracle.read(&range);
        assert!(found.len() <= expected.len(), "seed {}: {range:?}", self.seed);
        self.same(&found, &expected[..found.len()], &range);
        let must = expected.iter().filter(|(id, _)| *id <= before).count();
        let may = expected.iter().filter(|(id, _)| *id <= after).count();
        assert!(must <= found.len() && found.len() <= may, "seed {}: {range:?}", self.seed);
    }

    #[track_caller]
    fn same(&self, found: &[Entry], expected: &[Entry], range: &ReadRange) {
        let brief = |entries: &[Entry]| -> Vec<String> {
            entries.iter().map(|(id, parts)| format!("{id} {}", parts[1].escape_ascii())).collect()
        };
        assert_eq!(brief(found), brief(expected), "seed {}: {range:?}", self.seed);
        assert!(found == expected, "seed {}: {range:?}", self.seed);
    }

    /// Everything that can be asked, when nothing is under way.
    fn compare(&mut self) {
        for reverse in [false, true] {
            let range = ReadRange { reverse, ..ALL };
            let expected = self.oracle.read(&range);
            self.same(&read(self.topic(), &range).unwrap(), &expected, &range);
        }
        let seed = self.seed;
        let info = self.topic().info().unwrap();
        assert_eq!(self.topic().len(None).unwrap(), self.oracle.live.len() as u64, "seed {seed}");
        assert_eq!(info.length, self.oracle.live.len() as u64, "seed {seed}");
        assert_eq!(info.first_id, self.oracle.first(), "seed {seed}");
        assert_eq!(info.last_id, self.oracle.last, "seed {seed}");
        assert_eq!(info.max_deleted_id, self.oracle.max_deleted, "seed {seed}");
        assert_eq!(info.entries_added, self.oracle.added, "seed {seed}");
        let mut united: Vec<Entry> = Vec::new();
        for partition in info.partitions {
            let range = ReadRange { partition: Some(partition.partition), ..ALL };
            let entries = read(self.topic(), &range).unwrap();
            assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "seed {seed}");
            let len = self.topic().len(range.partition).unwrap();
            assert_eq!((partition.length, len), (entries.len() as u64, entries.len() as u64), "seed {seed}");
            for (id, _) in &entries {
                let place = *self.places.entry(*id).or_insert(partition.partition.0);
                assert_eq!(place, partition.partition.0, "seed {seed}: {id}");
            }
            united.extend(entries);
        }
        united.sort();
        self.same(&united, &self.oracle.read(&ALL), &ALL);
    }

    /// The engine ends in one way or another and starts again on what there is.
    fn again(&mut self, any_way: bool) {
        self.settle();
        // The trimmings that came with events are noted behind them: this is noted behind those.
        let last = SetId { last: self.oracle.last, entries_added: None, max_deleted: None };
        if self.oracle.set_id(&last) {
            let ticket = self.topic().set_id(&last).unwrap();
            self.waiting.push(ticket);
            self.settle();
        }
        self.topic = None;
        let way = if any_way { self.rng.below(4) } else { 0 };
        let durable = self.bench.options.fsync == FsyncPolicy::Always;
        match way {
            0 => self.bench.stop(),
            1 | 2 if durable => self.bench.crash_only(self.rng.next()),
            _ => self.bench.kill_only(),
        }
        if self.rng.one_in(3) {
            self.bench.remove_indexes();
        }
        self.bench.options.tail_bytes = self.rng.pick(&[0, 4096, 1 << 20]);
        self.bench.start().unwrap();
        self.topic = self.bench.engine().topic(crate::support::DB, b"t");
    }
}

#[test]
fn over_a_simulated_file_system() {
    for seed in 0..60 {
        run(seed, Home::Sim(SimFs::new()), 120);
    }
}

#[test]
fn over_memory() {
    for seed in 1_000..1_030 {
        run(seed, Home::Memory(MemoryStorage::new()), 120);
    }
}

/// Positions are of no use there, and so they must be to the engine.
#[test]
fn over_a_backend_that_knows_offsets_alone() {
    for seed in 3_000..3_030 {
        let index = tempfile::tempdir().unwrap();
        run(seed, Home::OffsetsOnly(OffsetsOnly::default(), index), 120);
    }
}

#[test]
fn over_files() {
    for seed in 2_000..2_010 {
        run(seed, Home::Disk(tempfile::tempdir().unwrap()), 120);
    }
}

#[test]
fn a_row_of_appends_without_waiting_keeps_maxlen() {
    for max in [0, 1, 7] {
        let bench = Bench::sim(2);
        let topic = bench.topic("t");
        let trim = crate::support::maxlen(max);
        let tickets: Vec<Ticket> = (0..500)
            .map(|n: u32| {
                let text = n.to_string();
                let flat: [&[u8]; 2] = [b"n", text.as_bytes()];
                let appended = accept(&topic, IdSpec::Auto, None, &flat, Some(trim)).unwrap();
                appended.ticket
            })
            .collect();
        bench.engine().kick();
        for ticket in tickets {
            wait(topic.committed(ticket)).unwrap();
        }
        let expected: Vec<String> = (500 - max..500).map(|n| n.to_string()).collect();
        assert_eq!(crate::support::values(&topic), expected);
        assert_eq!(topic.len(None).unwrap(), max);
    }
}
