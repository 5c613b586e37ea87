//! The house in order: sizes, panics, dependencies, links. What a compiler does not check.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use source::{Source, is_target};
use wafka_tests::repository;

const FILE_LINES_WARN: usize = 400;
const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 100;

/// Which crates of the workspace a crate may depend on. Arrows point one way, from the server to the core.
const MAY_DEPEND_ON: [(&str, &[&str]); 9] = [
    ("wafka-core", &[]),
    ("wafka-protocol", &["wafka-core"]),
    ("wafka-storage", &["wafka-core"]),
    ("wafka-broker", &["wafka-core", "wafka-storage"]),
    ("wafka-plugin-abi", &[]),
    ("wafka-plugin", &["wafka-core", "wafka-storage", "wafka-plugin-abi"]),
    ("wafka-plugin-sdk", &["wafka-core", "wafka-plugin-abi"]),
    ("wafka-server", &["wafka-core", "wafka-protocol", "wafka-storage", "wafka-broker", "wafka-plugin"]),
    ("wafka-bench", &["wafka-test-nats"]),
];

/// The same for everything in `plugins/`: a plugin knows what its authors are told of.
const PLUGINS_MAY_DEPEND_ON: &[&str] = &["wafka-core", "wafka-plugin-sdk"];

/// Crates that know nothing of sockets and runtimes.
const WITHOUT_TOKIO: [&str; 7] = [
    "wafka-core",
    "wafka-protocol",
    "wafka-storage",
    "wafka-broker",
    "wafka-plugin-abi",
    "wafka-plugin",
    "wafka-plugin-sdk",
];

/// All files below the directories of the repository that hold its code, with this ending.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs: Vec<PathBuf> =
        ["crates", "plugins", "tests", "benches", "docs"].map(|dir| repository().join(dir)).into();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                dirs.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    let sources: Vec<Source> = files(".rs").into_iter().map(|path| Source::read(&path)).collect();
    assert!(sources.len() > 50, "only {} source files were found", sources.len());
    sources
}

fn show(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap().display().to_string()
}

#[track_caller]
fn none(objections: &[String]) {
    assert!(objections.is_empty(), "\n{}", objections.join("\n"));
}

#[test]
fn files_are_short() {
    let mut objections = Vec::new();
    for source in sources() {
        let (path, lines) = (show(&source.path), source.lines.len());
        if lines > FILE_LINES_MAX {
            objections.push(format!("{path}: {lines} lines, at most {FILE_LINES_MAX} are allowed"));
        } else if lines > FILE_LINES_WARN {
            println!("{path}: {lines} lines, more than {FILE_LINES_WARN}");
        }
    }
    none(&objections);
}

#[test]
fn functions_are_short() {
    let mut objections = Vec::new();
    for source in sources() {
        for (name, line, lines) in source.functions() {
            if lines > FUNCTION_LINES_MAX {
                let path = show(&source.path);
                objections
                    .push(format!("{path}:{line}: {name} has {lines} lines, more than {FUNCTION_LINES_MAX}"));
            }
        }
    }
    none(&objections);
}

/// `expect` names the invariant that rules a panic out; what is unfinished does not get in.
#[test]
fn code_does_not_panic() {
    const FORBIDDEN: [&str; 6] =
        [".unwrap()", "panic!(", "unreachable!(", "todo!(", "unimplemented!(", "dbg!("];
    let mut objections = Vec::new();
    for source in sources().iter().filter(|source| source.is_product()) {
        for (number, line) in source.code_outside_tests() {
            let at = format!("{}:{number}", show(&source.path));
            for forbidden in FORBIDDEN.iter().filter(|forbidden| line.contains(**forbidden)) {
                objections.push(format!("{at}: {forbidden}"));
            }
            // A method of one's own that is called `expect` and returns a result is followed by a question mark.
            let panics = line.split_once(".expect(").is_some_and(|(_, rest)| !rest.contains(")?"));
            let original = &source.lines[number - 1];
            let reason = original.split_once(".expect(").map_or("", |(_, reason)| reason);
            // Where the line ends there, the reason stands on the next.
            if panics && !reason.is_empty() && !reason.starts_with("\"invariant") {
                objections.push(format!("{at}: expect without \"invariant …\": {}", original.trim()));
            }
        }
    }
    none(&objections);
}

#[test]
fn nothing_is_left_to_do() {
    let mut objections = Vec::new();
    for path in files(".rs").iter().chain(&files(".toml")).chain(&files(".sh")).chain(&files(".py")) {
        for (number, line) in fs::read_to_string(path).unwrap().lines().enumerate() {
            // In two parts, so that this file does not object to itself.
            for mark in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("HA", "CK")]
            {
                if line.contains(mark) {
                    objections.push(format!("{}:{}: {mark}", show(path), number + 1));
                }
            }
        }
    }
    none(&objections);
}

/// A file that no `mod` names is not compiled, and nobody notices.
#[test]
fn every_file_is_part_of_its_crate() {
    let sources = sources();
    let mut objections = Vec::new();
    for source in &sources {
        let Some((parent, name)) = source.module() else { continue };
        let files = [
            parent.with_extension("rs"),
            parent.join("mod.rs"),
            parent.join("lib.rs"),
            parent.join("main.rs"),
        ];
        let is_parent = |other: &Source| {
            files.contains(&other.path) || (is_target(&parent) && other.path.parent() == Some(&parent))
        };
        if !sources.iter().any(|other| is_parent(other) && other.declares_module(&name)) {
            objections.push(format!("{}: no file declares `mod {name}`", show(&source.path)));
        }
    }
    none(&objections);
}

struct Manifest {
    name: String,
    path: PathBuf,
    toml: toml::Table,
}

fn manifests() -> Vec<Manifest> {
    let read = |path: PathBuf| {
        let toml: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        let name = toml["package"]["name"].as_str().unwrap().to_owned();
        Manifest { name, path, toml }
    };
    files("Cargo.toml").into_iter().map(read).collect()
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_DEPEND_ON.into();
    let mut objections = Vec::new();
    for Manifest { name, path, toml } in manifests() {
        if name.starts_with("wafka-test") {
            continue;
        }
        let is_plugin =
            ["plugins", "tests/plugins"].iter().any(|dir| path.starts_with(repository().join(dir)));
        let Some(allowed) = allowed.get(name.as_str()).or(is_plugin.then_some(&PLUGINS_MAY_DEPEND_ON)) else {
            objections
                .push(format!("{}: say in tests/tests/tidy/main.rs what it may depend on", show(&path)));
            continue;
        };
        let none = toml::Table::new();
        let dependencies = toml.get("dependencies").map_or(&none, |table| table.as_table().unwrap());
        for dependency in dependencies.keys() {
            if dependency.starts_with("wafka-") && !allowed.contains(&dependency.as_str()) {
                objections.push(format!("{}: may not depend on {dependency}", show(&path)));
            }
            if dependency == "tokio" && WITHOUT_TOKIO.contains(&name.as_str()) {
                objections.push(format!("{}: may not depend on tokio", show(&path)));
            }
        }
    }
    none(&objections);
}

#[test]
fn crates_share_lints_licence_and_version() {
    let mut objections = Vec::new();
    // The template is copied to where there is no workspace: it says all of this itself.
    let template = |manifest: &Manifest| manifest.path.ends_with("plugins/template/Cargo.toml");
    for Manifest { path, toml, .. } in manifests().into_iter().filter(|manifest| !template(manifest)) {
        let inherits = |section: &str, key: Option<&str>| {
            let section = toml.get(section);
            let value = key.map_or(section, |key| section.and_then(|section| section.get(key)));
            value.and_then(|value| value.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
        };
        let package = ["version", "edition", "license", "rust-version"];
        let missing = package.into_iter().filter(|key| !inherits("package", Some(key)));
        objections.extend(missing.map(|key| format!("{}: {key} is not the workspace's", show(&path))));
        if !inherits("lints", None) {
            objections.push(format!("{}: the lints are not the workspace's", show(&path)));
        }
    }
    none(&objections);
}

/// Relative links of the documents lead somewhere.
#[test]
fn links_lead_somewhere() {
    let top = fs::read_dir(repository()).unwrap().map(|entry| entry.unwrap().path());
    let documents: Vec<PathBuf> =
        top.filter(|path| path.extension().is_some_and(|e| e == "md")).chain(files(".md")).collect();
    let mut objections = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            let is_relative =
                !file.is_empty() && !target.contains("://") && !target.contains(char::is_whitespace);
            if is_relative && !document.parent().unwrap().join(file).exists() {
                objections.push(format!("{}: {target} is not there", show(&document)));
            }
        }
    }
    none(&objections);
}
