use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// A shell script in place of the server.
fn script(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("server");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn failure(make: impl Fn(PathBuf) -> Program, text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let program = make(script(dir.path(), text));
    program.start(&dir.path().join("data"), Fsync::Always).unwrap_err().to_string()
}

#[test]
fn a_server_that_ends_at_once_is_reported_with_its_output() {
    for make in [Program::Redis, Program::Wafka] {
        let error = failure(make, "echo 'no such option' >&2; exit 3");
        assert!(error.contains("ended by itself") && error.contains("3"), "{error}");
        assert!(error.contains("no such option"), "{error}");
    }
}

#[test]
fn a_server_that_says_something_else_is_reported() {
    let error = failure(Program::Wafka, "echo hello; exec cat /dev/zero >/dev/null");
    assert!(error.contains(r#"got "hello\n""#), "{error}");
}

#[test]
fn a_program_that_is_not_there_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Program::Wafka(dir.path().join("missing"));
    let error = missing.start(&dir.path().join("data"), Fsync::Always).unwrap_err().to_string();
    assert!(error.contains("start wafka-server") && error.contains("missing"), "{error}");
}

#[test]
fn a_wrong_exit_status_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    // Ready only once the trap is set, so that the signal cannot come before it.
    let path = script(dir.path(), "trap 'exit 7' TERM; echo ready; while :; do :; done");
    let mut child = Command::new(path).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addr = SocketAddr::from(([127, 0, 0, 1], 1));
    let server = Server::new("script", child, dir.path().join("log"), addr);
    let error = server.stop().unwrap_err().to_string();
    assert!(error.contains("expected exit status 0"), "{error}");
}

/// Listens for so many connections, and answers what each says first.
fn answering(replies: &'static [&'static [u8]]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for reply in replies {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 100]).unwrap() > 0);
            stream.write_all(reply).unwrap();
        }
    });
    addr
}

/// Says that it is ready at `addr`, goes on talking, and obeys SIGTERM.
fn ready_at(addr: SocketAddr) -> String {
    format!("trap 'exit 0' TERM; echo \"$@\" >&2; echo wafka ready on {addr}; while :; do echo more; done")
}

#[test]
fn a_ready_server_is_taken_at_its_word_and_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::Wafka(script(dir.path(), &ready_at(answering(&[b"+PONG\r\n"]))));
    let data = dir.path().join("data");
    let mut server = program.start(&data, Fsync::EverySec).unwrap();
    assert!(data.is_dir() && server.ready_after > Duration::ZERO);
    server.must_run().unwrap();
    let log = server.log.clone();
    server.stop().unwrap();
    let log = fs::read_to_string(log).unwrap();
    let expected =
        format!("--bind 127.0.0.1 --port 0 --data-dir {} --set storage.fsync=everysec", data.display());
    assert_eq!(log.lines().next(), Some(expected.as_str()));
}

#[test]
fn a_server_that_stands_by_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    // After the last answer nobody listens: it was asked until it answered, and no longer.
    let text = ready_at(answering(&[b"-LOADING standby\r\n", b"-LOADING standby\r\n", b"+PONG\r\n"]));
    let program = Program::Wafka(script(dir.path(), &text));
    program.start(&dir.path().join("data"), Fsync::Always).unwrap().stop().unwrap();
}
