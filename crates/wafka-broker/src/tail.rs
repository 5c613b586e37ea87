//! The most recent lines of a partition, kept in memory as they were written: readers at the end never touch a file.

use std::collections::VecDeque;
use std::sync::Arc;

use wafka_core::{EventId, Offset};

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
    pub(crate) fn push(&mut self, block: Arc<Block>) {
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
