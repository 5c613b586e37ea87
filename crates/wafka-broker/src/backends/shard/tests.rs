//! Several backends pass as one: the suite that every backend passes, over logs of which some are in one and some in another.

use std::path::Path;

use wafka_core::Database;
use wafka_core::storage::{Batch, Options, Storage, StorageFactory};
use wafka_storage::conformance::{self, Failing, Harness, line_of};
use wafka_storage::fs::{Fault, FaultKind, Operation, SimFs};
use wafka_storage::text::{CommitJournalUse, TextOptions, TextStorage};

use super::*;
use crate::backends::{BackendSource, Backends};

const EIO: FaultKind = FaultKind::Errno(5);
const CREATE: OpenRequest = OpenRequest { create: true, known: None };

fn text(fs: &SimFs) -> Arc<dyn Storage> {
    // Every log is synced by itself, so that a fault of a file is a fault of its log.
    let options = TextOptions { commit_journal: CommitJournalUse::Never, ..TextOptions::default() };
    Arc::new(TextStorage::open(Arc::new(fs.clone()), Path::new("data"), options).unwrap())
}

/// A text log in a file system of its own.
struct Other(SimFs);

impl StorageFactory for Other {
    fn name(&self) -> &str {
        "other"
    }

    fn open(&self, _data_dir: &Path, _options: &Options) -> Result<Arc<dyn Storage>, StorageError> {
        Ok(text(&self.0))
    }
}

fn backends(main: &SimFs, other: &SimFs) -> Backends {
    let factory = Arc::new(Other(other.clone()));
    let source = BackendSource { factory, data_dir: "data".into(), options: Options::new() };
    Backends::new("text", text(main), [source]).unwrap()
}

/// Which logs are in the other backend.
type InOther = fn(&LogName) -> bool;

/// Two backends in the dress of one.
struct Both {
    backends: Backends,
    in_other: InOther,
}

fn placed(log: &LogName, in_other: InOther) -> LogName {
    let backend = in_other(log).then(|| Arc::from("other"));
    log.clone().in_backend(backend)
}

/// The suite knows nothing of backends.
fn told(error: StorageError) -> StorageError {
    match error {
        StorageError::NotFound(log) => StorageError::NotFound(log.in_backend(None)),
        StorageError::Fenced { log, batch, end } => {
            StorageError::Fenced { log: log.in_backend(None), batch, end }
        }
        error => error,
    }
}

impl Storage for Both {
    fn name(&self) -> &str {
        "both"
    }

    fn list(&self) -> Result<Vec<LogName>, StorageError> {
        let other: Arc<str> = "other".into();
        let mut logs = self.backends.list(None)?;
        assert!(logs.iter().all(|log| !(self.in_other)(log)), "{logs:?}");
        logs.extend(self.backends.list(Some(&other))?.into_iter().map(|log| log.in_backend(None)));
        Ok(logs)
    }

    fn create(&self, logs: &[LogName]) -> Result<(), StorageError> {
        self.backends.create(&logs.iter().map(|log| placed(log, self.in_other)).collect::<Vec<_>>())
    }

    fn shard(&self, broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        Ok(Box::new(BothShard { shard: self.backends.shard(broker)?, in_other: self.in_other }))
    }

    fn delete(&self, logs: &[LogName]) -> Result<(), StorageError> {
        self.backends.delete(&logs.iter().map(|log| placed(log, self.in_other)).collect::<Vec<_>>())
    }
}

struct BothShard {
    shard: Box<dyn Shard>,
    in_other: InOther,
}

impl Shard for BothShard {
    fn open(&mut self, log: &LogName, request: OpenRequest) -> Result<Opened, StorageError> {
        self.shard.open(&placed(log, self.in_other), request).map_err(told)
    }

    fn append(&mut self, slot: LogSlot, batch: Batch<'_>) -> Result<Cursor, StorageError> {
        self.shard.append(slot, batch).map_err(told)
    }

    fn set_synced_first(&mut self, synced_first: bool) {
        self.shard.set_synced_first(synced_first);
    }

    fn catch_up(&mut self, all: bool) -> CaughtUp {
        self.shard.catch_up(all)
    }

    fn begin_sync(&mut self) -> Box<dyn PendingSync> {
        self.shard.begin_sync()
    }

    fn finish_sync(&mut self, failures: &[SyncFailure]) {
        self.shard.finish_sync(failures);
    }

    fn reopen(&mut self, slot: LogSlot, end: Cursor) -> Result<(), StorageError> {
        self.shard.reopen(slot, end)
    }

    fn begin_rewrite(&mut self, slot: LogSlot, plan: RewritePlan) -> Result<Box<dyn Rewrite>, StorageError> {
        self.shard.begin_rewrite(slot, plan)
    }

    fn finish_rewrite(
        &mut self,
        rewrite: Box<dyn Rewrite>,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        self.shard.finish_rewrite(rewrite, kept)
    }

    fn close(&mut self, slot: LogSlot) {
        self.shard.close(slot);
    }
}

struct OnTwo {
    main: SimFs,
    other: SimFs,
    both: Both,
}

impl Harness for OnTwo {
    fn storage(&self) -> &dyn Storage {
        &self.both
    }

    fn restart(&mut self) {
        self.both.backends = backends(&self.main, &self.other);
    }

    fn faults(&self) -> bool {
        true
    }

    fn fail_next(&mut self, failing: Failing, log: &LogName) {
        let operation = match failing {
            Failing::Append => Operation::Write,
            Failing::Sync => Operation::Sync,
        };
        let fs = if (self.both.in_other)(log) { &self.other } else { &self.main };
        let path_contains = format!("{}.txt", log.stem());
        fs.inject(Fault { operation, path_contains, skip: 0, times: 1, kind: EIO });
    }
}

#[test]
fn backends_beside_each_other_conform_together() {
    let some: InOther = |log| log.stem().bytes().next().is_some_and(|first| first % 2 == 1);
    let rest: InOther = |log| log.stem().bytes().next().is_some_and(|first| first % 2 == 0);
    for in_other in [some, rest] {
        conformance::run(&mut || {
            let (main, other) = (SimFs::new(), SimFs::new());
            let both = Both { backends: backends(&main, &other), in_other };
            Box::new(OnTwo { main, other, both })
        });
    }
}

fn append(shard: &mut dyn Shard, slot: LogSlot, offset: u64) {
    let line = line_of(offset, 10);
    shard.append(slot, Batch { first_offset: offset, lines: 1, bytes: &line }).unwrap();
}

/// Two logs of the backend beside the default one, and a shard of both.
fn two_logs(other: &SimFs) -> (Box<dyn Shard>, LogSlot, LogSlot) {
    let mut shard = backends(&SimFs::new(), other).shard(BrokerId(1)).unwrap();
    let [x, y] = ["x-1", "y-1"].map(|stem| {
        let log = LogName::new(Database(0), stem).in_backend(Some("other".into()));
        shard.open(&log, CREATE).unwrap().slot
    });
    (shard, x, y)
}

fn failed(failures: &[SyncFailure]) -> Vec<LogSlot> {
    failures.iter().map(|failure| failure.slot).collect()
}

#[test]
fn an_older_sync_that_went_well_does_not_hide_a_failure() {
    let other = SimFs::new();
    let (mut shard, x, y) = two_logs(&other);
    append(&mut *shard, y, 0);
    let older = shard.begin_sync();
    append(&mut *shard, x, 0);
    other.inject(Fault {
        operation: Operation::Sync,
        path_contains: "x-1.txt".to_owned(),
        skip: 0,
        times: 1,
        kind: EIO,
    });
    let failures = shard.begin_sync().wait();
    assert_eq!(failed(&failures), [x]);
    shard.finish_sync(&failures);
    // Its turn to run comes late.
    assert_eq!(failed(&older.wait()), []);
    for _ in 0..3 {
        assert_eq!(failed(&shard.begin_sync().wait()), [x], "lines are said to be durable whose sync failed");
    }
    shard.reopen(x, Cursor::default()).unwrap();
    append(&mut *shard, x, 0);
    assert_eq!(failed(&shard.begin_sync().wait()), []);
}

/// An error text and a line of the server's log name a log as whoever looks for it finds it.
#[test]
fn a_log_is_named_as_its_backend_calls_it() {
    use crate::topic::LaneFiles;
    let factory = Arc::new(Other(SimFs::new()));
    let source =
        || BackendSource { factory: factory.clone(), data_dir: "data".into(), options: Options::new() };
    let topic = wafka_core::TopicName::new(b"t").unwrap();
    let names = |default: &str, backend: Option<&str>| {
        let backends = Backends::new(default, text(&SimFs::new()), [source()]).unwrap();
        let files = LaneFiles::new(Database(3), &topic, false).in_backend(backend.map(Arc::from), &backends);
        [
            backends.log("wafka.catalog").to_string(),
            files.partition(0).to_string(),
            files.journal().to_string(),
        ]
    };
    assert_eq!(names("text", None), ["wafka.catalog.txt", "db3/t-1.txt", "db3/t.journal.txt"]);
    assert_eq!(names("text", Some("other")), ["wafka.catalog.txt", "other:db3/t-1", "other:db3/t.journal"]);
    assert_eq!(names("remote", None), ["wafka.catalog", "db3/t-1", "db3/t.journal"]);
    assert_eq!(names("remote", Some("text")), ["wafka.catalog", "db3/t-1.txt", "db3/t.journal.txt"]);
}
