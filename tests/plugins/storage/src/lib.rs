//! A storage backend for tests: the one in memory, which fails, lies and panics as it is told.
//!
//! A fault is written `what:log`, `what:log:skip` or `what:log:skip:times`: `wrong-offset:deliveries-1:2` lets two appends to
//! that log pass and then, every time, says a wrong offset. `*` is any log. They are given in the option `faults`, or
//! later by making a log called `fault.what.log` or `fault.what+skip.log`: that one strikes once. As long as a
//! fault that strikes so many times has not done so, a log called `armed.what` is listed.

#![allow(clippy::panic, reason = "panics are among what this backend is for")]

mod reader;
mod rewrite;
mod script;
mod shard;

use std::io;
use std::path::Path;
use std::sync::Arc;

use wafka_plugin_sdk::export_storage;
use wafka_plugin_sdk::storage::{BrokerId, Database, LogName, Shard, Storage, StorageError};
use wafka_storage::MemoryStorage;

use script::Script;
use shard::ScriptedShard;

/// The backend's options.
#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// What goes wrong.
    #[serde(default)]
    faults: Vec<String>,
}

/// The backend.
pub struct ScriptedStorage {
    memory: MemoryStorage,
    script: Arc<Script>,
}

/// Opens the backend, empty.
///
/// # Errors
/// When it is told to, and when a fault is written wrongly.
pub fn open(_data_dir: &Path, options: Options) -> Result<ScriptedStorage, StorageError> {
    let script = Script::parse(&options.faults)?;
    script.panic_at("open", "*");
    if script.strikes("fail-open", "*") {
        return Err(failure("the data", "open"));
    }
    Ok(ScriptedStorage { memory: MemoryStorage::new(), script: Arc::new(script) })
}

export_storage!(name = "scripted", open = open);

/// The failure that was asked for.
fn failure(of: impl ToString, operation: &'static str) -> StorageError {
    StorageError::Io { log: of.to_string(), operation, source: io::Error::other("the script says so") }
}

impl Storage for ScriptedStorage {
    fn name(&self) -> &str {
        "scripted"
    }

    fn list(&self) -> Result<Vec<LogName>, StorageError> {
        self.script.panic_at("list", "*");
        if self.script.strikes("fail-list", "*") {
            return Err(failure("the data", "list"));
        }
        let mut logs = self.memory.list()?;
        let database = Database(0);
        logs.extend(self.script.armed().iter().map(|stem| LogName::new(database, stem)));
        if self.script.strikes("bad-name", "*") {
            logs.push(LogName::new(database, "../passwd"));
        }
        Ok(logs)
    }

    fn create(&self, logs: &[LogName]) -> Result<(), StorageError> {
        let (faults, logs): (Vec<_>, Vec<_>) =
            logs.iter().cloned().partition(|log| log.stem().starts_with("fault."));
        for fault in &faults {
            self.script.add(fault.stem());
        }
        self.script.panic_at("create", "*");
        self.memory.create(&logs)
    }

    fn shard(&self, broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        self.script.panic_at("shard", "*");
        Ok(Box::new(ScriptedShard::new(self.memory.shard(broker)?, Arc::clone(&self.script))))
    }

    fn delete(&self, logs: &[LogName]) -> Result<(), StorageError> {
        self.script.panic_at("delete", "*");
        self.memory.delete(logs)
    }
}
