//! Keyspace notifications over a real socket: which events there are, and when they come.

mod support;

use support::{Client, TestServer, bulk};

fn listener(server: &TestServer, classes: &str) -> Client {
    let mut client = server.client();
    client.check(&format!("CONFIG SET notify-keyspace-events {classes}"), "+OK\r\n");
    client.check("PSUBSCRIBE __key*", "*3\r\n$10\r\npsubscribe\r\n$6\r\n__key*\r\n:1\r\n");
    client
}

/// The messages about an event by key and by event.
fn event(database: u16, event: &str, key: &str) -> String {
    let message = |channel: String, message: &str| {
        format!("*4\r\n{}{}{}{}", bulk("pmessage"), bulk("__key*"), bulk(&channel), bulk(message))
    };
    message(format!("__keyspace@{database}__:{key}"), event)
        + &message(format!("__keyevent@{database}__:{event}"), key)
}

#[test]
fn what_happens_to_topics_is_told() {
    let server = TestServer::start();
    let (mut client, mut listener) = (server.client(), listener(&server, "KEAn"));
    for (line, reply, events) in [
        ("XADD s 1-1 f v", "$3\r\n1-1\r\n", &["new", "xadd"][..]),
        ("XADD s 2-1 f v", "$3\r\n2-1\r\n", &["xadd"]),
        (
            "XADD s 2-1 f v",
            "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n",
            &[],
        ),
        ("XADD s MAXLEN 2 3-1 f v", "$3\r\n3-1\r\n", &["xadd", "xtrim"]),
        ("XADD s MAXLEN 9 4-1 f v", "$3\r\n4-1\r\n", &["xadd"]),
        ("XADD s#1 5-1 f v", "$3\r\n5-1\r\n", &["xadd"]),
        ("XTRIM s MAXLEN 3", ":1\r\n", &["xtrim"]),
        ("XTRIM s MAXLEN 3", ":0\r\n", &[]),
        ("XDEL s 9-9", ":0\r\n", &[]),
        ("XDEL s 3-1", ":1\r\n", &["xdel"]),
        ("XSETID s 9-9", "+OK\r\n", &["xsetid"]),
        ("XADD none NOMKSTREAM * f v", "$-1\r\n", &[]),
        ("DEL s s none", ":1\r\n", &["del"]),
        ("FLUSHALL", "+OK\r\n", &[]),
    ] {
        client.check(line, reply);
        for name in events {
            listener.expect(event(0, name, "s"));
        }
    }
    client.check("SELECT 3", "+OK\r\n").check("XADD t 1-1 f v", "$3\r\n1-1\r\n");
    listener.expect(event(3, "new", "t")).expect(event(3, "xadd", "t"));
}

#[test]
fn a_producer_reads_of_each_append_behind_its_reply() {
    let server = TestServer::start();
    let mut client = server.client();
    client.command("HELLO 3");
    while client.line() != "*0" {}
    client.check("CONFIG SET notify-keyspace-events Kt", "+OK\r\n");
    client.check("SUBSCRIBE __keyspace@0__:s", ">3\r\n$9\r\nsubscribe\r\n$16\r\n__keyspace@0__:s\r\n:1\r\n");
    let message = ">3\r\n$7\r\nmessage\r\n$16\r\n__keyspace@0__:s\r\n$4\r\nxadd\r\n";
    let requests: Vec<u8> = (1..=3).flat_map(|n| support::request(&format!("XADD s {n}-1 f v"))).collect();
    client.send(requests);
    for n in 1..=3 {
        client.expect(bulk(&format!("{n}-1")) + message);
    }
}

#[test]
fn topics_that_are_read_in_vain_are_told_when_asked_for() {
    let server = TestServer::start();
    let (mut client, mut listener) = (server.client(), listener(&server, "KEm"));
    for line in ["XLEN s", "XRANGE s - +", "EXISTS s", "XREAD STREAMS s 0", "TTL s"] {
        client.command(line);
        client.line();
        listener.expect(event(0, "keymiss", "s"));
    }
    client
        .check("XADD s 1-1 f v", "$3\r\n1-1\r\n")
        .check("XLEN s", ":1\r\n")
        .check("OBJECT ENCODING t", "$-1\r\n");
    client.check("XLEN t", ":0\r\n");
    listener.expect(event(0, "keymiss", "t"));
}

#[test]
fn groups_and_lifetimes_are_told() {
    let server = TestServer::start();
    let (mut client, mut listener) = (server.client(), listener(&server, "KEA"));
    for (line, events) in [
        ("XGROUP CREATE s g 0 MKSTREAM", &["xgroup-create"][..]),
        ("XGROUP CREATECONSUMER s g c", &["xgroup-createconsumer"]),
        ("XGROUP CREATECONSUMER s g c", &[]),
        ("XGROUP SETID s g $", &["xgroup-setid"]),
        ("XREADGROUP GROUP g d STREAMS s >", &["xgroup-createconsumer"]),
        ("XCLAIM s g e 0 1-1", &["xgroup-createconsumer"]),
        ("XAUTOCLAIM s g f 0 0", &["xgroup-createconsumer"]),
        ("XAUTOCLAIM s g f 0 0", &[]),
        ("XGROUP DELCONSUMER s g c", &["xgroup-delconsumer"]),
        ("XGROUP DELCONSUMER s g c", &[]),
        ("XGROUP DESTROY s g", &["xgroup-destroy"]),
        ("XGROUP DESTROY s g", &[]),
        ("EXPIRE s 100", &["expire"]),
        ("PERSIST s", &["persist"]),
        ("PERSIST s", &[]),
        ("EXPIRE s -1", &["del"]),
    ] {
        client.command(line);
        let nested = if line.starts_with("XAUTOCLAIM") { 5 } else { 1 };
        (0..nested).for_each(|_| drop(client.line()));
        for name in events {
            listener.expect(event(0, name, "s"));
        }
    }
    client.check("XADD s 1-1 f v", "$3\r\n1-1\r\n").check("PEXPIRE s 5", ":1\r\n");
    listener.expect(event(0, "xadd", "s") + &event(0, "expire", "s") + &event(0, "expired", "s"));
}

#[test]
fn what_a_transaction_did_is_told_when_it_is_committed() {
    let server = TestServer::start();
    let (mut client, mut listener) = (server.client(), listener(&server, "KEA"));
    client.check("MULTI", "+OK\r\n");
    for line in ["XADD s 1-1 f v", "XADD t 1-1 f v", "XDEL s 1-1", "XADD s 1-1 f v", "DEL t"] {
        client.check(line, "+QUEUED\r\n");
    }
    let refused = "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n";
    client.check("EXEC", &format!("*5\r\n$3\r\n1-1\r\n$3\r\n1-1\r\n:1\r\n{refused}:1\r\n"));
    for (name, key) in [("xadd", "s"), ("xadd", "t"), ("xdel", "s"), ("del", "t")] {
        listener.expect(event(0, name, key));
    }
}

#[test]
fn classes_are_chosen_by_letters() {
    let server = TestServer::start();
    let mut client = server.client();
    let shown = |classes: &str| format!("*2\r\n{}{}", bulk("notify-keyspace-events"), bulk(classes));
    client.check("CONFIG GET notify-keyspace-events", &shown(""));
    for (given, expected) in [("KEA", "AKE"), ("gxtK", "gxtK"), ("Exn", "xnE")] {
        client.check(&format!("CONFIG SET notify-keyspace-events {given}"), "+OK\r\n");
        client.check("CONFIG GET notify-keyspace-events", &shown(expected));
    }
    client.check(
        "CONFIG SET notify-keyspace-events q",
        "-ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - Invalid event class \
         character. Use 'Ag$lshzxeKEtmdn'.\r\n",
    );
    // Without K and E nothing is published; with E, by event alone.
    let mut listener = listener(&server, "t");
    client.check("XADD s 1-1 f v", "$3\r\n1-1\r\n").check("CONFIG SET notify-keyspace-events Et", "+OK\r\n");
    client.check("XADD s 2-1 f v", "$3\r\n2-1\r\n").check("DEL s", ":1\r\n");
    listener.expect("*4\r\n$8\r\npmessage\r\n$6\r\n__key*\r\n$19\r\n__keyevent@0__:xadd\r\n$1\r\ns\r\n");
    listener.check("PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
}
