//! The suite that every backend passes.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use wafka_core::storage::{LogName, Storage};
use wafka_storage::conformance::ownership::SharedHarness;
use wafka_storage::conformance::{self, Failing, Harness};

use super::cluster::Cluster;
use super::{own_as, prefix};
use crate::{JetStreamStorage, Options};

struct Engine {
    options: Options,
    storage: Option<JetStreamStorage>,
}

impl Engine {
    fn new(cluster: &Cluster, replicas: u8) -> Self {
        let options = Options { prefix: prefix(), replicas, ..cluster.options() };
        let mut engine = Engine { options, storage: None };
        engine.restart();
        engine
    }

    fn storage(&self) -> &JetStreamStorage {
        self.storage.as_ref().expect("it is open")
    }
}

impl Harness for Engine {
    fn storage(&self) -> &dyn Storage {
        Engine::storage(self)
    }

    fn restart(&mut self) {
        self.storage = None;
        let storage = crate::open("".as_ref(), self.options.clone()).expect("open");
        own_as(&storage, "test");
        self.storage = Some(storage);
    }

    /// What a message takes beside its line is not said by the engine, and differs by whether it was sent in a batch.
    fn size_percent(&self) -> u64 {
        10
    }

    fn faults(&self) -> bool {
        true
    }

    fn fail_next(&mut self, failing: Failing, log: &LogName) {
        let faults = &self.storage().home().faults;
        match failing {
            Failing::Append => faults.fail_append(log),
            Failing::Sync => faults.fail_sync(log),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // What is left of a case would weigh on the servers in the next ones.
        if !std::thread::panicking() {
            let logs = self.storage().list().expect("list");
            self.storage().delete(&logs).expect("delete");
        }
    }
}

/// Data that several servers reach. Leases run by a clock that is put forward, so that no case is too slow for one.
struct Shared {
    options: Options,
    opened: Vec<Weak<JetStreamStorage>>,
    begun: Instant,
    skipped: Duration,
}

impl Shared {
    fn new(cluster: &Cluster, replicas: u8) -> Self {
        let options = Options { prefix: prefix(), replicas, lease_ms: 60_000, ..cluster.options() };
        Shared { options, opened: Vec::new(), begun: Instant::now(), skipped: Duration::ZERO }
    }
}

impl SharedHarness for Shared {
    fn open(&mut self) -> Arc<dyn Storage> {
        let storage = Arc::new(crate::open("".as_ref(), self.options.clone()).expect("open"));
        *storage.home().faults.skipped.lock() = self.skipped;
        self.opened.push(Arc::downgrade(&storage));
        storage
    }

    fn now(&self) -> Duration {
        self.begun.elapsed() + self.skipped
    }

    fn wait(&mut self, time: Duration) {
        self.skipped += time;
        for storage in self.opened.iter().filter_map(Weak::upgrade) {
            *storage.home().faults.skipped.lock() = self.skipped;
        }
    }
}

#[test]
fn its_ownership_conforms_on_three_servers() {
    let cluster = Cluster::three();
    conformance::ownership::run(&mut || Box::new(Shared::new(&cluster, 3)));
}

#[test]
fn its_ownership_conforms_on_one_server() {
    let cluster = Cluster::start(1, true);
    conformance::ownership::run(&mut || Box::new(Shared::new(&cluster, 1)));
}

#[test]
fn it_conforms_on_three_servers() {
    let cluster = Cluster::three();
    conformance::run(&mut || Box::new(Engine::new(&cluster, 3)));
}

#[test]
fn it_conforms_on_one_server() {
    let cluster = Cluster::start(1, true);
    conformance::run(&mut || Box::new(Engine::new(&cluster, 1)));
}
