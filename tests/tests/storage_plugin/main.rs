//! A storage backend in a shared library: it holds whatever Wafka holds, and when it fails or lies, clients get a clear
//! error, nothing hangs, and the server stays up.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

mod engine;
mod server;

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use wafka_core::storage::{Options, Storage, StorageFactory};
use wafka_plugin::{PluginFile, load};
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

impl wafka_storage::conformance::Harness for Loaded {
    fn storage(&self) -> &dyn Storage {
        &*self.0
    }

    fn restart(&mut self) {}
}

#[test]
fn a_loaded_backend_conforms() {
    wafka_storage::conformance::run(&mut || Box::new(Loaded(storage(&[]))));
}
