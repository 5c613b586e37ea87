//! Topics under another name, over the wire.

mod support;

use std::time::Instant;

use support::{TestServer, bulk};

#[test]
fn replies_are_redis_s() {
    let server = TestServer::start();
    let mut client = server.client();
    client
        .check("RENAME n n", "-ERR no such key\r\n")
        .check("RENAMENX n m", "-ERR no such key\r\n")
        .check("COPY n n", "-ERR source and destination objects are the same\r\n")
        .check("COPY n m", ":0\r\n")
        .check("MOVE n 1", ":0\r\n")
        .check("DUMP n", "$-1\r\n")
        .check("XADD s 1-1 f v", "$3\r\n1-1\r\n")
        .check("EXPIRE s 1000", ":1\r\n")
        .check("RENAME s s", "+OK\r\n")
        .check("RENAMENX s s", ":0\r\n")
        .check("RENAME s t", "+OK\r\n")
        .check("RENAME s t", "-ERR no such key\r\n")
        .check("TTL t", ":1000\r\n")
        .check("COPY t u", ":1\r\n")
        .check("COPY t u", ":0\r\n")
        .check("RENAMENX t u", ":0\r\n")
        .check("XADD t 2-1 f v", "$3\r\n2-1\r\n")
        .check("XLEN u", ":1\r\n")
        .check("COPY t u REPLACE", ":1\r\n")
        .check("XLEN u", ":2\r\n")
        .check("COPY t t DB 1", ":1\r\n")
        .check("COPY t u DB x", "-ERR value is not an integer or out of range\r\n")
        .check("COPY t u DB 99", "-ERR DB index is out of range\r\n")
        .check("COPY t u FOO", "-ERR syntax error\r\n")
        .check("MOVE t 0", "-ERR source and destination objects are the same\r\n")
        .check("MOVE t 1", ":0\r\n")
        .check("MOVE u 1", ":1\r\n")
        .check("KEYS *", "*1\r\n$1\r\nt\r\n")
        .check(
            "RENAME t t#1",
            "-ERR 't#1' is one partition of topic 't': this command is for whole topics only\r\n",
        )
        .check(
            "RENAME t x#1",
            "-ERR a topic name must not end in '#<digits>': that form names one partition of a topic\r\n",
        );
}

#[test]
fn whoever_waits_goes_on_with_what_has_the_name() {
    let server = TestServer::start();
    let mut client = server.client();
    client
        .check("XADD a 1-1 f v", "$3\r\n1-1\r\n")
        .check("XGROUP CREATE a g $", "+OK\r\n")
        .check("XADD b 5-5 f v", "$3\r\n5-5\r\n")
        .check("XGROUP CREATE b g 0", "+OK\r\n");
    let mut member = server.client();
    let mut reader = server.client();
    let wait_for_blocked = |client: &mut support::Client, count: usize| loop {
        client.command("INFO clients");
        if client.bulk().contains(&format!("\r\nblocked_clients:{count}\r\n")) {
            break;
        }
    };
    member.command("XREADGROUP GROUP g c BLOCK 0 STREAMS a >");
    reader.command("XREAD BLOCK 0 STREAMS c 0");
    wait_for_blocked(&mut client, 2);
    // Renamed away: there is no group of that name any more.
    client.check("RENAME a away", "+OK\r\n");
    member.expect("-NOGROUP No such key 'a' or consumer group 'g' in XREADGROUP with GROUP option\r\n");
    // Renamed to where somebody waits: he is served by what has the name now.
    member.command("XREADGROUP GROUP g c BLOCK 0 STREAMS away >");
    wait_for_blocked(&mut client, 2);
    client.check("RENAME b away", "+OK\r\n");
    let entry = format!("*1\r\n*2\r\n{}*2\r\n{}{}", bulk("5-5"), bulk("f"), bulk("v"));
    member.expect(format!("*1\r\n*2\r\n{}{entry}", bulk("away")));
    client.check("COPY away c", ":1\r\n");
    reader.expect(format!("*1\r\n*2\r\n{}{entry}", bulk("c")));
    // What was delivered is pending in both.
    for key in ["away", "c"] {
        client.check(&format!("XACK {key} g 5-5"), ":1\r\n");
    }
}

#[test]
fn notifications() {
    let server = TestServer::start();
    let (mut listener, mut client) = (server.client(), server.client());
    client.check("CONFIG SET notify-keyspace-events Egn", "+OK\r\n");
    listener.command("PSUBSCRIBE *");
    listener.expect("*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n");
    client
        .check("XADD s 1-1 f v", "$3\r\n1-1\r\n")
        .check("RENAME s t", "+OK\r\n")
        .check("COPY t u", ":1\r\n")
        .check("MOVE u 1", ":1\r\n");
    for (database, event, key) in [
        (0, "new", "s"),
        (0, "new", "t"),
        (0, "rename_from", "s"),
        (0, "rename_to", "t"),
        (0, "new", "u"),
        (0, "copy_to", "u"),
        (1, "new", "u"),
        (0, "move_from", "u"),
        (1, "move_to", "u"),
    ] {
        let channel = bulk(&format!("__keyevent@{database}__:{event}"));
        listener.expect(format!("*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n{channel}{}", bulk(key)));
    }
}

#[test]
fn idle_times() {
    const IDLE_MS: u64 = 30;
    let server = TestServer::start();
    let mut client = server.client();
    client
        .check("OBJECT IDLETIME t", "$-1\r\n")
        .check("XADD t 1-1 f v", "$3\r\n1-1\r\n")
        .check("OBJECT IDLETIME t", ":0\r\n");
    let topic = server.server().shared().engine().unwrap().topic(wafka_core::Database(0), b"t").unwrap();
    let grow_idle = || while topic.idle_ms() < IDLE_MS {};

    client.check("CLIENT NO-TOUCH on", "+OK\r\n");
    grow_idle();
    client
        .check("XLEN t", ":1\r\n")
        .check("XADD t 2-1 f v", "$3\r\n2-1\r\n")
        .check("XDEL t 2-1", ":1\r\n")
        .check("EXISTS t", ":1\r\n");
    assert!(topic.idle_ms() >= IDLE_MS, "{}", topic.idle_ms());

    let mut uses = |on: &str, command: &str, reply: &str| {
        client.check(&format!("CLIENT NO-TOUCH {on}"), "+OK\r\n");
        grow_idle();
        let begun = Instant::now();
        client.check(command, reply);
        // A millisecond may begin between the two clocks.
        let (idle_ms, passed) = (topic.idle_ms(), begun.elapsed().as_millis() + 1);
        assert!(u128::from(idle_ms) <= passed, "{command}: {idle_ms} > {passed}");
    };
    uses("on", "TOUCH t none", ":1\r\n");
    uses("off", "TOUCH t none", ":1\r\n");
    uses("off", "XLEN t", ":1\r\n");
    uses("off", "XADD t 3-1 f v", "$3\r\n3-1\r\n");
    uses("off", "XDEL t 3-1", ":1\r\n");
}
