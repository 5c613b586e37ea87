//! Which logs have lines that are not in their files yet.
//!
//! A turn over a thousand topics appends one or two lines to each file, and writing those costs more than all the rest of
//! it. The commit journal's record makes them durable anyway, so they may wait until more have come together: for a
//! fifth of a second at most, so that `tail -f` shows them soon. A turn's first files are written at once: with few
//! topics nothing is put off.

use std::time::{Duration, Instant};

use wafka_core::storage::LogSlot;

/// When lines that wait are to be written. Whoever looks only now and then writes them later by that much.
const WAIT: Duration = Duration::from_millis(160);
/// Nothing waits once so many bytes do.
const BYTES_MAX: u64 = 12 << 20;

/// The logs of one broker that have lines waiting.
#[derive(Default)]
pub(super) struct PutOff {
    /// Whether lines may wait at all.
    pub is_allowed: bool,
    /// A log may be named several times.
    slots: Vec<LogSlot>,
    bytes: u64,
    since: Option<Instant>,
}

impl PutOff {
    /// Takes note of a batch that waits.
    pub fn note(&mut self, slot: LogSlot, bytes: u64) {
        self.since.get_or_insert_with(Instant::now);
        self.slots.push(slot);
        self.bytes += bytes;
    }

    /// When to write; `None` when nothing waits.
    pub fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + WAIT)
    }

    /// Whether it is time.
    pub fn is_due(&self) -> bool {
        self.bytes >= BYTES_MAX || self.due().is_some_and(|due| Instant::now() >= due)
    }

    /// The logs to write; nothing waits afterwards.
    pub fn take(&mut self) -> Vec<LogSlot> {
        (self.bytes, self.since) = (0, None);
        std::mem::take(&mut self.slots)
    }
}
