//! Walking partitions forward: one of them, and several merged by id.

use std::sync::Arc;

use wafka_core::storage::Cursor;
use wafka_core::{EventId, Offset};
use wafka_storage::line::{self, EventHeader, EventLine};

use super::view::{LaneView, View};
use crate::error::ReadError;
use crate::lines::Lines;

/// The most that is read from a file at once, in bytes.
const CHUNK_MAX: usize = 256 << 10;
/// The least that is read from a file at once, in bytes: about what lies between two entries of the index.
pub(super) const CHUNK_MIN: usize = 8 << 10;

/// The partitions of a view, each at its next event.
pub(super) struct Merge<'v> {
    pub(super) lanes: Vec<Forward<'v>>,
}

impl<'v> Merge<'v> {
    pub(super) fn new(view: &'v View, from: EventId, count: Option<u64>) -> Result<Self, ReadError> {
        let share = count.map(|count| count / view.lanes.len().max(1) as u64 + 1);
        let lanes = view.lanes.iter().map(|lane| Forward::new(lane, from, share));
        Ok(Merge { lanes: lanes.collect::<Result<_, _>>()? })
    }

    /// The lane with the lowest id, and the id.
    pub(super) fn lowest(&self) -> Option<(usize, EventId)> {
        let mut lowest: Option<(usize, EventId)> = None;
        for (at, lane) in self.lanes.iter().enumerate() {
            if let Some((id, _)) = lane.item()
                && lowest.is_none_or(|(_, least)| id < least || (id == least && lane.damage.is_none()))
            {
                lowest = Some((at, id));
            }
        }
        lowest
    }

    pub(super) fn advance(&mut self, at: usize) -> Result<(), ReadError> {
        self.lanes[at].advance()
    }
}

/// Walks one partition forward.
pub(super) struct Forward<'v> {
    lane: &'v LaneView,
    lines: Lines,
    /// The next block of the tail; `usize::MAX` when lines come from the file.
    block: usize,
    next: Cursor,
    chunk_bytes: usize,
    item: Option<(EventId, Offset)>,
    /// The header of the current line.
    header: Option<EventHeader>,
    last_id: EventId,
    /// The current item is no event, but damage.
    damage: Option<Bad>,
    /// The event behind the damage.
    behind: Option<(EventId, Offset)>,
    /// Events below it are passed over.
    from: EventId,
}

/// A stretch of damaged lines. It takes part in the order as if it had the id right behind the event before it, the
/// lowest that the lost events can have had: whoever reads on from there is told, whoever reads on from behind it goes on.
struct Bad {
    /// Where the first of them begins, in bytes.
    position: u64,
    lines: u64,
    reason: String,
}

impl<'v> Forward<'v> {
    /// Begins at the first event at or above `from`; about `count` events are wanted.
    pub(super) fn new(lane: &'v LaneView, from: EventId, count: Option<u64>) -> Result<Self, ReadError> {
        // Without a count the range may end at the next event: the chunks grow as it goes on.
        let wanted = count.unwrap_or(1).saturating_mul(lane.line_bytes + lane.line_bytes / 16);
        let slack = 4096 + lane.line_bytes;
        let chunk =
            usize::try_from(wanted.saturating_add(slack)).unwrap_or(CHUNK_MAX).clamp(CHUNK_MIN, CHUNK_MAX);
        if let Some(first) = lane.blocks.first() {
            let lines = Lines::block(Arc::clone(first), from);
            return Self { block: 1, ..Self::empty(lane, lines) }.begin(from);
        }
        if lane.is_past {
            return Ok(Self { next: Cursor::at_offset(lane.end), ..Self::empty(lane, Lines::none()) });
        }
        let (start, last_id) = match lane.index.seek_entry(from) {
            // When the line that the index names is damaged, at least its id is known.
            Some((cursor, entry)) => (cursor, entry.id.prev().unwrap_or(EventId::MIN)),
            None => {
                let start = Cursor { offset: 0, position: 0, generation: lane.reader.generation() };
                (start, EventId::MIN)
            }
        };
        let forward = Self::empty(lane, Lines::none());
        Forward { next: start, chunk_bytes: chunk, last_id, ..forward }.begin(from)
    }

    /// Begins to read the file at `start` and goes to the first event at or above `from`.
    pub(super) fn at(
        lane: &'v LaneView,
        start: Cursor,
        from: EventId,
        chunk_bytes: usize,
    ) -> Result<Self, ReadError> {
        let forward = Forward { next: start, chunk_bytes, ..Self::empty(lane, Lines::none()) };
        forward.begin(from)
    }

    fn empty(lane: &'v LaneView, lines: Lines) -> Self {
        Forward {
            lane,
            lines,
            block: usize::MAX,
            next: Cursor::default(),
            chunk_bytes: CHUNK_MIN,
            item: None,
            header: None,
            last_id: EventId::MIN,
            damage: None,
            behind: None,
            from: EventId::MIN,
        }
    }

    fn begin(mut self, from: EventId) -> Result<Self, ReadError> {
        self.from = from;
        self.advance()?;
        while self.item.is_some_and(|(id, _)| id < from) {
            self.advance()?;
        }
        Ok(self)
    }

    pub(super) fn item(&self) -> Option<(EventId, Offset)> {
        self.item
    }

    /// The current event. Its line was verified when it was read from the file, or is in memory as it was accepted.
    pub(super) fn event(&self) -> Result<EventLine<'_>, String> {
        let header = self.header.clone().ok_or("this is no event line")?;
        header.trust(self.lines.current()).map_err(|error| error.to_string())
    }

    /// How many damaged lines stand where the current event would.
    pub(super) fn damaged_lines(&self) -> u64 {
        self.damage.as_ref().map_or(0, |bad| bad.lines)
    }

    /// Moves to the next event, or damage.
    pub(super) fn advance(&mut self) -> Result<(), ReadError> {
        if self.damage.take().is_some() {
            self.item = self.behind.take();
            return Ok(());
        }
        if let Some((id, _)) = self.item.take() {
            self.last_id = id;
        }
        while self.next_line()? {
            match self.examine() {
                Ok(header) if header.offset >= self.lane.end => break,
                // After a rewrite a read may begin again with lines that were passed.
                Ok(header) if header.id <= self.last_id => {}
                Ok(header) => {
                    self.item = Some((header.id, header.offset));
                    self.header = Some(header);
                    break;
                }
                Err(reason) => {
                    let position = self.lines.position();
                    self.damage.get_or_insert(Bad { position, lines: 0, reason }).lines += 1;
                }
            }
        }
        if self.damage.is_some() {
            self.behind = self.item.take();
            let right_behind = self.last_id.next().unwrap_or(EventId::MAX);
            // A line that never was an event may stand where no id is left.
            let id = if self.behind.is_some_and(|(id, _)| id <= right_behind) {
                self.last_id
            } else {
                right_behind
            };
            self.item = Some((id, self.behind.map_or(self.lane.end, |(_, offset)| offset)));
        }
        Ok(())
    }

    fn next_line(&mut self) -> Result<bool, ReadError> {
        while !self.lines.advance() {
            if !self.refill()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The header of the current line. A header from a file decides what is merged before and after it, and where the
    /// partition ends, so it is not believed unless the whole line is; what is in memory is as it was accepted.
    fn examine(&self) -> Result<EventHeader, String> {
        let line = self.lines.current();
        let header = EventHeader::read(line);
        match header {
            Some(header) if self.block != usize::MAX => Ok(header),
            // What is passed over anyway.
            Some(header)
                if header.id < self.from && header.id > self.last_id && header.offset < self.lane.end =>
            {
                Ok(header)
            }
            header => line::verify(line)
                .map_err(|error| error.to_string())
                .and_then(|_| header.ok_or_else(|| "this is no event line".to_owned())),
        }
    }

    fn refill(&mut self) -> Result<bool, ReadError> {
        if self.block != usize::MAX {
            let Some(block) = self.lane.blocks.get(self.block) else { return Ok(false) };
            self.lines = Lines::block(Arc::clone(block), EventId::MIN);
            self.block += 1;
            return Ok(true);
        }
        if self.next.offset >= self.lane.end {
            return Ok(false);
        }
        let before = self.next;
        let chunk = if self.lane.may_wait {
            self.lines.fill(&*self.lane.reader, before, self.chunk_bytes)?
        } else {
            let ready = self.lines.fill_ready(&*self.lane.reader, before, self.chunk_bytes)?;
            ready.ok_or(ReadError::WouldWait)?
        };
        self.next = chunk.next;
        self.chunk_bytes = (self.chunk_bytes * 2).min(CHUNK_MAX);
        Ok(chunk.next != before && !self.lines.is_empty())
    }

    /// An error when the current item is damage.
    pub(super) fn check_damage(&self) -> Result<(), ReadError> {
        let Some(bad) = &self.damage else { return Ok(()) };
        let next = self.item.and_then(|(id, _)| id.next());
        Err(damage(self.lane, bad.position, self.last_id, bad.reason.clone(), next))
    }

    /// The current line, which looked like an event, fails its check.
    pub(super) fn damaged(&self, reason: String) -> ReadError {
        let next = self.item.and_then(|(id, _)| id.next());
        damage(self.lane, self.lines.position(), self.last_id, reason, next)
    }
}

pub(super) fn damage(
    lane: &LaneView,
    position: u64,
    after: EventId,
    reason: String,
    next_readable: Option<EventId>,
) -> ReadError {
    tracing::error!(log = %lane.log, position, %after, %reason, "damaged line");
    ReadError::Damaged { log: lane.log.to_string(), position, after, reason, next_readable }
}
