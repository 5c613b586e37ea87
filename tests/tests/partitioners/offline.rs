//! Partitions that are offline: who has no preference passes over them, who has one is told.

use std::fs;

use wafka_tests::client::encode;
use wafka_tests::{Client, Server, log_file};

use crate::support::{partitions_of, with};

/// Takes the file of a partition away while the server is down.
fn without(server: Server, topic: &str, partition: u16) -> Server {
    let setup = server.stop();
    let file = log_file::path(setup.data_dir(), topic, partition);
    fs::rename(&file, setup.dir().join("away.txt")).unwrap();
    setup.start()
}

fn pipeline(client: &mut Client, events: usize) {
    let mut bytes = Vec::new();
    for _ in 0..events {
        encode(&mut bytes, &["XADD", "t", "*", "f", "v"]);
    }
    client.send_raw(&bytes);
    for _ in 0..events {
        let reply = client.reply();
        assert!(!reply.is_error(""), "{reply:?}");
    }
}

#[test]
fn sticky_passes_over_it() {
    let server = with("sticky", "").brokers(3).start();
    server.client().run("TOPIC CREATE t PARTITIONER sticky");
    let server = without(server, "t", 2);
    let mut client = server.client();
    for _ in 0..6 {
        pipeline(&mut client, 10);
    }
    let of = |client: &mut Client, number: u16| client.run(&format!("XLEN t#{number}")).int();
    assert_eq!((of(&mut client, 1), of(&mut client, 3)), (30, 30));
}

#[test]
fn a_hash_does_not_go_elsewhere() {
    let server = with("jump", "").brokers(4).start();
    server.client().run("TOPIC CREATE t PARTITIONER jump OPTION partition_key truck");
    // Over 4 partitions "7" goes to the third and "21" to the fourth.
    let server = without(server, "t", 3);
    let mut client = server.client();
    assert!(client.run("XADD t * truck 7").is_error("OFFLINE "));
    assert!(!client.run("XADD t * truck 21").is_error(""));
    assert_eq!(client.run("XLEN t#4").int(), 1);

    // It is back, and the value goes where it belongs.
    let setup = server.stop();
    fs::rename(setup.dir().join("away.txt"), log_file::path(setup.data_dir(), "t", 3)).unwrap();
    let server = setup.start();
    assert!(!server.client().run("XADD t * truck 7").is_error(""));
    assert_eq!(partitions_of(server.data_dir(), "t", 4, &[b"7", b"21"]), [Some(3), Some(4)]);
}
