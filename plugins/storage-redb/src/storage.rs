//! The backend as a whole: opens the file, lists, makes and deletes logs.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;

use redb::{ReadableDatabase, ReadableTable};
use wafka_core::storage::{LogName, Shard, Storage, StorageError};
use wafka_core::{BrokerId, Database};
use wafka_plugin_sdk::log;

use crate::database::Home;
use crate::options::Options;
use crate::schema::{self, LOGS, TRIMS};
use crate::shard::RedbShard;
use crate::sweep;

/// The name that configuration uses.
pub(crate) const NAME: &str = "redb";
/// The directory within the data directory, and the file in it.
const DIR: &str = "redb";
const FILE: &str = "logs.redb";

/// The backend: all logs in one file.
pub struct RedbStorage {
    home: Arc<Home>,
    sweeper: Option<JoinHandle<()>>,
}

/// Opens the file below `data_dir`, made when it is missing.
///
/// # Errors
/// When an option is out of range, another process has the file open, it is no database or one of a newer version, it is
/// damaged, or the system refuses.
pub fn open(data_dir: &Path, options: Options) -> Result<RedbStorage, StorageError> {
    RedbStorage::open(data_dir, options)
}

impl RedbStorage {
    /// As [`open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(data_dir: &Path, options: Options) -> Result<Self, StorageError> {
        if let Some((option, expected)) = options.out_of_range() {
            return Err(StorageError::BadOption { backend: NAME.into(), option: option.into(), expected });
        }
        let dir = data_dir.join(DIR);
        let path = dir.join(FILE);
        let error = |source| StorageError::Io { log: path.display().to_string(), operation: "open", source };
        make_dir(data_dir, &dir).map_err(error)?;
        let (sender, receiver) = mpsc::sync_channel(1);
        let home = Home::open(path.clone(), options, sender).map_err(error)?;
        // The file's name must be on disk before anything in it counts.
        fs::File::open(&dir).and_then(|dir| dir.sync_all()).map_err(error)?;
        let home = Arc::new(home);
        let sweeper = sweep::start(&home, receiver).map_err(error)?;
        home.request_sweep();
        Ok(RedbStorage { home, sweeper: Some(sweeper) })
    }

    /// What all parts share.
    #[cfg(test)]
    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }
}

impl Drop for RedbStorage {
    fn drop(&mut self) {
        *self.home.sweep.lock() = None;
        if let Some(sweeper) = self.sweeper.take()
            && sweeper.join().is_err()
        {
            log::error!("{}: the thread that removes trimmed lines panicked", self.home.path.display());
        }
    }
}

fn make_dir(data_dir: &Path, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::File::open(data_dir)?.sync_all()
}

impl Storage for RedbStorage {
    fn name(&self) -> &str {
        NAME
    }

    fn list(&self) -> Result<Vec<LogName>, StorageError> {
        let home = &self.home;
        home.ensure_open_to_read();
        let listed = home.with(|database| {
            let logs = database.begin_read()?.open_table(LOGS)?;
            let mut names = Vec::new();
            for entry in logs.iter()? {
                let (key, _) = entry?;
                let (number, stem) = key.value();
                names.push(LogName::new(Database(number), stem));
            }
            Ok(names)
        });
        listed.map_err(|error| home.error("list", error))
    }

    fn create(&self, names: &[LogName]) -> Result<(), StorageError> {
        let home = &self.home;
        let writing = home.writing.lock();
        let made = home.ensure_open(&writing).and_then(|()| {
            home.write(&writing, |transaction| {
                names.iter().try_for_each(|name| schema::row_or_new(transaction, name).map(drop))
            })
        });
        made.map_err(|error| home.error("create", error))
    }

    fn shard(&self, _broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        Ok(Box::new(RedbShard::new(Arc::clone(&self.home))))
    }

    fn delete(&self, names: &[LogName]) -> Result<(), StorageError> {
        let home = &self.home;
        let mut logs = home.logs.lock();
        for name in names {
            if logs.get(name).is_some_and(|log| log.state.read().open) {
                let source = io::Error::new(io::ErrorKind::ResourceBusy, "the log is open");
                return Err(home.log_error(name, "delete", source));
            }
        }
        let writing = home.writing.lock();
        let deleted = home.ensure_open(&writing).and_then(|()| {
            home.write(&writing, |transaction| {
                let mut rows = transaction.open_table(LOGS)?;
                let mut trims = transaction.open_table(TRIMS)?;
                for name in names {
                    let number = rows.remove(schema::key_of(name))?.map(|row| row.value().0);
                    if let Some(number) = number {
                        trims.insert(number, u64::MAX)?;
                    }
                }
                Ok(())
            })
        });
        deleted.map_err(|error| home.error("delete", error))?;
        for name in names {
            if let Some(log) = logs.remove(name) {
                let mut state = log.state.write();
                let end = state.stored;
                home.pending_bytes.fetch_sub(state.cut_to(end), Ordering::Relaxed);
                state.durable = end;
            }
        }
        drop(writing);
        home.request_sweep();
        Ok(())
    }
}
