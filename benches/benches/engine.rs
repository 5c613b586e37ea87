//! The engine without sockets: appending, committing, catching up.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wafka_broker::{
    AppendRequest, BackendSource, Backends, Engine, EngineOptions, EntryFields, EntrySink, FsyncPolicy,
    IdSpec, IndexPlace, ReadRange, Topic, wait,
};
use wafka_core::storage::Options;
use wafka_core::{Clock, Database, EventId, Fields, SystemClock, TopicName};
use wafka_storage::fs::StdFs;
use wafka_storage::{MemoryFactory, TextOptions, TextStorage};

const BATCH: u64 = 3200;

struct Setup {
    engine: Arc<Engine>,
    topic: Arc<Topic>,
    _dir: tempfile::TempDir,
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.engine.shutdown();
    }
}

/// The text log, alone or with another backend beside it.
fn setup(fsync: FsyncPolicy, alone: bool) -> Setup {
    let dir = tempfile::tempdir_in(".").expect("a directory for the data");
    let storage = TextStorage::open(Arc::new(StdFs), dir.path(), TextOptions::default()).expect("open");
    let mut options = EngineOptions::new(2, Arc::new(SystemClock));
    options.fsync = fsync;
    options.index = Some(IndexPlace { fs: Arc::new(StdFs), dir: dir.path().join("index") });
    let other = BackendSource {
        factory: Arc::new(MemoryFactory),
        data_dir: dir.path().into(),
        options: Options::new(),
    };
    let others = (!alone).then_some(other);
    let backends = Backends::new("text", Arc::new(storage), others).expect("two names");
    let engine = Engine::start_on(options, backends).expect("start");
    let name = TopicName::new(b"bench").expect("invariant: a plain name");
    let topic = engine.ensure_topic(Database(0), &name).expect("create");
    Setup { engine, topic, _dir: dir }
}

fn append_batch(setup: &Setup, payload: &[u8]) {
    let flat: [&[u8]; 2] = [b"f", payload];
    let fields = Fields::new(&flat).expect("invariant: an even number of parts");
    let now_ms = SystemClock.now_ms();
    let mut last = None;
    for _ in 0..BATCH {
        let request = AppendRequest {
            id: IdSpec::Auto,
            partition: None,
            fields,
            trim: None,
            idempotence: None,
            now_ms,
        };
        last = Some(setup.topic.append(&request).expect("append"));
    }
    setup.engine.kick();
    if let Some(appended) = last {
        wait(setup.topic.committed(appended.ticket)).expect("commit");
    }
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append and commit");
    group.throughput(Throughput::Elements(BATCH)).sample_size(20);
    for fsync in [FsyncPolicy::Always, FsyncPolicy::EverySec] {
        for (alone, beside) in [(true, ""), (false, ", another backend beside it")] {
            let setup = setup(fsync, alone);
            let name = format!("{}{beside}", fsync.name());
            group.bench_function(name, |bencher| bencher.iter(|| append_batch(&setup, &[b'x'; 100])));
        }
    }
    group.finish();
}

#[derive(Default)]
struct Count {
    events: u64,
    bytes: usize,
    last: EventId,
}

impl EntrySink for Count {
    fn entry(&mut self, id: EventId, fields: &EntryFields<'_>) -> ControlFlow<()> {
        self.events += 1;
        self.bytes += fields.parts().map(<[u8]>::len).sum::<usize>();
        self.last = id;
        ControlFlow::Continue(())
    }
}

fn catch_up(criterion: &mut Criterion) {
    let setup = setup(FsyncPolicy::No, true);
    for _ in 0..100 {
        append_batch(&setup, &[b'x'; 100]);
    }
    let mut group = criterion.benchmark_group("catch up");
    group.throughput(Throughput::Elements(100 * BATCH)).sample_size(20);
    group.bench_function("two partitions, 1000 at a time", |bencher| {
        bencher.iter(|| {
            let mut total = Count::default();
            loop {
                let before = total.events;
                let range =
                    ReadRange::after(total.last, Some(1000), None).expect("invariant: ids do not end here");
                setup.topic.read(&range, &mut total).expect("read");
                if total.events == before {
                    break black_box(total.bytes);
                }
            }
        });
    });
    group.finish();
}

criterion_group!(benches, append, catch_up);
criterion_main!(benches);
