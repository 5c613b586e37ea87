//! Where to begin to read: by the index, and where it has nothing near, by looking at single lines. What is come across is
//! kept, so that nothing is searched for twice.

use wafka_core::storage::{Cursor, StorageError};
use wafka_core::{EventId, Offset};
use wafka_storage::line;

use super::view::LaneView;
use crate::error::ReadError;
use crate::index::{Between, Counted};
use crate::lines::{self, Lines};

/// So many lines are read on to rather than searched.
const NEAR_LINES: u64 = 64;
/// Where the line that is looked at is damaged, so much behind it is looked through for one that is not, in bytes.
const BEHIND_DAMAGE_BYTES: usize = 64 << 10;
/// How much is read at once to count lines, in bytes.
const COUNT_BYTES: usize = 256 << 10;

/// Where to begin to read.
pub(super) struct Start {
    pub(super) cursor: Cursor,
    /// The id of the event there; the lowest where it is not known.
    pub(super) id: EventId,
    /// Whether it is more than the log's beginning, for lack of something better.
    pub(super) is_known: bool,
    /// How many lines stand before it.
    counted: Counted,
}

impl LaneView {
    /// Where to begin to read for the first event at or above `id`: at or before it, and no more than a few lines.
    pub(super) fn seek(&self, id: EventId) -> Result<Start, ReadError> {
        let Some(between) = self.index.between(id) else {
            return Ok(match self.index.seek_entry(id) {
                Some((cursor, entry)) => {
                    let counted = Counted::Known(entry.ordinal);
                    Start { cursor, id: entry.id, is_known: true, counted }
                }
                None => {
                    let cursor = Cursor { offset: 0, position: 0, generation: self.reader.generation() };
                    Start { cursor, id: EventId::MIN, is_known: false, counted: Counted::Known(0) }
                }
            });
        };
        self.search(id, between)
    }

    /// Bisection by offsets between two lines that are known.
    fn search(&self, id: EventId, between: Between) -> Result<Start, ReadError> {
        let Between { cursor, id: known, high, first, removed } = between;
        let (mut cursor, mut known, mut high) = (cursor, known, high.min(self.end));
        while removed.lines_between(cursor.offset, high) > NEAR_LINES {
            if !self.may_wait {
                return Err(ReadError::WouldWait);
            }
            let middle = cursor.offset + (high - cursor.offset) / 2;
            match self.probe(middle)? {
                Some((found, at)) if at < high => {
                    self.index.learn(found, at);
                    if found > id {
                        high = middle;
                    } else {
                        (cursor, known) = (Cursor::at_offset(at), found);
                    }
                }
                // Nothing stands between, or what stands there tells nothing: then more is read than had to be.
                _ => high = middle,
            }
        }
        Ok(Start { cursor, id: known, is_known: true, counted: Counted::From(first, removed) })
    }

    /// The first event at or behind `offset`, behind damage if need be.
    fn probe(&self, offset: Offset) -> Result<Option<(EventId, Offset)>, ReadError> {
        let mut lines = Lines::none();
        for bytes_max in [1, BEHIND_DAMAGE_BYTES] {
            lines.fill(&*self.reader, Cursor::at_offset(offset), bytes_max)?;
            while lines.advance() {
                if let Some(found) = lines::peek(lines.current())
                    && line::verify(lines.current()).is_ok()
                {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// How many lines stand before where a read is to begin.
    pub(super) fn lines_before(&self, start: &Start) -> Result<u64, ReadError> {
        match &start.counted {
            Counted::Known(ordinal) => Ok(*ordinal),
            Counted::From(first, removed) => {
                let below = removed.below(start.cursor.offset);
                let counted = self.count(below.from, start.cursor.offset)?;
                Ok(below.from.saturating_sub(*first).saturating_sub(below.gone) + counted)
            }
        }
    }

    /// How many lines there are from one offset up to another.
    fn count(&self, from: Offset, to: Offset) -> Result<u64, StorageError> {
        let (mut lines, mut cursor, mut count) = (Lines::none(), Cursor::at_offset(from), 0);
        while cursor.offset < to {
            let chunk = lines.fill(&*self.reader, cursor, COUNT_BYTES)?;
            while lines.advance() {
                if lines::peek(lines.current()).is_some_and(|(_, offset)| offset >= to) {
                    return Ok(count);
                }
                count += 1;
            }
            if lines.is_empty() || chunk.next == cursor {
                break;
            }
            cursor = chunk.next;
        }
        Ok(count)
    }
}
