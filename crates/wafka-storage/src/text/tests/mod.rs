mod direct;
mod faults;
mod journal;
mod model;
mod unsynced;
mod volume;

use std::path::PathBuf;

use wafka_core::storage::{Batch, Cursor, LogReader, LogSlot, OpenRequest, Opened, Storage};

use super::*;
pub(super) use crate::conformance::line_of;
use crate::conformance::{self, Failing, Harness, lines_of};
use crate::fs::{Fault, FaultKind, Operation, SimFs, StdFs};

struct OnFs {
    /// The file system, when it can be made to fail.
    sim: Option<SimFs>,
    options: TextOptions,
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    storage: TextStorage,
    _temporary: Option<tempfile::TempDir>,
}

impl OnFs {
    fn boxed(
        fs: Arc<dyn FileSystem>,
        dir: PathBuf,
        temporary: Option<tempfile::TempDir>,
        commit_journal: CommitJournalUse,
    ) -> Box<dyn Harness> {
        let options = TextOptions { commit_journal, commit_journal_bytes: 1 << 17, ..TextOptions::default() };
        let storage = TextStorage::open(Arc::clone(&fs), &dir, options.clone()).unwrap();
        Box::new(OnFs { sim: None, options, fs, dir, storage, _temporary: temporary })
    }

    fn simulated(commit_journal: CommitJournalUse) -> Box<dyn Harness> {
        let fs = SimFs::new();
        let options = TextOptions { commit_journal, commit_journal_bytes: 1 << 17, ..TextOptions::default() };
        let storage = TextStorage::open(Arc::new(fs.clone()), Path::new("data"), options.clone()).unwrap();
        let sim = Some(fs.clone());
        Box::new(OnFs { sim, options, fs: Arc::new(fs), dir: "data".into(), storage, _temporary: None })
    }
}

impl Harness for OnFs {
    fn storage(&self) -> &dyn Storage {
        &self.storage
    }

    fn restart(&mut self) {
        self.storage = TextStorage::open(Arc::clone(&self.fs), &self.dir, self.options.clone()).unwrap();
    }

    /// With a commit journal it is not the log's own file whose sync counts.
    fn faults(&self) -> bool {
        self.sim.is_some() && self.options.commit_journal == CommitJournalUse::Never
    }

    fn fail_next(&mut self, failing: Failing, log: &LogName) {
        let operation = match failing {
            Failing::Append => Operation::Write,
            Failing::Sync => Operation::Sync,
        };
        let path_contains = format!("{}.txt", log.stem());
        let sim = self.sim.as_ref().unwrap();
        // A part of the lines is written before the device refuses.
        if failing == Failing::Append {
            let kind = FaultKind::ShortWrite(200);
            sim.inject(Fault { operation, path_contains: path_contains.clone(), skip: 0, times: 1, kind });
        }
        sim.inject(Fault { operation, path_contains, skip: 0, times: 1, kind: EIO });
    }
}

#[test]
fn it_conforms_on_the_file_system() {
    for commit_journal in [CommitJournalUse::Never, CommitJournalUse::Always] {
        conformance::run(&mut || {
            let temporary = tempfile::tempdir().unwrap();
            let dir = temporary.path().join("data");
            OnFs::boxed(Arc::new(StdFs), dir, Some(temporary), commit_journal)
        });
    }
}

#[test]
fn it_conforms_on_the_simulated_file_system() {
    for commit_journal in [CommitJournalUse::Never, CommitJournalUse::Auto, CommitJournalUse::Always] {
        conformance::run(&mut || OnFs::simulated(commit_journal));
    }
}

/// What a reader finds in a log.
fn all(reader: &dyn LogReader) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read(Cursor::at_offset(0), usize::MAX / 2, &mut bytes).unwrap();
    bytes
}

const EIO: FaultKind = FaultKind::Errno(5);

struct Bench {
    fs: SimFs,
    storage: TextStorage,
    shard: Box<dyn Shard>,
}

fn on(fs: SimFs) -> Bench {
    with(fs, CommitJournalUse::Auto)
}

fn with(fs: SimFs, commit_journal: CommitJournalUse) -> Bench {
    let options =
        TextOptions { commit_journal, commit_journal_bytes: 1 << 16, inline: true, ..TextOptions::default() };
    let storage = TextStorage::open(Arc::new(fs.clone()), Path::new("data"), options).unwrap();
    let shard = storage.shard(BrokerId(1)).unwrap();
    Bench { fs, storage, shard }
}

fn name(stem: &str) -> LogName {
    LogName::new(Database(0), stem)
}

fn path(stem: &str) -> PathBuf {
    Path::new("data").join(format!("{stem}.txt"))
}

impl Bench {
    fn open(&mut self, stem: &str) -> Opened {
        self.try_open(stem).unwrap()
    }

    fn try_open(&mut self, stem: &str) -> Result<Opened, StorageError> {
        self.shard.open(&name(stem), OpenRequest { create: true, known: None })
    }

    fn append(&mut self, slot: LogSlot, from: u64, to: u64) -> Result<Cursor, StorageError> {
        let bytes = lines_of(from..to);
        self.shard.append(slot, Batch { first_offset: from, lines: to - from, bytes: &bytes })
    }

    fn sync(&mut self) -> Vec<LogSlot> {
        let failures = self.shard.begin_sync().wait();
        self.shard.finish_sync(&failures);
        failures.iter().map(|failure| failure.slot).collect()
    }

    fn fail(&self, operation: Operation, path_contains: &str, kind: FaultKind) {
        let path_contains = path_contains.to_owned();
        self.fs.inject(Fault { operation, path_contains, skip: 0, times: 1, kind });
    }

    /// After a loss of power.
    fn crash(self, seed: u64) -> Bench {
        on(self.fs.crash(seed))
    }
}
