//! Producers that send an event again, over the wire.

mod support;

use support::{Client, TestServer, bulk};

/// Sends a command and reads an id.
fn id(client: &mut Client, line: &str) -> String {
    client.command(line);
    client.bulk()
}

#[test]
fn what_is_sent_again_is_added_once() {
    let server = TestServer::start();
    let mut client = server.client();
    client.check("XADD s NOMKSTREAM IDMP p1 i1 * f v", "$-1\r\n");
    let first = id(&mut client, "XADD s IDMP p1 i1 * f v");
    assert_eq!(id(&mut client, "XADD s IDMP p1 i1 * f other"), first);
    let second = id(&mut client, "XADD s IDMP p2 i1 * f v");
    assert_ne!(second, first);
    let third = id(&mut client, "XADD s IDMPAUTO p1 * f v g w");
    assert_eq!(id(&mut client, "XADD s IDMPAUTO p1 MAXLEN 1 * g w f v"), third);
    assert_ne!(id(&mut client, "XADD s IDMPAUTO p1 * f w"), third);
    client.check("XLEN s", ":4\r\n");
    // A pipeline of the same event: all wait for the first.
    let pipeline = support::request("XADD s IDMP p3 x * f v").repeat(50);
    client.send(pipeline);
    let same: Vec<String> = (0..50).map(|_| client.bulk()).collect();
    assert!(same.iter().all(|id| *id == same[0]));
    client.check("XLEN s", ":5\r\n").command("XINFO STREAM s");
    client.expect("*32\r\n");
    let mut tail = String::new();
    for field in ["length", "radix-tree-keys", "radix-tree-nodes"] {
        client.expect(bulk(field));
        tail = client.line();
    }
    assert_eq!(tail, ":2");
    for field in ["last-generated-id", "max-deleted-entry-id"] {
        client.expect(bulk(field));
        client.bulk();
    }
    client.expect(bulk("entries-added")).expect(":5\r\n").expect(bulk("recorded-first-entry-id"));
    client.bulk();
    for (field, value) in [
        ("idmp-duration", 100),
        ("idmp-maxsize", 100),
        ("pids-tracked", 3),
        ("iids-tracked", 5),
        ("iids-added", 5),
        ("iids-duplicates", 51),
        ("groups", 0),
    ] {
        client.expect(bulk(field)).expect(format!(":{value}\r\n"));
    }
}

#[test]
fn settings() {
    let server = TestServer::start();
    let mut client = server.client();
    client
        .check("XCFGSET s IDMP-DURATION 5", "-ERR no such key\r\n")
        .check("XIDMPRECORD s p i 1-1", "-ERR no such key\r\n")
        .check("CONFIG SET stream-idmp-maxsize 10001", "-ERR CONFIG SET failed (possibly related to argument 'stream-idmp-maxsize') - argument must be between 1 and 10000 inclusive\r\n")
        .check("CONFIG SET stream-idmp-maxsize 2 stream-idmp-duration 86400", "+OK\r\n")
        .check("CONFIG GET stream-idmp-*", "*4\r\n$20\r\nstream-idmp-duration\r\n$5\r\n86400\r\n$19\r\nstream-idmp-maxsize\r\n$1\r\n2\r\n");
    let first = id(&mut client, "XADD s IDMP p a * f v");
    for iid in ["b", "c"] {
        id(&mut client, &format!("XADD s IDMP p {iid} * f v"));
    }
    let again = id(&mut client, "XADD s IDMP p a * f v");
    assert_ne!(again, first);
    client.check("XCFGSET s IDMP-MAXSIZE 2", "+OK\r\n");
    assert_eq!(id(&mut client, "XADD s IDMP p a * f v"), again);
    client.check("XCFGSET s IDMP-MAXSIZE 3", "+OK\r\n");
    assert_ne!(id(&mut client, "XADD s IDMP p a * f v"), again);
    client
        .check("XIDMPRECORD s p9 i9 1-1", "-ERR No such message in stream\r\n")
        .check(&format!("XIDMPRECORD s p9 i9 {again}"), "+OK\r\n")
        .check(&format!("XIDMPRECORD s p9 i9 {again}"), "+OK\r\n")
        .check("XADD s IDMP p9 i9 * f v", &bulk(&again));
}
