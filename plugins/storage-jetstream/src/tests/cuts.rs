//! Cuts that come late, and logs that are reopened while nobody answers.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use wafka_core::storage::StorageError;

use super::cluster::Cluster;
use super::*;
use crate::{Options, mark};

fn open(cluster: &Cluster, request_timeout_ms: u32) -> JetStreamStorage {
    let options = Options { prefix: prefix(), request_timeout_ms, ..cluster.options() };
    let storage = crate::open(Path::new(""), options).expect("open");
    own_as(&storage, "test");
    storage
}

fn found(storage: &JetStreamStorage) -> Arc<Log> {
    Arc::clone(&storage.home().logs.lock()[&log("a-1")])
}

fn reopen(shard: &mut dyn Shard, slot: LogSlot, end: Offset) {
    let begun = Instant::now();
    while let Err(error) = shard.reopen(slot, Cursor::at_offset(end)) {
        assert!(begun.elapsed() < PATIENCE, "{error}");
    }
}

/// Nobody knows whether the message that moves the cut is still on its way. When the log was reopened it is refused.
#[test]
fn a_cut_whose_answer_was_lost_is_refused_after_a_reopening() {
    let mut cluster = Cluster::start(1, true);
    let storage = open(&cluster, 2000);
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    append(&mut *shard, opened.slot, 0, 5);
    assert!(sync(&mut *shard).is_empty());
    let (home, log) = (storage.home(), found(&storage));
    let (base, replaced) = {
        let state = log.state.lock();
        (state.segments.sequence_of(state.end) - 1, state.last_cut)
    };
    cluster.stop(0);
    home.block_on(home.move_cut(&log)).expect_err("nobody answers");
    cluster.kill(0);
    cluster.launch(0);
    log.poison(Poison::Failed("the rewrite failed".into()));
    reopen(&mut *shard, opened.slot, 5);
    let late = home.api().replace(log.cut_subject.clone(), base, replaced, Bytes::from_static(b"{}"));
    let refused = home.block_on(late).expect_err("it comes late");
    assert!(refused.is_wrong_last(), "{refused}");
    append(&mut *shard, opened.slot, 5, 9);
    assert!(sync(&mut *shard).is_empty());
    assert_holds(&*opened.reader, 0..9);
}

#[test]
fn a_cut_of_ones_own_in_the_place_of_a_line_is_no_other_writer() {
    let cluster = Cluster::start(1, true);
    let storage = open(&cluster, 30_000);
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    append(&mut *shard, opened.slot, 0, 5);
    assert!(sync(&mut *shard).is_empty());
    let (home, log) = (storage.home(), found(&storage));
    let (segments, base) = {
        let state = log.state.lock();
        let base = state.segments.sequence_of(state.end) - 1;
        (state.segments.cut(state.end, base + 2), base)
    };
    let body = mark::cut_body(&log.tenure, &segments, base, 1 << 20).expect("a body");
    let sent = home.block_on(home.api().replace(log.cut_subject.clone(), base, 0, body));
    assert_eq!(sent.expect("it fits"), base + 1);
    append(&mut *shard, opened.slot, 5, 7);
    let failures = sync(&mut *shard);
    let [SyncFailure { error: error @ StorageError::Io { .. }, .. }] = &failures[..] else {
        panic!("{failures:?}")
    };
    assert!(error.to_string().contains("came late"), "{error}");
    reopen(&mut *shard, opened.slot, 5);
    append(&mut *shard, opened.slot, 5, 7);
    assert!(sync(&mut *shard).is_empty());
    assert_holds(&*opened.reader, 0..7);
}

/// A request may take half a minute here. Whoever waits for the one that reopens a log need not.
#[test]
fn a_log_that_nobody_answers_for_is_not_reopened_in_short_time() {
    let mut cluster = Cluster::start(1, true);
    let storage = open(&cluster, 30_000);
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    append(&mut *shard, opened.slot, 0, 5);
    assert!(sync(&mut *shard).is_empty());
    found(&storage).poison(Poison::Failed("on purpose".into()));
    cluster.stop(0);
    let begun = Instant::now();
    shard.reopen(opened.slot, Cursor::at_offset(5)).expect_err("nobody answers");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    cluster.resume(0);
    reopen(&mut *shard, opened.slot, 5);
    append(&mut *shard, opened.slot, 5, 7);
    assert!(sync(&mut *shard).is_empty());
    assert_holds(&*opened.reader, 0..7);
}

/// The leader answers once, and no more.
#[test]
fn a_leader_that_goes_while_a_log_is_cut_keeps_nobody_waiting() {
    let cluster = Arc::new(Mutex::new(Cluster::start(1, true)));
    let storage = open(&cluster.lock(), 30_000);
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    append(&mut *shard, opened.slot, 0, 5);
    assert!(sync(&mut *shard).is_empty());
    found(&storage).poison(Poison::Failed("on purpose".into()));
    let stream = found(&storage).stream.clone();
    let (stops, told) = (Arc::clone(&cluster), Arc::new(AtomicBool::new(false)));
    let tells = Arc::clone(&told);
    *storage.home().api().stale.infos.lock() = Some(Box::new(move |of, info| {
        if of == stream && !tells.swap(true, Ordering::SeqCst) {
            stops.lock().stop(0);
        }
        info
    }));
    let begun = Instant::now();
    let failed = shard.reopen(opened.slot, Cursor::at_offset(5));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(told.load(Ordering::SeqCst));
    cluster.lock().resume(0);
    if failed.is_err() {
        reopen(&mut *shard, opened.slot, 5);
    }
    append(&mut *shard, opened.slot, 5, 7);
    assert!(sync(&mut *shard).is_empty());
    assert_holds(&*opened.reader, 0..7);
}

/// Its last cut is all that is left of it, and the next owner puts its own in that one's place.
#[test]
fn a_log_whose_lines_are_all_gone_is_taken_over_again_and_again() {
    let cluster = Cluster::start(1, true);
    let prefix = prefix();
    let storage = cluster.open(&prefix);
    let mut shard = shard(&storage);
    let slot = create(&mut *shard, "a-1").slot;
    append(&mut *shard, slot, 0, 10);
    assert!(sync(&mut *shard).is_empty());
    let home = storage.home();
    let stream = home.logs.lock()[&log("a-1")].stream.clone();
    home.block_on(home.api().purge(&stream, 11)).expect("it is purged");
    for owner in ["second", "third", "fourth"] {
        let options = crate::Options { prefix: prefix.clone(), ..cluster.options() };
        let storage = crate::open("".as_ref(), options).expect("open");
        own_as(&storage, owner);
        let opened = super::shard(&storage).open(&log("a-1"), OpenRequest::default()).expect(owner);
        assert_eq!((opened.first.offset, opened.end.offset), (10, 10), "{owner}");
    }
}
