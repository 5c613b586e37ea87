//! The text backend: one file of lines per log, that anyone can read.
//!
//! ```text
//! <dir>/deliveries-1.txt           the logs of database 0
//! <dir>/db3/orders-2.txt           those of database 3
//! <dir>/deliveries-1.txt.7.tmp     a rewrite under way; removed at the next start
//! <dir>/wafka.commit-1.log         the commit journal of broker 1; see `commit/mod.rs`
//! ```
//!
//! * A log's file is only appended to, one write per batch. Its end is the position behind the last whole line that was
//!   appended; readers see nothing behind it.
//! * Opening cuts a torn tail and reports every other byte that is no line; see the rules in `recover.rs`.
//! * A position belongs to a *generation* of its log. A rewrite begins a new one, and so does a reopening that cuts
//!   lines; readers that come with an older position look the offset up by bisection.

mod bisect;
mod blocks;
mod commit;
mod direct;
mod generation;
mod lines;
mod log;
mod put_off;
mod reader;
mod recover;
mod rewrite;
mod shard;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use wafka_core::storage::{LogName, Shard, Storage, StorageError};
use wafka_core::{BrokerId, Database};

pub use commit::{CommitJournalUse, DIRTY_FILES_MAX};

use crate::fs::{FileSystem, OpenMode};
use shard::TextShard;

/// What the name of every log's file ends in.
const LOG_ENDING: &str = ".txt";
/// What the name of every file ends in that is left over when found at a start.
const TEMPORARY_ENDING: &str = ".tmp";
/// The longest line there may be, in bytes, with its newline: a longer stretch without a newline is taken for damage when
/// a log is opened, so none may be appended. A request of 512 MiB stays below it when its values are few: each takes at
/// most a third more than its bytes, or 64 KiB. Many short values of control characters may take six times their bytes,
/// which whoever encodes lines has to refuse.
pub const LINE_BYTES_MAX: u64 = 1 << 30;
/// How much is read at once where a whole file is gone through.
const CHUNK_BYTES: usize = 1 << 20;

/// What the operating system writes to disk as one piece of a file.
const PAGE_BYTES: u64 = 4096;

/// How the text backend works.
#[derive(Clone, Debug)]
pub struct TextOptions {
    /// A stretch without a newline that is longer than this is taken for damage, in bytes.
    pub line_bytes_max: u64,
    /// When appends go through a commit journal, so that one sync covers many logs.
    pub commit_journal: CommitJournalUse,
    /// How large a broker's commit journal is, in bytes. It is made when it is first needed, in the background.
    pub commit_journal_bytes: u64,
    /// With [`wafka_core::storage::Shard::set_synced_first`], what is appended to further logs than so many between two
    /// syncs may wait in memory, for a fifth of a second: the commit journal holds it.
    pub written_at_once: usize,
    /// With [`wafka_core::storage::Shard::set_synced_first`], batches of at least so many bytes are written past the page
    /// cache where the file system can do that, unless the commit journal takes them.
    pub direct_bytes: usize,
    /// Whether what belongs into the background happens in the foreground, in a fixed order.
    #[cfg(test)]
    pub inline: bool,
}

impl Default for TextOptions {
    fn default() -> Self {
        TextOptions {
            line_bytes_max: LINE_BYTES_MAX,
            commit_journal: CommitJournalUse::Auto,
            commit_journal_bytes: 32 << 20,
            written_at_once: 16,
            direct_bytes: 64 << 10,
            #[cfg(test)]
            inline: false,
        }
    }
}

/// The backend that keeps every log as a text file. Its shards share it; only one may use a directory at a time, which
/// is for the caller to ensure.
pub struct TextStorage {
    home: Arc<Home>,
}

impl TextStorage {
    /// Takes a directory, made when it is missing; removes what unfinished rewrites left.
    ///
    /// # Errors
    /// When the directory cannot be made, read or synced.
    pub fn open(fs: Arc<dyn FileSystem>, dir: &Path, options: TextOptions) -> Result<Self, StorageError> {
        let home = Home {
            fs,
            dir: dir.to_owned(),
            options,
            generations: AtomicU32::new(1),
            open: Mutex::default(),
            unsure: Mutex::default(),
        };
        home.prepare().map_err(|source| home.error("open", source))?;
        Ok(TextStorage { home: Arc::new(home) })
    }
}

impl Storage for TextStorage {
    fn name(&self) -> &str {
        "text"
    }

    fn list(&self) -> Result<Vec<LogName>, StorageError> {
        let home = &self.home;
        let mut logs = Vec::new();
        for (database, dir) in home.directories().map_err(|source| home.error("list", source))? {
            for entry in home.fs.read_dir(&dir).map_err(|source| home.error("list", source))? {
                let stem = entry.name.to_str().and_then(|name| name.strip_suffix(LOG_ENDING));
                if let Some(stem) = stem.filter(|stem| !entry.is_dir && is_stem(stem)) {
                    logs.push(LogName::new(database, stem).with_ending(LOG_ENDING));
                }
            }
        }
        Ok(logs)
    }

    fn create(&self, logs: &[LogName]) -> Result<(), StorageError> {
        let home = &self.home;
        let mut directories = HashSet::new();
        for log in logs {
            home.check_name(log, "create")?;
            let dir = home.dir_of(log.database());
            let made = || {
                if log.database().0 > 0 && !directories.contains(&dir) {
                    home.fs.create_dir_all(&dir)?;
                    home.fs.sync_dir(&home.dir)?;
                }
                match home.fs.open(&home.path_of(log), OpenMode::CreateNew) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                    _ => Ok(()),
                }
            };
            made().map_err(|error| log_error(log, "create", error))?;
            directories.insert(dir);
        }
        for dir in directories {
            home.fs.sync_dir(&dir).map_err(|error| home.error("create", error))?;
        }
        Ok(())
    }

    fn shard(&self, broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        Ok(Box::new(TextShard::new(Arc::clone(&self.home), broker)))
    }

    fn delete(&self, logs: &[LogName]) -> Result<(), StorageError> {
        let home = &self.home;
        let mut directories = HashSet::new();
        for log in logs {
            home.check_name(log, "delete")?;
            // Held while the file goes, so that no shard opens it meanwhile.
            let _claim = home.claim(log, "delete")?;
            match home.fs.remove(&home.path_of(log)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(log_error(log, "delete", error));
                }
                // A file that is gone already may be gone since a deletion that could not sync the directory.
                _ => _ = directories.insert(home.dir_of(log.database())),
            }
            home.unsure.lock().remove(log);
        }
        for dir in directories {
            match home.fs.sync_dir(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(home.error("delete", error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What the storage, its shards and their logs share.
struct Home {
    fs: Arc<dyn FileSystem>,
    dir: PathBuf,
    options: TextOptions,
    /// The next generation. They are unique over all logs, so that a position from before a log was closed and opened
    /// again is known to be old.
    generations: AtomicU32,
    /// The logs that a shard has open.
    open: Mutex<HashSet<LogName>>,
    /// The logs whose files may hold bytes that are seen and not on disk, since a sync failed.
    unsure: Mutex<HashSet<LogName>>,
}

impl Home {
    /// Makes the directory, and what a killed process may have left unsynced in it, durable; clears it up.
    fn prepare(&self) -> io::Result<()> {
        self.fs.create_dir_all(&self.dir)?;
        if let Some(parent) = self.dir.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            self.fs.sync_dir(parent)?;
        }
        for (_, dir) in self.directories()? {
            for entry in self.fs.read_dir(&dir)? {
                let stem = entry.name.to_str().and_then(temporary_stem);
                if stem.is_some_and(is_stem) && !entry.is_dir {
                    tracing::info!(file = ?dir.join(&entry.name), "removing what an unfinished rewrite left");
                    self.fs.remove(&dir.join(&entry.name))?;
                }
            }
            self.fs.sync_dir(&dir)?;
        }
        commit::replay_all(self)
    }

    /// The directories of all databases there are.
    fn directories(&self) -> io::Result<Vec<(Database, PathBuf)>> {
        let mut found = vec![(Database(0), self.dir.clone())];
        for entry in self.fs.read_dir(&self.dir)? {
            if let Some(number) = entry.name.to_str().and_then(database_number).filter(|_| entry.is_dir) {
                found.push((Database(number), self.dir.join(&entry.name)));
            }
        }
        Ok(found)
    }

    fn dir_of(&self, database: Database) -> PathBuf {
        match database.0 {
            0 => self.dir.clone(),
            number => self.dir.join(format!("db{number}")),
        }
    }

    fn path_of(&self, log: &LogName) -> PathBuf {
        self.dir_of(log.database()).join(format!("{}{LOG_ENDING}", log.stem()))
    }

    fn temporary_path_of(&self, log: &LogName, generation: u32) -> PathBuf {
        let name = format!("{}{LOG_ENDING}.{generation}{TEMPORARY_ENDING}", log.stem());
        self.dir_of(log.database()).join(name)
    }

    fn next_generation(&self) -> u32 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a log for one user at a time; it is given back when the claim is dropped.
    fn claim(self: &Arc<Self>, log: &LogName, operation: &'static str) -> Result<Claim, StorageError> {
        if !self.open.lock().insert(log.clone()) {
            let source = io::Error::new(io::ErrorKind::ResourceBusy, "the log is open already");
            return Err(log_error(log, operation, source));
        }
        Ok(Claim { home: Arc::clone(self), log: log.clone() })
    }

    /// A stem that is no plain file name must not lead out of the directory.
    fn check_name(&self, log: &LogName, operation: &'static str) -> Result<(), StorageError> {
        if is_stem(log.stem()) {
            return Ok(());
        }
        let reason = "a log's name must be made of A-Z a-z 0-9 . _ - % and not begin with a dot";
        Err(log_error(log, operation, io::Error::new(io::ErrorKind::InvalidInput, reason)))
    }

    fn error(&self, operation: &'static str, source: io::Error) -> StorageError {
        StorageError::Io { log: self.dir.display().to_string(), operation, source: explained(source) }
    }
}

/// A log that nobody else may open or delete.
struct Claim {
    home: Arc<Home>,
    log: LogName,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.home.open.lock().remove(&self.log);
    }
}

fn is_stem(stem: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-%".contains(&b);
    !stem.is_empty() && !stem.starts_with('.') && stem.bytes().all(plain)
}

/// The stem of the log that a file of this name was to replace.
fn temporary_stem(name: &str) -> Option<&str> {
    let (rest, generation) = name.strip_suffix(TEMPORARY_ENDING)?.rsplit_once('.')?;
    generation.bytes().all(|b| b.is_ascii_digit()).then(|| rest.strip_suffix(LOG_ENDING)).flatten()
}

/// The number in `db3`, when it is spelled as [`Home::dir_of`] does.
fn database_number(name: &str) -> Option<u16> {
    let number = name.strip_prefix("db")?.parse().ok().filter(|number| *number > 0)?;
    (format!("db{number}") == name).then_some(number)
}

fn log_error(log: &LogName, operation: &'static str, source: io::Error) -> StorageError {
    let log = log.clone().with_ending(LOG_ENDING);
    StorageError::Io { log: log.to_string(), operation, source: explained(source) }
}

/// Says what to do where the system's own words do not.
fn explained(error: io::Error) -> io::Error {
    use rustix::io::Errno;
    let limit = match error.raw_os_error() {
        Some(code) if code == Errno::MFILE.raw_os_error() => "this process (see 'ulimit -n')",
        Some(code) if code == Errno::NFILE.raw_os_error() => "the system (see 'sysctl fs.file-max')",
        _ => return error,
    };
    io::Error::new(
        error.kind(),
        format!("{error}: each log takes one open file; raise the limit of {limit} or use fewer partitions"),
    )
}
