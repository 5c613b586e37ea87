//! Commands of administrators over a real socket: users, tracking, what Redis has and Wafka has not.

mod support;

use support::{TestServer, bulk};

#[test]
fn there_is_one_user() {
    let server = TestServer::start();
    let mut client = server.client();
    client.check("ACL WHOAMI", &bulk("default")).check("ACL USERS", &format!("*1\r\n{}", bulk("default")));
    client
        .check("ACL LIST", &format!("*1\r\n{}", bulk("user default on nopass sanitize-payload ~* &* +@all")));
    let flags = |flags: &[&str]| {
        format!("*{}\r\n{}", flags.len(), flags.iter().map(|flag| bulk(flag)).collect::<String>())
    };
    let rest = [
        bulk("commands"),
        bulk("+@all"),
        bulk("keys"),
        bulk("~*"),
        bulk("channels"),
        bulk("&*"),
        bulk("selectors"),
        "*0\r\n".to_owned(),
    ]
    .concat();
    let user = |shown: &[&str], passwords: &[&str]| {
        format!("*12\r\n{}{}{}{}{rest}", bulk("flags"), flags(shown), bulk("passwords"), flags(passwords))
    };
    client.check("ACL GETUSER default", &user(&["on", "nopass", "sanitize-payload"], &[]));
    client.check("ACL GETUSER nope", "*-1\r\n").check("ACL DELUSER nope", ":0\r\n");
    client.check("ACL DELUSER default", "-ERR The 'default' user cannot be removed\r\n");
    client.command("ACL SETUSER me on");
    assert!(client.line().starts_with("-ERR Wafka has one user"));
    client.check("CONFIG SET requirepass secret", "+OK\r\n");
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    client.check("ACL GETUSER default", &user(&["on", "sanitize-payload"], &[hash]));
    client.check(
        "ACL LIST",
        &format!("*1\r\n{}", bulk(&format!("user default on sanitize-payload #{hash} ~* &* +@all"))),
    );
}

#[test]
fn commands_are_grouped_and_tried_out() {
    let server = TestServer::start();
    let mut client = server.client();
    client.command("ACL CAT");
    assert_eq!(client.line(), "*21");
    (0..21).for_each(|_| drop(client.bulk()));
    client.command("ACL CAT pubsub");
    let count: usize = client.line()[1..].parse().unwrap_or_default();
    let names: Vec<String> = (0..count).map(|_| client.bulk()).collect();
    assert!(
        names.iter().any(|name| name == "publish") && names.iter().any(|name| name == "pubsub|numsub"),
        "{names:?}"
    );
    client.check("ACL CAT nope", "-ERR Unknown category 'nope'\r\n");
    client
        .check("ACL DRYRUN default XADD s * f v", "+OK\r\n")
        .check("ACL DRYRUN default CLIENT ID", "+OK\r\n");
    client.check("ACL DRYRUN nope PING", "-ERR User 'nope' not found\r\n");
    client.check("ACL DRYRUN default NOSUCH", "-ERR Command 'NOSUCH' not found\r\n");
    client.check("ACL DRYRUN default XADD", "-ERR wrong number of arguments for 'xadd' command\r\n");
    client.command("ACL GENPASS");
    let first = client.bulk();
    client.command("ACL GENPASS");
    assert!(first.len() == 64 && first != client.bulk());
    client.command("ACL GENPASS 5");
    assert_eq!(client.bulk().len(), 2);
}

#[test]
fn failed_attempts_to_authenticate_are_listed() {
    let server = TestServer::start();
    let mut client = server.client();
    client.check("ACL LOG", "*0\r\n");
    for _ in 0..2 {
        client.check("AUTH me x", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    }
    client.command("ACL LOG 1").expect("*1\r\n*20\r\n$5\r\ncount\r\n:2\r\n");
    for (name, value) in [("reason", "auth"), ("context", "toplevel"), ("object", "AUTH"), ("username", "me")]
    {
        client.expect(bulk(name) + &bulk(value));
    }
    client.expect(bulk("age-seconds"));
    assert!(client.bulk().parse::<f64>().is_ok_and(|secs| secs < 60.0));
    client.expect(bulk("client-info"));
    assert!(client.bulk().starts_with("id=1 addr=127.0.0.1:"));
    client.expect(bulk("entry-id")).expect(":0\r\n").expect(bulk("timestamp-created"));
    let created = client.integer();
    client.expect(bulk("timestamp-last-updated"));
    assert!(client.integer() >= created);
    client.check("ACL LOG RESET", "+OK\r\n").check("ACL LOG", "*0\r\n");
}

#[test]
fn keys_that_clients_wait_for_are_counted() {
    let server = TestServer::start();
    let (mut reader, mut member, mut client) = (server.client(), server.client(), server.client());
    client.check("XGROUP CREATE s g 0 MKSTREAM", "+OK\r\n");
    reader.command("XREAD BLOCK 0 STREAMS s none $ $");
    member.command("XREADGROUP GROUP g c BLOCK 0 STREAMS s >");
    while server.server().shared().stats.blocked_clients.get() < 2 {
        std::thread::yield_now();
    }
    client.command("INFO clients");
    let info = client.bulk();
    for field in ["blocked_clients:2\r\n", "total_blocking_keys:2\r\n", "total_blocking_keys_on_nokey:1\r\n"]
    {
        assert!(info.contains(field), "{info}");
    }
    client.check("WATCH a b", "+OK\r\n").command("INFO clients");
    let info = client.bulk();
    assert!(info.contains("watching_clients:1\r\n") && info.contains("total_watched_keys:2\r\n"), "{info}");
    client.command("INFO latencystats");
    assert!(client.bulk().contains("latency_percentiles_usec_info:p50="));
}

#[test]
fn tracking_is_never_on() {
    let server = TestServer::start();
    let mut client = server.client();
    client.check("CLIENT TRACKING OFF", "+OK\r\n").check("CLIENT GETREDIR", ":-1\r\n");
    client.command("CLIENT TRACKING ON BCAST PREFIX a");
    assert!(client.line().starts_with("-ERR client-side caching is not supported"));
    client
        .check("CLIENT TRACKING ON NOPE", "-ERR syntax error\r\n")
        .check("CLIENT TRACKING x", "-ERR syntax error\r\n");
    client.check(
        "CLIENT TRACKINGINFO",
        "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n",
    );
    client.check("CLIENT CACHING YES", "-ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled\r\n");
}

#[test]
fn this_server_stands_alone() {
    let server = TestServer::start();
    let mut client = server.client();
    let disabled = "-ERR This instance has cluster support disabled\r\n";
    for line in ["READONLY", "READWRITE", "ASKING", "CLUSTER INFO", "CLUSTER SLOTS"] {
        client.check(line, disabled);
    }
    client.check("REPLICAOF NO ONE", "+OK\r\n").check("SLAVEOF no one", "+OK\r\n");
    client.check("REPLICAOF localhost 6379", "-ERR Wafka does not replicate: it cannot become a replica\r\n");
    client.check("FAILOVER", "-ERR FAILOVER requires connected replicas.\r\n");
    client
        .check("FAILOVER ABORT", "-ERR No failover in progress.\r\n")
        .check("FAILOVER x", "-ERR syntax error\r\n");
    client.check("MODULE LIST", "*0\r\n").check("ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    client.check("MEMORY PURGE", "+OK\r\n");
}
