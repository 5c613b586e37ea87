//! Two servers of Wafka's on the same logs: the owner sleeps or dies, and the other one takes over.

use std::time::{Duration, Instant};

use wafka_tests::events::{self, Id};
use wafka_tests::server::wait_until;
use wafka_tests::{Client, PATIENCE, Reply, client, jetstream};

use crate::load::{Load, Work};
use crate::pair::Pair;
use crate::{add, ids, is_long, rounds};

/// Takeovers in a test.
const TAKEOVERS: usize = 3;
/// The owner's right to write ends so long after it was last renewed.
const LEASE: &str = "lease_ms = 2000";

/// Sends events without waiting for the replies.
fn send(client: &mut Client, topic: &str, values: std::ops::Range<usize>) {
    let mut request = Vec::new();
    for value in values {
        client::encode(&mut request, &["XADD", topic, "*", "v", &value.to_string()]);
    }
    client.send_raw(&request);
}

/// The owner is put to sleep, with commands in its sockets and lines on their way, until the other one has taken over. Then
/// it refuses, says why, and nothing of it comes about.
#[test]
fn an_owner_that_slept_never_appends_again() {
    let cluster = jetstream::three();
    let mut pair = Pair::start(&cluster, LEASE);
    let load = Load::start(pair.addresses(), &mut pair.client(0), Work::Transact);
    for round in 0..TAKEOVERS * rounds() {
        load.all_goes_on();
        let owner = pair.owner();
        let mut stale = pair.client(owner);
        assert_eq!(stale.run("XADD stale * v before").text().split('-').count(), 2);
        pair.sleep(owner);
        send(&mut stale, "stale", 0..50);
        load.goes_on();
        assert_eq!(pair.owner(), 1 - owner);
        pair.wake(owner);
        for _ in 0..50 {
            let reply = stale.reply();
            let said = reply.error();
            // The clock may have told the server, or the engine when it tried to write.
            let is_refused = ["FENCED", "LAPSED"].iter().any(|code| said.starts_with(code));
            assert!(is_refused || said.contains("does not own the data"), "{said}");
        }
        wait_until_fenced(&mut stale);
        let said = stale.run("XADD stale * v after");
        assert!(said.error().contains("took it over at epoch"), "{said:?}");
        let read = stale.run("XRANGE in - + COUNT 1");
        assert!(read.is_error("FENCED"), "{read:?}");
        load.all_goes_on();
        // It runs on, and refuses; started anew it stands by.
        assert_eq!(pair.role(owner), "fenced");
        pair.kill(owner);
        pair.launch(owner);
        assert_eq!(pair.role(owner), "standby");
        let refused = pair.client(owner).run("XADD stale * v never");
        assert!(refused.is_error("LOADING Wafka is a standby"), "{refused:?}");
        let mut client = pair.client(1 - owner);
        let kept = events::read_all(&mut client, b"stale");
        assert_eq!(kept.len(), round + 1, "events of an owner that slept: {kept:?}");
    }
    let owner = pair.owner();
    load.end(&mut pair.client(owner));
}

fn wait_until_fenced(client: &mut Client) {
    wait_until("it knows that it lost the data", || client.run("XADD stale * v again").is_error("FENCED"));
}

/// What was answered is all there, consumers' positions and pending events are right, and a transaction is whole or not
/// at all.
#[test]
fn what_was_answered_outlives_the_owner() {
    let cluster = jetstream::three();
    let mut pair = Pair::start(&cluster, LEASE);
    let load = Load::start(pair.addresses(), &mut pair.client(0), Work::Transact);
    for _ in 0..TAKEOVERS * rounds() {
        load.all_goes_on();
        let owner = pair.owner();
        pair.kill(owner);
        load.all_goes_on();
        assert_eq!(pair.owner(), 1 - owner);
        pair.launch(owner);
    }
    let owner = pair.owner();
    let summary = load.end(&mut pair.client(owner));
    // Whoever starts with nothing on its disk has the same.
    pair.kill(owner);
    pair.kill(1 - owner);
    let fresh = jetstream::setup(&cluster, LEASE).start();
    let mut client = fresh.client();
    wait_until("the lease ends", || !client.run("XLEN in").is_error("LOADING"));
    assert_eq!(client.run("XLEN in"), Reply::Int(summary.events as i64));
    assert_eq!(client.run("XPENDING in g").array()[0], Reply::Int(0));
}

/// Of very many topics every event is there once and in order, and each takes more. The long form has a thousand.
#[test]
fn every_one_of_many_topics_is_taken_over() {
    const PRODUCERS: usize = 8;
    const EVENTS: usize = 10;
    let topics = if is_long() { 1000 } else { 40 };
    let cluster = jetstream::three();
    let mut pair = Pair::start(&cluster, "");
    let produce = |pair: &Pair, at: usize, events: std::ops::Range<usize>| {
        let mut added: Vec<Vec<String>> = vec![Vec::new(); topics];
        std::thread::scope(|scope| {
            for (producer, added) in added.chunks_mut(topics.div_ceil(PRODUCERS)).enumerate() {
                let (mut client, events) = (pair.client(at), events.clone());
                scope.spawn(move || {
                    for (topic, added) in added.iter_mut().enumerate() {
                        let topic = format!("t{producer}.{topic}");
                        added.extend(add(&mut client, &topic, events.start, events.len()));
                    }
                });
            }
        });
        added
    };
    let begun = Instant::now();
    let mut expected = produce(&pair, 0, 0..EVENTS);
    let made = begun.elapsed();
    pair.kill(0);
    let begun = Instant::now();
    let mut client = pair.client(1);
    let first = loop {
        match client.run(&format!("XADD t0.0 * n {EVENTS}")) {
            Reply::Error(said) if said.starts_with("LOADING") => {
                assert!(begun.elapsed() < PATIENCE, "{said}");
                std::thread::sleep(Duration::from_millis(5));
            }
            reply => break reply.text().to_owned(),
        }
    };
    println!("{topics} topics made in {made:?}; the next XADD {:?} after kill -9", begun.elapsed());
    expected[0].push(first);
    let more = produce(&pair, 1, EVENTS + 1..EVENTS + 3);
    println!("all of them took more {:?} after kill -9", begun.elapsed());
    for (at, (mut expected, more)) in expected.into_iter().zip(more).enumerate() {
        expected.extend(more);
        let of_producer = topics.div_ceil(PRODUCERS);
        let topic = format!("t{}.{}", at / of_producer, at % of_producer);
        assert_eq!(ids(&mut client, &topic), expected, "{topic}");
    }
    assert_eq!(client.run("DBSIZE"), Reply::Int(topics as i64));
}

/// A server that owned the data before has an index of a topic on its disk. Meanwhile the topic was deleted and made anew,
/// with as many events, fewer or more.
#[test]
fn an_index_from_an_earlier_time_is_not_believed() {
    const EVENTS: usize = 600;
    let cluster = jetstream::one();
    let mut pair = Pair::start(&cluster, LEASE);
    let topics = [("same", EVENTS), ("fewer", EVENTS / 3), ("more", EVENTS * 2)];
    let fill = |client: &mut Client, topic: &str, events: usize, length: usize| {
        let value = "x".repeat(length);
        let mut request = Vec::new();
        for n in 0..events {
            client::encode(&mut request, &["XADD", topic, "*", "n", &n.to_string(), "v", &value]);
        }
        client.send_raw(&request);
        (0..events).map(|_| Id::parse(client.reply().text())).collect::<Vec<_>>()
    };
    let mut client = pair.client(0);
    for (topic, _) in topics {
        fill(&mut client, topic, EVENTS, 300);
    }
    pair.kill(0);
    assert_eq!(pair.owner(), 1);
    let mut client = pair.client(1);
    let expected = topics.map(|(topic, events)| {
        assert_eq!(client.run(&format!("DEL {topic}")), Reply::Int(1));
        fill(&mut client, topic, events, 90)
    });
    pair.launch(0);
    pair.kill(1);
    assert_eq!(pair.owner(), 0);
    let mut client = pair.client(0);
    for ((topic, _), expected) in topics.iter().zip(&expected) {
        let found: Vec<Id> =
            events::read_all(&mut client, topic.as_bytes()).into_iter().map(|(id, _)| id).collect();
        assert!(found == *expected, "{topic}: {} events, expected {}", found.len(), expected.len());
        for id in expected.iter().step_by(37) {
            let one = events::events(&client.run(&format!("XRANGE {topic} {id} {id}")));
            assert_eq!(one.len(), 1, "{topic}: {id}");
            let rest = events::events(&client.run(&format!("XRANGE {topic} {id} + COUNT 3")));
            assert_eq!(rest[0].0, *id);
        }
    }
}
