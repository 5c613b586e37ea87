//! What a group knows survives `kill -9`: nothing acknowledged comes back, everything else does.

use std::collections::BTreeSet;

use wafka_tests::{Server, Setup, plugins};

use super::{PARTITIONS, add, ids, server};

#[test]
fn acknowledged_is_acknowledged_and_pending_is_pending() {
    for partitions in PARTITIONS {
        is_recovered(server(partitions), partitions);
    }
}

#[test]
fn so_it_is_in_every_backend() {
    for backend in plugins::BACKENDS {
        is_recovered(plugins::in_backend(Setup::new().brokers(2), backend).start(), 2);
    }
}

fn is_recovered(mut server: Server, partitions: u16) {
    let mut client = server.client();
    client.run("XGROUP CREATE topic g 0 MKSTREAM");
    let (mut added, mut acknowledged, mut delivered) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for round in 0..4 {
        for _ in 0..25 {
            added.push(add(&mut client, "topic"));
        }
        let consumer = format!("c{}", round % 2);
        let read = format!("XREADGROUP GROUP g {consumer} COUNT 20 STREAMS topic >");
        let got = ids(&client.run(&read));
        assert_eq!(got.len(), 20);
        assert!(got.iter().all(|id| !delivered.contains(id)), "delivered twice");
        delivered.extend(got.iter().cloned());
        for id in got.iter().step_by(3) {
            assert_eq!(client.run(&format!("XACK topic g {id}")).int(), 1);
            acknowledged.insert(id.clone());
        }
        let before = client.run("XPENDING topic g");
        server = server.kill().start();
        client = server.client();
        assert_eq!(client.run("XPENDING topic g"), before, "{partitions} partitions, round {round}");
        for id in &acknowledged {
            assert_eq!(client.run(&format!("XACK topic g {id}")).int(), 0, "{id} came back");
        }
    }
    let mut rest: BTreeSet<String> =
        ids(&client.run("XREADGROUP GROUP g c0 STREAMS topic 0")).into_iter().collect();
    rest.extend(ids(&client.run("XREADGROUP GROUP g c1 STREAMS topic 0")));
    rest.extend(ids(&client.run("XREADGROUP GROUP g c1 STREAMS topic >")));
    let expected: BTreeSet<String> = added.into_iter().filter(|id| !acknowledged.contains(id)).collect();
    assert_eq!(rest, expected);
}
