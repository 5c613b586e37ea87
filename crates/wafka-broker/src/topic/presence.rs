//! Whether single lines of a partition are still there, looked up when a topic is opened.

use wafka_core::storage::{Cursor, StorageError};
use wafka_core::{EventId, Offset};

use super::Lane;
use crate::lines::{self, Lines};

/// So much is read at once, in bytes.
const CHUNK_BYTES: usize = 16 << 10;
/// Lines that are so far ahead, counted in offsets, are looked up; nearer ones are read on to.
const FAR: u64 = 64;

/// Looks for lines that are asked for in the order of their offsets: those that stand near each other are found by one read.
pub(super) struct Presence<'l> {
    lane: &'l Lane,
    lines: Lines,
    /// Where what was read ends; `None` before anything was.
    next: Option<Cursor>,
    /// The line that was come to last.
    at: Option<(EventId, Offset)>,
}

impl<'l> Presence<'l> {
    pub(super) fn new(lane: &'l Lane) -> Self {
        Presence { lane, lines: Lines::none(), next: None, at: None }
    }

    /// Whether the event `id` stands at `offset`.
    pub(super) fn holds(&mut self, id: EventId, offset: Offset) -> Result<bool, StorageError> {
        loop {
            if let Some((found, at)) = self.at
                && at >= offset
            {
                return Ok((found, at) == (id, offset));
            }
            if self.lines.advance() {
                self.at = lines::peek(self.lines.current()).or(self.at);
            } else if !self.read(offset)? {
                return Ok(false);
            }
        }
    }

    /// Reads on, or from near `offset` on; `false` when there is nothing.
    fn read(&mut self, offset: Offset) -> Result<bool, StorageError> {
        let from = match self.next {
            Some(next) if offset.saturating_sub(next.offset) <= FAR => next,
            next => {
                let known = self.lane.index.at_offset(offset).map(|(cursor, _)| cursor);
                let known = known.filter(|known| next.is_none_or(|next| known.offset > next.offset));
                known.or(next.filter(|next| next.position > 0)).unwrap_or(Cursor::at_offset(offset))
            }
        };
        let chunk = self.lines.fill(&*self.lane.reader, from, CHUNK_BYTES)?;
        self.next = Some(chunk.next);
        Ok(!self.lines.is_empty())
    }
}
