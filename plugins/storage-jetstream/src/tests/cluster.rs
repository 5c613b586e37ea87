//! Real servers of the engine, on loopback, with their data in a temporary directory.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{JetStreamStorage, Login, Options};

/// A start may take so long, elections of leaders (up to 9 s) and a busy machine included.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often other ports are tried when somebody took those that were free.
const ATTEMPTS: usize = 10;

/// The server's program: `$WAFKA_NATS_SERVER`, else the one that `tests/run.sh` installs into the target directory.
fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("WAFKA_NATS_SERVER") {
        return named.into();
    }
    // This test lies in <target directory>/<profile>/deps.
    let test = std::env::current_exe().expect("the test's own path");
    let target = test.ancestors().nth(3).expect("a target directory");
    let program = target.join("nats-server/bin/nats-server");
    assert!(
        program.is_file(),
        "{} is missing: tests/run.sh installs it; or name a nats-server 2.12 or later in WAFKA_NATS_SERVER",
        program.display()
    );
    program
}

/// Ports that are free, and that no client's socket is given while a server that had one is down: those below the range that
/// the system gives out by itself.
fn free_ports(count: usize) -> Vec<u16> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    while listeners.len() < count {
        listeners.extend(TcpListener::bind(("127.0.0.1", fastrand::u16(10_000..32_000))));
    }
    listeners.iter().map(|listener| listener.local_addr().expect("its port").port()).collect()
}

struct Node {
    port: u16,
    config: PathBuf,
    child: Option<Child>,
}

/// One server, or three that replicate.
pub(crate) struct Cluster {
    dir: TempDir,
    nodes: Vec<Node>,
    synced: bool,
}

impl Cluster {
    /// Three servers that sync before they acknowledge.
    pub(crate) fn three() -> Self {
        Self::start(3, true)
    }

    /// So many servers, running and ready.
    pub(crate) fn start(count: usize, synced: bool) -> Self {
        for _ in 0..ATTEMPTS {
            let dir = TempDir::new().expect("a directory");
            let mut cluster = Cluster { dir, nodes: Vec::new(), synced };
            cluster.configure(count);
            (0..count).for_each(|node| cluster.launch(node));
            if cluster.is_ready() {
                return cluster;
            }
        }
        panic!("no servers after {ATTEMPTS} attempts");
    }

    fn configure(&mut self, count: usize) {
        let ports = free_ports(2 * count);
        let (clients, routes) = ports.split_at(count);
        let urls: Vec<String> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        for node in 0..count {
            let store = self.dir.path().join(format!("data-{node}"));
            let sync = if self.synced { "always" } else { "\"2m\"" };
            let cluster = format!(
                "cluster {{ name: test, listen: \"127.0.0.1:{}\", routes: [{}] }}\n",
                routes[node],
                urls.join(", ")
            );
            let config = format!(
                "server_name: n{node}\nlisten: \"127.0.0.1:{}\"\nmax_payload: 16MB\nlog_file: {log:?}\n\
                 jetstream {{ store_dir: {store:?}, sync_interval: {sync}, max_file_store: 1GB }}\n{}\
                 accounts {{ W: {{ jetstream: enabled, users: [{{ user: w, password: w }}] }}, \
                 $SYS: {{ users: [{{ user: s, password: s }}] }} }}\n",
                clients[node],
                if count > 1 { &cluster } else { "" },
                log = self.dir.path().join(format!("log-{node}.txt")),
            );
            let path = self.dir.path().join(format!("{node}.conf"));
            fs::write(&path, config).expect("write the configuration");
            self.nodes.push(Node { port: clients[node], config: path, child: None });
        }
    }

    /// Starts a server; a cluster of several elects a leader in its own time.
    pub(crate) fn launch(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        let mut command = Command::new(program());
        command.arg("-c").arg(&node.config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        node.child = Some(command.spawn().expect("start nats-server"));
    }

    /// Waits until a backend can be opened; says no when a server has ended: somebody took its port.
    fn is_ready(&mut self) -> bool {
        let begun = Instant::now();
        loop {
            if self.nodes.iter_mut().any(|node| {
                node.child.as_mut().is_none_or(|child| child.try_wait().expect("its state").is_some())
            }) {
                return false;
            }
            let options = Options { prefix: "ready".into(), ..self.options() };
            match crate::open(Path::new(""), Options { accept_unsynced_loss: !self.synced, ..options }) {
                Ok(_) => return true,
                Err(error) if begun.elapsed() > PATIENCE => panic!("{error}\n{}", self.logs()),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn logs(&self) -> String {
        let logs = (0..self.nodes.len()).map(|node| self.dir.path().join(format!("log-{node}.txt")));
        logs.map(|path| fs::read_to_string(path).unwrap_or_default()).collect()
    }

    pub(crate) fn options(&self) -> Options {
        let login =
            |name: &str| Login { user: Some(name.into()), password: Some(name.into()), ..Login::default() };
        Options {
            servers: self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect(),
            login: login("w"),
            system_login: Some(login("s")),
            replicas: if self.nodes.len() > 1 { 3 } else { 1 },
            publish_timeout_ms: 1000,
            give_up_ms: 30_000,
            request_timeout_ms: 30_000,
            ..Options::default()
        }
    }

    pub(crate) fn open(&self, prefix: &str) -> JetStreamStorage {
        crate::open(Path::new(""), Options { prefix: prefix.into(), ..self.options() }).expect("open")
    }

    /// A client of the servers' system account.
    pub(crate) async fn as_system(&self) -> async_nats::Client {
        let options = self.options();
        let login = options.system_login.clone().expect("there is one");
        crate::connect::connect(&options, &login).await.expect("connect")
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// All servers, beginning with this one.
    pub(crate) fn all_from(&self, first: usize) -> Vec<usize> {
        (0..self.len()).map(|at| (first + at) % self.len()).collect()
    }

    fn signal(&self, node: usize, signal: Signal) {
        let child = self.nodes[node].child.as_ref().expect("it runs");
        let pid = Pid::from_raw(child.id() as i32).expect("a process");
        kill_process(pid, signal).expect("signal");
    }

    /// Ends a server as a loss of power would, but for what the system has in memory.
    pub(crate) fn kill(&mut self, node: usize) {
        self.signal(node, Signal::KILL);
        let mut child = self.nodes[node].child.take().expect("it runs");
        child.wait().expect("its end");
    }

    /// Stops a server, with everything that is on its way in it.
    pub(crate) fn stop(&mut self, node: usize) {
        self.signal(node, Signal::STOP);
    }

    pub(crate) fn resume(&mut self, node: usize) {
        self.signal(node, Signal::CONT);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(child) = &mut node.child {
                // It is gone, or will be: nothing depends on it.
                let _killed = child.kill();
                let _ended = child.wait();
            }
        }
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}
