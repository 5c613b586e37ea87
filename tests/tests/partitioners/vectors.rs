//! Hashes: every value stands in the partition that the reference implementation computes.

use wafka_tests::Setup;

use crate::support::{partitions_of, with};

const VALUES: [&[u8]; 8] = [
    b"",
    b"7",
    b"21",
    b"TT0124",
    b"100:48069",
    "trück".as_bytes(),
    b"\x00\xff\x80",
    b"a-little-bit-longer-string",
];

/// Makes the topic `t`, adds [`VALUES`], and compares the partitions, which are those of the vectors, from 0.
#[track_caller]
pub fn land(setup: Setup, partitions: u16, create: &[&str], expected: [u16; 8]) {
    let server = setup.brokers(partitions).start();
    let mut client = server.client();
    assert_eq!(client.call(&[&["TOPIC", "CREATE", "t"], create].concat()).text(), "OK");
    for value in VALUES {
        let reply = client.call(&[&b"XADD"[..], b"t", b"*", b"truck", value]);
        assert!(!reply.is_error(""), "{reply:?}");
    }
    let expected = expected.map(|index| Some(index + 1));
    assert_eq!(partitions_of(server.data_dir(), "t", partitions, &VALUES), expected);

    // After a restart, the same values go where they went.
    let server = server.restart();
    let mut client = server.client();
    for value in VALUES {
        let reply = client.call(&[&b"XADD"[..], b"t", b"*", b"truck", value]);
        assert!(!reply.is_error(""), "{reply:?}");
    }
    assert_eq!(client.run("XLEN t").int(), 16);
    assert_eq!(partitions_of(server.data_dir(), "t", partitions, &VALUES), expected);

    // Without the field, they go round-robin and are counted.
    for _ in 0..partitions {
        client.run("XADD t * other x");
    }
    let described = client.run("TOPIC DESCRIBE t");
    assert_eq!(described.get("unkeyed_events").int(), i64::from(partitions));
    assert_eq!(described.get("length").int(), 16 + i64::from(partitions));
}

/// XXH3 by python-xxhash 3 (xxHash 0.8.2), then the C++ of the paper's figure 1.
#[test]
fn jump() {
    let create = ["PARTITIONER", "jump", "OPTION", "partition_key", "truck"];
    land(with("jump", ""), 10, &create, [0, 6, 3, 5, 1, 5, 9, 3]);
}

/// python-xxhash 3 and mpmath, by the formula `-w / ln(h)`.
#[test]
fn rendezvous() {
    let create = ["PARTITIONER", "rendezvous", "OPTION", "partition_key", "truck"];
    land(with("rendezvous", ""), 10, &create, [4, 7, 1, 1, 6, 4, 3, 0]);
}

#[test]
fn weighted_rendezvous() {
    let create =
        ["PARTITIONER", "rendezvous", "OPTION", "partition_key", "truck", "OPTION", "weights", "[1,2,3,4]"];
    land(with("rendezvous", ""), 4, &create, [3, 3, 1, 1, 3, 3, 3, 0]);
}

/// What is wrong with an option is said when the topic is made, and no topic is made.
#[test]
fn options_that_do_not_fit() {
    for (strategy, options, part) in [
        ("jump", "", "partition_key"),
        ("jump", "OPTION partition_key truck OPTION seed 7", "seed"),
        ("rendezvous", "OPTION partition_key truck OPTION weights [1,2]", "'weights': found 2"),
        ("rendezvous", "OPTION partition_key truck OPTION weights [0,0,0]", "'weights': found 0 for all"),
        ("rendezvous", "OPTION partition_key truck OPTION weights [1,-1,1]", "'weights': found -1"),
        ("sticky", "OPTION partition_key 7", "partition_key"),
    ] {
        let server = with(strategy, "").brokers(3).start();
        let mut client = server.client();
        let reply = client.run(&format!("TOPIC CREATE t PARTITIONER {strategy} {options}"));
        assert!(reply.error().contains(part), "{options}: {reply:?}");
        assert_eq!(client.run("EXISTS t").int(), 0);
    }
}
