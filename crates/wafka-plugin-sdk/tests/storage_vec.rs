//! The backend that the documentation shows keeps the contract.

#[path = "../examples/storage_vec.rs"]
mod storage_vec;

use std::path::Path;

use storage_vec::VecStorage;
use wafka_plugin_sdk::storage::Storage;
use wafka_storage::conformance::{self, Harness};

struct InMemory(VecStorage);

impl Harness for InMemory {
    fn storage(&self) -> &dyn Storage {
        &self.0
    }

    fn restart(&mut self) {}

    fn rewrites(&self) -> bool {
        false
    }
}

#[test]
fn it_conforms() {
    let options = || serde_json::from_str("{}").expect("no option is needed");
    let open = || storage_vec::open(Path::new(""), options()).expect("it opens");
    conformance::run(&mut || Box::new(InMemory(open())));
}
