//! What keeps the server from starting, and what it says then.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use wafka_tests::{Reply, Server, Setup, setup};

/// The server must exit with 1, say all of this on standard error, and nothing on standard output.
#[track_caller]
fn refused(setup: &Setup, parts: &[&str]) {
    let failure = setup.start_refused();
    assert_eq!(failure.status.and_then(|status| status.code()), Some(1), "{failure}");
    assert_eq!(failure.stdout, "", "{failure}");
    for part in parts {
        assert!(failure.stderr.contains(part), "{part:?} is not in: {}", failure.stderr);
    }
    assert!(!failure.stderr.contains("panicked"), "{failure}");
}

fn with_file(text: &str) -> (Setup, String) {
    let setup = Setup::new();
    let path = setup.dir().join("wafka.toml");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (setup.arg("--config").arg(&path), path)
}

#[test]
fn a_bad_file_is_named_with_key_and_what_was_expected() {
    for (text, parts) in [
        ("[server]\nprot = 1", &["prot", "line 2", "`port`"][..]),
        ("[servr]\nport = 1", &["servr", "`server`"]),
        ("[server]\nport = \"x\"", &["port", "\"x\"", "line 2", "expected"]),
        ("[server]\nport = 70000", &["port", "70000", "expected"]),
        ("[storage]\nfsync = \"sometimes\"", &["fsync", "sometimes", "always, everysec or no"]),
        ("[server\nport = 1", &["line 1"]),
        ("[server]\nmaxclients = 0", &["server.maxclients", "found 0", "expected 1"]),
        ("[topics.a]\npartitioner = \"nope\"", &["a", "nope", "round-robin"]),
        ("[topics.a]\npartitioner = \"key\"", &["a", "partition_key"]),
        ("[topics.a]\npartitioner = \"key\"\npartition_key = \"k\"\ncolour = 1", &["a", "colour"]),
        ("[server]\nbrokers = 2\n[topics.a]\npartitions = 3", &["topics.a", "3", "at most 2"]),
    ] {
        let (setup, path) = with_file(text);
        refused(&setup, parts);
        // A strategy's own options are checked by the strategy, which knows nothing of files.
        if !text.contains("partition") {
            refused(&setup, &[&path]);
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    refused(
        &Setup::new().arg("--config").arg("/no/such/wafka.toml"),
        &["/no/such/wafka.toml", "No such file"],
    );
    let (setup, path) = with_file("[server]\n");
    refused(&Setup::new().arg("--config").arg(setup.dir().to_str().unwrap()), &["directory"]);
    fs::write(&path, b"\xff\xfe").unwrap();
    refused(&setup, &[&path, "UTF-8"]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // Who runs this as root may read everything.
    if fs::read(&path).is_err() {
        refused(&setup, &[&path, "denied"]);
    }
}

#[test]
fn the_environment_and_the_command_line_are_named() {
    let setup = Setup::new;
    refused(&setup().env("WAFKA_SERVER__PORT", "x"), &["environment", "server.port", "\"x\""]);
    refused(&setup().env("WAFKA_SERVER__PROT", "1"), &["environment", "prot", "`port`"]);
    refused(&setup().env("WAFKA_PORT", "1"), &["environment", "port", "two underscores"]);
    refused(&setup().set("storage.fsync", "x"), &["--set storage.fsync=x", "always, everysec or no"]);
    refused(&setup().set("server.prot", "1"), &["--set server.prot=1", "`port`"]);
    refused(&setup().arg("--set").arg("nonsense"), &["--set nonsense", "section.key=value"]);
    refused(&setup().arg("--bind").arg("nowhere"), &["--bind", "nowhere"]);
    refused(&setup().set("log.level", "a=b=c"), &["log.level", "a=b=c"]);
}

#[test]
fn precedence_is_defaults_file_environment_command_line() {
    let (setup, _) = with_file("[server]\ntimeout = 11\nmaxclients = 11\ndatabases = 11\n");
    let setup = setup.env("WAFKA_SERVER__MAXCLIENTS", "22").env("WAFKA_SERVER__DATABASES", "22");
    let server = setup.set("server.databases", "33").start();
    let mut client = server.client();
    for (key, value) in
        [("timeout", "11"), ("maxclients", "22"), ("databases", "33"), ("tcp-keepalive", "300")]
    {
        assert_eq!(client.call(&["CONFIG", "GET", key]).get(key).text(), value, "{key}");
    }
}

#[test]
fn a_configuration_can_be_checked_without_starting() {
    let (_setup, path) = with_file("[server]\nport = 1\n");
    let check = |path: &str| setup::program().args(["--check-config", "--config", path]).output().unwrap();
    assert!(check(&path).status.success());
    fs::write(&path, "[server]\nprot = 1\n").unwrap();
    let output = check(&path);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("prot"));
}

#[test]
fn declared_topics_are_there() {
    let (setup, path) = with_file(
        "[server]\nbrokers = 3\n[topics.orders]\npartitions = 2\npartitioner = \"key\"\npartition_key = \"customer\"\n",
    );
    let server = setup.start();
    let mut client = server.client();
    assert_eq!(client.run("KEYS *"), Reply::Array(vec![Reply::Bulk(b"orders".to_vec())]));
    for n in 0..20 {
        client.run(&format!("XADD orders * customer same n {n}"));
    }
    let mut lens = [client.run("XLEN orders#1").int(), client.run("XLEN orders#2").int()];
    lens.sort_unstable();
    assert_eq!(lens, [0, 20]);
    assert!(client.run("XLEN orders#3").is_error("NOPARTITION "));
    let setup = server.stop();
    // What a topic is stays what it is.
    let changed = "[server]\nbrokers = 3\n[topics.orders]\npartitions = 3\npartitioner = \"key\"\npartition_key = \"customer\"\n";
    fs::write(path, changed).unwrap();
    refused(&setup, &["orders", "2", "3"]);
}

/// A topic that is not as declared can be read; its error says what helps, and that does help.
#[test]
fn a_topic_with_another_strategy_than_declared_is_read_only() {
    let (setup, path) = with_file("[server]\nbrokers = 2\n");
    let server = setup.start();
    let mut client = server.client();
    client.run("TOPIC CREATE keyed PARTITIONER key OPTION partition_key truck");
    client.run("XADD keyed 1-1 truck 7");
    client.run("XADD cyclic 1-1 truck 7");
    let setup = server.stop();
    let declared = "[server]\nbrokers = 2\n[topics.keyed]\npartitioner = \"key\"\npartition_key = \"driver\"\n[topics.cyclic]\npartitioner = \"key\"\npartition_key = \"truck\"\n";
    fs::write(path, declared).unwrap();
    let server = setup.start();
    let mut client = server.client();
    for topic in ["keyed", "cyclic"] {
        let error = client.call(&["XADD", topic, "2-1", "truck", "7"]);
        assert!(error.is_error("READONLY ") && error.error().contains("mend the configuration"), "{error:?}");
        let options_only = topic == "keyed";
        assert_eq!(error.error().contains("TOPIC ALTER"), options_only, "{error:?}");
        assert_eq!(client.call(&["XLEN", topic]), Reply::Int(1));
    }
    client.run("TOPIC ALTER keyed OPTION partition_key driver");
    assert_eq!(client.run("XADD keyed 2-1 driver 7").text(), "2-1");
}

#[test]
fn two_servers_do_not_share_a_data_directory() {
    let first = Server::start();
    let (setup, pid) = (first.setup().clone(), first.pid().to_string());
    refused(&setup, &["in use by another server", &pid, setup.data_dir().to_str().unwrap()]);
    assert_eq!(first.client().run("PING"), Reply::Status("PONG".to_owned()));
    first.kill();
    // A lock that a killed server leaves is none.
    assert!(setup.start().stop().data_dir().join("FORMAT").exists());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    refused(&Setup::new().set("server.port", &port), &["cannot listen", &port, "in use"]);
    // A test that needs this very port waits for it.
    let waits = std::thread::spawn({
        let setup = Setup::new().set("server.port", &port);
        move || setup.start_when_free()
    });
    refused(&Setup::new().set("server.port", &port), &["cannot listen", &port, "in use"]);
    drop(listener);
    assert_eq!(waits.join().unwrap().addr().port().to_string(), port);
}

#[test]
fn foreign_directories_and_formats_are_refused() {
    let setup = Setup::new();
    fs::create_dir(setup.data_dir()).unwrap();
    fs::write(setup.data_dir().join("thesis.tex"), "x").unwrap();
    refused(&setup, &["thesis.tex", "not a data directory"]);
    fs::remove_file(setup.data_dir().join("thesis.tex")).unwrap();
    fs::write(setup.data_dir().join("FORMAT"), "wafka 99\n").unwrap();
    refused(&setup, &["unknown format", "wafka 99", "wafka 1"]);
}

#[test]
fn a_catalog_that_is_gone_is_not_begun_anew() {
    let server = Setup::new().brokers(1).start();
    server.client().call(&["XADD", "t", "*", "f", "v"]);
    let setup = server.stop();
    let (path, aside) = (setup.data_dir().join("wafka.catalog.txt"), setup.dir().join("aside"));
    fs::rename(&path, &aside).unwrap();
    refused(&setup, &["'text' has no catalog", "restore it"]);
    refused(&setup.clone().set("storage.backend", "memory"), &["'text'", "'memory'", "FORMAT"]);
    fs::rename(&aside, &path).unwrap();
    let server = setup.start();
    assert_eq!(server.client().call(&["XLEN", "t"]), Reply::Int(1));
}

#[test]
fn a_start_that_fails_leaves_the_backend_open() {
    let bad = "[storage]\nbackend = \"memory\"\n[topics.a]\nbackend = \"text\"\n";
    let (setup, path) = with_file(bad);
    refused(&setup, &["'a'", "which keeps nothing"]);
    assert_eq!(fs::read_to_string(setup.data_dir().join("FORMAT")).unwrap(), "wafka 1\n");
    fs::write(&path, "[server]\nbrokers = 1\n").unwrap();
    setup.start().stop();
}

#[test]
fn a_damaged_catalog_is_refused() {
    let server = Setup::new().brokers(1).start();
    for topic in ["a", "b", "c"] {
        server.client().call(&["XADD", topic, "*", "f", "v"]);
    }
    let setup = server.stop();
    let path = setup.data_dir().join("wafka.catalog.txt");
    let mut content = fs::read(&path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(&path, content).unwrap();
    refused(&setup, &["catalog", "wafka.catalog"]);
}

#[test]
fn fewer_and_more_brokers_serve_what_is_there() {
    let server = Setup::new().brokers(3).start();
    let mut client = server.client();
    for n in 0..30 {
        client.run(&format!("XADD wide * n {n}"));
    }
    let setup = server.stop();
    for brokers in [1, 5] {
        let server = setup.clone().brokers(brokers).start();
        let mut client = server.client();
        let found = wafka_tests::events::read_all(&mut client, b"wide");
        assert!(found.len() >= 30, "{brokers} brokers: {} events", found.len());
        client.run("XADD wide * n more");
        assert!(client.run("XLEN wide#3").int() > 0);
        let name = format!("new{brokers}");
        client.call(&["XADD", &name, "*", "f", "v"]);
        assert!(client.call(&["XLEN", &format!("{name}#{}", brokers + 1)]).is_error("NOPARTITION "));
        server.stop();
    }
}
