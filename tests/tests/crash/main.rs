//! `kill -9` while producing, again and again on the same data: what was answered, or seen by a reader, is there exactly
//! once and in order; what was not answered is there whole or not at all; the files are whole.
//!
//! `WAFKA_TEST_CRASH_ROUNDS` sets the number of rounds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

mod ledger;
mod producer;

use std::sync::{Condvar, Mutex};
use std::thread;

use fastrand::Rng;
use ledger::Ledger;
use wafka_tests::events::{self, Id};
use wafka_tests::{PATIENCE, Server, Setup, log_file, payload, plugins};

const ROUNDS: u64 = 60;
/// Where the events are in another backend.
const ROUNDS_ELSEWHERE: u64 = 9;
/// Every so many rounds everything is checked, in the others what is new.
const WHOLE_EVERY: u64 = 16;
/// Taken in turn: with each of them a process that is killed loses nothing that it answered. Not so where events are in
/// redb: what is not synced there is nowhere but in the process.
const POLICIES: [&str; 3] = ["always", "everysec", "no"];
const BROKERS: u16 = 3;

/// What is done to a topic beside appending to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nothing.
    Append,
    /// Single events are deleted.
    Delete,
    /// It is trimmed by id.
    Trim,
}

/// Counts replies until there are enough to kill the server.
#[derive(Default)]
pub struct Replies {
    count: Mutex<u64>,
    grew: Condvar,
}

impl Replies {
    /// Counts more of them.
    pub fn add(&self, replies: u64) {
        *self.count.lock().unwrap() += replies;
        self.grew.notify_all();
    }

    fn wait_for(&self, replies: u64) {
        let count = self.count.lock().unwrap();
        let (count, waited) =
            self.grew.wait_timeout_while(count, PATIENCE, |count| *count < replies).unwrap();
        assert!(!waited.timed_out(), "only {count} replies came");
    }
}

#[test]
fn killed_while_producing() {
    killed_on(Setup::new(), ROUNDS, &POLICIES, true);
}

#[test]
fn killed_while_producing_to_sqlite() {
    killed_on(plugins::in_backend(Setup::new(), "sqlite"), ROUNDS_ELSEWHERE, &POLICIES, false);
}

#[test]
fn killed_while_producing_to_redb() {
    killed_on(plugins::in_backend(Setup::new(), "redb"), ROUNDS_ELSEWHERE, &POLICIES[..1], false);
}

/// Each topic is in another backend.
#[test]
fn killed_while_producing_to_several_backends() {
    let rest = "[topics.append]\nbackend = \"sqlite\"\n[topics.delete]\nbackend = \"redb\"\n[topics.trim]\n";
    killed_on(plugins::with_backends(Setup::new(), rest), ROUNDS_ELSEWHERE, &POLICIES[..1], false);
}

/// `has_files` says whether the topics' events can be looked for in files of text.
fn killed_on(setup: Setup, rounds: u64, policies: &[&str], has_files: bool) {
    let rounds = std::env::var("WAFKA_TEST_CRASH_ROUNDS").map_or(rounds, |rounds| rounds.parse().unwrap());
    let mut rng = Rng::with_seed(payload::seed());
    let setup = setup.brokers(BROKERS).set("storage.tail_bytes", "1mb");
    let setup = setup.set("storage.reclaim_dead_bytes_min", "16kb");
    let mut ledgers = [("append", Kind::Append), ("delete", Kind::Delete), ("trim", Kind::Trim)]
        .map(|(topic, kind)| Ledger::new(topic, kind));
    let start = |round: u64| {
        let policy = policies[round as usize % policies.len()];
        println!("round {round} with fsync = {policy}");
        setup.clone().set("storage.fsync", policy).start()
    };
    let mut server = start(0);
    for round in 0..rounds {
        // At times at once, at times when thousands are on their way.
        let target = if rng.bool() { rng.u64(1..50) } else { rng.u64(50..2_000) };
        run(server, round, target, &mut ledgers);
        let whole = round % WHOLE_EVERY == WHOLE_EVERY - 1 || round == rounds - 1;
        if has_files {
            ledgers.iter().for_each(|ledger| check_files_after_crash(&setup, ledger, whole));
        }
        server = start(round + 1);
        let mut client = server.client();
        for ledger in &mut ledgers {
            ledger.check(&mut client, whole);
        }
    }
    server.stop();
    if has_files {
        ledgers.iter().for_each(|ledger| ledger.check_files(setup.data_dir(), BROKERS));
    }
    let events: usize = ledgers.iter().map(Ledger::len).sum();
    println!("{rounds} rounds, {events} events at the end");
}

/// Produces to all topics until there are so many replies, then kills the server.
fn run(server: Server, round: u64, target: u64, ledgers: &mut [Ledger; 3]) {
    let replies = Replies::default();
    let addr = server.addr();
    thread::scope(|scope| {
        let replies = &replies;
        let mut producers = Vec::new();
        for (at, ledger) in ledgers.iter().enumerate() {
            for number in 0..2 {
                let producer = round * 10 + at as u64 * 2 + number;
                let (topic, kind) = (ledger.topic, ledger.kind);
                producers
                    .push((at, scope.spawn(move || producer::run(addr, topic, kind, producer, replies))));
            }
        }
        let from = ledgers[0].last();
        let reader = scope.spawn(move || producer::follow(addr, "append", from));
        replies.wait_for(target);
        server.kill();
        for (at, producer) in producers {
            ledgers[at].note(producer.join().unwrap());
        }
        ledgers[0].note_seen(reader.join().unwrap());
    });
}

/// Before the server repairs anything: whole lines, and at the end perhaps a torn one.
fn check_files_after_crash(setup: &Setup, ledger: &Ledger, whole: bool) {
    const END: usize = 64 * 1024;
    for partition in 1..=BROKERS {
        let path = log_file::path(setup.data_dir(), ledger.topic, partition);
        // A server that was killed at once has not made the topic.
        let Ok(content) = std::fs::read(&path) else { continue };
        let from = content.len().saturating_sub(if whole { usize::MAX } else { END });
        let from =
            if from == 0 { 0 } else { from + content[from..].iter().position(|b| *b == b'\n').unwrap() + 1 };
        let (lines, _torn) = log_file::read_whole_lines(&path, &content[from..]);
        assert!(lines.iter().all(|line| line.partition == partition), "{}", path.display());
    }
}

/// All of a topic above `after`, in order.
fn read_after(client: &mut wafka_tests::Client, topic: &str, after: Id) -> Vec<events::Event> {
    let found = events::read_after(client, topic.as_bytes(), after);
    events::assert_ascending(&found);
    found
}
