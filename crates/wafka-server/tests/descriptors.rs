//! A standby's clients leave enough file descriptors to what it opens when it takes over. The limit on them is the
//! process's, so this test is alone in its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is the test's failure")]

#[path = "ownership/support.rs"]
#[allow(dead_code, reason = "the tests of ownership use the rest")]
mod nodes;
mod support;

use std::net::TcpStream;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use wafka_core::Database;
use wafka_server::config::{Config, Fsync};

use nodes::{Cluster, Node, until};
use support::{Client, request};

/// What the process may have open: both servers, both ends of every connection.
const LIMIT: u64 = 700;
/// Two partitions each, with an index each.
const TOPICS: usize = 150;
/// More than fit beside the indexes.
const CLIENTS: usize = 200;

fn maxclients(node: &Node) -> usize {
    node.server().shared().settings.maxclients() as usize
}

fn indexes_without_file(node: &Node) -> usize {
    node.server().shared().engine().map_or(0, |engine| engine.indexes_without_file())
}

#[test]
fn clients_of_a_standby_leave_descriptors_to_the_logs() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), maximum }).unwrap();
    let cluster = Cluster::new();
    let owner = cluster.server();
    let mut client = owner.client();
    for number in 0..TOPICS {
        client.check(&format!("TOPIC CREATE t{number}"), "+OK\r\n");
    }
    // Indexes are written every second then, not only when there is much to write.
    let everysec = |config: &mut Config| config.storage.fsync = Fsync::EverySec;
    let standby = cluster.server_with(everysec, cluster.clock()).unwrap();
    // It cannot know how much it will need; half is what its clients may have.
    let of_standby = maxclients(&standby);
    assert!((CLIENTS + 1..LIMIT as usize / 2).contains(&of_standby), "{of_standby}");
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|_| Client::new(TcpStream::connect(standby.server().addr()).unwrap())).collect();
    for client in &mut clients {
        assert!(client.command("XLEN t0").line().starts_with("-LOADING"));
    }
    assert!(owner.stop());
    until(|| standby.server().shared().engine());
    // The newest are closed, and no more are let in.
    let left = until(|| Some(maxclients(&standby)).filter(|left| *left < CLIENTS));
    until(|| (standby.server().shared().clients.len() <= left).then_some(()));
    let mut oldest = clients.swap_remove(0);
    let value = "v".repeat(10_000);
    for number in 0..TOPICS {
        for _ in 0..2 {
            oldest.send(request(&format!("XADD t{number} * f {value}"))).bulk();
        }
    }
    until(|| (indexes_without_file(&standby) == 0).then_some(()));
    assert_eq!(standby.server().shared().engine().unwrap().topic_count(Database(0)), TOPICS);
    // One that was closed may have left room for one or two.
    let more: Vec<Client> = (0..10).map(|_| standby.client()).collect();
    let refused = |mut client: Client| client.line().starts_with("-ERR max number of clients reached");
    assert!(more.into_iter().next_back().is_some_and(refused));
}
