//! A server whose storage backend is the plugin `sqlite`, and the `sqlite3` shell beside it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;
use wafka_core::storage::{Options, Storage};
use wafka_plugin::{Plugin, PluginFile};
use wafka_storage::conformance::{self, Harness};
use wafka_tests::events::add;
use wafka_tests::{Reply, Setup, plugins};

fn setup(config: &str) -> Setup {
    plugins::loading(Setup::new().brokers(2), ["wafka_storage_sqlite"], config)
}

fn on_sqlite() -> Setup {
    setup("[storage]\nbackend = \"sqlite\"\n[backends.sqlite]\ncheckpoint_pages = 200\n")
}

/// What the shell prints.
fn sqlite3(data_dir: &Path, broker: u16, sql: &str) -> Vec<String> {
    let file = data_dir.join("sqlite").join(format!("broker-{broker}.db"));
    let output = Command::new("sqlite3")
        .arg(file)
        .arg(sql)
        .current_dir(data_dir)
        .stdin(Stdio::null())
        .output()
        .expect("sqlite3 is installed: tests/run.sh sees to it");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{sql}: {}", text(output.stderr));
    text(output.stdout).lines().map(str::to_owned).collect()
}

fn ids(reply: &Reply) -> Vec<String> {
    reply.array().iter().map(|entry| entry.array()[0].text().to_owned()).collect()
}

/// Says where two rows of ids differ, and not all of both.
#[track_caller]
fn assert_same(found: &[String], expected: &[String]) {
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    assert_eq!((found.len(), differs), (expected.len(), None));
}

/// A topic is queried while it is produced to; a shell that writes where it must not does no harm.
#[test]
fn a_topic_is_queried_with_sql_while_the_server_runs() {
    let server = on_sqlite().start();
    let data_dir = server.data_dir();
    let mut client = server.client();
    for (truck, status) in
        [("7", "ontime"), ("8", "late"), ("7", "late"), ("7", "ontime"), ("9", "it's \"late\"")]
    {
        client.call(&["XADD", "deliveries", "*", "truck", truck, "status", status]);
    }
    let query = r#"SELECT json_extract(line, '$.message.truck') FROM "deliveries-1" ORDER BY "offset""#;
    assert_eq!(sqlite3(data_dir, 1, query), ["7", "7", "9"]);
    let both = r#"ATTACH 'sqlite/broker-2.db' AS two;
        SELECT line ->> '$.message.status' AS status, count(*)
        FROM (SELECT line FROM "deliveries-1" UNION ALL SELECT line FROM two."deliveries-2")
        GROUP BY status ORDER BY status"#;
    assert_eq!(sqlite3(data_dir, 1, both), ["it's \"late\"|1", "late|2", "ontime|2"]);
    let whole = r#"SELECT line FROM "deliveries-2" WHERE "offset" = 0"#;
    let line = &sqlite3(data_dir, 2, whole)[0];
    assert!(line.starts_with("{\"event_id\":\"") && line.contains(r#""truck":"8""#), "{line}");
    assert_eq!(sqlite3(data_dir, 1, r#"SELECT count(*) FROM "wafka.catalog""#).len(), 1);
    // A line that is none of the server's is not taken for one.
    sqlite3(data_dir, 1, r#"INSERT INTO "deliveries-1" VALUES (3, 'not an event')"#);
    let lost = client.run("XADD deliveries#1 * truck 1");
    assert!(lost.error().contains("deliveries-1"), "{lost:?}");
    wafka_tests::server::wait_until("the partition is back", || {
        !matches!(client.run("XADD deliveries#1 * truck 1"), Reply::Error(_))
    });
    assert_eq!(client.run("XLEN deliveries"), Reply::Int(6));
    assert_eq!(client.run("XRANGE deliveries - +").array().len(), 6);
}

/// Partitions, journals, catalog and transactions are there again after a stop and after a kill, and are read in both
/// directions.
#[test]
fn everything_is_kept() {
    let mut server = on_sqlite().start();
    let mut client = server.client();
    let mut known = add(&mut client, "trips", 0, 5000);
    for topic in 0..30 {
        add(&mut client, &format!("small{topic}"), 0, 3);
    }
    assert_eq!(client.run("XTRIM trips MAXLEN 4500"), Reply::Int(500));
    known.drain(..500);
    assert_eq!(client.run(&format!("XDEL trips {}", known[7])), Reply::Int(1));
    known.remove(7);
    client.run("XGROUP CREATE trips drivers 0");
    assert_eq!(client.run("XREADGROUP GROUP drivers anna COUNT 9 STREAMS trips >").array().len(), 1);
    client.run("MULTI");
    client.run("XADD bills * n 0");
    client.run(&format!("XACK trips drivers {}", known[0]));
    assert_eq!(client.run("EXEC").array().len(), 2);
    for round in 0..4 {
        server = if round % 2 == 0 { server.kill().start() } else { server.stop().start() };
        let mut client = server.client();
        assert_same(&ids(&client.run("XRANGE trips - +")), &known);
        let mut backward = ids(&client.run("XREVRANGE trips + -"));
        backward.reverse();
        assert_same(&backward, &known);
        assert_eq!(client.run(&format!("XLEN small{round}")), Reply::Int(3));
        assert_eq!(client.run("XPENDING trips drivers").array()[0], Reply::Int(8));
        assert_eq!(client.run("XLEN bills"), Reply::Int(1));
        known.extend(add(&mut client, "trips", 5000 + round * 10, 10));
    }
    let mut client = server.client();
    assert_eq!(client.run("DEL trips bills"), Reply::Int(2));
    let tables = r#"SELECT count(*) FROM wafka_logs WHERE stem GLOB 'trips*' OR stem GLOB 'bills*'"#;
    assert_eq!(sqlite3(server.data_dir(), 1, tables), ["0"]);
    let server = server.stop().start();
    assert_eq!(server.client().run("DBSIZE"), Reply::Int(30));
}

/// One topic in SQLite, the others in text files.
#[test]
fn a_topic_beside_text() {
    let server = setup("[topics.kept]\nbackend = \"sqlite\"\n").start();
    let mut client = server.client();
    let kept = add(&mut client, "kept", 0, 100);
    let plain = add(&mut client, "plain", 0, 100);
    assert_eq!(sqlite3(server.data_dir(), 1, r#"SELECT count(*) FROM "kept-1""#), ["50"]);
    assert!(server.data_dir().join("plain-1.txt").is_file());
    assert!(!server.data_dir().join("kept-1.txt").exists());
    let server = server.kill().start();
    let mut client = server.client();
    assert_eq!(ids(&client.run("XRANGE kept - +")), kept);
    assert_eq!(ids(&client.run("XRANGE plain - +")), plain);
}

/// A disk that is not mounted is no empty backend.
#[test]
fn a_directory_that_is_gone_is_not_begun_anew() {
    let server = on_sqlite().start();
    add(&mut server.client(), "t", 0, 10);
    let setup = server.stop();
    let (dir, aside) = (setup.data_dir().join("sqlite"), setup.dir().join("aside"));
    fs::rename(&dir, &aside).unwrap();
    let refused = setup.start_refused();
    for part in ["storage backend 'sqlite' has no catalog", "restore it", "empty data directory"] {
        assert!(refused.stderr.contains(part), "{part} is not in {refused}");
    }
    fs::remove_dir_all(&dir).unwrap();
    fs::rename(&aside, &dir).unwrap();
    let server = setup.start();
    assert_eq!(server.client().run("XLEN t"), Reply::Int(10));
}

/// What is wrong stops the start with what it is, and the server goes on when it is mended.
#[test]
fn what_is_wrong_stops_the_start() {
    let bad = "[storage]\nbackend = \"sqlite\"\n[backends.sqlite]\ncache_kib = 3\n";
    let refused = setup(bad).start_refused();
    for part in ["backends.sqlite", "cache_kib", "expected a number from 64"] {
        assert!(refused.stderr.contains(part), "{part} is not in {refused}");
    }
    let server = on_sqlite().start();
    add(&mut server.client(), "t", 0, 10);
    let setup = server.stop();
    let file = setup.data_dir().join("sqlite").join("broker-2.db");
    let aside = setup.dir().join("aside");
    fs::rename(&file, &aside).unwrap();
    fs::write(&file, "no database, but long enough to be looked into".repeat(50)).unwrap();
    let refused = setup.start_refused();
    for part in ["broker-2.db", "not a database"] {
        assert!(refused.stderr.contains(part), "{part} is not in {refused}");
    }
    fs::rename(&aside, &file).unwrap();
    let server = setup.start();
    assert_eq!(server.client().run("XLEN t"), Reply::Int(10));
}

struct ThroughAbi {
    plugin: Arc<Plugin>,
    dir: TempDir,
    storage: Option<Arc<dyn Storage>>,
}

impl Harness for ThroughAbi {
    fn storage(&self) -> &dyn Storage {
        &**self.storage.as_ref().unwrap()
    }

    fn restart(&mut self) {
        self.storage = None;
        let factory = self.plugin.storage().unwrap();
        self.storage = Some(factory.open(self.dir.path(), &Options::new()).unwrap());
    }
}

/// The public suite, on the library as a server loads it.
#[test]
fn it_conforms_through_the_abi() {
    let file = PluginFile { path: plugins::path("wafka_storage_sqlite"), sha256: None };
    let plugin = Arc::new(wafka_plugin::load(&file).unwrap());
    assert_eq!(plugin.info().name, "sqlite");
    conformance::run(&mut || {
        let dir = tempfile::tempdir().unwrap();
        let mut harness = ThroughAbi { plugin: Arc::clone(&plugin), dir, storage: None };
        harness.restart();
        Box::new(harness)
    });
}
