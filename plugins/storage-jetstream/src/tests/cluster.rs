//! Real servers of the engine, and the backend on them.

use std::ops::Deref;
use std::path::Path;

use wafka_test_nats::{Config, SYSTEM, USER};

use crate::{JetStreamStorage, Login, Options};

/// One server, or three that replicate.
pub(crate) struct Cluster(wafka_test_nats::Cluster);

impl Deref for Cluster {
    type Target = wafka_test_nats::Cluster;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Cluster {
    /// Three servers that sync before they acknowledge.
    pub(crate) fn three() -> Self {
        Self::start(3, true)
    }

    /// So many servers, running and ready.
    pub(crate) fn start(servers: usize, synced: bool) -> Self {
        Self::start_as(Config { servers, synced, max_payload: "16MB".into(), ..Config::one() })
    }

    /// One server that takes messages of such a length.
    pub(crate) fn start_with_payload(longest: &str) -> Self {
        Self::start_as(Config { max_payload: longest.into(), ..Config::one() })
    }

    pub(crate) fn start_as(config: Config) -> Self {
        Cluster(wafka_test_nats::Cluster::start(&config).unwrap_or_else(|error| panic!("{error}")))
    }

    /// Servers that are not started.
    pub(crate) fn configured(config: &Config) -> Self {
        Cluster(wafka_test_nats::Cluster::configure(config).unwrap_or_else(|error| panic!("{error}")))
    }

    pub(crate) fn options(&self) -> Options {
        let login = |login: wafka_test_nats::Login| Login {
            user: Some(login.user.into()),
            password: Some(login.password.into()),
            ..Login::default()
        };
        Options {
            servers: self.addresses(),
            login: login(USER),
            system_login: Some(login(SYSTEM)),
            replicas: self.replicas(),
            publish_timeout_ms: 1000,
            give_up_ms: 30_000,
            request_timeout_ms: 30_000,
            ..Options::default()
        }
    }

    pub(crate) fn open(&self, prefix: &str) -> JetStreamStorage {
        let options = Options { prefix: prefix.into(), ..self.options() };
        let storage = crate::open(Path::new(""), options).expect("open");
        super::own_as(&storage, "test");
        storage
    }

    pub(crate) fn launch(&mut self, node: usize) {
        self.0.launch(node).expect("a server that starts");
    }

    /// Ends a server as a loss of power would, but for what the system has in memory.
    pub(crate) fn kill(&mut self, node: usize) {
        self.0.kill(node).expect("a server that runs");
    }

    /// Stops a server, with everything that is on its way in it.
    pub(crate) fn stop(&mut self, node: usize) {
        self.0.stop(node).expect("a server that runs");
    }

    pub(crate) fn resume(&mut self, node: usize) {
        self.0.resume(node).expect("a server that sleeps");
    }
}
