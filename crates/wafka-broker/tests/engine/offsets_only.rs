//! A backend that knows offsets alone, as databases do: every position it tells is 0, and those it is told mean nothing.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wafka_core::BrokerId;
use wafka_core::storage::{
    Batch, Chunk, Cursor, KeptLine, LogName, LogReader, LogSlot, OpenRequest, Opened, PendingSync, Rewrite,
    RewritePlan, Rewritten, Shard, Storage, StorageError, SyncFailure,
};
use wafka_storage::MemoryStorage;

use crate::support::{Bench, Home, NEVER, values};

/// See the module. Clones are the same one.
#[derive(Clone, Default)]
pub struct OffsetsOnly {
    inner: MemoryStorage,
    /// Bytes of partitions that readers were given.
    pub read: Arc<AtomicU64>,
    /// How often they were asked.
    pub requests: Arc<AtomicU64>,
    /// Whether rewrites are carried out and said to have failed.
    pub fails_late: Arc<AtomicBool>,
    /// How many were.
    pub failed_late: Arc<AtomicU64>,
}

fn blind(cursor: Cursor) -> Cursor {
    Cursor::at_offset(cursor.offset)
}

fn blind_line<'k>(kept: &'k mut dyn FnMut(KeptLine<'_>)) -> impl FnMut(KeptLine<'_>) + 'k {
    |line| kept(KeptLine { cursor: blind(line.cursor), ..line })
}

impl Storage for OffsetsOnly {
    fn name(&self) -> &str {
        "offsets-only"
    }

    fn list(&self) -> Result<Vec<LogName>, StorageError> {
        self.inner.list()
    }

    fn create(&self, logs: &[LogName]) -> Result<(), StorageError> {
        self.inner.create(logs)
    }

    fn shard(&self, broker: BrokerId) -> Result<Box<dyn Shard>, StorageError> {
        Ok(Box::new(BlindShard { inner: self.inner.shard(broker)?, storage: self.clone() }))
    }

    fn delete(&self, logs: &[LogName]) -> Result<(), StorageError> {
        self.inner.delete(logs)
    }
}

struct BlindShard {
    inner: Box<dyn Shard>,
    storage: OffsetsOnly,
}

impl Shard for BlindShard {
    fn open(&mut self, log: &LogName, request: OpenRequest) -> Result<Opened, StorageError> {
        let opened = self.inner.open(log, request)?;
        let is_partition = !log.to_string().contains(".journal") && !log.to_string().contains("wafka.");
        let storage = if is_partition { self.storage.clone() } else { OffsetsOnly::default() };
        let reader = Arc::new(BlindReader { inner: opened.reader, storage });
        Ok(Opened { first: blind(opened.first), end: blind(opened.end), reader, ..opened })
    }

    fn append(&mut self, slot: LogSlot, batch: Batch<'_>) -> Result<Cursor, StorageError> {
        self.inner.append(slot, batch).map(blind)
    }

    fn begin_sync(&mut self) -> Box<dyn PendingSync> {
        self.inner.begin_sync()
    }

    fn finish_sync(&mut self, failures: &[SyncFailure]) {
        self.inner.finish_sync(failures);
    }

    fn reopen(&mut self, slot: LogSlot, end: Cursor) -> Result<(), StorageError> {
        self.inner.reopen(slot, end)
    }

    fn begin_rewrite(&mut self, slot: LogSlot, plan: RewritePlan) -> Result<Box<dyn Rewrite>, StorageError> {
        Ok(Box::new(BlindRewrite(self.inner.begin_rewrite(slot, plan)?)))
    }

    fn finish_rewrite(
        &mut self,
        rewrite: Box<dyn Rewrite>,
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> Result<Rewritten, StorageError> {
        let BlindRewrite(inner) = *rewrite.into_any().downcast::<BlindRewrite>().unwrap();
        let rewritten = self.inner.finish_rewrite(inner, &mut blind_line(kept))?;
        if self.storage.fails_late.load(Ordering::SeqCst) {
            self.storage.failed_late.fetch_add(1, Ordering::SeqCst);
            let source = std::io::Error::other("no answer");
            return Err(StorageError::Io { log: String::new(), operation: "rewrite", source });
        }
        Ok(Rewritten { first: blind(rewritten.first), end: blind(rewritten.end), ..rewritten })
    }

    fn close(&mut self, slot: LogSlot) {
        self.inner.close(slot);
    }
}

struct BlindRewrite(Box<dyn Rewrite>);

impl Rewrite for BlindRewrite {
    fn slot(&self) -> LogSlot {
        self.0.slot()
    }

    fn run(&mut self, kept: &mut dyn FnMut(KeptLine<'_>)) -> Result<(), StorageError> {
        self.0.run(&mut blind_line(kept))
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

struct BlindReader {
    inner: Arc<dyn LogReader>,
    storage: OffsetsOnly,
}

impl BlindReader {
    fn count(&self, chunk: Chunk, bytes: usize) -> Chunk {
        self.storage.read.fetch_add(bytes as u64, Ordering::Relaxed);
        self.storage.requests.fetch_add(1, Ordering::Relaxed);
        Chunk { start: blind(chunk.start), next: blind(chunk.next) }
    }
}

impl LogReader for BlindReader {
    fn read(&self, from: Cursor, bytes_max: usize, into: &mut Vec<u8>) -> Result<Chunk, StorageError> {
        let before = into.len();
        let chunk = self.inner.read(Cursor::at_offset(from.offset), bytes_max, into)?;
        Ok(self.count(chunk, into.len() - before))
    }

    fn read_ready(
        &self,
        from: Cursor,
        bytes_max: usize,
        into: &mut Vec<u8>,
    ) -> Result<Option<Chunk>, StorageError> {
        let before = into.len();
        let chunk = self.inner.read_ready(Cursor::at_offset(from.offset), bytes_max, into)?;
        Ok(chunk.map(|chunk| self.count(chunk, into.len() - before)))
    }

    fn generation(&self) -> u32 {
        // Where lines are removed in place it stays as it is.
        if self.storage.fails_late.load(Ordering::SeqCst) { 0 } else { self.inner.generation() }
    }

    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }
}

/// Without positions the index is as good as with them: a start reads the end of a log, not all of it.
#[test]
fn a_start_reads_no_more_than_the_index_does_not_know() {
    let storage = OffsetsOnly::default();
    let home = Home::OffsetsOnly(storage.clone(), tempfile::tempdir().unwrap());
    let mut bench = Bench::new(home, 1)
        .with(|options| {
            options.index_interval_bytes = 1024;
            options.reclaim = NEVER;
            options.tail_bytes = 0;
        })
        .started();
    let expected: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
    // Some alone, some in one batch.
    for value in &expected[..500] {
        bench.add(&bench.topic("t"), value).unwrap();
    }
    for batch in expected[500..].chunks(100) {
        let topic = bench.topic("t");
        let tickets: Vec<_> = batch.iter().map(|value| bench.accept(&topic, value)).collect();
        bench.engine().kick();
        for ticket in tickets {
            wafka_broker::wait(topic.committed(ticket)).unwrap();
        }
    }
    let bytes = bench.topic("t").info().unwrap().partitions[0].bytes;
    for _ in 0..3 {
        bench.stop();
        storage.read.store(0, Ordering::Relaxed);
        bench.start().unwrap();
        let read = storage.read.load(Ordering::Relaxed);
        assert!(read < 64 << 10 && read * 3 < bytes, "{read} bytes of {bytes} read");
        assert_eq!(values(&bench.topic("t")), expected);
        assert_eq!(bench.topic("t").info().unwrap().length, 2_000);
    }
}

/// What the journal says is deleted is looked up in the logs: what stands near each other is found by one read.
#[test]
fn a_start_looks_deleted_events_up_together() {
    let storage = OffsetsOnly::default();
    let home = Home::OffsetsOnly(storage.clone(), tempfile::tempdir().unwrap());
    let mut bench = Bench::new(home, 1).with(|options| options.reclaim = NEVER).started();
    let topic = bench.topic("t");
    let ids: Vec<_> = (0..1000).map(|n| bench.add(&topic, &n.to_string()).unwrap()).collect();
    let is_gone = |n: &usize| (n.is_multiple_of(3) && (100..700).contains(n)) || [0, 800, 999].contains(n);
    let gone: Vec<_> = (0..1000).filter(is_gone).map(|n| ids[n]).collect();
    bench.delete(&topic, &gone).unwrap();
    let bytes = topic.info().unwrap().partitions[0].bytes;
    drop(topic);
    bench.stop();
    storage.read.store(0, Ordering::Relaxed);
    bench.start().unwrap();
    let read = storage.read.load(Ordering::Relaxed);
    assert!(read < 2 * bytes, "{read} bytes of {bytes} read");
    let topic = bench.topic("t");
    let kept: Vec<String> = (0..1000).filter(|n| !is_gone(n)).map(|n| n.to_string()).collect();
    assert_eq!(values(&topic), kept);
    assert_eq!(topic.len(None).unwrap(), kept.len() as u64);
}
