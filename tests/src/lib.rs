//! What the end-to-end tests share: a running server, a plain RESP client, and an independent reader of the files.
//!
//! All of it fails by panicking with what was expected and what was found, and the server's log: its callers are tests.
//! Everything that waits has a time limit; nothing sleeps where there is something to wait for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

pub mod client;
pub mod diff;
pub mod events;
pub mod jetstream;
pub mod log_file;
pub mod oracle;
mod output;
pub mod payload;
pub mod plugins;
pub mod reply;
pub mod server;
pub mod setup;
pub mod tour;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use client::Client;
pub use reply::Reply;
pub use server::Server;
pub use setup::Setup;

/// How long anything may take that should be quick, on a slow and busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The repository's root.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("invariant: the package lies in the workspace")
}

/// The directory that Cargo builds into, `target` unless configured otherwise: what runs lies in `<target>/<profile>`.
#[must_use]
pub fn target_dir() -> PathBuf {
    profile_dir().parent().expect("invariant: a profile's directory lies in the target directory").to_owned()
}

/// Where Cargo puts the binaries of the profile that the tests were built with.
#[must_use]
pub fn profile_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let dir = program.parent().expect("invariant: an executable lies in a directory");
    // Tests lie in <profile>/deps, programs beside it.
    let profile = if dir.ends_with("deps") { dir.parent() } else { Some(dir) };
    profile.expect("invariant: Cargo puts tests into <profile>/deps").to_owned()
}

/// The Python interpreter that has the pinned redis-py.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn python() -> PathBuf {
    let python = target_dir().join("clients/redis-py/venv/bin/python");
    assert!(python.exists(), "{} is not there: tests/clients/setup.sh redis-py sets it up", python.display());
    python
}
