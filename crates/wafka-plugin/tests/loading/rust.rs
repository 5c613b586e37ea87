//! A plugin that was made with the SDK.

use std::path::PathBuf;

use wafka_core::partitioner::{PartitionerError, Route};
use wafka_plugin::Plugin;

use crate::support::{Log, dir, file_in, make, open, route};

/// The library of `tests/plugins/partitioner`, which is built because this package depends on it.
fn library() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().unwrap().join("libwafka_test_partitioner.so")
}

/// Loads it: a copy that only its owner may write, whatever the umask. The directory may go when it is loaded.
fn odd() -> Plugin {
    let dir = dir();
    let path = file_in(dir.path(), &std::fs::read(library()).unwrap());
    open(&path).unwrap()
}

#[test]
fn a_plugin_says_what_its_manifest_of_cargo_says() {
    let plugin = odd();
    let info = plugin.info();
    assert_eq!((&*info.name, &*info.version), ("odd", env!("CARGO_PKG_VERSION")));
    assert_eq!(info.description, "A strategy that misbehaves as it is told, for the tests");
    assert_eq!(plugin.partitioner().unwrap().version(), 3);
    assert!(plugin.storage().is_none());
    assert_eq!(plugin.slow_calls(), 0);
}

#[test]
fn it_routes() {
    let plugin = odd();
    let mut strategy = make(&plugin, b"t", "{}").unwrap();
    assert_eq!(route(&mut strategy, b"t", &[b"a", b"xyz"]), Ok(Route::Partition(3)));
    assert_eq!(route(&mut strategy, b"t", &[]), Ok(Route::Unkeyed));
}

#[test]
fn options_that_are_wrong_are_named() {
    let plugin = odd();
    let error = make(&plugin, b"t", r#"{"behave":"badly"}"#).err().unwrap();
    match &error {
        PartitionerError::BadOption { partitioner, option, expected } => {
            assert_eq!((&**partitioner, &**option), ("odd", "behave"));
            assert!(expected.starts_with("unknown variant `badly`, expected one of `well`"), "{expected}");
        }
        other => panic!("{other}"),
    }
    let error = make(&plugin, b"t", r#"{"behaviour":"well"}"#).err().unwrap();
    assert_eq!(error.to_string(), "partitioner 'odd': option 'behaviour': unknown, expected `behave`");
}

/// The text of a panic has its place, which is also in the log.
#[test]
fn a_strategy_that_panics_when_it_is_made_is_an_error() {
    let plugin = odd();
    let make = || make(&plugin, b"t", r#"{"behave":"panic-in-new"}"#).err().unwrap();
    let error = make().to_string();
    for part in ["libodd.so: cannot make the strategy: panicked: told to panic in new", "src/lib.rs:"] {
        assert!(error.contains(part), "{error}");
    }
    // It may be tried again: nothing is left of it.
    assert_eq!(make().to_string(), error);
}

#[test]
fn a_strategy_that_panicked_takes_no_more_events() {
    let plugin = odd();
    let mut strategy = make(&plugin, b"t", r#"{"behave":"panic-in-route"}"#).unwrap();
    assert_eq!(route(&mut strategy, b"t", &[b"a", b""]), Ok(Route::Partition(0)));
    for flat in [&[b"panic", b"x".as_slice()][..], &[b"a", b""]] {
        let error = route(&mut strategy, b"t", flat).unwrap_err().to_string();
        assert!(error.contains("libodd.so: panicked: told to panic in route"), "{error}");
    }
    // Another topic's instance is another.
    let mut other = make(&plugin, b"u", r#"{"behave":"panic-in-route"}"#).unwrap();
    assert_eq!(route(&mut other, b"u", &[b"a", b"x"]), Ok(Route::Partition(1)));
}

#[test]
fn a_panic_while_it_is_destroyed_stays_inside() {
    let plugin = odd();
    drop(make(&plugin, b"t", r#"{"behave":"panic-in-drop"}"#).unwrap());
}

#[test]
fn an_index_beyond_the_last_partition_is_an_error() {
    let plugin = odd();
    let mut strategy = make(&plugin, b"t", r#"{"behave":"beyond-the-last"}"#).unwrap();
    let error = route(&mut strategy, b"t", &[]).unwrap_err().to_string();
    assert!(error.contains("libodd.so: returned partition index 4, expected one below 4"), "{error}");
}

#[test]
fn a_text_is_shown_as_one_line_of_bounded_length() {
    let plugin = odd();
    let mut strategy = make(&plugin, b"t", r#"{"behave":"fail-oddly"}"#).unwrap();
    let error = route(&mut strategy, b"t", &[]).unwrap_err().to_string();
    assert!(error.contains("line\\nbreak xxx") && error.len() < 2048, "{error}");
}

#[test]
fn logging_goes_to_the_host_by_its_filter() {
    let plugin = odd();
    let make = || make(&plugin, b"deliveries", "{}").unwrap();
    let (_, log) = Log::of("info,wafka_test_partitioner=debug", make);
    assert!(log.contains("DEBUG wafka_test_partitioner: made for deliveries with 4 partitions"), "{log}");
    let (_, log) = Log::of("info", make);
    assert!(!log.contains("made for"), "{log}");
}
