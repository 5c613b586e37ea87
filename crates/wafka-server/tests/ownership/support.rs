//! Servers on one memory, whose lease ends when a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wafka_broker::lease::LeaseClock;
use wafka_core::storage::StorageFactory;
use wafka_server::config::Config;
use wafka_server::server::{Extras, Server, StartError};
use wafka_storage::memory::{Reach, SharedMemory, SharedServer};

use crate::support::{Client, PATIENCE};

/// A lease's time to live. Time stands still but for [`Cluster::sleep`]; a third of it is how often, in real time, an owner
/// renews.
pub const TIME_TO_LIVE: Duration = Duration::from_millis(300);

/// A clock that a test sets.
#[derive(Clone, Default)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    fn advance(&self, time: Duration) {
        self.0.fetch_add(time.as_millis() as u64, Ordering::AcqRel);
    }
}

impl LeaseClock for TestClock {
    fn now(&self) -> Duration {
        Duration::from_millis(1_000_000 + self.0.load(Ordering::Acquire))
    }
}

/// A memory that several servers reach.
pub struct Cluster {
    pub memory: SharedMemory,
    clock: TestClock,
}

impl Cluster {
    pub fn new() -> Self {
        let clock = TestClock::default();
        let now = clock.clone();
        Cluster { memory: SharedMemory::new("shared", TIME_TO_LIVE, move || now.now()), clock }
    }

    /// The engine's clock goes on by the length of a lease, and that of every server that shares it.
    pub fn let_leases_end(&self) {
        self.clock.advance(TIME_TO_LIVE);
    }

    /// A further server, which reaches the memory through what `through` makes of its way to it.
    pub fn server_through(&self, through: impl FnOnce(SharedServer) -> Arc<dyn StorageFactory>) -> Node {
        let way = self.memory.server();
        self.start(|_| {}, self.clock.clone(), way.clone(), through(way)).unwrap()
    }

    /// A further server.
    pub fn server(&self) -> Node {
        self.server_with(|_| {}, self.clock.clone()).unwrap()
    }

    /// A further server, whose own clock stands still for good.
    pub fn server_that_sleeps(&self) -> Node {
        let clock = TestClock::default();
        clock.advance(Duration::from_millis(self.clock.0.load(Ordering::Acquire)));
        self.server_with(|_| {}, clock).unwrap()
    }

    /// A further server, whose own data is in files: the memory is beside that.
    pub fn server_beside(&self) -> Node {
        self.server_with(|config| config.storage.backend = "text".to_owned(), self.clock.clone()).unwrap()
    }

    pub fn server_with(
        &self,
        change: impl FnOnce(&mut Config),
        clock: TestClock,
    ) -> Result<Node, Box<StartError>> {
        let way = self.memory.server();
        self.start(change, clock, way.clone(), Arc::new(way))
    }

    fn start(
        &self,
        change: impl FnOnce(&mut Config),
        clock: TestClock,
        way: SharedServer,
        factory: Arc<dyn StorageFactory>,
    ) -> Result<Node, Box<StartError>> {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(&dir);
        change(&mut config);
        let extras = Extras { storages: vec![factory], lease_clock: Arc::new(clock) };
        let server = Some(Server::start_with(config, None, extras).map_err(Box::new)?);
        Ok(Node { server, way, _dir: dir })
    }

    pub fn clock(&self) -> TestClock {
        self.clock.clone()
    }
}

/// A configuration with the shared memory as the default backend.
fn config(dir: &TempDir) -> Config {
    let mut config = Config::default();
    config.server.port = 0;
    config.server.brokers = 2;
    config.server.io_threads = 1;
    config.server.data_dir = dir.path().join("data");
    config.storage.backend = "shared".to_owned();
    config
}

/// A server on the memory; stopped when dropped.
pub struct Node {
    server: Option<Server>,
    /// Its way to the memory.
    way: SharedServer,
    /// Kept as long as the server.
    _dir: TempDir,
}

impl Node {
    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// How others are told of it.
    pub fn owner(&self) -> String {
        format!("{} at {}", self.server().shared().run_id, self.server().addr())
    }

    pub fn client(&self) -> Client {
        Client::new(std::net::TcpStream::connect(self.server().addr()).unwrap())
    }

    /// What it reaches of the memory from now on.
    pub fn reach(&self, reach: Reach) {
        self.way.set_reach(reach);
    }

    /// Stops it as an operator does; whether all went well.
    pub fn stop(mut self) -> bool {
        let server = self.server.take().unwrap();
        server.stop();
        server.wait()
    }

    /// Waits for it to end by itself; whether all went well.
    pub fn wait(mut self) -> bool {
        let server = self.server.take().unwrap();
        until(|| server.is_finished().then_some(()));
        server.wait()
    }

    /// Waits until it serves.
    pub fn serves(&self) {
        let mut client = self.client();
        until(|| {
            client.command("PING");
            (client.line() == "+PONG").then_some(())
        });
    }

    /// A line of `INFO`, without the field's name.
    pub fn info(&self, field: &str) -> Option<String> {
        let mut client = self.client();
        let info = client.command("INFO everything").bulk();
        info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map(str::to_owned)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
            let _ = server.wait();
        }
    }
}

/// Waits for something to come about.
#[track_caller]
pub fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it does not come about");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The reply to a command, its first line, once that begins so.
#[track_caller]
pub fn reply_that_begins(client: &mut Client, command: &str, begin: &str) -> String {
    until(|| Some(client.command(command).line()).filter(|line| line.starts_with(begin)))
}
