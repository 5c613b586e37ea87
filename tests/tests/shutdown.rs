//! An ordered end: what was accepted is finished and synced, and the exit code says so.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use wafka_tests::events::{self, Fields, Id};
use wafka_tests::server::wait_until;
use wafka_tests::{Client, Reply, Server, Setup, client, payload};

#[test]
fn sigterm_while_producing() {
    for round in 0..5 {
        let server = Setup::new().brokers(3).start();
        let answered = produce_until_the_end(&server, round, |server| server.terminate());
        check_end(server, &answered);
    }
}

#[test]
fn shutdown_command_while_producing() {
    let server = Setup::new().brokers(3).start();
    let answered = produce_until_the_end(&server, 0, |server| {
        let mut client = server.client();
        client.send(&["SHUTDOWN"]);
        assert_eq!(client.until_closed().unwrap(), []);
    });
    check_end(server, &answered);
}

type Events = BTreeMap<Id, Fields>;

/// Produces from many clients and ends the server in the middle; returns what was answered.
fn produce_until_the_end(server: &Server, round: u64, end: impl FnOnce(&Server)) -> Events {
    let answered = Mutex::new(BTreeMap::new());
    let replies = AtomicU64::new(0);
    thread::scope(|scope| {
        for producer in 0..6 {
            let (answered, replies) = (&answered, &replies);
            scope.spawn(move || produce(server.client(), round * 10 + producer, answered, replies));
        }
        wait_until("the producers are under way", || replies.load(Ordering::Relaxed) > 500);
        end(server);
    });
    answered.into_inner().unwrap()
}

/// It has exited with 0, has logged no error, and has everything when it comes back.
fn check_end(server: Server, acknowledged: &Events) {
    let setup = server.setup().clone();
    let (status, log) = server.wait_for_end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    let server = setup.start();
    assert!(!server.log().contains("torn"), "{}", server.log());
    let found: Events = events::read_all(&mut server.client(), b"topic").into_iter().collect();
    assert!(acknowledged.len() >= 500);
    for (id, fields) in acknowledged {
        assert_eq!(found.get(id), Some(fields), "event {id} was answered and is lost");
    }
}

/// Produces in pipelines until the server ends the connection, which it does between two replies.
fn produce(mut client: Client, producer: u64, answered: &Mutex<Events>, replies: &AtomicU64) {
    for batch in 0.. {
        let events: Vec<Fields> = (0..20).map(|n| payload::fields(producer, batch * 20 + n)).collect();
        let mut request = Vec::new();
        for fields in &events {
            let mut args = vec![b"XADD".to_vec(), b"topic".to_vec(), b"*".to_vec()];
            args.extend(fields.iter().cloned());
            client::encode(&mut request, &args);
        }
        if client.try_send_raw(&request).is_err() {
            return;
        }
        for fields in events {
            let Ok(reply) = client.try_reply() else { return };
            let id = Id::parse(reply.text());
            answered.lock().unwrap().insert(id, fields);
            replies.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn blocked_and_idle_clients_do_not_delay_the_end() {
    let server = Server::start();
    let mut blocked = server.client();
    blocked.send(&["XREAD", "BLOCK", "0", "STREAMS", "topic", "$"]);
    let _idle: Vec<Client> = (0..20).map(|_| server.client()).collect();
    let mut half = server.client();
    half.send_raw(b"*3\r\n$4\r\nXADD\r\n");
    let mut watcher = server.client();
    wait_until("the reader blocks", || watcher.run("INFO clients").text().contains("blocked_clients:1"));
    server.terminate();
    let begun = std::time::Instant::now();
    let (status, log) = server.wait_for_end();
    assert_eq!(status.code(), Some(0), "{log}");
    // Far below server.shutdown_timeout.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}\n{log}", begun.elapsed());
}

#[test]
fn clients_that_do_not_read_delay_it_no_longer_than_configured() {
    let server = Setup::new().set("server.shutdown_timeout", "1").start();
    let mut client = server.client();
    let value = "v".repeat(1 << 20);
    for _ in 0..20 {
        client.call(&["XADD", "topic", "*", "f", &value]);
    }
    let mut lazy = server.client();
    lazy.send(&["XRANGE", "topic", "-", "+"]);
    wait_until("the reader is served", || client.run("INFO commandstats").text().contains("cmdstat_xrange"));
    server.terminate();
    let begun = std::time::Instant::now();
    let (status, log) = server.wait_for_end();
    assert_eq!(status.code(), Some(0), "{log}");
    // The default of server.shutdown_timeout is 10 seconds.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}\n{log}", begun.elapsed());
}

#[test]
fn shutdown_has_the_options_of_redis() {
    let server = Server::start();
    let mut client = server.client();
    assert!(matches!(client.run("SHUTDOWN NOPE"), Reply::Error(_)));
    assert!(matches!(client.run("SHUTDOWN ABORT"), Reply::Error(_)));
    client.send(&["SHUTDOWN", "NOSAVE"]);
    assert_eq!(client.until_closed().unwrap(), []);
    assert_eq!(server.wait_for_end().0.code(), Some(0));
}

#[test]
fn sigint_ends_it_too() {
    let server = Server::start();
    let pid = rustix::process::Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(server.wait_for_end().0.code(), Some(0));
}
