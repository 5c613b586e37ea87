//! Servers that die, sleep and come back while a log is written: what was acknowledged is there, once and in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use wafka_core::storage::{Batch, Cursor, Shard, StorageError};
use wafka_storage::conformance::line_of;

use super::cluster::Cluster;
use super::*;
use crate::Options;

/// So many commits show that the log goes on.
const COMMITS: u64 = 20;

/// What a writer that goes on and on has been told is durable.
#[derive(Default)]
pub(super) struct Told {
    lines: Vec<Vec<u8>>,
    commits: u64,
    pub(super) failures: u64,
}

/// How often each server fails: `$WAFKA_TEST_NATS_ROUNDS`, else once.
fn rounds() -> usize {
    std::env::var("WAFKA_TEST_NATS_ROUNDS").map_or(1, |rounds| rounds.parse().expect("a number of rounds"))
}

/// A writer under way, on its own thread.
pub(super) struct Load {
    told: Arc<(Mutex<Told>, Condvar)>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Load {
    pub(super) fn start(mut shard: Box<dyn Shard>) -> Self {
        let told: Arc<(Mutex<Told>, Condvar)> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (telling, stopped) = (Arc::clone(&told), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let slot = create(&mut *shard, "a-1").slot;
            let mut attempt = 0;
            while !stopped.load(Ordering::SeqCst) {
                attempt += 1;
                let end = telling.0.lock().lines.len() as u64;
                // No line is like the one that an earlier attempt had in its place.
                let lines: Vec<Vec<u8>> =
                    (0..attempt % 90 + 1).map(|at| line_of(end + at, (attempt % 1000) as usize)).collect();
                // In two batches, both on their way at once.
                let mut first_offset = end;
                let mut appended = true;
                for half in lines.chunks(lines.len().div_ceil(2)) {
                    let batch = Batch { first_offset, lines: half.len() as u64, bytes: &half.concat() };
                    appended = appended && shard.append(slot, batch).is_ok();
                    first_offset += half.len() as u64;
                }
                let durable = sync(&mut *shard).is_empty() && appended;
                let mut told = telling.0.lock();
                if durable {
                    told.lines.extend(lines);
                    told.commits += 1;
                } else {
                    told.failures += 1;
                    drop(told);
                    telling.1.notify_all();
                    let begun = Instant::now();
                    while let Err(error) = shard.reopen(slot, Cursor::at_offset(end)) {
                        assert!(begun.elapsed() < PATIENCE, "{error}");
                    }
                }
                telling.1.notify_all();
            }
        });
        Load { told, stop, thread: Some(thread) }
    }

    /// Waits until the log has gone on.
    #[track_caller]
    pub(super) fn goes_on(&self) {
        let mut told = self.told.0.lock();
        let (wanted, deadline) = (told.commits + COMMITS, Instant::now() + PATIENCE);
        while told.commits < wanted {
            let late = self.told.1.wait_until(&mut told, deadline).timed_out();
            assert!(!late, "the log does not go on: {} commits, {} failures", told.commits, told.failures);
        }
    }

    /// Waits until a commit has failed.
    #[track_caller]
    fn fails(&self) {
        let mut told = self.told.0.lock();
        let (wanted, deadline) = (told.failures + 1, Instant::now() + PATIENCE);
        while told.failures < wanted {
            let late = self.told.1.wait_until(&mut told, deadline).timed_out();
            assert!(!late, "nothing fails: {} commits", told.commits);
        }
    }

    /// Ends, and returns what is durable.
    pub(super) fn end(mut self) -> Told {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().expect("it runs").join().expect("the writer found what it expected");
        std::mem::take(&mut *self.told.0.lock())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

pub(super) fn stream(storage: &JetStreamStorage) -> String {
    storage.home().logs.lock()[&log("a-1")].stream.clone()
}

fn leader(cluster: &Cluster, storage: &JetStreamStorage) -> usize {
    cluster.leader(&stream(storage)).expect("a leader")
}

fn caught_up(cluster: &Cluster, storage: &JetStreamStorage) {
    cluster.wait_until_whole(&[stream(storage)]).expect("servers that catch up");
}

/// Opens the backend anew and compares the log with what is durable. Behind it there may be lines of the last attempt.
#[track_caller]
pub(super) fn assert_kept(cluster: &Cluster, prefix: &str, told: &Told) {
    let storage = cluster.open(prefix);
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    let found = read_all(&*opened.reader);
    let expected = told.lines.concat();
    assert!(found.starts_with(&expected), "{} bytes, expected {}", found.len(), expected.len());
    assert_eq!(found.len(), expected.len(), "more than was ever told of");
}

/// A backend that gives up long before a new leader is elected.
fn open_impatient(cluster: &Cluster, prefix: &str) -> JetStreamStorage {
    let impatient = Options {
        prefix: prefix.into(),
        publish_timeout_ms: 200,
        give_up_ms: 600,
        request_timeout_ms: 1500,
        ..cluster.options()
    };
    let storage = crate::open("".as_ref(), impatient).expect("open");
    own_as(&storage, "test");
    storage
}

#[test]
fn nothing_is_lost_when_servers_are_killed() {
    let mut cluster = Cluster::three();
    let prefix = prefix();
    let storage = cluster.open(&prefix);
    let load = Load::start(shard(&storage));
    load.goes_on();
    let first = leader(&cluster, &storage);
    for _ in 0..rounds() {
        for node in cluster.all_from(first) {
            cluster.kill(node);
            load.goes_on();
            cluster.launch(node);
            load.goes_on();
            caught_up(&cluster, &storage);
        }
        (0..cluster.len()).for_each(|node| cluster.kill(node));
        (0..cluster.len()).for_each(|node| cluster.launch(node));
        load.goes_on();
        caught_up(&cluster, &storage);
    }
    let told = load.end();
    drop(storage);
    assert_kept(&cluster, &prefix, &told);
}

/// The only server of a log is away meanwhile, and has on its disk what it acknowledged; a batch that it was storing is there as a
/// whole or not at all.
#[test]
fn nothing_is_lost_when_the_only_server_is_killed_or_sleeps() {
    let mut cluster = Cluster::start(1, true);
    let prefix = prefix();
    let storage = open_impatient(&cluster, &prefix);
    let load = Load::start(shard(&storage));
    load.goes_on();
    for _ in 0..3 * rounds() {
        cluster.kill(0);
        cluster.launch(0);
        load.goes_on();
        cluster.stop(0);
        load.fails();
        cluster.resume(0);
        load.goes_on();
    }
    let told = load.end();
    drop(storage);
    assert_kept(&cluster, &prefix, &told);
}

/// Appends that fail leave nothing behind, however long what was sent has slept in a server.
#[test]
fn nothing_is_lost_and_nothing_comes_back_when_servers_sleep() {
    let mut cluster = Cluster::three();
    let prefix = prefix();
    let storage = open_impatient(&cluster, &prefix);
    let load = Load::start(shard(&storage));
    load.goes_on();
    let first = leader(&cluster, &storage);
    for _ in 0..rounds() {
        for node in cluster.all_from(first) {
            cluster.stop(node);
            load.goes_on();
            cluster.resume(node);
            load.goes_on();
            caught_up(&cluster, &storage);
        }
        (0..cluster.len()).for_each(|node| cluster.stop(node));
        load.fails();
        (0..cluster.len()).for_each(|node| cluster.resume(node));
        load.goes_on();
        caught_up(&cluster, &storage);
    }
    let told = load.end();
    assert!(told.failures > 0, "no append failed");
    drop(storage);
    assert_kept(&cluster, &prefix, &told);
}

/// Without a majority an append fails in bounded time. What it had sent is unknown then, and never comes up again.
#[test]
fn what_timed_out_is_cut_for_good() {
    let mut cluster = Cluster::three();
    let prefix = prefix();
    let storage = open_impatient(&cluster, &prefix);
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    append(&mut *shard, opened.slot, 0, 50);
    assert!(sync(&mut *shard).is_empty());
    // The leader alone may go on storing, and can promise nothing; the others have what was sent in their sockets.
    let leader = leader(&cluster, &storage);
    let others: Vec<usize> = (0..cluster.len()).filter(|node| *node != leader).collect();
    others.iter().for_each(|node| cluster.stop(*node));
    append(&mut *shard, opened.slot, 50, 90);
    let begun = Instant::now();
    let failures = sync(&mut *shard);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let [SyncFailure { error: StorageError::Io { .. }, .. }] = &failures[..] else { panic!("{failures:?}") };
    let text = failures[0].error.to_string();
    assert!(text.contains("unknown"), "{text}");
    let begun = Instant::now();
    shard.reopen(opened.slot, Cursor::at_offset(50)).expect_err("there is no majority");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    others.iter().for_each(|node| cluster.resume(*node));
    let begun = Instant::now();
    while let Err(error) = shard.reopen(opened.slot, Cursor::at_offset(50)) {
        assert!(begun.elapsed() < PATIENCE, "{error}");
    }
    let bytes: Vec<u8> = (50..70).flat_map(|offset| line_of(offset, 7)).collect();
    shard.append(opened.slot, Batch { first_offset: 50, lines: 20, bytes: &bytes }).expect("append");
    assert!(sync(&mut *shard).is_empty());
    drop((shard, opened));
    drop(storage);
    let lines = (0..50).map(|offset| line_of(offset, (offset * 37 % 200) as usize));
    let lines = lines.chain((50..70).map(|offset| line_of(offset, 7))).collect();
    assert_kept(&cluster, &prefix, &Told { lines, ..Told::default() });
}
