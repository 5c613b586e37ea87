//! The plugins of this repository, as files that a server can load.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::profile_dir;

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
