//! A storage backend that is a plugin's: loaded, refused, missing, back again.

use std::fs;
use std::path::PathBuf;

use wafka_tests::plugins;

use crate::support::Workshop;

fn redb() -> PathBuf {
    plugins::path("wafka_storage_redb")
}

#[test]
fn a_topic_is_kept_by_one_plugin_and_routed_by_another() {
    let shop = Workshop::new();
    let both = "[topics.both]\nbackend = \"redb\"\npartitioner = \"place\"\n";
    shop.configure(&[&redb(), &shop.strategy("place.so", &[])], both);
    assert_eq!(shop.check().0, Some(0));
    assert!(!shop.setup.data_dir().exists(), "--check-config made something");
    let server = shop.setup.start();
    let mut client = server.client();
    let listed = client.run("PLUGIN LIST");
    let kinds: Vec<&str> = listed.array().iter().map(|plugin| plugin.get("kind").text()).collect();
    assert_eq!(kinds, ["storage", "partitioner"]);
    for _ in 0..3 {
        client.run("XADD both * to 2");
    }
    assert!(shop.setup.data_dir().join("redb").is_dir());
    assert!(!shop.setup.data_dir().join("both-2.txt").exists());
    server.kill();
    let server = shop.setup.start();
    let mut client = server.client();
    assert_eq!([client.run("XLEN both#1").int(), client.run("XLEN both#2").int()], [0, 3]);
}

#[test]
fn what_is_wrong_with_a_backend_stops_the_start() {
    let shop = Workshop::new();
    let (redb, copy) = (redb(), shop.path("copy.so"));
    fs::copy(&redb, &copy).unwrap();
    shop.configure(&[&redb, &copy], "");
    let both = [redb.canonicalize().unwrap(), copy.clone()];
    let both = both.each_ref().map(|path| path.to_str().unwrap());
    shop.refused(&["plugins", both[0], both[1], "'redb'", "storage", "expected", "name of its own"]);

    shop.configure(&[], "[storage]\nbackend = \"redb\"\n");
    shop.refused(&["storage.backend", "'redb'", "expected", "memory", "text"]);
    shop.configure(&[], "[topics.a]\nbackend = \"redb\"\n");
    shop.refused(&["topics.a", "'redb'", "expected", "memory", "text"]);
    shop.configure(&[&redb], "[backends.redb]\ncolour = \"red\"\n");
    shop.refused(&["backends.redb", "colour", "expected"]);
    shop.configure(&[&redb], "[backends.rebd]\n");
    shop.refused(&["backends.rebd", "expected", "redb"]);
}

#[test]
fn a_topic_waits_for_its_backend() {
    let shop = Workshop::new();
    shop.configure(&[&redb()], "");
    let server = shop.setup.start();
    let mut client = server.client();
    client.run("TOPIC CREATE kept PARTITIONS 1 BACKEND redb");
    client.run("XADD kept 1-1 n 1");
    server.kill();

    shop.configure(&[], "");
    let server = shop.setup.start();
    let mut client = server.client();
    for command in ["XADD kept * n 2", "XRANGE kept - +", "DEL kept"] {
        let reply = client.run(command);
        assert!(reply.error().contains("'redb'"), "{command}: {reply:?}");
    }
    assert_eq!(client.run("EXISTS kept").int(), 1);
    assert!(client.run("XADD other * f v").text().contains('-'));
    server.stop();

    shop.configure(&[&redb()], "");
    let server = shop.setup.start();
    let mut client = server.client();
    client.run("XADD kept 2-1 n 2");
    assert_eq!(client.run("XRANGE kept - +").array().len(), 2);
}
