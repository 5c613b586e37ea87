//! What tools around Redis ask: KEDA, which scales consumers by a group's lag, and RedisInsight, which shows and edits
//! streams. Their commands, as they send them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use wafka_tests::{Client, Reply, Server, Setup};

/// A connection in each protocol.
fn connections(server: &Server) -> [Client; 2] {
    [server.client(), Client::connect_resp3(server.addr())]
}

/// The integers under these keys of a map.
#[track_caller]
fn numbers<const N: usize>(map: &Reply, keys: [&str; N]) -> [i64; N] {
    keys.map(|key| map.get(key).int())
}

/// The texts of an array's elements.
fn texts(reply: &Reply) -> Vec<&str> {
    reply.array().iter().map(Reply::text).collect()
}

/// The lag of a stream's only group, as KEDA reads it: anything but a number is an error to it.
#[track_caller]
fn lag(client: &mut Client, stream: &str) -> i64 {
    let groups = client.run(&format!("XINFO GROUPS {stream}"));
    let [group] = groups.array() else { panic!("one group was expected: {groups:?}") };
    group.get("lag").int()
}

/// KEDA scales by `lag`, else by what is pending, else by the length.
#[test]
fn keda_is_told_numbers() {
    let server = Setup::new().brokers(2).start();
    for (turn, mut client) in connections(&server).into_iter().enumerate() {
        let stream = format!("jobs{turn}");
        assert_eq!(client.run(&format!("XINFO GROUPS {stream}")).error(), "ERR no such key");
        assert_eq!(client.run(&format!("XLEN {stream}")), Reply::Int(0));
        for id in 1..=10 {
            client.run(&format!("XADD {stream} {id}-0 job {id}"));
        }
        client.run(&format!("XGROUP CREATE {stream} workers 0"));
        assert_eq!(lag(&mut client, &stream), 10);
        assert_eq!(client.run(&format!("XPENDING {stream} workers")).array()[0], Reply::Int(0));
        client.run(&format!("XREADGROUP GROUP workers w1 COUNT 4 STREAMS {stream} >"));
        assert_eq!(lag(&mut client, &stream), 6);
        let pending = client.run(&format!("XPENDING {stream} workers"));
        assert_eq!(pending.array()[0], Reply::Int(4));
        // Also where Redis no longer knows, and says null: behind the cursor something was deleted.
        client.run(&format!("XDEL {stream} 6-0 8-0"));
        assert_eq!(lag(&mut client, &stream), 4);
        client.run(&format!("XGROUP SETID {stream} workers 6-0"));
        assert_eq!(lag(&mut client, &stream), 3);
        client.run(&format!("XTRIM {stream} MAXLEN 2"));
        assert_eq!(lag(&mut client, &stream), 2);
        client.run(&format!("XREADGROUP GROUP workers w1 NOACK STREAMS {stream} >"));
        assert_eq!(lag(&mut client, &stream), 0);
        client.run(&format!("XACK {stream} workers 1-0 2-0"));
        assert_eq!(client.run(&format!("XPENDING {stream} workers")).array()[0], Reply::Int(2));
        assert_eq!(client.run(&format!("XLEN {stream}")), Reply::Int(2));
    }
}

/// What it asks when a database is added and opened.
#[test]
fn redisinsight_connects() {
    let server = Setup::new().brokers(2).start();
    for mut client in connections(&server) {
        let info = client.run("INFO");
        let info = info.text();
        for field in [
            "redis_version:",
            "redis_mode:standalone",
            "role:master",
            "used_memory:",
            "connected_clients:",
            "cluster_enabled:0",
            "loading:0",
        ] {
            assert!(info.contains(&format!("\r\n{field}")), "{field} is missing in\n{info}");
        }
        assert_eq!(client.run("HELLO").get("role").text(), "master");
        assert_eq!(client.run("CLUSTER INFO").error(), "ERR This instance has cluster support disabled");
        assert_eq!(client.run("MODULE LIST"), Reply::Array(Vec::new()));
        assert_eq!(client.run("CONFIG GET databases").get("databases").text(), "16");
        assert!(client.run("CLIENT LIST").text().starts_with("id="));
        assert_eq!(client.run("DBSIZE"), Reply::Int(0));
    }
    // In RESP3 the reply has sets of maps, which this client's decoder knows nothing of.
    let commands = server.client().run("COMMAND INFO xadd xinfo graph.query");
    let [xadd, xinfo, Reply::Nil] = commands.array() else { panic!("{commands:?}") };
    assert_eq!((xadd.array()[0].text(), xinfo.array()[0].text()), ("xadd", "xinfo"));
}

/// The browser: keys with their type, time to live, size and length, then a stream's entries.
#[test]
fn redisinsight_browses() {
    let server = Setup::new().brokers(2).start();
    for (turn, mut client) in connections(&server).into_iter().enumerate() {
        let key = format!("events{turn}");
        for id in 1..=5 {
            client.run(&format!("XADD {key} {id}-0 n {id}"));
        }
        let found = client.run(&format!("SCAN 0 MATCH {key} COUNT 500 TYPE stream"));
        assert_eq!((found.array()[0].text(), texts(&found.array()[1])), ("0", vec![key.as_str()]));
        assert_eq!(client.run(&format!("TYPE {key}")).text(), "stream");
        assert_eq!(client.run(&format!("TTL {key}")), Reply::Int(-1));
        assert!(client.run(&format!("MEMORY USAGE {key} SAMPLES 0")).int() > 0);
        assert_eq!(client.run(&format!("EXISTS {key}")), Reply::Int(1));
        assert_eq!(client.run(&format!("XLEN {key}")), Reply::Int(5));
        let stream = client.run(&format!("XINFO STREAM {key}"));
        assert_eq!(numbers(&stream, ["length", "groups", "entries-added"]), [5, 0, 5]);
        assert_eq!(stream.get("last-generated-id").text(), "5-0");
        assert_eq!(stream.get("first-entry").array()[0].text(), "1-0");
        assert_eq!(stream.get("last-entry").array()[0].text(), "5-0");
        let page = client.run(&format!("XREVRANGE {key} 4-0 1-0 COUNT 2"));
        let ids: Vec<&str> = page.array().iter().map(|entry| entry.array()[0].text()).collect();
        assert_eq!(ids, ["4-0", "3-0"]);
        assert_eq!(client.run(&format!("XDEL {key} 2-0 3-0")), Reply::Int(2));
        assert_eq!(client.run(&format!("XRANGE {key} - + COUNT 500")).array().len(), 3);
        assert_eq!(client.run(&format!("EXPIRE {key} 1000")), Reply::Int(1));
        assert_eq!(client.run(&format!("PERSIST {key}")), Reply::Int(1));
        assert_eq!(client.run(&format!("RENAMENX {key} {key}:renamed")), Reply::Int(1));
        assert_eq!(client.run(&format!("DEL {key}:renamed")), Reply::Int(1));
    }
}

/// The tab with the consumer groups: groups, then a group's consumers, then a consumer's pending messages, which can be
/// claimed and acknowledged.
#[test]
fn redisinsight_shows_and_edits_groups() {
    let server = Setup::new().brokers(2).start();
    for (turn, mut client) in connections(&server).into_iter().enumerate() {
        let key = format!("orders{turn}");
        let mut run = |command: &str| client.run(&command.replace("KEY", &key));
        for id in 1..=4 {
            run(&format!("XADD KEY {id}-0 n {id}"));
        }
        // Several groups are made in one transaction.
        run("MULTI");
        run("XGROUP CREATE KEY bills 0");
        run("XGROUP CREATE KEY mails $");
        assert_eq!(texts(&run("EXEC")), ["OK", "OK"]);
        assert!(run("XGROUP CREATE KEY bills 0").is_error("BUSYGROUP"));
        run("XREADGROUP GROUP bills b1 COUNT 3 STREAMS KEY >");
        run("XREADGROUP GROUP bills b2 STREAMS KEY >");

        let groups = run("XINFO GROUPS KEY");
        let [bills, mails] = groups.array() else { panic!("{groups:?}") };
        assert_eq!((bills.get("name").text(), mails.get("name").text()), ("bills", "mails"));
        let fields = ["consumers", "pending", "entries-read", "lag"];
        assert_eq!(numbers(bills, fields), [2, 4, 4, 0]);
        assert_eq!(numbers(mails, ["consumers", "pending", "lag"]), [0, 0, 0]);
        assert_eq!(bills.get("last-delivered-id").text(), "4-0");
        let range = run("XPENDING KEY bills");
        assert_eq!((range.array()[1].text(), range.array()[2].text()), ("1-0", "4-0"));

        let consumers = run("XINFO CONSUMERS KEY bills");
        let [b1, b2] = consumers.array() else { panic!("{consumers:?}") };
        assert_eq!((b1.get("name").text(), b2.get("name").text()), ("b1", "b2"));
        assert_eq!((numbers(b1, ["pending"]), numbers(b2, ["pending"])), ([3], [1]));
        assert!(b1.get("idle").int() >= 0 && b1.get("inactive").int() >= 0);

        let pending = run("XPENDING KEY bills - + 500 b1");
        let found: Vec<(&str, &str, i64)> = pending
            .array()
            .iter()
            .map(|entry| entry.array())
            .map(|entry| (entry[0].text(), entry[1].text(), entry[3].int()))
            .collect();
        assert_eq!(found, [("1-0", "b1", 1), ("2-0", "b1", 1), ("3-0", "b1", 1)]);
        assert_eq!(run("XACK KEY bills 1-0"), Reply::Int(1));
        let claimed = run("XCLAIM KEY bills b2 0 2-0 3-0 IDLE 5000 RETRYCOUNT 7 FORCE");
        assert_eq!(claimed.array().len(), 2);
        let claimed = run("XPENDING KEY bills - + 500 b2");
        let first = claimed.array()[0].array();
        assert_eq!((first[0].text(), first[3].int()), ("2-0", 7));
        assert!(first[2].int() >= 5000);
        assert_eq!(run("XCLAIM KEY bills b1 0 3-0 TIME 1000 JUSTID").array()[0].text(), "3-0");

        assert_eq!(run("XGROUP SETID KEY mails 2-0"), Reply::Status("OK".to_owned()));
        assert_eq!(run("XINFO GROUPS KEY").array()[1].get("last-delivered-id").text(), "2-0");
        assert_eq!(run("XGROUP DELCONSUMER KEY bills b2"), Reply::Int(2));
        assert_eq!(run("XGROUP DESTROY KEY mails"), Reply::Int(1));
        assert!(run("XINFO CONSUMERS KEY mails").is_error("NOGROUP"));
        assert_eq!(run("XINFO GROUPS KEY").array().len(), 1);
    }
}
