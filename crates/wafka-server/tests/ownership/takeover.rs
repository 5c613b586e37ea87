//! One server takes over from another.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use wafka_core::storage::{LogName, Options, Ownership, Shard, Storage, StorageError, StorageFactory};
use wafka_core::{BrokerId, Database, TopicName};
use wafka_server::config::{Config, TopicConfig};
use wafka_storage::memory::{Reach, SharedServer};

use crate::nodes::{Cluster, Node, reply_that_begins, until};
use crate::support::request;

/// Makes the owner one that cannot renew, and lets its lease end.
fn lose(cluster: &Cluster, owner: &Node) {
    owner.reach(Reach::Logs);
    cluster.let_leases_end();
}

#[test]
fn it_is_at_once_when_the_owner_shuts_down() {
    let cluster = Cluster::new();
    let owner = cluster.server();
    owner
        .client()
        .check("XADD t 1-1 f v", "$3\r\n1-1\r\n")
        .check("SET x y", "-ERR unknown command 'SET', with args beginning with: 'x' 'y' \r\n");
    let standby = cluster.server();
    let mut client = standby.client();
    assert!(client.command("XLEN t").line().starts_with("-LOADING"));
    // No time passes: the lease is given up.
    assert!(owner.stop());
    // The connection stays, and is served.
    reply_that_begins(&mut client, "XLEN t", ":1");
    client.check("XADD t 1-2 f v", "$3\r\n1-2\r\n");
    assert_eq!(standby.info("wafka_role").as_deref(), Some("owner"));
    assert_eq!(standby.info("wafka_epoch").as_deref(), Some("2"));
    // And back, to one that has an old index of it perhaps.
    let third = cluster.server();
    assert!(standby.stop());
    third.serves();
    third.client().check("XLEN t", ":2\r\n");
}

#[test]
fn every_answered_event_and_group_is_there() {
    let cluster = Cluster::new();
    let owner = cluster.server();
    let standby = cluster.server();
    let mut client = owner.client();
    for ms in 1..=3 {
        client.check(&format!("XADD t {ms}-1 f v"), &format!("$3\r\n{ms}-1\r\n"));
    }
    client.check("XGROUP CREATE t g 0", "+OK\r\n");
    client.check(
        "XREADGROUP GROUP g c COUNT 2 STREAMS t >",
        "*1\r\n*2\r\n$1\r\nt\r\n*2\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n*2\r\n$3\r\n2-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
    );
    client.check("XACK t g 1-1", ":1\r\n");
    lose(&cluster, &owner);
    standby.serves();
    let mut client = standby.client();
    client.check("XLEN t", ":3\r\n");
    client.check("XPENDING t g", "*4\r\n:1\r\n$3\r\n2-1\r\n$3\r\n2-1\r\n*1\r\n*2\r\n$1\r\nc\r\n$1\r\n1\r\n");
    client.check(
        "XREADGROUP GROUP g d STREAMS t >",
        "*1\r\n*2\r\n$1\r\nt\r\n*1\r\n*2\r\n$3\r\n3-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
    );
}

#[test]
fn a_transaction_without_its_commit_is_taken_back() {
    let cluster = Cluster::new();
    let owner = cluster.server();
    let standby = cluster.server();
    let mut client = owner.client();
    client.check("XADD t 1-1 f v", "$3\r\n1-1\r\n");
    let names = vec![(Database(0), TopicName::new(b"t").unwrap())];
    let engine = Arc::clone(owner.server().shared().engine().unwrap());
    let begun = engine.begin_transaction(names).unwrap();
    client.check("XADD t 2-1 f half", "$3\r\n2-1\r\n").check("XLEN t", ":2\r\n");
    lose(&cluster, &owner);
    standby.serves();
    standby.client().check("XLEN t", ":1\r\n");
    assert!(begun.commit().is_err());
    standby.client().check("XLEN t", ":1\r\n").check("XADD t 2-1 f whole", "$3\r\n2-1\r\n");
}

#[test]
fn a_pipeline_that_it_comes_into_is_answered_in_order_and_once() {
    let cluster = Cluster::new();
    let owner = cluster.server();
    owner.client().check("XADD t 1-1 f v", "$3\r\n1-1\r\n");
    let standby = cluster.server();
    let mut client = standby.client();
    let count = 20_000;
    let mut sender = crate::support::Client::new(client.stream.try_clone().unwrap());
    let sending = thread::spawn(move || {
        for at in 0..count {
            sender.send(request(&format!("XADD t * f {at}")));
        }
    });
    let stopping = thread::spawn(move || owner.stop());
    let (mut refused, mut last) = (0, String::new());
    for at in 0..count {
        let line = client.line();
        if line.starts_with("-LOADING") {
            assert_eq!(last, "", "event {at} is refused behind one that was taken");
            refused += 1;
        } else {
            assert!(line.starts_with('$'), "{line}");
            last = client.line();
        }
    }
    sending.join().unwrap();
    assert!(stopping.join().unwrap());
    standby.serves();
    standby.client().check("XLEN t", &format!(":{}\r\n", 1 + count - refused));
}

#[test]
fn what_was_watched_on_a_standby_counts_as_modified() {
    let cluster = Cluster::new();
    let owner = cluster.server();
    let standby = cluster.server();
    let mut client = standby.client();
    client.check("WATCH t", "+OK\r\n");
    assert!(owner.stop());
    standby.serves();
    client.check("MULTI", "+OK\r\n").check("XADD t * f v", "+QUEUED\r\n").check("EXEC", "*-1\r\n");
    client.check("MULTI", "+OK\r\n").check("XLEN t", "+QUEUED\r\n").check("EXEC", "*1\r\n:0\r\n");
}

/// Declares a topic with other partitions than it has.
fn contradict(config: &mut Config) {
    let topic = TopicConfig { partitions: Some(1), ..TopicConfig::default() };
    config.topics.insert("t".to_owned(), topic);
}

#[test]
fn data_that_does_not_open_ends_the_server_and_frees_the_lease() {
    let cluster = Cluster::new();
    let owner = cluster.server();
    owner.client().check("XADD t 1-1 f v", "$3\r\n1-1\r\n");
    let standby = cluster.server_with(contradict, cluster.clock()).unwrap();
    assert!(owner.stop());
    // Not as if it had been told to.
    assert!(!standby.wait());
    // As at a start without an owner.
    let error = cluster.server_with(contradict, cluster.clock()).err().unwrap().to_string();
    assert!(error.contains("partitions"), "{error}");
    // No time passes.
    let last = cluster.server();
    assert_eq!(last.info("wafka_role").as_deref(), Some("owner"));
    last.client().check("XLEN t", ":1\r\n");
}

/// A way to the memory on which a server panics when it opens the data.
struct Panics(SharedServer);

impl StorageFactory for Panics {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn open(&self, data_dir: &Path, options: &Options) -> Result<Arc<dyn Storage>, StorageError> {
        Ok(Arc::new(PanicsToo(StorageFactory::open(&self.0, data_dir, options)?)))
    }
}

struct PanicsToo(Arc<dyn Storage>);

impl Storage for PanicsToo {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        self.0.ownership()
    }

    fn list(&self) -> Result<Vec<LogName>, StorageError> {
        self.0.list()
    }

    fn create(&self, logs: &[LogName]) -> Result<(), StorageError> {
        self.0.create(logs)
    }

    fn shard(&self, _broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        panic!("as the test wants it")
    }

    fn delete(&self, logs: &[LogName]) -> Result<(), StorageError> {
        self.0.delete(logs)
    }
}

#[test]
fn a_panic_while_the_data_is_opened_ends_the_server_and_frees_the_lease() {
    let cluster = Cluster::new();
    assert!(!cluster.server_through(|way| Arc::new(Panics(way))).wait());
    let owner = cluster.server();
    let standby = cluster.server_through(|way| Arc::new(Panics(way)));
    assert!(owner.stop());
    assert!(!standby.wait());
    assert_eq!(cluster.server().info("wafka_role").as_deref(), Some("owner"));
}

#[test]
fn a_standby_that_is_stopped_leaves_the_owner_alone() {
    let cluster = Cluster::new();
    let owner = cluster.server();
    let standby = cluster.server();
    let mut idle = standby.client();
    assert!(standby.stop());
    idle.expect_end();
    owner.client().check("XADD t 1-1 f v", "$3\r\n1-1\r\n");
    until(|| (owner.info("wafka_role").as_deref() == Some("owner")).then_some(()));
}
