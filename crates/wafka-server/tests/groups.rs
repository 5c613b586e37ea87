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
