//! The buffer in which bytes for direct writes are put together: it lies as they want it.

use crate::fs::DIRECT_ALIGN;

/// A run of bytes that begins at a multiple of [`DIRECT_ALIGN`] in memory, unless the vector moved while it was filled.
#[derive(Default)]
pub(super) struct BlockBuffer {
    bytes: Vec<u8>,
    /// Where the run begins.
    start: usize,
}

impl BlockBuffer {
    /// Begins a run of about so many bytes: it is to be appended to the vector returned, behind what that holds.
    pub fn begin(&mut self, bytes: usize) -> &mut Vec<u8> {
        self.bytes.clear();
        // Blanks before the first block, and those that fill the last one up.
        self.bytes.reserve(bytes + 2 * DIRECT_ALIGN);
        self.start = before_block(&self.bytes);
        self.bytes.resize(self.start, b' ');
        &mut self.bytes
    }

    /// The run.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The run, filled up to whole blocks with blanks and a newline, where a block begins.
    pub fn blocks(&mut self) -> &[u8] {
        let end = self.bytes.len();
        let missing = self.bytes().len().next_multiple_of(DIRECT_ALIGN) - self.bytes().len();
        self.bytes.reserve(missing + DIRECT_ALIGN);
        let start = before_block(&self.bytes);
        if start != self.start {
            let len = end - self.start;
            self.bytes.resize(end.max(start + len), b' ');
            self.bytes.copy_within(self.start..end, start);
            self.bytes.truncate(start + len);
            self.start = start;
        }
        self.bytes.resize(self.bytes.len() + missing, b' ');
        if missing > 0
            && let Some(last) = self.bytes.last_mut()
        {
            *last = b'\n';
        }
        &self.bytes[self.start..]
    }
}

/// How many bytes of a vector lie before its first block.
fn before_block(bytes: &[u8]) -> usize {
    bytes.as_ptr().addr().next_multiple_of(DIRECT_ALIGN) - bytes.as_ptr().addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_blocks_begin_at_a_block() {
        let mut buffer = BlockBuffer::default();
        for (room, len) in [(10, 10), (0, 5000), (4096, 4096), (100, 20_000), (0, 1), (9000, 8192)] {
            let record: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            buffer.begin(room).extend_from_slice(&record);
            assert_eq!(buffer.bytes(), record);
            let blocks = buffer.blocks();
            assert_eq!((blocks.as_ptr().addr() % DIRECT_ALIGN, blocks.len() % DIRECT_ALIGN), (0, 0));
            let (head, filled) = blocks.split_at(len);
            assert_eq!(head, record);
            assert!(filled.len() < DIRECT_ALIGN);
            if let Some((last, blanks)) = filled.split_last() {
                assert!(*last == b'\n' && blanks.iter().all(|byte| *byte == b' '));
            }
        }
    }
}
