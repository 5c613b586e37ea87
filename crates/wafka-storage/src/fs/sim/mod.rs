//! A file system in memory for tests: it keeps apart what a running process sees and what a loss of power would leave,
//! and fails on demand.
//!
//! It is as unkind as Linux may be: a name is durable only once its directory was synced; without a sync any subset of
//! the pages written may survive, some of them in part; after a failed sync the pages count as clean although they
//! never reached the disk.

mod image;
mod rng;
mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{DIRECT_ALIGN, DirEntry, File, FileSystem, OpenMode, Volume};
use state::State;

/// What a fault can hit, and what is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Opening a file that exists.
    Open,
    /// Making a file.
    Create,
    /// [`File::read_at`].
    Read,
    /// [`File::write_at`].
    Write,
    /// [`File::set_len`].
    SetLen,
    /// [`File::sync_data`].
    Sync,
    /// [`File::write_back`].
    WriteBack,
    /// [`FileSystem::rename`].
    Rename,
    /// [`FileSystem::remove`].
    Remove,
    /// [`FileSystem::sync_dir`].
    SyncDir,
    /// [`Volume::sync`].
    SyncVolume,
}

/// How an operation fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// With this `errno`; 5 is `EIO`, 24 `EMFILE`, 28 `ENOSPC`.
    Errno(i32),
    /// A write that takes at most so many bytes and succeeds.
    ShortWrite(usize),
}

/// An operation that is going to fail.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which operation.
    pub operation: Operation,
    /// Only on paths that contain this.
    pub path_contains: String,
    /// How many such operations succeed before.
    pub skip: u64,
    /// How many fail then.
    pub times: u64,
    /// How they fail.
    pub kind: FaultKind,
}

/// The simulated file system. Clones are the same one.
#[derive(Clone)]
pub struct SimFs {
    state: Arc<Mutex<State>>,
    /// The run of the machine that this handle belongs to; after a crash it reaches nothing any more.
    run: u64,
}

impl Default for SimFs {
    fn default() -> Self {
        SimFs::new()
    }
}

impl SimFs {
    /// An empty file system: a root directory, durable.
    #[must_use]
    pub fn new() -> Self {
        SimFs { state: Arc::default(), run: 0 }
    }

    /// Power is lost: returns the file system as it is found again. What was not synced survives in parts, chosen by
    /// `seed`. Every handle from before fails from now on.
    #[must_use]
    pub fn crash(&self, seed: u64) -> SimFs {
        let mut state = self.state.lock();
        state.lose_power(seed);
        state.changes_left = None;
        state.run += 1;
        SimFs { state: Arc::clone(&self.state), run: state.run }
    }

    /// The process is killed: nothing is lost, but every handle from before fails from now on.
    #[must_use]
    pub fn kill(&self) -> SimFs {
        let mut state = self.state.lock();
        state.changes_left = None;
        state.run += 1;
        SimFs { state: Arc::clone(&self.state), run: state.run }
    }

    /// After so many more operations that change something, none of them is carried out until [`SimFs::crash`] or
    /// [`SimFs::kill`].
    pub fn stop_after(&self, changes: u64) {
        self.state.lock().changes_left = Some(changes);
    }

    /// Whether the operations of [`SimFs::stop_after`] are used up.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state.lock().is_stopped()
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// Takes all faults away, and the limit of space.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.space_left = None;
    }

    /// Lets files grow by so many bytes in all; a write beyond it is short, the next fails with `ENOSPC`.
    pub fn limit_space(&self, bytes: u64) {
        self.state.lock().space_left = Some(bytes);
    }

    /// Whether files can be opened for direct writes; at first they cannot.
    pub fn allow_direct(&self, allowed: bool) {
        self.state.lock().direct_allowed = allowed;
    }

    /// How many operations of a kind there were, failed ones too.
    #[must_use]
    pub fn count(&self, operation: Operation) -> u64 {
        self.state.lock().counts[operation as usize]
    }

    /// How many bytes were read.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.state.lock().bytes_read
    }

    /// How many files are open.
    #[must_use]
    pub fn files_open(&self) -> u64 {
        self.state.lock().files_open
    }

    /// How many bytes direct writes wrote.
    #[must_use]
    pub fn bytes_written_directly(&self) -> u64 {
        self.state.lock().bytes_direct
    }

    /// Whether a direct write ever touched a block of the file that had bytes in it.
    #[must_use]
    pub fn was_overwritten_directly(&self, path: &Path) -> bool {
        let state = self.state.lock();
        state.file(path).is_some_and(|file| state.images[file].overwritten_directly())
    }

    /// What a process finds in a file.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state.file(path).map(|file| state.images[file].live().to_vec())
    }

    /// Puts bytes into a file, durably and whatever faults there are, as if a disk or a person had done it.
    pub fn put(&self, path: &Path, content: &[u8]) {
        let mut state = self.state.lock();
        let file = state.file(path).unwrap_or_else(|| state.add_durable_file(path));
        state.images[file].put(content);
    }

    fn locked<T>(&self, action: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        if state.run != self.run {
            return Err(io::Error::other("the machine or the process of this handle is gone"));
        }
        action(&mut state)
    }

    fn open_file(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let (file, errors) = self.locked(|state| {
            let found = state.file(path);
            let operation = if found.is_some() { Operation::Open } else { Operation::Create };
            state.meet_fault(operation, path)?;
            let file = match (found, mode) {
                (Some(_), OpenMode::CreateNew) => Err(io::ErrorKind::AlreadyExists.into()),
                (Some(file), OpenMode::Truncate) => state.images[file].set_len(0).map(|()| file),
                (Some(file), _) => Ok(file),
                (None, OpenMode::Read | OpenMode::Write) => Err(io::ErrorKind::NotFound.into()),
                (None, _) => state.create(path),
            }?;
            state.files_open += 1;
            Ok((file, state.images[file].errors()))
        })?;
        let (fs, path, errors_seen) = (self.clone(), path.to_owned(), AtomicU64::new(errors));
        Ok(Arc::new(SimFile { fs, file, path, direct: false, errors_seen }))
    }
}

impl FileSystem for SimFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.open_file(path, mode)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.locked(|state| state.create_dir_all(path))
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.locked(|state| state.read_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.locked(|state| {
            state.meet_fault(Operation::Rename, to)?;
            state.rename(from, to)
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.locked(|state| {
            state.meet_fault(Operation::Remove, path)?;
            state.remove(path)
        })
    }

    fn volume(&self, dir: &Path) -> io::Result<Option<Arc<dyn Volume>>> {
        Ok(Some(Arc::new(SimVolume { fs: self.clone(), dir: dir.to_owned() })))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.locked(|state| {
            state.meet_fault(Operation::SyncDir, path)?;
            state.sync_dir(path)
        })
    }
}

struct SimVolume {
    fs: SimFs,
    dir: PathBuf,
}

impl Volume for SimVolume {
    fn sync(&self) -> io::Result<()> {
        self.fs.locked(|state| {
            let met = state.meet_fault(Operation::SyncVolume, &self.dir);
            if met.is_ok() || !state.is_stopped() {
                state.sync_volume(met.is_ok());
            }
            met.map(|_| ())
        })
    }
}

struct SimFile {
    fs: SimFs,
    file: usize,
    path: PathBuf,
    /// Whether it was opened for direct writes.
    direct: bool,
    /// How many failed syncs of the file this handle knows of.
    errors_seen: AtomicU64,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.fs.state.lock().files_open -= 1;
    }
}

impl File for SimFile {
    fn direct(&self) -> io::Result<Option<Arc<dyn File>>> {
        let errors = self.fs.locked(|state| {
            if !state.direct_allowed {
                return Ok(None);
            }
            state.meet_fault(Operation::Open, &self.path)?;
            state.files_open += 1;
            Ok(Some(state.images[self.file].errors()))
        })?;
        Ok(errors.map(|errors| {
            let (fs, path, errors_seen) = (self.fs.clone(), self.path.clone(), AtomicU64::new(errors));
            Arc::new(SimFile { fs, file: self.file, path, direct: true, errors_seen }) as Arc<dyn File>
        }))
    }

    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        self.fs.locked(|state| {
            state.meet_fault(Operation::Read, &self.path)?;
            let count = state.images[self.file].read(into, position);
            state.bytes_read += count as u64;
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        let places = [bytes.as_ptr().addr(), bytes.len(), position as usize];
        if self.direct && places.iter().any(|place| !place.is_multiple_of(DIRECT_ALIGN)) {
            return Err(io::Error::from_raw_os_error(22));
        }
        self.fs.locked(|state| {
            let taken =
                state.meet_fault(Operation::Write, &self.path)?.unwrap_or(bytes.len()).min(bytes.len());
            let grows = (position + taken as u64).saturating_sub(state.images[self.file].live().len() as u64);
            let lacks = grows.saturating_sub(state.space_left.unwrap_or(u64::MAX));
            let taken = taken.saturating_sub(lacks as usize);
            if taken == 0 && !bytes.is_empty() {
                return Err(io::Error::from_raw_os_error(28));
            }
            if let Some(space) = &mut state.space_left {
                *space -= grows - lacks;
            }
            if self.direct {
                state.bytes_direct += taken as u64;
                state.images[self.file].note_direct(position);
            }
            state.images[self.file].write(&bytes[..taken], position)?;
            Ok(taken)
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.locked(|state| {
            state.meet_fault(Operation::SetLen, &self.path)?;
            state.images[self.file].set_len(len)
        })
    }

    fn write_back(&self, from: u64, to: u64) -> io::Result<()> {
        let _ = (from, to);
        self.fs.locked(|state| state.meet_fault(Operation::WriteBack, &self.path).map(|_| ()))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fs.locked(|state| {
            let met = state.meet_fault(Operation::Sync, &self.path);
            if met.is_err() && state.is_stopped() {
                return met.map(|_| ());
            }
            let image = &mut state.images[self.file];
            if met.is_ok() {
                image.sync();
            } else {
                image.fail_sync();
            }
            // As Linux does: whoever had the file open when a write-back failed is told once.
            let seen = self.errors_seen.swap(image.errors(), Ordering::Relaxed);
            if seen < image.errors() {
                met.and(Err(io::Error::from_raw_os_error(5)))
            } else {
                met.map(|_| ())
            }
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.fs.locked(|state| Ok(state.images[self.file].live().len() as u64))
    }
}

#[cfg(test)]
mod tests;
