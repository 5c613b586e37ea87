//! What a plugin says it is.

use crate::bytes::Bytes;
use crate::host::Host;
use crate::layout::layout;
use crate::partitioner::PartitionerVtable;
use crate::storage::StorageVtable;

/// The first eight bytes of a manifest: `WAFKAPLG`, read as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"WAFKAPLG");

/// The ABI's version: another major is another ABI, and is refused.
pub const ABI_MAJOR: u16 = 1;

/// The ABI's version: a higher minor has more at the end of its structs, and each side uses what both know.
pub const ABI_MINOR: u16 = 1;

/// The function that a plugin exports, of type [`Entry`].
pub const ENTRY_SYMBOL: &str = "wafka_plugin_manifest";

/// Type of the function a plugin exports. It is called when the library has been loaded, by one thread, and again if the
/// configuration names the same library twice (which is refused then, for its name). It returns a manifest that
/// stays as it is for ever; or null when the plugin cannot work with this host, having logged why.
pub type Entry = unsafe extern "C" fn(host: *const Host) -> *const Manifest;

/// What a plugin is.
pub mod kind {
    /// A partitioning strategy.
    pub const PARTITIONER: u32 = 1;
    /// A storage backend.
    pub const STORAGE: u32 = 2;
}

/// What a plugin says it is, and where its functions are. The first four fields stand where they are in every version.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Manifest {
    /// [`MAGIC`].
    pub magic: u64,
    /// The ABI version the plugin was built for.
    pub abi_major: u16,
    /// The ABI version the plugin was built for.
    pub abi_minor: u16,
    /// The size of this struct as the plugin knows it.
    pub struct_size: u32,
    /// One of [`kind`].
    pub kind: u32,
    /// 0.
    pub reserved: u32,
    /// The name that configuration and catalog use: 1 to 64 characters of `a-z`, `0-9`, `-` and `_`.
    pub name: Bytes,
    /// The plugin's own version, such as `1.2.0`: 1 to 64 characters without control characters. For people; nothing is decided by it.
    pub version: Bytes,
    /// The functions, when this is a strategy; else null.
    pub partitioner: *const PartitionerVtable,
    /// The functions, when this is a backend; else null.
    pub storage: *const StorageVtable,
    /// One line that says what the plugin does, at most 256 bytes; may be absent.
    pub description: Bytes,
}

/// A manifest of this many bytes has all that every manifest must have, whatever is added.
pub const MANIFEST_SIZE_MIN: usize = 72;

layout! { MANIFEST: Manifest = "wafka_manifest", 88 {
    magic 0, abi_major 8, abi_minor 10, struct_size 12, kind 16, reserved 20, name 24, version 40,
    partitioner 56, storage 64, description 72
} }

// SAFETY: a manifest is never changed, and what it points to is not either; the functions say themselves who may call them.
unsafe impl Send for Manifest {}
// SAFETY: as above.
unsafe impl Sync for Manifest {}
