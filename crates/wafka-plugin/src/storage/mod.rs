//! Storage backends in plugins: the core's storage traits over the functions of a plugin.
//!
//! Nothing a plugin returns is believed where it can be checked: where a batch begins and the log ends, slots, that a read
//! gives whole lines, from where it was asked, not more than was asked for, and some where there must be some, names, the
//! lines a rewrite keeps, epochs and the names of servers. What does not hold is [`StorageError::Faulty`], which names the plugin's file, and the log is
//! poisoned until it has been reopened. After a panic the handle it happened to is used no more.
//!
//! Each handle is released once: by the function that consumes it, or when what holds it here is dropped. Pending syncs and
//! rewrites keep their shard, and everything keeps the storage, so that they are released in the order that the ABI asks for.

mod backend;
mod book;
mod names;
mod opening;
mod ownership;
mod reader;
mod rewrite;
mod shard;
mod slow;
mod sync;
#[cfg(test)]
mod tests;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use wafka_core::BrokerId;
use wafka_core::storage::{
    Cursor, LogName, Options, Ownership, Shard, Storage, StorageError, StorageFactory,
};
use wafka_plugin_abi as abi;
use wafka_plugin_abi::{Bytes, StorageVtable, status};

use crate::failure::Failure;
use crate::load::PluginInfo;
use backend::{Backend, Handle};
use names::Names;
use ownership::HostOwnership;
use shard::{HostShard, ShardHandle};

/// Calls a function of the vtable. One that is missing, which is ruled out when the plugin is loaded for those that must
/// be there, is not supported.
macro_rules! call {
    ($backend:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $backend.vtable.$function {
            Some(function) => function($($argument),*),
            None => wafka_plugin_abi::status::UNSUPPORTED,
        }
    };
}
use call;

fn lent_cursor(cursor: Cursor) -> abi::Cursor {
    abi::Cursor {
        offset: cursor.offset,
        position: cursor.position,
        generation: cursor.generation,
        reserved: 0,
    }
}

fn core_cursor(cursor: abi::Cursor) -> Cursor {
    Cursor { offset: cursor.offset, position: cursor.position, generation: cursor.generation }
}

/// Opens a backend.
pub(crate) struct Factory {
    backend: Arc<Backend>,
}

impl Factory {
    /// A factory for a plugin's backend, whose functions are all there that must be.
    pub(crate) fn new(plugin: &PluginInfo, vtable: StorageVtable) -> Self {
        Factory { backend: Arc::new(Backend::new(plugin.name.clone(), plugin.file.clone(), vtable)) }
    }

    /// How many appends and syncs took too long, those included that still do.
    pub(crate) fn slow_calls(&self) -> u64 {
        self.backend.calls.slow(Instant::now())
    }

    /// How many calls ended in a panic.
    pub(crate) fn panics(&self) -> u64 {
        self.backend.panics.load(Ordering::Relaxed)
    }

    /// Runs `run` with the configuration lent to the plugin.
    fn with_config<T>(data_dir: &Path, options: &Options, run: impl FnOnce(&abi::StorageConfig) -> T) -> T {
        let options = serde_json::Value::Object(options.clone()).to_string();
        run(&abi::StorageConfig {
            struct_size: size_of::<abi::StorageConfig>() as u32,
            reserved: 0,
            data_dir: Bytes::new(data_dir.as_os_str().as_bytes()),
            options: Bytes::new(options.as_bytes()),
        })
    }
}

impl StorageFactory for Factory {
    fn name(&self) -> &str {
        &self.backend.name
    }

    fn check(&self, options: &Options) -> Result<(), StorageError> {
        let backend = &self.backend;
        let Some(check) = backend.vtable.check_options else { return Ok(()) };
        let checked = Self::with_config(Path::new(""), options, |config| {
            // SAFETY: configuration and error are lent for the call.
            backend.call(|error| unsafe { check(config, error) })
        });
        checked.map_err(|failure| backend.error("options", "check", &failure))
    }

    fn open(&self, data_dir: &Path, options: &Options) -> Result<Arc<dyn Storage>, StorageError> {
        let backend = Arc::clone(&self.backend);
        let mut handle = Handle::NONE;
        let opened = Self::with_config(data_dir, options, |config| {
            // SAFETY: configuration, handle and error are lent for the call.
            backend.call(|error| unsafe { call!(backend, open(config, &raw mut handle.0, error)) })
        });
        opened.map_err(|failure| backend.error(data_dir.display(), "open", &failure))?;
        // SAFETY: the storage was just opened.
        let durable = backend.vtable.is_durable.is_none_or(|is_durable| unsafe { is_durable(handle.0) } != 0);
        let place = data_dir.display().to_string();
        let storage = Arc::new(StorageHandle { backend, handle, place, panicked: OnceLock::new() });
        let ownership = HostOwnership::of(&storage)?;
        Ok(Arc::new(HostStorage { storage, durable, ownership }))
    }
}

/// An open storage; closed when the last one goes who has it.
struct StorageHandle {
    backend: Arc<Backend>,
    handle: Handle,
    /// The data directory, for messages.
    place: String,
    /// What a panic said, after which the handle is used no more.
    panicked: OnceLock<String>,
}

impl StorageHandle {
    /// Calls a function with the storage's handle.
    fn call(
        &self,
        operation: &'static str,
        run: impl FnOnce(Handle, *mut abi::ErrorOut) -> u32,
    ) -> Result<(), StorageError> {
        if let Some(reason) = self.panicked.get() {
            let reason = format!("{reason}; it is not used until the server starts again");
            return Err(self.backend.faulty(&self.place, operation, reason));
        }
        let result = self.backend.call(|error| run(self.handle, error));
        result.map_err(|failure: Failure| {
            if failure.status == status::PANICKED {
                // Only the first of several panics is kept.
                let _ = self.panicked.set(failure.to_line());
            }
            self.backend.error(&self.place, operation, &failure)
        })
    }
}

impl Drop for StorageHandle {
    fn drop(&mut self) {
        if let Some(close) = self.backend.vtable.close {
            // SAFETY: everything that was made from it kept it until now, so this is its last use.
            unsafe { close(self.handle.0) };
        }
    }
}

/// A backend that was opened.
struct HostStorage {
    storage: Arc<StorageHandle>,
    durable: bool,
    ownership: Option<Arc<HostOwnership>>,
}

impl Storage for HostStorage {
    fn name(&self) -> &str {
        &self.storage.backend.name
    }

    fn is_durable(&self) -> bool {
        self.durable
    }

    fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        self.ownership.clone().map(|ownership| ownership as Arc<dyn Ownership>)
    }

    fn list(&self) -> Result<Vec<LogName>, StorageError> {
        let mut names = Names::default();
        let sink = names.sink();
        let backend = &self.storage.backend;
        // SAFETY: a storage takes calls from any thread; the sink and what it leads to live until the call has returned.
        self.storage.call("list", |storage, error| unsafe {
            call!(backend, list(storage.0, &raw const sink, error))
        })?;
        names.take().map_err(|reason| backend.faulty(&self.storage.place, "list", reason))
    }

    fn create(&self, logs: &[LogName]) -> Result<(), StorageError> {
        let lent: Vec<_> = logs.iter().map(names::lent).collect();
        let (backend, count) = (&self.storage.backend, lent.len());
        // SAFETY: a storage takes calls from any thread; the names are lent for the call.
        self.storage.call("create", |storage, error| unsafe {
            call!(backend, create(storage.0, lent.as_ptr(), count, error))
        })
    }

    fn shard(&self, broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        let mut handle = Handle::NONE;
        let backend = &self.storage.backend;
        // SAFETY: a storage takes calls from any thread; the handle's place is lent for the call.
        self.storage.call("shard", |storage, error| unsafe {
            call!(backend, shard(storage.0, u32::from(broker.0), &raw mut handle.0, error))
        })?;
        Ok(Box::new(HostShard::new(ShardHandle::new(Arc::clone(&self.storage), handle, broker))))
    }

    fn delete(&self, logs: &[LogName]) -> Result<(), StorageError> {
        let lent: Vec<_> = logs.iter().map(names::lent).collect();
        let (backend, count) = (&self.storage.backend, lent.len());
        // SAFETY: a storage takes calls from any thread; the names are lent for the call.
        self.storage.call("delete", |storage, error| unsafe {
            call!(backend, delete_logs(storage.0, lent.as_ptr(), count, error))
        })
    }
}
