//! Topics that are deleted while clients use them.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use support::{PATIENCE, TestServer, request};

/// Appends sent at once.
const PIPELINE: usize = 20;

#[test]
fn producing_goes_on_while_topics_are_deleted() {
    let server = TestServer::with(|config| config.server.io_threads = 1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let producers: Vec<_> = ["XADD a * f v", "XADD b * f v", "XADD b NOMKSTREAM * f v"]
            .into_iter()
            .map(|line| {
                let (server, done) = (&server, &done);
                scope.spawn(move || {
                    let mut client = server.client();
                    let pipeline = request(line).repeat(PIPELINE);
                    let mut appended = 0;
                    while !done.load(Ordering::Relaxed) {
                        client.send(&pipeline);
                        for _ in 0..PIPELINE {
                            match client.line().as_str() {
                                "$-1" => assert!(line.contains("NOMKSTREAM")),
                                header => {
                                    assert!(header.starts_with('$'), "{line}: {header}");
                                    client.line();
                                    appended += 1;
                                }
                            }
                        }
                    }
                    appended
                })
            })
            .collect();
        let mut admin = server.client();
        for round in 0..100 {
            admin.command(["DEL a b", "FLUSHALL", "DEL b"][round % 3]);
            let reply = admin.line();
            assert!(reply == "+OK" || reply.starts_with(':'), "{reply}");
            // The thread that serves all of them is not busy with waiting for a deletion.
            admin.check("PING", "+PONG\r\n");
        }
        done.store(true, Ordering::Relaxed);
        let appended: Vec<usize> = producers.into_iter().map(|producer| producer.join().unwrap()).collect();
        assert!(appended[0] > 0 && appended[1] > 0, "{appended:?}");
    });
    let mut client = server.client();
    client.check("FLUSHALL", "+OK\r\n").check("DBSIZE", ":0\r\n").check("XADD a 1-1 f v", "$3\r\n1-1\r\n");
}

#[test]
fn many_topics_are_deleted_at_once() {
    let server = TestServer::start();
    let mut client = server.client();
    let names: Vec<String> = (0..60).map(|n| format!("t{n}")).collect();
    for name in &names {
        client.send(request(&format!("XADD {name} 1-1 f v")));
    }
    for _ in &names {
        client.expect("$3\r\n1-1\r\n");
    }
    client.check(&format!("DEL {} none {}", names[..30].join(" "), names[0]), ":30\r\n");
    client.check("DBSIZE", ":30\r\n").check("EXISTS t0 t29 t30", ":1\r\n");
    client.check("FLUSHALL", "+OK\r\n").check("DBSIZE", ":0\r\n");
    let left: Vec<String> = std::fs::read_dir(server.dir.path().join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('t'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    client.check("XADD t0 1-1 f v", "$3\r\n1-1\r\n").check("XLEN t0", ":1\r\n");
}

#[cfg(target_os = "linux")]
#[test]
fn an_idle_producer_does_not_keep_the_files_of_a_deleted_topic() {
    let server = TestServer::start();
    let dir = server.dir.path().canonicalize().unwrap();
    let open = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap();
        // Descriptors of other tests come and go.
        let mut links: Vec<_> =
            links.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok()).collect();
        links.retain(|link| link.starts_with(&dir) && link.to_string_lossy().contains("/gone-"));
        links
    };
    let mut producer = server.client();
    let mut other = server.client();
    producer.check("XADD gone 1-1 f v", "$3\r\n1-1\r\n").check("PING", "+PONG\r\n");
    assert!(!open().is_empty());
    other.check("DEL gone", ":1\r\n");
    // A broker may be ending its turn still.
    let begin = std::time::Instant::now();
    while !open().is_empty() {
        assert!(begin.elapsed() < PATIENCE, "{:?}", open());
        other.check("PING", "+PONG\r\n");
    }
    producer.check("XADD gone 1-2 f v", "$3\r\n1-2\r\n").check("XLEN gone", ":1\r\n");
}
