//! The strategy `geo`: labels stand where the table says.

use wafka_tests::Reply;

use crate::support::{lengths, partitions_of, with};

/// Names of labels are kept as they are: letters in both cases, dots.
const TABLE: &str = "[topics.orders]\npartitions = 3\npartitioner = \"geo\"\npartition_key = \"region\"\n\
                     labels = { \"eu\" = 1, \"EU\" = 2, \"shop.example\" = 3, \"ca\" = 1 }\n";

#[test]
fn labels_stand_where_the_table_says() {
    let server = with("geo", TABLE).brokers(3).start();
    let mut client = server.client();
    let labels: [&[u8]; 4] = [b"eu", b"EU", b"shop.example", b"ca"];
    for _ in 0..3 {
        for label in labels {
            client.call(&[&b"XADD"[..], b"orders", b"*", b"region", label]);
        }
    }
    assert_eq!(partitions_of(server.data_dir(), "orders", 3, &labels), [Some(1), Some(2), Some(3), Some(1)]);
    assert_eq!(lengths(&mut client, "orders", 3), [6, 3, 3]);

    // What belongs nowhere is refused, with the label and the field.
    for (event, parts) in [("region cn", ["'cn'", "region"]), ("price 5", ["no field", "region"])] {
        let reply = client.run(&format!("XADD orders * {event}"));
        assert!(matches!(reply, Reply::Error(_)), "{event}: {reply:?}");
        for part in parts {
            assert!(reply.error().contains(part), "{event}: {reply:?}");
        }
    }
    assert_eq!(client.run("XLEN orders").int(), 12);
    // Unless the producer says where.
    assert!(!client.run("XADD orders#2 * region cn").is_error(""));
}

#[test]
fn unknown_labels_can_have_a_place() {
    let server = with("geo", "").brokers(2).start();
    let mut client = server.client();
    let create = |topic: &'static str, unknown: &'static str| {
        let mut words = vec!["TOPIC", "CREATE", topic, "PARTITIONER", "geo", "OPTION", "partition_key"];
        words.extend(["region", "OPTION", "labels", r#"{"eu":1}"#, "OPTION", "unknown", unknown]);
        words
    };
    assert_eq!(client.call(&create("spread", "round-robin")).text(), "OK");
    assert_eq!(client.call(&create("second", "2")).text(), "OK");
    for topic in ["spread", "second"] {
        for event in ["region eu", "region eu", "region cn", "price 5", "region us", "region eu"] {
            let reply = client.run(&format!("XADD {topic} * {event}"));
            assert!(!reply.is_error(""), "{event}: {reply:?}");
        }
    }
    assert_eq!(lengths(&mut client, "second", 2), [3, 3]);
    let unkeyed = |reply: &Reply| reply.get("unkeyed_events").int();
    assert_eq!(unkeyed(&client.run("TOPIC DESCRIBE second")), 0);
    assert_eq!(unkeyed(&client.run("TOPIC DESCRIBE spread")), 3);
    // Three of a label, and three in turn.
    assert_eq!(lengths(&mut client, "spread", 2), [5, 1]);
}

#[test]
fn a_table_that_names_no_partition_of_the_topic_is_refused() {
    let server = with("geo", "").brokers(2).start();
    let mut client = server.client();
    let mut words = vec!["TOPIC", "CREATE", "t", "PARTITIONER", "geo", "OPTION", "partition_key", "region"];
    words.extend(["OPTION", "labels", r#"{"eu":1,"us":3}"#]);
    let reply = client.call(&words);
    for part in ["labels", "partition 3", "'us'", "expected 1 to 2"] {
        assert!(reply.error().contains(part), "{reply:?}");
    }
    assert_eq!(client.run("EXISTS t").int(), 0);

    // Nor does a server start with such a topic in its configuration.
    let failure = with("geo", TABLE).set("topics.orders.partitions", "2").brokers(2).start_refused();
    for part in ["orders", "labels", "partition 3", "'shop.example'"] {
        assert!(failure.stderr.contains(part), "{failure}");
    }

    // A table can be altered, within the same bounds.
    words.pop();
    words.push(r#"{"eu":1}"#);
    assert_eq!(client.call(&words).text(), "OK");
    let alter = |labels: &'static str| ["TOPIC", "ALTER", "t", "OPTION", "labels", labels];
    assert!(client.call(&alter(r#"{"eu":1,"us":9}"#)).error().contains("partition 9"));
    assert_eq!(client.call(&alter(r#"{"eu":1,"us":2}"#)).text(), "OK");
    client.run("XADD t * region us");
    assert_eq!(lengths(&mut client, "t", 2), [0, 1]);
}
