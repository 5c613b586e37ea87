//! A run of whole lines in memory, from a block of the tail or from a file, walked in either direction.

use std::cell::RefCell;
use std::sync::Arc;

use wafka_core::storage::{Chunk, Cursor, LogReader, StorageError};
use wafka_core::{EventId, Offset};
use wafka_storage::line::EventLine;

use crate::tail::Block;

/// Buffers of this size at most are kept for the next read of the same thread.
const POOLED_BYTES_MAX: usize = 1 << 20;
const POOLED_COUNT_MAX: usize = 64;

thread_local! {
    /// Read buffers: a fresh one costs page faults that are more expensive than the read.
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

enum Bytes {
    Block(Arc<Block>),
    Chunk(Vec<u8>),
}

/// Lines, and the one that is looked at.
pub(crate) struct Lines {
    bytes: Bytes,
    /// The byte position in the log of the first byte.
    position: u64,
    /// The current line, with its newline.
    start: usize,
    end: usize,
}

/// Id and offset of a line, when its header is one.
pub(crate) fn peek(line: &[u8]) -> Option<(EventId, Offset)> {
    EventLine::peek(line)
}

impl Lines {
    /// No lines.
    pub(crate) fn none() -> Self {
        let buffer = POOL.with_borrow_mut(Vec::pop).unwrap_or_default();
        Lines { bytes: Bytes::Chunk(buffer), position: 0, start: 0, end: 0 }
    }

    /// The lines of a block from the first event at or above `from` on.
    pub(crate) fn block(block: Arc<Block>, from: EventId) -> Self {
        let start = if from <= block.first_id { 0 } else { first_at_or_above(&block.bytes, from) };
        Lines { bytes: Bytes::Block(block), position: 0, start, end: start }
    }

    /// The lines of a block up to the last event at or below `to`, to be walked backward.
    pub(crate) fn block_back(block: Arc<Block>, to: EventId) -> Self {
        let end = match to.next() {
            Some(next) if to < block.last_id => first_at_or_above(&block.bytes, next),
            _ => block.bytes.len(),
        };
        Lines { bytes: Bytes::Block(block), position: 0, start: end, end }
    }

    #[inline]
    fn slice(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Block(block) => &block.bytes,
            Bytes::Chunk(bytes) => bytes,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.slice().is_empty()
    }

    /// The current line, with its newline.
    #[inline]
    pub(crate) fn current(&self) -> &[u8] {
        &self.slice()[self.start..self.end]
    }

    /// Where the current line stands in its log, in bytes; in a block, within the block.
    pub(crate) fn position(&self) -> u64 {
        self.position + self.start as u64
    }

    /// Moves to the next line.
    #[inline]
    pub(crate) fn advance(&mut self) -> bool {
        self.start = self.end;
        match memchr::memchr(b'\n', &self.slice()[self.start..]) {
            None => false,
            Some(length) => {
                self.end = self.start + length + 1;
                true
            }
        }
    }

    /// Moves to the line before.
    pub(crate) fn retreat(&mut self) -> bool {
        self.end = self.start;
        if self.end == 0 {
            return false;
        }
        self.start = memchr::memrchr(b'\n', &self.slice()[..self.end - 1]).map_or(0, |at| at + 1);
        true
    }

    /// Stands behind the last line, to walk backward.
    pub(crate) fn seek_end(&mut self) {
        self.start = self.slice().len();
        self.end = self.start;
    }

    /// Reads the next lines of a log in the place of those there were.
    pub(crate) fn fill(
        &mut self,
        reader: &dyn LogReader,
        from: Cursor,
        bytes_max: usize,
    ) -> Result<Chunk, StorageError> {
        let mut buffer = match std::mem::replace(&mut self.bytes, Bytes::Chunk(Vec::new())) {
            Bytes::Chunk(buffer) => buffer,
            Bytes::Block(_) => POOL.with_borrow_mut(Vec::pop).unwrap_or_default(),
        };
        buffer.clear();
        self.start = 0;
        self.end = 0;
        let chunk = reader.read(from, bytes_max, &mut buffer)?;
        self.bytes = Bytes::Chunk(buffer);
        self.position = chunk.start.position;
        Ok(chunk)
    }

    /// As [`Lines::fill`], but `None` when the reader would have to wait.
    pub(crate) fn fill_ready(
        &mut self,
        reader: &dyn LogReader,
        from: Cursor,
        bytes_max: usize,
    ) -> Result<Option<Chunk>, StorageError> {
        self.start = 0;
        self.end = 0;
        let mut buffer = match std::mem::replace(&mut self.bytes, Bytes::Chunk(Vec::new())) {
            Bytes::Chunk(buffer) => buffer,
            Bytes::Block(_) => POOL.with_borrow_mut(Vec::pop).unwrap_or_default(),
        };
        buffer.clear();
        let chunk = reader.read_ready(from, bytes_max, &mut buffer)?;
        self.bytes = Bytes::Chunk(buffer);
        self.position = from.position;
        Ok(chunk)
    }

    /// Reads further lines behind those there are.
    pub(crate) fn extend(
        &mut self,
        reader: &dyn LogReader,
        from: Cursor,
        bytes_max: usize,
    ) -> Result<Chunk, StorageError> {
        match &mut self.bytes {
            Bytes::Chunk(buffer) => reader.read(from, bytes_max, buffer),
            Bytes::Block(_) => self.fill(reader, from, bytes_max),
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if let Bytes::Chunk(buffer) = &mut self.bytes
            && buffer.capacity() > 0
            && buffer.capacity() <= POOLED_BYTES_MAX
        {
            let mut buffer = std::mem::take(buffer);
            buffer.clear();
            POOL.with_borrow_mut(|pool| {
                if pool.len() < POOLED_COUNT_MAX {
                    pool.push(buffer);
                }
            });
        }
    }
}

/// Where the first line at or above `id` begins: bisection over the bytes of whole, ascending lines.
fn first_at_or_above(bytes: &[u8], id: EventId) -> usize {
    let (mut low, mut high) = (0, bytes.len());
    // `low` is always the beginning of a line; everything before it is below `id`.
    while low < high {
        let middle = low + (high - low) / 2;
        let start = memchr::memrchr(b'\n', &bytes[low..middle]).map_or(low, |at| low + at + 1);
        let end = memchr::memchr(b'\n', &bytes[middle..]).map_or(bytes.len(), |at| middle + at + 1);
        match peek(&bytes[start..end]) {
            Some((found, _)) if found < id => low = end,
            _ => high = start,
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use wafka_core::{Fields, PartitionId};
    use wafka_storage::line::EventEncoder;

    fn block(ids: &[u64]) -> Arc<Block> {
        let mut encoder = EventEncoder::new(b"t", PartitionId(1));
        let mut bytes = Vec::new();
        for (offset, id) in ids.iter().enumerate() {
            let long = vec![b'x'; (*id as usize * 37) % 300];
            let flat: [&[u8]; 2] = [b"f", &long];
            encoder.encode(&mut bytes, EventId::new(*id, 0), offset as u64, &[], Fields::new(&flat).unwrap());
        }
        Arc::new(Block {
            bytes,
            first_id: EventId::new(ids[0], 0),
            last_id: EventId::new(*ids.last().unwrap(), 0),
            first_offset: 0,
            lines: ids.len() as u64,
        })
    }

    fn ids(mut lines: Lines, back: bool) -> Vec<u64> {
        let mut found = Vec::new();
        while if back { lines.retreat() } else { lines.advance() } {
            found.push(peek(lines.current()).unwrap().0.ms);
        }
        found
    }

    #[test]
    fn walks_both_ways_from_any_id() {
        let all: Vec<u64> = (1..60).map(|n| n * 2).collect();
        let block = block(&all);
        for at in 0..130 {
            let id = EventId::new(at, 0);
            let forward = ids(Lines::block(Arc::clone(&block), id), false);
            assert_eq!(forward, all.iter().copied().filter(|n| *n >= at).collect::<Vec<_>>(), "from {at}");
            let back = ids(Lines::block_back(Arc::clone(&block), id), true);
            let expected: Vec<_> = all.iter().rev().copied().filter(|n| *n <= at).collect();
            assert_eq!(back, expected, "to {at}");
        }
    }
}
