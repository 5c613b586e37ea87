//! A disk that fails when it is told to.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is to fail, and how often.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    reads: AtomicU64,
    writes: AtomicU64,
    syncs: AtomicU64,
    syncs_done: AtomicU64,
    connects: AtomicU64,
    /// The longest the file may get; 0 stands for any length.
    len_max: AtomicU64,
}

impl Faults {
    pub(crate) fn fail_reads(&self, count: u64) {
        self.reads.store(count, Ordering::SeqCst);
    }

    pub(crate) fn fail_writes(&self, count: u64) {
        self.writes.store(count, Ordering::SeqCst);
    }

    pub(crate) fn fail_syncs(&self, count: u64) {
        self.syncs.store(count, Ordering::SeqCst);
    }

    pub(crate) fn limit_len(&self, len_max: u64) {
        self.len_max.store(len_max, Ordering::SeqCst);
    }

    pub(crate) fn syncs_done(&self) -> u64 {
        self.syncs_done.load(Ordering::SeqCst)
    }

    /// How often the database was opened, which may read all of it.
    pub(crate) fn connects(&self) -> u64 {
        self.connects.load(Ordering::SeqCst)
    }

    pub(crate) fn on_connect(&self) {
        self.connects.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn on_read(&self) -> io::Result<()> {
        take(&self.reads, "a read that failed on purpose")
    }

    pub(crate) fn on_write(&self) -> io::Result<()> {
        take(&self.writes, "a write that failed on purpose")
    }

    pub(crate) fn on_sync(&self) -> io::Result<()> {
        self.syncs_done.fetch_add(1, Ordering::SeqCst);
        take(&self.syncs, "a sync that failed on purpose")
    }

    pub(crate) fn on_len(&self, len: u64) -> io::Result<()> {
        let len_max = self.len_max.load(Ordering::SeqCst);
        if len_max > 0 && len > len_max { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

fn take(left: &AtomicU64, reason: &str) -> io::Result<()> {
    let less = |count: u64| count.checked_sub(1);
    match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
        Ok(_) => Err(io::Error::other(reason)),
        Err(_) => Ok(()),
    }
}
