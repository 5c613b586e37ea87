//! What happens in the background when no sync is awaited.

use wafka_broker::FsyncPolicy;
use wafka_storage::fs::{Operation, SimFs};
use wafka_storage::text::CommitJournalUse;

use crate::support::{Bench, EIO, Home, eventually, is_offline, path, values};

/// Entries in a partition's index file.
fn entries(bench: &Bench, file: &str) -> usize {
    let bytes = bench.fs().content(&path("index").join("db0").join(file)).unwrap_or_default();
    (bytes.len() / 48).saturating_sub(1)
}

fn unsynced(policy: FsyncPolicy) -> Bench {
    let mut bench = Bench::new(Home::Sim(SimFs::new()), 1).with(|options| {
        options.fsync = policy;
        options.index_interval_bytes = 64;
    });
    bench.commit_journal = CommitJournalUse::Never;
    bench.start().unwrap();
    bench
}

#[test]
fn a_log_that_fails_holds_up_only_its_own_index() {
    let bench = unsynced(FsyncPolicy::EverySec);
    let (bad, good) = (bench.topic("bad"), bench.topic("good"));
    bench.fault(Operation::Sync, "bad-1.txt", EIO, u64::MAX);
    for n in 0..10 {
        bench.add(&bad, &n.to_string()).unwrap();
    }
    eventually("the failure to show", || is_offline(&bad, 1));
    for n in 0..10 {
        bench.add(&good, &n.to_string()).unwrap();
    }
    eventually("the entries of the other log", || entries(&bench, "good-1.idx") == 10);
    assert_eq!(entries(&bench, "bad-1.idx"), 0);
    bench.fs().heal();
    eventually("the entries of the log that is back", || entries(&bench, "bad-1.idx") == 10);
    assert!(!is_offline(&bad, 1));
    assert_eq!(values(&bad).len(), 10);
}

#[test]
fn the_end_writes_no_entries_of_a_log_that_cannot_be_synced() {
    let mut bench = unsynced(FsyncPolicy::No);
    let (bad, good) = (bench.topic("bad"), bench.topic("good"));
    for n in 0..10 {
        bench.add(&bad, &n.to_string()).unwrap();
        bench.add(&good, &n.to_string()).unwrap();
    }
    bench.fault(Operation::Sync, "bad-1.txt", EIO, u64::MAX);
    drop((bad, good));
    bench.stop();
    assert_eq!(entries(&bench, "bad-1.idx"), 0);
    assert_eq!(entries(&bench, "good-1.idx"), 10);
    bench.fs().heal();
    // What was synced at the end survives the loss of power, although no sync was awaited.
    bench.crash(9);
    assert_eq!(values(&bench.topic("good")).len(), 10);
}
