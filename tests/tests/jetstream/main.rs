//! Servers whose logs are streams of NATS JetStream, the plugin `jetstream`: one, and two of which one takes over; with one
//! NATS server, and with three that fail. What the plugin does alone is tested in its own crate.
//!
//! `WAFKA_TEST_NATS_ROUNDS` sets how often each server fails, and makes all of them fail in turn.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

mod load;
mod nodes;
mod pair;
mod takeover;

use std::fs;
use std::time::{Duration, Instant};

use wafka_tests::events::add;
use wafka_tests::server::wait_until;
use wafka_tests::{Client, Reply, Server, jetstream};

/// How often each server fails: `$WAFKA_TEST_NATS_ROUNDS`, else once.
fn rounds() -> usize {
    std::env::var("WAFKA_TEST_NATS_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}

/// Whether everything is to be tried that takes long.
fn is_long() -> bool {
    std::env::var_os("WAFKA_TEST_NATS_ROUNDS").is_some()
}

fn ids(client: &mut Client, topic: &str) -> Vec<String> {
    let reply = client.run(&format!("XRANGE {topic} - +"));
    reply.array().iter().map(|entry| entry.array()[0].text().to_owned()).collect()
}

fn logs_on_disk(server: &Server) -> Vec<String> {
    let entries = fs::read_dir(server.setup().data_dir()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".txt") || name.ends_with(".log")).collect()
}

/// Partitions, journals, catalog and transactions are all there after a stop and after a kill, of this server and of the
/// engine's, and nothing of them is on this server's disk.
#[test]
fn everything_is_kept() {
    let mut engine = jetstream::one();
    let setup = jetstream::setup(&engine, "");
    let mut server = setup.start();
    let mut client = server.client();
    let mut kept = add(&mut client, "trips", 0, 1500);
    for topic in 0..5 {
        add(&mut client, &format!("small{topic}"), 0, 3);
    }
    assert_eq!(client.run("XTRIM trips MAXLEN 1000"), Reply::Int(500));
    kept.drain(..500);
    assert_eq!(client.run(&format!("XDEL trips {}", kept[3])), Reply::Int(1));
    kept.remove(3);
    client.run("XGROUP CREATE trips drivers 0");
    client.run("XREADGROUP GROUP drivers anna COUNT 7 STREAMS trips >");
    client.run("MULTI");
    client.run("XADD bills * n 0");
    client.run(&format!("XACK trips drivers {}", kept[0]));
    assert_eq!(client.run("EXEC").array().len(), 2);
    assert_eq!(logs_on_disk(&server), Vec::<String>::new());
    for round in 0..3 {
        server = match round {
            0 => server.kill().start(),
            1 => server.stop().start(),
            _ => {
                let setup = server.kill();
                engine.kill(0).unwrap();
                engine.launch(0).unwrap();
                engine.wait_until_ready().unwrap();
                setup.start()
            }
        };
        let mut client = server.client();
        assert_eq!(ids(&mut client, "trips"), kept);
        for topic in 0..5 {
            assert_eq!(ids(&mut client, &format!("small{topic}")).len(), 3);
        }
        assert_eq!(client.run("XPENDING trips drivers").array()[0], Reply::Int(6));
        assert_eq!(client.run("XLEN bills"), Reply::Int(1));
        kept.extend(add(&mut client, "trips", 1500 + round * 10, 10));
    }
    let mut client = server.client();
    assert_eq!(client.run("DEL trips bills"), Reply::Int(2));
    let server = server.stop().start();
    assert_eq!(server.client().run("DBSIZE"), Reply::Int(5));
}

/// Without its engine the server answers: appends with an error, in bounded time. It goes on by itself when the engine
/// is back, and has what was acknowledged, once and in order, and nothing else.
#[test]
fn the_engine_goes_and_comes_back() {
    let mut engine = jetstream::one();
    let patience = "publish_timeout_ms = 200\ngive_up_ms = 600\nrequest_timeout_ms = 1500";
    let server = jetstream::setup(&engine, patience).start();
    let mut client = server.client();
    let mut kept = add(&mut client, "trips", 0, 50);
    for round in 0..3 {
        let said = |text: &str| server.log().matches(text).count();
        let parts = ["the connection to the engine was lost", "whether lines from offset"];
        let before = parts.map(said);
        engine.kill(0).unwrap();
        let begun = Instant::now();
        let refused = client.run("XADD trips * n lost");
        assert!(matches!(refused, Reply::Error(_)), "{refused:?}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        wait_until("it is logged", || parts.iter().zip(before).all(|(part, before)| said(part) > before));
        assert_eq!(client.run("XLEN trips"), Reply::Int(kept.len() as i64));
        engine.launch(0).unwrap();
        // A partition that takes events again has cut off what had failed there.
        for partition in 1..=2 {
            wait_until("an event is taken again", || {
                let reply = client.run(&format!("XADD trips#{partition} * n {round}"));
                let taken = !matches!(reply, Reply::Error(_));
                if taken {
                    kept.push(reply.text().to_owned());
                }
                taken
            });
        }
        assert_eq!(ids(&mut client, "trips"), kept);
    }
    let server = server.kill().start();
    assert_eq!(ids(&mut server.client(), "trips"), kept);
}

/// What cannot be promised is refused before anything is opened, with what to do about it.
#[test]
fn a_start_without_a_promise_is_refused() {
    let engine = jetstream::one();
    let backend = engine.backend_toml();
    let without: Vec<&str> = backend.lines().filter(|line| !line.starts_with("system_login")).collect();
    for (options, expected) in [
        ("", "accept_unsynced_loss"),
        ("system_login = { user = \"w\", password = \"w\" }", "system account"),
        ("replica = 3", "replica"),
        ("prefix = \"a.b\"", "prefix"),
    ] {
        let output = jetstream::setup_with(&format!("{}\n{options}\n", without.join("\n")))
            .command()
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(expected), "{options}: {stderr}");
    }
}
