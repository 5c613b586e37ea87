//! The data directory: made, locked for one server, and of a known format.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::DEFAULT_BACKEND;

/// The lock's file: locked while a server runs, holding its process id for people to see.
const LOCK: &str = "wafka.lock";

/// The file that tells the format of everything else in the directory.
const FORMAT: &str = "FORMAT";

/// The only format so far.
const FORMAT_VERSION: &str = "wafka 1";

/// What the second line of [`FORMAT`] begins with, where another backend than the default one holds the catalog.
const BACKEND_KEY: &str = "backend ";

/// The backend that keeps nothing.
const MEMORY: &str = "memory";

/// How the text log's files end.
const TEXT_ENDING: &str = ".txt";

/// The catalog's file where the text log holds it.
const TEXT_CATALOG: &str = "wafka.catalog.txt";

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// Something could not be made, read or written.
    #[error("data directory {}: cannot {action} {}: {source}", dir.display(), path.display())]
    Io {
        /// The data directory.
        dir: PathBuf,
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another server uses it.
    #[error(
        "data directory {}: in use by another server (process {pid}): stop that one, or choose another directory \
         with --data-dir", dir.display()
    )]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// The other server's process id, as it wrote it down.
        pid: String,
    },
    /// It was written by another version.
    #[error(
        "data directory {}: unknown format '{found}' in {FORMAT}: this release knows only '{FORMAT_VERSION}'",
        dir.display()
    )]
    UnknownFormat {
        /// The data directory.
        dir: PathBuf,
        /// What its `FORMAT` says.
        found: String,
    },
    /// Its data is in another storage backend.
    #[error(
        "data directory {}: its data is in storage backend '{found}' (as {FORMAT} says), but storage.backend is '{asked}': \
         expected storage.backend = \"{found}\", or another directory", dir.display()
    )]
    OtherBackend {
        /// The data directory.
        dir: PathBuf,
        /// The backend that its `FORMAT` says.
        found: String,
        /// The backend that the configuration says.
        asked: String,
    },
    /// It has no `FORMAT` though it is not empty.
    #[error(
        "data directory {}: not empty ('{found}' is there), but without {FORMAT}: not a data directory of Wafka",
        dir.display()
    )]
    Foreign {
        /// The data directory.
        dir: PathBuf,
        /// A file in it.
        found: String,
    },
}

/// A data directory that belongs to this process until dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The backend that holds its catalog, if there ever was one.
    backend: Option<String>,
    /// An earlier start came so far that there is something to lose.
    holds_lines: bool,
    /// Holds the lock, which the system drops with the process, however that ends.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be, locks it, and checks its format.
    ///
    /// # Errors
    /// When it cannot be used, is in use by another process, or has another format.
    pub fn open(dir: &Path) -> Result<Self, DataDirError> {
        let io = |action, path: &Path| {
            let (dir, path) = (dir.to_owned(), path.to_owned());
            move |source| DataDirError::Io { dir, action, path, source }
        };
        // What producers send is nobody else's business.
        DirBuilder::new().recursive(true).mode(0o750).create(dir).map_err(io("create", dir))?;
        let path = dir.canonicalize().map_err(io("find", dir))?;
        let lock = lock(dir)?;
        let format = dir.join(FORMAT);
        let backend = match fs::read_to_string(&format) {
            Ok(found) => parse_format(&found)
                .map_err(|found| DataDirError::UnknownFormat { dir: dir.to_owned(), found })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                refuse_foreign(dir)?;
                write_format(dir, DEFAULT_BACKEND).map_err(io("write", &format))?;
                DEFAULT_BACKEND.to_owned()
            }
            Err(error) => return Err(io("read", &format)(error)),
        };
        // What is in memory is gone, and where no text log was begun there is none to lose.
        let mut holds_lines = false;
        let holds_data = match &*backend {
            MEMORY => false,
            DEFAULT_BACKEND => {
                holds_lines = holds_text(dir).map_err(io("list", dir))?;
                holds_lines || dir.join(TEXT_CATALOG).exists()
            }
            _ => {
                holds_lines = true;
                true
            }
        };
        Ok(DataDir { path, backend: holds_data.then_some(backend), holds_lines, _lock: lock })
    }

    /// Whether `backend` may hold the catalog: not if another one does already, for then all data would seem gone.
    ///
    /// # Errors
    /// [`DataDirError::OtherBackend`].
    pub fn check_backend(&self, backend: &str) -> Result<(), DataDirError> {
        match &self.backend {
            Some(found) if found != backend => Err(DataDirError::OtherBackend {
                dir: self.path.clone(),
                found: found.clone(),
                asked: backend.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Whether an earlier start came so far that there may be topics with events.
    #[must_use]
    pub fn holds_data(&self) -> bool {
        self.holds_lines
    }

    /// Notes that `backend` holds the catalog from now on.
    ///
    /// # Errors
    /// When another one does, or `FORMAT` cannot be written.
    pub fn set_backend(&mut self, backend: &str) -> Result<(), DataDirError> {
        self.check_backend(backend)?;
        if self.backend.is_none() {
            write_format(&self.path, backend).map_err(|source| DataDirError::Io {
                dir: self.path.clone(),
                action: "write",
                path: self.path.join(FORMAT),
                source,
            })?;
            self.backend = Some(backend.to_owned());
        }
        Ok(())
    }

    /// Its absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a topic's log of the text backend has anything in it. Those that a first start made and nobody wrote to are empty.
fn holds_text(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let Some(name) = name.to_str() else { continue };
        let number = name.strip_prefix("db").and_then(|number| number.parse::<u16>().ok());
        let holds = match kind.is_dir() {
            true => number.is_some() && holds_text(&entry.path())?,
            false => name.ends_with(TEXT_ENDING) && name != TEXT_CATALOG && entry.metadata()?.len() > 0,
        };
        if holds {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Locks the directory and notes this process in the lock's file.
fn lock(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join(LOCK);
    let io = |action| {
        let (dir, path) = (dir.to_owned(), path.clone());
        move |source| DataDirError::Io { dir, action, path, source }
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(&path)
        .map_err(io("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only for the message: without it the reason is as clear.
            let _ = file.read_to_string(&mut pid);
            let pid = match pid.trim() {
                "" => "unknown".to_owned(),
                pid => pid.to_owned(),
            };
            return Err(DataDirError::InUse { dir: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(io("lock")(error)),
    }
    file.set_len(0).map_err(io("write"))?;
    writeln!(file, "{}", std::process::id()).map_err(io("write"))?;
    Ok(file)
}

/// Refuses a directory that holds something else already: the path was probably mistyped.
fn refuse_foreign(dir: &Path) -> Result<(), DataDirError> {
    let io = |source| DataDirError::Io { dir: dir.to_owned(), action: "list", path: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        // A temporary FORMAT is what a crash during the very first start leaves.
        // `lost+found` marks a file system of its own.
        if name != LOCK && name != TEMPORARY_FORMAT && name != "lost+found" {
            let found = name.to_string_lossy().into_owned();
            return Err(DataDirError::Foreign { dir: dir.to_owned(), found });
        }
    }
    Ok(())
}

const TEMPORARY_FORMAT: &str = "FORMAT.tmp";

/// The backend that a `FORMAT` names, or what was found in place of a format that is known.
fn parse_format(text: &str) -> Result<String, String> {
    let shown = |line: &str| line.chars().take(100).collect();
    let mut lines = text.trim_end().lines();
    let version = lines.next().unwrap_or_default();
    if version != FORMAT_VERSION {
        return Err(shown(version));
    }
    // The first releases knew one backend and wrote no second line, and for that one none is written now.
    let Some(line) = lines.next() else { return Ok(DEFAULT_BACKEND.to_owned()) };
    match (line.strip_prefix(BACKEND_KEY), lines.next()) {
        (Some(name), None) if !name.is_empty() => Ok(name.to_owned()),
        (_, Some(more)) => Err(shown(more)),
        _ => Err(shown(line)),
    }
}

/// Writes the format so that after a crash it is there whole or not at all.
fn write_format(dir: &Path, backend: &str) -> io::Result<()> {
    let temporary = dir.join(TEMPORARY_FORMAT);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&temporary)?;
    writeln!(file, "{FORMAT_VERSION}")?;
    if backend != DEFAULT_BACKEND {
        writeln!(file, "{BACKEND_KEY}{backend}")?;
    }
    file.sync_all()?;
    fs::rename(&temporary, dir.join(FORMAT))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_and_opened_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let dir = DataDir::open(&path).unwrap();
        assert_eq!(fs::read_to_string(path.join(FORMAT)).unwrap(), "wafka 1\n");
        assert!(dir.path().is_absolute());
        drop(dir);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_second_server_is_told_directory_and_process() {
        let root = tempfile::tempdir().unwrap();
        let _first = DataDir::open(root.path()).unwrap();
        let error = DataDir::open(root.path()).unwrap_err().to_string();
        assert!(error.contains(&root.path().display().to_string()), "{error}");
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    }

    #[test]
    fn other_formats_are_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(FORMAT), "wafka 2\n").unwrap();
        let error = DataDir::open(root.path()).unwrap_err().to_string();
        assert!(error.contains("unknown format 'wafka 2'") && error.contains("'wafka 1'"), "{error}");
    }

    #[test]
    fn data_stays_in_its_backend() {
        let root = tempfile::tempdir().unwrap();
        let format = || fs::read_to_string(root.path().join(FORMAT)).unwrap();
        let open = || DataDir::open(root.path()).unwrap();
        // Nothing was kept yet: whatever backend it was.
        open().set_backend("text").unwrap();
        assert_eq!(format(), "wafka 1\n");
        open().set_backend("memory").unwrap();
        assert_eq!(format(), "wafka 1\nbackend memory\n");
        open().set_backend("sqlite").unwrap();
        assert_eq!(format(), "wafka 1\nbackend sqlite\n");
        let mut dir = open();
        dir.set_backend("sqlite").unwrap();
        for other in ["text", "memory"] {
            let error = dir.set_backend(other).unwrap_err().to_string();
            for part in ["'sqlite'", &format!("'{other}'"), "storage.backend = \"sqlite\"", FORMAT] {
                assert!(error.contains(part), "{part}: {error}");
            }
        }
        drop(dir);
        assert_eq!(format(), "wafka 1\nbackend sqlite\n");
        // A directory of an earlier release, which had no second line.
        fs::write(root.path().join(FORMAT), "wafka 1\n").unwrap();
        fs::write(root.path().join(TEXT_CATALOG), "").unwrap();
        assert!(matches!(open().check_backend("memory"), Err(DataDirError::OtherBackend { .. })));
        open().check_backend("text").unwrap();
    }

    #[test]
    fn logs_without_a_catalog_are_data_of_the_text_backend() {
        for log in ["t-1.txt", "db3/t-1.txt"] {
            let root = tempfile::tempdir().unwrap();
            drop(DataDir::open(root.path()).unwrap());
            let log = root.path().join(log);
            fs::create_dir_all(log.parent().unwrap()).unwrap();
            fs::create_dir_all(root.path().join("index/db1")).unwrap();
            fs::write(root.path().join("index/t-1.txt"), "x").unwrap();
            // One that a start made which came no further.
            fs::write(&log, "").unwrap();
            let dir = DataDir::open(root.path()).unwrap();
            assert!(!dir.holds_data());
            dir.check_backend("sqlite").unwrap();
            drop(dir);
            fs::write(&log, "{}\n").unwrap();
            let dir = DataDir::open(root.path()).unwrap();
            assert!(dir.holds_data());
            dir.check_backend("text").unwrap();
            assert!(matches!(dir.check_backend("sqlite"), Err(DataDirError::OtherBackend { .. })));
        }
    }

    #[test]
    fn lines_of_the_format_that_nobody_knows_are_refused() {
        assert_eq!(parse_format("wafka 1\nbackend a b\n"), Ok("a b".to_owned()));
        for (text, found) in [
            ("wafka 1\nshards 4\n", "shards 4"),
            ("wafka 1\nbackend x\nshards 4\n", "shards 4"),
            ("wafka 1\nbackend \n", "backend"),
            ("", ""),
        ] {
            assert_eq!(parse_format(text), Err(found.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn other_people_s_directories_are_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("thesis.tex"), "x").unwrap();
        let error = DataDir::open(root.path()).unwrap_err().to_string();
        assert!(error.contains("thesis.tex"), "{error}");
        assert!(!root.path().join(FORMAT).exists());
    }

    #[test]
    fn what_cannot_be_a_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("file");
        fs::write(&path, "x").unwrap();
        let error = DataDir::open(&path).unwrap_err().to_string();
        assert!(error.contains("cannot create") && error.contains("file"), "{error}");
    }
}
