//! Atomic batches: where they are used, and that one whose fate is unknown is there once or not at all.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::json;
use wafka_storage::conformance::line_of;
use wafka_test_nats::USER;

use super::cluster::Cluster;
use super::*;
use crate::{JetStreamStorage, Options};

/// The longest that anything may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// So long a server that was woken up has to send on what it had.
const LATE: Duration = Duration::from_secs(5);

/// How many batches were sent since `before` of them.
fn batches_since(storage: &JetStreamStorage, before: u64) -> u64 {
    storage.home().sender.next_batch.load(Ordering::Relaxed).wrapping_sub(before)
}

fn open(cluster: &Cluster, prefix: &str, publish_timeout_ms: u32, give_up_ms: u32) -> JetStreamStorage {
    let options = Options { prefix: prefix.into(), publish_timeout_ms, give_up_ms, ..cluster.options() };
    let storage = crate::open("".as_ref(), options).expect("open");
    own_as(&storage, "test");
    storage
}

#[test]
fn many_lines_go_as_batches_where_the_stream_takes_them() {
    let cluster = Cluster::start(1, true);
    let prefix = prefix();
    let storage = open(&cluster, &prefix, 5000, 30_000);
    let before = batches_since(&storage, 0);
    let mut first = shard(&storage);
    let opened = create(&mut *first, "a-1");
    let mut end = 0;
    for (lines, batches) in [(7, 0), (8, 1), (1000, 2), (2500, 5)] {
        append(&mut *first, opened.slot, end, end + lines);
        assert!(sync(&mut *first).is_empty());
        end += lines;
        assert_eq!(batches_since(&storage, before), batches, "after {end} lines");
    }
    assert_holds(&*opened.reader, 0..end);

    // The stream takes none any longer: that is found out, and all goes on without.
    let home = storage.home();
    let stream = home.logs.lock()[&log("a-1")].stream.clone();
    let subjects = [format!("{}.*", home.directory.subject_of(&stream))];
    let config = json!({ "name": stream, "subjects": subjects, "num_replicas": 1, "storage": "file",
        "retention": "limits", "discard": "new" });
    home.block_on(home.api().update_stream(&stream, &config)).expect("update");
    for batches in [6, 6] {
        append(&mut *first, opened.slot, end, end + 50);
        assert!(sync(&mut *first).is_empty());
        end += 50;
        assert_eq!(batches_since(&storage, before), batches, "after {end} lines");
    }
    drop((first, opened));
    drop(storage);
    let storage = open(&cluster, &prefix, 5000, 30_000);
    let before = batches_since(&storage, 0);
    let mut second = shard(&storage);
    let opened = create(&mut *second, "a-1");
    append(&mut *second, opened.slot, end, end + 50);
    assert!(sync(&mut *second).is_empty());
    assert_eq!(batches_since(&storage, before), 0);
    assert_holds(&*opened.reader, 0..end + 50);
}

/// No answer ever comes: what was sent is looked up, and not sent again.
#[test]
fn a_batch_whose_answer_is_lost_is_there_once() {
    let cluster = Cluster::start(1, true);
    let storage = open(&cluster, &prefix(), 400, 60_000);
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    let home = storage.home();
    let log = home.logs.lock()[&log("a-1")].clone();
    home.forget(&log);
    let before = batches_since(&storage, 0);
    let mut end = 0;
    for (lines, batches) in [(300, 1), (2500, 4)] {
        append(&mut *shard, opened.slot, end, end + lines);
        assert!(sync(&mut *shard).is_empty());
        end += lines;
        assert!(batches_since(&storage, before) >= batches);
    }
    assert_holds(&*opened.reader, 0..end);
    // Nothing stands there twice: the sequences have no gap.
    let last = home.block_on(home.api().stream(&log.stream)).expect("an answer").expect("a stream");
    assert_eq!((last.state.messages, last.state.last_seq), (end, end));
}

/// What was acknowledged is, whatever fails behind it; and what has ended is begun again when the log is reopened.
#[test]
fn a_writer_that_ended_is_replaced() {
    let cluster = Cluster::start(1, true);
    let storage = cluster.open(&prefix());
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    append(&mut *shard, opened.slot, 0, 20);
    let log = storage.home().logs.lock()[&log("a-1")].clone();
    log.wait_acked(0, 20, PATIENCE).expect("it is acknowledged");
    log.state.lock().open = false;
    log.work.notify_one();
    let begun = Instant::now();
    while log.state.lock().writing {
        assert!(begun.elapsed() < PATIENCE, "it goes on");
        std::thread::yield_now();
    }
    log.state.lock().open = true;
    log.poison(Poison::Failed("what writes the log has ended".into()));
    log.wait_acked(0, 20, PATIENCE).expect("it was acknowledged");
    log.wait_acked(0, 21, PATIENCE).expect_err("nobody writes it");
    shard.reopen(opened.slot, Cursor::at_offset(20)).expect("reopen");
    append(&mut *shard, opened.slot, 20, 40);
    assert!(sync(&mut *shard).is_empty());
    assert_holds(&*opened.reader, 0..40);
}

/// How often it is tried to send something that is under way for long: a connection may be lost at the wrong moment.
const ATTEMPTS: u64 = 8;

/// A server sleeps with a batch in its sockets, and sends it on when the log was cut and is written to again.
#[test]
fn a_batch_that_comes_late_is_refused() {
    let mut cluster = Cluster::three();
    let prefix = prefix();
    let options = Options {
        prefix: prefix.clone(),
        // By one address alone: what goes over it is handed on.
        servers: vec![cluster.addresses()[0].clone()],
        publish_timeout_ms: 200,
        give_up_ms: 600,
        request_timeout_ms: 1500,
        ..cluster.options()
    };
    let storage = crate::open("".as_ref(), options).expect("open");
    own_as(&storage, "test");
    let mut shard = shard(&storage);
    let slot = create(&mut *shard, "a-1").slot;
    let mut lines = Vec::new();
    let refused = (0..ATTEMPTS)
        .any(|attempt| send_late(&mut cluster, &storage, &mut *shard, slot, &mut lines, attempt));
    assert!(refused, "the server that slept never sends the batch on");
    drop(shard);
    drop(storage);
    let storage = cluster.open(&prefix);
    let opened = create(&mut *super::shard(&storage), "a-1");
    assert_eq!(read_all(&*opened.reader), lines.concat());
}

/// Appends until it succeeds, and reopens the log whenever it does not.
fn append_for_good(shard: &mut dyn Shard, slot: LogSlot, lines: &mut Vec<Vec<u8>>, some: u64, attempt: u64) {
    let first_offset = lines.len() as u64;
    let new: Vec<Vec<u8>> =
        (first_offset..first_offset + some).map(|offset| line_of(offset, attempt as usize)).collect();
    let begun = Instant::now();
    loop {
        let batch = Batch { first_offset, lines: some, bytes: &new.concat() };
        if shard.append(slot, batch).is_ok() && sync(shard).is_empty() {
            lines.extend(new);
            return;
        }
        while let Err(error) = shard.reopen(slot, Cursor::at_offset(first_offset)) {
            assert!(begun.elapsed() < PATIENCE, "{error}");
        }
    }
}

/// Has a server that does not lead the log sleep with a batch and appends something else in its place. Whether the batch
/// then came, and was refused.
fn send_late(
    cluster: &mut Cluster,
    storage: &JetStreamStorage,
    shard: &mut dyn Shard,
    slot: LogSlot,
    lines: &mut Vec<Vec<u8>>,
    attempt: u64,
) -> bool {
    let home = storage.home();
    append_for_good(shard, slot, lines, 20, 2 * attempt);
    let stream = home.logs.lock()[&log("a-1")].stream.clone();
    let sleeper = home.sender.wires.main.client.server_info().server_name;
    let sleeper: usize = sleeper.trim_start_matches('n').parse().expect("a server's number");
    let begun = Instant::now();
    let leader = loop {
        match cluster.leader(&stream) {
            Ok(leader) if leader != sleeper => break leader,
            _ => assert!(begun.elapsed() < PATIENCE, "server {sleeper} leads for ever"),
        }
        let stand_down = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
        // Who leads is asked again in any case.
        let _answer = cluster.ask(USER, &stand_down, "");
    };
    let witness = Options { servers: vec![cluster.addresses()[leader].clone()], ..home.options().clone() };
    let mut answers = home.block_on(async {
        let client = crate::connect::connect(&witness, &witness.login).await.expect("connect");
        let answers =
            client.subscribe(format!("{}.*", home.sender.wires.main.inbox)).await.expect("subscribe");
        client.flush().await.expect("flush");
        answers
    });
    cluster.stop(sleeper);
    let (end, before) = (lines.len() as u64, batches_since(storage, 0));
    append(shard, slot, end, end + 40);
    if sync(shard).is_empty() {
        // The connection was another one by then.
        lines.extend((end..end + 40).map(|offset| lines_of(offset..offset + 1)));
        cluster.resume(sleeper);
        return false;
    }
    assert_eq!(batches_since(storage, before), 1);
    let begun = Instant::now();
    while let Err(error) = shard.reopen(slot, Cursor::at_offset(end)) {
        assert!(begun.elapsed() < PATIENCE, "{error}");
    }
    append_for_good(shard, slot, lines, 20, 2 * attempt + 1);
    cluster.resume(sleeper);
    let token = format!("-{end:x}-28");
    let refused = async {
        // What came before the log was cut may have been accepted, and counts no more.
        while let Some(answer) = answers.next().await {
            let text = String::from_utf8_lossy(&answer.payload);
            if answer.subject.ends_with(&token) && text.contains("\"err_code\":10071") {
                return true;
            }
        }
        false
    };
    home.block_on(async { tokio::time::timeout(LATE, refused).await }).unwrap_or(false)
}
