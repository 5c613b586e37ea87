//! The strategy `sticky`: what is committed together stands together.

use wafka_tests::Client;
use wafka_tests::client::encode;

use crate::support::{lengths, with};

fn pipeline(client: &mut Client, args: &[&str], events: usize) {
    let mut bytes = Vec::new();
    for _ in 0..events {
        encode(&mut bytes, args);
    }
    client.send_raw(&bytes);
    for _ in 0..events {
        let reply = client.reply();
        assert!(!reply.is_error(""), "{reply:?}");
    }
}

#[test]
fn a_pipeline_stays_together_and_the_next_goes_to_the_next_partition() {
    let server = with("sticky", "[topics.t]\npartitioner = \"sticky\"\n").brokers(3).start();
    let mut client = server.client();
    let mut expected = vec![0; 3];
    for window in 0..9 {
        pipeline(&mut client, &["XADD", "t", "*", "f", "v"], 20);
        expected[window % 3] += 20;
        assert_eq!(lengths(&mut client, "t", 3), expected, "window {window}");
    }
    // Windows of one event each: as round-robin.
    for _ in 0..6 {
        client.run("XADD t * f v");
    }
    assert_eq!(lengths(&mut client, "t", 3), [62, 62, 62]);
    assert_eq!(client.run("TOPIC DESCRIBE t").get("unkeyed_events").int(), 0);
}

/// As in Kafka's producer: murmur2 of the key, from its `UtilsTest`, or the open batch.
#[test]
fn events_with_a_key_go_where_kafka_puts_them() {
    let server = with("sticky", "").brokers(4).start();
    let mut client = server.client();
    client.run("TOPIC CREATE t PARTITIONER sticky OPTION partition_key truck");
    let of_21 = usize::try_from((-973_932_308_i32 as u32 & 0x7fff_ffff) % 4).unwrap();
    for _ in 0..8 {
        client.run("XADD t * truck 21");
    }
    let mut expected = vec![0; 4];
    expected[of_21] = 8;
    assert_eq!(lengths(&mut client, "t", 4), expected);
    for _ in 0..4 {
        pipeline(&mut client, &["XADD", "t", "*", "f", "v"], 10);
    }
    let all = lengths(&mut client, "t", 4);
    assert_eq!(all, expected.iter().map(|n| n + 10).collect::<Vec<_>>());
}

/// Events with a key open batches where the last one without a key went: that does not keep the next one there.
#[test]
fn events_with_a_key_in_the_same_windows_keep_nothing_in_place() {
    let server = with("sticky", "").brokers(4).start();
    let mut client = server.client();
    client.run("TOPIC CREATE t PARTITIONER sticky OPTION partition_key truck");
    let mut both = Vec::new();
    encode(&mut both, &["XADD", "t", "*", "truck", "21"]);
    encode(&mut both, &["XADD", "t", "*", "f", "v"]);
    for _ in 0..40 {
        client.send_raw(&both);
        for _ in 0..2 {
            let reply = client.reply();
            assert!(!reply.is_error(""), "{reply:?}");
        }
    }
    let mut all = lengths(&mut client, "t", 4);
    all.sort_unstable();
    assert_eq!(all, [10, 10, 10, 50]);
}
