//! A storage backend in a shared library: it holds whatever Wafka holds, and when it fails or lies, clients get a clear
//! error, nothing hangs, and the server stays up.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

mod engine;
mod server;

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use wafka_core::storage::{Options, Storage, StorageFactory};
use wafka_plugin::{PluginFile, load};
use wafka_storage::conformance::{self, Harness};
use wafka_tests::plugins;

/// The library's name, which every error has to have in it.
const FILE: &str = "libwafka_test_storage.so";

fn factory() -> Arc<dyn StorageFactory> {
    let plugin = load(&PluginFile { path: plugins::path("wafka_test_storage"), sha256: None }).unwrap();
    plugin.storage().unwrap()
}

fn options(faults: &[&str]) -> Options {
    let serde_json::Value::Object(options) = json!({ "faults": faults }) else { panic!("an object") };
    options
}

fn storage(faults: &[&str]) -> Arc<dyn Storage> {
    factory().open(Path::new("/nowhere"), &options(faults)).unwrap()
}

struct Loaded(Arc<dyn Storage>);

impl Harness for Loaded {
    fn storage(&self) -> &dyn Storage {
        &*self.0
    }

    fn restart(&mut self) {}
}

#[test]
fn a_loaded_backend_conforms() {
    conformance::run(&mut || Box::new(Loaded(storage(&[]))));
}

/// One of the backends that keep what they have, in a directory of its own.
struct OnDisk {
    factory: Arc<dyn StorageFactory>,
    dir: TempDir,
    storage: Option<Arc<dyn Storage>>,
}

impl OnDisk {
    fn open(&mut self) {
        // Closed first: nobody else may have the files open.
        self.storage = None;
        self.storage = Some(self.factory.open(self.dir.path(), &Options::new()).unwrap());
    }
}

impl Harness for OnDisk {
    fn storage(&self) -> &dyn Storage {
        self.storage.as_deref().unwrap()
    }

    fn restart(&mut self) {
        self.open();
    }
}

#[test]
fn the_backends_on_disk_conform_behind_the_abi() {
    for library in ["wafka_storage_redb", "wafka_storage_sqlite"] {
        let plugin = load(&PluginFile { path: plugins::path(library), sha256: None }).unwrap();
        let factory = plugin.storage().unwrap();
        conformance::run(&mut || {
            let dir = tempfile::tempdir().unwrap();
            let mut harness = OnDisk { factory: Arc::clone(&factory), dir, storage: None };
            harness.open();
            Box::new(harness)
        });
    }
}
