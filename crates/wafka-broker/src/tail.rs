//! The most recent lines of a partition, kept in memory as they were written: readers at the end never touch a file.

use std::collections::VecDeque;
use std::sync::Arc;

use wafka_core::{EventId, Offset};

use crate::topic::Pending;

/// A batch of at most so many bytes is copied into the newest block if there is room in it, or begins one that has room
/// for more: with many topics a batch is a line or two, and a block for each costs more than the copy.
const SMALL_BATCH_BYTES: usize = 1 << 10;
/// A block begun for small batches has room for so many of the first one's length.
const SMALL_BATCHES: usize = 8;
/// A larger buffer of a small batch is not used again.
const BUFFER_KEPT_BYTES_MAX: usize = 4 * SMALL_BATCH_BYTES;

/// A committed batch of lines.
#[derive(Debug)]
pub(crate) struct Block {
    /// The lines, whole, each with its newline.
    pub(crate) bytes: Vec<u8>,
    pub(crate) first_id: EventId,
    pub(crate) last_id: EventId,
    pub(crate) first_offset: Offset,
    pub(crate) lines: u64,
}

/// The newest blocks of one partition, oldest first, without gaps up to the committed end.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    blocks: VecDeque<Arc<Block>>,
    lines: u64,
}

impl Tail {
    /// Takes a committed batch. Returns the memory that a new block took, in bytes, 0 when there was room in one; and the
    /// batch's buffer, emptied, if it can be used again.
    pub(crate) fn add(&mut self, batch: Pending) -> (usize, Vec<u8>) {
        if batch.bytes.len() > SMALL_BATCH_BYTES {
            let bytes = batch.bytes.capacity();
            self.push(Arc::new(batch.into_block()));
            return (bytes, Vec::new());
        }
        let taken = if self.extend_newest(&batch) { 0 } else { self.begin_block(&batch) };
        let mut buffer = batch.bytes;
        buffer.clear();
        (taken, if buffer.capacity() <= BUFFER_KEPT_BYTES_MAX { buffer } else { Vec::new() })
    }

    /// Adds a batch to the newest block, unless that is full, or a reader holds it.
    fn extend_newest(&mut self, batch: &Pending) -> bool {
        let Some(block) = self.blocks.back_mut().and_then(Arc::get_mut) else { return false };
        if block.bytes.capacity() - block.bytes.len() < batch.bytes.len() {
            return false;
        }
        block.bytes.extend_from_slice(&batch.bytes);
        block.last_id = batch.last_id;
        block.lines += batch.lines;
        self.lines += batch.lines;
        true
    }

    /// Begins a block with a batch and room for more like it.
    fn begin_block(&mut self, batch: &Pending) -> usize {
        let mut bytes = Vec::with_capacity(batch.bytes.len() * SMALL_BATCHES);
        bytes.extend_from_slice(&batch.bytes);
        let taken = bytes.capacity();
        let (first_id, last_id) = (batch.first_id, batch.last_id);
        let (first_offset, lines) = (batch.first_offset, batch.lines);
        self.push(Arc::new(Block { bytes, first_id, last_id, first_offset, lines }));
        taken
    }

    fn push(&mut self, block: Arc<Block>) {
        self.lines += block.lines;
        self.blocks.push_back(block);
    }

    /// Forgets the oldest block; returns the memory given back, in bytes.
    pub(crate) fn pop(&mut self) -> usize {
        match self.blocks.pop_front() {
            None => 0,
            Some(block) => {
                self.lines -= block.lines;
                block.bytes.capacity()
            }
        }
    }

    /// Forgets everything; returns the memory given back, in bytes.
    pub(crate) fn clear(&mut self) -> usize {
        self.lines = 0;
        std::mem::take(&mut self.blocks).iter().map(|block| block.bytes.capacity()).sum()
    }

    /// How many blocks are held.
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// How many lines are held.
    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    /// The id of the first event held.
    pub(crate) fn first_id(&self) -> Option<EventId> {
        self.blocks.front().map(|block| block.first_id)
    }

    /// The blocks that hold events from `id` on, at most as many as hold `lines` of them.
    pub(crate) fn from(&self, id: EventId, lines: u64) -> Vec<Arc<Block>> {
        let start = self.blocks.partition_point(|block| block.last_id < id);
        let mut left = lines;
        let mut taken = Vec::new();
        for (at, block) in self.blocks.iter().skip(start).enumerate() {
            taken.push(Arc::clone(block));
            // The first block may begin before the id: its lines do not count.
            if at > 0 {
                left = left.saturating_sub(block.lines);
                if left == 0 {
                    break;
                }
            }
        }
        taken
    }

    /// The blocks that hold events up to `id`, newest last, at most as many as hold `lines` of them.
    pub(crate) fn up_to(&self, id: EventId, lines: u64) -> Vec<Arc<Block>> {
        let end = self.blocks.partition_point(|block| block.first_id <= id);
        let mut left = lines;
        let mut taken = Vec::new();
        for (at, block) in self.blocks.iter().take(end).rev().enumerate() {
            taken.push(Arc::clone(block));
            if at > 0 {
                left = left.saturating_sub(block.lines);
                if left == 0 {
                    break;
                }
            }
        }
        taken.reverse();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(first: u64, lines: u64) -> Arc<Block> {
        Arc::new(Block {
            bytes: vec![0; 10],
            first_id: EventId::new(first, 0),
            last_id: EventId::new(first + lines - 1, 0),
            first_offset: first,
            lines,
        })
    }

    fn batch(first: u64, len: usize, capacity: usize) -> Pending {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.resize(len, b'x');
        let (first_id, last_id) = (EventId::new(first, 0), EventId::new(first + 1, 0));
        Pending { bytes, lines: 2, first_offset: first, first_id, last_id, ..Pending::default() }
    }

    #[test]
    fn small_batches_share_a_block_that_nobody_reads() {
        let mut tail = Tail::default();
        let (taken, buffer) = tail.add(batch(0, 100, 100));
        assert!(taken >= 800 && buffer.is_empty() && buffer.capacity() == 100);
        for first in 1..8 {
            assert_eq!(tail.add(batch(first * 2, 100, 100)).0, 0);
        }
        assert_eq!((tail.len(), tail.lines()), (1, 16));
        let held = tail.from(EventId::new(15, 0), 1);
        assert_eq!((held.len(), held[0].last_id, held[0].bytes.len()), (1, EventId::new(15, 0), 800));
        assert!(tail.add(batch(16, 10, 10)).0 > 0, "what a reader holds stays as it is");
        drop(held);
        assert_eq!(tail.add(batch(18, 2000, 3000)), (3000, Vec::new()), "a large one keeps its buffer");
        assert_eq!(
            tail.add(batch(20, 100, 1 << 20)).1.capacity(),
            0,
            "a small one's large buffer is given back"
        );
        assert_eq!(tail.len(), 3);
    }

    #[test]
    fn takes_just_the_blocks_that_are_needed() {
        let mut tail = Tail::default();
        for first in [0, 10, 20, 30] {
            tail.push(block(first, 10));
        }
        let firsts = |blocks: Vec<Arc<Block>>| blocks.iter().map(|b| b.first_offset).collect::<Vec<_>>();
        assert_eq!(firsts(tail.from(EventId::new(15, 0), 10)), [10, 20]);
        assert_eq!(firsts(tail.from(EventId::new(20, 0), u64::MAX)), [20, 30]);
        assert_eq!(firsts(tail.from(EventId::new(99, 0), 5)), [0; 0]);
        assert_eq!(firsts(tail.up_to(EventId::new(25, 0), 10)), [10, 20]);
        assert_eq!(tail.pop(), 10);
        assert_eq!((tail.first_id(), tail.lines()), (Some(EventId::new(10, 0)), 30));
    }
}
