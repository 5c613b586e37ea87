//! What operators see over a real socket: `MONITOR`, `SLOWLOG`, `LATENCY`.

#![allow(clippy::unwrap_used, reason = "a failure here is the test's failure")]

mod support;

use support::{Client, TestServer, bulk, request};

/// The next line of a monitor, without its time; the client's address is `<peer>`.
fn shown(monitor: &mut Client, peer: &Client) -> String {
    let line = monitor.line();
    let (time, rest) = line.split_once(' ').unwrap();
    let (secs, micros) = time.strip_prefix('+').unwrap().split_once('.').unwrap();
    assert!(secs.len() >= 10 && micros.len() == 6, "{line}");
    rest.replace(&peer.stream.local_addr().unwrap().to_string(), "<peer>")
}

#[test]
fn commands_are_shown_to_a_monitor() {
    let server = TestServer::start();
    let (mut client, mut monitor) = (server.client(), server.client());
    monitor.check("MONITOR", "+OK\r\n");
    for (line, expected) in [
        ("PING", "[0 <peer>] \"PING\""),
        ("SELECT 3", "[3 <peer>] \"SELECT\" \"3\""),
        ("NOSUCH", ""),
        ("XLEN", ""),
        ("CONFIG GET port", ""),
        ("AUTH secret", "[3 <peer>] \"AUTH\" \"(redacted)\""),
        ("HELLO 2 AUTH default pw", "[3 <peer>] \"HELLO\" \"2\" \"AUTH\" \"(redacted)\" \"(redacted)\""),
        // The first makes the topic, the others take the short way, and the last is refused.
        ("XADD s 1-1 f v", "[3 <peer>] \"XADD\" \"s\" \"1-1\" \"f\" \"v\""),
        ("XADD s 2-1 f \"", "[3 <peer>] \"XADD\" \"s\" \"2-1\" \"f\" \"\\\"\""),
        ("XADD s 1-1 f v", "[3 <peer>] \"XADD\" \"s\" \"1-1\" \"f\" \"v\""),
        ("XREAD BLOCK 1 STREAMS s $", "[3 <peer>] \"XREAD\" \"BLOCK\" \"1\" \"STREAMS\" \"s\" \"$\""),
        ("SUBSCRIBE a", "[3 <peer>] \"SUBSCRIBE\" \"a\""),
        ("RESET", "[0 <peer>] \"RESET\""),
    ] {
        client.command(line);
        if !expected.is_empty() {
            assert_eq!(shown(&mut monitor, &client), expected);
        }
    }
}

#[test]
fn commands_of_a_transaction_are_shown_when_they_are_executed() {
    let server = TestServer::start();
    let (mut client, mut monitor) = (server.client(), server.client());
    monitor.check("MONITOR", "+OK\r\n");
    client.check("MULTI", "+OK\r\n").check("XADD s 1-1 f v", "+QUEUED\r\n").check("XLEN s", "+QUEUED\r\n");
    client.check("EXEC", "*2\r\n$3\r\n1-1\r\n:1\r\n");
    for command in ["MULTI", "XADD", "XLEN", "EXEC"] {
        let line = shown(&mut monitor, &client);
        assert!(line.starts_with(&format!("[0 <peer>] \"{command}\"")), "{line}");
    }
}

#[test]
fn a_blocked_command_is_shown_when_it_arrives() {
    let server = TestServer::start();
    let (mut client, mut monitor) = (server.client(), server.client());
    monitor.check("MONITOR", "+OK\r\n");
    client.command("XREAD BLOCK 0 STREAMS s $");
    assert!(shown(&mut monitor, &client).contains("\"XREAD\""));
}

#[test]
fn a_monitor_must_not_touch_topics() {
    let server = TestServer::start();
    let mut monitor = server.client();
    monitor.check("MONITOR", "+OK\r\n");
    for line in ["XADD s * f v", "XLEN s"] {
        monitor.check(line, "-ERR Replica can't interact with the keyspace\r\n");
    }
    // Its own commands are shown to it too, behind their replies.
    monitor.check("PING", "+PONG\r\n");
    assert!(monitor.line().ends_with("\"PING\""));
    monitor.command("CLIENT INFO");
    assert!(monitor.bulk().contains(" flags=O "));
    assert!(monitor.line().ends_with("\"CLIENT\" \"INFO\""));
    monitor.check("RESET", "+RESET\r\n");
    server.client().check("PING", "+PONG\r\n");
    monitor.check("XLEN s", ":0\r\n");
}

#[test]
fn slow_commands_are_logged() {
    let server = TestServer::start();
    let mut client = server.client();
    client.check("CLIENT SETNAME me", "+OK\r\n").check("SLOWLOG LEN", ":0\r\n");
    client.check("CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 4", "+OK\r\n");
    client.check("SLOWLOG RESET", "+OK\r\n").check("XADD s 1-1 f v", &bulk("1-1"));
    client.check("XADD s 2-1 f v", &bulk("2-1")).check("AUTH default x", "+OK\r\n");
    let addr = client.stream.local_addr().unwrap().to_string();
    client.command("SLOWLOG GET 3").expect("*3\r\n");
    let mut ids = Vec::new();
    for args in [
        &["AUTH", "(redacted)", "(redacted)"][..],
        &["XADD", "s", "2-1", "f", "v"],
        &["XADD", "s", "1-1", "f", "v"],
    ] {
        client.expect("*6\r\n");
        ids.push(client.integer());
        assert!(client.integer() > 1_700_000_000);
        assert!(client.integer() >= 0);
        client.expect(format!("*{}\r\n", args.len()));
        for arg in args {
            client.expect(bulk(arg));
        }
        client.expect(bulk(&addr) + &bulk("me"));
    }
    assert!(ids[0] == ids[1] + 1 && ids[1] == ids[2] + 1, "{ids:?}");
    client.check("SLOWLOG LEN", ":4\r\n");
    client.check("CONFIG SET slowlog-log-slower-than -1", "+OK\r\n").check("SLOWLOG RESET", "+OK\r\n");
    client.check("PING", "+PONG\r\n").check("SLOWLOG GET", "*0\r\n");
    for bad in ["x", "-2"] {
        client.check(&format!("SLOWLOG GET {bad}"), "-ERR count should be greater than or equal to -1\r\n");
    }
    client.check(
        "SLOWLOG GET 1 2",
        "-ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.\r\n",
    );
}

#[test]
fn latency_spikes_are_noted() {
    let server = TestServer::start();
    let mut client = server.client();
    client.check("LATENCY LATEST", "*0\r\n").check("LATENCY HISTORY command", "*0\r\n");
    client.check("LATENCY GRAPH command", "-ERR No samples available for event 'command'\r\n");
    client.check("CONFIG SET latency-monitor-threshold 5", "+OK\r\n").check("DEBUG SLEEP 0.02", "+OK\r\n");
    client.command("LATENCY LATEST").expect("*1\r\n*4\r\n$7\r\ncommand\r\n");
    let (at, last, max) = (client.integer(), client.integer(), client.integer());
    assert!(at > 1_700_000_000 && last >= 20 && max >= last, "{at} {last} {max}");
    client.check("LATENCY HISTORY command", &format!("*1\r\n*2\r\n:{at}\r\n:{last}\r\n"));
    client.command("LATENCY GRAPH command");
    assert!(client.bulk().starts_with(&format!("command - high {last} ms")));
    client.command("LATENCY DOCTOR");
    assert!(client.bulk().contains("1. command: 1 latency spikes"));
    client.check("LATENCY RESET nope command", ":1\r\n").check("LATENCY RESET", ":0\r\n");
}

#[test]
fn executions_are_counted_by_how_long_they_took() {
    let server = TestServer::start();
    let mut client = server.client();
    client.check("XADD s 1-1 f v", &bulk("1-1")).check("XADD s 2-1 f v", &bulk("2-1"));
    client.send(request("XADD s * f v").repeat(10));
    (0..10).for_each(|_| drop(client.bulk()));
    client
        .command("LATENCY HISTOGRAM xadd nosuch")
        .expect("*2\r\n$4\r\nxadd\r\n*4\r\n$5\r\ncalls\r\n:12\r\n");
    client.expect("$14\r\nhistogram_usec\r\n");
    let pairs: usize = client.line()[1..].parse().unwrap();
    let numbers: Vec<i64> = (0..pairs).map(|_| client.integer()).collect();
    assert_eq!(numbers.last(), Some(&12), "{numbers:?}");
    assert!(numbers.chunks(2).is_sorted_by(|a, b| a[0] < b[0] && a[1] < b[1]), "{numbers:?}");
    client.check("CONFIG RESETSTAT", "+OK\r\n").check("LATENCY HISTOGRAM xadd client", "*0\r\n");
}
