//! Why a plugin is not loaded.

use std::path::PathBuf;

use thiserror::Error;

use crate::file::FileError;

/// Why a plugin is not loaded: which file, what was found, and what was expected.
#[derive(Debug, Error)]
pub enum PluginError {
    /// The file is not to be loaded.
    #[error(transparent)]
    File(#[from] FileError),
    /// The dynamic linker does not take the file.
    #[error("plugin {}: cannot be loaded: {reason}; expected a shared library for this machine", path.display())]
    NotLoadable {
        /// The file.
        path: PathBuf,
        /// What the dynamic linker says.
        reason: String,
    },
    /// The file ends before the library does.
    #[error(
        "plugin {}: found {found} bytes, expected at least {expected}: the library is cut short; was it copied whole?",
        path.display()
    )]
    CutShort {
        /// The file.
        path: PathBuf,
        /// How many bytes it has.
        found: u64,
        /// How many its headers name.
        expected: u64,
    },
    /// It is a library, but no plugin.
    #[error(
        "plugin {}: found no function '{symbol}', expected a library that exports it (write plugins with \
         wafka-plugin-sdk or wafka_plugin.h): {reason}", path.display()
    )]
    NoEntry {
        /// The file.
        path: PathBuf,
        /// The function.
        symbol: &'static str,
        /// What the dynamic linker says.
        reason: String,
    },
    /// The plugin's entry returned no manifest.
    #[error("plugin {}: its entry returned null, expected a manifest; the plugin may have logged why", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
    },
    /// The plugin was built for another ABI.
    #[error(
        "plugin {}: found ABI {}.{}, expected {}.x: build the plugin against this server's ABI", path.display(),
        found.0, found.1, expected.0
    )]
    Abi {
        /// The file.
        path: PathBuf,
        /// The plugin's version, major and minor.
        found: (u16, u16),
        /// The host's.
        expected: (u16, u16),
    },
    /// The manifest, or what it points to, is not what it must be.
    #[error("plugin {}: {what}: found {found}, expected {expected}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Which part of it.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        expected: String,
    },
}
