//! The file below the database: what redb reads and writes goes through here, so that nothing that a failed sync left
//! in the system's cache alone is taken for durable, and so that tests can let it fail.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

/// With more stretches than so many since the last sync, what lies between two of them counts as written too.
const STRETCHES_MAX: usize = 4096;
/// How much is written again at once.
const CHUNK_BYTES: usize = 1 << 20;

/// The database's file, locked as long as this lives. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    file: Arc<File>,
    /// What was written since the last sync that succeeded: start and end of each stretch.
    unsynced: Arc<Mutex<BTreeMap<u64, u64>>>,
    #[cfg(test)]
    pub(crate) faults: Arc<crate::tests::faults::Faults>,
}

impl Disk {
    /// Takes the file, made when it is missing, for this process alone.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = "another process has the file open: one server at a time may use it";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, reason));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(Disk {
            file: Arc::new(file),
            unsynced: Arc::default(),
            #[cfg(test)]
            faults: Arc::default(),
        })
    }

    /// After a sync that failed, pages may be in the cache, marked as written, and not on disk. Writes them again, and
    /// syncs.
    pub(crate) fn write_unsynced_again(&self) -> io::Result<()> {
        let stretches: Vec<(u64, u64)> =
            self.unsynced.lock().iter().map(|(start, end)| (*start, *end)).collect();
        let len = self.len()?;
        let mut buffer = vec![0; CHUNK_BYTES];
        for (start, end) in stretches {
            let mut at = start;
            while at < end.min(len) {
                let count =
                    usize::try_from(end.min(len) - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
                self.read(at, &mut buffer[..count])?;
                self.write(at, &buffer[..count])?;
                at += count as u64;
            }
        }
        self.sync_data()
    }

    fn note_written(&self, start: u64, end: u64) {
        let mut unsynced = self.unsynced.lock();
        match unsynced.range_mut(..=start).next_back() {
            Some((_, before)) if *before >= start => *before = end.max(*before),
            _ => _ = unsynced.insert(start, end),
        }
        if unsynced.len() > STRETCHES_MAX
            && let (Some((first, _)), Some(last)) =
                (unsynced.first_key_value(), unsynced.values().copied().max())
        {
            *unsynced = BTreeMap::from([(*first, last)]);
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        #[cfg(test)]
        self.faults.on_read()?;
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.on_len(len)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        // What is written while the sync runs is not covered by it.
        let covered = std::mem::take(&mut *self.unsynced.lock());
        let sync = || {
            #[cfg(test)]
            self.faults.on_sync()?;
            self.file.sync_data()
        };
        sync().inspect_err(|_| {
            for (start, end) in covered {
                self.note_written(start, end);
            }
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        // Noted first: of a write that fails any part may be in the cache.
        self.note_written(offset, offset + data.len() as u64);
        #[cfg(test)]
        self.faults.on_write()?;
        self.file.write_all_at(data, offset)
    }
}
