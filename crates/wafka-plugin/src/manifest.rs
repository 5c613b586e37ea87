//! Checking what a plugin says it is, before anything of it is believed or called.

use std::ffi::c_void;
use std::fmt::Display;
use std::path::Path;

use wafka_plugin_abi::growing::{Growing, is_boundary, read_prefix};
use wafka_plugin_abi::{
    ABI_MAJOR, ABI_MINOR, Bytes, ErrorOut, MAGIC, Manifest, PartitionerConfig, PartitionerVtable,
    RouteRequest, StorageVtable, kind,
};

use crate::error::PluginError;
use crate::text::shown;

/// The longest name and version, in bytes.
const NAME_LEN_MAX: usize = 64;

/// The longest description, in bytes.
const DESCRIPTION_LEN_MAX: usize = 256;

/// The functions of a plugin.
#[derive(Clone, Debug)]
pub(crate) enum Functions {
    Partitioner(PartitionerFunctions),
    Storage(Box<StorageVtable>),
}

/// What a strategy's vtable holds, all of it present.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartitionerFunctions {
    pub(crate) route_version: u32,
    pub(crate) create: unsafe extern "C" fn(*const PartitionerConfig, *mut *mut c_void, *mut ErrorOut) -> u32,
    pub(crate) route: unsafe extern "C" fn(*mut c_void, *const RouteRequest, *mut ErrorOut) -> i32,
    pub(crate) destroy: unsafe extern "C" fn(*mut c_void),
}

/// A manifest that holds.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) abi: (u16, u16),
    pub(crate) functions: Functions,
}

/// What this host knows; a test may be another.
#[derive(Clone, Copy)]
struct Known {
    abi: (u16, u16),
}

/// Reads and checks a manifest.
///
/// # Safety
/// `manifest` is null, or what the entry of the plugin returned: a manifest that stays as it is for ever, as far as the
/// plugin keeps its promises.
pub(crate) unsafe fn read(file: &Path, manifest: *const Manifest) -> Result<Described, PluginError> {
    // SAFETY: the caller's promise is the same.
    unsafe { Reader { file, known: Known { abi: (ABI_MAJOR, ABI_MINOR) } }.read(manifest) }
}

struct Reader<'a> {
    file: &'a Path,
    known: Known,
}

impl Reader<'_> {
    fn wrong(&self, what: &'static str, found: impl Display, expected: impl Display) -> PluginError {
        PluginError::Manifest {
            path: self.file.to_owned(),
            what,
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    /// # Safety
    /// As [`read`].
    unsafe fn read(&self, at: *const Manifest) -> Result<Described, PluginError> {
        if at.is_null() {
            return Err(PluginError::Refused { path: self.file.to_owned() });
        }
        self.aligned("its manifest's address", at)?;
        // SAFETY: not null and aligned; the magic number is the first field of every version of a manifest.
        let magic = unsafe { at.cast::<u64>().read() };
        if magic != MAGIC {
            let (found, expected) = (format!("{magic:#018x}"), format!("{MAGIC:#018x} (WAFKAPLG)"));
            return Err(self.wrong("its manifest's magic number", found, expected));
        }
        // SAFETY: a manifest begins with these fields in every version.
        let (major, minor, size) = unsafe { ((*at).abi_major, (*at).abi_minor, (*at).struct_size) };
        if major != self.known.abi.0 {
            let (path, found) = (self.file.to_owned(), (major, minor));
            return Err(PluginError::Abi { path, found, expected: self.known.abi });
        }
        let is_newer = minor > self.known.abi.1;
        let size = self.size::<Manifest>("its manifest's size", size, is_newer)?;
        // SAFETY: the plugin says that so many bytes are there.
        let manifest = unsafe { read_prefix(at, size) };
        // SAFETY: the plugin promises that what its manifest points to is there for ever.
        unsafe {
            Ok(Described {
                name: self.name(manifest.name)?,
                version: self.line("its version", manifest.version, 1, NAME_LEN_MAX)?,
                description: self.line("its description", manifest.description, 0, DESCRIPTION_LEN_MAX)?,
                abi: (major, minor),
                functions: self.functions(&manifest, is_newer)?,
            })
        }
    }

    fn aligned<T>(&self, what: &'static str, at: *const T) -> Result<(), PluginError> {
        if at.is_aligned() {
            return Ok(());
        }
        Err(self.wrong(what, format!("{at:p}"), format!("a multiple of {}", align_of::<T>())))
    }

    /// How many bytes of a struct are there. A newer plugin has all that this host knows; an older one at least what
    /// the first version had. Half a field is none: half of a function's address would be called.
    fn size<T: Growing>(&self, what: &'static str, size: u32, is_newer: bool) -> Result<usize, PluginError> {
        let least = if is_newer { size_of::<T>() } else { T::SIZE_MIN };
        match usize::try_from(size) {
            Ok(size) if size >= least && is_boundary::<T>(size) => Ok(size),
            Ok(size) if size >= least => {
                let expected = format!("a size that ends where a field does, such as {}", size_of::<T>());
                Err(self.wrong(what, format!("{size} bytes"), expected))
            }
            _ => Err(self.wrong(what, format!("{size} bytes"), format!("at least {least}"))),
        }
    }

    /// # Safety
    /// The bytes are there for ever, as the plugin promises.
    unsafe fn name(&self, name: Bytes) -> Result<String, PluginError> {
        // SAFETY: the caller's promise is the same.
        let name = unsafe { self.line("its name", name, 1, NAME_LEN_MAX)? };
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.bytes().all(is_plain) {
            return Ok(name);
        }
        Err(self.wrong("its name", format!("'{name}'"), "only characters of a-z, 0-9, '-' and '_'"))
    }

    /// # Safety
    /// The bytes are there for ever, as the plugin promises.
    unsafe fn line(
        &self,
        what: &'static str,
        bytes: Bytes,
        least: usize,
        most: usize,
    ) -> Result<String, PluginError> {
        let expected = || format!("{least} to {most} bytes of UTF-8 without control characters");
        // The length first: what is too long is not looked at, and need not be there.
        if bytes.len < least || bytes.len > most {
            return Err(self.wrong(what, format!("{} bytes", bytes.len), expected()));
        }
        // SAFETY: the caller's promise is the same.
        let Some(found) = (unsafe { bytes.get() }) else {
            return Err(self.wrong(what, "a null pointer", expected()));
        };
        match std::str::from_utf8(found) {
            Ok(text) if !text.contains(char::is_control) => Ok(text.to_owned()),
            _ => Err(self.wrong(what, format!("'{}'", shown(found)), expected())),
        }
    }

    /// # Safety
    /// The vtables are there for ever, as the plugin promises.
    unsafe fn functions(&self, manifest: &Manifest, is_newer: bool) -> Result<Functions, PluginError> {
        let other = match manifest.kind {
            kind::PARTITIONER => !manifest.storage.is_null(),
            kind::STORAGE => !manifest.partitioner.is_null(),
            unknown => {
                let expected = format!("{} (partitioner) or {} (storage)", kind::PARTITIONER, kind::STORAGE);
                return Err(self.wrong("its kind", unknown, expected));
            }
        };
        if other {
            return Err(self.wrong("its functions", "those of another kind too", "those of its kind alone"));
        }
        if manifest.kind == kind::PARTITIONER {
            // SAFETY: the caller's promise is the same.
            let functions =
                unsafe { self.vtable("its partitioner's functions", manifest.partitioner, is_newer)? };
            let missing = |name| self.wrong(name, "a null pointer", "a function");
            let PartitionerVtable { struct_size: _, route_version, create, route, destroy } = functions;
            Ok(Functions::Partitioner(PartitionerFunctions {
                route_version,
                create: create.ok_or_else(|| missing("its function 'create'"))?,
                route: route.ok_or_else(|| missing("its function 'route'"))?,
                destroy: destroy.ok_or_else(|| missing("its function 'destroy'"))?,
            }))
        } else {
            // SAFETY: the caller's promise is the same.
            let functions = unsafe { self.vtable("its backend's functions", manifest.storage, is_newer)? };
            self.present(&storage_functions(&functions))?;
            if functions.ownership.is_some() {
                self.present(&ownership_functions(&functions))?;
            }
            Ok(Functions::Storage(Box::new(functions)))
        }
    }

    /// # Safety
    /// `at` is null or a vtable that is there for ever, as the plugin promises.
    unsafe fn vtable<T: Growing>(
        &self,
        what: &'static str,
        at: *const T,
        is_newer: bool,
    ) -> Result<T, PluginError> {
        if at.is_null() {
            return Err(self.wrong(what, "a null pointer", "the functions of its kind"));
        }
        self.aligned(what, at)?;
        // SAFETY: not null and aligned; every vtable begins with its size.
        let size = unsafe { at.cast::<u32>().read() };
        let size = self.size::<T>(what, size, is_newer)?;
        // SAFETY: the plugin says that so many bytes are there.
        Ok(unsafe { read_prefix(at, size) })
    }

    fn present(&self, functions: &[(&'static str, bool)]) -> Result<(), PluginError> {
        match functions.iter().find(|(_, is_there)| !is_there) {
            None => Ok(()),
            Some((name, _)) => Err(self.wrong(name, "a null pointer", "a function")),
        }
    }
}

/// The functions that every backend must have, and whether they are there.
fn storage_functions(f: &StorageVtable) -> [(&'static str, bool); 22] {
    [
        ("its function 'open'", f.open.is_some()),
        ("its function 'close'", f.close.is_some()),
        ("its function 'list'", f.list.is_some()),
        ("its function 'create'", f.create.is_some()),
        ("its function 'delete_logs'", f.delete_logs.is_some()),
        ("its function 'shard'", f.shard.is_some()),
        ("its function 'shard_close'", f.shard_close.is_some()),
        ("its function 'log_open'", f.log_open.is_some()),
        ("its function 'log_close'", f.log_close.is_some()),
        ("its function 'append'", f.append.is_some()),
        ("its function 'begin_sync'", f.begin_sync.is_some()),
        ("its function 'sync_wait'", f.sync_wait.is_some()),
        ("its function 'finish_sync'", f.finish_sync.is_some()),
        ("its function 'reopen'", f.reopen.is_some()),
        ("its function 'begin_rewrite'", f.begin_rewrite.is_some()),
        ("its function 'rewrite_run'", f.rewrite_run.is_some()),
        ("its function 'finish_rewrite'", f.finish_rewrite.is_some()),
        ("its function 'rewrite_abandon'", f.rewrite_abandon.is_some()),
        ("its function 'read'", f.read.is_some()),
        ("its function 'reader_generation'", f.reader_generation.is_some()),
        ("its function 'reader_size'", f.reader_size.is_some()),
        ("its function 'reader_release'", f.reader_release.is_some()),
    ]
}

/// The functions that a backend must have whose logs several servers reach.
fn ownership_functions(f: &StorageVtable) -> [(&'static str, bool); 4] {
    [
        ("its function 'acquire'", f.acquire.is_some()),
        ("its function 'renew'", f.renew.is_some()),
        ("its function 'release'", f.release.is_some()),
        ("its function 'ownership_close'", f.ownership_close.is_some()),
    ]
}

#[cfg(test)]
mod tests;
