//! Plugins in C, right and wrong.

use std::fs;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use wafka_core::partitioner::{PartitionerError, Route};
use wafka_plugin::PluginKind;

use crate::support::{Log, compile, compile_with, dir, file_in, make, make_with, open, refused, route};

/// How long anything may take that should be quick.
const PATIENCE: Duration = Duration::from_secs(60);

/// The filter by which `odd.c` finds its lines enabled.
const FILTER: &str = "info,odd_c::quiet=off";

fn refusal_of(macros: &[&str]) -> String {
    let dir = dir();
    let path = compile(dir.path(), macros);
    Log::of(FILTER, || refused(&path)).0
}

fn accepted(macros: &[&str]) -> wafka_plugin::Plugin {
    let dir = dir();
    let path = compile(dir.path(), macros);
    Log::of(FILTER, || open(&path).unwrap()).0
}

#[test]
fn a_plugin_in_c_is_loaded_and_routes() {
    let dir = dir();
    let path = compile(dir.path(), &["ROUTE=2"]);
    let (plugin, log) = Log::of(FILTER, || open(&path).unwrap());
    let info = plugin.info();
    assert_eq!((&*info.name, &*info.version, info.kind), ("odd-c", "0.1-test", PluginKind::Partitioner));
    assert_eq!((&*info.description, info.abi), ("a strategy for the tests", (1, 1)));
    assert_eq!(info.file, path.canonicalize().unwrap());
    assert_eq!(plugin.partitioner().unwrap().version(), 5);
    let mut strategy = make(&plugin, b"t", "{}").unwrap();
    assert_eq!(route(&mut strategy, b"t", &[b"a", b"1"]), Ok(Route::Partition(2)));
    let refused = make_with(&plugin, b"t", "{}", 9).err().unwrap();
    let expected = PartitionerError::BadOption {
        partitioner: "odd-c".to_owned(),
        option: "partitions".to_owned(),
        expected: "at most 8".to_owned(),
    };
    assert_eq!(refused, expected);
    // What it logged: by level and target, as one line each, whatever was in it.
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("plugin=libodd.so")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].contains("WARN odd_c::entry: hello\\nhost \u{fffd} plugin=libodd.so"), "{log}");
    assert!(lines[1].contains("ERROR wafka_plugin:"), "{log}");
}

#[test]
fn what_is_no_library_is_refused() {
    let dir = dir();
    for (bytes, part) in [
        (&b"#!/bin/sh\necho hello\n"[..], "expected a shared library"),
        (b"", "file too short"),
        (b"\x7fELF", "expected a shared library"),
    ] {
        let error = refused(&file_in(dir.path(), bytes));
        assert!(error.contains("cannot be loaded") && error.contains(part), "{error}");
    }
}

#[test]
fn half_a_library_is_refused() {
    let dir = dir();
    let path = compile(dir.path(), &[]);
    let whole = fs::read(&path).unwrap();
    for len in [64, 65, whole.len() / 3, whole.len() / 2] {
        let error = refused(&file_in(dir.path(), &whole[..len]));
        let part = format!("found {len} bytes, expected at least ");
        assert!(error.contains(&part) && error.contains("cut short"), "{error}");
    }
    // No header names what stands behind, as the sections' names.
    for len in (0..63).chain([whole.len() - 1]) {
        let path = file_in(dir.path(), &whole[..len]);
        assert_eq!(Log::of(FILTER, || open(&path)).0.is_ok(), len > 63, "{len} bytes");
    }
}

#[test]
fn a_library_without_the_entry_is_refused() {
    let error = refusal_of(&["NO_ENTRY"]);
    assert!(error.contains("found no function 'wafka_plugin_manifest', expected a library that"), "{error}");
}

/// With lazy binding, it would end the process at the first call.
#[test]
fn a_library_that_lacks_a_symbol_is_refused() {
    let error = refusal_of(&["UNRESOLVED"]);
    assert!(error.contains("cannot be loaded") && error.contains("nobody_has_this"), "{error}");
}

/// As for everybody else who loads libraries: what a plugin needs may lie beside it, and it is known by its name.
#[test]
fn libraries_beside_it_are_found() {
    let dir = dir();
    let (source, helper) = (dir.path().join("helper.c"), dir.path().join("libhelper.so"));
    fs::write(&source, "void nobody_has_this(void) {}\n").unwrap();
    let cc =
        std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&helper, &source]).status();
    assert!(cc.unwrap().success());
    let path = compile_with(dir.path(), &["UNRESOLVED"], &["-lhelper", "-Wl,-rpath,$ORIGIN"]);
    Log::of(FILTER, || open(&path).unwrap());
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.contains(helper.canonicalize().unwrap().to_str().unwrap()), "{maps}");
}

#[test]
fn manifests_that_cannot_be_are_refused() {
    for (macros, parts) in [
        (&["NULL_MANIFEST"][..], &["its entry returned null, expected a manifest"][..]),
        (&["MAGIC=7"], &["magic number: found 0x0000000000000007, expected 0x474c50414b464157"]),
        (&["MAJOR=2", "MINOR=0"], &["found ABI 2.0, expected 1.x"]),
        (&["MAJOR=0", "MINOR=9"], &["found ABI 0.9, expected 1.x"]),
        (&["SIZE=71"], &["its manifest's size: found 71 bytes, expected at least 72"]),
        (&["MINOR=9", "SIZE=72"], &["its manifest's size: found 72 bytes, expected at least 88"]),
        // A pointer without its length.
        (
            &["SIZE=80"],
            &["its manifest's size: found 80 bytes, expected a size that ends where a field does"],
        ),
        (&["VTABLE_SIZE=31"], &["its partitioner's functions: found 31 bytes, expected at least 32"]),
        (&["NAME=\"\""], &["its name: found 0 bytes"]),
        (&["NAME=\"Round Robin\""], &["its name: found 'Round Robin', expected only characters of a-z"]),
        (&["NAME=\"\\xff\""], &["its name: found '\u{fffd}'", "UTF-8"]),
    ] {
        let error = refusal_of(macros);
        for part in parts {
            assert!(error.contains(part), "{macros:?}: {error}");
        }
    }
}

#[test]
fn older_and_newer_minors_work() {
    for (macros, description) in [
        (&["MINOR=9"][..], "a strategy for the tests"),
        (&["MINOR=0"], "a strategy for the tests"),
        (&["SIZE=72"], ""),
    ] {
        let plugin = accepted(macros);
        assert_eq!(plugin.info().description, description, "{macros:?}");
        let mut strategy = make(&plugin, b"t", "{}").unwrap();
        assert_eq!(route(&mut strategy, b"t", &[]), Ok(Route::Partition(1)), "{macros:?}");
    }
}

#[test]
fn answers_that_cannot_be_are_errors() {
    for (macros, part) in [
        (&["ROUTE=4"][..], "returned partition index 4, expected one below 4"),
        (&["ROUTE=70000"], "returned partition index 70000, expected one below 4"),
        (&["ROUTE=-77"], "returned -77, expected an index below 4"),
        (&["ROUTE=-3"], "\u{fffd}\u{fffd}\u{fffd}"),
        (&["ROUTE=-3", "LIES_ABOUT_TEXT"], "no reason given; while routing an event of topic 't'"),
    ] {
        let plugin = accepted(macros);
        let mut strategy = make(&plugin, b"t", "{}").unwrap();
        let error = route(&mut strategy, b"t", &[]).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("libodd.so"), "{macros:?}: {error}");
        assert!(error.len() < 4096 && !error.contains('\0'), "{macros:?}: {error}");
    }
}

#[test]
fn a_route_that_does_not_return_is_noticed_and_counted() {
    let plugin = accepted(&["WAITS"]);
    let dir = dir();
    let pipe = dir.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let topic = pipe.to_str().unwrap().as_bytes();
    let mut strategy = make(&plugin, topic, "{}").unwrap();
    std::thread::scope(|scope| {
        let routing = scope.spawn(|| route(&mut strategy, topic, &[]));
        let begun = Instant::now();
        while plugin.slow_calls() == 0 {
            assert!(begun.elapsed() < PATIENCE, "nobody noticed");
            assert!(!routing.is_finished(), "it waits for the pipe");
            std::thread::yield_now();
        }
        drop(fs::OpenOptions::new().write(true).open(&pipe).unwrap());
        assert_eq!(routing.join().unwrap(), Ok(Route::Partition(1)));
    });
    assert_eq!(plugin.slow_calls(), 1);
}
