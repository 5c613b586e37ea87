//! Two servers on the same logs: one owns them, the other stands by.

use std::sync::{Arc, Mutex};

use wafka_test_nats::Cluster;
use wafka_tests::server::wait_until;
use wafka_tests::{Client, Server, Setup, jetstream};

use crate::load::Servers;

/// Both, each with a data directory of its own.
pub struct Pair {
    setups: [Setup; 2],
    servers: [Option<Server>; 2],
    addresses: Servers,
    asleep: Option<usize>,
}

impl Pair {
    /// The first one owns what there is.
    pub fn start(cluster: &Cluster, options: &str) -> Self {
        let backend = format!("{}{options}\n", cluster.backend_toml());
        let setups = [(); 2].map(|()| jetstream::setup_with(&backend));
        let first = setups[0].start();
        let addresses = Arc::new(Mutex::new(vec![first.addr(); 2]));
        let mut pair = Pair { setups, servers: [Some(first), None], addresses, asleep: None };
        wait_until("the first server owns the data", || pair.role(0) == "owner");
        pair.launch(1);
        pair
    }

    /// Where both are.
    pub fn addresses(&self) -> &Servers {
        &self.addresses
    }

    pub fn server(&self, at: usize) -> &Server {
        self.servers[at].as_ref().expect("a server that runs")
    }

    pub fn client(&self, at: usize) -> Client {
        self.server(at).client()
    }

    /// Starts a server that does not run, on the data directory it had.
    pub fn launch(&mut self, at: usize) {
        let server = self.setups[at].start();
        self.addresses.lock().unwrap()[at] = server.addr();
        self.servers[at] = Some(server);
    }

    /// As `kill -9` does.
    pub fn kill(&mut self, at: usize) {
        let server = self.servers[at].take().expect("a server that runs");
        server.kill();
    }

    pub fn sleep(&mut self, at: usize) {
        self.server(at).sleep();
        self.asleep = Some(at);
    }

    pub fn wake(&mut self, at: usize) {
        self.server(at).wake();
        self.asleep = None;
    }

    /// What a server says it is.
    pub fn role(&self, at: usize) -> String {
        let info = self.client(at).run("INFO server");
        let line = info.text().lines().find_map(|line| line.strip_prefix("wafka_role:").map(str::to_owned));
        line.expect("a role")
    }

    /// Waits until one of those that are awake owns the data, and says which.
    #[track_caller]
    pub fn owner(&self) -> usize {
        let mut owner = None;
        wait_until("one of the servers owns the data", || {
            let awake = (0..2).filter(|at| self.servers[*at].is_some() && self.asleep != Some(*at));
            owner = awake.into_iter().find(|at| self.role(*at) == "owner");
            owner.is_some()
        });
        owner.expect("invariant: that was waited for")
    }
}
