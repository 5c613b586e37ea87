//! `wafka-bench backends`, in its shortest form: each kind of cell runs on every backend, and reads back what it wrote.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::time::Duration;

use wafka_bench::backends::{self, Backends};
use wafka_bench::cell::Scale;
use wafka_bench::server::Backend;
use wafka_bench::trial::Workplace;
use wafka_tests::{plugins, setup};

#[test]
fn every_backend_runs_each_kind_of_cell() {
    let built_in = ["text", "memory"].map(|name| Backend {
        name: name.to_owned(),
        plugin: None,
        options: String::new(),
    });
    let plugin = |name: &str| {
        let plugin = Some(plugins::path(&format!("wafka_storage_{name}")));
        Backend { name: name.to_owned(), plugin, options: String::new() }
    };
    let backends: Vec<Backend> = built_in.into_iter().chain(["sqlite", "redb"].map(plugin)).collect();
    let count = backends.len();
    // Before each run everything there is to write is written, which takes its time where much is.
    let few = ["always-50x64", "read", "topics-1000"];
    let cells: Vec<_> = backends::cells().into_iter().filter(|cell| few.contains(&cell.name)).collect();
    let mut raw = Vec::new();
    let comparison = Backends {
        wafka: setup::program_path(),
        backends,
        cells,
        rounds: 1,
        scale: Scale { load: Duration::from_millis(50), read_events: 2000, ..Scale::quick() },
        progress: &mut std::io::sink(),
        raw: Some(&mut raw),
    };
    let measured = comparison.run(&mut Workplace::new(None).unwrap()).unwrap();
    assert_eq!(measured.len(), few.len());
    for cell in &measured {
        assert!(cell.runs.iter().all(|(_, trials)| trials.len() == 1 && trials[0].events > 0), "{cell:?}");
    }
    // Nothing of what is in memory is on the disk, and something of all else.
    let disk = |name: &str| {
        let (_, trials) = measured[0].runs.iter().find(|(backend, _)| backend == name).unwrap();
        trials[0].disk_bytes_per_event
    };
    assert!(
        disk("memory") < 10.0 && disk("text") > 100.0 && disk("redb") > 100.0 && disk("sqlite") > 100.0,
        "{measured:?}"
    );
    assert_eq!(String::from_utf8(raw).unwrap().lines().count(), count * measured.len());
    assert_eq!(backends::render(&measured).lines().count(), 2 + count * measured.len());
}
