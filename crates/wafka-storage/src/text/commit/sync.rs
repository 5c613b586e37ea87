//! Syncing many files: several at a time, or the whole file system at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::super::Home;
use super::super::generation::Role;
use super::DIRTY_FILES_MAX;
use super::state::Covered;
use crate::fs::Volume;

/// How many files are synced at the same time. Beyond this the disk's own queue is the limit.
pub(super) const SYNC_THREADS: usize = 8;
/// From so many files on, one sync of the whole file system costs less than theirs, although it takes along whatever
/// else is dirty there.
const VOLUME_FILES_MIN: usize = 16;

/// Syncs the files of one broker.
pub(super) struct SyncMany {
    /// Made before any of the files is opened, so that no error of theirs is older. Given up at the first error: the
    /// handle tells each error once, and another thread's files may be the ones it is about, whereas a file's own handle
    /// tells its own.
    volume: Mutex<Option<Arc<dyn Volume>>>,
}

impl SyncMany {
    pub fn new(home: &Home) -> Self {
        let volume = home.fs.volume(&home.dir).unwrap_or_else(|error| {
            tracing::warn!(dir = %home.dir.display(), %error, "files are synced one by one");
            None
        });
        SyncMany { volume: Mutex::new(volume) }
    }

    /// Makes everything appended to the files so far durable; returns those for which that failed.
    pub fn all(&self, files: &[Covered]) -> Vec<Covered> {
        if files.len() >= VOLUME_FILES_MIN && self.volume(files) {
            let failed =
                |file: &&Covered| file.generation.role() != Role::Superseded && file.generation.has_failed();
            return files.iter().filter(failed).cloned().collect();
        }
        one_by_one(files)
    }

    /// Syncs the whole file system, for these files; false when that cannot be relied on.
    fn volume(&self, files: &[Covered]) -> bool {
        // Held meanwhile: who comes second must not miss an error that the first is told.
        let mut volume = self.volume.lock();
        let Some(whole) = &*volume else { return false };
        // What cannot be written is noted with its file; the others are synced all the same.
        let ends: Vec<_> = files.iter().map(|file| file.generation.write_out_or_fail().ok()).collect();
        match whole.sync() {
            Ok(()) => {
                let written = files.iter().zip(ends).filter_map(|(file, end)| Some((file, end?)));
                written.for_each(|(file, end)| file.generation.note_synced(end));
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the file system cannot be synced as a whole, files are synced one by one");
                *volume = None;
                false
            }
        }
    }
}

fn one_by_one(files: &[Covered]) -> Vec<Covered> {
    let sync = |file: &Covered| {
        file.generation.role() == Role::Superseded || file.generation.sync(&file.log.name).is_ok()
    };
    if files.len() <= DIRTY_FILES_MAX {
        return files.iter().filter(|file| !sync(file)).cloned().collect();
    }
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let work = || {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            if !sync(file) {
                failed.lock().push(file.clone());
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..SYNC_THREADS.min(files.len()) {
            // Without a further thread this one does the work.
            _ = std::thread::Builder::new().name("wafka-sync".to_owned()).spawn_scoped(scope, work);
        }
        work();
    });
    failed.into_inner()
}
