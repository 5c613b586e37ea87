//! One database file: one connection writes it, a few read it.
//!
//! ```text
//! append   rows go into the open transaction, or into one of their own          the shard's thread
//! commit   the transaction's pages are written into the write-ahead log (WAL)   the shard's thread, or a reader that needs the lines
//! wait     the WAL is synced                                                    any thread, while appends go on
//! tidy     the WAL's pages are copied into the database file, both synced       the shard's thread, between two turns
//! ```
//!
//! SQLite runs with `synchronous = NORMAL`: a commit writes the WAL and does not sync it. [`Database::wait`] does, on a
//! descriptor of its own, which is what `synchronous = FULL` does at the end of every commit
//! (<https://sqlite.org/pragma.html#pragma_synchronous>); done apart, one sync covers many commits, and the next
//! transaction begins while it runs. Everything else that keeps a database whole is SQLite's: the WAL is synced before
//! it is copied, the file before the WAL begins anew, and each page in the WAL has a checksum.
//!
//! A sync that failed is not repeated: the file is opened anew by the next [`crate::shard`] that reopens a log, after
//! what the WAL holds was written once more.

mod writer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;
use wafka_plugin_sdk::storage::{Batch, StorageError};

use crate::connect::{connect, connect_reader, wal_path};
use crate::error::{explained, failed};
use crate::log::Log;
use crate::options::Options;
use crate::{insert, schema};

/// So many connections for reading are kept.
const READERS_IDLE_MAX: usize = 8;
/// A log's size is noted in the database when it grew by this much, so that an opening counts little more.
const NOTE_BYTES: u64 = 4 << 20;
/// Somebody who starts may find the file locked for a moment, and nothing waits for it yet: so long it waits.
const OPENING_WAIT: Duration = Duration::from_secs(5);
/// What was in vain, waiting for a lock or opening the file anew, is not tried again before. Each of the logs of a file
/// asks for itself, and the other logs of the broker, of other backends, too, wait as long as it takes.
const REST_MAX: Duration = Duration::from_secs(1);

/// One database file.
pub(crate) struct Database {
    pub path: PathBuf,
    options: Options,
    writer: Mutex<Writer>,
    /// Connections that nobody uses just now.
    readers: Mutex<Vec<Connection>>,
    /// Held by whoever reads; taken alone to close every connection.
    gate: RwLock<()>,
    /// How many transactions were committed.
    commits: AtomicU64,
    /// So many of them are durable.
    synced: AtomicU64,
    /// Counts how often the file was opened.
    epoch: AtomicU64,
    /// Whether a sync failed since then.
    sync_failed: AtomicBool,
    /// Held while the WAL is synced; nothing else waits for that.
    sync: Mutex<SyncState>,
    /// Pages in the WAL after the last commit.
    wal_pages: Arc<AtomicU32>,
    /// The number of the next log; none is given out twice, so that nobody mistakes one log for another.
    next_id: AtomicI64,
    /// Whether tables of deleted logs may be left.
    pub has_deleted: AtomicBool,
    /// The WAL is copied when it has so many.
    tidy_at: AtomicU32,
    #[cfg(test)]
    pub faults: crate::tests::Faults,
}

struct Writer {
    /// `None` when the file could not be opened anew.
    conn: Option<Connection>,
    /// The logs with lines in the open transaction.
    pending: Vec<Arc<Log>>,
    /// Somebody else has the file locked; until then nobody looks whether they still have.
    locked_until: Option<Instant>,
    /// The file could not be opened anew; when that is tried again, and why it failed.
    broken_until: Option<(Instant, String)>,
}

struct SyncState {
    wal: File,
    /// Why no sync is worth anything until the file is opened anew.
    failed: Option<Arc<str>>,
}

impl Writer {
    /// Whether no transaction is open.
    fn is_idle(&self) -> bool {
        self.conn.as_ref().is_none_or(Connection::is_autocommit)
    }
}

/// What a sync has to cover.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    commit: u64,
    epoch: u64,
}

impl Database {
    /// Opens the file, or makes it.
    pub fn open(path: &Path, options: &Options) -> Result<Self, StorageError> {
        let wal_pages = Arc::new(AtomicU32::new(0));
        let wait = OPENING_WAIT.max(options.busy_timeout());
        let (conn, wal) = connect(path, options, wait, &wal_pages)?;
        let next_id = schema::next_id(&conn).map_err(|error| failed(path.display(), "open", path, &error))?;
        let writer = Writer { conn: Some(conn), pending: Vec::new(), locked_until: None, broken_until: None };
        Ok(Database {
            path: path.to_owned(),
            options: options.clone(),
            writer: Mutex::new(writer),
            readers: Mutex::default(),
            gate: RwLock::new(()),
            commits: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            epoch: AtomicU64::new(1),
            sync_failed: AtomicBool::new(false),
            sync: Mutex::new(SyncState { wal, failed: None }),
            wal_pages,
            next_id: AtomicI64::new(next_id),
            has_deleted: AtomicBool::new(true),
            tidy_at: AtomicU32::new(options.checkpoint_pages),
            #[cfg(test)]
            faults: crate::tests::Faults::default(),
        })
    }

    /// A number for a log to be made.
    pub fn next_id(&self) -> i64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Appends lines. With `keep_open` they stay in the open transaction until [`Database::commit`]. When it fails the
    /// whole transaction is taken back, and every log with lines in it is poisoned.
    pub fn append(&self, log: &Arc<Log>, batch: Batch<'_>, keep_open: bool) -> Result<(), StorageError> {
        let mut writer = self.writer.lock();
        let bytes = log.bytes.load(Ordering::Acquire) + batch.bytes.len() as u64;
        let end = batch.first_offset + batch.lines;
        let note = bytes >= log.noted_bytes.load(Ordering::Relaxed).saturating_add(NOTE_BYTES);
        let begun = if writer.is_idle() { self.begin(&mut writer) } else { Ok(()) };
        let appended = begun.and_then(|()| self.connection(&writer)).and_then(|conn| {
            #[cfg(test)]
            self.faults.append(&log.name)?;
            insert::lines(conn, log, batch)?;
            if note {
                schema::note_bytes(conn, log.id, end, bytes)?;
            }
            Ok(())
        });
        if let Err(error) = appended {
            let error = self.append_failed(&writer, log, batch, &error);
            log.poison(&error.to_string());
            self.abandon(
                &mut writer,
                &format!("a transaction with lines of this log was taken back: {error}"),
            );
            return Err(error);
        }
        log.set_bytes(bytes);
        if note {
            log.noted_bytes.store(bytes, Ordering::Relaxed);
        }
        if !log.uncommitted.swap(true, Ordering::AcqRel) {
            writer.pending.push(Arc::clone(log));
        }
        if !keep_open {
            self.commit_open(&mut writer).map_err(|error| failed(&log.name, "append", &self.path, &error))?;
        }
        Ok(())
    }

    /// Why lines could not be inserted. A row that is there already was written by somebody else.
    fn append_failed(
        &self,
        writer: &Writer,
        log: &Log,
        batch: Batch<'_>,
        error: &rusqlite::Error,
    ) -> StorageError {
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
            && let Some(conn) = &writer.conn
            && let Ok(end) = schema::end(conn, log.id, &log.table)
        {
            return StorageError::Fenced { log: log.name.clone(), batch: batch.first_offset, end };
        }
        failed(&log.name, "append", &self.path, error)
    }

    /// Commits what is in the open transaction, so that every reader sees it. When that fails the logs concerned are
    /// poisoned.
    pub fn commit(&self) -> Result<Ticket, Arc<str>> {
        let mut writer = self.writer.lock();
        self.commit_open(&mut writer)
            .map_err(|error| Arc::from(explained(&self.path, &error).to_string()))?;
        Ok(self.ticket())
    }

    /// Looks at what is there, on the connection that writes. The ticket covers what was found.
    pub fn look<T>(
        &self,
        subject: impl ToString,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<(T, Ticket), StorageError> {
        let mut writer = self.writer.lock();
        self.mend(&mut writer)?;
        let found = self.commit_open(&mut writer).and_then(|()| look(self.connection(&writer)?));
        let found = found.map_err(|error| failed(subject, "open", &self.path, &error))?;
        Ok((found, self.ticket()))
    }

    /// Makes a change in a transaction of its own, for `subject`; to be durable it must be waited for.
    pub fn change<T>(
        &self,
        subject: impl ToString,
        operation: &'static str,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<(T, Ticket), StorageError> {
        let mut writer = self.writer.lock();
        self.mend(&mut writer)?;
        let begun = self.commit_open(&mut writer).and_then(|()| self.begin(&mut writer));
        let changed = begun.and_then(|()| {
            let conn = self.connection(&writer)?;
            let changed = change(conn)?;
            conn.prepare_cached("COMMIT")?.execute([])?;
            Ok(changed)
        });
        match changed {
            Ok(changed) => {
                self.commits.fetch_add(1, Ordering::AcqRel);
                Ok((changed, self.ticket()))
            }
            Err(error) => {
                let error = failed(subject, operation, &self.path, &error);
                self.abandon(&mut writer, &error.to_string());
                Err(error)
            }
        }
    }

    /// As [`Database::change`], and waits until it is durable.
    pub fn change_durably<T>(
        &self,
        subject: impl ToString,
        operation: &'static str,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StorageError> {
        let subject = subject.to_string();
        let (changed, ticket) = self.change(&subject, operation, change)?;
        self.wait(ticket).map_err(|reason| StorageError::Io {
            log: subject,
            operation,
            source: io::Error::other(reason.to_string()),
        })?;
        Ok(changed)
    }

    /// Waits until what the ticket stands for is durable.
    pub fn wait(&self, ticket: Ticket) -> Result<(), Arc<str>> {
        let mut sync = self.sync.lock();
        if let Some(reason) = &sync.failed {
            return Err(Arc::clone(reason));
        }
        if self.epoch.load(Ordering::Acquire) != ticket.epoch {
            return Err(
                "the database was opened anew after a failure, before this was known to be durable".into()
            );
        }
        if self.synced.load(Ordering::Acquire) >= ticket.commit {
            return Ok(());
        }
        // What is committed while the sync runs, it may miss.
        let covered = self.commits.load(Ordering::Acquire);
        #[cfg(test)]
        let synced = self.faults.sync().and_then(|()| sync.wal.sync_data());
        #[cfg(not(test))]
        let synced = sync.wal.sync_data();
        if let Err(error) = synced {
            let reason: Arc<str> = format!("sync of {}: {error}", wal_path(&self.path).display()).into();
            sync.failed = Some(Arc::clone(&reason));
            self.sync_failed.store(true, Ordering::Release);
            return Err(reason);
        }
        self.synced.store(covered, Ordering::Release);
        Ok(())
    }

    /// Whether what a ticket stands for is known to be durable, or never will be.
    pub fn is_settled(&self, ticket: Ticket) -> bool {
        self.epoch.load(Ordering::Acquire) != ticket.epoch
            || self.synced.load(Ordering::Acquire) >= ticket.commit
    }

    /// How many transactions were committed.
    #[cfg(test)]
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }

    /// How many syncs there were.
    #[cfg(test)]
    pub fn syncs(&self) -> u64 {
        self.faults.syncs()
    }

    /// Reads on a connection of its own: a snapshot for each statement.
    pub fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let _open = self.gate.read();
        let idle = self.readers.lock().pop();
        let conn = match idle {
            Some(conn) => conn,
            None => connect_reader(&self.path, &self.options)?,
        };
        // A connection whose read failed is closed.
        let found = read(&conn)?;
        let mut idle = self.readers.lock();
        if idle.len() < READERS_IDLE_MAX {
            idle.push(conn);
        }
        Ok(found)
    }

    /// Copies the WAL into the database file when it has grown long enough.
    pub fn tidy(&self) {
        if self.wal_pages.load(Ordering::Relaxed) >= self.tidy_at.load(Ordering::Relaxed) {
            self.copy_wal(&self.writer.lock());
        }
    }

    fn copy_wal(&self, writer: &Writer) {
        let (pages, step) = (self.wal_pages.load(Ordering::Relaxed), self.options.checkpoint_pages);
        let Some(conn) = writer.conn.as_ref().filter(|conn| conn.is_autocommit()) else { return };
        let next = match conn.wal_checkpoint_v2(None::<&str>, rusqlite::wal::CheckpointMode::PASSIVE) {
            Ok((all, copied)) if copied >= all => {
                // The next transaction begins it anew.
                self.wal_pages.store(0, Ordering::Relaxed);
                step
            }
            // A reader still needs some of it.
            Ok(_) => pages.saturating_add(step / 4),
            Err(error) => {
                log::warn!(
                    "{}: write-ahead log not copied, it grows meanwhile: {error}",
                    self.path.display()
                );
                pages.saturating_add(step)
            }
        };
        self.tidy_at.store(next, Ordering::Relaxed);
    }

    fn ticket(&self) -> Ticket {
        // The caller holds the writer's lock, under which alone both change.
        Ticket { commit: self.commits.load(Ordering::Acquire), epoch: self.epoch.load(Ordering::Acquire) }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let mut writer = self.writer.lock();
        if let Err(error) = self.commit_open(&mut writer) {
            log::error!("{}: closed without its last transaction: {error}", self.path.display());
        }
        // The last connection to be closed copies the WAL, and only the writer can.
        self.readers.lock().clear();
        writer.conn = None;
    }
}
