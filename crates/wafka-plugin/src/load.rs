//! Loading a library and finding out what it is.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use wafka_core::partitioner::PartitionerFactory;
use wafka_core::storage::StorageFactory;
use wafka_plugin_abi::{ENTRY_SYMBOL, Entry, Manifest};

use crate::elf;
use crate::error::PluginError;
use crate::file::{self, Checked, FileError, PluginFile};
use crate::host::host_for;
use crate::manifest::{self, Functions};
use crate::partitioner::Factory;
use crate::storage;

/// What a plugin is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PluginKind {
    /// A partitioning strategy.
    Partitioner,
    /// A storage backend.
    Storage,
}

impl PluginKind {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PluginKind::Partitioner => "partitioner",
            PluginKind::Storage => "storage",
        }
    }
}

/// What is known about a plugin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PluginInfo {
    /// The name that configuration and catalog use.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// What it does, in one line; may be empty.
    pub description: String,
    /// What it is.
    pub kind: PluginKind,
    /// Its file: absolute, all links followed.
    pub file: PathBuf,
    /// The SHA-256 of the file's bytes.
    pub sha256: [u8; 32],
    /// The version of the ABI it was built for: major, minor.
    pub abi: (u16, u16),
}

/// A plugin that is loaded. Its code stays loaded for ever, whatever becomes of this.
pub struct Plugin {
    info: Arc<PluginInfo>,
    component: Component,
}

enum Component {
    Partitioner(Arc<Factory>),
    Storage(Arc<storage::Factory>),
}

/// Loads a plugin: checks its file, runs the library's initialisers and its entry, and checks the manifest. Names are not
/// compared with those of other plugins here.
///
/// # Errors
/// When the file is not to be trusted, is no library or no plugin, was built for another ABI, or says something of itself
/// that cannot be.
pub fn load(plugin: &PluginFile) -> Result<Plugin, PluginError> {
    let checked = file::check(plugin)?;
    let (file, sha256) = (checked.path.clone(), checked.sha256);
    let manifest = enter(&plugin.path, checked)?;
    // SAFETY: this is what the plugin's entry returned.
    let described = unsafe { manifest::read(&plugin.path, manifest)? };
    let info = |kind| {
        Arc::new(PluginInfo {
            name: described.name.clone(),
            version: described.version.clone(),
            description: described.description.clone(),
            kind,
            file: file.clone(),
            sha256,
            abi: described.abi,
        })
    };
    let (info, component) = match described.functions {
        Functions::Partitioner(functions) => {
            let info = info(PluginKind::Partitioner);
            let factory = Factory::new(Arc::clone(&info), functions);
            (info, Component::Partitioner(Arc::new(factory)))
        }
        Functions::Storage(functions) => {
            let info = info(PluginKind::Storage);
            let factory = storage::Factory::new(&info, *functions);
            (info, Component::Storage(Arc::new(factory)))
        }
    };
    tracing::info!(
        name = info.name, version = info.version, kind = info.kind.as_str(), file = %info.file.display(),
        "plugin loaded"
    );
    Ok(Plugin { info, component })
}

/// Maps the library and calls its entry.
fn enter(path: &Path, checked: Checked) -> Result<*const Manifest, PluginError> {
    let unreachable = |source| FileError::Unreachable { path: path.to_owned(), source };
    let load_path = checked.load_path().map_err(unreachable)?;
    // The linker knows the file by the name it was given, which says nothing to people.
    let in_words = |error: libloading::Error| {
        let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        reason.replace(&load_path.display().to_string(), &path.display().to_string())
    };
    let not_loadable = |reason| PluginError::NotLoadable { path: path.to_owned(), reason };
    if let Some((found, expected)) =
        elf::cut_short(checked.file()).map_err(|error| not_loadable(error.to_string()))?
    {
        return Err(PluginError::CutShort { path: path.to_owned(), found, expected });
    }
    // All symbols are looked up now: one that is missing is an error here, and not the end of the process at its first use.
    // SAFETY: loading runs the library's initialisers. The operator named the file, and nobody else can have changed it;
    // from here on it can do whatever the server may do.
    let library = unsafe { Library::open(Some(&load_path), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|error| not_loadable(in_words(error)))?;
    // Never unloaded: instances, threads and thread-local destructors of it may be around at any time.
    let library = ManuallyDrop::new(library);
    // Nor are the descriptors closed that it was loaded by.
    let checked = ManuallyDrop::new(checked);
    // SAFETY: a function of this name has this type, by the rules of the ABI.
    let entry = unsafe { library.get::<Entry>(ENTRY_SYMBOL) }.map_err(|error| PluginError::NoEntry {
        path: path.to_owned(),
        symbol: ENTRY_SYMBOL,
        reason: in_words(error),
    })?;
    let host = host_for(checked.path.clone());
    // SAFETY: the entry takes a host that lives for ever.
    Ok(unsafe { entry(host) })
}

impl Plugin {
    /// What is known about it.
    #[must_use]
    pub fn info(&self) -> &PluginInfo {
        &self.info
    }

    /// The strategy, when it is one.
    #[must_use]
    pub fn partitioner(&self) -> Option<Arc<dyn PartitionerFactory>> {
        match &self.component {
            Component::Partitioner(factory) => Some(Arc::clone(factory) as Arc<dyn PartitionerFactory>),
            Component::Storage(_) => None,
        }
    }

    /// The backend, when it is one.
    #[must_use]
    pub fn storage(&self) -> Option<Arc<dyn StorageFactory>> {
        match &self.component {
            Component::Partitioner(_) => None,
            Component::Storage(factory) => Some(Arc::clone(factory) as Arc<dyn StorageFactory>),
        }
    }

    /// How many of its calls that others wait for (a strategy's routes; a backend's appends and syncs) took longer than
    /// they should, so far.
    #[must_use]
    pub fn slow_calls(&self) -> u64 {
        match &self.component {
            Component::Partitioner(factory) => factory.slow_calls(),
            Component::Storage(factory) => factory.slow_calls(),
        }
    }
}

impl Plugin {
    /// How many of its calls ended in a panic, so far.
    #[must_use]
    pub fn panics(&self) -> u64 {
        match &self.component {
            Component::Partitioner(factory) => factory.panics(),
            Component::Storage(factory) => factory.panics(),
        }
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.info.fmt(f)
    }
}
