//! The servers of a comparison: a reference, and Wafka or another Redis as the subject.

use std::net::SocketAddr;
use std::time::Duration;

use super::campaign::Pair;
use super::compare::Subject;
use super::reference::{Program, Reference, configure};
use crate::{Server, Setup};

/// How long Wafka may take to wake up a reader, on a slow and busy machine.
const WAKE_PATIENCE: Duration = Duration::from_secs(10);

/// The same where readers that are not to be woken up are expected to be.
const SHORT_WAKE_PATIENCE: Duration = Duration::from_secs(5);

/// What is compared with a reference.
#[derive(Debug)]
pub enum Running {
    /// Another Redis.
    Redis(Reference),
    /// Wafka.
    Wafka(Server),
}

/// Two running servers.
#[derive(Debug)]
pub struct Servers {
    reference: Reference,
    subject: Running,
}

impl Servers {
    /// A reference and another Redis.
    ///
    /// # Panics
    /// When one does not start.
    #[must_use]
    pub fn redis(reference: &Program, subject: &Program) -> Self {
        Self::new(reference.start(), Running::Redis(subject.start()))
    }

    /// A reference, and Wafka with so many partitions of each topic.
    ///
    /// # Panics
    /// When one does not start.
    #[must_use]
    pub fn wafka(reference: &Program, partitions: u16) -> Self {
        Self::new(reference.start(), Running::Wafka(setup(partitions).start()))
    }

    fn new(reference: Reference, subject: Running) -> Self {
        let servers = Servers { reference, subject };
        configure(servers.reference.addr, true);
        configure(servers.subject_addr(), matches!(servers.subject, Running::Redis(_)));
        servers
    }

    fn subject_addr(&self) -> SocketAddr {
        match &self.subject {
            Running::Redis(redis) => redis.addr,
            Running::Wafka(wafka) => wafka.addr(),
        }
    }

    /// What a campaign needs to know of them.
    #[must_use]
    pub fn pair(&self, patience: Duration) -> Pair {
        let (reference, version) = (self.reference.addr, self.reference.version);
        let (kind, wake_patience) = match &self.subject {
            Running::Redis(redis) => (Subject::Redis(redis.version), Duration::ZERO),
            // Redis 7.0 wakes up readers that later ones leave asleep: that is known, and costs this time each time.
            Running::Wafka(_) if version < (7, 2) => (Subject::Wafka, SHORT_WAKE_PATIENCE),
            Running::Wafka(_) => (Subject::Wafka, WAKE_PATIENCE),
        };
        Pair { reference, version, subject: self.subject_addr(), kind, patience, wake_patience }
    }
}

/// Wafka as it is compared: without syncs, which change no reply. One thread serves the connections: like Redis it then serves
/// blocked readers before it takes the next command, so that a script has one outcome.
fn setup(partitions: u16) -> Setup {
    let setup = Setup::new().brokers(partitions).set("storage.fsync", "no").set("server.io_threads", "1");
    setup.set("groups.lag", "redis")
}
