//! Redis's clients against a running server: the programs in `clients/`, each in RESP3 and in RESP2.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;
use wafka_tests::{Server, Setup, python, repository, target_dir};

/// How long a program may take between two of its lines.
const PATIENCE: Duration = Duration::from_secs(120);

/// What each program does, in this order.
const STEPS: [&str; 10] = [
    "connect",
    "produce",
    "block-read",
    "group",
    "claim",
    "pipeline",
    "transaction",
    "helpers",
    "newer",
    "reconnect",
];

/// Kills the program when the test fails.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // Errors mean that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The directory that `setup.sh` has made for this client, up to date.
fn ready(client: &str) -> PathBuf {
    let mut setup = Command::new(repository().join("tests/clients/setup.sh"));
    let output = setup.arg(client).env("CARGO_TARGET_DIR", target_dir()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "setup.sh {client}: {}\n{text}", output.status);
    target_dir().join("clients").join(client)
}

/// A file of a client's own directory.
fn source(client: &str, file: &str) -> PathBuf {
    repository().join("tests/clients").join(client).join(file)
}

/// A server with two partitions for each topic, which the program may have killed and started again, or stopped and
/// started, at the same port.
struct Restartable {
    setup: Setup,
    server: Option<Server>,
}

impl Restartable {
    fn new() -> Self {
        let first = Setup::new().brokers(2).start();
        // The last --set wins over --port.
        let setup = first.setup().clone().set("server.port", &first.addr().port().to_string());
        Restartable { setup, server: Some(first) }
    }

    fn port(&self) -> u16 {
        self.server.as_ref().unwrap().addr().port()
    }

    fn restart(&mut self, by_kill: bool) {
        let server = self.server.take().unwrap();
        if by_kill {
            server.kill()
        } else {
            server.stop()
        };
        self.server = Some(self.setup.start_when_free());
    }

    fn log(&self) -> String {
        self.server.as_ref().map(Server::log).unwrap_or_default()
    }
}

/// Runs a program to its end and returns the lines it printed. At `restart` the server is restarted.
fn run(server: &mut Restartable, mut program: Command, by_kill: bool) -> Vec<String> {
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = Program(program.spawn().unwrap_or_else(|error| panic!("{program:?}: {error}")));
    let mut input = program.0.stdin.take().unwrap();
    let mut errors = program.0.stderr.take().unwrap();
    let lines = BufReader::new(program.0.stdout.take().unwrap()).lines();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).unwrap();
        text
    });
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| sender.send(line).unwrap()));
    let mut printed = Vec::new();
    loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(line) if line == "restart" => {
                server.restart(by_kill);
                input.write_all(b"ready\n").unwrap();
            }
            Ok(line) => printed.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the program hangs after {printed:?}"),
        }
    }
    let status = program.0.wait().unwrap();
    let errors = errors.join().unwrap();
    assert!(status.success(), "{status}: {printed:?}\n{errors}\n--- the server's log\n{}", server.log());
    printed
}

/// Runs the scenario with each protocol; the server is killed in the one, and stopped in the other.
#[track_caller]
fn scenario(program: impl Fn() -> Command) {
    let mut server = Restartable::new();
    let expected: Vec<String> = STEPS.iter().map(|step| format!("{step}: ok")).collect();
    for (protocol, by_kill) in [("3", true), ("2", false)] {
        let mut command = program();
        command.arg(server.port().to_string()).arg(protocol);
        assert_eq!(run(&mut server, command, by_kill), expected, "RESP{protocol}");
    }
}

fn python_program(file: &str) -> Command {
    ready("redis-py");
    let mut command = Command::new(python());
    command.arg("-u").arg(source("redis-py", file));
    command
}

fn node_program(client: &str) -> Command {
    let out = ready(client);
    let mut command = Command::new(out.join("node"));
    command.env("NODE_PATH", out.join("node_modules")).arg(source(client, "client.cjs"));
    command
}

fn java_program(client: &str) -> Command {
    let out = ready(client);
    let mut command = Command::new("java");
    let class_path = format!("{out}/lib/*:{out}/classes", out = out.display());
    // A short life on a busy machine: the second compiler would not pay.
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"]).arg(class_path).arg("Client");
    command
}

#[test]
fn redis_cli() {
    scenario(|| Command::new(source("redis-cli", "client.sh")));
}

#[test]
fn redis_py() {
    scenario(|| python_program("sync.py"));
}

#[test]
fn redis_py_asyncio() {
    scenario(|| python_program("asynchronous.py"));
}

/// More than the scenario: large and binary values, many keys, many readers.
#[test]
fn redis_py_thoroughly() {
    let mut server = Restartable::new();
    let mut command = python_program("thorough.py");
    command.arg(server.port().to_string());
    assert_eq!(run(&mut server, command, true), ["RESP2: ok", "RESP3: ok"]);
}

#[test]
fn node_redis() {
    scenario(|| node_program("node-redis"));
}

#[test]
fn ioredis() {
    scenario(|| node_program("ioredis"));
}

#[test]
fn go_redis() {
    scenario(|| Command::new(ready("go-redis").join("client")));
}

#[test]
fn jedis() {
    scenario(|| java_program("jedis"));
}

#[test]
fn lettuce() {
    scenario(|| java_program("lettuce"));
}

#[test]
fn redis_rs() {
    scenario(|| Command::new(env!("CARGO_BIN_EXE_client-redis-rs")));
}

#[test]
fn hiredis() {
    scenario(|| Command::new(ready("hiredis").join("client")));
}

/// Programs of these names that know their version and nothing else.
fn old_programs(programs: [(&str, &str); 3]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, version) in programs {
        let path = dir.path().join(name);
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in --version | 'env GOVERSION') echo '{version}' ;; *) exit 1 ;; esac\n"
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    dir
}

/// One whose language is too old says so, and the next is made ready.
#[test]
fn clients_that_cannot_be_made_ready() {
    let old = old_programs([("go", "go1.19.8"), ("npm", "9.2.0"), ("node", "v18.20.4")]);
    let cache = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", old.path().display(), std::env::var("PATH").unwrap());
    let mut setup = Command::new(repository().join("tests/clients/setup.sh"));
    setup.args(["go-redis", "ioredis", "redis-cli"]).env("PATH", path).env("CARGO_TARGET_DIR", cache.path());
    let output = setup.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for expected in [
        "Go is too old or missing: go1.19.8 found, at least 1.",
        "Node is too old or missing: v18.20.4 found, at least 20 needed",
        "setup.sh: not ready: go-redis ioredis\n",
    ] {
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
    let made: Vec<_> = ["go-redis", "ioredis", "redis-cli"]
        .map(|client| cache.path().join("clients").join(client).join("made-from").exists())
        .into();
    assert_eq!(made, [false, false, true]);
}
