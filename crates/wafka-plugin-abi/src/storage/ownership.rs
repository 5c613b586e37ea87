//! What the functions take and give that say which of several servers may write.

use core::ffi::c_void;

use crate::bytes::Bytes;
use crate::layout::layout;

/// Whose the lease is.
pub mod lease {
    /// The server's that asked.
    pub const OURS: u32 = 1;
    /// Another's.
    pub const OTHERS: u32 = 2;
}

/// A server, as others are told of it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// Tells this run of the server from all others, itself restarted included: UTF-8 without control characters, 1 to 256 bytes.
    pub id: Bytes,
    /// Where clients reach it, as `host:port`: UTF-8 without control characters, at most 256 bytes.
    pub address: Bytes,
}

layout! { OWNER: Owner = "wafka_owner", 32 { id 0, address 16 } }

/// What came of asking for the lease. It lies in the host's memory, all zeros but for `struct_size`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// The size of this struct as the host knows it.
    pub struct_size: u32,
    /// One of [`lease`].
    pub state: u32,
    /// With [`lease::OURS`] the lease's epoch: greater than that of every owner before.
    pub epoch: u64,
    /// With [`lease::OURS`] how long it holds from the moment before it was asked for, unless it is renewed: 100 ms to an hour.
    pub time_to_live_nanos: u64,
}

layout! { LEASE: Lease = "wafka_lease", 24 { struct_size 0, state 4, epoch 8, time_to_live_nanos 16 } }

/// Another server that owns the data.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// Who it is.
    pub owner: Owner,
    /// Since which epoch.
    pub epoch: u64,
    /// How long it goes on owning the data at most, unless it renews its lease: at most an hour.
    pub remaining_nanos: u64,
}

layout! { HOLDER: Holder = "wafka_holder", 48 { owner 0, epoch 32, remaining_nanos 40 } }

/// Takes the server that owns the data.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HolderSink {
    /// To be given to the function as it is.
    pub ctx: *mut c_void,
    /// Takes it, once at most.
    pub put: Option<unsafe extern "C" fn(ctx: *mut c_void, holder: *const Holder)>,
}

layout! { HOLDER_SINK: HolderSink = "wafka_holder_sink", 16 { ctx 0, put 8 } }
