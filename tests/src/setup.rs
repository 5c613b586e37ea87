//! How a server of one's own is started.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::server::{Failure, Server};
use crate::{PATIENCE, profile_dir};

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
    pub(crate) owns: bool,
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
