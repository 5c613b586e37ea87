//! The database and what all shards, readers and rewrites share.

use std::any::Any;
use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard, RwLock};
use redb::{Database, Durability, ReadableDatabase, ReadableTableMetadata, WriteTransaction};
use wafka_core::storage::{LogName, StorageError};
use wafka_plugin_sdk::log;

use crate::disk::Disk;
use crate::journal;
use crate::log::Log;
use crate::options::Options;
use crate::rewrite::CUT_RUNS_MAX;
use crate::run;
use crate::schema::{self, FORMAT, RUNS, Unusable};

/// So long a database that failed is left alone before it is opened afresh again: it is read as a whole. Where that took
/// longer, it is left alone as long as it took, but not longer than so many times this.
const RECOVER_PAUSE: Duration = Duration::from_secs(1);
const RECOVER_PAUSES_MAX: u32 = 60;

/// What all parts of the backend share.
///
/// Locks are taken in this order: `logs`, `writing`, `database`, `unstored`, a log's state, `fresh`.
pub(crate) struct Home {
    pub path: PathBuf,
    pub options: Options,
    pub disk: Disk,
    /// `None` while it does not open.
    database: RwLock<Option<Database>>,
    /// Why the database cannot be trusted.
    failure: Mutex<Option<Arc<str>>>,
    /// Not before this it is opened afresh, whoever asks for it.
    pub recover_from: Mutex<Option<Instant>>,
    /// [`RECOVER_PAUSE`], but for tests.
    pub recover_pause: Mutex<Duration>,
    failed: AtomicBool,
    /// Held while anything is written, so that who waits for a commit finds that its lines were part of the last one.
    pub writing: Mutex<()>,
    /// The logs that were opened, whether a shard has them still or not.
    pub logs: Mutex<HashMap<LogName, Arc<Log>>>,
    /// Logs with lines that no commit has seen.
    pub fresh: Mutex<Vec<Arc<Log>>>,
    /// Logs with other lines that are not where they belong.
    pub unstored: Mutex<Vec<Arc<Log>>>,
    /// Bytes of lines in the journal.
    pub journal_bytes: AtomicUsize,
    /// With so many bytes pending an append commits.
    pub pending_bytes_max: AtomicUsize,
    /// Bytes of all lines that are not where they belong.
    pub pending_bytes: AtomicUsize,
    /// So many runs a rewrite cuts up at most: [`CUT_RUNS_MAX`], but for tests.
    pub cut_runs_max: AtomicUsize,
    generations: AtomicU32,
    /// Whether it was said that a process that is killed loses what no sync has reached.
    pub told_of_unsynced: AtomicBool,
    /// Wakes the thread that removes what rewrites and deletions left.
    pub sweep: Mutex<Option<SyncSender<()>>>,
}

impl Home {
    pub(crate) fn open(path: PathBuf, options: Options, sweep: SyncSender<()>) -> io::Result<Self> {
        let disk = Disk::open(&path)?;
        let database = connect(&disk, &options)?;
        let pending_bytes_max = options.pending_bytes();
        let replayed = caught(|| {
            // A disk that is full need not hinder anybody from reading.
            if database.begin_read()?.open_table(schema::JOURNAL)?.is_empty()? {
                return Ok(());
            }
            let transaction = database.begin_write()?;
            journal::replay(&transaction)?;
            Ok(transaction.commit()?)
        });
        replayed.map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?.map_err(explain)?;
        Ok(Home {
            path,
            disk,
            database: RwLock::new(Some(database)),
            failure: Mutex::new(None),
            recover_from: Mutex::new(None),
            recover_pause: Mutex::new(RECOVER_PAUSE),
            failed: AtomicBool::new(false),
            writing: Mutex::new(()),
            logs: Mutex::default(),
            fresh: Mutex::default(),
            unstored: Mutex::default(),
            journal_bytes: AtomicUsize::new(0),
            options,
            pending_bytes_max: AtomicUsize::new(pending_bytes_max),
            pending_bytes: AtomicUsize::new(0),
            cut_runs_max: AtomicUsize::new(CUT_RUNS_MAX),
            generations: AtomicU32::new(1),
            told_of_unsynced: AtomicBool::new(false),
            sweep: Mutex::new(Some(sweep)),
        })
    }

    pub(crate) fn next_generation(&self) -> u32 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    /// Does something with the database. redb may panic over a damaged file: that is an error like others.
    pub(crate) fn with<T>(&self, run: impl FnOnce(&Database) -> Result<T, redb::Error>) -> io::Result<T> {
        let database = self.database.read();
        let (Some(database), false) = (&*database, self.failed.load(Ordering::Acquire)) else {
            return Err(self.unavailable());
        };
        let result = caught(|| run(database));
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                let lasting = !matches!(error, redb::Error::Corrupted(_) | redb::Error::ValueTooLarge(_));
                let error = explain(error);
                if lasting {
                    self.fail(&error.to_string());
                }
                Err(error)
            }
            Err(reason) => {
                self.fail(&reason);
                Err(io::Error::new(io::ErrorKind::InvalidData, reason))
            }
        }
    }

    /// Writes in one transaction. `writing` shows that nobody else does.
    pub(crate) fn write<T>(
        &self,
        _writing: &MutexGuard<'_, ()>,
        run: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> io::Result<T> {
        self.with(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.set_quick_repair(self.options.quick_repair);
            let value = run(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
    }

    /// Notes that the database must be opened afresh before anything is done with it.
    fn fail(&self, reason: &str) {
        let mut failure = self.failure.lock();
        if failure.is_none() {
            log::error!(
                "{}: the database failed and is going to be opened afresh: {reason}",
                self.path.display()
            );
        }
        *failure = Some(reason.into());
        self.failed.store(true, Ordering::Release);
    }

    fn unavailable(&self) -> io::Error {
        let failure = self.failure.lock();
        let reason = failure.as_deref().unwrap_or("it is not open");
        io::Error::other(format!("the database failed and is not open again: {reason}"))
    }

    /// Sees to it that the database is open: one that failed is opened afresh, unless it was just now.
    pub(crate) fn ensure_open(&self, writing: &MutexGuard<'_, ()>) -> io::Result<()> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.recover_from.lock().is_some_and(|from| Instant::now() < from) {
            return Err(self.unavailable());
        }
        let begun = Instant::now();
        let recovered = self.recover(writing);
        let pause = *self.recover_pause.lock();
        *self.recover_from.lock() =
            Some(Instant::now() + pause.max(begun.elapsed().min(pause * RECOVER_PAUSES_MAX)));
        recovered
    }

    /// As [`Home::ensure_open`], for readers: unless somebody writes, who has to do it then.
    pub(crate) fn ensure_open_to_read(&self) {
        if self.failed.load(Ordering::Acquire)
            && let Some(writing) = self.writing.try_lock()
            // What went wrong is said by the read itself.
            && let Err(error) = self.ensure_open(&writing)
        {
            log::debug!("{}: not open: {error}", self.path.display());
        }
    }

    /// Opens the database afresh, as it stood at some commit, and takes back what the failed one may have
    /// brought: those lines are pending still.
    fn recover(&self, writing: &MutexGuard<'_, ()>) -> io::Result<()> {
        let reopened = {
            let mut database = self.database.write();
            let old = database.take();
            // A database that panicked once may do so again.
            let reopened = caught(move || drop(old))
                .or(Ok(()))
                .and_then(|()| self.disk.write_unsynced_again())
                .and_then(|()| connect(&self.disk, &self.options));
            reopened.map(|opened| *database = Some(opened))
        };
        if let Err(error) = reopened {
            self.fail(&error.to_string());
            return Err(error);
        }
        self.failed.store(false, Ordering::Release);
        self.settle(writing)?;
        *self.failure.lock() = None;
        log::info!("{}: the database is open again", self.path.display());
        Ok(())
    }

    /// Takes back what a commit that failed has brought all the same, and writes what is durable where it belongs: whether
    /// the journal still has it is not known.
    fn settle(&self, writing: &MutexGuard<'_, ()>) -> io::Result<()> {
        let logs: Vec<Arc<Log>> = self.unstored.lock().clone();
        let mut durable = Vec::with_capacity(logs.len());
        self.write(writing, |transaction| {
            let mut runs = transaction.open_table(RUNS)?;
            for log in &logs {
                let state = log.state.read();
                let (stored, end) = (state.stored, state.durable);
                let pending: Vec<_> =
                    state.pending.iter().filter(|pending| pending.first < end).cloned().collect();
                drop(state);
                if run::end_of(&runs, log.number)?.0 > stored {
                    run::cut(&mut runs, log.number, stored)?;
                }
                run::insert_all(&mut runs, log.number, pending.iter().map(|pending| pending.run()))?;
                durable.push(end);
            }
            journal::clear(transaction)
        })?;
        for (log, end) in logs.iter().zip(durable) {
            let bytes = log.state.write().commit(end);
            self.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.journal_bytes.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Says, once, that what is appended counts before a sync: nothing of it is on disk then.
    pub(crate) fn tell_of_unsynced(&self) {
        if !self.told_of_unsynced.swap(true, Ordering::Relaxed) {
            log::warn!(
                "{}: fsync is not \"always\": events that are acknowledged and not synced are in memory alone, and lost \
                 when the server is killed",
                self.path.display()
            );
        }
    }

    /// Wakes the sweeper.
    pub(crate) fn request_sweep(&self) {
        if let Some(sender) = &*self.sweep.lock() {
            // One that is full wakes it as well.
            let _ = sender.try_send(());
        }
    }

    /// An error about the database as a whole.
    pub(crate) fn error(&self, operation: &'static str, source: io::Error) -> StorageError {
        StorageError::Io { log: self.path.display().to_string(), operation, source }
    }

    /// An error about one log.
    pub(crate) fn log_error(
        &self,
        log: &LogName,
        operation: &'static str,
        source: io::Error,
    ) -> StorageError {
        StorageError::Io { log: format!("{log} in {}", self.path.display()), operation, source }
    }
}

/// Opens the database in the file, verifies it where a crash made that necessary, and checks its format.
fn connect(disk: &Disk, options: &Options) -> io::Result<Database> {
    #[cfg(test)]
    disk.faults.on_connect();
    let opened = caught(|| {
        let mut builder = Database::builder();
        builder.set_cache_size(options.cache_bytes());
        let database = builder.create_with_backend(disk.clone())?;
        schema::prepare(&database)?;
        // A table that is missing is found now, not in the middle of something.
        let transaction = database.begin_read()?;
        transaction.open_table(schema::LOGS)?;
        transaction.open_table(RUNS)?;
        transaction.open_table(schema::TRIMS)?;
        transaction.open_table(schema::JOURNAL)?;
        Ok(database)
    });
    let invalid = |reason| io::Error::new(io::ErrorKind::InvalidData, reason);
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(Unusable::Format(found))) => Err(invalid(format!(
            "the tables have format {found}, expected {FORMAT}: a newer version made them"
        ))),
        Ok(Err(Unusable::Redb(error))) => Err(explain(error)),
        Err(reason) => Err(invalid(reason)),
    }
}

/// Runs something of redb's; a panic becomes an error.
fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    // What is left half done is thrown away: the database is opened afresh after a panic.
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        format!("the database engine panicked, the file may be damaged: {}", text_of(&*panic))
    })
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no text",
    }
}

/// The system's own error where there is one.
fn explain(error: redb::Error) -> io::Error {
    let kind = match &error {
        redb::Error::Io(_) => None,
        redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) => Some(io::ErrorKind::InvalidData),
        redb::Error::TableTypeMismatch { .. } | redb::Error::TableDoesNotExist(_) => {
            Some(io::ErrorKind::InvalidData)
        }
        redb::Error::DatabaseAlreadyOpen => Some(io::ErrorKind::ResourceBusy),
        _ => Some(io::ErrorKind::Other),
    };
    match (kind, error) {
        (None, redb::Error::Io(error)) => error,
        (kind, error) => io::Error::new(kind.unwrap_or(io::ErrorKind::Other), error.to_string()),
    }
}
