//! The backend in memory, behind the functions of the ABI: it keeps the contract, and where it fails, lies or panics, so
//! does nothing else.

mod handles;
mod lies;
mod ownership;
mod panics;
mod waits;

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use wafka_core::Database;
use wafka_core::storage::{Batch, LogReader, LogSlot, OpenRequest, Opened};
use wafka_plugin_abi::{ErrorOut, StorageConfig};
use wafka_plugin_sdk::private::storage as glue;
use wafka_storage::conformance::{self, Failing, Harness, lines_of};

use super::*;
use crate::load::PluginKind;

/// The file that every error has to name.
const FILE: &str = "/plugins/libscripted.so";

unsafe extern "C" fn open(
    config: *const StorageConfig,
    storage: *mut *mut c_void,
    error: *mut ErrorOut,
) -> u32 {
    // SAFETY: the arguments are the host's.
    unsafe { glue::open(config, storage, error, wafka_test_storage::open) }
}

unsafe extern "C" fn check(config: *const StorageConfig, error: *mut ErrorOut) -> u32 {
    // SAFETY: the arguments are the host's.
    unsafe { glue::check(config, error, wafka_test_storage::open) }
}

fn functions() -> StorageVtable {
    glue::vtable(open, check)
}

fn factory(functions: StorageVtable) -> Factory {
    let plugin = PluginInfo {
        name: "scripted".to_owned(),
        version: "1".to_owned(),
        description: String::new(),
        kind: PluginKind::Storage,
        file: PathBuf::from(FILE),
        sha256: [0; 32],
        abi: (1, 0),
    };
    Factory::new(&plugin, functions)
}

fn options(faults: &[&str]) -> Options {
    let serde_json::Value::Object(options) = json!({ "faults": faults }) else { panic!("an object") };
    options
}

fn opened_with(functions: StorageVtable, faults: &[&str]) -> Arc<dyn Storage> {
    factory(functions).open(Path::new("/data"), &options(faults)).expect("it opens")
}

fn opened(faults: &[&str]) -> Arc<dyn Storage> {
    opened_with(functions(), faults)
}

fn log(stem: &str) -> LogName {
    LogName::new(Database(0), stem)
}

const CREATE: OpenRequest = OpenRequest { create: true, known: None };

fn append(shard: &mut dyn Shard, slot: LogSlot, from: u64, to: u64) -> Result<Cursor, StorageError> {
    let bytes = lines_of(from..to);
    shard.append(slot, Batch { first_offset: from, lines: to - from, bytes: &bytes })
}

fn sync(shard: &mut dyn Shard) -> Vec<String> {
    let failures = shard.begin_sync().wait();
    shard.finish_sync(&failures);
    failures.iter().map(|failure| format!("{}: {}", failure.slot.0, failure.error)).collect()
}

fn read(reader: &dyn LogReader, from: u64) -> Result<Vec<u8>, StorageError> {
    let mut bytes = b"before".to_vec();
    let result = reader.read(Cursor::at_offset(from), 1000, &mut bytes);
    assert!(bytes.starts_with(b"before") && (result.is_ok() || bytes.len() == 6), "the buffer was spoiled");
    result.map(|_| bytes.split_off(6))
}

/// Whether an error says that the plugin is at fault, names its file, and says this.
#[track_caller]
fn assert_faulty<T: std::fmt::Debug>(result: Result<T, StorageError>, said: &str) {
    let Err(error) = result else { panic!("{result:?}, expected: {said}") };
    let text = error.to_string();
    assert!(matches!(error, StorageError::Faulty { .. }), "{error:?}");
    assert!(text.contains(FILE) && text.contains("'scripted'") && text.contains(said), "{text}: not {said}");
}

#[track_caller]
fn assert_poisoned<T: std::fmt::Debug>(result: Result<T, StorageError>) {
    assert!(matches!(result, Err(StorageError::Poisoned { .. })), "{result:?}");
}

struct Scripted(Arc<dyn Storage>);

impl Harness for Scripted {
    fn storage(&self) -> &dyn Storage {
        &*self.0
    }

    fn restart(&mut self) {}

    fn faults(&self) -> bool {
        true
    }

    fn fail_next(&mut self, failing: Failing, log: &LogName) {
        let what = match failing {
            Failing::Append => "append",
            Failing::Sync => "sync",
        };
        let fault = LogName::new(Database(0), &format!("fault.{what}.{}", log.stem()));
        self.0.create(&[fault]).expect("told");
    }
}

#[test]
fn it_conforms() {
    conformance::run(&mut || Box::new(Scripted(opened(&[]))));
}

/// What an older plugin lacks has a default.
#[test]
fn it_conforms_without_what_may_be_absent() {
    let least = StorageVtable {
        read_ready: None,
        set_synced_first: None,
        catch_up: None,
        is_durable: None,
        check_options: None,
        ownership: None,
        ..functions()
    };
    conformance::run(&mut || Box::new(Scripted(opened_with(least, &[]))));
    assert!(factory(least).check(&options(&["nonsense"])).is_ok());
    let storage = opened_with(least, &[]);
    assert!(storage.is_durable());
    let reader = storage.shard(BrokerId(1)).unwrap().open(&log("a-1"), CREATE).unwrap().reader;
    assert!(matches!(reader.read_ready(Cursor::at_offset(0), 10, &mut Vec::new()), Ok(None)));
}

#[test]
fn what_is_wrong_at_opening_is_told() {
    let open = |faults: &[&str]| factory(functions()).open(Path::new("/data"), &options(faults)).map(|_| ());
    assert!(matches!(
        open(&["nonsense"]),
        Err(StorageError::BadOption { backend, option, expected })
            if backend == "scripted" && option == "faults" && expected.contains("found 'nonsense'")
    ));
    let failed = open(&["fail-open:*"]).unwrap_err().to_string();
    assert_eq!(failed, "/data: open: the data: open: the script says so");
    assert_faulty(open(&["panic-open:*"]), "panicked: scripted panic at open");
    let serde_json::Value::Object(unknown) = json!({ "fualts": [] }) else { panic!("an object") };
    for result in [
        factory(functions()).check(&unknown),
        factory(functions()).open(Path::new("/data"), &unknown).map(|_| ()),
    ] {
        assert!(matches!(result, Err(StorageError::BadOption { option, .. }) if option == "fualts"));
    }
    assert!(factory(functions()).check(&options(&[])).is_ok());
}

#[test]
fn errors_keep_their_meaning() {
    let storage = opened(&[]);
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    let missing = shard.open(&log("a-1"), OpenRequest::default()).map(|_| ());
    assert!(matches!(missing, Err(StorageError::NotFound(name)) if name == log("a-1")));
    let Opened { slot, .. } = shard.open(&log("a-1"), CREATE).unwrap();
    let fenced = append(&mut *shard, slot, 5, 6);
    assert!(
        matches!(fenced, Err(StorageError::Fenced { log: name, batch: 5, end: 0 }) if name == log("a-1"))
    );
    let damaged = shard.reopen(slot, Cursor::at_offset(9));
    assert!(
        matches!(&damaged, Err(StorageError::Damaged { log: name, position: 0, reason })
        if *name == log("a-1") && reason.contains("before 9")),
        "{damaged:?}"
    );
    let busy = storage.delete(&[log("a-1")]);
    assert!(busy.is_err_and(|error| error.to_string() == "/data: delete: the log is open"));
    let gone = append(&mut *shard, LogSlot(77), 0, 1).unwrap_err().to_string();
    assert_eq!(gone, "log 77 of broker 1: append: no log is open in this slot");
}
