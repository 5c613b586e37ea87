//! A server of one's own: on a free port, in a directory that goes away with it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::output::{Log, eprint_log, follow_stderr, follow_stdout};
use crate::{Client, PATIENCE, profile_dir};

/// What the first line on standard output begins with.
const READY: &str = "wafka ready on ";

/// Between two looks at something that gives no signal.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Between two tries to take a port that somebody else has.
const PORT_EVERY: Duration = Duration::from_millis(100);

/// How a server is to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    args: Vec<String>,
    env: Vec<(String, String)>,
    dir: Arc<TempDir>,
    data_dir: PathBuf,
    working_dir: Option<PathBuf>,
    owns: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// On any free port, with an empty data directory that is deleted with the last copy of this.
    ///
    /// # Panics
    /// When no directory can be made.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("wafka-test-").tempdir().unwrap();
        let data_dir = dir.path().join("data");
        Setup {
            args: Vec::new(),
            env: Vec::new(),
            dir: Arc::new(dir),
            data_dir,
            working_dir: None,
            owns: false,
        }
    }

    /// A start waits until the server owns the data, which others reach, and serves it.
    #[must_use]
    pub fn owns(self) -> Self {
        Setup { owns: true, ..self }
    }

    /// With so many brokers, and so many partitions of each new topic.
    #[must_use]
    pub fn brokers(self, brokers: u16) -> Self {
        self.set("server.brokers", &brokers.to_string())
    }

    /// With `--set key=value`.
    #[must_use]
    pub fn set(self, key: &str, value: &str) -> Self {
        self.arg("--set").arg(&format!("{key}={value}"))
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// With a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With the directory beside the data as its working directory.
    #[must_use]
    pub fn work_there(mut self) -> Self {
        self.working_dir = Some(self.dir.path().to_owned());
        self
    }

    /// With its data in this directory of [`Setup::dir`].
    #[must_use]
    pub fn data_in(mut self, name: &str) -> Self {
        self.data_dir = self.dir.path().join(name);
        self
    }

    /// Where the data is.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A directory beside the data, for what a test needs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The command that starts the server, with `--port 0` and the data directory.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = program();
        command.args(["--port", "0", "--data-dir"]).arg(&self.data_dir).args(&self.args);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.working_dir {
            command.current_dir(dir);
        }
        command
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready in time.
    #[must_use]
    #[track_caller]
    pub fn start(&self) -> Server {
        Server::spawn(&mut self.command(), self.clone()).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Starts a server; while somebody else has its port, for a connection perhaps, waits until it is free.
    ///
    /// # Panics
    /// When the server does not start, or the port stays taken.
    #[must_use]
    #[track_caller]
    pub fn start_when_free(&self) -> Server {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Server::spawn(&mut self.command(), self.clone()) {
                Ok(server) => return server,
                Err(failure) if failure.stderr.contains("cannot listen on") && Instant::now() < deadline => {
                    // A port that becomes free gives no signal.
                    std::thread::sleep(PORT_EVERY);
                }
                Err(failure) => panic!("{failure}"),
            }
        }
    }

    /// Starts a server that is to refuse to start, and returns what it said.
    ///
    /// # Panics
    /// When it starts.
    #[must_use]
    #[track_caller]
    pub fn start_refused(&self) -> Failure {
        match Server::spawn(&mut self.command(), self.clone()) {
            Ok(_) => panic!("the server started with {:?}", self.args),
            Err(failure) => failure,
        }
    }
}

/// The path of the server: `$WAFKA_TEST_SERVER`, or the one built together with the tests.
#[must_use]
pub fn program_path() -> PathBuf {
    std::env::var_os("WAFKA_TEST_SERVER")
        .map_or_else(|| profile_dir().join("wafka-server-under-test"), PathBuf::from)
}

/// The server's program, without any argument, in an environment that configures nothing.
#[must_use]
pub fn program() -> Command {
    let mut command = Command::new(program_path());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WAFKA_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A server that ended before it was ready.
#[derive(Debug)]
pub struct Failure {
    /// How it ended; `None` when it had to be killed.
    pub status: Option<ExitStatus>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Failure { status, stdout, stderr } = self;
        match status {
            Some(status) => write!(f, "the server did not start: {status}")?,
            None => write!(f, "the server was not ready in time")?,
        }
        write!(f, "\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    child: Child,
    addr: SocketAddr,
    setup: Setup,
    log: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
}

impl Server {
    /// A server with nothing but defaults.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Setup::new().start()
    }

    fn spawn(command: &mut Command, setup: Setup) -> Result<Self, Failure> {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let stdout = child.stdout.take().expect("invariant: standard output is piped");
        let stderr = child.stderr.take().expect("invariant: standard error is piped");
        let (first_line, out) = follow_stdout(stdout);
        let log = Arc::new(Log::default());
        let readers = vec![out, follow_stderr(stderr, Arc::clone(&log))];
        let first = first_line.recv_timeout(PATIENCE).ok();
        let addr = first.as_deref().and_then(|line| line.trim_end().strip_prefix(READY)?.parse().ok());
        if let Some(addr) = addr {
            let server = Server { child, addr, setup, log, readers };
            if server.setup.owns {
                server.wait_for_log("all topics are open");
            }
            return Ok(server);
        }
        let ended = first.is_some() && wait(&mut child, PATIENCE).is_some();
        if !ended {
            // It runs on without being ready; an error means that it has ended just now.
            let _ = child.kill();
        }
        let status = child.wait().ok().filter(|_| ended);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        let stderr = log.text.lock().unwrap().clone();
        Err(Failure { status, stdout: first.unwrap_or_default(), stderr })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it was started.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Where its data is.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.setup.data_dir()
    }

    /// A new connection.
    #[must_use]
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::try_connect(self.addr).unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.text.lock().unwrap().clone()
    }

    /// Waits until it has logged this.
    ///
    /// # Panics
    /// When it does not in time.
    #[track_caller]
    pub fn wait_for_log(&self, part: &str) {
        let text = self.log.text.lock().unwrap();
        let (text, waited) =
            self.log.grew.wait_timeout_while(text, PATIENCE, |text| !text.contains(part)).unwrap();
        assert!(!waited.timed_out(), "{part:?} was not logged:\n{text}");
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kills it as a crash would, and waits for its end.
    pub fn kill(mut self) -> Setup {
        self.end_by_kill();
        self.setup.clone()
    }

    /// Asks it to end, by `SIGTERM`.
    ///
    /// # Panics
    /// When it has ended already.
    #[track_caller]
    pub fn terminate(&self) {
        kill_process(self.process(), Signal::TERM).unwrap();
    }

    /// Puts it to sleep, by `SIGSTOP`, with everything that is under way in it, and waits until all of its threads sleep.
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn sleep(&self) {
        kill_process(self.process(), Signal::STOP).unwrap();
        let is_stopped = |stat: &str| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
        wait_until("all threads sleep", || {
            let mut threads = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
            // A thread that has ended meanwhile has no state.
            threads.all(|thread| {
                fs::read_to_string(thread.unwrap().path().join("stat")).map_or(true, |stat| is_stopped(&stat))
            })
        });
    }

    /// Wakes it up, by `SIGCONT`.
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn wake(&self) {
        kill_process(self.process(), Signal::CONT).unwrap();
    }

    /// Asks it to end, by `SIGTERM`, and waits for that. It must exit with 0.
    ///
    /// # Panics
    /// When it does not end in time, or not with 0.
    #[track_caller]
    pub fn stop(self) -> Setup {
        self.terminate();
        let setup = self.setup.clone();
        let (status, log) = self.wait_for_end();
        assert!(status.success(), "{status}:\n{log}");
        setup
    }

    /// Waits until it ends on its own; returns how it ended, and its whole log.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn wait_for_end(mut self) -> (ExitStatus, String) {
        let status = wait(&mut self.child, PATIENCE);
        let Some(status) = status else { panic!("the server does not end:\n{}", self.log()) };
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        (status, self.log())
    }

    /// Ends it by `SIGTERM` and starts it again on the same data, on another port.
    #[must_use]
    #[track_caller]
    pub fn restart(self) -> Self {
        self.stop().start()
    }

    /// Its resident memory in bytes, now and at most so far.
    ///
    /// # Panics
    /// When the system does not tell.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
        };
        Memory { now: field("VmRSS:"), max: field("VmHWM:") }
    }

    fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn end_by_kill(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprint_log(&self.log());
        }
        self.end_by_kill();
    }
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Now.
    pub now: u64,
    /// At most so far.
    pub max: u64,
}

/// Waits for the end of a process; `None` when it does not come in time.
fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > until {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Waits until `done` says so, looking again and again: for states that give no signal.
///
/// # Panics
/// When it does not in time; `what` is named then.
#[track_caller]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}
