//! A routed event allocates nothing on the host's side. What the plugin's side does, `wafka-plugin-sdk` tests likewise: each
//! has an allocator of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]
#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use wafka_core::Fields;
use wafka_core::partitioner::{CreateRequest, Options, Route, RouteRequest};
use wafka_plugin::{PluginFile, load};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts what each thread asks for.
struct Counting;

// SAFETY: everything is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_routed_event_allocates_nothing() {
    let built = std::env::current_exe().unwrap().with_file_name("libwafka_test_partitioner.so");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("libodd.so");
    fs::copy(built, &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let plugin = load(&PluginFile { path, sha256: None }).unwrap();
    let request = CreateRequest { topic: b"t", partitions: 4, options: &Options::new() };
    let mut strategy = plugin.partitioner().unwrap().create(&request).unwrap();
    let flat: Vec<&[u8]> = [&b"field"[..], b"value"].repeat(4000);
    for fields in [1, 20, 257, 1000, 4000] {
        let fields = Fields::new(&flat[..2 * fields]).unwrap();
        let mut route =
            || strategy.route(&RouteRequest { topic: b"t", fields, partitions: 4, open: Some(1) });
        // The first event of that many fields makes room for them.
        assert_eq!(route(), Ok(Route::Partition(1)));
        let before = COUNT.get();
        for _ in 0..1_000 {
            assert_eq!(route(), Ok(Route::Partition(1)));
        }
        assert_eq!(COUNT.get() - before, 0, "{} fields", fields.len());
    }
    let before = COUNT.get();
    drop(vec![0_u8; 16]);
    assert!(COUNT.get() > before, "the allocator counts");
}
