//! Leaders that are put to sleep until the others have another one and have gone on, and then wake: for a moment they answer
//! as if they led, and know of nothing that came meanwhile.

use std::sync::Arc;

use wafka_core::storage::StorageError;

use super::cluster::Cluster;
use super::*;
use crate::Options;
use crate::api::Api;
use crate::mark::{self, Known};
use crate::tenure::Tenure;

/// Lines that are acknowledged before, and while the leader sleeps.
const SOME: u64 = 20;
/// So many ask at once when it wakes, so often each.
const ASKERS: usize = 8;
const QUESTIONS: usize = 25;
/// Rounds of the short form: each takes an election.
const ROUNDS: usize = 2;
/// How often a leader is put to sleep in the hope that it answers when it wakes.
const ATTEMPTS: usize = 8;

fn rounds() -> usize {
    let times = std::env::var("WAFKA_TEST_NATS_ROUNDS").map_or(1, |rounds| rounds.parse().expect("a number"));
    ROUNDS * times
}

fn open(cluster: &Cluster, prefix: &str) -> JetStreamStorage {
    let options = Options { prefix: prefix.into(), ..cluster.options() };
    crate::open("".as_ref(), options).expect("open")
}

fn append_synced(shard: &mut dyn Shard, slot: LogSlot, from: Offset) {
    append(shard, slot, from, from + SOME);
    let failures = sync(shard);
    assert!(failures.is_empty(), "{failures:?}");
}

/// Counts what is told of a stream by those who do not know its end.
fn count_stale(storage: &JetStreamStorage, stream: &str, end: u64) -> Arc<AtomicU64> {
    let (count, of) = (Arc::new(AtomicU64::new(0)), stream.to_owned());
    let counts = Arc::clone(&count);
    let look = move |stream: &str, info: StreamInfo| {
        counts.fetch_add(u64::from(stream == of && info.state.last_seq < end), Ordering::SeqCst);
        info
    };
    *storage.home().api().stale.infos.lock() = Some(Box::new(look));
    count
}

/// Has the leader of a log's stream sleep until `meanwhile` is done, which needs another one. When it wakes many ask it.
fn woken(
    cluster: &mut Cluster,
    storage: &JetStreamStorage,
    stream: &str,
    meanwhile: impl FnOnce(),
    then: impl FnOnce(),
) {
    let whole = [stream.to_owned()];
    cluster.wait_until_whole(&whole).expect("servers that catch up");
    let leader = cluster.leader(stream).expect("a leader");
    cluster.stop(leader);
    meanwhile();
    std::thread::scope(|scope| {
        for _ in 0..ASKERS {
            scope.spawn(|| {
                for _ in 0..QUESTIONS {
                    // What it says is for nobody.
                    let _info = storage.home().block_on(storage.home().api().stream(stream));
                }
            });
        }
        cluster.resume(leader);
        then();
    });
}

/// Every acknowledged line, or an error: never fewer lines.
fn assert_reads_all_or_fails(reader: &dyn LogReader, end: Offset) {
    let (mut bytes, mut cursor) = (Vec::new(), Cursor::default());
    while cursor.offset < end {
        match reader.read(cursor, 1 << 20, &mut bytes) {
            Ok(chunk) => {
                assert!(chunk.next.offset > cursor.offset, "the log seems to end at {}", cursor.offset);
                cursor = chunk.next;
            }
            Err(StorageError::Io { .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
    // Some of what is being written may have come with it.
    assert!(bytes == lines_of(0..cursor.offset), "the lines until {} are others", cursor.offset);
}

/// The owner stays, and reads what it had acknowledged while the leader slept; and goes on writing.
#[test]
fn what_was_acknowledged_is_read_and_stands_once_when_a_leader_wakes() {
    let mut cluster = Cluster::three();
    let prefix = prefix();
    let storage = cluster.open(&prefix);
    let mut shard = shard(&storage);
    let opened = create(&mut *shard, "a-1");
    let stream = storage.home().logs.lock()[&log("a-1")].stream.clone();
    let mut end = 0;
    for _ in 0..rounds() {
        append_synced(&mut *shard, opened.slot, end);
        end += SOME;
        let writer = Mutex::new(&mut *shard);
        let write = |from: Offset| append_synced(&mut **writer.lock(), opened.slot, from);
        let then = || {
            std::thread::scope(|scope| {
                scope.spawn(|| write(end + SOME));
                (0..QUESTIONS).for_each(|_| assert_reads_all_or_fails(&*opened.reader, end + SOME));
            });
        };
        woken(&mut cluster, &storage, &stream, || write(end), then);
        end += 2 * SOME;
    }
    assert_holds(&*opened.reader, 0..end);
    // Nothing stands there twice: the sequences have no gap.
    let info = storage.home().block_on(storage.home().api().stream(&stream)).expect("an answer");
    let state = info.expect("the stream").state;
    assert_eq!((state.messages, state.last_seq), (end, end));
}

/// Another owner takes over at the moment when the leader wakes, and finds every line that was acknowledged.
#[test]
fn a_takeover_when_a_leader_wakes_finds_everything() {
    let mut cluster = Cluster::three();
    let prefix = prefix();
    let mut owner = cluster.open(&prefix);
    let mut end = 0;
    for _ in 0..rounds() {
        let mut before = shard(&owner);
        let opened = create(&mut *before, "a-1");
        assert_eq!((opened.first.offset, opened.end.offset), (0, end));
        append_synced(&mut *before, opened.slot, end);
        end += SOME;
        let stream = owner.home().logs.lock()[&log("a-1")].stream.clone();
        let next = open(&cluster, &prefix);
        let take = || {
            own_as(&next, "test");
            let opened = create(&mut *shard(&next), "a-1");
            assert_eq!((opened.first.offset, opened.end.offset), (0, end + SOME));
        };
        woken(&mut cluster, &next, &stream, || append_synced(&mut *before, opened.slot, end), take);
        end += SOME;
        // What the one before still writes is refused.
        let bytes = lines_of(end..end + 1);
        let late = before.append(opened.slot, Batch { first_offset: end, lines: 1, bytes: &bytes });
        assert!(late.is_err() || !sync(&mut *before).is_empty());
        drop((before, opened));
        owner = next;
    }
    let opened = create(&mut *shard(&owner), "a-1");
    assert_eq!(opened.end.offset, end);
    assert_holds(&*opened.reader, 0..end);
}

/// Questions that the leader was asked right when it fell asleep are answered when it wakes, by what it knew then. Whoever
/// takes a log over, or opens one of its own once more, is not taken in by that.
#[test]
fn what_a_leader_says_when_it_wakes_is_not_the_end() {
    let mut cluster = Cluster::three();
    for takes_over in [true, false] {
        let was_told = (0..ATTEMPTS).any(|_| ask_one_that_sleeps(&mut cluster, takes_over) > 0);
        if !was_told {
            // Whether one answers before it knows better is a matter of moments.
            eprintln!("no leader that woke answered out of the past (takes over: {takes_over})");
        }
    }
}

/// How many answers there were that were out of the past.
fn ask_one_that_sleeps(cluster: &mut Cluster, takes_over: bool) -> u64 {
    let prefix = prefix();
    let owner = cluster.open(&prefix);
    let mut shard = shard(&owner);
    let slot = create(&mut *shard, "a-1").slot;
    append_synced(&mut *shard, slot, 0);
    let (home, of) = (owner.home(), owner.home().logs.lock()[&log("a-1")].clone());
    let leader = cluster.leader(&of.stream).expect("a leader");
    // Whoever asks is connected to another server: what it asks goes on waiting where the leader will find it.
    let servers = vec![cluster.addresses()[(leader + 1) % cluster.len()].clone()];
    let options = Options { prefix, servers, ..cluster.options() };
    let asks = crate::open("".as_ref(), options).expect("open");
    let stale = count_stale(&asks, &of.stream, 2 * SOME);
    let api = Api { one_try: PATIENCE / 4, ..asks.home().api().clone() };
    let found = home.block_on(home.directory.find(&of.tenure, &of.name)).expect("an answer");
    let mut place = found.expect("the log");
    let (tenure, known) = if takes_over {
        place.is_own = false;
        let next = Owner { id: "next".into(), address: "next:6379".into() };
        (Tenure::new(of.tenure.epoch + 1, next, "next".into()), Known::default())
    } else {
        (Arc::clone(&of.tenure), Known { last: 2 * SOME, last_cut: 0 })
    };
    cluster.wait_until_whole(std::slice::from_ref(&of.stream)).expect("servers that have everything");
    cluster.stop(leader);
    let subject = home.directory.subject_of(&of.stream);
    let (loaded, failures) = std::thread::scope(|scope| {
        let load = mark::load(&api, &tenure, &of.name, &place, &subject, known);
        let loads = scope.spawn(|| asks.home().block_on(load));
        append(&mut *shard, slot, SOME, 2 * SOME);
        let failures = sync(&mut *shard);
        cluster.resume(leader);
        (loads.join().expect("it does not panic").expect("the log"), failures)
    });
    // Its connection may have been another one by then, and the log taken over before that was written.
    let is_taken = failures.iter().any(|failure| matches!(failure.error, StorageError::NotOwner { .. }));
    if is_taken && takes_over {
        return 0;
    }
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!((loaded.first, loaded.end), (0, 2 * SOME));
    stale.load(Ordering::SeqCst)
}
