//! The lease when its engine fails, and owners who follow each other.

use std::sync::Arc;

use serde_json::json;
use wafka_core::storage::{Renewed, StorageError};
use wafka_storage::conformance::line_of;

use super::cluster::Cluster;
use super::*;
use crate::Options;

/// What the payloads of an owner's lines are longer than its epoch: none is like another's.
const LONGER: usize = 100;

fn open(cluster: &Cluster, prefix: &str) -> JetStreamStorage {
    let options = Options { prefix: prefix.into(), ..cluster.options() };
    crate::open("".as_ref(), options).expect("open")
}

/// Takes the lease from whoever has it: by this server's clock its time is over.
fn take(storage: &JetStreamStorage, id: &str) -> u64 {
    let owner = Owner { id: id.into(), address: format!("{id}:6379") };
    let ownership = storage.ownership().expect("there is one");
    let begun = Instant::now();
    loop {
        match ownership.acquire(&owner) {
            Ok(Acquired::Ours(lease)) => return lease.epoch,
            Ok(Acquired::HeldBy(holder)) => {
                *storage.home().faults.skipped.lock() += holder.remaining;
            }
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    }
}

/// Owners that append as fast as they can, none of which is told that another takes over.
#[test]
fn owners_who_fight_follow_each_other_in_every_log() {
    let cluster = Cluster::three();
    let prefix = prefix();
    let mut owners = Vec::new();
    for round in 0..8 {
        let (storage, id) = (open(&cluster, &prefix), format!("s{round}"));
        let epoch = take(&storage, &id);
        let begins = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&begins);
        let thread = std::thread::spawn(move || {
            let mut shard = shard(&storage);
            let opened = create(&mut *shard, "a-1");
            let (mut end, mut durable) = (opened.end.offset, Vec::new());
            loop {
                let lines: Vec<u8> =
                    (end..end + 7).flat_map(|offset| line_of(offset, LONGER + epoch as usize)).collect();
                let batch = Batch { first_offset: end, lines: 7, bytes: &lines };
                let failures = match shard.append(opened.slot, batch) {
                    Ok(_) => sync(&mut *shard),
                    Err(StorageError::NotOwner { reason, .. }) => return (epoch, durable, reason),
                    Err(error) => panic!("{error}"),
                };
                match failures.first().map(|failure| &failure.error) {
                    None => durable.push(end..end + 7),
                    Some(StorageError::NotOwner { reason, .. }) => return (epoch, durable, reason.clone()),
                    Some(error) => panic!("{error}"),
                }
                end += 7;
                told.fetch_add(1, Ordering::SeqCst);
            }
        });
        let waited = Instant::now();
        while begins.load(Ordering::SeqCst) < 5 {
            assert!(!thread.is_finished() && waited.elapsed() < PATIENCE, "it does not begin");
            std::thread::sleep(Duration::from_millis(1));
        }
        owners.push(thread);
    }
    let last = open(&cluster, &prefix);
    let end = take(&last, "last");
    let mut shard = shard(&last);
    let opened = create(&mut *shard, "a-1");
    let found = read_all(&*opened.reader);
    let lines: Vec<&[u8]> = found.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len() as u64, opened.end.offset);
    let epochs = lines.iter().zip(0..).map(|(line, offset)| {
        let epoch = line.len() - line_of(offset, LONGER).len();
        assert_eq!(*line, line_of(offset, LONGER + epoch));
        epoch as u64
    });
    let epochs: Vec<u64> = epochs.collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
    for owner in owners {
        let (epoch, durable, reason) = owner.join().expect("an owner that ends");
        assert!(durable.len() >= 5 && epoch < end);
        assert!(reason.contains("has taken it over"), "{reason}");
        for offset in durable.into_iter().flatten() {
            assert_eq!(epochs[offset as usize], epoch, "offset {offset} was acknowledged in epoch {epoch}");
        }
    }
    assert_eq!(read_all(&*opened.reader), found, "something came late");
}

/// A log's stream keeps one mark, and has a segment for each owner that wrote to it.
#[test]
fn marks_replace_each_other() {
    let cluster = Cluster::start(1, true);
    let prefix = prefix();
    let mut written = 0;
    for round in 0..20 {
        let storage = open(&cluster, &prefix);
        take(&storage, &format!("s{round}"));
        let mut shard = shard(&storage);
        let opened = create(&mut *shard, "a-1");
        assert_eq!(opened.end.offset, written);
        let home = storage.home();
        let (stream, segments) = {
            let logs = home.logs.lock();
            let log = &logs[&log("a-1")];
            let segments = log.state.lock().segments.as_slice().len() as u64;
            (log.stream.clone(), segments)
        };
        // One more begins at the log's end. The first owner's begins without a mark.
        assert!(segments <= written + 1, "{segments} segments for {written} owners that wrote");
        let info = home.block_on(home.api().stream(&stream)).expect("an answer").expect("the stream");
        assert_eq!(info.state.messages, written + u64::from(round > 0), "lines, and one mark");
        if [3, 4, 12].contains(&round) {
            append(&mut *shard, opened.slot, written, written + 1);
            assert!(sync(&mut *shard).is_empty());
            written += 1;
        }
    }
}

/// How often a log can be taken over and written to is a matter of how long a message may be.
#[test]
fn a_log_that_was_taken_over_too_often_says_so() {
    let cluster = Cluster::start_with_payload("1KB");
    let prefix = prefix();
    for round in 0..200 {
        let storage = cluster.open(&prefix);
        let mut shard = shard(&storage);
        match shard.open(&log("a-1"), OpenRequest { create: true, known: None }) {
            Ok(opened) => {
                assert_eq!(opened.end.offset, round);
                append(&mut *shard, opened.slot, round, round + 1);
                assert!(sync(&mut *shard).is_empty());
            }
            Err(error) => {
                let text = error.to_string();
                assert!(round > 20 && text.contains(&format!("cut {round} times")), "{round}: {text}");
                assert!(text.contains("(max_payload): expected a larger one"), "{text}");
                return;
            }
        }
    }
    panic!("a message of 1 KB says it all");
}

/// Without its leader the bucket takes no renewal for a while; the owner goes on when it has another.
#[test]
fn the_lease_is_renewed_when_its_bucket_has_a_leader_again() {
    let mut cluster = Cluster::three();
    let prefix = prefix();
    let (storage, other) = (open(&cluster, &prefix), open(&cluster, &prefix));
    let epoch = take(&storage, "a");
    let bucket = format!("KV_{prefix}-lease");
    let ownership = storage.ownership().expect("there is one");
    for dies in [true, false] {
        let info = storage.home().block_on(storage.home().api().stream(&bucket));
        let leader = info.expect("an answer").expect("the bucket").cluster.and_then(|it| it.leader);
        let leader = leader.expect("a leader");
        let node = leader.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().expect("its number");
        if dies {
            cluster.kill(node)
        } else {
            cluster.stop(node)
        }
        let begun = Instant::now();
        loop {
            let asked = Instant::now();
            let renewed = ownership.renew();
            assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
            match renewed {
                Ok(Renewed::Ours) => break,
                Ok(lost) => panic!("{lost:?}"),
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
        }
        if dies { cluster.launch(node) } else { cluster.resume(node) }
    }
    let owner = Owner { id: "b".into(), address: "b:6379".into() };
    let begun = Instant::now();
    let holder = loop {
        match other.ownership().expect("there is one").acquire(&owner) {
            Ok(Acquired::HeldBy(holder)) => break holder,
            Ok(ours) => panic!("{ours:?}"),
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    };
    assert_eq!((holder.owner.id.as_str(), holder.epoch), ("a", epoch));
}

/// By a limit of age the engine would take the lease from an owner that is asleep, and not say whose it was.
#[test]
fn a_bucket_that_forgets_is_refused() {
    let cluster = Cluster::start(1, true);
    let prefix = prefix();
    let storage = open(&cluster, &prefix);
    let (bucket, subject) = (format!("KV_{prefix}-lease"), format!("$KV.{prefix}-lease.owner"));
    let config = json!({ "name": bucket, "subjects": [subject], "max_age": 1_000_000_000_u64,
        "max_msgs_per_subject": 1, "storage": "file", "retention": "limits", "num_replicas": 1 });
    storage.home().block_on(storage.home().api().make_stream(&bucket, &config)).expect("make");
    let owner = Owner { id: "a".into(), address: "a:6379".into() };
    let refused = storage.ownership().expect("there is one").acquire(&owner);
    let error = refused.expect_err("it has a limit of age").to_string();
    assert!(error.contains(&bucket) && error.contains("limit of age"), "{error}");
}
