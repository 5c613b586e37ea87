use std::io::Write;

use serde_json::Value;

use super::*;

const DOCUMENTED: &str = include_str!("../../../../config/wafka.toml");

fn toml(text: &str) -> Result<Config, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    load(&Sources { file: Some(file.path().to_owned()), ..Sources::default() })
}

fn environment(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load(&Sources { environment, ..Sources::default() })
}

fn set(text: &str) -> Result<Config, ConfigError> {
    load(&Sources { overrides: vec![Override::set(text)?], ..Sources::default() })
}

/// That the result is an error which says all of this.
#[track_caller]
fn says(result: Result<Config, ConfigError>, parts: &[&str]) {
    let text = result.unwrap_err().to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn nothing_given_is_the_defaults() {
    assert_eq!(load(&Sources::default()).unwrap(), Config::default());
}

#[test]
fn the_documented_file_is_the_defaults() {
    let documented = toml(DOCUMENTED).unwrap();
    let partitioner = Some(DEFAULT_PARTITIONER.to_owned());
    let topic_defaults = TopicConfig { partitioner, ..TopicConfig::default() };
    let file = documented.file.clone();
    assert_eq!(documented, Config { topic_defaults, file, ..Config::default() });
}

/// A key that the file lacks is one that nobody finds. Serde's error for an unknown key lists those it knows.
#[test]
fn the_documented_file_has_every_key() {
    let documented: ::toml::Table = DOCUMENTED.parse().unwrap();
    for section in ["server", "storage", "groups", "log"] {
        let error = toml(&format!("[{section}]\nno_such_key = 1")).unwrap_err().to_string();
        let (_, known) =
            error.split_once("expected one of ").or_else(|| error.split_once("expected ")).unwrap();
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        assert!(!known.is_empty(), "{error}");
        for key in known {
            assert!(documented[section].get(key).is_some(), "{section}.{key} is not in config/wafka.toml");
        }
    }
    for key in ["partitions", "partitioner"] {
        assert!(documented["topic_defaults"].get(key).is_some());
    }
    let error = toml("[no_such_section]").unwrap_err().to_string();
    let known: Vec<&str> =
        error.split("expected one of ").nth(1).unwrap().split('`').skip(1).step_by(2).collect();
    // Topics, backends and plugins are documented in comments.
    let sections = ["server", "storage", "groups", "log", "topic_defaults", "topics", "backends", "plugins"];
    assert_eq!(known, sections);
}

#[test]
fn later_sources_win() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[server]\nport = 1\ndatabases = 2\nmaxclients = 3\n").unwrap();
    let config = load(&Sources {
        file: Some(file.path().to_owned()),
        environment: vec![
            ("WAFKA_SERVER__DATABASES".to_owned(), "20".to_owned()),
            ("WAFKA_SERVER__MAXCLIENTS".to_owned(), "30".to_owned()),
            ("PATH".to_owned(), "/bin".to_owned()),
        ],
        overrides: vec![
            Override::option("--port", "server.port", "5"),
            Override::set("server.maxclients=300").unwrap(),
            Override::set("server.maxclients=301").unwrap(),
        ],
    })
    .unwrap();
    assert_eq!((config.server.port, config.server.databases, config.server.maxclients), (5, 20, 301));
}

#[test]
fn unknown_keys_name_their_source() {
    says(toml("[server]\nprot = 1"), &["prot", "unknown field", "expected one of", "`port`", "line 2"]);
    says(toml("[servr]"), &["servr", "unknown field", "`server`"]);
    says(toml("port = 1"), &["port", "unknown field"]);
    says(environment(&[("WAFKA_SERVER__PROT", "1")]), &["the environment", "server", "prot", "`port`"]);
    says(
        environment(&[("WAFKA_PORT", "1")]),
        &["the environment", "unknown field `port`", "two underscores"],
    );
    says(environment(&[("WAFKA_SERVER_PORT", "1")]), &["server_port", "WAFKA_<SECTION>__<KEY>"]);
    says(set("server.prot=1"), &["--set server.prot=1", "unknown field `prot`"]);
}

#[test]
fn bad_values_say_what_was_expected() {
    says(toml("[server]\nport = \"x\""), &["port = \"x\"", "line 2", "expected u16"]);
    says(toml("[server]\nport = 70000"), &["port = 70000", "70000", "expected u16"]);
    says(toml("[server]\nport = -1"), &["port", "-1", "expected u16"]);
    says(toml("[server]\nbind = \"nowhere\""), &["bind", "invalid IP address"]);
    says(toml("[server]\nprotected_mode = \"maybe\""), &["protected_mode", "expected a boolean"]);
    says(toml("[storage]\nfsync = \"sometimes\""), &["fsync", "'sometimes'", "always, everysec or no"]);
    says(toml("[topics.t]\nbackend = 7"), &["backend", "found 7", "such as \"text\""]);
    says(toml("[log]\nformat = \"xml\""), &["format", "'xml'", "text or json"]);
    says(toml("[storage]\ntail_bytes = \"1tb\""), &["tail_bytes", "'1tb'", "64kb"]);
    says(toml("[storage]\ntail_bytes = -1"), &["tail_bytes", "-1", "64kb"]);
    says(
        environment(&[("WAFKA_SERVER__PORT", "x")]),
        &["the environment", "server.port", "\"x\"", "integer"],
    );
    says(environment(&[("WAFKA_SERVER__PORT", "70000")]), &["the environment", "server.port", "70000"]);
    says(environment(&[("WAFKA_STORAGE__FSYNC", "x")]), &["storage.fsync", "'x'", "always, everysec or no"]);
    says(set("storage.fsync=x"), &["--set storage.fsync=x", "'x'", "always, everysec or no"]);
}

#[test]
fn ranges_name_the_key() {
    says(toml("[server]\ndatabases = 0"), &["server.databases: found 0, expected 1 to 10000"]);
    says(toml("[server]\nmaxclients = 0"), &["server.maxclients: found 0, expected 1 to"]);
    says(
        toml("[server]\ntcp_keepalive = 32768"),
        &["server.tcp_keepalive: found 32768, expected 0 to 32767"],
    );
    says(toml("[server]\nbrokers = 5000"), &["server.brokers: found 5000, expected 0 to 1024"]);
    says(toml("[server]\nio_threads = 5000"), &["server.io_threads: found 5000"]);
    says(toml("[server]\ndata_dir = \"\""), &["server.data_dir: found an empty path"]);
    says(
        toml("[server]\noutput_buffer_limit = 1"),
        &["server.output_buffer_limit: found 1 bytes, expected 65536"],
    );
    says(toml("[server]\nproto_max_bulk_len = \"5gb\""), &["server.proto_max_bulk_len", "expected 1048576"]);
    says(toml("[log]\nlevel = \"a=b=c\""), &["log.level: found 'a=b=c'", "info,wafka_broker=debug"]);
    says(
        toml("[server]\nquery_buffer_limit = \"1mb\""),
        &["server.proto_max_bulk_len", "at most server.query_buffer_limit"],
    );
}

#[test]
fn topics_take_their_strategy_s_options() {
    let text = "[topics.\"Eu.deliveries\"]\npartitions = 2\npartitioner = \"key\"\npartition_key = \"truck\"";
    let topic = &toml(text).unwrap().topics["Eu.deliveries"];
    assert_eq!(topic.partitions, Some(2));
    assert_eq!(topic.partitioner.as_deref(), Some("key"));
    assert_eq!(topic.options["partition_key"], "truck");
    let variables = [("WAFKA_TOPICS__T__PARTITIONS", "2"), ("WAFKA_TOPICS__T__PARTITION_KEY", "truck")];
    let topic = &environment(&variables).unwrap().topics["t"];
    assert_eq!((topic.partitions, &topic.options["partition_key"]), (Some(2), &Value::from("truck")));
    let topic = &set("topics.\"a.b\".partitions=1").unwrap().topics["a.b"];
    assert_eq!(topic.partitions, Some(1));
}

/// A strategy may take tables and lists, with keys of its own choice: nothing is done to them on the way.
#[test]
fn options_are_handed_on_as_they_stand() {
    let config = toml(
        "[topics.t]\npartitioner = \"geo\"\nlabels = { \"EU\" = 1, \"us.east-1\" = 2, \"a b[0]\" = 2 }\nweights = [1.5, 2]\n",
    );
    let options = Value::Object(config.unwrap().topics["t"].options.clone());
    let expected =
        serde_json::json!({ "labels": { "EU": 1, "us.east-1": 2, "a b[0]": 2 }, "weights": [1.5, 2] });
    assert_eq!(options, expected);
}

#[test]
fn bad_topics_are_refused() {
    says(toml("[topics.t]\npartitions = \"x\""), &["topics.t", "partitions: found \"x\"", "65535"]);
    says(toml("[topics.t]\npartitioner = 1"), &["topics.t", "partitioner: found 1", "round-robin"]);
    says(toml("[topics.\"t#1\"]"), &["topics.\"t#1\"", "#<digits>"]);
    says(
        toml("[server]\nbrokers = 2\n[topics.t]\npartitions = 3"),
        &["topics.t.partitions: found 3, expected at most 2", "server.brokers"],
    );
}

#[test]
fn plugins_have_a_path_and_may_have_a_checksum() {
    let digits = "0123456789abcdefABCDEF".repeat(3);
    let pin = &digits[..64];
    let config =
        toml(&format!("[[plugins]]\npath = \"x.so\"\n[[plugins]]\npath = \"y.so\"\nsha256 = \"{pin}\""))
            .unwrap();
    let [x, y] = &config.plugins[..] else { panic!("{:?}", config.plugins) };
    assert_eq!((x.path.to_str(), x.sha256), (Some("x.so"), None));
    assert_eq!(y.sha256, wafka_plugin::file::parse_hex(pin));
    assert!(y.sha256.is_some());
    // Relative to the working directory, as the data's.
    assert_eq!(x.file().path, std::env::current_dir().unwrap().join("x.so"));
    says(toml("[[plugins]]\nfile = \"x.so\""), &["unknown field `file`", "`path`"]);
    says(toml("[[plugins]]\nsha256 = \"\""), &["sha256", "found ''", "64 hexadecimal digits", "line 2"]);
    says(toml("[[plugins]]\npath = \"\""), &["plugins.path", "an empty path", "shared library"]);
    says(toml("[[plugins]]\n"), &["missing field `path`"]);
    says(toml("[plugins]\npath = \"x.so\""), &["plugins", "sequence"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let file = Some(PathBuf::from("/no/such/wafka.toml"));
    says(
        load(&Sources { file, ..Sources::default() }),
        &["cannot read", "/no/such/wafka.toml", "No such file"],
    );
    says(toml("[server\n"), &["line 1"]);
}

#[test]
fn set_takes_toml_or_plain_words() {
    assert_eq!(set("server.bind=0.0.0.0").unwrap().server.bind.to_string(), "0.0.0.0");
    assert_eq!(set("server.requirepass=a=b c").unwrap().server.requirepass, "a=b c");
    assert_eq!(set("log.level=\"debug\"").unwrap().log.level, "debug");
    assert_eq!(set("storage.tail_bytes=1mb").unwrap().storage.tail_bytes, ByteSize::mib(1));
    for password in ["12345", "true", "1.5", "[1]", "1979-05-27", "{}"] {
        assert_eq!(set(&format!("server.requirepass={password}")).unwrap().server.requirepass, password);
    }
    for dir in ["12345", "true", "\"quoted\"", "a\nb"] {
        let option = Override::text("--data-dir", "server.data_dir", dir);
        let config = load(&Sources { overrides: vec![option], ..Sources::default() }).unwrap();
        assert_eq!(config.server.data_dir, PathBuf::from(dir));
    }
    for bad in ["server.port", "=1", "port=1", "a b=1", "server.po\nrt=1"] {
        says(set(bad), &["--set", "section.key=value"]);
    }
}

#[test]
fn what_is_published_and_watched() {
    let config = set("server.notify_keyspace_events=KEA").unwrap();
    assert_eq!(config.server.notify_keyspace_events.to_string(), "AKE");
    says(
        set("server.notify_keyspace_events=q"),
        &["notify_keyspace_events", "'q'", "Invalid event class character"],
    );
    assert_eq!(set("server.pubsub_buffer_limit=0").unwrap().server.pubsub_buffer_limit, ByteSize::bytes(0));
    says(set("server.pubsub_buffer_limit=1"), &["server.pubsub_buffer_limit", "1 bytes"]);
    assert_eq!(set("server.advertise=[::1]:7000").unwrap().server.advertise, "[::1]:7000");
    for bad in ["here", ":7000", "here:x", "he re:7000"] {
        says(set(&format!("server.advertise={bad}")), &["server.advertise", bad, "host:port"]);
    }
    says(set("server.slowlog_log_slower_than=-2"), &["server.slowlog_log_slower_than", "-2", "or -1"]);
    says(set("server.slowlog_max_len=1000000"), &["server.slowlog_max_len", "0 to 100000"]);
}
