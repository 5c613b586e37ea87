//! The server as a whole: what it tells about itself, what can be set, how it goes down.

mod support;

use support::{Client, TestServer, bulk, request};
use wafka_server::config::Fsync;

#[test]
fn info_has_what_clients_parse() {
    let server = TestServer::start();
    let mut client = server.client();
    client.check("XADD s 1-1 f v", "$3\r\n1-1\r\n").check("NOSUCH", "-ERR unknown command 'NOSUCH'\r\n");
    client.check("XLEN", "-ERR wrong number of arguments for 'xlen' command\r\n");
    client.check(
        "XADD s 1-1 f v",
        "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n",
    );
    client.command("INFO everything");
    let info = client.bulk();
    for line in [
        "redis_version:8.10.0",
        "redis_mode:standalone",
        "arch_bits:64",
        "connected_clients:1",
        "blocked_clients:0",
        "loading:0",
        "rdb_changes_since_last_save:0",
        "rdb_bgsave_in_progress:0",
        "aof_rewrite_in_progress:0",
        "role:master",
        "master_repl_offset:0",
        "cluster_enabled:0",
        "db0:keys=1,expires=0,avg_ttl=0",
        "total_error_replies:3",
        "errorstat_ERR:count=3",
        "brokers:2",
        "fsync:always",
    ] {
        assert!(info.contains(&format!("\r\n{line}\r\n")), "{line} is not in {info}");
    }
    for name in ["used_memory", "used_cpu_user", "total_blocking_keys", "watching_clients", "pubsub_clients"]
    {
        assert!(info.contains(&format!("\r\n{name}:")), "{name} is not in {info}");
    }
    let xadd = info.lines().find(|line| line.starts_with("cmdstat_xadd:")).unwrap();
    assert!(xadd.starts_with("cmdstat_xadd:calls=2,usec="), "{xadd}");
    assert!(xadd.ends_with(",rejected_calls=0,failed_calls=1"), "{xadd}");
    assert!(
        info.contains("cmdstat_xlen:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0\r\n")
    );
    client.check("CONFIG RESETSTAT", "+OK\r\n").command("INFO commandstats errorstats nosuch");
    let info = client.bulk();
    assert!(info.starts_with("# Commandstats\r\n") && !info.contains("xadd"), "{info}");
    assert!(info.ends_with("\r\n# Errorstats\r\n"), "{info}");
    client.command("INFO");
    let info = client.bulk();
    assert!(
        info.contains("# Server\r\n") && info.contains("# Wafka\r\n") && !info.contains("# Commandstats")
    );
}

#[test]
fn settings_take_effect_and_wrong_ones_change_nothing() {
    let server = TestServer::start();
    let mut client = server.client();
    client.check("CONFIG GET appendfsync", "*2\r\n$11\r\nappendfsync\r\n$6\r\nalways\r\n");
    client.check("CONFIG SET appendfsync everysec timeout 7", "+OK\r\n");
    client.check("CONFIG GET appendfsync", "*2\r\n$11\r\nappendfsync\r\n$8\r\neverysec\r\n");
    client.check("CONFIG GET timeout TIMEOUT", "*2\r\n$7\r\ntimeout\r\n$1\r\n7\r\n");
    let failed = |name: &str, reason: &str| {
        format!("-ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}\r\n")
    };
    let not_integer = "argument couldn't be parsed into an integer";
    client.check(
        "CONFIG SET nosuch 1",
        "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'\r\n",
    );
    client.check("CONFIG SET timeout 8 maxclients x", &failed("maxclients", not_integer));
    client.check("CONFIG GET timeout", "*2\r\n$7\r\ntimeout\r\n$1\r\n7\r\n");
    client.check("CONFIG SET timeout 8 timeout 9", &failed("timeout", "duplicate parameter"));
    client.check("CONFIG SET port 1", &failed("port", "can't set immutable config"));
    client.check("CONFIG SET stream-node-max-entries x", &failed("stream-node-max-entries", not_integer));
    client.check("XADD s 1-1 f v", "$3\r\n1-1\r\n").check("XADD s 2-1 f v", "$3\r\n2-1\r\n");
    client.check("XTRIM s MAXLEN ~ 1", ":0\r\n");
    client.check("CONFIG SET stream-node-max-entries 1", "+OK\r\n");
    client.check("XADD t 1-1 f v", "$3\r\n1-1\r\n").check("XADD t 2-1 f v", "$3\r\n2-1\r\n");
    client.check("XTRIM t MAXLEN ~ 1", ":1\r\n");
    client.check("CONFIG SET stream-node-max-entries 100", "+OK\r\n");
    client.check("CONFIG SET timeout", "-ERR wrong number of arguments for 'config|set' command\r\n");
    client.check(
        "CONFIG SET timeout 1 maxclients",
        "-ERR wrong number of arguments for 'config|set' command\r\n",
    );
    client.check(
        "CONFIG GET stream-node-*",
        &format!(
            "*4\r\n{}$3\r\n100\r\n{}$4\r\n4096\r\n",
            bulk("stream-node-max-entries"),
            bulk("stream-node-max-bytes")
        ),
    );
    client.check(
        "CONFIG SET client-output-buffer-limit",
        "-ERR wrong number of arguments for 'config|set' command\r\n",
    );
    client.check("CONFIG SET proto-max-bulk-len 1mb", "+OK\r\n");
    client
        .send("*2\r\n$4\r\nECHO\r\n$1048577\r\n")
        .expect("-ERR Protocol error: invalid bulk length\r\n")
        .expect_end();
}

#[test]
fn every_command_is_documented() {
    let server = TestServer::start();
    let mut client = server.client();
    client.command("COMMAND COUNT");
    let count = client.integer();
    client.command("COMMAND LIST").expect(format!("*{count}\r\n"));
    let names: Vec<String> = (0..count).map(|_| client.bulk()).collect();
    assert_eq!(names[0], "xadd");
    client.command("COMMAND DOCS xlen nosuch");
    client.expect(
        "*2\r\n$4\r\nxlen\r\n*8\r\n$7\r\nsummary\r\n$40\r\nReturns the number of events in a topic.\r\n\
         $5\r\nsince\r\n$5\r\n5.0.0\r\n$5\r\ngroup\r\n$6\r\nstream\r\n$9\r\narguments\r\n*1\r\n*8\r\n\
         $4\r\nname\r\n$3\r\nkey\r\n$4\r\ntype\r\n$3\r\nkey\r\n$12\r\ndisplay_text\r\n$3\r\nkey\r\n\
         $14\r\nkey_spec_index\r\n:0\r\n",
    );
    client.command("COMMAND INFO xlen nosuch");
    client.expect(
        "*2\r\n*10\r\n$4\r\nxlen\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n\
         *3\r\n+@read\r\n+@stream\r\n+@fast\r\n*0\r\n*1\r\n*6\r\n$5\r\nflags\r\n*1\r\n+RO\r\n\
         $12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:1\r\n\
         $9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:0\r\n\
         $7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n$-1\r\n",
    );
    client.check("COMMAND GETKEYS XREAD COUNT 1 STREAMS a b 0 0", "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    client.check("COMMAND GETKEYSANDFLAGS XDEL a 1-1", "*1\r\n*2\r\n$1\r\na\r\n*2\r\n+RW\r\n+delete\r\n");
    client.check(
        "COMMAND GETKEYSANDFLAGS RENAME a b",
        "*2\r\n*2\r\n$1\r\na\r\n*3\r\n+RW\r\n+access\r\n+delete\r\n*2\r\n$1\r\nb\r\n*2\r\n+OW\r\n+update\r\n",
    );
    client.check("COMMAND GETKEYS PING", "-ERR The command has no key arguments\r\n");
    client.check("COMMAND GETKEYS NOSUCH", "-ERR Invalid command specified\r\n");
    client.check("COMMAND LIST FILTERBY PATTERN xrev*", "*1\r\n$9\r\nxrevrange\r\n");
    client.check("COMMAND LIST FILTERBY NOPE x", "-ERR syntax error\r\n");
    client.check("COMMAND NOPE", "-ERR unknown subcommand 'NOPE'. Try COMMAND HELP.\r\n");
}

#[test]
fn what_there_is_not_is_told_honestly() {
    let server = TestServer::start();
    let mut client = server.client();
    client.check("WAIT 0 0", ":0\r\n").check("WAIT 3 0", ":0\r\n");
    client.check("WAIT x 0", "-ERR value is not an integer or out of range\r\n");
    client.check("WAITAOF 1 0 0", "*2\r\n:1\r\n:0\r\n");
    client.check("CONFIG SET appendfsync no", "+OK\r\n").check("WAITAOF 1 0 0", "*2\r\n:0\r\n:0\r\n");
    client.check("ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    client.check("CLUSTER INFO", "-ERR This instance has cluster support disabled\r\n");
    client.check("READONLY", "-ERR This instance has cluster support disabled\r\n");
    client.check("PLUGIN LIST", "*0\r\n");
    client.command("BGSAVE");
    assert!(client.line().starts_with("-ERR Wafka makes no snapshots"));
    client.check("LASTSAVE x", "-ERR wrong number of arguments for 'lastsave' command\r\n");
    client
        .check("DEBUG SLEEP 0", "+OK\r\n")
        .check("DEBUG SEGFAULT", "-ERR unknown subcommand 'SEGFAULT'. Try DEBUG HELP.\r\n");
    client.command("DEBUG SLEEP 1e9");
    assert!(client.line().starts_with("-ERR value is not a valid number"));
    client.command("TIME").expect("*2\r\n");
    assert!(client.bulk().parse::<u64>().unwrap() > 1_600_000_000);
    assert!(client.bulk().parse::<u64>().unwrap() < 1_000_000);
}

#[test]
fn waitaof_says_yes_only_when_it_is_so() {
    let server = TestServer::with(|config| config.storage.fsync = Fsync::No);
    let mut client = server.client();
    client.check("XADD s 1-1 f v", "$3\r\n1-1\r\n").check("WAITAOF 1 0 0", "*2\r\n:0\r\n:0\r\n");
    client.check("CONFIG SET timeout 100 appendfsync always", "+OK\r\n");
    client.check("CONFIG GET timeout", "*2\r\n$7\r\ntimeout\r\n$3\r\n100\r\n");
    client.check("WAITAOF 1 0 0", "*2\r\n:1\r\n:0\r\n");
    let in_memory = TestServer::with(|config| config.storage.backend = "memory".to_owned());
    in_memory.client().check("XADD s 1-1 f v", "$3\r\n1-1\r\n").check("WAITAOF 1 0 0", "*2\r\n:0\r\n:0\r\n");
}

#[test]
fn shutdown_answers_what_was_accepted_and_keeps_it() {
    let mut server = TestServer::start();
    let mut blocked = server.client();
    blocked.command("XREAD BLOCK 0 STREAMS other $");
    let mut idle = server.client();
    idle.check("PING", "+PONG\r\n");
    let mut client = server.client();
    let appends = (1..=100).map(|n| request(&format!("XADD s {n}-1 f v"))).collect::<Vec<_>>().concat();
    client.send([appends, request("SHUTDOWN NOSAVE"), request("XADD s 101-1 f v")].concat());
    let replies: String = (1..=100).map(|n| bulk(&format!("{n}-1"))).collect();
    client.expect(replies).expect_end();
    blocked.expect_end();
    idle.expect_end();
    server.wait();
    let dir = server.dir.path().join("data");
    let again = TestServer::with(|config| config.server.data_dir = dir);
    again.client().check("XLEN s", ":100\r\n");
}

#[test]
fn shutdown_refuses_what_it_does_not_know() {
    let server = TestServer::start();
    let mut client = server.client();
    client
        .check("SHUTDOWN MAYBE", "-ERR syntax error\r\n")
        .check("SHUTDOWN SAVE NOSAVE", "-ERR syntax error\r\n");
    client.check("SHUTDOWN ABORT", "-ERR No shutdown in progress.\r\n").check("PING", "+PONG\r\n");
}

#[test]
fn a_client_that_does_not_read_delays_the_end_only_so_long() {
    let mut server = TestServer::with(|config| config.server.shutdown_timeout = 0);
    let mut greedy = server.client();
    let value = "v".repeat(1 << 20);
    greedy.check(&format!("XADD s 1-1 f {value}"), "$3\r\n1-1\r\n");
    greedy.send(request("XRANGE s - +").repeat(50));
    // The first reply is under way: the server is at it, and will not get rid of all.
    greedy.expect("*1\r\n*2\r\n$3\r\n1-1\r\n");
    server.server().stop();
    server.wait();
    drop::<Client>(greedy);
}
