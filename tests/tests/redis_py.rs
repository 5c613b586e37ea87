//! The real redis-py, end to end: `tests/clients/redis_py.py`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use wafka_tests::{Server, Setup, python, repository};

/// How long the script may take between two of its lines.
const PATIENCE: Duration = Duration::from_secs(120);

/// Kills the script when the test fails.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        // Errors mean that it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn redis_py_works() {
    let first = Server::start();
    let port = first.addr().port();
    // The last --set wins over --port: the server comes back where the script knows it.
    let setup: Setup = first.setup().clone().set("server.port", &port.to_string());
    let mut server = Some(first);
    let mut script = Command::new(python());
    script.arg("-u").arg(repository().join("tests/clients/redis_py.py")).arg(port.to_string());
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut script = Script(script.spawn().unwrap());
    let mut input = script.0.stdin.take().unwrap();
    let mut errors = script.0.stderr.take().unwrap();
    let lines = BufReader::new(script.0.stdout.take().unwrap()).lines();
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
                server.take().unwrap().kill();
                server = Some(setup.start());
                input.write_all(b"ready\n").unwrap();
            }
            Ok(line) => printed.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the script hangs after {printed:?}"),
        }
    }
    let status = script.0.wait().unwrap();
    let log = server.as_ref().map(Server::log).unwrap_or_default();
    assert!(
        status.success(),
        "{status}: {printed:?}\n{}\n--- the server's log\n{log}",
        errors.join().unwrap()
    );
    assert_eq!(printed, ["RESP2: ok", "RESP3: ok"]);
}
