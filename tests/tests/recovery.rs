//! The data directory after accidents: lost indexes, torn tails, damage, writes that were not synced; and the space of
//! deleted events.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::fs::{self, OpenOptions};
use std::io::Write;

use wafka_tests::log_file::{self, Line};
use wafka_tests::server::wait_until;
use wafka_tests::{Reply, Server, Setup, client, events};

fn one_partition() -> Setup {
    Setup::new().brokers(1)
}

/// Many events in one partition, with small steps in its index.
fn filled(setup: &Setup) -> (Server, Vec<events::Event>) {
    let server =
        setup.clone().set("storage.index_interval_bytes", "1kb").set("storage.tail_bytes", "64kb").start();
    let mut client = server.client();
    let mut request = Vec::new();
    for n in 1..=2_000 {
        client::encode(&mut request, &["XADD", "topic", &format!("{n}-1"), "n", &n.to_string()]);
    }
    client.send_raw(&request);
    for n in 1..=2_000 {
        assert_eq!(client.reply().text(), format!("{n}-1"));
    }
    let all = events::read_all(&mut client, b"topic");
    assert_eq!(all.len(), 2_000);
    (server, all)
}

#[test]
fn the_index_can_be_deleted() {
    let (server, all) = filled(&one_partition());
    let setup = server.stop();
    let index = setup.data_dir().join("index");
    assert!(index.is_dir(), "no index was kept");
    for setup_again in 0..2 {
        if setup_again == 0 {
            fs::remove_dir_all(&index).unwrap();
        } else {
            // Or hold anything at all.
            let files: Vec<_> =
                fs::read_dir(index.join("db0")).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(files.iter().any(|path| path.ends_with("topic-1.idx")), "{files:?}");
            for path in files {
                fs::write(path, b"\xff garbage \0").unwrap();
            }
        }
        let server = setup.start();
        let mut client = server.client();
        assert!(events::read_all(&mut client, b"topic") == all);
        let middle = events::events(&client.run("XRANGE topic 1000-1 + COUNT 3"));
        assert!(middle == all[999..1002]);
        assert_eq!(client.run("XLEN topic"), Reply::Int(2_000));
        server.stop();
    }
}

/// Cuts the file as a loss of power does that happens before it is synced; returns what it held.
fn cut_last_line(setup: &Setup) -> Vec<u8> {
    let path = log_file::path(setup.data_dir(), "topic", 1);
    let whole = fs::read(&path).unwrap();
    let end =
        whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    fs::write(&path, &whole[..end]).unwrap();
    whole
}

#[test]
fn the_commit_journal_brings_back_what_was_not_synced_and_can_be_deleted_after_an_ordered_end() {
    const RESTORED: &str = "restored lines from the commit journal";
    let server = one_partition().start();
    let mut client = server.client();
    let journal = server.data_dir().join("wafka.commit-1.log");
    // One sync covers all the files of a pipeline once the journal is ready, which is made in the background.
    wait_until("the commit journal is used", || {
        let mut request = Vec::new();
        for topic in ["topic", "other", "third"] {
            client::encode(&mut request, &["XADD", topic, "*", "f", "v"]);
        }
        client.send_raw(&request);
        (0..3).for_each(|_| assert!(matches!(client.reply(), Reply::Bulk(_))));
        let whole = fs::read(log_file::path(server.data_dir(), "topic", 1)).unwrap();
        let last = whole[..whole.len() - 1].rsplit(|byte| *byte == b'\n').next().unwrap();
        fs::read(&journal).is_ok_and(|journal| journal.windows(last.len()).any(|bytes| bytes == last))
    });
    let all = events::read_all(&mut client, b"topic");
    let setup = server.kill();
    let whole = cut_last_line(&setup);
    let server = setup.start();
    server.wait_for_log(RESTORED);
    assert!(fs::read(log_file::path(setup.data_dir(), "topic", 1)).unwrap() == whole);
    assert!(events::read_all(&mut server.client(), b"topic") == all);
    // After an ordered end it holds nothing that matters.
    let setup = server.stop();
    cut_last_line(&setup);
    let server = setup.start();
    assert!(!server.log().contains(RESTORED), "{}", server.log());
    server.stop();
    fs::write(log_file::path(setup.data_dir(), "topic", 1), &whole).unwrap();
    fs::remove_file(&journal).unwrap();
    assert!(events::read_all(&mut setup.start().client(), b"topic") == all);
}

#[test]
fn an_unfinished_last_line_is_cut_and_logged() {
    let (server, all) = filled(&one_partition());
    let setup = server.kill();
    let path = log_file::path(setup.data_dir(), "topic", 1);
    let whole = fs::read(&path).unwrap();
    for torn in [&b"{\"event_id\":\"2001-1\",\"topic_na"[..], b"{", &[0; 300]] {
        OpenOptions::new().append(true).open(&path).unwrap().write_all(torn).unwrap();
        let server = setup.start();
        server.wait_for_log("torn tail");
        let log = server.log();
        assert!(log.contains("topic-1") && log.contains(&torn.len().to_string()), "{log}");
        assert!(fs::read(&path).unwrap() == whole, "the file was not cut back to its whole lines");
        assert!(events::read_all(&mut server.client(), b"topic") == all);
        server.kill();
    }
    let server = setup.start();
    assert!(!server.log().contains("torn tail"), "{}", server.log());
    assert_eq!(server.client().run("XADD topic 2001-1 n 2001").text(), "2001-1");
    assert_eq!(log_file::read(setup.data_dir(), "topic", 1).last().unwrap().offset, 2_000);
}

#[test]
fn a_flipped_byte_is_reported_and_the_rest_is_readable() {
    let (server, all) = filled(&one_partition());
    let setup = server.stop();
    let path = log_file::path(setup.data_dir(), "topic", 1);
    let mut content = fs::read(&path).unwrap();
    let needle = b"\"n\":\"1000\"";
    let at = content.windows(needle.len()).position(|bytes| bytes == needle).unwrap() + 6;
    content[at] ^= 1;
    fs::write(&path, &content).unwrap();
    // Whether the index is there, and the start reads nothing but the end, or not, and it reads all.
    for keep_index in [true, false] {
        if !keep_index {
            fs::remove_dir_all(setup.data_dir().join("index")).unwrap();
        }
        let server = setup.start();
        let mut client = server.client();
        let error = client.run("XRANGE topic - +");
        assert!(error.is_error("DAMAGED "), "{error:?}");
        assert!(error.error().contains("topic-1") && error.error().contains("999-1"), "{error:?}");
        assert!(client.run("XREAD COUNT 10 STREAMS topic 995-1").is_error("DAMAGED "));
        assert!(client.run("XREVRANGE topic + -").is_error("DAMAGED "));
        let before = events::events(&client.run("XRANGE topic - 999-1"));
        assert!(before == all[..999], "{} events before the damage", before.len());
        let behind = events::events(&client.run("XRANGE topic 1001-1 +"));
        assert!(behind == all[1000..], "{} events behind the damage", behind.len());
        let behind = events::events(&client.run("XREVRANGE topic + 1001-1"));
        assert_eq!(behind.len(), 1_000);
        server.wait_for_log("damage");
        server.stop();
        assert!(fs::read(&path).unwrap() == content, "the damaged line was not kept");
    }
    let server = setup.start();
    assert_eq!(server.client().run("XADD topic 2001-1 n 2001").text(), "2001-1");
}

/// A whole line was answered for: it is never cut, whatever became of it.
#[test]
fn a_flipped_byte_in_the_last_line_is_no_torn_tail() {
    for keep_index in [true, false] {
        let (server, all) = filled(&one_partition());
        let setup = server.stop();
        let path = log_file::path(setup.data_dir(), "topic", 1);
        let mut content = fs::read(&path).unwrap();
        let at = content.len() - 40;
        content[at] ^= 1;
        fs::write(&path, &content).unwrap();
        if !keep_index {
            fs::remove_dir_all(setup.data_dir().join("index")).unwrap();
        }
        let server = setup.start();
        let mut client = server.client();
        assert!(client.run("XRANGE topic - +").is_error("DAMAGED "));
        assert!(events::events(&client.run("XRANGE topic - 1999-1")) == all[..1_999]);
        assert_eq!(client.run("XADD topic 2001-1 n 2001").text(), "2001-1");
        assert_eq!(events::events(&client.run("XRANGE topic 2001-1 +")).len(), 1);
        let now = fs::read(&path).unwrap();
        assert!(now.starts_with(&content), "the damaged line was not kept");
        let last = Line::parse(now[content.len()..].strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!(last.offset, 2_000, "the damaged line's offset was given again");
    }
}

#[test]
fn space_of_deleted_events_is_given_back() {
    let setup = one_partition().set("storage.reclaim_dead_bytes_min", "4kb");
    let (server, all) = filled(&setup);
    let path = log_file::path(server.data_dir(), "topic", 1);
    let before = fs::metadata(&path).unwrap().len();
    let mut client = server.client();
    assert_eq!(client.run("XTRIM topic MINID 1500"), Reply::Int(1_499));
    wait_until("the file is rewritten", || fs::metadata(&path).unwrap().len() < before / 2);
    let lines = log_file::read(server.data_dir(), "topic", 1);
    assert_eq!(
        (lines[0].offset, lines.last().unwrap().offset),
        (1_499, 1_999),
        "the survivors keep their offsets"
    );
    assert!(events::read_all(&mut client, b"topic") == all[1_499..]);
    let server = server.kill().start();
    assert!(events::read_all(&mut server.client(), b"topic") == all[1_499..]);
}
