//! The one seam to the file system: what the text backend needs of it, and nothing else.
//!
//! [`StdFs`] is the operating system's. [`SimFs`] lives in memory, keeps apart what a loss of power would leave and what
//! a running process sees, and fails on demand, so that tests reach every fault.

mod sim;
mod std_fs;
#[cfg(target_os = "linux")]
mod write_back;

pub use sim::{Fault, FaultKind, Operation, SimFs};
pub use std_fs::StdFs;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What the places in memory and in the file, and the lengths, of direct writes must be multiples of, in bytes: no disk
/// has larger blocks.
pub const DIRECT_ALIGN: usize = 4096;

/// How to open a file. Every mode reads; all but [`OpenMode::Read`] write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// Reads a file that exists.
    Read,
    /// Reads and writes a file that exists.
    Write,
    /// Makes a file that must not exist.
    CreateNew,
    /// Makes a file, or empties the one there is.
    Truncate,
}

/// A name in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    /// The name without the directory.
    pub name: OsString,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// A file system. Errors are the operating system's.
pub trait FileSystem: Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// As `open(2)`.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// Makes a directory and those above it that are missing. Nothing is synced.
    ///
    /// # Errors
    /// As `mkdir(2)`; a directory that exists is none.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, in no order.
    ///
    /// # Errors
    /// As `readdir(3)`.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Puts `from` in the place of `to`, as one step.
    ///
    /// # Errors
    /// As `rename(2)`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// As `unlink(2)`.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// A handle that makes everything on the file system of `dir` durable at once; `None` where there is no such thing,
    /// or where it would not tell of an error.
    ///
    /// # Errors
    /// As `open(2)`.
    fn volume(&self, dir: &Path) -> io::Result<Option<Arc<dyn Volume>>> {
        let _ = dir;
        Ok(None)
    }

    /// Makes the names in a directory durable: what was created, renamed and removed in it.
    ///
    /// # Errors
    /// As `fsync(2)`.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// A whole file system.
pub trait Volume: Send + Sync {
    /// Makes every file and directory on it durable. An error of any write-back since the handle was made, or last told
    /// of one, is told, though not whose it was: that shows when the files are synced one by one.
    ///
    /// # Errors
    /// As `syncfs(2)`.
    fn sync(&self) -> io::Result<()>;
}

/// An open file. Reads and writes say their position and may run at the same time.
pub trait File: Send + Sync {
    /// The same file once more, for *direct* writes, which go past the page cache and spare its copy; see
    /// [`DIRECT_ALIGN`]. They are durable after a sync, as others are. `None` where there is no such thing.
    ///
    /// # Errors
    /// As `open(2)`.
    fn direct(&self) -> io::Result<Option<Arc<dyn File>>> {
        Ok(None)
    }

    /// How much of the file the page cache holds as one piece, in bytes, a multiple of [`DIRECT_ALIGN`]: who reads the last byte
    /// of a file brings so much of it there.
    fn page_bytes(&self) -> u64 {
        DIRECT_ALIGN as u64
    }

    /// Reads bytes from `position` on and returns how many; 0 at the end.
    ///
    /// # Errors
    /// As `pread(2)`.
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize>;

    /// As [`File::read_at`], but only if the bytes are in memory already: `None` when the call would have to wait.
    ///
    /// # Errors
    /// As [`File::read_at`].
    fn read_at_ready(&self, into: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        self.read_at(into, position).map(Some)
    }

    /// Writes bytes at `position` and returns how many, which may be fewer than given.
    ///
    /// # Errors
    /// As `pwrite(2)`.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize>;

    /// Cuts the file, or makes it longer with NUL bytes.
    ///
    /// # Errors
    /// As `ftruncate(2)`.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Has the bytes from `from` to `to` written to disk, and waits for that: a later [`File::sync_data`] has so much less to
    /// do. They are not durable before that. Where there is no such thing nothing happens.
    ///
    /// # Errors
    /// As `sync_file_range(2)`. What is told here is not told again by [`File::sync_data`]: it counts as if that had failed.
    fn write_back(&self, from: u64, to: u64) -> io::Result<()> {
        let _ = (from, to);
        Ok(())
    }

    /// Makes the file's bytes and its length durable.
    ///
    /// # Errors
    /// As `fdatasync(2)`. Afterwards bytes written before may be gone although they can still be read.
    fn sync_data(&self) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// As `fstat(2)`.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// As [`File::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Fills `into` from `position` on as far as the file reaches; returns how many bytes there were.
///
/// # Errors
/// As [`File::read_at`]; an interrupted call is repeated.
pub fn read_full_at(file: &dyn File, into: &mut [u8], position: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match file.read_at(&mut into[done..], position + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all of `bytes` at `position`: one call, and further ones only after short writes.
///
/// # Errors
/// As [`File::write_at`]; an interrupted call is repeated.
pub fn write_all_at(file: &dyn File, bytes: &[u8], position: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write_at(&bytes[done..], position + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
