//! The files are what the README and the design promise, for people, `tail` and `jq`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::fs;
use std::process::{Command, Stdio};

use wafka_tests::events::{self, Id};
use wafka_tests::log_file::{self, Line};
use wafka_tests::{Client, Reply, Server, Setup};

/// A topic's file, as text.
fn text(server: &Server, stem: &str, partition: u16) -> String {
    fs::read_to_string(log_file::path(server.data_dir(), stem, partition)).unwrap()
}

/// The line without its checksum, which the caller does not compute.
fn unsealed(line: &str) -> &str {
    line.rsplit_once(",\"crc32c\":\"").unwrap().0
}

fn one_partition() -> Setup {
    Setup::new().brokers(1)
}

#[test]
fn tail_and_jq_read_a_file() {
    let server = one_partition().start();
    let mut client = server.client();
    client.run("XADD topic * truck 6 status late");
    client.call(&["XADD", "topic", "*", "truck", "7", "order", "{\"total\": 99.5}"]);
    let run = |script: &str| {
        let output =
            Command::new("bash").args(["-c", script]).current_dir(server.data_dir()).output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        run("tail -n 1 topic-1.txt | jq -c .message"),
        "{\"truck\":\"7\",\"order\":{\"total\":99.5}}\n"
    );
    assert_eq!(run("jq -r .message.truck topic-1.txt"), "6\n7\n");
    assert_eq!(run("jq .message.order.total topic-1.txt | tail -n 1"), "99.5\n");
    assert_eq!(run("grep -c '\"status\":\"late\"' topic-1.txt"), "1\n");
}

/// `tail -f` gets every event as a whole line as soon as it is answered.
#[test]
fn tail_f_is_a_consumer() {
    use std::io::{BufRead, BufReader};
    let server = one_partition().start();
    let mut client = server.client();
    client.run("XADD topic * n 0");
    let path = log_file::path(server.data_dir(), "topic", 1);
    let mut tail = Command::new("tail");
    tail.args(["-n", "+1", "--sleep-interval=0.01", "-f"]).arg(&path).stdout(Stdio::piped());
    let mut tail = tail.spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    for n in 0..20 {
        let line = Line::parse(lines.next().unwrap().unwrap().as_bytes()).unwrap();
        assert_eq!((line.offset, line.fields), (n, vec![b"n".to_vec(), n.to_string().into_bytes()]));
        client.call(&["XADD", "topic", "*", "n", &(n + 1).to_string()]);
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn the_lines_are_these() {
    let server = one_partition().start();
    let mut client = server.client();
    let id = |seq: u64| format!("1795402577000-{seq}");
    let base64: &[u8] = b"{\"base64\":\"aGk=\"}";
    let events: [(&[&[u8]], &str); 10] = [
        (&[b"truck", b"7", b"status", b"ontime"], r#"{"truck":"7","status":"ontime"}"#),
        (&[b"f", b"1", b"f", b"2"], r#"[["f","1"],["f","2"]]"#),
        (&[b"\xff", b"v"], r#"[[{"base64":"/w=="},"v"]]"#),
        (&[b"f", b"\xff\x00"], r#"{"f":{"base64":"/wA="}}"#),
        (&[b"f", b"{\"a\": [1, {}], \"b\":1.50}"], r#"{"f":{"a": [1, {}], "b":1.50}}"#),
        (&[b"f", b"[1,2"], r#"{"f":"[1,2"}"#),
        (&[b"f", b"17"], r#"{"f":"17"}"#),
        (&[b"", b""], r#"{"":""}"#),
        (&[b"f", base64], r#"{"f":"{\"base64\":\"aGk=\"}"}"#),
        (&[b"a\"b", "ü\n\t\\\u{1f69a}".as_bytes()], "{\"a\\\"b\":\"ü\\n\\t\\\\\u{1f69a}\"}"),
    ];
    for (n, (fields, _)) in (0..).zip(&events) {
        let id = id(n);
        let mut args: Vec<&[u8]> = vec![b"XADD", b"deliveries", id.as_bytes()];
        args.extend_from_slice(fields);
        assert_eq!(client.call(&args).text(), id);
    }
    let text = text(&server, "deliveries", 1);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), events.len());
    for (n, (line, (fields, message))) in lines.iter().zip(&events).enumerate() {
        let expected = format!(
            r#"{{"event_id":"1795402577000-{n}","topic_name":"deliveries","partition":1,"offset":{n},"timestamp":"2026-11-23T02:56:17.000Z","message":{message}"#
        );
        assert_eq!(unsealed(line), expected);
        let fields: Vec<Vec<u8>> = fields.iter().map(|part| part.to_vec()).collect();
        assert_eq!(Line::parse(line.as_bytes()).unwrap().fields, fields);
    }
    // The checksum of one, computed apart from all of this with a table of the polynomial of RFC 3720.
    assert!(lines[0].ends_with(",\"crc32c\":\"c343e8ca\"}"), "{}", lines[0]);
    assert_eq!(events::read_all(&mut client, b"deliveries").len(), events.len());
}

#[test]
fn a_large_value_with_a_thousand_fields_around_it_is_one_line() {
    let server = one_partition().start();
    let mut client = server.client();
    let mut args = vec![b"XADD".to_vec(), b"large".to_vec(), b"1-1".to_vec()];
    for n in 0..1000 {
        args.extend([format!("field-{n}").into_bytes(), b"v".to_vec()]);
    }
    args.extend([b"any".to_vec(), (0..1 << 20).map(|n| (n * 7 % 256) as u8).collect()]);
    assert_eq!(client.call(&args).text(), "1-1");
    let lines = log_file::read(server.data_dir(), "large", 1);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].fields, args[3..]);
    let found = events::read_all(&mut server.restart().client(), b"large");
    assert_eq!(found, [(Id::new(1, 1), args[3..].to_vec())]);
}

#[test]
fn databases_have_directories_of_their_own() {
    let server = one_partition().start();
    let mut client = server.client();
    client.run("XADD topic 1-1 in 0");
    assert_eq!(client.run("SELECT 3"), Reply::Status("OK".to_owned()));
    client.run("XADD topic 2-1 in 3");
    assert_eq!(log_file::read(server.data_dir(), "topic", 1)[0].id, Id::new(1, 1));
    assert_eq!(log_file::read(&server.data_dir().join("db3"), "topic", 1)[0].id, Id::new(2, 1));
    let server = server.restart();
    let mut client = server.client();
    assert_eq!(events::read_all(&mut client, b"topic")[0].0, Id::new(1, 1));
    client.run("SELECT 3");
    assert_eq!(events::read_all(&mut client, b"topic")[0].0, Id::new(2, 1));
    assert_eq!(client.run("FLUSHDB"), Reply::Status("OK".to_owned()));
    assert!(!log_file::path(&server.data_dir().join("db3"), "topic", 1).exists());
    client.run("SELECT 0");
    assert_eq!(client.run("XLEN topic"), Reply::Int(1));
}

#[test]
fn names_are_percent_encoded_in_file_names() {
    let server = one_partition().start();
    let mut client = server.client();
    let names: [(&[u8], &str); 7] = [
        (b"a.b_c-D9", "a.b_c-D9"),
        (b".hidden", "%2Ehidden"),
        (b"../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        (b"nul\0 and \xff", "nul%00%20and%20%FF"),
        ("straße".as_bytes(), "stra%C3%9Fe"),
        (b"100%", "100%25"),
        (b"", "%"),
    ];
    for (name, stem) in names {
        assert_eq!(client.call(&[b"XADD", name, b"1-1", b"f", b"v"]).text(), "1-1", "{stem}");
        let line = fs::read(log_file::path(server.data_dir(), stem, 1)).unwrap();
        assert_eq!(Line::parse(line.strip_suffix(b"\n").unwrap()).unwrap().topic, name);
    }
    let mut client = server.restart_and_connect();
    for (name, stem) in names {
        assert_eq!(client.1.call(&[b"XLEN", name]), Reply::Int(1), "{stem}");
    }
}

#[test]
fn names_that_are_partitions_or_too_long_are_refused() {
    let server = one_partition().start();
    let mut client = server.client();
    assert!(client.run("XADD topic#2 * f v").error().contains("topic"), "there is one broker");
    assert!(client.run("XADD topic#0 * f v").error().contains("topic"));
    assert_eq!(client.run("EXISTS topic"), Reply::Int(0), "a refused XADD made the topic");
    assert!(client.run("TOPIC CREATE topic#12").error().contains("#<digits>"));
    assert_eq!(client.call(&["XADD", &"n".repeat(200), "1-1", "f", "v"]).text(), "1-1");
    assert!(client.call(&["XADD", &"n".repeat(201), "1-1", "f", "v"]).error().contains("200"));
    assert!(client.call(&["XADD", &" ".repeat(67), "1-1", "f", "v"]).error().contains("200"));
    assert_eq!(client.call(&["XADD", "topic#x", "1-1", "f", "v"]).text(), "1-1");
    assert_eq!(client.run("DBSIZE"), Reply::Int(2));
}

trait RestartAndConnect {
    fn restart_and_connect(self) -> (Server, Client);
}

impl RestartAndConnect for Server {
    fn restart_and_connect(self) -> (Server, Client) {
        let server = self.restart();
        let client = server.client();
        (server, client)
    }
}

#[test]
fn only_lines_of_the_format_stand_in_the_data_directory() {
    let server = one_partition().start();
    let mut client = server.client();
    for id in ["1-1", "2-1", "3-1"] {
        client.call(&["XADD", "topic", id, "f", "v"]);
    }
    assert_eq!(client.run("XDEL topic 2-1"), Reply::Int(1));
    let setup = server.stop();
    let mut found = Vec::new();
    for entry in fs::read_dir(setup.data_dir()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".txt") {
            for line in fs::read_to_string(entry.path()).unwrap().lines() {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                let (covered, seal) = line.rsplit_once(",\"crc32c\":\"").unwrap();
                assert_eq!(seal, format!("{:08x}\"}}", crc32c::crc32c(covered.as_bytes())), "{name}: {line}");
                let last = value.as_object().unwrap().keys().next_back().unwrap();
                assert_eq!(last, "crc32c");
            }
        }
        found.push(name);
    }
    for expected in ["topic-1.txt", "topic.journal.txt", "wafka.catalog.txt", "FORMAT"] {
        assert!(found.iter().any(|name| name == expected), "{expected} is not among {found:?}");
    }
}
