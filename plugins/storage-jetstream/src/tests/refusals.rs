//! What is refused, and what is said then.

use std::path::Path;

use bytes::Bytes;
use serde_json::json;
use wafka_core::storage::StorageError;
use wafka_storage::conformance::line_of;

use super::cluster::Cluster;
use super::*;
use crate::segments::{Cut, Segment};
use crate::{Login, Options};

/// The option that is refused, and why.
#[track_caller]
fn refused(options: Options) -> (String, String) {
    match crate::open(Path::new(""), options).map(|_| ()) {
        Err(StorageError::BadOption { option, expected, .. }) => (option, expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn options_are_checked() {
    let defaults = Options::default;
    for (option, options) in [
        ("servers", Options { servers: vec![], ..defaults() }),
        ("prefix", Options { prefix: "a.b".into(), ..defaults() }),
        ("prefix", Options { prefix: String::new(), ..defaults() }),
        ("replicas", Options { replicas: 2, ..defaults() }),
        ("give_up_ms", Options { give_up_ms: 0, ..defaults() }),
        ("publish_timeout_ms", Options { publish_timeout_ms: 99, ..defaults() }),
        ("give_up_ms", Options { give_up_ms: 1999, ..defaults() }),
        ("request_timeout_ms", Options { request_timeout_ms: 1999, ..defaults() }),
        ("login", Options { login: Login { user: Some("a".into()), ..Login::default() }, ..defaults() }),
    ] {
        let (found, expected) = refused(options);
        assert!(found == option && expected.contains("expected"), "{found}: {expected}");
    }
    let unknown = serde_json::from_value::<Options>(json!({ "replica": 3 }));
    assert!(unknown.expect_err("an unknown key").to_string().contains("replica"));
    let shown = format!("{:?}", Login { password: Some("secret".into()), ..Login::default() });
    assert!(!shown.contains("secret"), "{shown}");
    let servers = ["nats://user:secret@a:1", "nats://secret@b:2", "tls://user:sec@ret@c:3", "d:4"];
    let servers = servers.map(str::to_owned).to_vec();
    let shown = format!("{:?}", Options { servers, ..defaults() });
    assert!(!shown.contains("secret") && !shown.contains("sec@"), "{shown}");
    assert!(shown.contains(r#"["a:1", "b:2", "c:3", "d:4"]"#), "{shown}");
}

/// Right after its start a server of several may not know yet how many there are, and no leader who does.
#[test]
fn a_server_that_knows_none_of_the_others_is_not_most_of_them() {
    let config = wafka_test_nats::Config { servers: 3, ..wafka_test_nats::Config::one() };
    let mut cluster = Cluster::configured(&config);
    cluster.launch(0);
    let begun = Instant::now();
    let error = loop {
        let options = Options { servers: vec![cluster.addresses()[0].clone()], ..cluster.options() };
        match crate::open(Path::new(""), options).map(|_| ()) {
            Err(error) if error.to_string().contains("connect") => {
                assert!(begun.elapsed() < PATIENCE, "{error}");
            }
            refused => break refused.expect_err("it is one of three").to_string(),
        }
    };
    assert!(error.contains("only 1 of 3 servers"), "{error}");
}

#[test]
fn servers_that_do_not_sync_are_refused_unless_that_is_accepted() {
    let cluster = Cluster::start(1, false);
    let (option, expected) = refused(cluster.options());
    assert_eq!(option, "servers");
    assert!(expected.contains("sync_interval: always") && expected.contains("n0 has it not"), "{expected}");
    let nobody = Options { system_login: None, ..cluster.options() };
    let (option, expected) = refused(nobody.clone());
    assert_eq!(option, "system_login");
    assert!(expected.contains("accept_unsynced_loss"), "{expected}");
    // Whoever is not of the system account learns nothing.
    let stranger = Options { system_login: Some(cluster.options().login), ..cluster.options() };
    assert_eq!(refused(stranger).0, "system_login");
    crate::open(Path::new(""), Options { accept_unsynced_loss: true, ..nobody })
        .expect("the risk is accepted");
}

#[test]
fn a_server_that_is_not_there_is_told_in_bounded_time() {
    let servers = vec!["nats://user:secret@127.0.0.1:1".into()];
    let options = Options { servers, accept_unsynced_loss: true, ..Options::default() };
    let refused = crate::open(Path::new(""), options).map(|_| ());
    let Err(error @ StorageError::Io { .. }) = refused else { panic!("{refused:?}") };
    let error = error.to_string();
    assert!(error.contains("127.0.0.1:1: connect") && !error.contains("secret"), "{error}");
}

#[test]
fn a_message_that_is_kept_is_not_taken_for_removed() {
    for cluster in [Cluster::start(1, true), Cluster::three()] {
        let storage = cluster.open(&prefix());
        let mut shard = shard(&storage);
        let slot = create(&mut *shard, "a-1").slot;
        append(&mut *shard, slot, 0, 5);
        assert!(sync(&mut *shard).is_empty());
        let (home, api) = (storage.home(), storage.home().api());
        let stream = home.logs.lock()[&log("a-1")].stream.clone();
        let remove = |sequence| home.block_on(api.remove(&stream, sequence));
        for sequence in [2, 2, 5, 5, 1, 1, 1000] {
            remove(sequence).unwrap_or_else(|error| panic!("message {sequence}: {error}"));
        }
        home.block_on(api.agree(&stream)).expect("a majority");
        let subjects = [format!("{}.*", home.directory.subject_of(&stream))];
        let config = json!({ "name": stream, "subjects": subjects, "num_replicas": cluster.replicas(),
            "allow_atomic": true, "storage": "file", "retention": "limits", "discard": "new", "deny_delete": true });
        home.block_on(api.update_stream(&stream, &config)).expect("update");
        let refused = remove(3).expect_err("it may not be removed");
        assert!(refused.to_string().contains("not permitted"), "{refused}");
        home.block_on(api.agree(&stream)).expect_err("nobody was asked");
    }
}

#[test]
fn what_does_not_fit_or_was_tampered_with_is_told() {
    let cluster = Cluster::start(1, true);
    let prefix = prefix();
    let storage = cluster.open(&prefix);
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    append(&mut *shard, opened.slot, 0, 3);
    // A line that is too long for the servers says so, and others go on.
    let long = line_of(3, 16 << 20);
    let refused = shard.append(opened.slot, Batch { first_offset: 3, lines: 1, bytes: &long });
    let Err(error @ StorageError::Io { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("max_payload"), "{error}");
    append(&mut *shard, opened.slot, 3, 6);
    assert!(sync(&mut *shard).is_empty());
    assert_holds(&*opened.reader, 0..6);

    // A cut of a writer that has long ended arrives: acknowledged lines are not given up for it.
    let home = storage.home();
    let stream = home.logs.lock()[&log("a-1")].stream.clone();
    let segments = vec![Segment { sequence: 1, offset: 0 }, Segment { sequence: 8, offset: 4 }];
    let cut = Cut { segments, base: 4, epoch: 0, owner: "o".into(), writer: "another".into() };
    let body = Bytes::from(serde_json::to_vec(&cut).expect("JSON"));
    let subject = format!("{}.cut", home.directory.subject_of(&stream));
    home.block_on(home.api().publish_behind(subject, 6, body)).expect("publish");
    shard.close(opened.slot);
    let damaged = shard.open(&log("a-1"), OpenRequest::default()).map(|_| ());
    let Err(error @ StorageError::Damaged { .. }) = damaged else { panic!("{damaged:?}") };
    assert!(error.to_string().contains("late"), "{error}");

    // Somebody gave the stream a limit by which lines would go.
    let slot = create(&mut *shard, "b-1").slot;
    append(&mut *shard, slot, 0, 2);
    assert!(sync(&mut *shard).is_empty());
    shard.close(slot);
    let stream = home.logs.lock()[&log("b-1")].stream.clone();
    let subjects = [format!("{}.*", home.directory.subject_of(&stream))];
    let config = json!({ "name": stream, "subjects": subjects, "num_replicas": 1, "max_msgs": 1,
        "storage": "file", "retention": "limits", "discard": "new" });
    home.block_on(home.api().update_stream(&stream, &config)).expect("update");
    let damaged = shard.open(&log("b-1"), OpenRequest::default()).map(|_| ());
    let Err(error @ StorageError::Damaged { .. }) = damaged else { panic!("{damaged:?}") };
    assert!(error.to_string().contains("max_msgs = 1"), "{error}");
}

/// By a limit of age the engine would forget which stream holds which log.
#[test]
fn names_that_are_forgotten_are_refused() {
    let cluster = Cluster::start(1, true);
    let prefix = prefix();
    let storage = cluster.open(&prefix);
    let home = storage.home();
    let tenure = home.tenure("the names").expect("it has the lease");
    assert!(home.block_on(home.directory.take_over(&tenure)).is_ok());
    let name = format!("{prefix}-names");
    let config = json!({ "name": name, "subjects": [format!("{prefix}.names.*")], "num_replicas": 1,
        "max_msgs_per_subject": 1, "max_age": 3_600_000_000_000_u64, "storage": "file", "retention": "limits",
        "discard": "new", "allow_atomic": true });
    home.block_on(home.api().update_stream(&name, &config)).expect("update");
    let refused = home.block_on(home.directory.take_over(&tenure)).expect_err("it has a limit of age");
    let error = refused.to_string();
    assert!(error.contains(&name) && error.contains("max_age"), "{error}");
}
