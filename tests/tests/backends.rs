//! Storage backends at a server: topics in several of them, data that stays in its own, and what is wrong with a name.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::fs;

use wafka_tests::{Client, Reply, Setup, plugins, setup};

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

fn ok(client: &mut Client, command: &str) {
    assert_eq!(client.run(command), Reply::Status("OK".to_owned()), "{command}");
}

fn described(client: &mut Client, topic: &str) -> (String, String) {
    let reply = client.run(&format!("TOPIC DESCRIBE {topic}"));
    let Reply::Array(partitions) = reply.get("partitions") else { panic!("{reply:?}") };
    (reply.get("backend").text().to_owned(), partitions[0].get("file").text().to_owned())
}

#[test]
fn a_topic_is_made_in_the_backend_that_is_named() {
    let setup = Setup::new().brokers(2);
    let server = setup.start();
    let mut client = server.client();
    ok(&mut client, "TOPIC CREATE kept");
    ok(&mut client, "TOPIC CREATE thrown PARTITIONS 1 BACKEND memory");
    for n in 0..3 {
        client.run(&format!("XADD kept * n {n}"));
        client.run(&format!("XADD thrown * n {n}"));
    }
    ok(&mut client, "XGROUP CREATE thrown g 0");
    assert_eq!(described(&mut client, "kept"), ("text".to_owned(), "kept-1.txt".to_owned()));
    assert_eq!(described(&mut client, "thrown"), ("memory".to_owned(), "memory:thrown-1".to_owned()));
    let thrown = Reply::Array(vec![Reply::Bulk(b"thrown".to_vec())]);
    assert_eq!(client.run("TOPIC LIST BACKEND memory"), thrown);
    assert_eq!(client.run("TOPIC LIST MATCH t* BACKEND memory"), thrown);
    assert_eq!(client.run("TOPIC LIST MATCH k* BACKEND memory"), Reply::Array(vec![]));
    assert_eq!(client.run("TOPIC LIST BACKEND"), Reply::Error("ERR syntax error".to_owned()));
    let files: Vec<_> =
        fs::read_dir(setup.data_dir()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!files.iter().any(|name| name.to_string_lossy().contains("thrown")), "{files:?}");
    // A rename takes place where the topic is.
    ok(&mut client, "RENAME thrown gone");
    assert_eq!(client.run("XLEN gone"), Reply::Int(3));
    assert_eq!(described(&mut client, "gone").0, "memory");
    let server = server.kill().start();
    let mut client = server.client();
    assert_eq!(client.run("XLEN kept"), Reply::Int(3));
    // Empty, and made of what it was made of.
    assert_eq!(client.run("XLEN gone"), Reply::Int(0));
    assert_eq!(client.run("XINFO GROUPS gone"), Reply::Array(vec![]));
    assert_eq!(described(&mut client, "gone"), ("memory".to_owned(), "memory:gone-1".to_owned()));
    client.run("XADD gone 1-1 n 0");
    assert_eq!(client.run("XLEN gone"), Reply::Int(1));
    let unknown = client.run("TOPIC CREATE other BACKEND tape");
    let Reply::Error(text) = unknown else { panic!("{unknown:?}") };
    says(&text, &["'tape'", "expected one of", "memory", "text"]);
    let fixed = client.run("TOPIC ALTER kept BACKEND memory OPTION a b");
    let Reply::Error(text) = fixed else { panic!("{fixed:?}") };
    says(&text, &["for life"]);
    server.stop();
}

fn with_config(setup: Setup, toml: &str) -> Setup {
    let path = setup.dir().join("wafka.toml");
    fs::write(&path, toml).unwrap();
    setup.arg("--config").arg(path.to_str().unwrap())
}

#[test]
fn the_configuration_says_where_topics_are() {
    let toml = "[topic_defaults]\nbackend = \"memory\"\n[topics.kept]\nbackend = \"text\"\n[topics.thrown]\n";
    let setup = with_config(Setup::new(), toml);
    let server = setup.start();
    let mut client = server.client();
    client.run("XADD new * a b");
    for (topic, backend) in [("kept", "text"), ("thrown", "memory"), ("new", "memory")] {
        assert_eq!(described(&mut client, topic).0, backend, "{topic}");
    }
    let setup = server.stop();
    // A topic stays where it is.
    fs::write(setup.dir().join("wafka.toml"), toml.replace("\"text\"", "\"memory\"")).unwrap();
    let failure = setup.start_refused();
    says(&failure.stderr, &["'kept'", "'text' for life", "the configuration says 'memory'"]);
    fs::write(setup.dir().join("wafka.toml"), toml).unwrap();
    setup.start().stop();
}

#[test]
fn names_and_options_that_are_not_there_stop_the_start() {
    for (toml, parts) in [
        ("[storage]\nbackend = \"tape\"", &["storage.backend: found 'tape'", "memory, text"][..]),
        ("[topic_defaults]\nbackend = \"tape\"", &["topic_defaults.backend: found 'tape'"]),
        ("[topics.t]\nbackend = \"tape\"", &["topics.t.backend: found 'tape'"]),
        ("[backends.tape]\nreels = 2", &["backends.tape: found 'tape'"]),
        ("[backends.text]\nreels = 2", &["backends.text.reels: found 2", "no options"]),
    ] {
        let setup = with_config(Setup::new(), toml);
        let failure = setup.start_refused();
        says(&failure.stderr, parts);
        says(&failure.stderr, &["wafka.toml"]);
        assert!(!setup.data_dir().exists(), "nothing is made");
        let path = setup.dir().join("wafka.toml");
        let check = setup::program().arg("--check-config").arg("--config").arg(&path).output().unwrap();
        assert!(!check.status.success());
        says(&String::from_utf8(check.stderr).unwrap(), parts);
    }
}

#[test]
fn data_is_not_passed_over_for_another_backend() {
    let setup = Setup::new();
    let server = setup.start();
    server.client().run("XADD t * a b");
    server.stop();
    let other = setup.clone().set("storage.backend", "memory");
    let failure = other.start_refused();
    says(&failure.stderr, &["'text'", "'memory'", "storage.backend = \"text\"", "FORMAT"]);
    let server = setup.start();
    assert_eq!(server.client().run("XLEN t"), Reply::Int(1));
    server.stop();
    // Where nothing is kept there is nothing to pass over.
    let fresh = Setup::new();
    fresh.clone().set("storage.backend", "memory").start().stop();
    fresh.start().stop();
}

/// A group is part of what is in the backend: as long as that is not there, nobody is told that there is none.
#[test]
fn a_topic_whose_backend_is_missing_says_so_to_its_groups_too() {
    let with = plugins::with_backends(Setup::new().brokers(2), "");
    let server = with.start();
    let mut client = server.client();
    ok(&mut client, "TOPIC CREATE there BACKEND sqlite");
    client.run("XADD there 1-1 n 1");
    ok(&mut client, "XGROUP CREATE there g 0");
    let read = "XREADGROUP GROUP g c COUNT 1 STREAMS there >";
    let delivered = client.run(read);
    server.stop();
    let config = with.dir().join("plugins.toml");
    let toml = fs::read_to_string(&config).unwrap();
    fs::write(&config, "").unwrap();
    let server = with.start();
    let mut client = server.client();
    for command in [
        "XADD there * n 2",
        "XRANGE there - +",
        "XREAD STREAMS there 0",
        read,
        "XACK there g 1-1",
        "XPENDING there g",
        "XGROUP CREATE there other 0",
        "DEL there",
        "RENAME there elsewhere",
    ] {
        let reply = client.run(command);
        let Reply::Error(text) = &reply else { panic!("{command}: {reply:?}") };
        assert!(text.contains("'sqlite'") && text.contains("there"), "{command}: {text}");
    }
    server.stop();
    fs::write(&config, toml).unwrap();
    let server = with.start();
    let mut client = server.client();
    assert_eq!(client.run("XREADGROUP GROUP g c STREAMS there 0"), delivered);
    assert_eq!(client.run("XACK there g 1-1"), Reply::Int(1));
    server.stop();
}
