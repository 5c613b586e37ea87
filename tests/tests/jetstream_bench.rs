//! `wafka-bench jetstream`, in its shortest form: Wafka and both kinds of publishers run, with one server and with three, and
//! read back what they wrote. And `wafka-bench takeover`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

use std::time::Duration;

use wafka_bench::jetstream::{self, JetStream};
use wafka_bench::takeover::Takeover;
use wafka_bench::trial::Workplace;
use wafka_tests::{plugins, setup};

#[test]
fn every_side_reads_back_what_it_wrote() {
    let few = ["r1-50x64", "r1-1x1", "r3-50x1-1k"];
    let cells = jetstream::cells().into_iter().filter(|cell| few.contains(&cell.name.as_str())).collect();
    let mut raw = Vec::new();
    let comparison = JetStream {
        wafka: setup::program_path(),
        plugin: plugins::path("wafka_storage_jetstream"),
        sticky: plugins::path("wafka_partitioner_sticky"),
        cells,
        rounds: 1,
        load: Duration::from_millis(100),
        progress: &mut std::io::sink(),
        raw: Some(&mut raw),
    };
    let measured = comparison.run(&mut Workplace::new(None).unwrap()).unwrap();
    assert_eq!(measured.len(), few.len());
    for cell in &measured {
        assert!(cell.runs.iter().all(|(_, runs)| runs.len() == 1 && runs[0].events > 0), "{cell:?}");
        assert!(cell.least_share(jetstream::Side::Wafka) > 0.0, "{cell:?}");
    }
    // One message at a time is no batch; with one event of each of 50 there is the strategy sticky, too.
    let rows = 3 + 2 + 4;
    assert_eq!(String::from_utf8(raw).unwrap().lines().count(), rows);
    assert_eq!(jetstream::render(&measured).lines().count(), 2 + rows);
}

/// How long it takes is for the benchmark to say.
#[test]
fn the_other_server_takes_over() {
    let mut progress = Vec::new();
    let takeover = Takeover {
        wafka: setup::program_path(),
        plugin: plugins::path("wafka_storage_jetstream"),
        rounds: 2,
        load: Duration::from_millis(200),
        lease_ms: Some(1000),
        topics: 3,
        progress: &mut progress,
    };
    let figures = takeover.run(&mut Workplace::new(None).unwrap()).unwrap();
    assert_eq!(figures.gaps.len(), 2);
    assert!(figures.events > 2, "{figures:?}");
    assert_eq!(String::from_utf8(progress).unwrap().lines().count(), 2);
}
