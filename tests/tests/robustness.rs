//! Whatever comes over the socket, the server stays up, serves the others, and its memory stays bounded.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use fastrand::Rng;
use wafka_tests::server::{Memory, wait_until};
use wafka_tests::{Client, Reply, Server, Setup, client, payload};

const MIB: u64 = 1 << 20;

/// It answers, and has not grown by more than so much.
#[track_caller]
fn still_well(server: &Server, before: Memory, growth_max: u64) {
    assert_eq!(server.client().run("PING"), Reply::Status("PONG".to_owned()));
    let grown = server.memory().max.saturating_sub(before.now);
    assert!(grown <= growth_max, "memory grew by {} KiB", grown / 1024);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// Sends bytes and nothing more; reads until the server closes, or tells that it waits for more.
fn send_and_end(server: &Server, bytes: &[u8]) {
    let mut client = server.client();
    // The server may close, and so break the connection, before it has read all.
    let _ = client.try_send_raw(bytes);
    client.close_sending();
    client.until_closed().unwrap();
}

#[test]
fn garbage() {
    let server = Server::start();
    let before = server.memory();
    let mut rng = Rng::with_seed(payload::seed());
    for round in 0..300 {
        let len = rng.usize(1..2_000);
        let mut bytes: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
        if round % 2 == 0 {
            // That begins like a request, or is one that was damaged.
            let mut request = Vec::new();
            for _ in 0..5 {
                client::encode(&mut request, &["XADD", "topic", "*", "f", "some value"]);
            }
            let at = rng.usize(..request.len());
            request[at] = rng.u8(..);
            bytes = request;
        }
        send_and_end(&server, &bytes);
    }
    still_well(&server, before, 32 * MIB);
}

#[test]
fn other_protocols() {
    let server = Server::start();
    let before = server.memory();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\nXADD topic * f v\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\x00\x00\x10\x00\x12\x00\x00",
        b"\r\n\r\n\r\n",
        b"*0\r\n*-1\r\n*0\r\n",
    ] {
        send_and_end(&server, bytes);
    }
    // A browser that is tricked into sending a request must not append events.
    assert_eq!(server.client().run("EXISTS topic"), Reply::Int(0));
    still_well(&server, before, 16 * MIB);
}

#[test]
fn deep_nesting() {
    let server = Server::start();
    let before = server.memory();
    for opening in
        ["*1\r\n", "*2\r\n", "%1\r\n", "~1\r\n", ">1\r\n", "*1\r\n$1\r\nx\r\n*1\r\n", "(", "[", "|1\r\n"]
    {
        send_and_end(&server, opening.repeat(100_000).as_bytes());
    }
    let mut client = server.client();
    let nested = format!("{}1{}", "[".repeat(500_000), "]".repeat(500_000));
    let id = client.call(&["XADD", "topic", "*", "f", &nested]);
    let found = client.call(&[b"XRANGE".as_slice(), b"topic", id.bytes(), b"+"]);
    let events = wafka_tests::events::events(&found);
    assert_eq!(events[0].1, [b"f".to_vec(), nested.into_bytes()]);
    still_well(&server, before, 64 * MIB);
}

#[test]
fn huge_lengths() {
    let server = Server::start();
    let before = server.memory();
    for bytes in [
        "*1000000000\r\n",
        "*2147483648\r\n",
        "*99999999999999999999999999\r\n",
        "*-5\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$536870913\r\n",
        "*1\r\n$99999999999999999999999999\r\n",
        "*1\r\n$18446744073709551615\r\n",
        "*2\r\n$4\r\nECHO\r\n$536870912\r\n",
        "*1048576\r\n$4\r\nXADD\r\n",
        "*x\r\n",
        "*1\r\n$x\r\n",
        "*1\r\n:5\r\n",
    ] {
        send_and_end(&server, bytes.as_bytes());
    }
    // Many that announce much and send nothing hold nothing.
    let mut open = Vec::new();
    for _ in 0..100 {
        let mut client = server.client();
        client.send_raw(b"*1000000\r\n$4\r\nECHO\r\n$500000000\r\nx");
        open.push(client);
    }
    still_well(&server, before, 64 * MIB);
    drop(open);
    still_well(&server, before, 64 * MIB);
}

/// A line without an end is no reason to collect it for ever.
#[test]
fn an_endless_inline_command() {
    let server = Server::start();
    let before = server.memory();
    send_and_end(&server, &vec![b'a'; 4 << 20]);
    send_and_end(&server, &[b'*'; 1 << 20]);
    send_and_end(&server, format!("*1\r\n${}", "1".repeat(1 << 20)).as_bytes());
    still_well(&server, before, 32 * MIB);
}

#[test]
fn half_requests_and_disconnects() {
    let server = Server::start();
    let before = server.memory();
    let mut request = Vec::new();
    client::encode(&mut request, &["XADD", "topic", "*", "field", "value"]);
    for cut in 0..request.len() {
        let mut client = server.client();
        client.send_raw(&request[..cut]);
        if cut % 2 == 0 {
            client.close_sending();
            assert_eq!(client.until_closed().unwrap(), []);
        }
    }
    assert_eq!(server.client().run("EXISTS topic"), Reply::Int(0), "half a request was executed");
    // A whole one, in single bytes.
    let mut client = server.client();
    for byte in &request {
        client.send_raw(std::slice::from_ref(byte));
    }
    assert!(matches!(client.reply(), Reply::Bulk(_)));
    // Sent and gone before the reply: it is done all the same.
    let mut client = server.client();
    client.send_raw(&request);
    client.close_sending();
    assert!(matches!(client.until_closed().unwrap()[..], [Reply::Bulk(_)]));
    assert_eq!(server.client().run("XLEN topic"), Reply::Int(2));
    still_well(&server, before, 32 * MIB);
}

#[test]
fn thousands_of_connections() {
    let server = Server::start();
    let mut client = server.client();
    let before = server.memory();
    for _ in 0..10 {
        let mut open: Vec<Client> = (0..300).map(|_| server.client()).collect();
        for (n, client) in (0..).zip(&mut open) {
            match n % 3 {
                0 => assert_eq!(client.run("PING"), Reply::Status("PONG".to_owned())),
                1 => client.send(&["XREAD", "BLOCK", "0", "STREAMS", "topic", "$"]),
                _ => {}
            }
        }
    }
    let connected = |client: &mut Client| {
        let info = client.run("INFO clients");
        info.text().lines().any(|line| line == "connected_clients:1")
    };
    wait_until("the connections are gone", || connected(&mut client));
    let info = client.run("INFO clients");
    assert!(info.text().contains("blocked_clients:0"), "{}", info.text());
    still_well(&server, before, 64 * MIB);
}

/// A client that asks for much and reads nothing costs no more than its limit.
#[test]
fn readers_that_do_not_read() {
    let server =
        Setup::new().set("server.output_buffer_limit", "4mb").set("storage.tail_bytes", "1mb").start();
    let mut client = server.client();
    let value = "v".repeat(100_000);
    for _ in 0..20 {
        client.call(&["XADD", "topic", "*", "f", &value]);
    }
    let before = server.memory();
    let mut request = Vec::new();
    for _ in 0..200 {
        client::encode(&mut request, &["XRANGE", "topic", "-", "+"]);
    }
    let lazy: Vec<Client> = (0..5)
        .map(|_| {
            let mut client = server.client();
            client.send_raw(&request);
            client
        })
        .collect();
    // 2 MB each time, 400 MB in all for each client.
    for n in 0..100 {
        client.call(&["XADD", "topic", "*", "n", &n.to_string()]);
    }
    still_well(&server, before, 120 * MIB);
    drop(lazy);
    assert_eq!(client.run("XLEN topic"), Reply::Int(120));
}

/// A producer that never reads its replies is slowed down or closed, and the others go on.
#[test]
fn producers_that_do_not_read() {
    let server = Setup::new().set("server.output_buffer_limit", "1mb").start();
    let before = server.memory();
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut request = Vec::new();
    for _ in 0..200 {
        client::encode(&mut request, &["ECHO", &"x".repeat(1_000)]);
    }
    let mut sent = 0;
    // Until the server takes no more, or 100 MB are through.
    while sent < 100 << 20 {
        match stream.write(&request) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    assert!(sent < 100 << 20, "the server took {sent} bytes of requests whose replies nobody reads");
    still_well(&server, before, 64 * MIB);
    // A client that comes to its senses, or is gone, is no harm.
    let _ = stream.shutdown(Shutdown::Write);
    let mut rest = Vec::new();
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let _ = stream.read_to_end(&mut rest);
    still_well(&server, before, 64 * MIB);
}

/// The memory that a log takes does not grow with it.
#[test]
fn memory_does_not_grow_with_the_log() {
    let server = Setup::new().set("storage.tail_bytes", "1mb").set("storage.fsync", "no").start();
    let mut client = server.client();
    let value = "v".repeat(2_000);
    let fill = |client: &mut Client| {
        for _ in 0..50 {
            let mut request = Vec::new();
            for _ in 0..200 {
                client::encode(&mut request, &["XADD", "topic", "*", "f", &value]);
            }
            client.send_raw(&request);
            (0..200).for_each(|_| assert!(matches!(client.reply(), Reply::Bulk(_))));
        }
    };
    fill(&mut client);
    let before = server.memory();
    // 60 MB more.
    (0..3).for_each(|_| fill(&mut client));
    assert_eq!(client.run("XLEN topic"), Reply::Int(40_000));
    still_well(&server, before, 16 * MIB);
}
