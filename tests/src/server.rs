//! A server of one's own: on a free port, in a directory that goes away with it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::output::{Log, eprint_log, follow_stderr, follow_stdout};
use crate::setup::Setup;
use crate::{Client, PATIENCE};

/// What the first line on standard output begins with.
const READY: &str = "wafka ready on ";

/// Between two looks at something that gives no signal.
const LOOK_EVERY: Duration = Duration::from_millis(2);

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

    pub(crate) fn spawn(command: &mut Command, setup: Setup) -> Result<Self, Failure> {
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
