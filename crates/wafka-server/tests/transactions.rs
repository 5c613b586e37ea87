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
    // A topic whose time comes: it was there when it was watched.
    while {
        client.check("UNWATCH", OK).check("FLUSHALL", OK).check("XADD s 1-1 f v", &bulk("1-1"));
        client.check("PEXPIRE s 30", ":1\r\n").check("WATCH s", OK).command("PTTL s");
        client.integer() < 0
    } {}
    while {
        other.command("EXISTS s");
        other.integer() == 1
    } {}
    begin(&mut client, &["PING"]);
    client.check("EXEC", NULL_ARRAY);
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

fn entries(ids: &[&str]) -> String {
    let entry = |id: &&str| format!("*2\r\n{}*2\r\n{}{}", bulk(id), bulk("f"), bulk("v"));
    format!("*{}\r\n{}", ids.len(), ids.iter().map(entry).collect::<String>())
}

#[test]
fn groups_take_part() {
    let server = TestServer::start();
    let mut client = server.client();
    let queue = [
        "XGROUP CREATE s g 0 MKSTREAM",
        "XADD s 1-1 f v",
        "XADD t 1-1 f v",
        "XREADGROUP GROUP g c BLOCK 0 STREAMS s >",
        "XREADGROUP GROUP g c BLOCK 0 STREAMS s >",
        "XACK s g 1-1",
        "XREADGROUP GROUP g c STREAMS s 0",
        "XLEN t",
    ];
    begin(&mut client, &queue);
    let (id, s) = (bulk("1-1"), bulk("s"));
    let read = entries(&["1-1"]);
    client.check(
        "EXEC",
        &format!("*8\r\n{OK}{id}{id}*1\r\n*2\r\n{s}{read}{NULL_ARRAY}:1\r\n*1\r\n*2\r\n{s}*0\r\n:1\r\n"),
    );
    // Who waits for the group gets all that one transaction brought.
    let (mut first, mut second) = (server.client(), server.client());
    for (waiting, blocked) in [&mut first, &mut second].into_iter().zip(1..) {
        waiting.command("XREADGROUP GROUP g w BLOCK 0 STREAMS s >");
        while server.server().shared().stats.blocked_clients.get() < blocked {
            std::thread::yield_now();
        }
    }
    begin(&mut client, &["XADD s 2-1 f v", "XADD s 2-2 f v", "XLEN s"]);
    client.check("EXEC", &format!("*3\r\n{}{}:3\r\n", bulk("2-1"), bulk("2-2")));
    first.expect(format!("*1\r\n*2\r\n{s}{}", entries(&["2-1", "2-2"])));
    // What a transaction reads itself is not for them.
    begin(&mut client, &["XADD s 3-1 f v", "XREADGROUP GROUP g c STREAMS s >"]);
    client.check("EXEC", &format!("*2\r\n{}*1\r\n*2\r\n{s}{}", bulk("3-1"), entries(&["3-1"])));
    begin(&mut client, &["XADD t 9-1 f v", "DEL s", "EXISTS s t"]);
    client.check("EXEC", &format!("*3\r\n{}:1\r\n:1\r\n", bulk("9-1")));
    let line = second.line();
    assert!(line.starts_with("-NOGROUP "), "{line}");
}

#[test]
fn a_deleted_topic_is_made_anew_behind_the_transaction() {
    let server = TestServer::start();
    let mut client = server.client();
    client.check("XADD s 1-1 f v", &bulk("1-1")).check("XADD t 1-1 f v", &bulk("1-1"));
    begin(&mut client, &["DEL s t", "XADD s 2-1 f v", "XLEN s", "XADD u 1-1 f v", "DEL u", "KEYS *"]);
    client.check(
        "EXEC",
        &format!(
            "*6\r\n:2\r\n-ERR topic 's' was deleted in this transaction: it can be made anew after EXEC\r\n:0\r\n\
             {}:1\r\n*0\r\n",
            bulk("1-1")
        ),
    );
    client.check("XADD s 0-1 f v", &bulk("0-1")).check("XADD u 0-1 f v", &bulk("0-1"));
    // A single one is what it is by itself.
    begin(&mut client, &["DEL s", "EXISTS s"]);
    client.check("EXEC", "*2\r\n:1\r\n:0\r\n");
    begin(&mut client, &["XADD s 0-1 f v", "PEXPIRE s -1", "PEXPIRE u 100000", "EXISTS s u"]);
    client.check("EXEC", &format!("*4\r\n{}:1\r\n:1\r\n:1\r\n", bulk("0-1")));
}

#[test]
fn a_large_reply_ends_the_command_not_the_transaction() {
    let server = TestServer::start();
    server.server().shared().settings.set_output_buffer_limit(400);
    let mut client = server.client();
    client.check("XADD s 1-1 f v", &bulk("1-1"));
    for n in 2..20 {
        client.check(&format!("XADD s {n}-1 f v"), &bulk(&format!("{n}-1")));
    }
    begin(&mut client, &["XRANGE s - + COUNT 5", "XRANGE s - +", "XADD s 50-1 f v"]);
    let first: Vec<String> = (1..=5).map(|n| format!("{n}-1")).collect();
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    client.command("EXEC").expect(format!("*3\r\n{}", entries(&first)));
    let line = client.line();
    assert!(line.starts_with("-ERR the reply exceeds the output buffer limit of 400 bytes"), "{line}");
    client.expect(bulk("50-1"));
    client.check("XLEN s", ":20\r\n");
}

#[test]
fn others_are_told_of_it() {
    let server = TestServer::start();
    let (mut client, mut other) = (server.client(), server.client());
    client.check("WATCH a b a b#1", OK);
    begin(&mut client, &["PING", "PING"]);
    other.command("CLIENT LIST");
    let lines = other.bulk();
    assert!(
        lines.lines().any(|line| line.contains(" flags=x ") && line.contains(" multi=2 watch=2 ")),
        "{lines}"
    );
    other.command("INFO clients");
    assert!(other.bulk().contains("watching_clients:1\r\n"));
    client.check("DISCARD", OK);
    other.command("INFO clients");
    assert!(other.bulk().contains("watching_clients:0\r\n"));
}
