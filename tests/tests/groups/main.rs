//! Consumer groups over a socket, at 1, 2 and 3 partitions: who is served, in which order, and what ends the waiting.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

mod blocking;
mod claiming;
mod recovery;
mod sharing;

use wafka_tests::server::wait_until;
use wafka_tests::{Client, Reply, Server, Setup};

/// The numbers of partitions that everything must be the same at.
const PARTITIONS: [u16; 3] = [1, 2, 3];

/// A server with so many partitions of each topic.
fn server(partitions: u16) -> Server {
    Setup::new().brokers(partitions).start()
}

/// Waits until so many clients are blocked.
fn wait_for_blocked(watcher: &mut Client, count: usize) {
    let wanted = format!("blocked_clients:{count}\r\n");
    wait_until("the readers block", || watcher.run("INFO clients").text().contains(&wanted));
}

/// A client that waits for one event that is new to the group `g` of `topic`, as the consumer `name`.
fn blocked_reader(server: &Server, name: &str) -> Client {
    let mut client = server.client();
    client.send(&["XREADGROUP", "GROUP", "g", name, "COUNT", "1", "BLOCK", "0", "STREAMS", "topic", ">"]);
    client
}

/// Appends an event and returns its id.
fn add(client: &mut Client, topic: &str) -> String {
    client.run(&format!("XADD {topic} * field value")).text().to_owned()
}

/// The ids in the reply to a read of one key.
#[track_caller]
fn ids(reply: &Reply) -> Vec<String> {
    let streams = match reply {
        Reply::Nil => return Vec::new(),
        other => other.array(),
    };
    assert_eq!(streams.len(), 1, "{reply:?}");
    let entries = streams[0].array()[1].array();
    entries.iter().map(|entry| entry.array()[0].text().to_owned()).collect()
}

/// How many events the group `g` of `topic` has pending.
fn pending(client: &mut Client) -> i64 {
    client.run("XPENDING topic g").array()[0].int()
}
