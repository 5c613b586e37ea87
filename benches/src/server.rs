//! The servers under test: started on a fresh or kept data directory, waited for by their own signs of readiness,
//! stopped by SIGTERM.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::Context;
use crate::readback::Reader;
use crate::{BenchError, Result};

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at a server that has no signal to wait for.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How much of a failed server's output is shown.
const LOG_SHOWN: u64 = 2000;

/// Which server to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Redis, at this path or name.
    Redis(PathBuf),
    /// Wafka, at this path.
    Wafka(PathBuf),
    /// Wafka, at this path, with another storage backend.
    WafkaOn(PathBuf, Backend),
}

/// A storage backend of Wafka's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// What `storage.backend` calls it.
    pub name: String,
    /// The plugin's library, absolute; `None` for one that is built in.
    pub plugin: Option<PathBuf>,
    /// What of the configuration is its own: tables, in TOML.
    pub options: String,
}

/// A string as TOML has it.
pub(crate) fn quoted(text: &str) -> Result<String> {
    serde_json::to_string(text).doing(|| "quote a text")
}

impl Backend {
    /// The configuration that chooses it.
    fn config(&self) -> Result<String> {
        // A string of JSON is one of TOML.
        let mut toml = format!("[storage]\nbackend = {}\n", quoted(&self.name)?);
        if let Some(plugin) = &self.plugin {
            toml.push_str(&format!("\n[[plugins]]\npath = {}\n", quoted(&plugin.display().to_string())?));
        }
        toml.push_str(&format!("\n{}", self.options));
        Ok(toml)
    }
}

/// When a reply may be given: Redis's words, `appendfsync` there and `storage.fsync` here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// After a sync.
    Always,
    /// At once; a sync every second.
    EverySec,
}

impl Fsync {
    fn word(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::EverySec => "everysec",
        }
    }
}

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
    stopped: bool,
    /// Where it listens.
    pub addr: SocketAddr,
    /// From the start of the process until it answered `PING` with `PONG`.
    pub ready_after: Duration,
}

impl Program {
    /// Starts the server on `dir`, which is made if it isn't there, and waits until it answers.
    ///
    /// # Errors
    /// It does not start, or not in time; the message ends with its output.
    pub fn start(&self, dir: &Path, fsync: Fsync) -> Result<Server> {
        fs::create_dir_all(dir).doing(|| dir.display().to_string())?;
        match self {
            Self::Redis(path) => start_redis(path, dir, fsync),
            Self::Wafka(path) => start_wafka(path, dir, fsync, None),
            Self::WafkaOn(path, backend) => start_wafka(path, dir, fsync, Some(backend)),
        }
    }

    /// As [`Program::start`], but a server of Wafka's that stands by, as another one owns the data, is not waited for any longer.
    ///
    /// # Errors
    /// As [`Program::start`].
    pub fn start_listening(&self, dir: &Path, fsync: Fsync) -> Result<Server> {
        fs::create_dir_all(dir).doing(|| dir.display().to_string())?;
        match self {
            Self::Redis(path) => start_redis(path, dir, fsync),
            Self::Wafka(path) => listen_wafka(path, dir, fsync, None),
            Self::WafkaOn(path, backend) => listen_wafka(path, dir, fsync, Some(backend)),
        }
    }
}

fn log_beside(dir: &Path) -> PathBuf {
    dir.with_extension("log")
}

fn spawn(name: &str, command: &mut Command, dir: &Path) -> Result<(Child, PathBuf)> {
    let log = log_beside(dir);
    let what = || log.display().to_string();
    let file = File::options().create(true).append(true).open(&log).doing(what)?;
    // Variables of that beginning configure Wafka, and those of this program and of tests are unknown to it.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WAFKA_")) {
        command.env_remove(name);
    }
    let child = command
        .stdin(Stdio::null())
        .stderr(file)
        .spawn()
        .doing(|| format!("start {name} ({})", Path::new(command.get_program()).display()))?;
    Ok((child, log))
}

/// Redis has no sign of readiness but its answer, and no way to be given any free port: one is looked for here.
fn start_redis(path: &Path, dir: &Path, fsync: Fsync) -> Result<Server> {
    let addr = free_port()?;
    let started = Instant::now();
    let mut command = Command::new(path);
    command.arg("--port").arg(addr.port().to_string()).arg("--dir").arg(dir);
    command.args(["--bind", "127.0.0.1", "--protected-mode", "no", "--save", "", "--appendonly", "yes"]);
    command.args(["--appendfsync", fsync.word(), "--auto-aof-rewrite-percentage", "0"]);
    let log = File::options().create(true).append(true).open(log_beside(dir));
    command.stdout(log.doing(|| log_beside(dir).display().to_string())?);
    let (child, log) = spawn("redis-server", &mut command, dir)?;
    let mut server = Server::new("redis-server", child, log, addr);
    loop {
        server.must_run()?;
        if let Ok(mut reader) = Reader::open(addr)
            && reader.ping()?
        {
            break;
        }
        if started.elapsed() > PATIENCE {
            return Err(server.problem(format!("no answer to PING after {} s", PATIENCE.as_secs())));
        }
        thread::sleep(LOOK_EVERY);
    }
    server.ready_after = started.elapsed();
    Ok(server)
}

fn free_port() -> Result<SocketAddr> {
    let what = || "find a free port";
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing(what)?.local_addr().doing(what)
}

/// Wafka finds a free port itself and says on stdout when it is ready.
fn listen_wafka(path: &Path, dir: &Path, fsync: Fsync, backend: Option<&Backend>) -> Result<Server> {
    let mut command = Command::new(path);
    command.args(["--bind", "127.0.0.1", "--port", "0", "--data-dir"]).arg(dir);
    command.arg("--set").arg(format!("storage.fsync={}", fsync.word()));
    if let Some(backend) = backend {
        let config = dir.with_extension("toml");
        fs::write(&config, backend.config()?).doing(|| config.display().to_string())?;
        command.arg("--config").arg(config);
    }
    // Elsewhere, so that no configuration file lying about changes its defaults.
    command.current_dir(dir.parent().unwrap_or(dir)).stdout(Stdio::piped());
    let (mut child, log) = spawn("wafka-server", &mut command, dir)?;
    let stdout = child.stdout.take().expect("invariant: stdout was asked to be a pipe");
    let mut server = Server::new("wafka-server", child, log, SocketAddr::from(([127, 0, 0, 1], 0)));
    let (sender, first_line) = mpsc::channel();
    let log = server.log.clone();
    // Reads on to the end, so that the server never waits for room in the pipe.
    thread::spawn(move || keep_output(stdout, &log, &sender));
    let line = match first_line.recv_timeout(PATIENCE) {
        Ok(line) => line,
        Err(RecvTimeoutError::Timeout) => {
            return Err(server.problem(format!("not ready after {} s", PATIENCE.as_secs())));
        }
        Err(RecvTimeoutError::Disconnected) => return Err(server.ended()),
    };
    server.addr =
        line.trim_end().strip_prefix("wafka ready on ").and_then(|addr| addr.parse().ok()).ok_or_else(
            || server.problem(format!("expected \"wafka ready on <addr>:<port>\", got {line:?}")),
        )?;
    Ok(server)
}

/// As [`listen_wafka`], and waits until it serves: where others might own the data, it listens before.
fn start_wafka(path: &Path, dir: &Path, fsync: Fsync, backend: Option<&Backend>) -> Result<Server> {
    let started = Instant::now();
    let mut server = listen_wafka(path, dir, fsync, backend)?;
    while !Reader::open(server.addr)?.ping()? {
        server.must_run()?;
        if started.elapsed() > PATIENCE {
            return Err(server.problem(format!("still loading after {} s", PATIENCE.as_secs())));
        }
        thread::sleep(LOOK_EVERY);
    }
    server.ready_after = started.elapsed();
    Ok(server)
}

/// Sends the first line to `first_line` and writes what follows to the log.
fn keep_output(stdout: impl Read, log: &Path, first_line: &mpsc::Sender<String>) {
    let mut lines = BufReader::new(stdout);
    let mut line = String::new();
    if lines.read_line(&mut line).is_ok_and(|got| got > 0) {
        // Nobody may be waiting any more; that is reported where the waiting ended.
        let _ = first_line.send(line);
    }
    match File::options().append(true).open(log) {
        Ok(mut log) => drop(std::io::copy(&mut lines, &mut log)),
        Err(_) => drop(std::io::copy(&mut lines, &mut std::io::sink())),
    }
}

impl Server {
    fn new(name: &str, child: Child, log: PathBuf, addr: SocketAddr) -> Self {
        Self { name: name.to_owned(), child, log, stopped: false, addr, ready_after: Duration::ZERO }
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the server with SIGTERM and waits until it has exited.
    ///
    /// # Errors
    /// It does not exit in time, or not with status 0.
    pub fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| self.problem("has no process id".into()))?;
        kill_process(pid, Signal::TERM).doing(|| format!("SIGTERM to {}", self.name))?;
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().doing(|| format!("wait for {}", self.name))? {
                self.stopped = true;
                return if status.success() {
                    Ok(())
                } else {
                    Err(self.problem(format!("after SIGTERM: {status}, expected exit status 0")))
                };
            }
            if asked.elapsed() > PATIENCE {
                return Err(self.problem(format!("still running {} s after SIGTERM", PATIENCE.as_secs())));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Ends the server as a crash would, by `kill -9`.
    ///
    /// # Errors
    /// It had ended before.
    pub fn kill(mut self) -> Result<()> {
        self.must_run()?;
        self.child.kill().doing(|| format!("kill {}", self.name))?;
        self.child.wait().doing(|| format!("wait for {}", self.name))?;
        self.stopped = true;
        Ok(())
    }

    /// Checks that the process has not ended.
    ///
    /// # Errors
    /// It has.
    pub fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait().doing(|| format!("wait for {}", self.name))? {
            None => Ok(()),
            Some(_) => Err(self.ended()),
        }
    }

    fn ended(&mut self) -> BenchError {
        match self.child.wait() {
            Ok(status) => {
                self.stopped = true;
                self.problem(format!("ended by itself: {status}"))
            }
            Err(error) => self.problem(format!("ended by itself: {error}")),
        }
    }

    /// An error about this server, with the end of its output. For use when something else failed, too.
    #[must_use]
    pub fn problem(&self, problem: String) -> BenchError {
        let log = match end_of(&self.log) {
            Ok(text) if text.is_empty() => String::new(),
            Ok(text) => format!("\n{text}"),
            Err(error) => format!("\n(no output: {}: {error})", self.log.display()),
        };
        BenchError::Server { server: self.name.clone(), problem, log }
    }
}

fn end_of(path: &Path) -> std::io::Result<String> {
    use std::io::{Seek, SeekFrom};
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(LOG_SHOWN);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(LOG_SHOWN).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.stopped {
            // An error is being reported already; all that is left is not to leave a process behind.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests;
