//! The plugins of this repository, as files that a server can load.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::{Setup, profile_dir};

/// The library of a plugin, such as `wafka_partitioner_jump`. It is built together with the tests, because this package
/// depends on it.
///
/// # Panics
/// When it is not there: it is not among this package's dependencies then.
#[must_use]
pub fn path(library: &str) -> PathBuf {
    let dir = profile_dir().join("deps");
    let path = dir.join(format!("lib{library}.so"));
    assert!(path.is_file(), "{} is not there: name its package in tests/Cargo.toml", path.display());
    // Where the umask lets groups write, Cargo's files are none that a server loads.
    for path in [dir, path.clone()] {
        keep_others_out(&path);
    }
    path
}

fn keep_others_out(path: &Path) {
    let mode = fs::metadata(path).unwrap().permissions().mode();
    if mode & 0o022 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode & !0o022)).unwrap();
    }
}

/// The storage backends in `plugins/`.
pub const BACKENDS: [&str; 2] = ["sqlite", "redb"];

/// A server that loads these libraries, such as `wafka_partitioner_jump`, with what else the configuration says.
///
/// # Panics
/// When a library is not there, or the configuration cannot be written.
#[must_use]
pub fn loading<'a>(setup: Setup, libraries: impl IntoIterator<Item = &'a str>, rest: &str) -> Setup {
    let mut text = format!("{rest}\n");
    for library in libraries {
        text += &format!("[[plugins]]\npath = {:?}\n", path(library).display().to_string());
    }
    let config = setup.dir().join("plugins.toml");
    fs::write(&config, text).unwrap();
    setup.arg("--config").arg(&config.display().to_string())
}

/// A server with every one of [`BACKENDS`] loaded, and with what else the configuration says.
///
/// # Panics
/// As [`loading`].
#[must_use]
pub fn with_backends(setup: Setup, rest: &str) -> Setup {
    let libraries = BACKENDS.map(|backend| format!("wafka_storage_{backend}"));
    loading(setup, libraries.iter().map(String::as_str), rest)
}

/// A server that keeps everything in that backend.
#[must_use]
pub fn in_backend(setup: Setup, backend: &str) -> Setup {
    with_backends(setup, "").set("storage.backend", backend)
}
