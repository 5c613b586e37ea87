//! The connection loop over a real socket: framing, order of replies, protocol versions, limits.

mod support;

use std::io::Write;

use support::{TestServer, bulk, request};
use wafka_server::config::ByteSize;

#[test]
fn a_request_may_come_in_any_pieces() {
    let server = TestServer::start();
    let mut client = server.client();
    let bytes = [request("XADD s 1-1 field value"), request("ECHO hello"), request("XLEN s")].concat();
    for piece_len in [1, 2, 3, 7, 20] {
        client.check("DEL s", if piece_len == 1 { ":0\r\n" } else { ":1\r\n" });
        for piece in bytes.chunks(piece_len) {
            client.send(piece);
        }
        client.expect("$3\r\n1-1\r\n$5\r\nhello\r\n:1\r\n");
    }
}

#[test]
fn replies_keep_the_order_of_requests() {
    let server = TestServer::start();
    let mut client = server.client();
    let (mut requests, mut replies) = (Vec::new(), String::new());
    for n in 1..=500 {
        requests.extend(request(&format!("XADD s {n}-1 field value")));
        replies += &bulk(&format!("{n}-1"));
        if n % 50 == 0 {
            // Sees what the pipeline appended before it.
            requests.extend(request("XLEN s"));
            replies += &format!(":{n}\r\n");
            requests.extend(request("XADD s 1-1 field value"));
            replies +=
                "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n";
            requests.extend(request("PING"));
            replies += "+PONG\r\n";
        }
    }
    client.send(requests).expect(replies);
}

#[test]
fn a_pipeline_may_use_many_topics() {
    let server = TestServer::start();
    let mut client = server.client();
    let (mut requests, mut replies) = (Vec::new(), String::new());
    for round in 1..=3 {
        for topic in 0..40 {
            requests.extend(request(&format!("XADD t{topic} {round}-{topic} field value")));
            replies += &bulk(&format!("{round}-{topic}"));
        }
    }
    client.send(requests).expect(replies);
    client.check("DBSIZE", ":40\r\n");
}

#[test]
fn a_pipeline_larger_than_the_read_buffer() {
    let server = TestServer::start();
    let mut client = server.client();
    let value = "v".repeat(3000);
    let (mut requests, mut replies) = (Vec::new(), String::new());
    for n in 1..=400 {
        requests.extend(request(&format!("XADD s {n}-1 f {value}")));
        replies += &bulk(&format!("{n}-1"));
    }
    client.send(requests).expect(replies).check("XLEN s", ":400\r\n");
}

#[test]
fn large_values_come_back() {
    let server = TestServer::start();
    let mut client = server.client();
    let value = "0123456789abcdef".repeat(1 << 18);
    client.check(&format!("XADD s 1-1 f {value}"), "$3\r\n1-1\r\n");
    client.command("XRANGE s - +").expect("*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n").expect(bulk(&value));
}

#[test]
fn inline_requests() {
    let server = TestServer::start();
    let mut client = server.client();
    client.send("PING\r\n").expect("+PONG\r\n");
    client.send("ping\n\r\n  \r\nECHO \"a b\"\r\n").expect("+PONG\r\n$3\r\na b\r\n");
    client.send("XADD s 1-1 \"\\x00\" 'x y'\r\n").expect("$3\r\n1-1\r\n");
    client.send("XRANGE s - +\r\n").expect("*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\n\0\r\n$3\r\nx y\r\n");
}

#[test]
fn empty_requests_have_no_reply() {
    let server = TestServer::start();
    server.client().send("*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n").expect("+PONG\r\n");
}

#[test]
fn protocol_errors_are_told_and_close_the_connection() {
    let server = TestServer::start();
    for (bytes, error) in [
        ("*1\r\n*1\r\n", "-ERR Protocol error: expected '$', got '*'\r\n"),
        ("*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*9999999\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("*1\r\n$9999999999\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("ECHO \"open\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    ] {
        let mut client = server.client();
        // What came before is executed and answered, what comes after is not.
        client.send(request("XADD s * f v")).send(bytes).send(request("PING"));
        assert!(client.bulk().contains('-'));
        client.expect(error).expect_end();
    }
}

#[test]
fn nested_arrays_do_not_exhaust_the_stack() {
    let server = TestServer::start();
    let mut client = server.client();
    client.send("*1\r\n".repeat(5000)).expect("-ERR Protocol error: expected '$', got '*'\r\n").expect_end();
}

#[test]
fn an_inline_request_without_end_is_refused() {
    let server = TestServer::start();
    let mut client = server.client();
    client.send([b'a'; 70_000]).expect("-ERR Protocol error: too big inline request\r\n").expect_end();
}

#[test]
fn argument_and_request_lengths_are_limited() {
    let server = TestServer::with(|config| {
        config.server.proto_max_bulk_len = ByteSize::mib(1);
        config.server.query_buffer_limit = ByteSize::mib(2);
    });
    let mut client = server.client();
    let fits = "v".repeat(1 << 20);
    client.check(&format!("ECHO {fits}"), &bulk(&fits));
    client
        .send("*2\r\n$4\r\nECHO\r\n$1048577\r\n")
        .expect("-ERR Protocol error: invalid bulk length\r\n")
        .expect_end();
    let mut client = server.client();
    client.send(format!("*4\r\n$4\r\nECHO\r\n$1048576\r\n{fits}\r\n$1048576\r\n"));
    client.expect("-ERR Protocol error: too big request\r\n").expect_end();
}

#[test]
fn replies_are_limited_and_replaced_by_an_error() {
    let server = TestServer::with(|config| config.server.output_buffer_limit = ByteSize::kib(64));
    let mut client = server.client();
    let value = "v".repeat(40_000);
    client.check(&format!("XADD s 1-1 f {value}"), "$3\r\n1-1\r\n");
    client.check(&format!("XADD s 2-1 f {value}"), "$3\r\n2-1\r\n");
    client.command("XRANGE s - +");
    let error = client.line();
    assert!(error.starts_with("-ERR the reply exceeds the output buffer limit of 65536 bytes"), "{error}");
    client.check("XRANGE s 2 2", &format!("*1\r\n*2\r\n$3\r\n2-1\r\n*2\r\n$1\r\nf\r\n{}", bulk(&value)));
    // Together they may be more: each is sent before the next is made.
    let one = format!("*1\r\n*2\r\n$3\r\n2-1\r\n*2\r\n$1\r\nf\r\n{}", bulk(&value));
    client.send(request("XRANGE s 2 2").repeat(50)).expect(one.repeat(50));
}

#[test]
fn a_single_event_can_be_read_whatever_its_size() {
    let server = TestServer::with(|config| config.server.output_buffer_limit = ByteSize::kib(64));
    let mut client = server.client();
    let value = "v".repeat(100_000);
    for id in ["1-1", "2-1"] {
        client.check(&format!("XADD s {id} f {value}"), &bulk(id));
        client.check(&format!("XADD t {id} f {value}"), &bulk(id));
    }
    let entry = |id: &str| format!("*2\r\n{}*2\r\n$1\r\nf\r\n{}", bulk(id), bulk(&value));
    client.check("XRANGE s - + COUNT 1", &format!("*1\r\n{}", entry("1-1")));
    client.check("XRANGE s 2-1 2-1", &format!("*1\r\n{}", entry("2-1")));
    client.check("XREVRANGE s + - COUNT 1", &format!("*1\r\n{}", entry("2-1")));
    let read = format!("*1\r\n*2\r\n$1\r\ns\r\n*1\r\n{}", entry("2-1"));
    client.check("XREAD STREAMS s 1-1", &read);
    client.check("XREAD COUNT 1 BLOCK 0 STREAMS s t 1-1 $", &read);
    client.command("XINFO STREAM s");
    client.expect("*32\r\n");
    for _ in 0..14 {
        let field = client.bulk();
        if field.ends_with("-id") { drop(client.bulk()) } else { drop(client.line()) }
    }
    client.expect([bulk("first-entry"), entry("1-1"), bulk("last-entry"), entry("2-1")].concat());
    // More than one is too much, also of several topics: a reader goes on from the first, the others fail.
    let read = format!("*1\r\n*2\r\n$1\r\ns\r\n*1\r\n{}", entry("1-1"));
    client.check("XREAD STREAMS s 0", &read).check("XREAD COUNT 1 STREAMS s t 0 0", &read);
    for line in ["XRANGE s - +", "XINFO STREAM s FULL"] {
        client.command(line);
        let error = client.line();
        assert!(
            error.starts_with("-ERR the reply exceeds the output buffer limit of 65536 bytes"),
            "{error}"
        );
    }
    client.check("PING", "+PONG\r\n");
}

#[test]
fn protocol_versions_switch_in_the_middle_of_a_pipeline() {
    let server = TestServer::start();
    let mut client = server.client();
    client.send([request("CLIENT GETNAME"), request("HELLO 3"), request("CLIENT GETNAME")].concat());
    client.expect(
        "$-1\r\n%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n8.10.0\r\n$5\r\nproto\r\n:3\r\n",
    );
    client.expect("$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n");
    client.expect("$7\r\nmodules\r\n*0\r\n_\r\n");
    client.check("CONFIG GET nosuch", "%0\r\n");
    client.check("HELLO 4", "-NOPROTO unsupported protocol version\r\n");
    client.check("XRANGE none - +", "*0\r\n").check("XREAD STREAMS none 0", "_\r\n");
    client.check("RESET", "+RESET\r\n").check("XREAD STREAMS none 0", "*-1\r\n");
}

#[test]
fn errors_name_what_is_wrong() {
    let server = TestServer::start();
    let mut client = server.client();
    client.check("GET a", "-ERR unknown command 'GET', with args beginning with: 'a' \r\n");
    client.check("nosuch", "-ERR unknown command 'nosuch'\r\n");
    client.check("XLEN", "-ERR wrong number of arguments for 'xlen' command\r\n");
    client.check("XLEN a b", "-ERR wrong number of arguments for 'xlen' command\r\n");
    client.check("CLIENT", "-ERR wrong number of arguments for 'client' command\r\n");
    client.check("CLIENT ID x", "-ERR wrong number of arguments for 'client|id' command\r\n");
    client.check("CLIENT NOPE", "-ERR unknown subcommand 'NOPE'. Try CLIENT HELP.\r\n");
    client.check("PING", "+PONG\r\n");
}

#[test]
fn databases_are_apart() {
    let server = TestServer::with(|config| config.server.databases = 3);
    let mut client = server.client();
    client.check("SELECT 2", "+OK\r\n").check("XADD s 1-1 f v", "$3\r\n1-1\r\n").check("XLEN s", ":1\r\n");
    client.check("SELECT 0", "+OK\r\n").check("XLEN s", ":0\r\n").check("XADD s 1-1 f v", "$3\r\n1-1\r\n");
    client.check("SELECT 3", "-ERR DB index is out of range\r\n");
    let int_range = "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n";
    client.check("SELECT 2147483648", int_range);
    client.check("SELECT x", "-ERR value is not an integer or out of range\r\n");
    // In one pipeline: the topic last appended to is another one after SELECT.
    let pipeline = ["XADD s 2-1 f v", "SELECT 1", "XADD s 1-1 f v", "SELECT 2", "XADD s 2-1 f v"];
    client.send(pipeline.map(request).concat());
    client.expect("$3\r\n2-1\r\n+OK\r\n$3\r\n1-1\r\n+OK\r\n$3\r\n2-1\r\n");
}

#[test]
fn replies_can_be_switched_off() {
    let server = TestServer::start();
    let mut client = server.client();
    let pipeline = [
        "CLIENT REPLY SKIP",
        "XADD s 1-1 f v",
        "PING",
        "CLIENT REPLY OFF",
        "PING",
        "XADD s 2-1 f v",
        "NOSUCH",
        "CLIENT REPLY SKIP",
        "XADD s 3-1 f v",
        "XLEN s",
        "CLIENT REPLY ON",
        "XLEN s",
        "CLIENT REPLY SKIP",
        "XADD s 3-1 f v",
        "CLIENT REPLY SKIP",
        "NOSUCH",
        "XADD s 4-1 f v",
    ];
    client.send(pipeline.map(request).concat());
    client.expect("+PONG\r\n+OK\r\n:3\r\n$3\r\n4-1\r\n");
    client.check("CLIENT REPLY MAYBE", "-ERR syntax error\r\n");
}

#[test]
fn quit_is_answered_and_ends_the_connection() {
    let server = TestServer::start();
    let mut client = server.client();
    client.send([request("XADD s 1-1 f v"), request("QUIT"), request("XADD s 2-1 f v")].concat());
    client.expect("$3\r\n1-1\r\n+OK\r\n").expect_end();
    server.client().check("XLEN s", ":1\r\n");
}

#[test]
fn what_a_leaving_client_sent_is_executed() {
    let server = TestServer::start();
    let mut client = server.client();
    client.send([request("XADD s 1-1 f v"), request("XADD s 2-1 f v")].concat()).end_input();
    client.expect("$3\r\n1-1\r\n$3\r\n2-1\r\n").expect_end();
    server.client().check("XLEN s", ":2\r\n");
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let server = TestServer::with(|config| config.server.io_threads = 1);
    let mut greedy = server.client();
    let value = "v".repeat(100_000);
    greedy.check(&format!("XADD s 1-1 f {value}"), "$3\r\n1-1\r\n");
    // Far more than the sockets' buffers take, so that the server must wait for this client to read.
    greedy.stream.set_nonblocking(true).unwrap();
    let requests = request("XRANGE s - +").repeat(200);
    let sent = greedy.stream.write(&requests).unwrap();
    assert_eq!(sent, requests.len());
    let mut other = server.client();
    for _ in 0..10 {
        other.check("PING", "+PONG\r\n");
    }
    greedy.stream.set_nonblocking(false).unwrap();
    let one = format!("*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n{}", bulk(&value));
    greedy.expect(one.repeat(200));
}
