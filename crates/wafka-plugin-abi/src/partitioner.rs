//! Partitioning strategies.

use core::ffi::c_void;

use crate::bytes::Bytes;
use crate::error::ErrorOut;
use crate::layout::layout;

/// What `route` returns, when it is no partition's index.
pub mod route {
    /// No preference: the topic goes round-robin, past partitions that are offline.
    pub const ANY: i32 = -1;
    /// The event lacks what the strategy routes by: as [`ANY`], and the topic counts it.
    pub const UNKEYED: i32 = -2;
    /// The strategy failed; the error's text says why. The event is refused.
    pub const FAILED: i32 = -3;
    /// The strategy panicked; the error's text is the panic's message. The instance is poisoned: it routes no more.
    pub const PANICKED: i32 = -4;
}

/// What an instance is made for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PartitionerConfig {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// How many partitions the topic has, at least 1. It never changes during a topic's life.
    pub partitions: u32,
    /// The topic's name, any bytes.
    pub topic: Bytes,
    /// The options: a JSON object without insignificant blanks, of the keys in the topic's table that the topic itself does
    /// not know.
    pub options: Bytes,
}

layout! { PARTITIONER_CONFIG: PartitionerConfig = "wafka_partitioner_config", 40 {
    struct_size 0, partitions 4, topic 8, options 24
} }

/// A field of an event and its value, any bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The field's name.
    pub name: Bytes,
    /// Its value.
    pub value: Bytes,
}

layout! { FIELD: Field = "wafka_field", 32 { name 0, value 16 } }

/// An event to be routed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RouteRequest {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// How many partitions the topic has, as told to `create`.
    pub partitions: u32,
    /// The topic's name, as told to `create`.
    pub topic: Bytes,
    /// The event's fields in the producer's order; names may repeat.
    pub fields: *const Field,
    /// How many fields there are.
    pub field_count: usize,
    /// The 0-based index of the partition that the topic's last event without a preference ([`route::ANY`],
    /// [`route::UNKEYED`]) went to, while the batch it went into is open: what goes there now is committed with it. -1 when
    /// its broker has taken that batch, when the batch is full, when the partition failed, and before there was any.
    pub open_partition: i32,
    /// Zero.
    pub reserved: u32,
}

/// A request of this many bytes has all that every request has: those of version 1.0, whatever is added.
pub const ROUTE_REQUEST_SIZE_MIN: usize = 48;

layout! { ROUTE_REQUEST: RouteRequest = "wafka_route_request", 48 {
    struct_size 0, partitions 4, topic 8, fields 24, field_count 32, open_partition 40, reserved 44
} }

/// The functions of a strategy. An instance is made for each topic that uses the strategy, and used by one thread at a time,
/// each time perhaps another; different instances are used at once.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PartitionerVtable {
    /// The size of this struct as the plugin knows it.
    pub struct_size: u32,
    /// Changes whenever the strategy would route the same event elsewhere. A topic that was created under another
    /// version is read-only, never silently re-partitioned.
    pub route_version: u32,
    /// Makes an instance and puts it into `instance`, where null is as good as any other value. Returns a
    /// [`status`](crate::status).
    pub create: Option<
        unsafe extern "C" fn(
            config: *const PartitionerConfig,
            instance: *mut *mut c_void,
            error: *mut ErrorOut,
        ) -> u32,
    >,
    /// Chooses the partition: its 0-based index, below the request's `partitions`, or one of [`route`]. It is called for
    /// every event on a thread that serves connections: it must not block, and takes some dozens of nanoseconds at best.
    pub route: Option<
        unsafe extern "C" fn(
            instance: *mut c_void,
            request: *const RouteRequest,
            error: *mut ErrorOut,
        ) -> i32,
    >,
    /// Releases an instance. Nothing else is called with it afterwards.
    pub destroy: Option<unsafe extern "C" fn(instance: *mut c_void)>,
}

/// A vtable of this many bytes has all that every strategy must have: those of version 1.0, whatever is added.
pub const PARTITIONER_VTABLE_SIZE_MIN: usize = 32;

layout! { PARTITIONER_VTABLE: PartitionerVtable = "wafka_partitioner_vtable", 32 {
    struct_size 0, route_version 4, create 8, route 16, destroy 24
} }
