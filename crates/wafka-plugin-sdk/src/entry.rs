//! The manifest, and what happens when the host asks for it.

use std::ptr;

use wafka_plugin_abi::growing::read_sized;
use wafka_plugin_abi::{
    ABI_MAJOR, ABI_MINOR, Bytes, Host, MAGIC, Manifest, PartitionerVtable, StorageVtable, kind,
};

use crate::{fail, host};

/// Takes note of the host, and answers with the manifest.
///
/// # Safety
/// `host` is null, or a host that lives for ever.
#[doc(hidden)]
pub unsafe fn enter(host: *const Host, manifest: &'static Manifest) -> *const Manifest {
    // A reference to it would promise that it is as long as the one this side knows.
    // SAFETY: every version of a host begins with these fields.
    let is_of_this_abi = !host.is_null() && unsafe { (*host).abi_major } == ABI_MAJOR;
    // SAFETY: a host of this ABI is there for as many bytes as it says.
    if is_of_this_abi && let Ok(host) = unsafe { read_sized(host) } {
        // A plugin that cannot log can still work; and a host of another ABI finds that out from the manifest.
        let _ = fail::catch(|| host::connect(host));
    }
    manifest
}

/// The manifest of a strategy.
#[doc(hidden)]
#[must_use]
pub const fn partitioner_manifest(
    name: &'static str,
    version: &'static str,
    description: &'static str,
    functions: &'static PartitionerVtable,
) -> Manifest {
    manifest(name, version, description, kind::PARTITIONER, functions, ptr::null())
}

/// The manifest of a backend.
#[doc(hidden)]
#[must_use]
pub const fn storage_manifest(
    name: &'static str,
    version: &'static str,
    description: &'static str,
    functions: &'static StorageVtable,
) -> Manifest {
    manifest(name, version, description, kind::STORAGE, ptr::null(), functions)
}

const fn manifest(
    name: &'static str,
    version: &'static str,
    description: &'static str,
    kind: u32,
    partitioner: *const PartitionerVtable,
    storage: *const StorageVtable,
) -> Manifest {
    check_name(name);
    assert!(!version.is_empty() && version.len() <= 64, "a plugin's version has 1 to 64 bytes");
    assert!(is_one_line(version), "a plugin's version has no control characters");
    assert!(description.len() <= 256, "a plugin's description has at most 256 bytes: give a shorter one");
    assert!(is_one_line(description), "a plugin's description is one line without control characters");
    Manifest {
        magic: MAGIC,
        abi_major: ABI_MAJOR,
        abi_minor: ABI_MINOR,
        struct_size: size_of::<Manifest>() as u32,
        kind,
        reserved: 0,
        name: Bytes::new(name.as_bytes()),
        version: Bytes::new(version.as_bytes()),
        partitioner,
        storage,
        description: Bytes::new(description.as_bytes()),
    }
}

/// Whether there is no control character, as the host wants it: of ASCII, or U+0080 to U+009F.
const fn is_one_line(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        // In UTF-8, 0xC2 is always the first of two bytes.
        let is_control = match bytes[at] {
            0..0x20 | 0x7f => true,
            0xc2 => matches!(bytes[at + 1], 0x80..=0x9f),
            _ => false,
        };
        if is_control {
            return false;
        }
        at += 1;
    }
    true
}

/// Evaluated when the plugin is compiled: a name that the host would refuse does not compile.
const fn check_name(name: &str) {
    let bytes = name.as_bytes();
    assert!(!bytes.is_empty() && bytes.len() <= 64, "a plugin's name has 1 to 64 characters");
    let mut at = 0;
    while at < bytes.len() {
        let is_plain = matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        assert!(is_plain, "a plugin's name is made of a-z, 0-9, '-' and '_'");
        at += 1;
    }
}

/// Exports a [`Partitioner`](crate::Partitioner) as a plugin: once in a crate, with the name that configuration will use
/// and the version of its routes. The plugin's version and description are those of `Cargo.toml`.
///
/// ```
/// # use wafka_plugin_sdk::{Error, Event, OptionsError, Partitioner, Route, Topic, export_partitioner};
/// # #[derive(serde::Deserialize)]
/// # struct Nothing {}
/// struct First;
///
/// impl Partitioner for First {
///     // …
/// #   type Options = Nothing;
/// #   fn new(_: Nothing, _: &Topic<'_>) -> Result<Self, OptionsError> { Ok(First) }
/// #   fn route(&mut self, _: &Event<'_>) -> Result<Route, Error> { Ok(Route::Partition(0)) }
/// }
///
/// export_partitioner!(First, name = "first", route_version = 1);
/// # fn main() {}
/// ```
///
/// A crate that is linked into a program together with another plugin (as a Rust library, `rlib`) clashes with it: each
/// exports the one function that the host looks for.
#[macro_export]
macro_rules! export_partitioner {
    ($partitioner:ty, name = $name:expr, route_version = $route_version:expr $(,)?) => {
        $crate::refuse_panic_abort!();
        const _: () = {
            static FUNCTIONS: $crate::private::PartitionerVtable =
                $crate::private::partitioner_vtable::<$partitioner>($route_version);
            static MANIFEST: $crate::private::Manifest = $crate::private::partitioner_manifest(
                $name,
                env!("CARGO_PKG_VERSION"),
                env!("CARGO_PKG_DESCRIPTION"),
                &FUNCTIONS,
            );
            $crate::export_manifest!(MANIFEST);
        };
    };
}

/// Part of the export macros.
#[doc(hidden)]
#[macro_export]
macro_rules! export_manifest {
    ($manifest:ident) => {
        /// The one function that the host looks for.
        ///
        /// # Safety
        /// As the ABI says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn wafka_plugin_manifest(
            host: *const $crate::private::Host,
        ) -> *const $crate::private::Manifest {
            // SAFETY: the host promises it.
            unsafe { $crate::private::enter(host, &$manifest) }
        }
    };
}

/// Part of the export macros.
#[doc(hidden)]
#[macro_export]
macro_rules! refuse_panic_abort {
    () => {
        #[cfg(not(panic = "unwind"))]
        compile_error!(
            "a Wafka plugin must be built with panic = \"unwind\": with \"abort\", a panic in it would end the server"
        );
    };
}
