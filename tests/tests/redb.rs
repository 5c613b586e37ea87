//! A server whose storage backend is the plugin `redb`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::fs;
use std::sync::Arc;

use tempfile::TempDir;
use wafka_core::storage::{Options, Storage};
use wafka_plugin::{Plugin, PluginFile};
use wafka_storage::conformance::{self, Harness};
use wafka_tests::events::add;
use wafka_tests::{Client, Reply, Server, Setup, plugins};

fn setup(config: &str) -> Setup {
    plugins::loading(Setup::new().brokers(2), ["wafka_storage_redb"], config)
}

fn on_redb() -> Setup {
    setup("[storage]\nbackend = \"redb\"\nfsync = \"always\"\n[backends.redb]\ncache_mib = 8\n")
}

/// The ids of all events of a topic, of which the numbers count up from `from`.
#[track_caller]
fn read(client: &mut Client, topic: &str, from: usize) -> Vec<String> {
    let reply = client.run(&format!("XRANGE {topic} - +"));
    let entry = |(number, entry): (usize, &Reply)| {
        assert_eq!(entry.array()[1].array()[1].text(), number.to_string());
        entry.array()[0].text().to_owned()
    };
    (from..).zip(reply.array()).map(entry).collect()
}

fn text_files(server: &Server) -> Vec<String> {
    let entries = fs::read_dir(server.setup().data_dir()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".txt")).collect()
}

/// Partitions, journals, catalog and transactions: all are there again after a stop and after a kill.
#[test]
fn everything_is_kept() {
    let setup = on_redb();
    let mut server = setup.start();
    let mut client = server.client();
    let mut ids = add(&mut client, "trips", 0, 3000);
    for topic in 0..40 {
        add(&mut client, &format!("small{topic}"), 0, 3);
    }
    assert_eq!(client.run("XTRIM trips MAXLEN 2500"), Reply::Int(500));
    ids.drain(..500);
    assert_eq!(client.run(&format!("XDEL trips {}", ids[0])), Reply::Int(1));
    ids.remove(0);
    client.run("XGROUP CREATE trips drivers 0");
    let taken = client.run("XREADGROUP GROUP drivers anna COUNT 7 STREAMS trips >");
    assert!(matches!(taken, Reply::Array(_) | Reply::Map(_)), "{taken:?}");
    client.run("MULTI");
    client.run("XADD bills * n 0");
    client.run(&format!("XACK trips drivers {}", ids[0]));
    assert_eq!(client.run("EXEC").array().len(), 2);
    assert_eq!(text_files(&server), Vec::<String>::new());

    for round in 0..4 {
        server = if round % 2 == 0 { server.kill().start() } else { server.stop().start() };
        let mut client = server.client();
        assert_eq!(read(&mut client, "trips", 501), ids);
        for topic in 0..40 {
            assert_eq!(read(&mut client, &format!("small{topic}"), 0).len(), 3 + round);
            add(&mut client, &format!("small{topic}"), 3 + round, 1);
        }
        assert_eq!(client.run("XPENDING trips drivers").array()[0], Reply::Int(6));
        assert_eq!(client.run("XLEN bills"), Reply::Int(1));
        ids.extend(add(&mut client, "trips", 3000 + round * 10, 10));
    }
    let mut client = server.client();
    assert_eq!(client.run("DEL trips bills"), Reply::Int(2));
    let server = server.stop().start();
    let mut client = server.client();
    assert_eq!(client.run("DBSIZE"), Reply::Int(40));
}

/// One topic in the plugin, the others in text files.
#[test]
fn a_topic_beside_text() {
    let setup = setup("[storage]\nfsync = \"always\"\n");
    let server = setup.start();
    let mut client = server.client();
    assert_eq!(client.run("TOPIC CREATE kept PARTITIONS 2 BACKEND redb").text(), "OK");
    let ids = add(&mut client, "kept", 0, 100);
    let plain = add(&mut client, "plain", 0, 100);
    let mut files = text_files(&server);
    files.sort();
    assert_eq!(files, ["plain-1.txt", "plain-2.txt", "wafka.catalog.txt"]);
    let server = server.kill().start();
    let mut client = server.client();
    assert_eq!((read(&mut client, "kept", 0), read(&mut client, "plain", 0)), (ids, plain));
}

/// What is wrong with its options is said with the file, before anything is opened.
#[test]
fn bad_options_are_refused() {
    for (options, expected) in [
        ("cache_mib = 0", "expected a number of MiB between 1 and 1048576"),
        ("cache = 5", "expected one of `cache_mib`"),
        ("quick_repair = 1", "quick_repair"),
    ] {
        let text = format!("[storage]\nbackend = \"redb\"\n[backends.redb]\n{options}\n");
        let output = setup(&text).command().output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(expected), "{options}: {stderr}");
    }
}

struct ThroughAbi {
    plugin: Arc<Plugin>,
    dir: TempDir,
    storage: Option<Arc<dyn Storage>>,
}

impl ThroughAbi {
    fn open(&mut self) {
        let factory = self.plugin.storage().unwrap();
        self.storage = Some(factory.open(self.dir.path(), &Options::new()).unwrap());
    }
}

impl Harness for ThroughAbi {
    fn storage(&self) -> &dyn Storage {
        &**self.storage.as_ref().unwrap()
    }

    fn restart(&mut self) {
        self.storage = None;
        self.open();
    }
}

/// The public suite, on the library as a server loads it.
#[test]
fn it_conforms_through_the_abi() {
    let file = PluginFile { path: plugins::path("wafka_storage_redb"), sha256: None };
    let plugin = Arc::new(wafka_plugin::load(&file).unwrap());
    assert_eq!(plugin.info().name, "redb");
    conformance::run(&mut || {
        let dir = tempfile::tempdir().unwrap();
        let mut harness = ThroughAbi { plugin: Arc::clone(&plugin), dir, storage: None };
        harness.open();
        Box::new(harness)
    });
}
