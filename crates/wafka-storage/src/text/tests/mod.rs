mod faults;
mod model;

use std::path::PathBuf;

use wafka_core::storage::{Cursor, LogReader, Storage};

use super::*;
pub(super) use crate::conformance::line_of;
use crate::conformance::{self, Harness};
use crate::fs::{SimFs, StdFs};

struct OnFs {
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
        Box::new(OnFs { options, fs, dir, storage, _temporary: temporary })
    }
}

impl Harness for OnFs {
    fn storage(&self) -> &dyn Storage {
        &self.storage
    }

    fn restart(&mut self) {
        self.storage = TextStorage::open(Arc::clone(&self.fs), &self.dir, self.options.clone()).unwrap();
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
        conformance::run(&mut || OnFs::boxed(Arc::new(SimFs::new()), "data".into(), None, commit_journal));
    }
}

/// What a reader finds in a log.
fn all(reader: &dyn LogReader) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.read(Cursor::at_offset(0), usize::MAX / 2, &mut bytes).unwrap();
    bytes
}
