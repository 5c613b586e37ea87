//! An engine that does not answer.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::cluster::Cluster;
use super::*;
use crate::Options;
use crate::api::TRY;

#[test]
fn who_met_silence_spares_others_the_wait_until_there_is_an_answer() {
    let mut cluster = Cluster::start(1, true);
    let options = Options { prefix: prefix(), request_timeout_ms: 4_000, ..cluster.options() };
    let storage = crate::open(Path::new(""), options).expect("open");
    own_as(&storage, "test");
    let api = storage.home().api();
    let ask = || storage.home().block_on(api.stream("none"));
    let silent = || api.silent.load(Ordering::Relaxed);
    assert!(ask().is_ok() && !silent());
    cluster.stop(0);
    // The signal needs a moment until it has reached all of the server.
    let begun = Instant::now();
    while ask().is_ok() {
        assert!(begun.elapsed() < PATIENCE);
    }
    assert!(silent());
    // So many requests one after the other would take as many times as long as one may.
    let begun = Instant::now();
    for _ in 0..3 {
        ask().expect_err("no answer");
    }
    assert!(begun.elapsed() < 3 * TRY + TRY, "{:?}", begun.elapsed());
    cluster.resume(0);
    let begun = Instant::now();
    while ask().is_err() {
        assert!(begun.elapsed() < PATIENCE);
    }
    assert!(!silent());
}
