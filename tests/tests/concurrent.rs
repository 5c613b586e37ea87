//! Many clients at once on one topic, at 1, 2 and 4 partitions: nothing is lost, duplicated, reordered, or seen before it
//! is written; who resumes from the last id sees everything.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use fastrand::Rng;
use wafka_tests::events::{self, Event, Fields, Id};
use wafka_tests::{Client, Reply, Server, Setup, client, log_file, payload, plugins};

const KEY: &str = "load";
const PRODUCERS: u64 = 8;
const EVENTS_EACH: u64 = 400;
const BATCH_MAX: u64 = 24;

#[test]
fn one_partition() {
    nothing_is_lost_or_reordered(1);
}

#[test]
fn two_partitions() {
    nothing_is_lost_or_reordered(2);
}

#[test]
fn four_partitions() {
    nothing_is_lost_or_reordered(4);
}

/// What the producers know to be there.
#[derive(Default)]
struct Acknowledged {
    events: Mutex<BTreeMap<Id, Fields>>,
    /// The number of producers that are done.
    done: AtomicU64,
}

impl Acknowledged {
    fn producer_done(&self) {
        self.done.fetch_add(1, Ordering::AcqRel);
    }

    fn is_complete(&self) -> bool {
        self.done.load(Ordering::Acquire) == PRODUCERS
    }

    /// The highest id when no producer runs any more.
    fn end(&self) -> Option<Id> {
        self.is_complete().then(|| *self.events.lock().unwrap().last_key_value().unwrap().0)
    }
}

#[test]
fn in_every_backend() {
    for backend in plugins::BACKENDS {
        nothing_is_lost_on(plugins::in_backend(Setup::new(), backend), 2, false);
        deleting_and_trimming_on(plugins::in_backend(Setup::new(), backend));
    }
}

fn nothing_is_lost_or_reordered(partitions: u16) {
    nothing_is_lost_on(Setup::new(), partitions, true);
}

/// `has_files` says whether the topic's events can be looked for in files of text.
fn nothing_is_lost_on(setup: Setup, partitions: u16, has_files: bool) {
    let server = setup.brokers(partitions).set("storage.tail_bytes", "256kb").start();
    // So that readers know the topic's partitions from the start.
    let mut client = server.client();
    assert_eq!(client.call(&["TOPIC", "CREATE", KEY]), Reply::Status("OK".to_owned()));
    let acknowledged = Acknowledged::default();
    let (tails, snapshots, parts) = thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let (server, acknowledged) = (&server, &acknowledged);
            scope.spawn(move || {
                produce(server, producer, acknowledged);
                acknowledged.producer_done();
            });
        }
        let tails: Vec<_> = (0..4)
            .map(|reader| {
                let (server, acknowledged) = (&server, &acknowledged);
                let in_files = (has_files && reader == 0).then_some(partitions);
                scope.spawn(move || follow(server, reader, in_files, acknowledged))
            })
            .collect();
        let snapshots = scope.spawn(|| snapshots(&server, &acknowledged));
        let parts: Vec<_> = (1..=partitions)
            .map(|partition| {
                let (server, acknowledged) = (&server, &acknowledged);
                scope.spawn(move || follow_partition(server, partition, acknowledged))
            })
            .collect();
        let tails: Vec<Vec<Event>> = tails.into_iter().map(|thread| thread.join().unwrap()).collect();
        let parts: Vec<Vec<Event>> = parts.into_iter().map(|thread| thread.join().unwrap()).collect();
        (tails, snapshots.join().unwrap(), parts)
    });
    let expected: Vec<Event> = acknowledged.events.into_inner().unwrap().into_iter().collect();
    assert_eq!(expected.len() as u64, PRODUCERS * EVENTS_EACH);
    let found = events::read_all(&mut client, KEY.as_bytes());
    assert!(found == expected, "XRANGE gives {} events, {} were acknowledged", found.len(), expected.len());
    for tail in tails {
        assert!(tail == expected, "a reader saw {} events of {}", tail.len(), expected.len());
    }
    for snapshot in snapshots {
        let known: Vec<Id> = expected.iter().take(snapshot.len()).map(|(id, _)| *id).collect();
        assert!(snapshot == known, "a read of {} events is no beginning of the topic", snapshot.len());
    }
    check_order_of_each_producer(&expected);
    check_partitions(has_files.then_some(&server), &parts, &expected);
    server.stop();
}

/// Appends in pipelines of any length; what is answered must be readable at once, on any connection.
fn produce(server: &Server, producer: u64, acknowledged: &Acknowledged) {
    let mut rng = Rng::with_seed(payload::seed() ^ producer);
    let (mut client, mut other) = (server.client(), server.client());
    let mut n = 0;
    while n < EVENTS_EACH {
        let batch = rng.u64(1..=BATCH_MAX).min(EVENTS_EACH - n);
        let mut request = Vec::new();
        for n in n..n + batch {
            let mut args = vec![b"XADD".to_vec(), KEY.into(), b"*".to_vec()];
            args.extend(payload::fields(producer, n));
            client::encode(&mut request, &args);
        }
        client.send_raw(&request);
        let mut last = Id::MIN;
        for n in n..n + batch {
            let id = Id::parse(client.reply().text());
            assert!(last < id, "{id} was answered after {last}");
            last = id;
            let before = acknowledged.events.lock().unwrap().insert(id, payload::fields(producer, n));
            assert_eq!(before, None, "id {id} was given twice");
        }
        n += batch;
        let id = last.to_string();
        let read = events::events(&other.call(&["XRANGE", KEY, &id, &id]));
        assert_eq!(read, [(last, payload::fields(producer, n - 1))], "not readable though answered");
    }
}

/// Follows the topic from its beginning, resuming from the last id each time.
/// One with `in_files` looks into that many files for everything that it gets.
fn follow(server: &Server, reader: u64, in_files: Option<u16>, acknowledged: &Acknowledged) -> Vec<Event> {
    let mut rng = Rng::with_seed(reader);
    let mut client =
        if reader.is_multiple_of(2) { server.client() } else { Client::connect_resp3(server.addr()) };
    let mut files = in_files.map(|partitions| Files::open(server, partitions));
    let mut seen: Vec<Event> = Vec::new();
    let mut last = Id::MIN;
    while acknowledged.end().is_none_or(|end| last < end) {
        let count = rng.usize(1..200).to_string();
        let reply =
            client.call(&["XREAD", "COUNT", &count, "BLOCK", "200", "STREAMS", KEY, &last.to_string()]);
        for (_, events) in events::by_key(&reply) {
            if let Some(files) = &mut files {
                files.must_hold(&events);
            }
            seen.extend(events);
        }
        last = seen.last().map_or(Id::MIN, |(id, _)| *id);
        if rng.u8(..20) == 0 {
            client = server.client();
        }
    }
    seen
}

fn follow_partition(server: &Server, partition: u16, acknowledged: &Acknowledged) -> Vec<Event> {
    let key = format!("{KEY}#{partition}");
    let mut client = server.client();
    let mut seen: Vec<Event> = Vec::new();
    loop {
        let complete = acknowledged.is_complete();
        let last = seen.last().map_or(Id::MIN, |(id, _)| *id).to_string();
        let reply = client.call(&["XREAD", "COUNT", "100", "BLOCK", "20", "STREAMS", &key, &last]);
        let new: Vec<Event> = events::by_key(&reply).into_iter().flat_map(|(_, events)| events).collect();
        // What was empty after the last producer's last reply stays so.
        if new.is_empty() && complete {
            return seen;
        }
        seen.extend(new);
    }
}

/// Reads the topic from its beginning again and again: each time what was there before must come first.
fn snapshots(server: &Server, acknowledged: &Acknowledged) -> Vec<Vec<Id>> {
    let mut client = server.client();
    let mut snapshots = Vec::new();
    while !acknowledged.is_complete() {
        let known = acknowledged.events.lock().unwrap().len();
        let ids: Vec<Id> =
            events::read_all(&mut client, KEY.as_bytes()).into_iter().map(|(id, _)| id).collect();
        assert!(ids.len() >= known, "{} events, though {known} were acknowledged before", ids.len());
        snapshots.push(ids);
    }
    snapshots
}

/// The ids that stand in a topic's files so far.
struct Files {
    files: Vec<(File, Vec<u8>)>,
    ids: HashSet<Id>,
}

impl Files {
    fn open(server: &Server, partitions: u16) -> Self {
        let path = |partition| log_file::path(server.data_dir(), KEY, partition);
        let files =
            (1..=partitions).map(|partition| (File::open(path(partition)).unwrap(), Vec::new())).collect();
        Files { files, ids: HashSet::new() }
    }

    /// What a reader got must have been written before.
    fn must_hold(&mut self, events: &[Event]) {
        for (file, rest) in &mut self.files {
            file.read_to_end(rest).unwrap();
            let end = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            for line in rest.drain(..end).as_slice().split_inclusive(|byte| *byte == b'\n') {
                self.ids.insert(log_file::Line::parse(&line[..line.len() - 1]).unwrap().id);
            }
        }
        for (id, _) in events {
            assert!(self.ids.contains(id), "event {id} was seen before it was written");
        }
    }
}

fn check_order_of_each_producer(events: &[Event]) {
    let mut next = vec![0; PRODUCERS as usize];
    for (id, fields) in events {
        let (producer, n) = payload::identify(fields);
        assert_eq!(n, next[producer as usize], "producer {producer} at {id}");
        next[producer as usize] += 1;
    }
}

/// Partitions are ordered, disjoint, even, together the topic, and the same in their files if there are such.
fn check_partitions(with_files: Option<&Server>, parts: &[Vec<Event>], expected: &[Event]) {
    let mut together = BTreeSet::new();
    for (partition, part) in (1..).zip(parts) {
        events::assert_ascending(part);
        if let Some(server) = with_files {
            let lines = log_file::read(server.data_dir(), KEY, partition);
            let offsets: Vec<u64> = lines.iter().map(|line| line.offset).collect();
            assert!(offsets.iter().copied().eq(0..lines.len() as u64), "offsets are not dense: {offsets:?}");
            let written: Vec<Event> = lines.into_iter().map(log_file::Line::event).collect();
            assert!(&written == part, "{KEY}#{partition} is not what its file holds");
        }
        let fair = expected.len() / parts.len();
        assert!(
            part.len().abs_diff(fair) <= 1,
            "round-robin gave partition {partition} {} of {}",
            part.len(),
            expected.len()
        );
        together.extend(part.iter().map(|(id, _)| *id));
    }
    assert!(
        together.into_iter().eq(expected.iter().map(|(id, _)| *id)),
        "the partitions together are not the topic"
    );
}

/// With deletions and trimming under way, too: what nobody deleted is seen by every reader, and in the end the topic
/// holds exactly what is left.
#[test]
fn deleting_and_trimming_under_load() {
    deleting_and_trimming_on(Setup::new());
}

fn deleting_and_trimming_on(setup: Setup) {
    let setup =
        setup.brokers(4).set("storage.tail_bytes", "64kb").set("storage.reclaim_dead_bytes_min", "8kb");
    let server = setup.start();
    let producing = AtomicBool::new(true);
    let kept = Mutex::new(BTreeMap::new());
    let (deleted, seen) = thread::scope(|scope| {
        let producers: Vec<_> = (0..6)
            .map(|producer| {
                scope.spawn({
                    let (server, kept) = (&server, &kept);
                    move || produce_and_delete(server, producer, kept)
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut client = server.client();
            let mut seen: Vec<Event> = Vec::new();
            loop {
                let more = producing.load(Ordering::Acquire);
                let last = seen.last().map_or(Id::MIN, |(id, _)| *id);
                let new = events::read_after(&mut client, KEY.as_bytes(), last);
                if !more && new.is_empty() {
                    return seen;
                }
                seen.extend(new);
            }
        });
        let deleted: usize = producers.into_iter().map(|thread| thread.join().unwrap()).sum();
        producing.store(false, Ordering::Release);
        (deleted, reader.join().unwrap())
    });
    let kept: Vec<Event> = kept.into_inner().unwrap().into_iter().collect();
    events::assert_ascending(&seen);
    let seen: BTreeMap<Id, Fields> = seen.into_iter().collect();
    for (id, fields) in &kept {
        assert_eq!(seen.get(id), Some(fields), "event {id}, which nobody deleted");
    }
    let mut client = server.client();
    check_left(&mut client, &kept, kept.len() + deleted);
    let trimmed = client.call(&["XTRIM", KEY, "MAXLEN", "500"]).int();
    assert_eq!(trimmed as usize, kept.len() - 500);
    let kept = &kept[kept.len() - 500..];
    check_left(&mut client, kept, trimmed as usize + 500 + deleted);
    let server = server.kill().start();
    check_left(&mut server.client(), kept, trimmed as usize + 500 + deleted);
}

#[track_caller]
fn check_left(client: &mut Client, kept: &[Event], added: usize) {
    let found = events::read_all(client, KEY.as_bytes());
    assert!(found == kept, "{} events are left, expected {}", found.len(), kept.len());
    let info = client.call(&["XINFO", "STREAM", KEY]);
    assert_eq!(
        (info.get("length").int(), info.get("entries-added").int()),
        (kept.len() as i64, added as i64)
    );
}

/// Appends, and deletes about half of it again; returns how many it deleted.
fn produce_and_delete(server: &Server, producer: u64, kept: &Mutex<BTreeMap<Id, Fields>>) -> usize {
    let mut client = server.client();
    let mut rng = Rng::with_seed(payload::seed() ^ producer);
    let mut own: Vec<Event> = Vec::new();
    let mut deleted = 0;
    for n in 0..500 {
        let fields = payload::fields(producer, n);
        let mut args = vec![b"XADD".to_vec(), KEY.into(), b"*".to_vec()];
        args.extend(fields.iter().cloned());
        own.push((Id::parse(client.call(&args).text()), fields));
        if rng.bool() {
            let (id, _) = own.swap_remove(rng.usize(..own.len()));
            assert_eq!(
                client.call(&["XDEL", KEY, &id.to_string()]),
                Reply::Int(1),
                "event {id} was not there"
            );
            deleted += 1;
        }
    }
    kept.lock().unwrap().extend(own);
    deleted
}
