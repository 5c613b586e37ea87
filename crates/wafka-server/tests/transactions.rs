//! `MULTI`, `EXEC`, `DISCARD`, `WATCH`: Redis's replies, and nobody in between.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use support::{Client, TestServer, bulk};

const OK: &str = "+OK\r\n";
const QUEUED: &str = "+QUEUED\r\n";
const EXECABORT: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";
const NULL_ARRAY: &str = "*-1\r\n";

fn begin(client: &mut Client, lines: &[&str]) {
    client.check("MULTI", OK);
    for line in lines {
        client.check(line, QUEUED);
    }
}

#[test]
fn what_is_queued_is_executed_together() {
    for (hello, null) in [("2", "*-1\r\n"), ("3", "_\r\n")] {
        let server = TestServer::start();
        let mut client = server.client();
        client.command(&format!("HELLO {hello}"));
        client.send("*1\r\n$4\r\nPING\r\n");
        while client.line() != "+PONG" {}
        client.check("XADD s 1-1 a 1", &bulk("1-1"));
        begin(
            &mut client,
            &["XADD s 4-1 d 4", "XREAD BLOCK 0 STREAMS s $", "XREAD BLOCK 0 STREAMS s 1-1", "XLEN s"],
        );
        let outer = if hello == "2" { "*1\r\n*2\r\n" } else { "%1\r\n" };
        let entry = format!("*2\r\n{}*2\r\n{}{}", bulk("4-1"), bulk("d"), bulk("4"));
        client.check("EXEC", &format!("*4\r\n{}{null}{outer}{}*1\r\n{entry}:2\r\n", bulk("4-1"), bulk("s")));
        // An error takes nothing back.
        begin(&mut client, &["XADD s 1-1 too small", "XADD s 5-1 e 5", "XLEN"][..2]);
        let small = "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n";
        client.check("EXEC", &format!("*2\r\n{small}{}", bulk("5-1")));
        begin(
            &mut client,
            &["XADD s 6-1 a b", "XADD s 6-1 a b", "XADD s 6-2 a b", "XDEL s 6-1 9-9", "XLEN s"],
        );
        client.check("EXEC", &format!("*5\r\n{}{small}{}:1\r\n:4\r\n", bulk("6-1"), bulk("6-2")));
        begin(&mut client, &[]);
        client.check("EXEC", "*0\r\n");
    }
}

#[test]
fn what_cannot_be_queued_aborts() {
    let server = TestServer::start();
    let mut client = server.client();
    begin(&mut client, &[]);
    client.check("XADD s", "-ERR wrong number of arguments for 'xadd' command\r\n");
    client.check("XLEN s", QUEUED).check("EXEC", EXECABORT).check("EXEC", "-ERR EXEC without MULTI\r\n");
    for (line, text) in [
        ("NOSUCH", "ERR unknown command 'NOSUCH'"),
        ("CLIENT NOPE", "ERR unknown subcommand 'NOPE'. Try CLIENT HELP."),
        ("SHUTDOWN", "ERR Command not allowed inside a transaction"),
        (
            "FLUSHALL",
            "ERR FLUSHALL is not allowed inside a transaction: it could not be undone together with the others",
        ),
        (
            "TOPIC DELETE t",
            "ERR TOPIC DELETE is not allowed inside a transaction: it could not be undone together with the others",
        ),
    ] {
        begin(&mut client, &["XADD s 1-1 f v"]);
        client.check(line, &format!("-{text}\r\n")).check("EXEC", EXECABORT);
    }
    client.check("EXISTS s", ":0\r\n");
    // What is wrong with EXEC itself ends the transaction.
    begin(&mut client, &["PING"]);
    client.check(
        "EXEC x",
        "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n",
    );
    client.check("PING", "+PONG\r\n");
}

#[test]
fn multi_and_watch_do_not_nest_and_discard_forgets() {
    let server = TestServer::start();
    let mut client = server.client();
    begin(&mut client, &["XADD s 1-1 f v"]);
    client.check("MULTI", "-ERR MULTI calls can not be nested\r\n");
    client.check("WATCH s", "-ERR WATCH inside MULTI is not allowed\r\n");
    client.check("DISCARD", OK).check("DISCARD", "-ERR DISCARD without MULTI\r\n");
    client.check("EXISTS s", ":0\r\n");
    begin(&mut client, &["XADD s 1-1 f v"]);
    client.check("RESET", "+RESET\r\n").check("EXEC", "-ERR EXEC without MULTI\r\n");
    // The database chosen in between counts from there on.
    begin(&mut client, &["XADD s 1-1 f v", "SELECT 3", "XADD s 2-1 f v", "XLEN s"]);
    client.check("EXEC", &format!("*4\r\n{}{OK}{}:1\r\n", bulk("1-1"), bulk("2-1")));
    client.check("SELECT 0", OK).check("XLEN s", ":1\r\n");
    // What is queued goes with the connection.
    let mut other = server.client();
    begin(&mut other, &["XADD s 9-9 f v"]);
    other.check("QUIT", OK).expect_end();
    client.check("XLEN s", ":1\r\n");
}

#[test]
fn a_queue_is_bounded() {
    let server =
        TestServer::with(|config| config.server.query_buffer_limit = config.server.proto_max_bulk_len);
    let limit = server.server().shared().settings.query_buffer_limit();
    server.server().shared().settings.set_query_buffer_limit(1000);
    assert!(limit > 1000);
    let mut client = server.client();
    begin(&mut client, &["XADD s 1-1 f v"]);
    client.command("XADD s 1-2 f v").command("XADD s 1-3 f v");
    let (first, second) = (client.line(), client.line());
    assert_eq!(first, "+QUEUED");
    assert!(
        second.starts_with("-ERR the transaction exceeds the query buffer limit of 1000 bytes"),
        "{second}"
    );
    client.check("XLEN s", QUEUED).check("EXEC", EXECABORT).check("XLEN s", ":0\r\n");
}

#[test]
fn what_is_watched_must_not_change() {
    let server = TestServer::start();
    let (mut client, mut other) = (server.client(), server.client());
    let touching = [
        ("XADD s 9-1 f v", true),
        ("XADD s 1-1 f v", false),
        ("XADD s#2 9-1 f v", true),
        ("XDEL s 1-1", true),
        ("XDEL s 7-7", false),
        ("XTRIM s MAXLEN 1", true),
        ("XTRIM s MAXLEN 100", false),
        ("XSETID s 99-1", false),
        ("EXPIRE s 100", true),
        ("PERSIST s", false),
        ("PEXPIRE s -1", true),
        ("DEL s", true),
        ("DEL none", false),
        ("UNLINK s", true),
        ("XADD none 1-1 f v", true),
        ("TOPIC CREATE none", true),
        ("XLEN s", false),
        ("FLUSHALL", true),
    ];
    for (line, touches) in touching {
        for own in [false, true] {
            client.check("FLUSHALL", OK);
            for id in ["1-1", "2-1", "3-1"] {
                client.check(&format!("XADD s {id} f v"), &bulk(id));
            }
            client.check(if line.contains("none") { "WATCH none" } else { "WATCH s" }, OK);
            let by = if own { &mut client } else { &mut other };
            by.command(line);
            if by.line().starts_with('$') {
                by.line();
            }
            begin(&mut client, &["PING"]);
            client.check("EXEC", if touches { NULL_ARRAY } else { "*1\r\n+PONG\r\n" });
            // Once.
            begin(&mut client, &["PING"]);
            client.check("EXEC", "*1\r\n+PONG\r\n");
        }
    }
    client.check("WATCH s t", OK).check("UNWATCH", OK);
    other.check("XADD t 1-1 f v", &bulk("1-1"));
    begin(&mut client, &["PING"]);
    client.check("EXEC", "*1\r\n+PONG\r\n");
}

#[test]
fn nobody_sees_half_of_a_transaction() {
    const ROUNDS: usize = 60;
    let server = TestServer::start();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (server, done) = (&server, &done);
                scope.spawn(move || {
                    let mut client = server.client();
                    let mut looks = 0;
                    while !done.load(Ordering::Relaxed) {
                        begin(&mut client, &["XLEN a", "XLEN b"]);
                        client.command("EXEC");
                        assert_eq!(client.line(), "*2");
                        assert_eq!(client.integer(), client.integer());
                        // EXISTS is one command: it sees both or none.
                        client.command("EXISTS c d");
                        assert_ne!(client.integer(), 1);
                        looks += 1;
                    }
                    looks
                })
            })
            .collect();
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.client();
                    for round in 0..ROUNDS {
                        let delete = writer == 0 && round % 2 == 1;
                        let last: [&str; 2] =
                            if delete { ["DEL c", "DEL d"] } else { ["XADD c * f v", "XADD d * f v"] };
                        let queue = ["XADD a * f v", "XADD b * f v", last[0], last[1]];
                        begin(&mut client, &queue);
                        client.command("EXEC");
                        assert_eq!(client.line(), "*4");
                        for at in 0..4 {
                            let reply = client.line();
                            assert!(reply.starts_with(if delete && at > 1 { ':' } else { '$' }), "{reply}");
                            if reply.starts_with('$') {
                                client.line();
                            }
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    let mut client = server.client();
    client.check("XLEN a", &format!(":{}\r\n", 3 * ROUNDS));
}

#[test]
fn a_blocked_reader_gets_all_of_a_transaction_or_nothing() {
    let server = TestServer::start();
    let (mut client, mut reader) = (server.client(), server.client());
    reader.command("XREAD BLOCK 0 STREAMS a b $ $");
    while server.server().shared().stats.blocked_clients.get() == 0 {
        std::thread::yield_now();
    }
    // What was appended and is gone again wakes nobody.
    begin(&mut client, &["XADD a 1-1 f v", "DEL a"]);
    client.check("EXEC", &format!("*2\r\n{}:1\r\n", bulk("1-1")));
    begin(&mut client, &["XADD b 2-1 f v", "XADD a 2-1 f v"]);
    client.check("EXEC", &format!("*2\r\n{0}{0}", bulk("2-1")));
    let entry = format!("*1\r\n*2\r\n{}*2\r\n{}{}", bulk("2-1"), bulk("f"), bulk("v"));
    reader.expect(format!("*2\r\n*2\r\n{}{entry}*2\r\n{}{entry}", bulk("a"), bulk("b")));
}
