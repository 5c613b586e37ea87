//! The directory: its database files, and which log is in which.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use wafka_plugin_sdk::storage::{BrokerId, LogName, StorageError};

use crate::connect::sync_parent;
use crate::database::Database;
use crate::deleted::delete_logs;
use crate::error::{io_error, refused};
use crate::log::{Log, View};
use crate::options::Options;
use crate::schema;

/// The directories that this process has open.
static OPEN: Mutex<Vec<Weak<Home>>> = Mutex::new(Vec::new());

/// What the storage and its shards share.
pub(crate) struct Home {
    pub dir: PathBuf,
    options: Options,
    databases: Mutex<BTreeMap<u16, Arc<Database>>>,
    logs: Mutex<HashMap<LogName, Entry>>,
    /// Held while logs are made or deleted.
    changing: Mutex<()>,
    generations: AtomicU32,
    /// One server for a directory. It is dropped last.
    _lock: DirectoryLock,
}

struct DirectoryLock(File);

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // A child of this process that has not come to run its program yet has the file open, too.
        if let Err(error) = self.0.unlock() {
            log::warn!("the databases' directory is not unlocked before the process ends: {error}");
        }
    }
}

/// A log to be deleted: its name, its number and its table.
type Gone = (LogName, i64, String);

/// Where a log is.
#[derive(Clone)]
struct Entry {
    database: Arc<Database>,
    id: i64,
    table: String,
    /// Who has it open.
    open: bool,
    log: Option<Arc<Log>>,
}

impl Home {
    /// Takes the directory, made when it is missing, and opens every database in it. Where this process has it open
    /// already, as long as somebody holds a reader for example, both are the same one.
    pub fn open(dir: &Path, options: Options) -> Result<Arc<Self>, StorageError> {
        let fault = |error: io::Error| io_error(dir.display(), "open", dir, &error);
        // SQLite takes a name that begins with `file:` for a URI; one that begins with `/` it takes as it is.
        let dir = std::path::absolute(dir).map_err(fault)?;
        let fault = |error: io::Error| io_error(dir.display(), "open", &dir, &error);
        if !dir.is_dir() {
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o750).create(&dir);
            made.and_then(|()| sync_parent(&dir)).map_err(fault)?;
        }
        let mut open = OPEN.lock();
        open.retain(|home| home.strong_count() > 0);
        if let Some(home) = open.iter().filter_map(Weak::upgrade).find(|home| home.dir == dir) {
            if home.options == options {
                return Ok(home);
            }
            let kind = io::ErrorKind::ResourceBusy;
            return Err(refused(dir.display(), "open", kind, "this process has it open with other options"));
        }
        let lock = lock(&dir)?;
        let home = Home {
            options,
            databases: Mutex::default(),
            logs: Mutex::default(),
            changing: Mutex::new(()),
            generations: AtomicU32::new(1),
            _lock: lock,
            dir: dir.clone(),
        };
        for entry in fs::read_dir(&dir).map_err(fault)? {
            let name = entry.map_err(fault)?.file_name();
            if let Some(broker) = name.to_str().and_then(broker_of_file) {
                home.database(broker)?;
            }
        }
        let home = Arc::new(home);
        open.push(Arc::downgrade(&home));
        Ok(home)
    }

    pub fn next_generation(&self) -> u32 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    /// The file of a broker, made when it is missing.
    fn database(&self, broker: u16) -> Result<Arc<Database>, StorageError> {
        let mut databases = self.databases.lock();
        if let Some(database) = databases.get(&broker) {
            return Ok(Arc::clone(database));
        }
        let path = self.dir.join(format!("broker-{broker}.db"));
        let database = Arc::new(Database::open(&path, &self.options)?);
        let found = database.read(schema::logs);
        let found = found.map_err(|error| crate::error::failed(path.display(), "open", &path, &error))?;
        let mut logs = self.logs.lock();
        for (name, id, table) in found {
            if let Some(other) = logs.get(&name) {
                let other = other.database.path.display();
                let reason =
                    format!("the log is in {} and in {other}, expected in one of them", path.display());
                return Err(refused(&name, "open", io::ErrorKind::InvalidData, &reason));
            }
            let database = Arc::clone(&database);
            logs.insert(name, Entry { database, id, table, open: false, log: None });
        }
        databases.insert(broker, Arc::clone(&database));
        Ok(database)
    }

    /// The file of a broker, if there is one by now.
    pub fn database_if_any(&self, broker: BrokerId) -> Option<Arc<Database>> {
        self.databases.lock().get(&broker.0).cloned()
    }

    /// The file that a log is in.
    #[cfg(test)]
    pub fn database_of(&self, name: &LogName) -> Option<Arc<Database>> {
        self.logs.lock().get(name).map(|entry| Arc::clone(&entry.database))
    }

    pub fn list(&self) -> Vec<LogName> {
        self.logs.lock().keys().cloned().collect()
    }

    /// Makes logs, all of a file in one transaction; those of no partition in the file of `broker`.
    pub fn create(&self, names: &[LogName], broker: BrokerId) -> Result<(), StorageError> {
        let _changing = self.changing.lock();
        let mut missing: BTreeMap<u16, Vec<&LogName>> = BTreeMap::new();
        for name in names {
            check_name(name, "create")?;
            if !self.logs.lock().contains_key(name) {
                let of = missing.entry(partition_of(name).unwrap_or(broker.0)).or_default();
                if !of.contains(&name) {
                    of.push(name);
                }
            }
        }
        for (broker, names) in missing {
            let database = self.database(broker)?;
            let (made, ticket) = database.change(database.path.display(), "create", |conn| {
                names
                    .iter()
                    .map(|name| schema::create_log(conn, name, database.next_id()))
                    .collect::<Result<Vec<_>, _>>()
            })?;
            let mut logs = self.logs.lock();
            for (name, (id, table)) in names.into_iter().zip(made) {
                let database = Arc::clone(&database);
                logs.insert(name.clone(), Entry { database, id, table, open: false, log: None });
            }
            drop(logs);
            // They are there, even if that cannot be made sure of.
            let waited = database.wait(ticket);
            waited.map_err(|reason| {
                refused(database.path.display(), "create", io::ErrorKind::Other, &reason)
            })?;
        }
        Ok(())
    }

    /// Takes a log that nobody has open; `None` when there is no such log.
    pub fn claim(self: &Arc<Self>, name: &LogName) -> Result<Option<(Claim, Arc<Log>)>, StorageError> {
        check_name(name, "open")?;
        let mut logs = self.logs.lock();
        let Some(entry) = logs.get_mut(name) else { return Ok(None) };
        if std::mem::replace(&mut entry.open, true) {
            let kind = io::ErrorKind::ResourceBusy;
            return Err(refused(name, "open", kind, "the log is open already"));
        }
        let view = View { generation: self.next_generation(), hidden: Arc::default() };
        let log = Arc::new(Log::new(name.clone(), Arc::clone(&entry.database), entry.id, &entry.table, view));
        entry.log = Some(Arc::clone(&log));
        Ok(Some((Claim { home: Arc::clone(self), name: name.clone() }, log)))
    }

    /// Deletes logs that nobody has open.
    pub fn delete(&self, names: &[LogName]) -> Result<(), StorageError> {
        let _changing = self.changing.lock();
        let mut found: BTreeMap<PathBuf, (Arc<Database>, Vec<Gone>)> = BTreeMap::new();
        {
            let mut logs = self.logs.lock();
            for name in names {
                check_name(name, "delete")?;
                if logs.get(name).is_some_and(|entry| entry.open) {
                    let kind = io::ErrorKind::ResourceBusy;
                    return Err(refused(name, "delete", kind, "the log is open"));
                }
            }
            for name in names {
                // From here on nobody opens it; if it cannot be deleted the entry comes back.
                let Some(entry) = logs.remove(name) else { continue };
                if let Some(log) = &entry.log {
                    log.deleted.store(true, Ordering::Release);
                }
                let path = entry.database.path.clone();
                let of = found.entry(path).or_insert_with(|| (Arc::clone(&entry.database), Vec::new()));
                of.1.push((name.clone(), entry.id, entry.table));
            }
        }
        let mut result = Ok(());
        for (database, gone) in found.into_values() {
            let logs = gone.iter().map(|(_, id, table)| (*id, table.as_str()));
            let subject = database.path.display();
            let deleted = database.change_durably(subject, "delete", |conn| delete_logs(conn, logs));
            database.has_deleted.store(true, Ordering::Release);
            if let Err(error) = deleted {
                let mut logs = self.logs.lock();
                for (name, id, table) in gone {
                    let database = Arc::clone(&database);
                    logs.insert(name, Entry { database, id, table, open: false, log: None });
                }
                result = Err(error);
            }
        }
        result
    }
}

/// A log that nobody else may open or delete.
pub(crate) struct Claim {
    home: Arc<Home>,
    name: LogName,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(entry) = self.home.logs.lock().get_mut(&self.name) {
            entry.open = false;
        }
    }
}

fn lock(dir: &Path) -> Result<DirectoryLock, StorageError> {
    let path = dir.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o640).open(&path);
    let file = file.map_err(|error| io_error(dir.display(), "open", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(DirectoryLock(file)),
        Err(TryLockError::WouldBlock) => {
            let reason =
                format!("{}: another server has the databases of this directory open", path.display());
            Err(refused(dir.display(), "open", io::ErrorKind::ResourceBusy, &reason))
        }
        Err(TryLockError::Error(error)) => Err(io_error(dir.display(), "open", &path, &error)),
    }
}

/// The broker that a file belongs to, when the name is spelled as it is made.
fn broker_of_file(name: &str) -> Option<u16> {
    let broker = name.strip_prefix("broker-")?.strip_suffix(".db")?.parse().ok()?;
    (format!("broker-{broker}.db") == name).then_some(broker)
}

/// The broker of a partition's log, which its name ends in.
fn partition_of(name: &LogName) -> Option<u16> {
    let number = name.stem().rsplit_once('-')?.1;
    let broker: u16 = number.parse().ok().filter(|broker| *broker > 0)?;
    (broker.to_string() == number).then_some(broker)
}

/// Names are those of files, so that a log can change its backend.
fn check_name(log: &LogName, operation: &'static str) -> Result<(), StorageError> {
    let stem = log.stem();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-%".contains(&b);
    if !stem.is_empty() && !stem.starts_with('.') && stem.bytes().all(plain) {
        return Ok(());
    }
    let reason = "a log's name must be made of A-Z a-z 0-9 . _ - % and not begin with a dot";
    Err(refused(log, operation, io::ErrorKind::InvalidInput, reason))
}
