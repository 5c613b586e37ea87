//! Lines go straight to the server that leads their log's stream, and arrive however that turns out.

use futures_util::StreamExt as _;
use wafka_test_nats::{Config, USER};

use super::cluster::Cluster;
use super::failures::{Load, assert_kept, stream};
use super::*;
use crate::Options;

/// Lines of one append.
const SOME: u64 = 20;
/// How often a connection is cut under load.
const CUTS: usize = 10;
/// How long something that was buffered may take until it is sent.
const LATE: Duration = Duration::from_secs(30);

fn name(node: usize) -> String {
    format!("n{node}")
}

/// The server that lines of a stream go straight to, if there is one.
fn goes_to(storage: &JetStreamStorage, stream: &str) -> Option<String> {
    let wires = &storage.home().sender.wires;
    let wire = wires.to(stream);
    (!std::ptr::eq(wire, &wires.main)).then(|| wire.client.server_info().server_name)
}

/// Waits until lines go straight to the leader, and sees to it that they do.
#[track_caller]
fn assert_goes_to_leader(
    cluster: &Cluster,
    storage: &JetStreamStorage,
    shard: &mut dyn Shard,
    slot: LogSlot,
    end: &mut Offset,
) {
    let stream = stream(storage);
    let begun = Instant::now();
    loop {
        let leader = name(cluster.leader(&stream).expect("a leader"));
        let goes_to = goes_to(storage, &stream);
        let wire = storage.home().sender.wires.to(&stream);
        if goes_to.as_ref() == Some(&leader) {
            let sent = || wire.client.statistics().out_messages.load(Ordering::Relaxed);
            let before = sent();
            append_synced(shard, slot, end);
            if sent() >= before + SOME {
                return;
            }
        }
        assert!(begun.elapsed() < PATIENCE, "{leader} leads, lines go to {goes_to:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn append_synced(shard: &mut dyn Shard, slot: LogSlot, end: &mut Offset) {
    append(shard, slot, *end, *end + SOME);
    *end += SOME;
    let failures = sync(shard);
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn lines_go_to_the_leader_whoever_that_becomes() {
    let mut cluster = Cluster::three();
    let storage = cluster.open(&prefix());
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    let (slot, stream, mut end) = (opened.slot, stream(&storage), 0);
    assert_goes_to_leader(&cluster, &storage, &mut *shard, slot, &mut end);
    let leader = goes_to(&storage, &stream);
    let step_down = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
    let begun = Instant::now();
    // Nobody sends meanwhile: that there is another one was heard.
    while goes_to(&storage, &stream) == leader {
        let _answer = cluster.ask(USER, &step_down, "");
        assert!(begun.elapsed() < PATIENCE, "{leader:?} leads for ever");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_goes_to_leader(&cluster, &storage, &mut *shard, slot, &mut end);
    let leader = cluster.leader(&stream).expect("a leader");
    cluster.kill(leader);
    append_synced(&mut *shard, slot, &mut end);
    assert_goes_to_leader(&cluster, &storage, &mut *shard, slot, &mut end);
    cluster.launch(leader);
    cluster.wait_until_whole(std::slice::from_ref(&stream)).expect("servers that catch up");
    assert_goes_to_leader(&cluster, &storage, &mut *shard, slot, &mut end);
    assert_holds(&*opened.reader, 0..end);
}

#[test]
fn the_leader_is_the_only_one_that_has_a_log_or_there_is_only_one_server() {
    let cluster = Cluster::three();
    let options = Options { prefix: prefix(), replicas: 1, ..cluster.options() };
    let storage = crate::open("".as_ref(), options).expect("open");
    own_as(&storage, "test");
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    let mut end = 0;
    assert_goes_to_leader(&cluster, &storage, &mut *shard, opened.slot, &mut end);
    let cluster = Cluster::start(1, true);
    assert!(!cluster.open(&prefix()).home().sender.wires.is_choice());
}

/// Who may not hear of elections learns of them when something is not acknowledged. The rest is what the documentation says.
#[test]
fn an_account_that_hears_of_no_elections_goes_on() {
    let prefix = prefix();
    let publish = format!(r#"["$JS.API.>", "{prefix}.>", "$KV.{prefix}-lease.>"]"#);
    let permissions = Some(format!(r#"{{ publish: {publish}, subscribe: ["_INBOX.>"] }}"#));
    let mut cluster = Cluster::start_as(Config { permissions, ..Config::three() });
    let storage = cluster.open(&prefix);
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    let (slot, stream, mut end) = (opened.slot, stream(&storage), 0);
    assert_goes_to_leader(&cluster, &storage, &mut *shard, slot, &mut end);
    let _answer = cluster.ask(USER, &format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}"), "");
    append_synced(&mut *shard, slot, &mut end);
    let leader = cluster.leader(&stream).expect("a leader");
    cluster.kill(leader);
    append_synced(&mut *shard, slot, &mut end);
    cluster.launch(leader);
    append_synced(&mut *shard, slot, &mut end);
    assert_holds(&*opened.reader, 0..end);
}

#[test]
fn an_address_where_nobody_listens_changes_nothing() {
    let cluster = Cluster::three();
    let mut options = Options { prefix: prefix(), ..cluster.options() };
    options.servers.extend(["127.0.0.1:1".into(), "no-such-host.invalid:4222".into()]);
    let storage = crate::open("".as_ref(), options).expect("open");
    own_as(&storage, "test");
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    let mut end = 0;
    assert_goes_to_leader(&cluster, &storage, &mut *shard, opened.slot, &mut end);
    drop((shard, opened));
    let begun = Instant::now();
    drop(storage);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// A leader that falls asleep with lines in its sockets: they are sent again to its successor, and what it does with them
/// when it wakes counts for nothing.
#[test]
fn a_leader_that_sleeps_is_not_waited_for() {
    let mut cluster = Cluster::three();
    let prefix = prefix();
    let storage = cluster.open(&prefix);
    let load = Load::start(shard(&storage));
    load.goes_on();
    for _ in 0..2 {
        let stream = stream(&storage);
        cluster.wait_until_whole(std::slice::from_ref(&stream)).expect("servers that catch up");
        let leader = cluster.leader(&stream).expect("a leader");
        cluster.stop(leader);
        load.goes_on();
        cluster.resume(leader);
        load.goes_on();
    }
    let told = load.end();
    assert_eq!(told.failures, 0, "there was another leader in time");
    drop(storage);
    assert_kept(&cluster, &prefix, &told);
}

/// Connections end in the middle of batches, and what they still had comes late.
#[test]
fn a_connection_that_ends_now_and_then_loses_and_doubles_nothing() {
    let cluster = Cluster::three();
    let prefix = prefix();
    let storage = cluster.open(&prefix);
    let load = Load::start(shard(&storage));
    load.goes_on();
    let stream = stream(&storage);
    for _ in 0..CUTS {
        let wire = storage.home().sender.wires.to(&stream);
        storage.home().block_on(wire.client.force_reconnect()).expect("a connection");
        load.goes_on();
    }
    let told = load.end();
    assert_eq!(told.failures, 0);
    drop(storage);
    assert_kept(&cluster, &prefix, &told);
}

/// A server that is held for the leader falls asleep with a batch. The lines go to another one although the connection looks
/// alive; when the server wakes it sends them on, and they are refused.
#[test]
fn what_is_sent_again_over_another_connection_stands_once() {
    let mut cluster = Cluster::three();
    let prefix = prefix();
    let storage = cluster.open(&prefix);
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    let (home, stream, mut end) = (storage.home(), stream(&storage), 0);
    assert_goes_to_leader(&cluster, &storage, &mut *shard, opened.slot, &mut end);
    let main = home.sender.wires.main.client.server_info().server_name;
    let leader = cluster.leader(&stream).expect("a leader");
    let sleeper =
        (0..cluster.len()).find(|node| *node != leader && name(*node) != main).expect("one of three");
    home.sender.wires.leads(&stream, Some(&name(sleeper)));
    let begun = Instant::now();
    while goes_to(&storage, &stream) != Some(name(sleeper)) {
        assert!(begun.elapsed() < PATIENCE, "there is no connection to server {sleeper}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let inbox = home.sender.wires.to(&stream).inbox.clone();
    let witness = Options { servers: vec![cluster.addresses()[leader].clone()], ..home.options().clone() };
    let mut answers = home.block_on(async {
        let client = crate::connect::connect(&witness, &witness.login).await.expect("connect");
        let answers = client.subscribe(format!("{inbox}.*")).await.expect("subscribe");
        client.flush().await.expect("flush");
        answers
    });
    cluster.stop(sleeper);
    let from = end;
    append_synced(&mut *shard, opened.slot, &mut end);
    assert_ne!(goes_to(&storage, &stream), Some(name(sleeper)));
    append_synced(&mut *shard, opened.slot, &mut end);
    cluster.resume(sleeper);
    let token = format!("-{from:x}-{SOME:x}");
    let refused = async {
        while let Some(answer) = answers.next().await {
            if answer.subject.ends_with(&token) {
                let text = String::from_utf8_lossy(&answer.payload).into_owned();
                assert!(text.contains("\"err_code\":10071"), "{text}");
                return;
            }
        }
        panic!("the subscription ended");
    };
    let came = home.block_on(async { tokio::time::timeout(LATE, refused).await });
    assert!(came.is_ok(), "the server that slept never sends the batch on");
    append_synced(&mut *shard, opened.slot, &mut end);
    assert_holds(&*opened.reader, 0..end);
    let info = home.block_on(home.api().stream(&stream)).expect("an answer").expect("the stream");
    assert_eq!((info.state.messages, info.state.last_seq), (end, end));
}
