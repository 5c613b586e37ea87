//! Data of earlier builds.

use bytes::Bytes;
use serde_json::json;

use super::cluster::Cluster;
use super::*;
use crate::api::NewStream;

/// Earlier builds gave streams names of 32 digits, and had the whole name in their subjects.
#[test]
fn a_log_of_a_build_with_long_subjects_is_taken_over() {
    let cluster = Cluster::start(1, true);
    let prefix = prefix();
    let before = cluster.open(&prefix);
    create(&mut *shard(&before), "b-1");
    let stream = format!("{prefix}-187ad3f2904be1c05f60718293a4b5c6");
    let subject = format!("{prefix}.log.{stream}");
    let api = before.home().api();
    before.home().block_on(async {
        let subjects = [format!("{subject}.*")];
        let config = NewStream {
            name: &stream,
            subjects: &subjects,
            num_replicas: cluster.replicas(),
            max_msgs_per_subject: -1,
            allow_direct: true,
            metadata: json!({ "wafka": "0/a-1" }),
        };
        api.make_stream(&stream, &config.config()).await.expect("a stream");
        for offset in 0..10 {
            let line = Bytes::from(lines_of(offset..offset + 1));
            api.publish_behind(format!("{subject}.line"), offset, line).await.expect("a line");
        }
        let names = api.stream(&format!("{prefix}-names")).await.expect("an answer").expect("the names");
        let record = json!({ "database": 0, "stem": "a-1", "stream": stream, "stage": "made", "epoch": 1 });
        let record = Bytes::from(record.to_string());
        api.publish_behind(format!("{prefix}.names.0-a-1"), names.state.last_seq, record)
            .await
            .expect("a record");
    });
    drop(before);
    for end in [10, 15] {
        let storage = cluster.open(&prefix);
        let mut shard = shard(&storage);
        let opened = shard.open(&log("a-1"), OpenRequest::default()).expect("the log");
        assert_eq!((opened.first.offset, opened.end.offset), (0, end));
        append(&mut *shard, opened.slot, end, end + 5);
        assert!(sync(&mut *shard).is_empty());
        assert_holds(&*opened.reader, 0..end + 5);
    }
}
