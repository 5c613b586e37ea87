//! Consumer groups where a reply has no room for all there is, and names that are too long.

mod support;

use support::{Client, TestServer, bulk, request};

/// The least that a reply may be limited to by the configuration, in bytes.
const LIMIT: usize = 64 * 1024;
const TOO_LARGE: &str = "-ERR the reply exceeds the output buffer limit of 65536 bytes (server.output_buffer_limit); \
                         ask for less, for example with COUNT\r\n";

fn limited() -> TestServer {
    let server = TestServer::start();
    server.server().shared().settings.set_output_buffer_limit(LIMIT);
    server
}

/// Adds events with the ids `1-0`, `2-0`, ….
fn add(client: &mut Client, key: &str, value: &str, events: usize) {
    for n in 1..=events {
        client.check(&format!("XADD {key} {n} f {value}"), &bulk(&format!("{n}-0")));
    }
}

#[test]
fn names_that_are_too_long_make_nothing() {
    let server = TestServer::start();
    let mut client = server.client();
    let long = "n".repeat(65_536);
    let error =
        "-ERR the name of a consumer group or consumer has 65536 bytes, at most 65535 are allowed\r\n";
    client.check(&format!("XGROUP CREATE s {long} $ MKSTREAM"), error).check("EXISTS s", ":0\r\n");
    let longest = &long[1..];
    client
        .check(&format!("XGROUP CREATE s {longest} 0 MKSTREAM"), "+OK\r\n")
        .check("XADD s 1 f v", "$3\r\n1-0\r\n");
    for command in [
        format!("XREADGROUP GROUP {longest} {long} STREAMS s >"),
        format!("XREADGROUP GROUP {longest} {long} STREAMS s 0"),
        format!("XCLAIM s {longest} {long} 0 1-0"),
        format!("XAUTOCLAIM s {longest} {long} 0 0"),
        format!("XGROUP CREATECONSUMER s {longest} {long}"),
    ] {
        client.check(&command, error);
    }
    client.check(&format!("XINFO CONSUMERS s {longest}"), "*0\r\n");
    client.check(&format!("XPENDING s {longest}"), "*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n");
}

#[test]
fn what_is_told_of_groups_ends_at_the_limit() {
    let server = limited();
    let mut client = server.client();
    add(&mut client, "s", "v", 5);
    let name = "c".repeat(30_000);
    client.check("XGROUP CREATE s g 0", "+OK\r\n");
    client.command(&format!("XREADGROUP GROUP g {name} STREAMS s >"));
    for _ in 0..5 + 5 * 8 {
        client.line();
    }
    // In place, and where it may take long.
    for count in [5, 1_000_000] {
        client.check(&format!("XPENDING s g - + {count}"), TOO_LARGE);
    }
    client.send([request("XPENDING s g - + 2"), request("ECHO end")].concat());
    let lines: Vec<String> =
        std::iter::repeat_with(|| client.line()).take_while(|line| line != "end").collect();
    assert_eq!(lines.iter().filter(|line| **line == name).count(), 2);
    client.check("XINFO STREAM s FULL", TOO_LARGE).check("PING", "+PONG\r\n");
    for n in 0..2 {
        client.check(&format!("XGROUP CREATECONSUMER s g {n}{name}"), ":1\r\n");
    }
    client.check("XINFO CONSUMERS s g", TOO_LARGE);
    for n in 0..3 {
        client.check(&format!("XGROUP CREATE s {n}{name} 0"), "+OK\r\n");
    }
    client.check("XINFO GROUPS s", TOO_LARGE).check("PING", "+PONG\r\n");
}

/// The ids in the reply to a command; those of events have the form `n-0`, and no error comes.
#[track_caller]
fn ids(client: &mut Client, command: &str) -> Vec<String> {
    client.send([request(command), request("ECHO end")].concat());
    let lines = std::iter::repeat_with(|| client.line()).take_while(|line| line != "end");
    let lines: Vec<String> = lines.inspect(|line| assert!(!line.starts_with('-'), "{line}")).collect();
    lines.into_iter().filter(|line| line.ends_with("-0")).collect()
}

#[test]
fn readers_get_on_whatever_is_left_to_read() {
    const EVENTS: usize = 4000;
    let server = limited();
    let mut client = server.client();
    let requests: Vec<u8> = (1..=EVENTS).flat_map(|n| request(&format!("XADD s {n} f v"))).collect();
    client.send(requests);
    for n in 1..=EVENTS {
        client.expect(bulk(&format!("{n}-0")));
    }
    client.check("XRANGE s - +", TOO_LARGE).check("XGROUP CREATE s g 0", "+OK\r\n");
    let all: Vec<String> = (1..=EVENTS).map(|n| format!("{n}-0")).collect();
    type Next<'a> = &'a dyn Fn(&str) -> String;
    let plain = |last: &str| format!("XREAD STREAMS s {last}");
    let new = |_: &str| "XREADGROUP GROUP g c STREAMS s >".to_owned();
    let history = |last: &str| format!("XREADGROUP GROUP g c STREAMS s {last}");
    let claim = |_: &str| "XREADGROUP GROUP g d CLAIM 0 COUNT 1000000 NOACK STREAMS s >".to_owned();
    for next in [&plain as Next<'_>, &new, &history] {
        let (mut read, mut replies) = (Vec::new(), 0);
        loop {
            let some = ids(&mut client, &next(read.last().map_or("0", String::as_str)));
            if some.is_empty() {
                break;
            }
            read.extend(some);
            replies += 1;
        }
        assert!(replies > 1);
        assert_eq!(read, all);
    }
    let claimed = ids(&mut client, &claim(""));
    assert!(claimed.len() > 100 && all.starts_with(&claimed), "{claimed:?}");
    client.check(&format!("XACK s g {}", claimed.join(" ")), &format!(":{}\r\n", claimed.len()));
}

#[test]
fn what_is_delivered_is_answered_whatever_comes_behind_it() {
    let server = limited();
    let mut client = server.client();
    let value = "v".repeat(40_000);
    for key in ["a", "b"] {
        add(&mut client, key, &value, 1);
        client.check(&format!("XGROUP CREATE {key} g 0"), "+OK\r\n");
    }
    let entry = |id: &str| format!("*2\r\n{}*2\r\n$1\r\nf\r\n{}", bulk(id), bulk(&value));
    let of = |key: &str| format!("*1\r\n*2\r\n{}*1\r\n{}", bulk(key), entry("1-0"));
    client.check("XREAD STREAMS a b 0 0", &of("a"));
    let new = "XREADGROUP GROUP g c STREAMS a b > >";
    client.check(new, &of("a"));
    client.check("XPENDING b g - + 9", "*0\r\n");
    client.check(new, &of("b")).check(new, "*-1\r\n");
    client.check("XREADGROUP GROUP g c STREAMS a b 0 0", &of("a"));
    // What is claimed, before what is new.
    client.check(&format!("XADD a 2 f {value}"), &bulk("2-0"));
    let claim = "XREADGROUP GROUP g d CLAIM 0 STREAMS a >";
    assert_eq!(ids(&mut client, claim), ["1-0"]);
    client.check("XACK a g 1-0", ":1\r\n");
    assert_eq!(ids(&mut client, claim), ["2-0"]);
    client.check("XACK a g 2-0", ":1\r\n").check("XACK b g 1-0", ":1\r\n");
    // One that has no room for itself is let through alone, also without acknowledgement.
    let large = "v".repeat(100_000);
    for key in ["a", "b"] {
        client.check(&format!("XADD {key} 3 f {large}"), &bulk("3-0"));
    }
    let new = "XREADGROUP GROUP g c NOACK STREAMS a b > >";
    assert_eq!(ids(&mut client, new).len(), 1);
    assert_eq!(ids(&mut client, new).len(), 1);
    client.check(new, "*-1\r\n");
}

#[test]
fn in_a_transaction_no_room_is_an_error() {
    let server = limited();
    let mut client = server.client();
    let value = "v".repeat(40_000);
    add(&mut client, "s", &value, 1);
    client.check("XGROUP CREATE s g 0", "+OK\r\n").check("MULTI", "+OK\r\n");
    for command in
        ["XRANGE s - +", "XREAD STREAMS s 0", "XREADGROUP GROUP g c STREAMS s >", "XPENDING s g - + 9"]
    {
        client.check(command, "+QUEUED\r\n");
    }
    let entry = format!("*2\r\n{}*2\r\n$1\r\nf\r\n{}", bulk("1-0"), bulk(&value));
    client.check("EXEC", &format!("*4\r\n*1\r\n{entry}{TOO_LARGE}{TOO_LARGE}*0\r\n"));
    client.check("XREADGROUP GROUP g c STREAMS s >", &format!("*1\r\n*2\r\n{}*1\r\n{entry}", bulk("s")));
}
