//! A plugin's file before it is loaded: found, trusted, and read once for its checksum.
//!
//! Loading a library runs its code with all that the server may do, so nobody may be able to choose that code who could
//! not run it anyway: the file and its directory belong to root or to the server's user, and nobody else may write
//! them. Directories further up are not looked at: who may write one of those can at most put another directory in the
//! place, which is looked at then.
//!
//! The libraries that the file is linked with are not looked at: the dynamic linker finds them, by rules of its own, and
//! runs their code first. Who makes a plugin links into it what it needs, or trusts the directories that it names.
//!
//! What is checked is what is loaded. File and directory are opened once; owner, mode and checksum are those of these
//! descriptors, and on Linux the file is loaded out of that directory's descriptor ([`Checked::load_path`]), whatever the path
//! names by then. What stands in that directory, and the file's bytes, can change in between only by the hand of those who
//! are trusted. So the library has its own name for debuggers, and `$ORIGIN` in it is its directory.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, lstat, openat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// How much of a file is read at a time.
const CHUNK: usize = 64 * 1024;

/// Bits of a mode by which group and others may write.
const WRITE_BY_OTHERS: u32 = 0o022;

/// The bit of a directory's mode by which entries are renamed and removed by their owners alone.
const STICKY: u32 = 0o1000;

/// A library that the configuration names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PluginFile {
    /// Its path; a relative one is relative to the working directory, never searched for.
    pub path: PathBuf,
    /// The SHA-256 that its bytes must have, where one is given.
    pub sha256: Option<[u8; 32]>,
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The library.
    File,
    /// The directory that the library is in.
    Directory,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Part::File => "the file",
            Part::Directory => "its directory",
        })
    }
}

/// Why a file is not loaded.
#[derive(Debug, Error)]
pub enum FileError {
    /// It is not there, or may not be read.
    #[error("plugin {}: cannot {action}: {source}; expected a shared library", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The dynamic linker could not be given the file that was checked.
    #[error("plugin {}: cannot be given to the dynamic linker: {source}", path.display())]
    Unreachable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A directory, a pipe or the like.
    #[error("plugin {}: found {found}, expected a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Somebody else owns it, and may change it at any time.
    #[error(
        "plugin {}: {part} ({}) belongs to user {found}, expected {}", path.display(), of.display(), owners(*server)
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whether it is the file or its directory.
        part: Part,
        /// Which of the two, all links followed.
        of: PathBuf,
        /// Its owner's user id.
        found: u32,
        /// The server's user id.
        server: u32,
    },
    /// Others than its owner may change it.
    #[error(
        "plugin {}: {part} ({}) may be written by its group or by others: found mode {found:04o}, expected write \
         permission for its owner alone (chmod go-w)", path.display(), of.display()
    )]
    Writable {
        /// The file.
        path: PathBuf,
        /// Whether it is the file or its directory.
        part: Part,
        /// Which of the two, all links followed.
        of: PathBuf,
        /// Its permissions.
        found: u32,
    },
    /// It is not the file that the configuration means.
    #[error("plugin {}: found sha256 {found}, expected {expected}: the file is not the one that was pinned", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The checksum it has, in hexadecimal digits.
        found: String,
        /// The one that the configuration wants.
        expected: String,
    },
}

fn owners(server: u32) -> String {
    if server == 0 { "root (0)".to_owned() } else { format!("root (0) or the server's own user ({server})") }
}

/// A file that may be loaded.
#[derive(Debug)]
pub struct Checked {
    file: File,
    directory: OwnedFd,
    name: OsString,
    /// The path of the file itself: absolute, all links followed.
    pub path: PathBuf,
    /// The checksum of its bytes.
    pub sha256: [u8; 32],
}

impl Checked {
    /// The file, open for reading.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What to hand to the dynamic linker: the file that was checked, by its name in the directory that was checked.
    ///
    /// This must be kept as long as the library is loaded, which is for ever: the linker knows libraries by name, would take
    /// another file behind the same number for this one, and looks for others beside it (`$ORIGIN`) when it likes.
    ///
    /// # Errors
    /// When another file has taken the name since, or there is no `/proc` to reach the directory by.
    pub fn load_path(&self) -> io::Result<PathBuf> {
        if cfg!(target_os = "linux") {
            self.load_path_below(Path::new("/proc/self/fd"))
        } else {
            Ok(self.path.clone())
        }
    }

    fn load_path_below(&self, descriptors: &Path) -> io::Result<PathBuf> {
        let path = descriptors.join(self.directory.as_raw_fd().to_string()).join(&self.name);
        let ours = fstat(&self.file)?;
        let other = |reason| Err(io::Error::new(io::ErrorKind::NotFound, reason));
        match lstat(&path) {
            Ok(found) if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino) => Ok(path),
            Err(Errno::NOENT) if lstat(descriptors).is_err() => other(format!(
                "found no {}, expected /proc to be mounted: libraries are loaded through it",
                descriptors.display()
            )),
            Ok(_) | Err(Errno::NOENT) => {
                other("the file was replaced or removed while it was looked at".to_owned())
            }
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Opens a library's file, refuses it where others may have a hand in it, and compares its checksum.
///
/// # Errors
/// When it cannot be read, is no regular file, or may be changed by others than root and the server's user; when it has
/// another checksum than it must have.
pub fn check(plugin: &PluginFile) -> Result<Checked, FileError> {
    check_as(plugin, rustix::process::geteuid().as_raw())
}

/// [`check`] for a server that runs as this user.
fn check_as(plugin: &PluginFile, server: u32) -> Result<Checked, FileError> {
    let path = &plugin.path;
    let io = |action| move |source: io::Error| FileError::Io { path: path.clone(), action, source };
    let real = path.canonicalize().map_err(io("find it"))?;
    let not_regular = |found| FileError::NotRegular { path: path.clone(), found };
    let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
        return Err(not_regular("a directory"));
    };
    // The file is opened within the directory that is checked, without following one more link.
    let directory = openat(CWD, parent, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty())
        .map_err(|errno| io("open its directory")(errno.into()))?;
    // A pipe without a writer is not waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(&directory, name, flags, Mode::empty()).map_err(|errno| io("open it")(errno.into()))?;
    let state = |fd| fstat(fd).map_err(|errno| io("look at it")(errno.into()));
    let of_file = state(&file)?;
    if let Some(found) = other_than_regular(&of_file) {
        return Err(not_regular(found));
    }
    trusted(path, Part::File, &real, &of_file, server)?;
    trusted(path, Part::Directory, parent, &state(&directory)?, server)?;
    let mut file = File::from(file);
    let sha256 = checksum(&mut file).map_err(io("read it"))?;
    if let Some(expected) = plugin.sha256.filter(|expected| *expected != sha256) {
        let (found, expected) = (hex(&sha256), hex(&expected));
        return Err(FileError::Checksum { path: path.clone(), found, expected });
    }
    let name = name.to_owned();
    Ok(Checked { file, directory, name, path: real, sha256 })
}

fn other_than_regular(state: &Stat) -> Option<&'static str> {
    match FileType::from_raw_mode(state.st_mode) {
        FileType::RegularFile => None,
        FileType::Directory => Some("a directory"),
        FileType::Fifo => Some("a pipe"),
        FileType::Socket => Some("a socket"),
        _ => Some("a device"),
    }
}

/// Refuses what others than root and the server's user may change.
fn trusted(path: &Path, part: Part, of: &Path, state: &Stat, server: u32) -> Result<(), FileError> {
    let (path, of) = (path.to_owned(), of.to_owned());
    if state.st_uid != 0 && state.st_uid != server {
        return Err(FileError::Owner { path, part, of, found: state.st_uid, server });
    }
    let sticky = part == Part::Directory && state.st_mode & STICKY != 0;
    if state.st_mode & WRITE_BY_OTHERS != 0 && !sticky {
        return Err(FileError::Writable { path, part, of, found: state.st_mode & 0o7777 });
    }
    Ok(())
}

fn checksum(file: &mut File) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(read) => hasher.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A checksum as people write it: 64 hexadecimal digits.
#[must_use]
pub fn hex(sha256: &[u8; 32]) -> String {
    use std::fmt::Write;
    sha256.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The checksum that 64 hexadecimal digits stand for, as `sha256sum` prints them; `None` for any other text.
#[must_use]
pub fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut sha256 = [0; 32];
    for (byte, pair) in sha256.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(sha256)
}

#[cfg(test)]
mod tests;
