//! Claims whose reply has no room for everything: what is not answered does not change hands.

mod support;

use support::{Client, TestServer, bulk, request};
use wafka_server::config::ByteSize;

/// Two such values fit into a reply of [`LIMIT_KIB`], three do not.
const VALUE_LEN: usize = 30_000;
const LIMIT_KIB: u64 = 64;

fn server() -> TestServer {
    TestServer::with(|config| config.server.output_buffer_limit = ByteSize::kib(LIMIT_KIB))
}

fn entries(ids: &[&str]) -> String {
    let value = "v".repeat(VALUE_LEN);
    let entry = |id: &&str| format!("*2\r\n{}*2\r\n{}{}", bulk(id), bulk("f"), bulk(&value));
    format!("*{}\r\n{}", ids.len(), ids.iter().map(entry).collect::<String>())
}

/// Four events, pending for `a`.
fn prepare(client: &mut Client) {
    client.check("XGROUP CREATE s g 0 MKSTREAM", "+OK\r\n");
    for id in ["1-1", "2-1", "3-1", "4-1"] {
        client.check(&format!("XADD s {id} f {}", "v".repeat(VALUE_LEN)), &bulk(id));
        let read = format!("*1\r\n*2\r\n{}{}", bulk("s"), entries(&[id]));
        client.check("XREADGROUP GROUP g a COUNT 1 STREAMS s >", &read);
    }
}

fn owners(client: &mut Client, first: &str, owners: &[(&str, usize)]) {
    let total: usize = owners.iter().map(|(_, count)| count).sum();
    let each = |(owner, count): &(&str, usize)| format!("*2\r\n{}{}", bulk(owner), bulk(&count.to_string()));
    let each: String = owners.iter().map(each).collect();
    let (first, last) = (bulk(first), bulk("4-1"));
    client.check("XPENDING s g", &format!("*4\r\n:{total}\r\n{first}{last}*{}\r\n{each}", owners.len()));
}

#[test]
fn a_claim_that_cannot_be_answered_claims_nothing() {
    let server = server();
    let mut client = server.client();
    prepare(&mut client);
    for line in ["XCLAIM s g b 0 1-1 2-1 3-1 4-1", "XCLAIM s g b 0 1-1 2-1 3-1 4-1 FORCE RETRYCOUNT 9"] {
        client.command(line);
        assert!(client.line().starts_with("-ERR the reply exceeds the output buffer limit"), "{line}");
        owners(&mut client, "1-1", &[("a", 4)]);
    }
    client.check("XCLAIM s g b 0 3-1 1-1", &entries(&["3-1", "1-1"]));
    owners(&mut client, "1-1", &[("a", 2), ("b", 2)]);
    client.check("XDEL s 1-1", ":1\r\n").check("XCLAIM s g c 0 1-1 9-1 2-1", &entries(&["2-1"]));
    owners(&mut client, "2-1", &[("a", 1), ("b", 1), ("c", 1)]);
}

#[test]
fn an_autoclaim_ends_where_its_reply_is_full() {
    let server = server();
    let mut client = server.client();
    prepare(&mut client);
    let all = format!("*3\r\n{}{}*0\r\n", bulk("3-1"), entries(&["1-1", "2-1"]));
    client.check("XAUTOCLAIM s g b 0 0 COUNT 1000000", &all);
    owners(&mut client, "1-1", &[("a", 2), ("b", 2)]);
    let rest = format!("*3\r\n{}{}*0\r\n", bulk("0-0"), entries(&["3-1", "4-1"]));
    client.check("XAUTOCLAIM s g b 0 3-1 COUNT 1000000", &rest);
    owners(&mut client, "1-1", &[("b", 4)]);
    client.check("XDEL s 1-1", ":1\r\n");
    let gone = format!("*3\r\n{}{}*1\r\n{}", bulk("4-1"), entries(&["2-1", "3-1"]), bulk("1-1"));
    client.check("XAUTOCLAIM s g c 0 0", &gone);
    owners(&mut client, "2-1", &[("b", 1), ("c", 2)]);
}

#[test]
fn an_autoclaim_of_ids_alone_ends_where_its_reply_is_full() {
    const EVENTS: usize = 1500;
    let server = server();
    let mut client = server.client();
    client.check("XGROUP CREATE s g 0 MKSTREAM", "+OK\r\n");
    let id = |number: usize| bulk(&format!("{number}-1"));
    for number in 1..=EVENTS {
        client.send(request(&format!("XADD s {number}-1 f v"))).expect(id(number));
    }
    let event = |number| format!("*2\r\n{}*2\r\n{}{}", id(number), bulk("f"), bulk("v"));
    let events: String = (1..=EVENTS).map(event).collect();
    let read = format!("*1\r\n*2\r\n{}*{EVENTS}\r\n{events}", bulk("s"));
    client.check("XREADGROUP GROUP g a STREAMS s >", &read);
    client.command("XAUTOCLAIM s g b 0 0 COUNT 1000000 JUSTID").expect("*3\r\n");
    let next: usize = client.bulk().strip_suffix("-1").unwrap().parse().unwrap();
    assert!((1000..EVENTS).contains(&next), "{next}");
    let ids: String = (1..next).map(id).collect();
    client.expect(format!("*{}\r\n{ids}*0\r\n", next - 1));
    let owners = format!("*2\r\n*2\r\n{}{}", bulk("a"), bulk(&(EVENTS + 1 - next).to_string()));
    let owners = format!("{owners}*2\r\n{}{}", bulk("b"), bulk(&(next - 1).to_string()));
    client.check("XPENDING s g", &format!("*4\r\n:{EVENTS}\r\n{}{}{owners}", id(1), id(EVENTS)));
}
