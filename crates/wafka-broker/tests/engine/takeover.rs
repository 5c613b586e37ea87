//! Opening the logs of a server that is gone, where nothing is known of them but what they and the journal say.

mod floors;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wafka_broker::{GroupStart, LagMode, ReadRange, Ticket, Topic, wait};
use wafka_core::storage::{Batch, Cursor, LogName, OpenRequest, RewritePlan, Storage};
use wafka_core::{BrokerId, EventId, Fields, Offset, PartitionId};
use wafka_storage::line::EventEncoder;

use crate::offsets_only::OffsetsOnly;
use crate::support::{ALL, Bench, DB, EAGER, Home, NEVER, eventually, ids, maxlen, read};

/// However long a log is, an opening reads no more than so many bytes of it.
const FEW_BYTES: u64 = 6 << 10;

struct Servers {
    bench: Bench,
    storage: OffsetsOnly,
    /// What there has to be.
    live: Vec<EventId>,
}

impl Servers {
    fn new(partitions: u16) -> Self {
        let storage = OffsetsOnly::default();
        let home = Home::OffsetsOnly(storage.clone(), tempfile::tempdir().unwrap());
        let bench = Bench::new(home, partitions)
            .with(|options| {
                options.tail_bytes = 0;
                options.reclaim = EAGER;
            })
            .started();
        Servers { bench, storage, live: Vec::new() }
    }

    fn topic(&self) -> Arc<Topic> {
        self.bench.topic("t")
    }

    fn add(&mut self, count: usize) {
        let topic = self.topic();
        let tickets: Vec<Ticket> = (0..count).map(|n| self.bench.accept(&topic, &n.to_string())).collect();
        self.bench.engine().kick();
        for ticket in tickets {
            wait(topic.committed(ticket)).unwrap();
            self.live.push(ticket.id());
        }
    }

    /// Deletes the events with these places among all, and waits until their lines are gone.
    fn delete(&mut self, is_gone: impl Fn(usize) -> bool) {
        let topic = self.topic();
        let place = |id: &EventId| self.live.binary_search(id).unwrap();
        // The last line of a log stays, whatever became of its event.
        let last = self.live.len() - usize::from(topic.partitions());
        let is_gone = |id: &EventId| place(id) < last && is_gone(place(id));
        let (gone, left): (Vec<_>, Vec<_>) = self.live.iter().copied().partition(is_gone);
        self.bench.delete(&topic, &gone).unwrap();
        self.live = left;
        self.reclaimed();
    }

    fn trim(&mut self, max: u64) {
        self.bench.trim(&self.topic(), &maxlen(max)).unwrap();
        self.live.drain(..self.live.len() - usize::try_from(max).unwrap());
        self.reclaimed();
    }

    fn reclaimed(&self) {
        let topic = self.topic();
        let lines = || topic.info().unwrap().partitions.iter().map(|one| one.lines).sum::<u64>();
        eventually("only lines of events are left", || lines() == self.live.len() as u64);
    }

    fn stop(&mut self) {
        self.bench.stop();
        if let Home::OffsetsOnly(_, dir) = &self.bench.home {
            std::fs::remove_dir_all(dir.path().join("index")).unwrap_or_default();
        }
    }

    /// Another server takes over; returns how many bytes it read of the logs.
    fn take_over(&mut self) -> u64 {
        self.stop();
        self.storage.read.store(0, Ordering::Relaxed);
        self.bench.start().unwrap();
        self.storage.read.load(Ordering::Relaxed)
    }

    /// Loses what a log has from an offset on, as power does.
    fn cut(&self, stem: &str, end: Offset) {
        let mut shard = self.storage.shard(BrokerId(1)).unwrap();
        let slot = shard.open(&LogName::new(DB, stem), OpenRequest::default()).unwrap().slot;
        shard.reopen(slot, Cursor::at_offset(end)).unwrap();
    }

    /// Appends to partition 1 as a server does whose journal is out of reach.
    fn append(&mut self, first_offset: Offset, ids: impl Iterator<Item = EventId>) {
        let (mut encoder, mut bytes) = (EventEncoder::new(b"t", PartitionId(1)), Vec::new());
        let mut lines = 0;
        for id in ids {
            let flat: [&[u8]; 2] = [b"f", b"v"];
            encoder.encode(&mut bytes, id, first_offset + lines, &[], Fields::new(&flat).unwrap());
            self.live.push(id);
            lines += 1;
        }
        let mut shard = self.storage.shard(BrokerId(1)).unwrap();
        let slot = shard.open(&LogName::new(DB, "t-1"), OpenRequest::default()).unwrap().slot;
        shard.append(slot, Batch { first_offset, lines, bytes: &bytes }).unwrap();
        assert!(shard.begin_sync().wait().is_empty());
    }

    /// Drops lines of a log, as nobody but its owner may.
    fn drop_lines(&mut self, stem: &str, of: impl Fn(u64, &str) -> bool) {
        let mut shard = self.storage.shard(BrokerId(1)).unwrap();
        let opened = shard.open(&LogName::new(DB, stem), OpenRequest::default()).unwrap();
        let (mut bytes, mut cursor) = (Vec::new(), opened.first);
        while cursor.offset < opened.end.offset {
            cursor = opened.reader.read(cursor, 1 << 20, &mut bytes).unwrap().next;
        }
        let lines = std::str::from_utf8(&bytes).unwrap().lines();
        let drop = (opened.first.offset..).zip(lines).filter(|(at, line)| of(*at, line)).map(|(at, _)| at);
        let plan = RewritePlan { drop_below: 0, drop: drop.collect() };
        assert!(!plan.drop.is_empty());
        let mut rewrite = shard.begin_rewrite(opened.slot, plan).unwrap();
        rewrite.run(&mut |_| {}).unwrap();
        shard.finish_rewrite(rewrite, &mut |_| {}).unwrap();
    }

    /// Everything that a client can ask.
    fn check(&self) {
        let topic = self.topic();
        let live = &self.live;
        let info = topic.info().unwrap();
        assert_eq!(info.length, live.len() as u64);
        assert_eq!(info.partitions.iter().map(|one| one.lines).sum::<u64>(), live.len() as u64);
        assert_eq!((info.first_id, info.last_id), (live[0], *live.last().unwrap()));
        for at in (0..live.len()).step_by(live.len() / 13 + 1) {
            for reverse in [false, true] {
                let (from, to) = if reverse { (EventId::MIN, live[at]) } else { (live[at], EventId::MAX) };
                let found =
                    ids(&read(&topic, &ReadRange { from, to, count: Some(5), reverse, ..ALL }).unwrap());
                let expected: Vec<EventId> = match reverse {
                    false => live[at..].iter().take(5).copied().collect(),
                    true => live[..=at].iter().rev().take(5).copied().collect(),
                };
                assert_eq!(found, expected, "{at} {reverse}");
            }
            let name = format!("g{at}");
            let ticket = topic.create_group(name.as_bytes(), GroupStart::Id(live[at]), None).unwrap();
            self.bench.engine().kick();
            if let Some(ticket) = ticket.into() {
                wait(topic.committed(ticket)).unwrap();
            }
            let groups = topic.group_infos(LagMode::Exact).unwrap();
            let group = groups.iter().find(|group| *group.name == *name.as_bytes()).unwrap();
            assert_eq!(group.lag, Some((live.len() - at - 1) as i64), "{name}");
            self.bench.commit(&topic, topic.destroy_group(name.as_bytes()).unwrap());
        }
        assert_eq!(ids(&read(&topic, &ALL).unwrap()), *live);
    }
}

#[test]
fn how_much_is_read_does_not_depend_on_the_length() {
    let mut servers = Servers::new(2);
    servers.add(300);
    let few = servers.take_over();
    servers.check();
    servers.add(15_000);
    let many = servers.take_over();
    assert!(few < FEW_BYTES && many < FEW_BYTES, "{few} and {many} bytes read");
    // Nor does a read in the middle of it.
    servers.storage.read.store(0, Ordering::Relaxed);
    let from = servers.live[9_000];
    let found = read(&servers.topic(), &ReadRange { from, count: Some(1), ..ALL }).unwrap();
    assert_eq!(ids(&found), [from]);
    let read = servers.storage.read.load(Ordering::Relaxed);
    assert!(read < 64 << 10, "{read} bytes read for one event");
    servers.check();
    // What was appended behind it has entries again.
    servers.add(3_000);
    servers.check();
    assert!(servers.take_over() < FEW_BYTES);
    servers.check();
}

#[test]
fn who_reads_on_searches_for_nothing() {
    for partitions in [1, 3] {
        let mut servers = Servers::new(partitions);
        servers.add(6_000);
        servers.take_over();
        let topic = servers.topic();
        let requests = |from: usize| {
            servers.storage.requests.store(0, Ordering::Relaxed);
            let range = ReadRange::after(servers.live[from - 1], Some(30), None).unwrap();
            assert_eq!(ids(&read(&topic, &range).unwrap()), servers.live[from..from + 30]);
            servers.storage.requests.load(Ordering::Relaxed)
        };
        assert!(requests(3_000) > u64::from(2 * partitions));
        for at in (3_030..4_000).step_by(30) {
            let requests = requests(at);
            assert!(requests <= u64::from(2 * partitions), "{requests} requests at {at}");
        }
    }
}

/// As where the engine carried it out and its answer was lost.
#[test]
fn lengths_are_right_behind_a_rewrite_that_failed_late() {
    let mut servers = Servers::new(1);
    servers.add(9_000);
    servers.take_over();
    servers.storage.fails_late.store(true, Ordering::SeqCst);
    let topic = servers.topic();
    servers.bench.trim(&topic, &maxlen(6_000)).unwrap();
    eventually("it failed", || servers.storage.failed_late.load(Ordering::SeqCst) > 0);
    for max in [4_000, 2_500] {
        servers.bench.trim(&topic, &maxlen(max)).unwrap();
        assert_eq!(topic.len(None).unwrap(), max);
        assert_eq!(read_all(&topic).len() as u64, max);
    }
}

#[test]
fn what_was_removed_is_known_without_reading() {
    for partitions in [1, 3] {
        let mut servers = Servers::new(partitions);
        servers.add(3_000);
        servers.delete(|at| (500..700).contains(&at) || at % 97 == 3);
        let read = servers.take_over();
        assert!(read < 2 * FEW_BYTES, "{read} bytes read");
        servers.check();
        servers.trim(2_200);
        servers.delete(|at| (20..25).contains(&at) || at % 211 == 7);
        servers.add(500);
        let read = servers.take_over();
        // Where the trimming ended is looked for.
        assert!(read < 6 * FEW_BYTES, "{read} bytes read");
        servers.check();
        servers.delete(|at| at % 2 == 1);
        assert!(servers.take_over() < 6 * FEW_BYTES);
        servers.check();
    }
}

#[test]
fn lines_are_counted_where_too_many_were_removed_to_name_them() {
    let mut servers = Servers::new(1);
    servers.add(9_000);
    servers.delete(|at| at % 3 == 1);
    let read = servers.take_over();
    assert!(read < 8 * FEW_BYTES, "{read} bytes read");
    servers.check();
    servers.trim(4_321);
    servers.delete(|at| at % 5 == 2);
    servers.take_over();
    servers.check();
}

#[test]
fn deletions_that_are_not_reclaimed_are_there_still() {
    let mut servers = Servers::new(2);
    servers.bench.options.reclaim = NEVER;
    servers.take_over();
    servers.add(2_000);
    let topic = servers.topic();
    let gone: Vec<EventId> = servers.live.iter().copied().step_by(3).collect();
    servers.bench.delete(&topic, &gone).unwrap();
    drop(topic);
    servers.live.retain(|id| gone.binary_search(id).is_err());
    let read = servers.take_over();
    assert!(read < FEW_BYTES, "{read} bytes read");
    let topic = servers.topic();
    assert_eq!(topic.len(None).unwrap(), servers.live.len() as u64);
    assert_eq!(ids(&read_all(&topic)), servers.live);
}

fn read_all(topic: &Topic) -> Vec<crate::support::Entry> {
    read(topic, &ALL).unwrap()
}

/// As where the journal was synced and the partition was not.
#[test]
fn deletions_of_events_that_were_lost_count_once() {
    let mut servers = Servers::new(1);
    servers.bench.options.reclaim = NEVER;
    servers.take_over();
    servers.add(500);
    let topic = servers.topic();
    servers.bench.delete(&topic, &[servers.live[10], servers.live[497], servers.live[498]]).unwrap();
    drop(topic);
    servers.stop();
    servers.cut("t-1", 495);
    servers.live.truncate(495);
    servers.live.remove(10);
    for _ in 0..3 {
        servers.take_over();
        let topic = servers.topic();
        assert_eq!(topic.len(None).unwrap(), servers.live.len() as u64);
        assert_eq!(ids(&read_all(&topic)), servers.live);
        drop(topic);
        servers.add(20);
    }
}

/// The same, where the start that found it out could not tell the journal, or that was lost too.
#[test]
fn an_event_in_the_place_of_a_lost_one_outlives_its_deletion() {
    let mut servers = Servers::new(1);
    servers.bench.options.reclaim = NEVER;
    servers.take_over();
    servers.add(500);
    let gone: Vec<EventId> = [10, 20, 30, 494, 495, 497, 499].map(|at| servers.live[at]).to_vec();
    servers.bench.delete(&servers.topic(), &gone).unwrap();
    servers.stop();
    let lost: Vec<EventId> = servers.live.drain(495..).collect();
    servers.live.retain(|id| !gone.contains(id));
    servers.cut("t-1", 495);
    let last = lost.last().unwrap();
    servers.append(495, (1..=20).map(|n| EventId::new(last.ms, last.seq + n)));
    let read = servers.take_over();
    assert!(read < FEW_BYTES, "{read} bytes read");
    assert_eq!(servers.topic().len(None).unwrap(), servers.live.len() as u64);
    assert_eq!(ids(&read_all(&servers.topic())), servers.live);
    servers.bench.options.reclaim = EAGER;
    servers.take_over();
    servers.delete(|at| at < 40);
    servers.check();
}

/// As after a crash between a rewrite and its record.
#[test]
fn a_rewrite_that_the_journal_was_not_told_of_is_found_out() {
    let mut servers = Servers::new(1);
    servers.add(4_000);
    servers.delete(|at| (1_000..1_040).contains(&at));
    servers.stop();
    servers.drop_lines("t.journal", |_, line| line.contains("\"removed\""));
    let read = servers.take_over();
    assert!(read < 64 << 10, "{read} bytes read");
    servers.check();
    let read = servers.take_over();
    assert!(read < FEW_BYTES, "{read} bytes read: the journal was told then");
    servers.check();
}

/// As an older build left it, or nobody knows who.
#[test]
fn a_log_with_gaps_that_the_journal_does_not_know_is_read_once() {
    let mut servers = Servers::new(1);
    servers.add(4_000);
    servers.delete(|at| (17..20).contains(&at));
    servers.stop();
    servers.drop_lines("t-1", |at, _| (100..200).contains(&at) || at == 3_000);
    servers.live.remove(3_000 - 3);
    servers.live.drain(100 - 3..200 - 3);
    let read = servers.take_over();
    assert!(read > 100_000, "{read} bytes read");
    servers.check();
    let read = servers.take_over();
    assert!(read < FEW_BYTES, "{read} bytes read: now it is known");
    servers.check();
}
