//! Walking one partition backward, for `XREVRANGE`.

use std::sync::Arc;

use wafka_core::storage::Cursor;
use wafka_core::{EventId, Offset};
use wafka_storage::line;

use super::forward::damage;
use super::view::LaneView;
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
    /// The generation of the file that the lines come from; `None` when they come from the tail.
    generation: Option<u32>,
    /// Lines at or above this offset were walked before.
    end: Offset,
    /// Where the lines at hand begin: what is below comes next.
    start: Offset,
    /// The last line walked in a file: its generation, and where it begins. The lines behind it were walked before.
    walked: Option<(u32, u64)>,
    to: EventId,
    id: Option<EventId>,
    /// The id of the event that was walked last.
    last_id: Option<EventId>,
    /// The lowest id that was come across, above the range too.
    seen: EventId,
    /// The current item is no event, but damage: where it begins, in bytes, and what is wrong. It takes part in the
    /// order as if it had the id right before the event behind it, the highest that the lost events can have had.
    damage: Option<(u64, String)>,
    /// The event before the damage.
    before: Option<EventId>,
}

impl<'v> Backward<'v> {
    /// Begins at the last event at or below `to`.
    pub(super) fn new(lane: &'v LaneView, to: EventId) -> Result<Self, ReadError> {
        let mut backward = Backward {
            lane,
            lines: Lines::none(),
            blocks: lane.blocks.len(),
            generation: None,
            end: lane.end,
            start: lane.end,
            walked: None,
            to,
            id: None,
            last_id: None,
            seen: EventId::MAX,
            damage: None,
            before: None,
        };
        if lane.blocks.is_empty()
            && let Some(next) = to.next()
        {
            let near = lane.seek(next)?;
            if near.is_known {
                // The entry behind the one that holds the end of the range bounds the search.
                let (seen, start) = backward.first_above(near.cursor, to)?;
                (backward.seen, backward.start) = (seen, start.min(lane.end));
            }
        }
        backward.advance()?;
        Ok(backward)
    }

    /// Id and offset of the first event above `to`, looked for from `cursor` on.
    fn first_above(&self, mut cursor: Cursor, to: EventId) -> Result<(EventId, Offset), ReadError> {
        let mut lines = Lines::none();
        loop {
            let chunk = lines.fill(&*self.lane.reader, cursor, CHUNK_BYTES)?;
            while lines.advance() {
                match lines::peek(lines.current()) {
                    Some((id, offset))
                        if (id > to || offset >= self.lane.end) && line::verify(lines.current()).is_ok() =>
                    {
                        return Ok((id, offset));
                    }
                    _ => {}
                }
            }
            if chunk.next == cursor || lines.is_empty() {
                return Ok((EventId::MAX, self.lane.end));
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

    /// Whether the current item is no event, but damage.
    pub(super) fn is_damage(&self) -> bool {
        self.damage.is_some()
    }

    /// Moves to the event before, or damage.
    pub(super) fn advance(&mut self) -> Result<(), ReadError> {
        if self.damage.take().is_some() {
            self.id = self.before.take();
            return Ok(());
        }
        if let Some(id) = self.id.take() {
            (self.last_id, self.seen) = (Some(id), id);
        }
        while self.line_before()? {
            match self.examine() {
                // Damage above the range is no matter of this read.
                Ok((id, offset)) if id > self.to || offset >= self.end => {
                    self.damage = None;
                    self.seen = self.seen.min(id);
                }
                // After a rewrite lines may come again.
                Ok((id, _)) if self.last_id.is_some_and(|last| id >= last) => {}
                Ok((id, _)) => {
                    self.id = Some(id);
                    break;
                }
                Err(reason) => self.damage = Some((self.lines.position(), reason)),
            }
        }
        if self.damage.is_some() {
            self.place_damage();
        }
        Ok(())
    }

    /// Gives the damage that was come across its place in the order, or drops it when that is above the range.
    fn place_damage(&mut self) {
        let before = self.id.unwrap_or(EventId::MIN);
        // With nothing behind it there is no highest id: the lowest takes its place.
        let place = if self.seen == EventId::MAX { before.next() } else { self.seen.prev() };
        let place = place.unwrap_or(EventId::MIN);
        if place > self.to {
            self.damage = None;
            return;
        }
        self.before = self.id.take();
        // A line that never was an event may stand where no id is left.
        self.id = Some(if self.before.is_some_and(|id| id >= place) { self.seen } else { place });
    }

    /// Moves to the line before that was not walked yet.
    fn line_before(&mut self) -> Result<bool, ReadError> {
        loop {
            while self.lines.retreat() {
                let Some(generation) = self.generation else { return Ok(true) };
                let position = self.lines.position();
                let again = self.walked.is_some_and(|(of, at)| of == generation && position >= at);
                if !again {
                    self.walked = Some((generation, position));
                    return Ok(true);
                }
            }
            if !self.refill()? {
                return Ok(false);
            }
        }
    }

    /// Id and offset of the current line. A header from a file decides what is merged before and after it, so it is not
    /// believed unless the whole line is; what is in memory is as it was accepted.
    fn examine(&self) -> Result<(EventId, Offset), String> {
        let line = self.lines.current();
        if self.generation.is_some() {
            line::verify(line).map_err(|error| error.to_string())?;
        }
        lines::peek(line).ok_or_else(|| "this is no event line".to_owned())
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
        // Every chunk of a backend without positions begins at 0; in a log that is one run of bytes nothing is left then.
        self.walked = self.walked.filter(|(_, position)| *position > 0);
        self.end = self.start;
        let mut from = match self.lane.index.before_offset(self.end) {
            Some((cursor, _)) if self.end - cursor.offset <= STEP_LINES_MAX => cursor,
            _ => Cursor::at_offset(self.end.saturating_sub(STEP_LINES)),
        };
        let mut chunk = self.lines.fill(&*self.lane.reader, from, CHUNK_BYTES)?;
        if self.lines.is_empty() || chunk.start.offset >= self.end {
            // A gap that compaction left may be millions of offsets wide.
            let Some(below) = self.last_below(from.offset)? else {
                self.start = 0;
                return Ok(false);
            };
            from = Cursor::at_offset((below + 1).saturating_sub(STEP_LINES));
            chunk = self.lines.fill(&*self.lane.reader, from, CHUNK_BYTES)?;
        }
        self.generation = Some(chunk.start.generation);
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

    /// The offset of the last line below `self.end`, when there is none from `limit` on; by bisection.
    fn last_below(&self, limit: Offset) -> Result<Option<Offset>, ReadError> {
        let mut line = Vec::new();
        let mut first_from = |offset: Offset| -> Result<Offset, ReadError> {
            line.clear();
            let chunk = self.lane.reader.read(Cursor::at_offset(offset), 1, &mut line)?;
            Ok(if line.is_empty() { Offset::MAX } else { chunk.start.offset })
        };
        let (mut low, mut high) = (first_from(0)?, limit);
        if low >= self.end {
            return Ok(None);
        }
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            match first_from(middle)? {
                found if found < self.end => low = found.max(middle),
                _ => high = middle,
            }
        }
        Ok(Some(low))
    }

    /// An error when the current item is damage.
    pub(super) fn check_damage(&self) -> Result<(), ReadError> {
        let Some((position, reason)) = &self.damage else { return Ok(()) };
        let after = self.id.and_then(EventId::prev).unwrap_or(EventId::MIN);
        let next = (self.seen < EventId::MAX).then_some(self.seen);
        Err(damage(self.lane, *position, after, reason.clone(), next))
    }

    /// The current line, which looked like an event, fails its check.
    pub(super) fn damaged(&self, reason: String) -> ReadError {
        let next = self.last_id;
        let after = self.id.and_then(EventId::prev).unwrap_or(EventId::MIN);
        damage(self.lane, self.lines.position(), after, reason, next)
    }
}
