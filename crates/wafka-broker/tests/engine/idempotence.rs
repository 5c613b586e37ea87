//! Producers that send an event again: it is added once, whatever happens in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wafka_broker::{
    AppendError, AppendRequest, Appended, GroupStart, IdSpec, IdempotenceChange, IdempotenceInfo,
    IdempotenceSettings, Idempotent, Topic, Trim, wait,
};
use wafka_core::{Clock, EventId, Fields};
use wafka_storage::fs::{FileSystem, Operation, SimFs};

use crate::support::{
    ALL, Bench, EAGER, EIO, Home, Rng, eventually, ids, is_offline, maxlen, path, read, values,
};

/// A clock that is set by hand.
#[derive(Clone)]
struct HandClock(Arc<AtomicU64>);

impl Clock for HandClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct Producers {
    bench: Bench,
    clock: HandClock,
}

impl Producers {
    fn new(brokers: u16) -> Self {
        let clock = HandClock(Arc::new(AtomicU64::new(1_000_000)));
        let held = clock.clone();
        let bench = Bench::new(Home::Sim(SimFs::new()), brokers).with(|options| {
            options.clock = Arc::new(held);
            options.index_interval_bytes = 200;
            options.reclaim = EAGER;
        });
        Producers { bench: bench.started(), clock }
    }

    fn pass(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    fn accept(
        &self,
        topic: &Arc<Topic>,
        pid: &[u8],
        iid: &[u8],
        trim: Option<Trim>,
    ) -> Result<Appended, AppendError> {
        let value = format!("{}/{}", pid.escape_ascii(), iid.escape_ascii());
        let flat = [&b"v"[..], value.as_bytes()];
        let request = AppendRequest {
            id: IdSpec::Auto,
            partition: None,
            fields: Fields::new(&flat).unwrap(),
            trim,
            idempotence: Some(Idempotent { producer: pid, iid }),
            now_ms: self.clock.now_ms(),
        };
        loop {
            match topic.append(&request) {
                Err(AppendError::NotPrepared) => {}
                other => return other,
            }
            if let Some(ticket) = topic.prepare_idempotence(IdempotenceSettings::default())? {
                self.bench.engine().kick();
                wait(topic.committed(ticket))?;
            }
        }
    }

    fn send_trimming(
        &self,
        topic: &Arc<Topic>,
        pid: &[u8],
        iid: &[u8],
        trim: Option<Trim>,
    ) -> Result<EventId, AppendError> {
        let appended = self.accept(topic, pid, iid, trim)?;
        self.bench.engine().kick();
        wait(topic.committed(appended.ticket)).map(|()| appended.id)
    }

    fn send(&self, topic: &Arc<Topic>, pid: &str, iid: &str) -> EventId {
        self.send_trimming(topic, pid.as_bytes(), iid.as_bytes(), None).unwrap()
    }

    fn configure(&self, topic: &Arc<Topic>, change: IdempotenceChange) {
        let ticket = topic.configure_idempotence(change, IdempotenceSettings::default()).unwrap();
        self.bench.engine().kick();
        if let Some(ticket) = ticket {
            wait(topic.committed(ticket)).unwrap();
        }
    }
}

fn info(topic: &Topic) -> IdempotenceInfo {
    topic.info().unwrap().idempotence.unwrap()
}

fn counts(topic: &Topic) -> [u64; 4] {
    let info = info(topic);
    [info.producers, info.iids, info.added, info.duplicates]
}

#[test]
fn what_is_sent_again_is_added_once() {
    let mut all = Producers::new(3);
    let topic = all.bench.topic("t");
    assert_eq!(topic.info().unwrap().idempotence, None);
    let first = all.send(&topic, "p", "a");
    let second = all.send(&topic, "p", "b");
    assert!(second > first);
    assert_eq!(all.send(&topic, "p", "a"), first);
    assert!(all.send(&topic, "q", "a") > second);
    assert_eq!(values(&topic), ["p/a", "p/b", "q/a"]);
    assert_eq!(counts(&topic), [2, 3, 3, 1]);
    drop(topic);
    for seed in 0..4 {
        all.bench.crash(seed);
        let topic = all.bench.topic("t");
        assert_eq!(all.send(&topic, "p", "a"), first);
        assert_eq!(all.send(&topic, "p", "b"), second);
        assert_eq!(values(&topic), ["p/a", "p/b", "q/a"]);
        assert_eq!(counts(&topic)[..3], [2, 3, 3]);
    }
    // In order, the duplicates are known too.
    let before = counts(&all.bench.topic("t"));
    all.bench.restart();
    assert_eq!(counts(&all.bench.topic("t")), before);
}

#[test]
fn any_bytes_name_a_producer() {
    let mut all = Producers::new(2);
    let names: [&[u8]; 6] =
        [b"\x00\x01\xff", b"", b"{\"base64\":\"AA==\"}", b"{\"a\":1}", "häß\n\"".as_bytes(), b"[1]"];
    let mut sent = Vec::new();
    for pid in names {
        for iid in names {
            let topic = all.bench.topic("t");
            sent.push((pid, iid, all.send_trimming(&topic, pid, iid, None).unwrap()));
        }
    }
    for round in 0..3 {
        all.bench.crash(round);
        let topic = all.bench.topic("t");
        for (pid, iid, id) in &sent {
            assert_eq!(all.send_trimming(&topic, pid, iid, None), Ok(*id));
        }
        // The journal tells of all of them now.
        all.bench.trim(&topic, &maxlen(30)).unwrap();
    }
}

#[test]
fn a_duplicate_waits_for_the_first() {
    let all = Producers::new(1);
    let topic = all.bench.topic("t");
    all.send(&topic, "p", "a");
    let first = all.accept(&topic, b"p", b"b", None).unwrap();
    let again = all.accept(&topic, b"p", b"b", None).unwrap();
    assert_eq!((again.id, again.duplicate), (first.id, true));
    assert_eq!(topic.is_committed(&again.ticket), None);
    all.bench.engine().kick();
    wait(topic.committed(again.ticket)).unwrap();
    assert_eq!(topic.is_committed(&first.ticket), Some(Ok(())));
    assert_eq!(values(&topic).len(), 2);
}

#[test]
fn an_event_that_fails_takes_its_record_with_it() {
    let mut all = Producers::new(1);
    all.bench.stop();
    all.bench.commit_journal = wafka_storage::text::CommitJournalUse::Never;
    all.bench.start().unwrap();
    let topic = all.bench.topic("t");
    all.send(&topic, "p", "a");
    all.bench.fault(Operation::Sync, "t-1.txt", EIO, 1);
    let first = all.accept(&topic, b"p", b"b", None).unwrap();
    let again = all.accept(&topic, b"p", b"b", None).unwrap();
    all.bench.engine().kick();
    assert!(wait(topic.committed(first.ticket)).is_err());
    assert!(wait(topic.committed(again.ticket)).is_err());
    all.bench.fs().heal();
    eventually("the partition to come back", || !is_offline(&topic, 1));
    let third = all.send(&topic, "p", "b");
    assert!(third > first.id);
    assert_eq!(all.send(&topic, "p", "b"), third);
    assert_eq!(values(&topic), ["p/a", "p/b"]);
    assert_eq!(counts(&topic)[..3], [1, 2, 2]);
}

#[test]
fn records_outlive_the_lines_of_their_events() {
    let mut all = Producers::new(2);
    let topic = all.bench.topic("t");
    let mut sent = BTreeMap::new();
    for n in 0..90 {
        let iid = format!("i{n}");
        let id = all.send_trimming(&topic, b"p", iid.as_bytes(), Some(maxlen(3))).unwrap();
        sent.insert(iid, id);
    }
    eventually("lines to go", || {
        // A rewrite that is over is asked for again by the next trimming.
        all.bench.add(&topic, "plain").unwrap();
        all.bench.trim(&topic, &maxlen(3)).unwrap();
        topic.info().unwrap().partitions.iter().all(|partition| partition.lines < 30)
    });
    drop(topic);
    for seed in 0..3 {
        all.bench.crash(seed);
        let topic = all.bench.topic("t");
        for (iid, id) in &sent {
            assert_eq!(all.send(&topic, "p", iid), *id);
        }
        assert_eq!(topic.len(None).unwrap(), 3);
        assert_eq!(counts(&topic)[..3], [1, 90, 90]);
    }
}

#[test]
fn records_lapse_and_make_room() {
    let mut all = Producers::new(2);
    let topic = all.bench.topic("t");
    let first = all.send(&topic, "p", "a");
    all.pass(99_999);
    assert_eq!(all.send(&topic, "p", "a"), first);
    all.pass(1);
    assert_eq!(counts(&topic), [0, 0, 1, 1]);
    let second = all.send(&topic, "p", "a");
    assert!(second > first);
    for n in 0..100 {
        all.send(&topic, "p", &format!("i{n}"));
    }
    assert_eq!(info(&topic).iids, 100);
    let third = all.send(&topic, "p", "a");
    assert!(third > second);
    assert_eq!(topic.len(None).unwrap(), 103);
    drop(topic);
    all.bench.crash(1);
    let topic = all.bench.topic("t");
    assert_eq!(counts(&topic)[..2], [1, 100]);
    assert_eq!(all.send(&topic, "p", "a"), third);
    drop(topic);
    // While the server was down, all of them lapsed.
    all.bench.crash_only(2);
    all.pass(100_000);
    all.bench.start().unwrap();
    let topic = all.bench.topic("t");
    assert_eq!(counts(&topic)[..2], [0, 0]);
    assert!(all.send(&topic, "p", "a") > third);
}

#[test]
fn other_settings_forget_all_records() {
    let mut all = Producers::new(2);
    let topic = all.bench.topic("t");
    let first = all.send(&topic, "p", "a");
    all.configure(&topic, IdempotenceChange { duration_secs: Some(100), max_iids: Some(100) });
    assert_eq!(all.send(&topic, "p", "a"), first);
    all.configure(&topic, IdempotenceChange { max_iids: Some(2), ..IdempotenceChange::default() });
    assert_eq!(counts(&topic), [0, 0, 1, 1]);
    drop(topic);
    for seed in 0..3 {
        all.bench.crash(seed);
        let topic = all.bench.topic("t");
        let settings = IdempotenceSettings { duration_secs: 100, max_iids: 2 };
        assert_eq!(info(&topic).settings, settings);
        assert_eq!(counts(&topic)[..2], [0, 0]);
    }
    let topic = all.bench.topic("t");
    let second = all.send(&topic, "p", "a");
    assert!(second > first);
    let sent = ["b", "c"].map(|iid| all.send(&topic, "p", iid));
    all.bench.crash(9);
    let topic = all.bench.topic("t");
    assert_eq!(["b", "c"].map(|iid| all.send(&topic, "p", iid)), sent);
    assert!(all.send(&topic, "p", "a") > second);
}

#[test]
fn an_event_is_recorded_afterwards() {
    let mut all = Producers::new(2);
    let topic = all.bench.topic("t");
    // As old as the events that the bench adds.
    all.clock.0.store(1_000, Ordering::SeqCst);
    let plain = all.bench.add(&topic, "plain").unwrap();
    all.send(&topic, "p", "a");
    let event = Idempotent { producer: b"p", iid: b"z" };
    let missing = topic.record_idempotent(event, EventId::new(1, 1)).unwrap_err();
    assert_eq!(missing.to_string(), "ERR No such message in stream");
    let ticket = topic.record_idempotent(event, plain).unwrap().unwrap();
    all.bench.engine().kick();
    wait(topic.committed(ticket)).unwrap();
    assert!(topic.record_idempotent(event, plain).unwrap().is_none());
    let taken = Idempotent { producer: b"p", iid: b"a" };
    assert!(topic.record_idempotent(taken, plain).is_err());
    drop(topic);
    all.bench.crash(1);
    assert_eq!(all.send(&all.bench.topic("t"), "p", "z"), plain);
}

/// The journal may reach the disk before a partition does. What power took then may be sent again, however often the
/// server starts in between and whatever stands in the place of the lost event.
#[test]
fn the_records_of_lost_events_stay_forgotten() {
    let mut all = Producers::new(1);
    let topic = all.bench.topic("t");
    let first = all.send(&topic, "p", "a");
    let lost = all.send(&topic, "p", "b");
    drop(topic);
    // The journal is told of all.
    all.bench.stop();
    let text = all.bench.content("t-1.txt");
    let first_line = text.split_inclusive('\n').next().unwrap();
    all.bench.put("t-1.txt", first_line.as_bytes());
    all.bench.start().unwrap();
    all.bench.add(&all.bench.topic("t"), "other").unwrap();
    for _ in 0..2 {
        all.bench.kill();
    }
    let topic = all.bench.topic("t");
    assert_eq!(all.send(&topic, "p", "a"), first);
    let again = all.send(&topic, "p", "b");
    assert!(again > lost);
    assert_eq!(values(&topic), ["p/a", "other", "p/b"]);
    drop(topic);
    all.bench.kill();
    assert_eq!(all.send(&all.bench.topic("t"), "p", "b"), again);
}

/// Producers send, and send again, while power is lost again and again: every event is there once.
#[test]
fn exactly_once_over_crashes() {
    for seed in 0..6 {
        let mut all = Producers::new(1 + u16::try_from(seed % 3).unwrap());
        let mut rng = Rng(seed);
        let mut answered: BTreeMap<(u64, u64), EventId> = BTreeMap::new();
        for round in 0..6 {
            let topic = all.bench.topic("t");
            for _ in 0..40 {
                let (pid, iid) = (rng.below(3), rng.below(25));
                let names = (format!("p{pid}"), format!("i{iid}"));
                let Ok(appended) = all.accept(&topic, names.0.as_bytes(), names.1.as_bytes(), None) else {
                    break;
                };
                if let Some(id) = answered.get(&(pid, iid)) {
                    assert_eq!(*id, appended.id);
                }
                if rng.one_in(3) {
                    // Nobody waits for it: power may take it.
                    continue;
                }
                all.bench.engine().kick();
                wait(topic.committed(appended.ticket)).unwrap();
                answered.insert((pid, iid), appended.id);
                if rng.one_in(20) {
                    let _ = all.bench.delete(&topic, &[appended.id]).unwrap();
                    answered.insert((pid, iid), appended.id);
                }
            }
            drop(topic);
            all.bench.crash(seed * 100 + round);
            let topic = all.bench.topic("t");
            let found = read(&topic, &ALL).unwrap();
            let mut values = crate::support::strings(&found);
            values.sort();
            let once = values.len();
            values.dedup();
            assert_eq!(once, values.len(), "seed {seed}, round {round}: an event is there twice");
            assert!(ids(&found).is_sorted());
            for ((pid, iid), id) in &answered {
                let again = all.send(&topic, &format!("p{pid}"), &format!("i{iid}"));
                assert_eq!(again, *id, "seed {seed}, round {round}: p{pid} i{iid}");
            }
        }
    }
}

/// What a partition that is missing says of producers is told to nobody, whatever else the journal is told meanwhile.
#[test]
fn a_start_without_a_partition_forgets_nothing() {
    for (is_told, makes_snapshot) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut producers = Producers::new(2);
        let topic = producers.bench.topic("t");
        let send = |producers: &Producers, topic: &Arc<Topic>, iid: u8| {
            producers.pass(1);
            let accepted = producers.accept(topic, b"p", &[iid], None).unwrap();
            producers.bench.engine().kick();
            wait(topic.committed(accepted.ticket)).unwrap();
            accepted
        };
        let sent: Vec<EventId> = (b'0'..b'4').map(|iid| send(&producers, &topic, iid).id).collect();
        let known = Idempotent { producer: b"q", iid: b"known" };
        if is_told {
            let ticket = topic.record_idempotent(known, sent[1]).unwrap();
            producers.bench.commit(&topic, ticket);
        }
        drop(topic);
        producers.bench.kill_only();
        let text = producers.bench.content("t-1.txt");
        let fs: &dyn FileSystem = producers.bench.fs();
        fs.remove(&path("t-1.txt")).unwrap();
        let before = producers.bench.options.journal_snapshot_bytes;
        if makes_snapshot {
            producers.bench.options.journal_snapshot_bytes = 0;
        }
        producers.bench.start().unwrap();
        let topic = producers.bench.topic("t");
        assert!(is_offline(&topic, 1));
        for group in [b"g", b"h"] {
            let ticket = topic.create_group(group, GroupStart::Id(EventId::MIN), None).unwrap();
            producers.bench.commit(&topic, ticket);
        }
        drop(topic);
        producers.bench.stop();
        producers.bench.options.journal_snapshot_bytes = before;
        producers.bench.put("t-1.txt", text.as_bytes());
        producers.bench.start().unwrap();
        let topic = producers.bench.topic("t");
        for (iid, id) in (b'0'..b'4').zip(&sent) {
            let accepted = send(&producers, &topic, iid);
            assert_eq!((accepted.id, accepted.duplicate), (*id, true), "{is_told} {makes_snapshot}");
        }
        let recorded = topic.record_idempotent(known, sent[1]).unwrap();
        assert_eq!(recorded.is_none(), is_told, "{makes_snapshot}");
        assert_eq!(values(&topic).len(), 4);
    }
}
