//! Calls that take long.

use std::ffi::c_void;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use wafka_plugin_abi as abi;

use super::*;

/// How long anything may take that should be quick.
const PATIENCE: Duration = Duration::from_secs(60);

static MAY_GO_ON: Mutex<bool> = Mutex::new(false);
static GOES_ON: Condvar = Condvar::new();

unsafe extern "C" fn append_when_told(
    shard: *mut c_void,
    slot: u32,
    batch: *const abi::Batch,
    out: *mut abi::Appended,
    error: *mut ErrorOut,
) -> u32 {
    let mut may_go_on = MAY_GO_ON.lock();
    GOES_ON.wait_while(&mut may_go_on, |may| !*may);
    // SAFETY: the arguments are the host's.
    unsafe { functions().append.expect("it is there")(shard, slot, batch, out, error) }
}

#[test]
fn an_append_that_does_not_return_is_counted_while_it_lasts() {
    let factory = factory(StorageVtable { append: Some(append_when_told), ..functions() });
    let storage = factory.open(Path::new("/data"), &options(&[])).expect("it opens");
    let mut shard = storage.shard(BrokerId(1)).expect("it opens");
    let slot = shard.open(&log("t-1"), CREATE).expect("it opens").slot;
    assert_eq!(factory.slow_calls(), 0);
    thread::scope(|scope| {
        let appending = scope.spawn(|| append(&mut *shard, slot, 0, 1).map(|_| ()));
        let begun = Instant::now();
        while factory.slow_calls() == 0 && begun.elapsed() < PATIENCE {
            assert!(!appending.is_finished(), "it waits");
            thread::yield_now();
        }
        assert_eq!(factory.slow_calls(), 1);
        *MAY_GO_ON.lock() = true;
        GOES_ON.notify_all();
        appending.join().expect("no panic").expect("it appends");
    });
    assert_eq!((factory.slow_calls(), factory.panics()), (1, 0));
}

#[test]
fn panics_are_counted() {
    let factory = factory(functions());
    let storage = factory.open(Path::new("/data"), &options(&["panic-create:*"])).expect("it opens");
    assert!(storage.create(&[log("t-1")]).is_err());
    assert_eq!((factory.slow_calls(), factory.panics()), (0, 1));
}
