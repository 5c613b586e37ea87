//! The operating system's file system.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

#[cfg(target_os = "linux")]
use super::Volume;
use super::{DirEntry, File, FileSystem, OpenMode};

/// What a new file allows, before the umask: what producers send is for the server and its group.
const FILE_MODE: u32 = 0o640;
/// What a new directory allows.
const DIR_MODE: u32 = 0o750;

/// The operating system's file system.
#[derive(Clone, Copy, Default, Debug)]
pub struct StdFs;

impl FileSystem for StdFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read).mode(FILE_MODE);
        match mode {
            OpenMode::Read | OpenMode::Write => {}
            OpenMode::CreateNew => _ = options.create_new(true),
            OpenMode::Truncate => _ = options.create(true).truncate(true),
        }
        Ok(Arc::new(StdFile(options.open(path)?)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        fs::read_dir(path)?
            .map(|entry| {
                let entry = entry?;
                Ok(DirEntry { is_dir: entry.file_type()?.is_dir(), name: entry.file_name() })
            })
            .collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// `syncfs(2)`, which tells of errors since Linux 5.8.
    #[cfg(target_os = "linux")]
    fn volume(&self, dir: &Path) -> io::Result<Option<Arc<dyn Volume>>> {
        let uname = rustix::system::uname();
        let mut numbers =
            uname.release().to_str().unwrap_or_default().split('.').map_while(|n| n.parse().ok());
        let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if version < (5, 8) {
            return Ok(None);
        }
        Ok(Some(Arc::new(StdVolume(fs::File::open(dir)?))))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }
}

#[cfg(target_os = "linux")]
struct StdVolume(fs::File);

#[cfg(target_os = "linux")]
impl Volume for StdVolume {
    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }
}

struct StdFile(fs::File);

impl File for StdFile {
    /// `O_DIRECT`; a file system that does not know it says `EINVAL`. By way of the descriptor: the name may be another
    /// file's by now.
    #[cfg(target_os = "linux")]
    fn direct(&self) -> io::Result<Option<Arc<dyn File>>> {
        use rustix::fs::{Mode, OFlags, open};
        use rustix::io::Errno;
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.0));
        match open(path, OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => Ok(Some(Arc::new(StdFile(file.into())))),
            // The other one is said where `/proc` is not mounted.
            Err(Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The system's pages, or what the file system calls the best size, which is its blocks'.
    #[cfg(target_os = "linux")]
    fn page_bytes(&self) -> u64 {
        let block =
            self.0.metadata().map_or(0, |metadata| std::os::unix::fs::MetadataExt::blksize(&metadata));
        block.max(rustix::param::page_size() as u64).next_multiple_of(super::DIRECT_ALIGN as u64)
    }

    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(into, position)
    }

    /// `preadv2(2)` with `RWF_NOWAIT`: reads what the page cache holds.
    #[cfg(target_os = "linux")]
    fn read_at_ready(&self, into: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        match preadv2(&self.0, &mut [io::IoSliceMut::new(into)], position, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(Some(read)),
            // Not every file system can tell: such a one is read by a thread that may wait.
            Err(Errno::AGAIN | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// No way to tell on this system: reads are left to threads that may wait.
    #[cfg(not(target_os = "linux"))]
    fn read_at_ready(&self, _into: &mut [u8], _position: u64) -> io::Result<Option<usize>> {
        Ok(None)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.0.write_at(bytes, position)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    #[cfg(target_os = "linux")]
    fn write_back(&self, from: u64, to: u64) -> io::Result<()> {
        super::write_back::write_back(&self.0, from, to)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn new_files_are_nobody_else_s_business() {
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let dir = root.path().join("a/b");
        StdFs.create_dir_all(&dir).unwrap();
        assert_eq!(mode(&dir) & !DIR_MODE, 0);
        for (name, open_mode) in [("new", OpenMode::CreateNew), ("truncated", OpenMode::Truncate)] {
            let path = dir.join(name);
            StdFs.open(&path, open_mode).unwrap();
            assert_eq!(mode(&path) & !FILE_MODE, 0, "{name}");
        }
    }
}
