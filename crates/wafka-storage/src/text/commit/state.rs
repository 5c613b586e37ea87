//! What a commit journal knows.

use std::sync::Arc;

use super::super::blocks::BlockBuffer;
use super::ring::Ring;
use super::{Dirty, Generation, SharedLog};
use crate::text::Claim;

/// What has become of the journal's file.
#[derive(Default)]
pub(super) enum Phase {
    /// No turn needed it yet.
    #[default]
    Absent,
    /// It is being made; turns are synced directly.
    Preparing,
    /// Records can be written.
    Ready(Ring),
    /// It failed, and what it holds may still be replayed.
    Broken(Ring),
    /// It is not used, and holds nothing.
    Off,
}

/// A log with bytes that only a record, or the page cache, holds.
#[derive(Clone)]
pub(super) struct Covered {
    pub log: Arc<SharedLog>,
    pub generation: Arc<Generation>,
}

impl Covered {
    pub fn of(dirty: &Dirty) -> Self {
        Covered { log: Arc::clone(&dirty.log), generation: Arc::clone(&dirty.generation) }
    }
}

#[derive(Default)]
pub(super) struct State {
    pub phase: Phase,
    /// The logs of the records that no checkpoint covers yet.
    pub covered: Vec<Covered>,
    /// How many checkpoints were begun.
    pub checkpoints: u64,
    /// Whether one is under way.
    pub checkpointing: bool,
    /// Whether the last one failed: the next waits until a log was reopened.
    pub blocked: bool,
    /// Logs that were closed and that records still hold bytes of.
    pub kept: Vec<Claim>,
    /// Buffers for the next record.
    pub record: BlockBuffer,
    pub early: Vec<u8>,
}

impl State {
    /// Whether it is time to make room: at half, so that a turn seldom has to wait for it.
    pub fn checkpoint_due(&self) -> bool {
        let half_full = matches!(&self.phase, Phase::Ready(ring) if ring.used() > ring.bytes() / 2);
        half_full && !self.checkpointing && !self.blocked
    }
}
