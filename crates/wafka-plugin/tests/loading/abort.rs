//! A plugin that would end the server with its first panic does not compile.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::dir;

const SOURCE: &str = r#"
use wafka_plugin_sdk::{Error, Event, OptionsError, Partitioner, Route, Topic, export_partitioner};

pub struct First;

impl Partitioner for First {
    type Options = std::collections::BTreeMap<String, String>;

    fn new(_: Self::Options, _: &Topic<'_>) -> Result<Self, OptionsError> {
        Ok(First)
    }

    fn route(&mut self, _: &Event<'_>) -> Result<Route, Error> {
        Ok(Route::Any)
    }
}

export_partitioner!(First, name = "NAME", route_version = 1);
"#;

/// Checks a plugin of that name with this setting of `panic`, against the crates that this test was built with. Says what
/// the compiler objects to.
fn check(name: &str, panic: &str) -> Result<(), String> {
    check_described(name, panic, "")
}

/// [`check`] of a plugin with this description.
fn check_described(name: &str, panic: &str, description: &str) -> Result<(), String> {
    let dir = dir();
    let source = dir.path().join("lib.rs");
    fs::write(&source, SOURCE.replace("NAME", name)).unwrap();
    let tests = std::env::current_exe().unwrap();
    let deps = tests.parent().unwrap();
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--crate-name=abort"])
        .args([format!("-Cpanic={panic}"), format!("-Ldependency={}", deps.display())])
        .arg(format!("--extern=wafka_plugin_sdk={}", newest(deps, "wafka_plugin_sdk").display()))
        .arg("--out-dir")
        .arg(dir.path())
        .arg(&source)
        .env("CARGO_PKG_VERSION", "1.0.0")
        .env("CARGO_PKG_DESCRIPTION", description)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// The library of a crate that was built last.
fn newest(deps: &Path, name: &str) -> std::path::PathBuf {
    let begin = format!("lib{name}-");
    let entries = fs::read_dir(deps).unwrap().map(|entry| entry.unwrap());
    let ours = entries.filter(|entry| {
        let file = entry.file_name();
        let file = file.to_str().unwrap_or_default();
        file.starts_with(&begin) && file.ends_with(".rlib")
    });
    ours.max_by_key(|entry| entry.metadata().unwrap().modified().unwrap()).unwrap().path()
}

#[test]
fn a_plugin_that_aborts_on_panic_does_not_compile() {
    check("first", "unwind").unwrap();
    let error = check("first", "abort").unwrap_err();
    assert!(error.contains("a Wafka plugin must be built with panic = \"unwind\""), "{error}");
}

#[test]
fn a_name_that_the_host_would_refuse_does_not_compile() {
    let error = check("First!", "unwind").unwrap_err();
    assert!(error.contains("a plugin's name is made of a-z, 0-9, '-' and '_'"), "{error}");
}

#[test]
fn a_description_that_the_host_would_refuse_does_not_compile() {
    check_described("first", "unwind", "Grüße: by the first letter…").unwrap();
    for description in ["Two\nlines", "a\ttab", "\u{7f}", "by\u{85}the way"] {
        let error = check_described("first", "unwind", description).unwrap_err();
        assert!(error.contains("a plugin's description is one line"), "{description:?}: {error}");
    }
}
