//! NATS servers that die, sleep and come back under a server of Wafka's, while events are added, consumed and acknowledged.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wafka_test_nats::Cluster;
use wafka_tests::server::wait_until;
use wafka_tests::{Reply, Server, jetstream};

use crate::load::{Load, Servers, Work};
use crate::{is_long, rounds};

/// Gives up long before a new leader is elected.
const IMPATIENT: &str = "publish_timeout_ms = 200\ngive_up_ms = 600\nrequest_timeout_ms = 1500";
/// An error comes in such a time, whatever else the machine does.
const BOUNDED: Duration = Duration::from_secs(20);

fn start(cluster: &Cluster, options: &str) -> (Server, Servers, Load) {
    let server = jetstream::setup(cluster, options).start();
    let servers = Arc::new(Mutex::new(vec![server.addr()]));
    let load = Load::start(&servers, &mut server.client(), Work::Acknowledge);
    load.all_goes_on();
    (server, servers, load)
}

/// The servers of NATS in the order in which they are to fail: first who leads the first partition. One of them, unless it is
/// to take long.
fn in_turn(cluster: &Cluster) -> Vec<usize> {
    let streams = cluster.streams("wafka-").unwrap();
    let first = cluster.leader(streams.first().expect("logs")).unwrap();
    let all = cluster.all_from(first);
    if is_long() { all } else { vec![first] }
}

fn wait_until_whole(cluster: &Cluster) {
    cluster.wait_until_whole(&cluster.streams("").unwrap()).unwrap();
}

#[test]
fn nothing_is_lost_when_nats_servers_are_killed() {
    let mut cluster = jetstream::three();
    let (server, _servers, load) = start(&cluster, "");
    for _ in 0..rounds() {
        for node in in_turn(&cluster) {
            cluster.kill(node).unwrap();
            load.all_goes_on();
            cluster.launch(node).unwrap();
            load.goes_on();
            wait_until_whole(&cluster);
        }
        (0..cluster.len()).for_each(|node| cluster.kill(node).unwrap());
        (0..cluster.len()).for_each(|node| cluster.launch(node).unwrap());
        load.all_goes_on();
        wait_until_whole(&cluster);
    }
    load.end(&mut server.client());
    let server = server.kill().start();
    assert!(server.client().run("XLEN in").int() > 0);
}

/// Without a majority `XADD` gets an error in bounded time, what can be answered is, and it goes on by itself.
#[test]
fn nothing_is_lost_when_nats_servers_sleep() {
    let mut cluster = jetstream::three();
    let (server, _servers, load) = start(&cluster, IMPATIENT);
    for _ in 0..rounds() {
        for node in in_turn(&cluster) {
            cluster.stop(node).unwrap();
            load.all_goes_on();
            cluster.resume(node).unwrap();
            load.goes_on();
            wait_until_whole(&cluster);
        }
        (0..cluster.len()).for_each(|node| cluster.stop(node).unwrap());
        let mut client = server.client();
        let begun = Instant::now();
        // Of what no producer numbers nothing is to come about.
        let refused = client.run("XADD in * not numbered");
        assert!(matches!(refused, Reply::Error(_)), "{refused:?}");
        assert!(begun.elapsed() < BOUNDED, "{:?}", begun.elapsed());
        assert!(client.run("XLEN in").int() > 0);
        assert_eq!(client.run("XREVRANGE in + - COUNT 1").array().len(), 1);
        assert_eq!(client.run("XPENDING in g").array().len(), 4);
        (0..cluster.len()).for_each(|node| cluster.resume(node).unwrap());
        load.all_goes_on();
        wait_until_whole(&cluster);
    }
    let summary = load.end(&mut server.client());
    assert!(summary.failures > 0, "nothing failed: this showed nothing");
}

/// A topic that is not there yet takes many requests to make. Whoever waits for it does not wait for each.
#[test]
fn a_topic_that_cannot_be_made_says_so_in_bounded_time() {
    let mut cluster = jetstream::one();
    let server = jetstream::setup(&cluster, "request_timeout_ms = 2000").start();
    let mut client = server.client();
    client.run("XADD there * n 0");
    cluster.stop(0).unwrap();
    for topic in ["one", "two"] {
        let begun = Instant::now();
        let refused = client.run(&format!("XADD {topic} * n 0"));
        assert!(matches!(refused, Reply::Error(_)), "{refused:?}");
        // Five times as long as one request is waited for.
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
    cluster.resume(0).unwrap();
    wait_until("topics are made again", || !matches!(client.run("XADD one * n 0"), Reply::Error(_)));
    assert_eq!(client.run("XLEN one"), Reply::Int(1));
}
