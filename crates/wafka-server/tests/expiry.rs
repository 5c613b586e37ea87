//! Topics with a time to live, over the wire.

mod support;

use std::time::Instant;

use support::{PATIENCE, TestServer, bulk};

#[test]
fn replies_are_redis_s() {
    let server = TestServer::start();
    let mut client = server.client();
    client
        .check("TTL t", ":-2\r\n")
        .check("PEXPIRETIME t", ":-2\r\n")
        .check("EXPIRE t 10", ":0\r\n")
        .check("PERSIST t", ":0\r\n")
        .check("EXPIRE t x", "-ERR value is not an integer or out of range\r\n")
        .check("EXPIRE t 9223372036854775807", "-ERR invalid expire time in 'expire' command\r\n")
        .check("XADD t 1-1 f v", "$3\r\n1-1\r\n")
        .check("TTL t", ":-1\r\n")
        .check("EXPIRE t 100 GT", ":0\r\n")
        .check("EXPIRE t 100 XX", ":0\r\n")
        .check("EXPIRE t 100 LT", ":1\r\n")
        .check("TTL t", ":100\r\n")
        .check("EXPIRE t 50 GT", ":0\r\n")
        .check("EXPIRE t 200 NX", ":0\r\n")
        .check("XADD t 1-2 f v", "$3\r\n1-2\r\n")
        .check("TTL t#1", ":100\r\n")
        .check("PERSIST t", ":1\r\n")
        .check("PERSIST t", ":0\r\n")
        .check("PEXPIREAT t 9223372036854775807", ":1\r\n")
        .check("PEXPIRETIME t", ":9223372036854775807\r\n")
        .check("EXPIRETIME t", ":9223372036854776\r\n")
        .check("EXPIRE t -1 GT", ":0\r\n")
        .check("EXPIRE t -1", ":1\r\n")
        .check("EXISTS t", ":0\r\n")
        .check("XADD t 1-1 f v", "$3\r\n1-1\r\n");
}

#[test]
fn a_topic_whose_time_has_come_is_gone_for_every_command() {
    let server = TestServer::start();
    let mut client = server.client();
    client.check("XADD t 5-1 f v", "$3\r\n5-1\r\n").check("PEXPIRE t 40", ":1\r\n");
    let begin = Instant::now();
    loop {
        client.command("XLEN t");
        match client.integer() {
            0 => break,
            _ => assert!(begin.elapsed() < PATIENCE),
        }
    }
    client
        .check("EXISTS t", ":0\r\n")
        .check("KEYS *", "*0\r\n")
        .check("TYPE t", "+none\r\n")
        .check("XADD t NOMKSTREAM * f v", "$-1\r\n")
        .check("XADD t 1-1 f v", "$3\r\n1-1\r\n")
        .check("TTL t", ":-1\r\n")
        .check("XLEN t", ":1\r\n");
    client.check("EXPIRE t 1000", ":1\r\n").command("INFO keyspace");
    let info = client.bulk();
    assert!(info.contains("db0:keys=1,expires=1,avg_ttl="), "{info}");
    client.command("INFO stats");
    assert!(client.bulk().contains("expired_keys:1\r\n"));
}

#[test]
fn notifications() {
    let server = TestServer::start();
    let mut listener = server.client();
    let mut client = server.client();
    client.check("CONFIG SET notify-keyspace-events Egx", "+OK\r\n");
    listener.command("PSUBSCRIBE *");
    listener.expect("*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n");
    client
        .check("XADD t 5-1 f v", "$3\r\n5-1\r\n")
        .check("EXPIRE t 100", ":1\r\n")
        .check("PERSIST t", ":1\r\n")
        .check("PEXPIRE t 5", ":1\r\n");
    for event in ["expire", "persist", "expire", "expired"] {
        let channel = format!("__keyevent@0__:{event}");
        listener.expect(format!("*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n{}{}", bulk(&channel), bulk("t")));
    }
}
