//! The lines of a log in memory.

use std::collections::VecDeque;

use wafka_core::Offset;
use wafka_core::storage::Cursor;

/// A block takes further lines as long as it is shorter than this.
const BLOCK_BYTES: usize = 1 << 16;

/// A run of lines.
pub(super) struct Block {
    /// The position of its first byte.
    pub position: u64,
    pub bytes: Vec<u8>,
    /// Of each line its offset and where it begins in `bytes`.
    pub lines: Vec<(Offset, usize)>,
}

impl Block {
    pub fn end(&self) -> u64 {
        self.position + self.bytes.len() as u64
    }

    /// The bytes of the lines from the one with this index on.
    pub fn lines_from(&self, index: usize) -> &[u8] {
        self.lines.get(index).map_or(&[], |(_, start)| &self.bytes[*start..])
    }

    pub fn line_end(&self, index: usize) -> usize {
        self.lines.get(index + 1).map_or(self.bytes.len(), |(_, start)| *start)
    }
}

#[derive(Default)]
pub(super) struct Content {
    pub generation: u32,
    pub blocks: VecDeque<Block>,
    pub end: u64,
    pub end_offset: Offset,
    /// The generation that a rewrite under way makes.
    pub rewriting: Option<u32>,
    /// The epoch of the last owner who opened it; whoever opened it in an earlier one writes no more.
    pub marked: u64,
}

impl Content {
    pub fn cursor(&self, offset: Offset, position: u64) -> Cursor {
        Cursor { offset, position, generation: self.generation }
    }

    pub fn end(&self) -> Cursor {
        self.cursor(self.end_offset, self.end)
    }

    pub fn first(&self) -> Cursor {
        let first =
            self.blocks.front().and_then(|block| Some(self.cursor(block.lines.first()?.0, block.position)));
        first.unwrap_or(self.end())
    }

    /// How many lines there are.
    pub fn lines(&self) -> u64 {
        self.blocks.iter().map(|block| block.lines.len() as u64).sum()
    }

    /// Adds a line at the end.
    pub fn push(&mut self, offset: Offset, line: &[u8]) {
        if self.blocks.back().is_none_or(|block| block.bytes.len() >= BLOCK_BYTES) {
            self.blocks.push_back(Block { position: self.end, bytes: Vec::new(), lines: Vec::new() });
        }
        if let Some(block) = self.blocks.back_mut() {
            block.lines.push((offset, block.bytes.len()));
            block.bytes.extend_from_slice(line);
            self.end = block.end();
            self.end_offset = offset + 1;
        }
    }

    /// The block and the line in it that is the first with at least this offset.
    pub fn find(&self, offset: Offset) -> Option<(usize, usize)> {
        let block =
            self.blocks.partition_point(|block| block.lines.last().is_some_and(|last| last.0 < offset));
        let lines = &self.blocks.get(block)?.lines;
        Some((block, lines.partition_point(|line| line.0 < offset)))
    }

    /// Drops every line from this offset on.
    pub fn cut(&mut self, offset: Offset) {
        if let Some((block, line)) = self.find(offset) {
            self.blocks.truncate(block + 1);
            if let Some(last) = self.blocks.back_mut() {
                let start = last.lines[line].1;
                last.bytes.truncate(start);
                last.lines.truncate(line);
            }
            if line == 0 {
                self.blocks.pop_back();
            }
        }
        self.end = self.blocks.back().map_or(0, Block::end);
        self.end_offset = offset;
    }
}
