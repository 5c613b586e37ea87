//! The program itself: its options, its errors, its signals.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failure of a helper is the test's failure")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::Client;

const PROGRAM: &str = env!("CARGO_BIN_EXE_wafka-server");

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the program, which must fail and say all of this.
#[track_caller]
fn fails(command: &mut Command, parts: &[&str]) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stderr = text(&stderr);
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert_eq!(text(&stdout), "");
    for part in parts {
        assert!(stderr.contains(part), "{part:?} is not in: {stderr}");
    }
}

/// A running program, killed when dropped.
struct Running {
    child: Child,
    addr: String,
}

impl Running {
    fn start(data_dir: &Path, args: &[&str]) -> Self {
        let data_dir = data_dir.to_str().unwrap();
        Running::spawn(&mut program(&[&["--port", "0", "--data-dir", data_dir], args].concat()))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let addr = line.strip_prefix("wafka ready on ").expect(&line).trim_end().to_owned();
        Running { child, addr }
    }

    fn client(&self) -> Client {
        Client::new(TcpStream::connect(&self.addr).unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end: the exit code, what else it wrote to stdout, and stderr.
    fn wait(mut self) -> (Option<i32>, String, String) {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        (self.child.wait().unwrap().code(), stdout, stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Mostly it has ended, and there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn signals_end_it_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        let running = Running::start(dir.path(), &["--set", "log.format=json"]);
        assert!(running.addr.starts_with("127.0.0.1:"));
        let mut client = running.client();
        client.check("XADD s 1-1 f v", "$3\r\n1-1\r\n");
        running.signal(signal);
        client.expect_end();
        let (code, stdout, stderr) = running.wait();
        assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
        let lines: Vec<serde_json::Value> =
            stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["fields"]["message"], "ready");
        assert_eq!(lines[0]["level"], "INFO");
        let running = Running::start(dir.path(), &[]);
        running.client().check("XLEN s", ":1\r\n").check("SHUTDOWN", "").expect_end();
        assert_eq!(running.wait().0, Some(0));
    }
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path(), &[]);
    let path = dir.path().to_str().unwrap();
    let process = format!("process {}", running.child.id());
    fails(&mut program(&["--port", "0", "--data-dir", path]), &[path, "in use by another server", &process]);
    running.client().check("PING", "+PONG\r\n");
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let port = addr.port().to_string();
    let args = ["--port", &port, "--data-dir", dir.path().to_str().unwrap()];
    fails(&mut program(&args), &[&format!("cannot listen on {addr}"), "in use", "server.port"]);
}

#[test]
fn clients_leave_descriptors_to_the_logs() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 128 && exec \"$0\" \"$@\"", PROGRAM, "--port", "0", "--data-dir"]);
    command.arg(dir.path()).args(["--set", "server.brokers=2", "--set", "server.io_threads=2"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let server = Running::spawn(&mut command);
    let mut client = server.client();
    client.command("CONFIG GET maxclients").expect("*2\r\n$10\r\nmaxclients\r\n");
    let max: u32 = client.bulk().parse().unwrap();
    assert!((40..96).contains(&max), "{max}");
    client.check(
        "CONFIG SET maxclients 10000",
        &format!(
            "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating system is not able to \
             handle the specified number of clients, try with {max}\r\n"
        ),
    );
    let mut others: Vec<Client> = (1..max).map(|_| server.client()).collect();
    for other in &mut others {
        other.check("PING", "+PONG\r\n");
    }
    let refused: Vec<Client> = (0..max).map(|_| server.client()).collect();
    for mut refused in refused {
        refused.expect("-ERR max number of clients reached\r\n").expect_end();
    }
    // With every place taken there is room for the files of new topics.
    for topic in 0..5 {
        client.check(&format!("XADD t{topic} 1-1 f v"), "$3\r\n1-1\r\n");
    }
    client.check(&format!("CONFIG SET maxclients {max}"), "+OK\r\n");
    server.signal(Signal::TERM);
    let (code, _, log) = server.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("fewer clients than server.maxclients") && log.contains("wanted=10000"), "{log}");
}

#[test]
fn a_bad_configuration_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wafka.toml");
    std::fs::write(&file, "[server]\nport = \"x\"\n").unwrap();
    let path = file.to_str().unwrap();
    fails(&mut program(&["--config", path]), &[path, "port = \"x\"", "expected u16"]);
    fails(&mut program(&["--config", "/no/such/file"]), &["/no/such/file", "No such file"]);
    fails(&mut program(&["--port", "x"]), &["--port", "expected u16"]);
    fails(&mut program(&["--set", "x"]), &["--set", "section.key=value"]);
    fails(program(&[]).env("WAFKA_SERVER__PROT", "1"), &["the environment", "prot"]);
    fails(program(&[]).env("WAFKA_STORAGE__FSYNC", "x"), &["storage.fsync", "always, everysec or no"]);
}

#[test]
fn a_declared_topic_that_cannot_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--port", "0", "--data-dir", dir.path().to_str().unwrap()];
    let mut command = program(&[&args[..], &["--set", "topics.t.partitioner=nosuch"]].concat());
    fails(&mut command, &["topics.t", "nosuch", "round-robin"]);
}

#[test]
fn the_configuration_can_be_checked_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let args = ["--check-config", "--data-dir", path.to_str().unwrap(), "--set", "server.brokers=3"];
    let output = program(&args).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "configuration ok\n"));
    assert!(!path.exists());
    fails(&mut program(&["--check-config", "--set", "server.databases=0"]), &["server.databases: found 0"]);
}

#[test]
fn sources_rank_as_documented() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wafka.toml");
    std::fs::write(&file, "[server]\ntimeout = 1\nmaxclients = 2\ndatabases = 3\n").unwrap();
    let data = dir.path().join("data");
    let args = ["--config", file.to_str().unwrap(), "--set", "server.databases=30"];
    let mut command = program(&[&["--port", "0", "--data-dir", data.to_str().unwrap()], &args[..]].concat());
    let mut child =
        command.env("WAFKA_SERVER__MAXCLIENTS", "20").env("WAFKA_SERVER__DATABASES", "20").spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let running = Running { child, addr: line.trim_end().rsplit(' ').next().unwrap().to_owned() };
    let mut client = running.client();
    for (name, value) in [("timeout", "1"), ("maxclients", "20"), ("databases", "30")] {
        client.check(
            &format!("CONFIG GET {name}"),
            &format!("*2\r\n{}{}", support::bulk(name), support::bulk(value)),
        );
    }
}
