//! Where to begin to read: by the index, and where it has nothing near, by looking at single lines. What is come across is
//! kept, so that nothing is searched for twice.

use std::sync::Arc;

use wafka_core::storage::{Cursor, StorageError};
use wafka_core::{EventId, Offset};
use wafka_storage::line;

use super::forward::{CHUNK_MIN, Forward};
use super::view::LaneView;
use crate::error::ReadError;
use crate::index::{Between, Counted, Removed};
use crate::lines::{self, Lines};

/// So many lines are read on to rather than searched.
const NEAR_LINES: u64 = 64;
/// As long as no line above the one that is searched for is found, each step is so many times as long as the one before.
const STEP_GROWTH: u64 = 8;
/// Where the line that is looked at is damaged, so much behind it is looked through for one that is not, in bytes.
const BEHIND_DAMAGE_BYTES: usize = 64 << 10;
/// How much is read at once to count lines, in bytes.
const COUNT_BYTES: usize = 256 << 10;
/// After so many lines that were counted the place is remembered.
const COUNTED_LINES: u64 = 256;

/// Where to begin to read.
pub(super) struct Start {
    pub(super) cursor: Cursor,
    /// The id of the event there; the lowest where it is not known.
    pub(super) id: EventId,
    /// Whether it is more than the log's beginning, for lack of something better.
    pub(super) is_known: bool,
    /// How many lines stand before it, where entries stand for all lines.
    pub(super) ordinal: u64,
    /// Else what is known of them.
    unread: Option<(Offset, Arc<Removed>)>,
}

impl LaneView {
    /// Where to begin to read for the first event at or above `id`: at or before it, and no more than a few lines.
    pub(super) fn seek(&self, id: EventId) -> Result<Start, ReadError> {
        let Some(between) = self.index.between(id) else {
            return Ok(match self.index.seek_entry(id) {
                Some((cursor, entry)) => {
                    Start { cursor, id: entry.id, is_known: true, ordinal: entry.ordinal, unread: None }
                }
                None => {
                    let cursor = Cursor { offset: 0, position: 0, generation: self.reader.generation() };
                    Start { cursor, id: EventId::MIN, is_known: false, ordinal: 0, unread: None }
                }
            });
        };
        self.search(id, between)
    }

    /// Steps that grow, then bisection, by offsets between two lines that are known.
    fn search(&self, id: EventId, between: Between) -> Result<Start, ReadError> {
        let Between { cursor, id: known, high, first, removed } = between;
        let (mut cursor, mut known, mut high) = (cursor, known, high.min(self.end));
        // Who reads on asks for what is next to the line that was read last, and a trim floor is often near the beginning.
        let mut step = if known == EventId::MIN { 0 } else { NEAR_LINES };
        while known.next() != Some(id) && removed.lines_between(cursor.offset, high) > NEAR_LINES {
            if !self.may_wait {
                return Err(ReadError::WouldWait);
            }
            let middle = cursor.offset + step.min((high - cursor.offset) / 2);
            match self.probe(middle)? {
                Some((found, at)) if at < high => {
                    self.index.learn(found, at);
                    if found > id {
                        (high, step) = (middle, u64::MAX);
                    } else {
                        (cursor, known) = (Cursor::at_offset(at), found);
                        step = step.saturating_mul(STEP_GROWTH).max(NEAR_LINES);
                    }
                }
                // Nothing stands between, or what stands there tells nothing: then more is read than had to be.
                _ => high = middle,
            }
        }
        Ok(Start { cursor, id: known, is_known: true, ordinal: 0, unread: Some((first, removed)) })
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

    /// How many lines have an id at or below `id`, where that follows from the offset of the first one above it; `start`
    /// is where to look for that. Nothing else is counted, so that all ranks are off by as much, and none of their
    /// differences, where lines went that the index was not told of: then the engine was not answered, or it was a server
    /// that owned them before.
    pub(super) fn rank_by_offset(&self, id: EventId, start: &Start) -> Result<Option<u64>, ReadError> {
        let Some((first, removed)) = &start.unread else { return Ok(None) };
        let Some(above) = id.next() else { return Ok(None) };
        let forward = Forward::at(self, start.cursor, above, CHUNK_MIN)?;
        let next = forward.item().map_or(self.end, |(_, offset)| offset);
        let below = removed.below(next);
        let rank = below.from.saturating_sub(*first).saturating_sub(below.gone);
        // Damage that the next event stands behind has an id above this one too.
        Ok(Some((rank + self.count(below.from, next)?).saturating_sub(forward.damaged_lines())))
    }

    /// How many lines there are from one offset, where a run of which no more is known begins, up to another one in it.
    fn count(&self, from: Offset, to: Offset) -> Result<u64, StorageError> {
        if from == to {
            return Ok(0);
        }
        let mut counted = self.index.counted(from, to);
        let mut places = Vec::new();
        let (mut lines, mut cursor) = (Lines::none(), Cursor::at_offset(counted.offset));
        let mut next_place = counted.lines + COUNTED_LINES;
        'log: while cursor.offset < to {
            let left = (to - cursor.offset).saturating_mul(self.line_bytes);
            let chunk = lines.fill(
                &*self.reader,
                cursor,
                usize::try_from(left).unwrap_or(COUNT_BYTES).min(COUNT_BYTES),
            )?;
            while lines.advance() {
                if let Some((_, offset)) = lines::peek(lines.current()) {
                    if offset >= to {
                        break 'log;
                    }
                    if counted.lines >= next_place {
                        places.push(Counted { offset, ..counted });
                        next_place = counted.lines + COUNTED_LINES;
                    }
                }
                counted.lines += 1;
            }
            if lines.is_empty() || chunk.next == cursor {
                break;
            }
            cursor = chunk.next;
        }
        counted.offset = to;
        places.push(counted);
        self.index.learn_counts(&places);
        Ok(counted.lines)
    }
}
