//! Many consumers of one group at once, while events are produced: each event goes to one of them, once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{PARTITIONS, ids, pending, server};

const PRODUCERS: usize = 3;
const EVENTS_EACH: usize = 300;
const CONSUMERS: usize = 4;

#[test]
fn every_event_goes_to_one_consumer() {
    for partitions in PARTITIONS {
        let server = server(partitions);
        let mut client = server.client();
        client.run("XGROUP CREATE topic g $ MKSTREAM");
        let left = AtomicU64::new((PRODUCERS * EVENTS_EACH) as u64);
        let got: Vec<Vec<String>> = thread::scope(|scope| {
            for _ in 0..PRODUCERS {
                scope.spawn(|| {
                    let mut client = server.client();
                    for round in 0..EVENTS_EACH / 10 {
                        for _ in 0..10 {
                            client.send(&["XADD", "topic", "*", "round", &round.to_string()]);
                        }
                        (0..10).for_each(|_| drop(client.reply()));
                    }
                });
            }
            let consumers: Vec<_> = (0..CONSUMERS)
                .map(|number| {
                    let (left, server) = (&left, &server);
                    scope.spawn(move || consume(server, number, left))
                })
                .collect();
            consumers.into_iter().map(|consumer| consumer.join().unwrap()).collect()
        });
        assert!(got.iter().all(|ids| ids.windows(2).all(|pair| key(&pair[0]) < key(&pair[1]))));
        let all: BTreeSet<&String> = got.iter().flatten().collect();
        let total: usize = got.iter().map(Vec::len).sum();
        assert_eq!((total, all.len()), (PRODUCERS * EVENTS_EACH, PRODUCERS * EVENTS_EACH));
        assert_eq!(pending(&mut client), 0);
    }
}

/// Reads and acknowledges until nothing is left.
fn consume(server: &wafka_tests::Server, number: usize, left: &AtomicU64) -> Vec<String> {
    let mut client = server.client();
    let (mut got, name) = (Vec::new(), format!("c{number}"));
    while left.load(Ordering::Acquire) > 0 {
        let count = (1 + number * 5).to_string();
        let reply = client.call(&[
            "XREADGROUP",
            "GROUP",
            "g",
            &name,
            "COUNT",
            &count,
            "BLOCK",
            "20",
            "STREAMS",
            "topic",
            ">",
        ]);
        let new = ids(&reply);
        if new.is_empty() {
            continue;
        }
        let mut ack = vec!["XACK", "topic", "g"];
        ack.extend(new.iter().map(String::as_str));
        assert_eq!(client.call(&ack).int(), i64::try_from(new.len()).unwrap());
        left.fetch_sub(new.len() as u64, Ordering::AcqRel);
        got.extend(new);
    }
    got
}

fn key(id: &str) -> (u64, u64) {
    let (ms, seq) = id.split_once('-').unwrap();
    (ms.parse().unwrap(), seq.parse().unwrap())
}
