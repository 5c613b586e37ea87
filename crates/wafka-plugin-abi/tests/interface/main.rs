//! The C header and the document say what the Rust side says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

mod document;
mod header;
mod signatures;

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn read(path: &str) -> String {
    let path = repository(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
