//! The line codec and the request scanner: what every event passes through.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use wafka_core::{EventId, Fields, PartitionId};
use wafka_protocol::{Args, Limits, RequestScanner};
use wafka_storage::line::{EventEncoder, EventLine, FieldBuf};

const LINES: u64 = 1000;

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("line");
    group.throughput(Throughput::Elements(LINES));
    for size in [100, 1000] {
        let payload = vec![b'x'; size];
        let flat: [&[u8]; 2] = [b"f", &payload];
        let fields = Fields::new(&flat).expect("invariant: an even number of parts");
        group.bench_function(format!("encode {size} B"), |bencher| {
            let mut encoder = EventEncoder::new(b"bench", PartitionId(1));
            bencher.iter_batched_ref(
                || Vec::with_capacity(2 << 20),
                |out| {
                    for n in 0..LINES {
                        let id = EventId::new(1_763_859_377_000 + n / 100, n % 100);
                        encoder.encode(out, id, n, &[], black_box(fields));
                    }
                },
                BatchSize::SmallInput,
            );
        });
        let mut lines = Vec::new();
        let mut encoder = EventEncoder::new(b"bench", PartitionId(1));
        for n in 0..LINES {
            encoder.encode(&mut lines, EventId::new(1_763_859_377_000, n), n, &[], fields);
        }
        group.bench_function(format!("parse {size} B"), |bencher| {
            let mut buffer = FieldBuf::new();
            bencher.iter(|| {
                let mut total = 0;
                for line in lines.split_inclusive(|b| *b == b'\n') {
                    let event = EventLine::parse(line).expect("invariant: the line was just written");
                    let parts = event.fields(&mut buffer).expect("invariant: the line was just written");
                    total += parts.parts().map(<[u8]>::len).sum::<usize>();
                }
                black_box(total)
            });
        });
    }
    group.finish();
}

fn scan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request");
    group.throughput(Throughput::Elements(LINES));
    let mut requests = Vec::new();
    for _ in 0..LINES {
        requests.extend_from_slice(b"*5\r\n$4\r\nXADD\r\n$5\r\nbench\r\n$1\r\n*\r\n$1\r\nf\r\n$100\r\n");
        requests.extend_from_slice(&[b'x'; 100]);
        requests.extend_from_slice(b"\r\n");
    }
    group.bench_function("scan XADD", |bencher| {
        let mut scanner = RequestScanner::new();
        let limits = Limits::default();
        bencher.iter(|| {
            let mut rest = &requests[..];
            let mut arguments = 0;
            while let Ok(Some(scanned)) = scanner.scan(rest, &limits) {
                let mut args = Args::new();
                scanner.args(rest, &mut args);
                arguments += args.len();
                rest = &rest[scanned.consumed..];
            }
            black_box(arguments)
        });
    });
    group.finish();
}

criterion_group!(benches, encode, scan);
criterion_main!(benches);
