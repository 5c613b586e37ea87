//! Transactions as an application uses them: events are consumed, others are produced and the first are acknowledged in
//! one `EXEC`, while the server is killed again and again. Every event has its effect exactly once.
//!
//! `WAFKA_TEST_CRASH_ROUNDS` sets the number of rounds; there are more if no server was killed in the middle of a transaction.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fastrand::Rng;
use wafka_tests::{Client, Reply, Setup, payload, plugins};

const ROUNDS: u64 = 25;
/// Where the events are in other backends.
const ROUNDS_ELSEWHERE: u64 = 8;
/// How many more there may be while none has come in the middle of a transaction.
const MORE_ROUNDS: u64 = 200;
const WORKERS: usize = 3;
const POLICIES: [&str; 3] = ["always", "everysec", "no"];

/// Sends commands together and returns all replies.
fn pipeline(client: &mut Client, commands: &[Vec<String>]) -> io::Result<Vec<Reply>> {
    let mut bytes = Vec::new();
    for command in commands {
        wafka_tests::client::encode(&mut bytes, command);
    }
    client.try_send_raw(&bytes)?;
    commands.iter().map(|_| client.try_reply()).collect()
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// The ids and values in a reply of `XREADGROUP` on one topic.
fn entries(reply: &Reply) -> Vec<(String, String)> {
    if matches!(reply, Reply::Nil) {
        return Vec::new();
    }
    let streams = reply.array();
    let entries = streams.first().map(|stream| stream.array()[1].array()).unwrap_or_default();
    entries
        .iter()
        .map(|entry| {
            let parts = entry.array();
            (parts[0].text().to_owned(), parts[1].array()[1].text().to_owned())
        })
        .collect()
}

/// Consumes, produces and acknowledges, until there is nothing left or the server is gone: first what this consumer was
/// given before and may not have finished.
fn work(addr: SocketAddr, name: &str, done: &AtomicU64) -> io::Result<()> {
    let mut client = Client::try_connect(addr)?;
    let mut new = false;
    loop {
        let from = if new { ">" } else { "0" };
        let read =
            client.try_call(&words(&format!("XREADGROUP GROUP g {name} COUNT 3 STREAMS in {from}")))?;
        let entries = entries(&read);
        if entries.is_empty() && new {
            return Ok(());
        }
        new |= entries.is_empty();
        if entries.is_empty() {
            continue;
        }
        let mut commands = vec![words("MULTI")];
        for (id, value) in &entries {
            commands.push(words(&format!("XADD out * value {value}")));
            commands.push(words(&format!("XADD audit * of {id}")));
        }
        let ids: Vec<&str> = entries.iter().map(|(id, _)| id.as_str()).collect();
        commands.push(words(&format!("XACK in g {}", ids.join(" "))));
        // Topics that come and go with the transaction.
        commands.push(words(&format!("XADD {} * f v", format_args!("made-by-{name}"))));
        commands.push(words("EXEC"));
        let replies = pipeline(&mut client, &commands)?;
        let replies = replies.last().unwrap().array().to_vec();
        assert!(replies.iter().all(|reply| !reply.is_error("")), "{replies:?}");
        assert_eq!(replies[replies.len() - 2].int(), ids.len() as i64);
        done.fetch_add(ids.len() as u64, Ordering::SeqCst);
    }
}

/// How often each value is in a topic.
fn counts(client: &mut Client, topic: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for entry in client.run(&format!("XRANGE {topic} - +")).array() {
        *counts.entry(entry.array()[1].array()[1].text().to_owned()).or_default() += 1;
    }
    counts
}

/// The lines that say which transactions were taken back, of those that the log of transactions still has.
fn taken_back(setup: &Setup) -> Vec<String> {
    let log = std::fs::read_to_string(setup.data_dir().join("wafka.transactions.txt")).unwrap_or_default();
    log.lines().filter(|line| line.contains("\"type\":\"undone\"")).map(str::to_owned).collect()
}

#[test]
fn every_event_has_its_effect_once_however_often_the_server_is_killed() {
    exactly_once(&Setup::new(), ROUNDS);
}

/// What is consumed, what is produced and what is noted are in three backends.
#[test]
fn so_it_has_over_several_backends() {
    let rest = "[topics.in]\nbackend = \"sqlite\"\n[topics.audit]\nbackend = \"redb\"\n";
    exactly_once(&plugins::with_backends(Setup::new(), rest), ROUNDS_ELSEWHERE);
}

fn exactly_once(setup: &Setup, rounds: u64) {
    let rounds = std::env::var("WAFKA_TEST_CRASH_ROUNDS").map_or(rounds, |rounds| rounds.parse().unwrap());
    let mut rng = Rng::with_seed(payload::seed());
    let setup = setup.clone().brokers(2);
    let mut values = 0_u32;
    let mut undone = BTreeSet::new();
    for round in 0.. {
        let policy = POLICIES[round as usize % POLICIES.len()];
        let server = setup.clone().set("storage.fsync", policy).start();
        // At every start: the log is compacted now and then.
        undone.extend(taken_back(&setup));
        let last = round >= rounds && (!undone.is_empty() || round >= rounds + MORE_ROUNDS);
        let addr = server.addr();
        let mut client = server.client();
        let created = client.run("XGROUP CREATE in g 0 MKSTREAM");
        assert!(round == 0 || created.is_error("BUSYGROUP"), "{created:?}");
        let commands: Vec<_> = (0..60).map(|n| words(&format!("XADD in * value {}", values + n))).collect();
        pipeline(&mut client, &commands).unwrap();
        values += 60;
        let done = AtomicU64::new(0);
        thread::scope(|scope| {
            let work = |number: usize| {
                let (done, name) = (&done, format!("c{number}"));
                scope.spawn(move || work(addr, &name, done))
            };
            let workers: Vec<_> = (0..WORKERS).map(work).collect();
            if last {
                workers.into_iter().for_each(|worker| worker.join().unwrap().unwrap());
                return;
            }
            let target = rng.u64(0..50);
            // At a moment that the scheduler chooses, soon after.
            while done.load(Ordering::SeqCst) < target && !workers.iter().all(|worker| worker.is_finished()) {
                thread::yield_now();
            }
            server.kill();
        });
        println!("round {round} with fsync = {policy}: {} done", done.into_inner());
        if last {
            break;
        }
    }
    let server = setup.start();
    let mut client = server.client();
    let out = counts(&mut client, "out");
    let expected: BTreeMap<String, u32> = (0..values).map(|value| (value.to_string(), 1)).collect();
    let wrong: Vec<_> = expected.keys().filter(|value| out.get(*value) != Some(&1)).collect();
    assert!(wrong.is_empty() && out.len() == expected.len(), "not exactly once: {wrong:?}");
    let audit = counts(&mut client, "audit");
    assert!(audit.len() == expected.len() && audit.values().all(|count| *count == 1));
    assert_eq!(client.run("XPENDING in g").array()[0].int(), 0);
    println!("{} transactions were taken back", undone.len());
    assert!(!undone.is_empty(), "no server was killed in the middle of a transaction: this showed nothing");
}
