//! What it costs to ask a strategy that is in a plugin, next to one that is built in: the same function both times.

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::PermissionsExt;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use wafka_broker::Partitioners;
use wafka_core::Fields;
use wafka_core::partitioner::{CreateRequest, Partitioner, PartitionerFactory, RouteRequest};
use wafka_plugin::{Plugin, PluginFile, load};

/// The plugin of the tests, which Cargo built beside this program; a copy that nobody else may write.
fn plugin() -> Plugin {
    let program = std::env::current_exe().expect("this program has a path");
    let built = program.with_file_name("libwafka_test_partitioner.so");
    let dir = tempfile::tempdir().expect("a directory for the library");
    let path = dir.path().join("libodd.so");
    fs::copy(&built, &path).expect("the library of wafka-test-partitioner");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    load(&PluginFile { path, sha256: None }).expect("a plugin")
}

fn strategy(factory: &dyn PartitionerFactory, options: &serde_json::Value) -> Box<dyn Partitioner> {
    let options = options.as_object().expect("invariant: options are an object");
    let request = CreateRequest { topic: b"deliveries", partitions: 12, options };
    factory.create(&request).expect("a strategy")
}

fn route(criterion: &mut Criterion) {
    let built_in = Partitioners::built_in();
    let key = built_in.get("key").expect("invariant: it is built in");
    let plugin = plugin();
    let through_abi = plugin.partitioner().expect("invariant: it is a strategy");
    let mut strategies = [
        ("built in", strategy(&**key, &json!({"partition_key": "truck"}))),
        ("through the ABI", strategy(&*through_abi, &json!({"behave": "by-key"}))),
    ];
    let one: [&[u8]; 2] = [b"truck", b"australia-1021"];
    let mut ten: Vec<&[u8]> = [&b"status"[..], b"ontime"].repeat(9);
    ten.extend(one);
    for (fields, flat) in [("1 field", &one[..]), ("10 fields", &ten)] {
        let mut group = criterion.benchmark_group(format!("route by key, {fields}"));
        group.throughput(Throughput::Elements(1));
        for (name, strategy) in &mut strategies {
            let fields = Fields::new(flat).expect("invariant: an even number of parts");
            group.bench_function(*name, |bencher| {
                bencher.iter(|| {
                    let request =
                        RouteRequest { topic: b"deliveries", fields, partitions: 12, open: black_box(None) };
                    strategy.route(black_box(&request))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, route);
criterion_main!(benches);
