//! The storage backends in use: one that holds the catalog and every topic that names no other, and others beside it.
//!
//! A log's name says which backend it is in ([`LogName::backend`]); without that it is in the default one. A broker's
//! shard over several backends ([`shard`]) hands each log to its own, and one sync of it covers them all.
//!
//! A backend beside the default one is opened when it is first needed. One that is not configured, or does not open, keeps
//! what it holds: its topics are offline until it is back.

mod lease;
mod shard;
mod standing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wafka_core::storage::{LogName, Options, Owner, Ownership, Shard, Storage, StorageError, StorageFactory};
use wafka_core::{BrokerId, Database};

use lease::KeptLease;
use shard::BackendsShard;

pub use standing::BackendLease;
pub(crate) use standing::{Standing, TellLost};

/// A backend that did not open is not tried again before.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The most backends beside the default one: a log's slot has six bits for them, see [`shard`].
const OTHERS_MAX: usize = 62;

/// The storage backends that topics can be in. Clones are the same ones.
#[derive(Clone)]
pub struct Backends {
    all: Arc<All>,
}

struct All {
    name: Arc<str>,
    default: Arc<dyn Storage>,
    others: Vec<Other>,
    /// The server, as others are told of it.
    me: Owner,
}

/// A backend beside the default one.
struct Other {
    name: Arc<str>,
    factory: Arc<dyn StorageFactory>,
    data_dir: PathBuf,
    options: Options,
    opened: Mutex<Attempt>,
    /// What is known of the lease on its data, where there is one.
    standing: Arc<Standing>,
}

/// What became of opening a backend.
enum Attempt {
    None,
    Open(Arc<dyn Storage>, Option<KeptLease>),
    /// With the storage, if it is open and another server owns what it holds.
    Failed {
        reason: String,
        at: Instant,
        storage: Option<Arc<dyn Storage>>,
    },
}

/// A backend that topics may be in beside the default one.
pub struct BackendSource {
    /// What opens it.
    pub factory: Arc<dyn StorageFactory>,
    /// The data directory of the server.
    pub data_dir: PathBuf,
    /// The backend's options.
    pub options: Options,
}

impl Backends {
    /// One backend for everything.
    #[must_use]
    pub fn one(storage: Arc<dyn Storage>) -> Self {
        let name = storage.name().into();
        Backends { all: Arc::new(All { name, default: storage, others: Vec::new(), me: nobody() }) }
    }

    /// As [`Backends::of`], for a server that nobody else needs to know.
    ///
    /// # Errors
    /// As [`Backends::of`].
    pub fn new(
        name: &str,
        default: Arc<dyn Storage>,
        others: impl IntoIterator<Item = BackendSource>,
    ) -> Result<Self, StorageError> {
        Backends::of(nobody(), name, default, others)
    }

    /// The backends of the server `me`: a default one, by the name that configuration has for it, and others beside it, which are not opened yet.
    ///
    /// # Errors
    /// When two have one name, or there are more than can be told apart.
    pub fn of(
        me: Owner,
        name: &str,
        default: Arc<dyn Storage>,
        others: impl IntoIterator<Item = BackendSource>,
    ) -> Result<Self, StorageError> {
        let mut all = All { name: name.into(), default, others: Vec::new(), me };
        for BackendSource { factory, data_dir, options } in others {
            let name: Arc<str> = factory.name().into();
            let refused = if name == all.name || all.others.iter().any(|other| other.name == name) {
                Some("there are two of that name".to_owned())
            } else if all.others.len() == OTHERS_MAX {
                Some(format!("there are more than {OTHERS_MAX} backends beside '{}'", all.name))
            } else {
                None
            };
            if let Some(reason) = refused {
                return Err(StorageError::Unavailable { backend: name.to_string(), reason });
            }
            let (opened, standing) = (Mutex::new(Attempt::None), Standing::new(Arc::clone(&name)));
            all.others.push(Other { name, factory, data_dir, options, opened, standing });
        }
        Ok(Backends { all: Arc::new(all) })
    }

    /// Who may write what the default backend holds, where several servers reach it: the lease is to be acquired before an
    /// engine starts, kept, and given up behind its end. The leases of the others are seen to here.
    #[must_use]
    pub fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        self.all.default.ownership()
    }

    /// The name of the default backend, which holds the catalog.
    #[must_use]
    pub fn default_name(&self) -> &str {
        &self.all.name
    }

    /// The names there are, the default one first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.all.name).chain(self.all.others.iter().map(|other| &*other.name))
    }

    /// What became of the leases on backends beside the default one, those that there are.
    pub fn leases(&self) -> impl Iterator<Item = BackendLease> {
        self.all.others.iter().filter_map(|other| other.standing.info())
    }

    /// The standing of a backend, unless it is the default one.
    pub(crate) fn standing(&self, backend: Option<&str>) -> Option<Arc<Standing>> {
        let other = self.all.others.iter().find(|other| Some(&*other.name) == backend);
        other.map(|other| Arc::clone(&other.standing))
    }

    /// Has `tell` called with a backend's name when the lease on its data is lost.
    pub(crate) fn on_lost(&self, tell: &Arc<TellLost>) {
        self.all.others.iter().for_each(|other| other.standing.on_lost(Arc::clone(tell)));
    }

    /// Whether what the default backend holds, and with it the catalog, is there after a restart.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.all.default.is_durable()
    }

    /// Opens a backend now, if it is not open.
    ///
    /// # Errors
    /// When there is none of that name, or it does not open.
    pub fn open(&self, name: &str) -> Result<(), StorageError> {
        match *self.all.name == *name {
            true => Ok(()),
            false => self.all.find(name).and_then(|at| self.all.get(at)).map(|_| ()),
        }
    }

    /// The name of a log of the default backend that is of no topic.
    pub(crate) fn log(&self, stem: &str) -> LogName {
        LogName::new(Database(0), stem).with_ending(ending_of(&self.all.name))
    }

    /// What the files of a backend's logs end in.
    pub(crate) fn ending(&self, backend: Option<&str>) -> &'static str {
        ending_of(backend.unwrap_or(&self.all.name))
    }

    /// Gives up the leases on backends beside the default one, once nothing is written any more.
    pub(crate) fn end(&self) {
        for other in &self.all.others {
            let lease = match &mut *other.opened.lock() {
                Attempt::Open(_, lease) => lease.take(),
                Attempt::None | Attempt::Failed { .. } => None,
            };
            if let Some(lease) = lease {
                lease.end();
            }
        }
    }

    /// Opens a backend, as [`Backends::open`] does; `false` when another server owns what it holds, or that cannot be found
    /// out now: its topics are offline then, and it is tried again.
    ///
    /// # Errors
    /// When there is none of that name, or it does not open.
    pub fn open_if_ours(&self, name: &str) -> Result<bool, StorageError> {
        let Err(error) = self.open(name) else { return Ok(true) };
        let at = self.all.find(name)?;
        let other = at.checked_sub(1).and_then(|at| self.all.others.get(at));
        let held = |other: &Other| matches!(&*other.opened.lock(), Attempt::Failed { storage: Some(_), .. });
        if other.is_some_and(held) { Ok(false) } else { Err(error) }
    }

    /// How a new topic's logs and its line in the catalog name the backend that was asked for: not at all when it is the
    /// default one.
    pub(crate) fn of_new_topic(&self, asked: Option<&str>) -> Result<Option<Arc<str>>, StorageError> {
        let Some(name) = asked.filter(|name| **name != *self.all.name) else { return Ok(None) };
        let at = self.all.find(name)?;
        if self.all.get(at)?.is_durable() && !self.all.default.is_durable() {
            return Err(StorageError::Unavailable {
                backend: name.to_owned(),
                reason: format!(
                    "the catalog is in '{}', which keeps nothing: after a restart nobody would know of the topic; expected \
                     another default backend",
                    self.all.name
                ),
            });
        }
        Ok(self.all.others.get(at - 1).map(|other| Arc::clone(&other.name)))
    }

    /// Whether the backend that a topic's line in the catalog names can be used now.
    pub(crate) fn check(&self, backend: Option<&str>) -> Result<(), StorageError> {
        backend.map_or(Ok(()), |name| self.open(name))
    }

    /// Whether what a topic had is there after a restart. Of a backend that cannot be asked that is assumed, and so it is of
    /// the default one: without the catalog there would be no topic.
    pub(crate) fn keeps(&self, backend: Option<&str>) -> bool {
        let Some(name) = backend.filter(|name| **name != *self.all.name) else { return true };
        let storage = self.all.find(name).and_then(|at| self.all.get(at));
        storage.map_or(true, |storage| storage.is_durable())
    }

    /// Whether several servers reach what is in a backend; no, of one that cannot be asked.
    pub(crate) fn is_shared(&self, backend: Option<&str>) -> bool {
        let at = backend.map_or(Some(0), |name| self.all.find(name).ok());
        let storage = at.and_then(|at| self.all.get(at).ok());
        storage.is_some_and(|storage| storage.ownership().is_some())
    }

    /// Whether indexes on this machine can be believed at the next start: nobody else has written the topics by then, or the
    /// catalog says so.
    pub(crate) fn keeps_indexes(&self, backend: Option<&str>) -> bool {
        let Some(name) = backend.filter(|name| **name != *self.all.name) else { return true };
        let storage = self.all.find(name).and_then(|at| self.all.get(at));
        storage.map_or(true, |storage| storage.is_durable() && storage.ownership().is_none())
    }

    /// All logs of a backend.
    pub(crate) fn list(&self, backend: Option<&Arc<str>>) -> Result<Vec<LogName>, StorageError> {
        let at = backend.map_or(Ok(0), |name| self.all.find(name))?;
        let logs = self.all.get(at)?.list().map_err(|error| self.all.named(at, error))?;
        Ok(logs.into_iter().map(|log| self.all.tagged(at, log)).collect())
    }

    /// See [`Storage::create`].
    pub(crate) fn create(&self, logs: &[LogName]) -> Result<(), StorageError> {
        for (at, logs) in self.all.by_backend(logs)? {
            self.all.get(at)?.create(&logs).map_err(|error| self.all.named(at, error))?;
        }
        Ok(())
    }

    /// See [`Storage::delete`]. Logs in one backend are deleted whether or not those in another one can be.
    pub(crate) fn delete(&self, logs: &[LogName]) -> Result<(), StorageError> {
        let mut result = Ok(());
        for (at, logs) in self.all.by_backend(logs)? {
            let deleted = self.all.get(at).and_then(|storage| storage.delete(&logs));
            result = result.and(deleted.map_err(|error| self.all.named(at, error)));
        }
        result
    }

    /// The logs that a broker writes, in whatever backend.
    pub(crate) fn shard(&self, broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        let default = self.all.default.shard(broker)?;
        if self.all.others.is_empty() {
            return Ok(default);
        }
        Ok(Box::new(BackendsShard::new(Arc::clone(&self.all), broker, default)))
    }
}

/// A backend that is open, and its lease if it has one.
type OpenOther = (Arc<dyn Storage>, Option<KeptLease>);

/// Why a backend cannot be used, and the backend if it is open.
type NotOpen = (String, Option<Arc<dyn Storage>>);

impl Other {
    /// Opens the backend, if it is not `storage` already, and acquires the lease where there is one; else the reason, and what
    /// could be opened.
    fn try_open(&self, storage: Option<Arc<dyn Storage>>, me: &Owner) -> Result<OpenOther, NotOpen> {
        let opened = storage.map_or_else(|| self.factory.open(&self.data_dir, &self.options), Ok);
        let storage = opened.map_err(|error| match error {
            StorageError::Unavailable { reason, .. } => (reason, None),
            error => (error.to_string(), None),
        })?;
        match storage
            .ownership()
            .map(|ownership| KeptLease::acquire(&self.name, ownership, me, &self.standing))
        {
            None => Ok((storage, None)),
            Some(Ok(lease)) => Ok((storage, Some(lease))),
            Some(Err(reason)) => Err((reason, Some(storage))),
        }
    }
}

/// What the files of a backend's logs end in, for people to find them: only in one each log is a file.
fn ending_of(backend: &str) -> &'static str {
    if backend == "text" { ".txt" } else { "" }
}

/// Stands for a server that has no address.
fn nobody() -> Owner {
    Owner { id: format!("process {}", std::process::id()), address: String::new() }
}

impl All {
    /// The number of a backend; 0 is the default one.
    fn find(&self, name: &str) -> Result<usize, StorageError> {
        if *self.name == *name {
            return Ok(0);
        }
        self.others.iter().position(|other| *other.name == *name).map(|at| at + 1).ok_or_else(|| {
            let mut known: Vec<&str> = self.others.iter().map(|other| &*other.name).collect();
            known.push(&self.name);
            known.sort_unstable();
            StorageError::Unavailable {
                backend: name.to_owned(),
                reason: format!("there is none of that name, expected one of {}", known.join(", ")),
            }
        })
    }

    fn backend_of(&self, log: &LogName) -> Result<usize, StorageError> {
        log.backend().map_or(Ok(0), |name| self.find(name))
    }

    /// The backend of that number, opened if need be.
    fn get(&self, at: usize) -> Result<Arc<dyn Storage>, StorageError> {
        let Some(other) = at.checked_sub(1).and_then(|at| self.others.get(at)) else {
            return Ok(Arc::clone(&self.default));
        };
        let unavailable = |reason| StorageError::Unavailable { backend: other.name.to_string(), reason };
        let mut opened = other.opened.lock();
        let storage = match &*opened {
            Attempt::Open(storage, _) => return Ok(Arc::clone(storage)),
            // Many topics may ask, one after the other.
            Attempt::Failed { reason, at, .. } if at.elapsed() < RETRY_AFTER => {
                return Err(unavailable(reason.clone()));
            }
            Attempt::None => None,
            Attempt::Failed { storage, .. } => storage.clone(),
        };
        let (reason, storage) = match other.try_open(storage, &self.me) {
            Ok((storage, lease)) => {
                tracing::info!(backend = %other.name, "storage backend is open");
                *opened = Attempt::Open(Arc::clone(&storage), lease);
                return Ok(storage);
            }
            Err(failed) => failed,
        };
        let known = matches!(&*opened, Attempt::Failed { reason: before, .. } if *before == reason);
        if !known {
            tracing::error!(backend = %other.name, %reason, "storage backend does not open");
        }
        *opened = Attempt::Failed { reason: reason.clone(), at: Instant::now(), storage };
        Err(unavailable(reason))
    }

    /// Logs by the number of their backend, by the names that the backend has for them.
    fn by_backend(&self, logs: &[LogName]) -> Result<Vec<(usize, Vec<LogName>)>, StorageError> {
        let mut groups: Vec<(usize, Vec<LogName>)> = Vec::new();
        for log in logs {
            let at = self.backend_of(log)?;
            let own = log.clone().in_backend(None);
            match groups.iter_mut().find(|(other, _)| *other == at) {
                Some((_, group)) => group.push(own),
                None => groups.push((at, vec![own])),
            }
        }
        Ok(groups)
    }

    /// A log's name as it is known above the backends.
    fn tagged(&self, at: usize, log: LogName) -> LogName {
        let other = at.checked_sub(1).and_then(|at| self.others.get(at)).map(|other| &other.name);
        log.with_ending(ending_of(other.unwrap_or(&self.name))).in_backend(other.cloned())
    }

    /// An error of a backend, with the log's name as it is known above the backends.
    fn named(&self, at: usize, error: StorageError) -> StorageError {
        let Some(other) = at.checked_sub(1).and_then(|at| self.others.get(at)) else { return error };
        let named = |log: String| match ending_of(&other.name) {
            "" => format!("{}:{log}", other.name),
            // A file's name, or a path, says enough.
            _ => log,
        };
        match error {
            StorageError::NotFound(log) => StorageError::NotFound(self.tagged(at, log)),
            StorageError::Exists(log) => StorageError::Exists(self.tagged(at, log)),
            StorageError::Fenced { log, batch, end } => {
                StorageError::Fenced { log: self.tagged(at, log), batch, end }
            }
            StorageError::Poisoned { log, reason } => {
                StorageError::Poisoned { log: self.tagged(at, log), reason }
            }
            StorageError::Damaged { log, position, reason } => {
                StorageError::Damaged { log: self.tagged(at, log), position, reason }
            }
            StorageError::Io { log, operation, source } => {
                StorageError::Io { log: named(log), operation, source }
            }
            StorageError::NotOwner { log, reason } => StorageError::NotOwner { log: named(log), reason },
            // The others name the backend.
            error => error,
        }
    }
}
