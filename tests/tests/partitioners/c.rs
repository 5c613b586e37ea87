//! The strategy `fnv` in C: built without a warning, right by its published vectors, and loaded.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use wafka_tests::{repository, target_dir};

use crate::support::setup;
use crate::vectors::land;

/// The compiler that `CC` names, or `cc`, as `plugins/partitioner-c/README.md` calls it.
fn compile(source: &str, out: &Path, more: &[&str]) {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let output = Command::new(compiler)
        .current_dir(repository().join("plugins/partitioner-c"))
        .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-I../../crates/wafka-plugin-abi/include"])
        .args(more)
        .arg("-o")
        .arg(out)
        .arg(source)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{source}: {said}");
}

/// The library, in a directory that goes away with it.
pub fn library() -> (TempDir, PathBuf) {
    let dir = TempDir::new_in(target_dir()).unwrap();
    let library = dir.path().join("libwafka_partitioner_fnv.so");
    compile("fnv.c", &library, &["-fPIC", "-shared"]);
    // The server loads no file that others may write to, and a umask may let them.
    fs::set_permissions(&library, fs::Permissions::from_mode(0o755)).unwrap();
    (dir, library)
}

#[test]
fn hashes_and_options_are_right() {
    let dir = TempDir::new_in(target_dir()).unwrap();
    let program = dir.path().join("test");
    compile("test.c", &program, &[]);
    let output = Command::new(program).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The hashes modulo 10 were computed with Python.
#[test]
fn values_land_where_their_hash_says() {
    let (_dir, library) = library();
    let create = ["PARTITIONER", "fnv", "OPTION", "partition_key", "truck"];
    land(setup(&[&library], ""), 10, &create, [7, 6, 4, 4, 1, 4, 2, 9]);
}

#[test]
fn options_that_it_does_not_know_are_refused() {
    let (_dir, library) = library();
    let server = setup(&[&library], "").start();
    let mut client = server.client();
    for options in ["", "OPTION partition_key 7", "OPTION partition_key a OPTION seed 1"] {
        let reply = client.run(&format!("TOPIC CREATE t PARTITIONER fnv {options}"));
        assert!(reply.error().contains("option 'partition_key': required, and alone"), "{reply:?}");
    }
}
