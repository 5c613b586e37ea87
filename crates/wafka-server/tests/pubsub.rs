//! Publish and subscribe over a real socket: confirmations, messages, their order among replies, slow subscribers.

#![allow(clippy::panic, reason = "a failure here is the test's failure")]

mod support;

use support::{Client, TestServer, bulk, request};

/// An aggregate of bulk strings and integers, as a push in RESP3.
fn frame(marker: char, parts: &[&str]) -> String {
    let mut text = format!("{marker}{}\r\n", parts.len());
    for part in parts {
        match part.strip_prefix(':') {
            Some(number) => text += &format!(":{number}\r\n"),
            None => text += &bulk(part),
        }
    }
    text
}

fn array(parts: &[&str]) -> String {
    frame('*', parts)
}

fn push(parts: &[&str]) -> String {
    frame('>', parts)
}

fn resp3(server: &TestServer) -> Client {
    let mut client = server.client();
    client.command("HELLO 3");
    while client.line() != "*0" {}
    client
}

#[test]
fn messages_come_to_those_who_subscribe() {
    let server = TestServer::start();
    let (mut old, mut new, mut publisher) = (server.client(), resp3(&server), server.client());
    old.check(
        "SUBSCRIBE a b a",
        &[["a", ":1"], ["b", ":2"], ["a", ":2"]]
            .map(|[name, count]| array(&["subscribe", name, count]))
            .concat(),
    );
    old.check("PSUBSCRIBE p*", &array(&["psubscribe", "p*", ":3"]));
    old.check("SSUBSCRIBE s", &array(&["ssubscribe", "s", ":1"]));
    new.check("SUBSCRIBE a", &push(&["subscribe", "a", ":1"]));
    publisher.check("PUBLISH a hello", ":2\r\n");
    old.expect(array(&["message", "a", "hello"]));
    new.expect(push(&["message", "a", "hello"]));
    publisher.check("PUBLISH pa x", ":1\r\n").check("PUBLISH s x", ":0\r\n").check("SPUBLISH s y", ":1\r\n");
    old.expect(array(&["pmessage", "p*", "pa", "x"])).expect(array(&["smessage", "s", "y"]));
    publisher.check("PUBSUB CHANNELS", &array(&["a", "b"])).check("PUBSUB CHANNELS b*", &array(&["b"]));
    publisher.check("PUBSUB NUMSUB a b c", &array(&["a", ":2", "b", ":1", "c", ":0"]));
    publisher.check("PUBSUB NUMPAT", ":1\r\n").check("PUBSUB SHARDCHANNELS", &array(&["s"]));
    publisher.check("PUBSUB SHARDNUMSUB s", &array(&["s", ":1"]));
    publisher.check(
        "PUBSUB CHANNELS a b",
        "-ERR unknown subcommand or wrong number of arguments for 'CHANNELS'. Try PUBSUB HELP.\r\n",
    );
    old.check("UNSUBSCRIBE nope", &array(&["unsubscribe", "nope", ":3"]));
    old.check(
        "UNSUBSCRIBE",
        &[["a", ":2"], ["b", ":1"]].map(|[name, count]| array(&["unsubscribe", name, count])).concat(),
    );
    old.check("UNSUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:1\r\n");
    old.check("PUNSUBSCRIBE p*", &array(&["punsubscribe", "p*", ":0"]));
    old.check("SUNSUBSCRIBE", &array(&["sunsubscribe", "s", ":0"]));
    new.check("PUNSUBSCRIBE", ">3\r\n$12\r\npunsubscribe\r\n_\r\n:1\r\n");
    publisher.check("PUBLISH a again", ":1\r\n");
    new.expect(push(&["message", "a", "again"]));
    old.check("PING", "+PONG\r\n");
}

#[test]
fn a_resp2_subscriber_may_only_listen() {
    let server = TestServer::start();
    let mut client = server.client();
    let refused = |name: &str| {
        format!(
            "-ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\r\n"
        )
    };
    client.check("SUBSCRIBE ch", &array(&["subscribe", "ch", ":1"]));
    client.check("PING", &array(&["pong", ""])).check("PING hi", &array(&["pong", "hi"]));
    for (line, name) in
        [("XLEN s", "xlen"), ("XADD s * f v", "xadd"), ("CLIENT ID", "client|id"), ("HELLO 3", "hello")]
    {
        client.check(line, &refused(name));
    }
    client.check("XLEN", "-ERR wrong number of arguments for 'xlen' command\r\n");
    client.check("RESET", "+RESET\r\n").check("PING", "+PONG\r\n").check("XLEN s", ":0\r\n");
    assert_eq!(server.server().shared().pubsub.clients(), 0);
    client.check("SUBSCRIBE ch", &array(&["subscribe", "ch", ":1"])).check("QUIT", "+OK\r\n").expect_end();
}

#[test]
fn one_who_subscribes_in_resp3_goes_on_as_before() {
    let server = TestServer::start();
    let mut client = resp3(&server);
    let mut requests = Vec::new();
    for line in
        ["SUBSCRIBE a", "PUBLISH a 1", "PING", "PUBLISH a 2", "UNSUBSCRIBE a", "PUBLISH a 3", "XLEN s"]
    {
        requests.extend(request(line));
    }
    // Each message stands behind the reply to what published it, and none behind the end of the subscription.
    client.send(requests).expect(push(&["subscribe", "a", ":1"]));
    client.expect(format!(
        ":1\r\n{}+PONG\r\n:1\r\n{}",
        push(&["message", "a", "1"]),
        push(&["message", "a", "2"])
    ));
    client.expect(push(&["unsubscribe", "a", ":0"])).expect(":0\r\n:0\r\n");
    // Back in RESP2 it is a subscriber like others there.
    client.check("SUBSCRIBE a", &push(&["subscribe", "a", ":1"]));
    client.command("HELLO 2");
    while client.line() != "*0" {}
    client.check("PING", &array(&["pong", ""]));
}

#[test]
fn messages_reach_a_blocked_client() {
    let server = TestServer::start();
    let (mut client, mut publisher) = (resp3(&server), server.client());
    client.check("SUBSCRIBE a", &push(&["subscribe", "a", ":1"]));
    client.command("XREAD BLOCK 0 STREAMS s $");
    while server.server().shared().stats.blocked_clients.get() == 0 {
        std::thread::yield_now();
    }
    for n in 0..50 {
        publisher.check(&format!("PUBLISH a {n}"), ":1\r\n");
        client.expect(push(&["message", "a", &n.to_string()]));
    }
    publisher.check("XADD s 1-1 f v", &bulk("1-1"));
    client.expect("%1\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
    publisher.check("PUBLISH a end", ":1\r\n");
    client.expect(push(&["message", "a", "end"])).check("PING", "+PONG\r\n");
}

#[test]
fn replies_off_do_not_hold_messages_back() {
    let server = TestServer::start();
    let mut client = resp3(&server);
    client.command("CLIENT REPLY OFF");
    client.command("PING").check("SUBSCRIBE a", &push(&["subscribe", "a", ":1"]));
    server.client().check("PUBLISH a m", ":1\r\n");
    client.expect(push(&["message", "a", "m"])).check("CLIENT REPLY ON", "+OK\r\n");
}

#[test]
fn a_thousand_subscribers_get_every_message_in_order() {
    const SUBSCRIBERS: usize = 1000;
    let server = TestServer::start();
    let mut clients: Vec<Client> = (0..SUBSCRIBERS).map(|_| server.client()).collect();
    for client in &mut clients {
        client.command("SUBSCRIBE news");
    }
    for client in &mut clients {
        client.expect(array(&["subscribe", "news", ":1"]));
    }
    let mut publishers = [server.client(), server.client()];
    let mut expected = Vec::new();
    for n in 0..20 {
        for (who, publisher) in publishers.iter_mut().enumerate() {
            publisher.check(&format!("PUBLISH news {n}-{who}"), &format!(":{SUBSCRIBERS}\r\n"));
            expected.extend(array(&["message", "news", &format!("{n}-{who}")]).into_bytes());
        }
    }
    for client in &mut clients {
        client.expect(&expected);
    }
    drop(clients);
    // Subscriptions end with their connections.
    while server.server().shared().pubsub.clients() > 0 {
        std::thread::yield_now();
    }
    publishers[0].check("PUBSUB CHANNELS", "*0\r\n").check("PUBLISH news x", ":0\r\n");
}

#[test]
fn a_subscriber_that_does_not_read_is_closed() {
    let server = TestServer::start();
    let (mut slow, mut quick, mut publisher) = (server.client(), server.client(), server.client());
    publisher.check(
        "CONFIG SET client-output-buffer-limit",
        "-ERR wrong number of arguments for 'config|set' command\r\n",
    );
    publisher.send("*4\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n$26\r\nclient-output-buffer-limit\r\n$19\r\npubsub 1048576 0 60\r\n");
    publisher.expect("+OK\r\n");
    slow.check("SUBSCRIBE a", &array(&["subscribe", "a", ":1"]));
    quick.check("SUBSCRIBE a", &array(&["subscribe", "a", ":1"]));
    let message = "m".repeat(100_000);
    let mut receivers = 2;
    // What the sockets take does not count.
    for _ in 0..1000 {
        publisher.command(&format!("PUBLISH a {message}"));
        receivers = publisher.integer();
        quick.expect(array(&["message", "a", &message]));
        if receivers == 1 {
            break;
        }
    }
    assert_eq!(receivers, 1);
    publisher.command("INFO stats");
    assert!(publisher.bulk().contains("client_output_buffer_limit_disconnections:1\r\n"));
    publisher.check("PUBSUB NUMSUB a", &array(&["a", ":1"]));
}

#[test]
fn subscribers_are_shown_and_killed_as_such() {
    let server = TestServer::start();
    let (mut subscriber, mut other) = (server.client(), server.client());
    subscriber
        .check("SUBSCRIBE a b", &(array(&["subscribe", "a", ":1"]) + &array(&["subscribe", "b", ":2"])));
    subscriber.check("PSUBSCRIBE c", &array(&["psubscribe", "c", ":3"]));
    other.command("CLIENT LIST TYPE pubsub");
    let list = other.bulk();
    assert_eq!(list.lines().count(), 1);
    assert!(list.contains(" flags=P db=0 sub=2 psub=1 ssub=0 "), "{list}");
    other.command("INFO clients");
    assert!(other.bulk().contains("pubsub_clients:1\r\n"));
    other.check("CLIENT KILL TYPE pubsub", ":1\r\n");
    subscriber.expect_end();
}

#[test]
fn a_reply_does_not_break_into_a_message_that_is_being_sent() {
    const MESSAGES: usize = 40;
    let server = TestServer::start();
    let (mut client, mut publisher) = (resp3(&server), server.client());
    client.check("SUBSCRIBE a", &push(&["subscribe", "a", ":1"]));
    client.command("XREAD BLOCK 0 STREAMS s $");
    while server.server().shared().stats.blocked_clients.get() == 0 {
        std::thread::yield_now();
    }
    // More than the sockets take: the client does not read yet.
    let message = "m".repeat(500_000);
    for _ in 0..MESSAGES {
        publisher.check(&format!("PUBLISH a {message}"), ":1\r\n");
    }
    publisher.check("XADD s 1-1 f v", &bulk("1-1"));
    let (mut messages, mut replies) = (0, 0);
    while messages + replies <= MESSAGES {
        match client.line().as_str() {
            ">3" => {
                assert_eq!((client.bulk().as_str(), client.bulk().as_str()), ("message", "a"));
                assert_eq!(client.bulk(), message);
                messages += 1;
            }
            "%1" => {
                client.expect(bulk("s")).expect("*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
                replies += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!((messages, replies), (MESSAGES, 1));
    client.check("PING", "+PONG\r\n");
}

#[test]
fn a_subscriber_is_heard_while_messages_stream_in() {
    let server = TestServer::start();
    let (mut client, shared) = (server.client(), std::sync::Arc::clone(server.server().shared()));
    client.check("SUBSCRIBE a", &array(&["subscribe", "a", ":1"]));
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let publisher = std::thread::spawn({
        let done = std::sync::Arc::clone(&done);
        move || {
            let message = [b'm'; 1000];
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                // Its inbox is never empty for long, and never full.
                if shared.clients.all()[0].inbox.len_and_bytes().1 < 1_000_000 {
                    wafka_server::pubsub::publish(&shared, b"a", &message);
                }
            }
        }
    });
    client.command("UNSUBSCRIBE a");
    loop {
        assert_eq!(client.line(), "*3");
        let kind = client.bulk();
        assert_eq!(client.bulk(), "a");
        if kind == "unsubscribe" {
            break;
        }
        client.bulk();
    }
    client.expect(":0\r\n");
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(publisher.join().is_ok());
    client.check("PING", "+PONG\r\n");
}

#[test]
fn transactions_publish_and_subscribe() {
    let server = TestServer::start();
    let mut old = server.client();
    old.check("MULTI", "+OK\r\n").check("SUBSCRIBE a", "+QUEUED\r\n").check("PING", "+QUEUED\r\n");
    old.check("EXEC", &format!("*2\r\n{}{}", array(&["subscribe", "a", ":1"]), array(&["pong", ""])));
    let mut new = resp3(&server);
    new.check("SUBSCRIBE a", &push(&["subscribe", "a", ":1"])).check("MULTI", "+OK\r\n");
    for line in ["PUBLISH a m", "XADD s 1-1 f v", "UNSUBSCRIBE a", "PING"] {
        new.check(line, "+QUEUED\r\n");
    }
    // What is published to the client itself comes behind the replies.
    new.check("EXEC", &format!("*4\r\n:2\r\n$3\r\n1-1\r\n{}+PONG\r\n", push(&["unsubscribe", "a", ":0"])));
    new.expect(push(&["message", "a", "m"]));
    old.expect(array(&["message", "a", "m"]));
}

#[test]
fn a_subscriber_is_not_idle() {
    let server = TestServer::start();
    let (mut subscriber, mut idle) = (server.client(), server.client());
    subscriber.check("SUBSCRIBE a", &array(&["subscribe", "a", ":1"]));
    idle.check("CONFIG SET timeout 1", "+OK\r\n");
    idle.expect_end();
    server.client().check("PUBLISH a m", ":1\r\n");
    subscriber.expect(array(&["message", "a", "m"]));
}

#[test]
fn many_names_are_refused_before_any_is_subscribed_to() {
    let server = TestServer::start();
    let mut client = server.client();
    let name = "n".repeat(40 * 1024 * 1024);
    client.command(&format!("SUBSCRIBE a {name} {name}x"));
    assert!(client.line().starts_with("-ERR too many subscriptions"));
    client.check("XLEN s", ":0\r\n").check("PUBSUB CHANNELS", "*0\r\n");
}
