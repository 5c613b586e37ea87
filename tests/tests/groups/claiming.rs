//! Pending events change hands.

use std::collections::BTreeMap;

use wafka_tests::Reply;

use super::{PARTITIONS, add, ids, server, wait_for_blocked};

/// Id and the two numbers that `XREADGROUP CLAIM` adds to each entry.
fn claimed(reply: &Reply) -> Vec<(String, i64, i64)> {
    let entry = |entry: &Reply| {
        let entry = entry.array();
        (entry[0].text().to_owned(), entry[2].int(), entry[3].int())
    };
    reply.array()[0].array()[1].array().iter().map(entry).collect()
}

#[test]
fn what_a_dead_consumer_leaves_is_claimed_by_who_waits_for_it() {
    for partitions in PARTITIONS {
        let server = server(partitions);
        let mut other = server.client();
        other.run("XGROUP CREATE topic g $ MKSTREAM");
        let mut reader = server.client();
        reader.send(&[
            "XREADGROUP",
            "GROUP",
            "g",
            "heir",
            "BLOCK",
            "0",
            "CLAIM",
            "150",
            "STREAMS",
            "topic",
            ">",
        ]);
        wait_for_blocked(&mut other, 1);
        let mut dead = super::blocked_reader(&server, "dead");
        wait_for_blocked(&mut other, 2);
        // The first in line gets what is new, whether it claims or not.
        let first = add(&mut other, "topic");
        assert_eq!(claimed(&reader.reply()), [(first, 0, 0)]);
        let second = add(&mut other, "topic");
        assert_eq!(ids(&dead.reply()), [second.as_str()]);
        drop(dead);
        assert_eq!(other.run("XACK topic g 0-1"), Reply::Int(0));
        reader.send(&[
            "XREADGROUP",
            "GROUP",
            "g",
            "heir",
            "BLOCK",
            "0",
            "CLAIM",
            "150",
            "COUNT",
            "1",
            "STREAMS",
            "topic",
            ">",
        ]);
        let got = claimed(&reader.reply());
        assert!(got[0].1 >= 150 && got[0].2 == 1, "{got:?}");
    }
}

#[test]
fn released_events_are_first_in_line() {
    for partitions in PARTITIONS {
        let server = server(partitions);
        let mut client = server.client();
        client.run("XGROUP CREATE topic g $ MKSTREAM");
        let added: Vec<String> = (0..5).map(|_| add(&mut client, "topic")).collect();
        client.run("XREADGROUP GROUP g a COUNT 4 STREAMS topic >");
        let mut claimer = server.client();
        let claim = [
            "XREADGROUP",
            "GROUP",
            "g",
            "b",
            "BLOCK",
            "0",
            "COUNT",
            "2",
            "CLAIM",
            "3600000",
            "STREAMS",
            "topic",
            ">",
        ];
        claimer.send(&claim);
        // What is new comes after what is claimed, and there is none of that.
        assert_eq!(claimed(&claimer.reply()), [(added[4].clone(), 0, 0)]);
        claimer.send(&claim);
        wait_for_blocked(&mut client, 1);
        let nack = format!("XNACK topic g FAIL IDS 2 {} {}", added[2], added[1]);
        assert_eq!(client.run(&nack), Reply::Int(2));
        let got: Vec<(String, i64)> =
            claimed(&claimer.reply()).into_iter().map(|(id, _, deliveries)| (id, deliveries)).collect();
        assert_eq!(got, [(added[2].clone(), 1), (added[1].clone(), 1)]);
        let mode = |client: &mut wafka_tests::Client, words: String| client.run(&words);
        assert_eq!(mode(&mut client, format!("XNACK topic g SILENT IDS 1 {}", added[0])), Reply::Int(1));
        let range = client.run("XPENDING topic g - + 10");
        let owners: BTreeMap<String, (String, i64, i64)> = range
            .array()
            .iter()
            .map(|entry| {
                let entry = entry.array();
                (entry[0].text().to_owned(), (entry[1].text().to_owned(), entry[2].int(), entry[3].int()))
            })
            .collect();
        assert_eq!(owners[&added[0]], (String::new(), -1, 0));
        assert_eq!(owners[&added[1]].0, "b");
        let missing = client.run("XNACK topic nog FAIL IDS 1 1-1");
        assert!(missing.is_error("NOGROUP "), "{missing:?}");
    }
}

/// The limits on the whole reply also hold for what is pending and for what is claimed, and a skipped event is not
/// delivered.
#[test]
fn maxcount_and_maxsize_cover_the_whole_reply() {
    for partitions in PARTITIONS {
        let server = server(partitions);
        let mut client = server.client();
        for topic in ["a", "b"] {
            client.run(&format!("XGROUP CREATE {topic} g 0 MKSTREAM"));
            for _ in 0..4 {
                add(&mut client, topic);
            }
        }
        let lens = |reply: &Reply| -> Vec<usize> {
            reply.array().iter().map(|stream| stream.array()[1].array().len()).collect()
        };
        assert_eq!(lens(&client.run("XREAD MAXCOUNT 6 STREAMS a b 0 0")), [4, 2]);
        assert_eq!(lens(&client.run("XREAD COUNT 1 MAXCOUNT 6 STREAMS a b 0 0")), [1, 1]);
        assert_eq!(lens(&client.run("XREAD MAXSIZE 1 STREAMS a b 0 0")), [1]);
        assert_eq!(lens(&client.run("XREADGROUP GROUP g c MAXCOUNT 5 STREAMS a b > >")), [4, 1]);
        assert_eq!(client.run("XPENDING b g").array()[0], Reply::Int(1));
        assert_eq!(lens(&client.run("XREADGROUP GROUP g c MAXSIZE 1 STREAMS b >")), [1]);
        assert_eq!(client.run("XPENDING b g").array()[0], Reply::Int(2));
        assert_eq!(lens(&client.run("XREADGROUP GROUP g c MAXSIZE 1 STREAMS a b 0 0")), [1]);
        assert_eq!(lens(&client.run("XREADGROUP GROUP g d CLAIM 0 MAXCOUNT 5 STREAMS a b > >")), [4, 1]);
    }
}
