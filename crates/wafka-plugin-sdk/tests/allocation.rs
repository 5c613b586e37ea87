//! A routed event allocates nothing on the plugin's side. What the host's side does, `wafka-plugin` tests likewise: each
//! has an allocator of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]
#![allow(unsafe_code, reason = "an allocator that counts, and calls as the host makes them")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

use wafka_plugin_abi::{Bytes, ErrorOut, Field, PartitionerConfig, RouteRequest, status};
use wafka_plugin_sdk::private::partitioner_vtable;
use wafka_plugin_sdk::{Error, Event, OptionsError, Partitioner, Route, Topic};

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

/// Routes by the length of a field.
struct ByLength;

#[derive(serde::Deserialize)]
struct Nothing {}

impl Partitioner for ByLength {
    type Options = Nothing;

    fn new(_: Nothing, _: &Topic<'_>) -> Result<Self, OptionsError> {
        Ok(ByLength)
    }

    fn route(&mut self, event: &Event<'_>) -> Result<Route, Error> {
        Ok(event.get(b"truck").map_or(Route::Unkeyed, |value| {
            Route::Partition(u16::try_from(value.len()).unwrap_or(u16::MAX) % event.partitions())
        }))
    }
}

#[test]
fn a_routed_event_allocates_nothing() {
    let functions = partitioner_vtable::<ByLength>(1);
    let mut text = [0_u8; 256];
    let mut error = ErrorOut {
        struct_size: size_of::<ErrorOut>() as u32,
        os_error: 0,
        value: 0,
        text: text.as_mut_ptr(),
        text_capacity: text.len(),
        text_len: 0,
    };
    let config = PartitionerConfig {
        struct_size: size_of::<PartitionerConfig>() as u32,
        partitions: 4,
        topic: Bytes::new(b"t"),
        options: Bytes::new(b"{}"),
    };
    let mut instance = ptr::null_mut();
    // SAFETY: the arguments are there during the call.
    let status = unsafe { functions.create.unwrap()(&config, &mut instance, &mut error) };
    assert_eq!(status, status::OK);
    let fields = [Field { name: Bytes::new(b"truck"), value: Bytes::new(b"123") }; 20];
    let request = RouteRequest {
        struct_size: size_of::<RouteRequest>() as u32,
        partitions: 4,
        topic: Bytes::new(b"t"),
        fields: fields.as_ptr(),
        field_count: fields.len(),
        open_partition: -1,
        reserved: 0,
    };
    let before = COUNT.get();
    for _ in 0..1_000 {
        // SAFETY: the instance is that of `create`, and the arguments are there during the call.
        let answer = unsafe { functions.route.unwrap()(instance, &request, &mut error) };
        assert_eq!(answer, 3);
    }
    assert_eq!(COUNT.get() - before, 0);
    // SAFETY: the instance is used no more.
    unsafe { functions.destroy.unwrap()(instance) };
}
