//! Limits that keep one client from harming the others: clients, passwords, idle time, output.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use wafka_tests::{Client, Reply, Server, Setup};

fn ok() -> Reply {
    Reply::Status("OK".to_owned())
}

fn pong() -> Reply {
    Reply::Status("PONG".to_owned())
}

/// An address of this machine that is not loopback. `connect` on a datagram socket sends nothing.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[test]
fn protected_mode_refuses_clients_from_elsewhere() {
    let Some(outer) = outer_address() else {
        // Where there is no network but loopback, there is nobody to be protected from; the refusal is tested in the
        // server's unit tests.
        println!("this machine has no address but loopback");
        return;
    };
    let setup = Setup::new().arg("--bind").arg("0.0.0.0");
    let from_outside = |server: &Server| SocketAddr::new(outer, server.addr().port());
    let server = setup.start();
    let mut client = Client::connect(from_outside(&server));
    let replies = client.until_closed().unwrap();
    assert!(replies.len() == 1 && replies[0].is_error("DENIED "), "{replies:?}");
    assert!(
        replies[0].error().contains("requirepass") || replies[0].error().contains("password"),
        "{replies:?}"
    );
    let local = SocketAddr::new([127, 0, 0, 1].into(), server.addr().port());
    assert_eq!(Client::connect(local).run("PING"), pong());
    server.stop();
    for setup in
        [setup.clone().set("server.protected_mode", "false"), setup.set("server.requirepass", "secret")]
    {
        let server = setup.start();
        let reply = Client::connect(from_outside(&server)).run("PING");
        assert!(reply == pong() || reply.is_error("NOAUTH "), "{reply:?}");
        server.stop();
    }
}

#[test]
fn a_password_is_required() {
    let server = Setup::new().set("server.requirepass", "secret").start();
    let mut client = server.client();
    for command in ["PING", "XADD topic * f v", "INFO", "CONFIG GET *", "SHUTDOWN", "HELLO 3", "COMMAND"] {
        assert!(client.run(command).is_error("NOAUTH "), "{command}");
    }
    assert!(client.run("AUTH wrong").is_error("WRONGPASS "));
    assert!(client.run("HELLO 3 AUTH default wrong").is_error("WRONGPASS "));
    assert_eq!(client.run("AUTH secret"), ok());
    assert_eq!(client.run("PING"), pong());
    client.run("RESET");
    assert!(client.run("PING").is_error("NOAUTH "));
    let mut client = server.client();
    client.send(&["HELLO", "3", "AUTH", "default", "secret"]);
    client.expect_resp3();
    assert_eq!(client.reply().get("proto"), &Reply::Int(3));
    assert_eq!(client.run("XLEN topic"), Reply::Int(0));
}

/// Who has not proved who they are cannot make the server hold much.
#[test]
fn without_a_password_requests_are_small() {
    let server = Setup::new().set("server.requirepass", "secret").start();
    for request in [&b"*100\r\n"[..], b"*2\r\n$4\r\nPING\r\n$1000000\r\n"] {
        let mut client = server.client();
        client.send_raw(request);
        let replies = client.until_closed().unwrap();
        assert!(
            replies.len() == 1 && replies[0].is_error("ERR Protocol error: unauthenticated"),
            "{replies:?}"
        );
    }
}

#[test]
fn there_are_at_most_so_many_clients() {
    let server = Setup::new().set("server.maxclients", "5").start();
    let mut clients: Vec<Client> = (0..5).map(|_| server.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.run("PING"), pong()));
    let replies = server.client().until_closed().unwrap();
    assert_eq!(replies, [Reply::Error("ERR max number of clients reached".to_owned())]);
    let mut gone = clients.pop().unwrap();
    assert_eq!(gone.run("QUIT"), ok());
    assert_eq!(gone.until_closed().unwrap(), []);
    // The place is free when the server has seen the end, which the closed connection shows.
    wafka_tests::server::wait_until("a place is free", || {
        server.client().try_call(&["PING"]).is_ok_and(|reply| reply == pong())
    });
    assert_eq!(clients[0].run("CONFIG SET maxclients 100"), ok());
    assert_eq!(server.client().run("PING"), pong());
}

#[test]
fn idle_clients_are_closed_and_blocked_ones_are_not() {
    let server = Setup::new().set("server.timeout", "1").start();
    let (mut idle, mut blocked) = (server.client(), server.client());
    assert_eq!(idle.run("PING"), pong());
    let begun = Instant::now();
    blocked.send(&["XREAD", "BLOCK", "0", "STREAMS", "topic", "$"]);
    assert_eq!(idle.until_closed().unwrap(), []);
    assert!(begun.elapsed() >= Duration::from_secs(1), "closed after {:?}", begun.elapsed());
    server.client().run("XADD topic 1-1 f v");
    assert!(matches!(blocked.reply(), Reply::Array(_)));
}

#[test]
fn a_reply_beyond_the_output_limit_is_an_error() {
    let server = Setup::new().set("server.output_buffer_limit", "64kb").start();
    let mut client = server.client();
    let value = "v".repeat(1000);
    for _ in 0..100 {
        client.call(&["XADD", "topic", "*", "f", &value]);
    }
    let reply = client.run("XRANGE topic - +");
    assert!(matches!(reply, Reply::Error(_)), "100 KB were sent");
    assert!(reply.error().contains("output"), "{reply:?}");
    assert_eq!(client.run("XRANGE topic - + COUNT 50").array().len(), 50);
    assert_eq!(client.run("PING"), pong());
}

#[test]
fn arguments_have_a_longest_length() {
    let server = Setup::new().set("server.proto_max_bulk_len", "1mb").start();
    let mut client = server.client();
    assert_eq!(client.call(&["ECHO", &"x".repeat(1 << 20)]).bytes().len(), 1 << 20);
    client.send_raw(format!("*2\r\n$4\r\nECHO\r\n${}\r\n", (1 << 20) + 1).as_bytes());
    let replies = client.until_closed().unwrap();
    assert_eq!(replies, [Reply::Error("ERR Protocol error: invalid bulk length".to_owned())]);
}
