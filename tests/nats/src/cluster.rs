//! Servers that are started, killed, put to sleep and woken up.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::error::{NatsError, doing};
use crate::talk;

/// A start may take so long, elections of leaders (up to 9 s each) and a busy machine included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// One server's answer is waited for so long, before the next one is asked.
const ANSWER: Duration = Duration::from_secs(1);
/// How often other ports are tried when somebody took those that were free.
const ATTEMPTS: usize = 10;
/// Between two looks at what gives no signal.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// So many lines of the servers' logs are shown at a panic, but for what they say of routes.
const LOG_SHOWN: usize = 40;

/// A user of the servers.
#[derive(Clone, Copy, Debug)]
pub struct Login {
    /// The name.
    pub user: &'static str,
    /// The password.
    pub password: &'static str,
}

/// The user whose account has JetStream.
pub const USER: Login = Login { user: "w", password: "w" };
/// The user of the servers' system account.
pub const SYSTEM: Login = Login { user: "s", password: "s" };

/// Which servers to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many: 1, or 3 and more, which replicate.
    pub servers: usize,
    /// Whether they sync before they acknowledge (`sync_interval: always`), or every two minutes, as they do by default.
    pub synced: bool,
    /// The longest message, as the servers' configuration says it: `1MB`.
    pub max_payload: String,
    /// Where their data is; `None` for a temporary directory.
    pub dir: Option<PathBuf>,
    /// How much each may hold, as the servers' configuration says it.
    pub max_store: String,
    /// What [`USER`] may publish and subscribe to, as the servers' configuration says it; `None` for everything.
    pub permissions: Option<String>,
}

impl Config {
    /// One server that syncs before it acknowledges.
    #[must_use]
    pub fn one() -> Self {
        Config {
            servers: 1,
            synced: true,
            max_payload: "1MB".into(),
            dir: None,
            max_store: "4GB".into(),
            permissions: None,
        }
    }

    /// Three servers that sync before they acknowledge.
    #[must_use]
    pub fn three() -> Self {
        Config { servers: 3, ..Self::one() }
    }
}

/// The server's program: `$WAFKA_NATS_SERVER`, else the one that `tests/run.sh` installs into the target directory.
///
/// # Errors
/// It is not there.
pub fn program() -> Result<PathBuf, NatsError> {
    if let Some(named) = std::env::var_os("WAFKA_NATS_SERVER") {
        return Ok(named.into());
    }
    let this = std::env::current_exe().map_err(doing("find this program's own path"))?;
    // Tests lie in <target directory>/<profile>/deps, programs in <target directory>/<profile>.
    let up = if this.parent().is_some_and(|dir| dir.ends_with("deps")) { 3 } else { 2 };
    let target = this.ancestors().nth(up).unwrap_or(Path::new(""));
    let program = target.join("nats-server/bin/nats-server");
    if program.is_file() { Ok(program) } else { Err(NatsError::NoProgram(program)) }
}

/// Ports that are free, and that no client's socket is given while a server that had one is down: those below the range that
/// the system gives out by itself.
///
/// # Errors
/// The system does not tell.
pub fn free_ports(count: usize) -> Result<Vec<u16>, NatsError> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    while listeners.len() < count {
        listeners.extend(TcpListener::bind(("127.0.0.1", fastrand::u16(10_000..32_000))));
    }
    let ports = listeners.iter().map(|listener| listener.local_addr().map(|addr| addr.port()));
    ports.collect::<Result<_, _>>().map_err(doing("ask for a port"))
}

#[derive(Debug)]
struct Node {
    port: u16,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    sleeps: bool,
}

/// Running servers. Dropped, they are killed, and what they logged is shown if that is for a panic.
#[derive(Debug)]
pub struct Cluster {
    /// Kept for its end.
    _dir: TempDir,
    nodes: Vec<Node>,
    config: Config,
}

impl Cluster {
    /// Starts servers, and waits until they take what is to be kept.
    ///
    /// # Errors
    /// There is no program, or they are not ready in time.
    pub fn start(config: &Config) -> Result<Self, NatsError> {
        let mut reason = "nothing was started".to_owned();
        for _ in 0..ATTEMPTS {
            let mut cluster = Self::configure(config)?;
            for node in 0..cluster.len() {
                cluster.launch(node)?;
            }
            match cluster.become_ready()? {
                None => return Ok(cluster),
                // Somebody took its port.
                Some(ended) => reason = format!("server {ended} has ended: {}", cluster.logs()),
            }
        }
        Err(NatsError::Late { what: format!("servers, in {ATTEMPTS} attempts"), logs: reason })
    }

    /// Servers that are configured, and not started.
    ///
    /// # Errors
    /// Their configuration cannot be written.
    pub fn configure(config: &Config) -> Result<Self, NatsError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("wafka-nats-");
        let dir = match &config.dir {
            Some(parent) => builder.tempdir_in(parent),
            None => builder.tempdir(),
        };
        let dir = dir.map_err(doing("make a directory for NATS servers"))?;
        let ports = free_ports(2 * config.servers)?;
        let (clients, routes) = ports.split_at(config.servers);
        let urls: Vec<String> = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let mut nodes = Vec::new();
        for (at, (port, route)) in clients.iter().zip(routes).enumerate() {
            let log = dir.path().join(format!("log-{at}.txt"));
            let permissions = config.permissions.as_ref();
            let permissions = permissions.map_or_else(String::new, |all| format!(", permissions: {all}"));
            let sync = if config.synced { "always" } else { "\"2m\"" };
            let mut text = format!(
                "server_name: n{at}\nlisten: \"127.0.0.1:{port}\"\nmax_payload: {payload}\nlog_file: {log:?}\n\
                 jetstream {{ store_dir: {store:?}, sync_interval: {sync}, max_file_store: {max_store} }}\n\
                 accounts {{ W: {{ jetstream: enabled, users: [{{ user: {user}, password: {password}{permissions} }}] }}, \
                 $SYS: {{ users: [{{ user: {system}, password: {system_password} }}] }} }}\n",
                payload = config.max_payload,
                store = dir.path().join(format!("data-{at}")),
                max_store = config.max_store,
                user = USER.user,
                password = USER.password,
                system = SYSTEM.user,
                system_password = SYSTEM.password,
            );
            if config.servers > 1 {
                let urls = urls.join(", ");
                let listen = format!("127.0.0.1:{route}");
                text += &format!("cluster {{ name: test, listen: {listen:?}, routes: [{urls}] }}\n");
            }
            let path = dir.path().join(format!("{at}.conf"));
            fs::write(&path, text).map_err(doing(path.display().to_string()))?;
            nodes.push(Node { port: *port, config: path, log, child: None, sleeps: false });
        }
        Ok(Cluster { _dir: dir, nodes, config: config.clone() })
    }

    /// Starts a server that does not run, on the data it had; several elect leaders in their own time.
    ///
    /// # Errors
    /// There is no program, or it does not start.
    pub fn launch(&mut self, node: usize) -> Result<(), NatsError> {
        let program = program()?;
        let node = &mut self.nodes[node];
        let mut command = Command::new(&program);
        command.arg("-c").arg(&node.config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        node.child = Some(command.spawn().map_err(doing(format!("start {}", program.display())))?);
        Ok(())
    }

    /// Waits until logs can be made on all servers.
    ///
    /// # Errors
    /// They cannot in time, or a server has ended.
    pub fn wait_until_ready(&mut self) -> Result<(), NatsError> {
        self.become_ready()?.map_or(Ok(()), |ended| Err(NatsError::NotRunning(ended)))
    }

    /// Waits until a log can be made; gives the server that has ended, if one has.
    fn become_ready(&mut self) -> Result<Option<usize>, NatsError> {
        let begun = Instant::now();
        loop {
            for (at, node) in self.nodes.iter_mut().enumerate() {
                let Some(child) = &mut node.child else { continue };
                if child.try_wait().map_err(doing("look after a NATS server"))?.is_some() {
                    return Ok(Some(at));
                }
            }
            let Err(reason) = self.try_to_be_ready() else { return Ok(None) };
            self.wait_a_little(begun, || format!("NATS servers that are ready: {reason}"))?;
        }
    }

    /// All of them are one group, whose leader places a stream on all.
    fn try_to_be_ready(&self) -> Result<(), String> {
        if self.len() > 1 {
            self.is_group_whole().map_err(|state| format!("they are no group yet: {state}"))?;
        }
        let stream = json!({
            "name": "ready", "subjects": ["ready"], "storage": "memory", "num_replicas": self.replicas(),
        });
        let said = |answer: Result<Value, NatsError>| {
            let answer = answer.map_err(|error| error.to_string())?;
            if answer["error"].is_null() { Ok(()) } else { Err(answer["error"].to_string()) }
        };
        said(self.ask(USER, "$JS.API.STREAM.CREATE.ready", &stream.to_string()))?;
        said(self.ask(USER, "$JS.API.STREAM.DELETE.ready", ""))
    }

    pub(crate) fn wait_a_little(
        &self,
        begun: Instant,
        what: impl FnOnce() -> String,
    ) -> Result<(), NatsError> {
        if begun.elapsed() > PATIENCE {
            return Err(NatsError::Late { what: what(), logs: self.logs() });
        }
        thread::sleep(LOOK_EVERY);
        Ok(())
    }

    /// Asks for something that is answered with JSON; whichever server is awake is asked.
    ///
    /// # Errors
    /// None of them answers.
    pub fn ask(&self, login: Login, subject: &str, body: &str) -> Result<Value, NatsError> {
        let mut last = NatsError::NotRunning(0);
        for node in self.nodes.iter().filter(|node| node.child.is_some() && !node.sleeps) {
            match talk::ask(node.port, login, subject, body, ANSWER) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = doing(format!("ask the NATS server on port {}", node.port))(error),
            }
        }
        Err(last)
    }

    /// What the servers logged.
    #[must_use]
    pub fn logs(&self) -> String {
        self.nodes.iter().map(|node| fs::read_to_string(&node.log).unwrap_or_default()).collect()
    }

    /// Where clients connect.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect()
    }

    /// The part of a configuration of Wafka's that puts its logs here; further options of the backend may follow it.
    #[must_use]
    pub fn backend_toml(&self) -> String {
        let login = |login: Login| format!("{{ user = {:?}, password = {:?} }}", login.user, login.password);
        format!(
            "[backends.jetstream]\nservers = {:?}\nreplicas = {}\nlogin = {}\n{}\n",
            self.addresses(),
            self.replicas(),
            login(USER),
            if self.config.synced {
                format!("system_login = {}", login(SYSTEM))
            } else {
                "accept_unsynced_loss = true".into()
            },
        )
    }

    /// How many servers can hold each log.
    #[must_use]
    pub fn replicas(&self) -> u8 {
        if self.len() > 1 { 3 } else { 1 }
    }

    /// How many servers there are, running or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// There are always some.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All servers, beginning with this one.
    #[must_use]
    pub fn all_from(&self, first: usize) -> Vec<usize> {
        (0..self.len()).map(|at| (first + at) % self.len()).collect()
    }

    fn signal(&self, node: usize, signal: Signal) -> Result<(), NatsError> {
        let child = self.nodes[node].child.as_ref().ok_or(NatsError::NotRunning(node))?;
        kill_process(Pid::from_child(child), signal)
            .map_err(|error| doing(format!("send {signal:?} to NATS server {node}"))(error.into()))
    }

    /// Ends a server as a loss of power would, but for what the system has in memory.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self, node: usize) -> Result<(), NatsError> {
        self.signal(node, Signal::KILL)?;
        self.nodes[node].sleeps = false;
        let mut child = self.nodes[node].child.take().ok_or(NatsError::NotRunning(node))?;
        child.wait().map(drop).map_err(doing("wait for the end of a NATS server"))
    }

    /// Stops a server (`SIGSTOP`), with everything that is on its way in it, and waits until it has stopped: it answers
    /// nothing from then on.
    ///
    /// # Errors
    /// It does not run.
    pub fn stop(&mut self, node: usize) -> Result<(), NatsError> {
        self.signal(node, Signal::STOP)?;
        self.nodes[node].sleeps = true;
        let child = self.nodes[node].child.as_ref().ok_or(NatsError::NotRunning(node))?;
        let stopped = waitid(WaitId::Pid(Pid::from_child(child)), WaitIdOptions::STOPPED);
        stopped
            .map(drop)
            .map_err(|error| doing(format!("wait until NATS server {node} has stopped"))(error.into()))
    }

    /// Wakes a server that was stopped.
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&mut self, node: usize) -> Result<(), NatsError> {
        self.nodes[node].sleeps = false;
        self.signal(node, Signal::CONT)
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
        if thread::panicking() {
            let logs = self.logs();
            let lines: Vec<&str> = logs.lines().filter(|line| !line.contains("oute")).collect();
            eprintln!("{}", lines[lines.len().saturating_sub(LOG_SHOWN)..].join("\n"));
        }
    }
}
