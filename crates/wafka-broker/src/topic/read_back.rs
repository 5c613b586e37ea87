//! Walking one partition backward, for `XREVRANGE`.

use std::sync::Arc;

use wafka_core::storage::Cursor;
use wafka_core::{EventId, Offset};

use super::read::{LaneView, damage};
use crate::error::ReadError;
use crate::lines::{self, Lines};

/// How far back to go where the index knows nothing near, in lines.
const STEP_LINES: u64 = 64;
/// An index entry further away than this is not used, in lines.
const STEP_LINES_MAX: u64 = 4096;
const CHUNK_BYTES: usize = 16 << 10;

/// One partition at an event, going down.
pub(super) struct Backward<'v> {
    lane: &'v LaneView,
    lines: Lines,
    /// Blocks of the tail that were not walked yet.
    blocks: usize,
    /// Lines at or above this offset were walked before.
    end: Offset,
    /// Where the lines at hand begin: what is below comes next.
    start: Offset,
    to: EventId,
    id: Option<EventId>,
    last_id: EventId,
    damage: Option<u64>,
}

impl<'v> Backward<'v> {
    /// Begins at the last event at or below `to`.
    pub(super) fn new(lane: &'v LaneView, to: EventId) -> Result<Self, ReadError> {
        let mut backward = Backward {
            lane,
            lines: Lines::none(),
            blocks: lane.blocks.len(),
            end: lane.end,
            start: lane.end,
            to,
            id: None,
            last_id: EventId::MAX,
            damage: None,
        };
        if lane.blocks.is_empty()
            && let Some(next) = to.next()
            && let Some((cursor, _)) = lane.index.seek(next)
        {
            // The entry behind the one that holds the end of the range bounds the search.
            backward.start = backward.first_offset_above(cursor, to)?.min(lane.end);
        }
        backward.advance()?;
        Ok(backward)
    }

    /// The offset of the first event above `to`, looked for from `cursor` on.
    fn first_offset_above(&self, mut cursor: Cursor, to: EventId) -> Result<Offset, ReadError> {
        let mut lines = Lines::none();
        loop {
            let chunk = lines.fill(&*self.lane.reader, cursor, CHUNK_BYTES)?;
            while lines.advance() {
                match lines::peek(lines.current()) {
                    Some((id, offset)) if id > to || offset >= self.lane.end => return Ok(offset),
                    _ => {}
                }
            }
            if chunk.next == cursor || lines.is_empty() {
                return Ok(self.lane.end);
            }
            cursor = chunk.next;
        }
    }

    pub(super) fn id(&self) -> Option<EventId> {
        self.id
    }

    pub(super) fn line(&self) -> &[u8] {
        self.lines.current()
    }

    /// Moves to the event before.
    pub(super) fn advance(&mut self) -> Result<(), ReadError> {
        if let Some(id) = self.id.take() {
            self.last_id = id;
            self.damage = None;
        }
        loop {
            while self.lines.retreat() {
                match lines::peek(self.lines.current()) {
                    Some((id, offset)) if id > self.to || offset >= self.end => {}
                    Some((id, _)) if id < self.last_id => {
                        self.id = Some(id);
                        return Ok(());
                    }
                    _ => self.damage = Some(self.lines.position()),
                }
            }
            if !self.refill()? {
                if self.damage.is_some() {
                    self.id = Some(EventId::MIN);
                }
                return Ok(());
            }
        }
    }

    fn refill(&mut self) -> Result<bool, ReadError> {
        if self.blocks > 0 {
            self.blocks -= 1;
            let block = &self.lane.blocks[self.blocks];
            self.end = block.first_offset + block.lines;
            self.start = block.first_offset;
            self.lines = Lines::block_back(Arc::clone(block), self.to);
            return Ok(true);
        }
        if self.start == 0 {
            return Ok(false);
        }
        self.end = self.start;
        let from = match self.lane.index.before_offset(self.end) {
            Some((cursor, _)) if self.end - cursor.offset <= STEP_LINES_MAX => cursor,
            _ => Cursor::at_offset(self.end.saturating_sub(STEP_LINES)),
        };
        let mut chunk = self.lines.fill(&*self.lane.reader, from, CHUNK_BYTES)?;
        self.start = from.offset.min(chunk.start.offset);
        while chunk.next.offset < self.end {
            let before = chunk.next;
            chunk = self.lines.extend(&*self.lane.reader, before, CHUNK_BYTES)?;
            if chunk.next == before {
                break;
            }
        }
        self.lines.seek_end();
        Ok(true)
    }

    /// An error when lines above the current event are damaged.
    pub(super) fn check_damage(&self) -> Result<(), ReadError> {
        match self.damage {
            None => Ok(()),
            Some(position) => {
                let after = self.id.unwrap_or(EventId::MIN);
                let next = (self.last_id < EventId::MAX).then_some(self.last_id);
                Err(damage(self.lane, position, after, "this is no event line".to_owned(), next))
            }
        }
    }

    /// The current line, which looked like an event, fails its check.
    pub(super) fn damaged(&self, reason: String) -> ReadError {
        let next = (self.last_id < EventId::MAX).then_some(self.last_id);
        damage(self.lane, self.lines.position(), EventId::MIN, reason, next)
    }
}
