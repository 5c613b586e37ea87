//! Walking partitions forward: one of them, and several merged by id.

use std::sync::Arc;

use wafka_core::storage::Cursor;
use wafka_core::{EventId, Offset};
use wafka_storage::line::{self, EventHeader, EventLine, FieldBuf, HeaderReader, LineError};

use super::read::EntryFields;
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

    /// See [`Forward::learn`].
    pub(super) fn learn(&self) {
        self.lanes.iter().for_each(Forward::learn);
    }

    /// The offset of a lane's next event, or of the one that will come.
    pub(super) fn offset(&self, at: usize) -> Offset {
        let lane = &self.lanes[at];
        lane.item().map_or(lane.lane.end, |(_, offset)| offset)
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
    headers: HeaderReader,
    /// What was found out about the current line, when it is an event.
    examined: Option<Examined>,
    last_id: EventId,
    /// The event before the current one, where it was handed out.
    before: Option<(EventId, Offset)>,
    /// The current item is no event, but damage.
    damage: Option<Bad>,
    /// The event behind the damage.
    behind: Option<(EventId, Offset)>,
    /// Events below it are passed over.
    from: EventId,
    /// The last damage that was passed over, and the id of the event behind it.
    passed: Option<(EventId, Box<ReadError>)>,
}

/// An event's line.
#[derive(Clone, Copy)]
struct Examined {
    header: EventHeader,
    /// How many bytes the line's checksum covers. Unknown, and not asked for, where the line is passed over.
    covered_len: usize,
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
        let start = lane.seek(from)?;
        // When the line there is damaged, at least its id is known.
        let last_id = start.id.prev().unwrap_or(EventId::MIN);
        let forward = Self::empty(lane, Lines::none());
        Forward { next: start.cursor, chunk_bytes: chunk, last_id, ..forward }.begin(from)
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
            headers: HeaderReader::default(),
            examined: None,
            last_id: EventId::MIN,
            before: None,
            damage: None,
            behind: None,
            from: EventId::MIN,
            passed: None,
        }
    }

    /// Tells the index of a log that nobody read how far it was read now: then who reads on has nothing to search for.
    pub(super) fn learn(&self) {
        if self.block != usize::MAX || !self.lane.index.learns() {
            return;
        }
        // Below `from` no line was verified.
        let read = self.before.filter(|(id, _)| *id >= self.from);
        for (id, offset) in [read, self.item.filter(|_| self.damage.is_none())].into_iter().flatten() {
            self.lane.index.learn(id, offset);
        }
    }

    /// The damage right before the current event, if there is any: an id below the event's may be among it.
    pub(super) fn lost_before(&mut self) -> Option<ReadError> {
        let current = self.item.map_or(EventId::MAX, |(id, _)| id);
        self.passed.take_if(|(behind, _)| *behind == current).map(|(_, error)| *error)
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

    /// The fields of the current event. Its line was verified when it was read from the file, or is in memory as it was
    /// accepted.
    #[inline]
    pub(super) fn fields<'b>(&'b self, into: &'b mut FieldBuf) -> Result<EntryFields<'b>, LineError> {
        let line = self.lines.current();
        match &self.examined {
            Some(Examined { header, covered_len }) => header.fields(&line[..*covered_len], into),
            None => EventLine::parse(line)?.fields(into),
        }
    }

    /// Whether damage stands where the current event would.
    #[inline]
    pub(super) fn is_damage(&self) -> bool {
        self.damage.is_some()
    }

    /// How many damaged lines stand where the current event would.
    pub(super) fn damaged_lines(&self) -> u64 {
        self.damage.as_ref().map_or(0, |bad| bad.lines)
    }

    /// Moves to the next event, or damage.
    pub(super) fn advance(&mut self) -> Result<(), ReadError> {
        if self.damage.is_some() {
            self.passed =
                Some((self.behind.map_or(EventId::MAX, |(id, _)| id), Box::new(self.damaged(None))));
            self.damage = None;
            self.item = self.behind.take();
            return Ok(());
        }
        if let Some((id, offset)) = self.item.take() {
            self.last_id = id;
            self.before = Some((id, offset));
        }
        while self.next_line()? {
            match self.examine() {
                Ok(Examined { header, .. }) if header.offset >= self.lane.end => break,
                // After a rewrite a read may begin again with lines that were passed.
                Ok(Examined { header, .. }) if header.id <= self.last_id => {}
                Ok(examined) => {
                    self.item = Some((examined.header.id, examined.header.offset));
                    self.examined = Some(examined);
                    break;
                }
                Err(error) => self.note_damage(&error),
            }
        }
        if self.damage.is_some() {
            self.place_damage();
        }
        Ok(())
    }

    #[cold]
    fn note_damage(&mut self, error: &LineError) {
        let position = self.lines.position();
        let bad = self.damage.get_or_insert_with(|| Bad { position, lines: 0, reason: error.to_string() });
        bad.lines += 1;
    }

    /// Makes the damage the current item, and the event that was found behind it the next one.
    #[cold]
    fn place_damage(&mut self) {
        self.behind = self.item.take();
        let right_behind = self.last_id.next().unwrap_or(EventId::MAX);
        // A line that never was an event may stand where no id is left.
        let id =
            if self.behind.is_some_and(|(id, _)| id <= right_behind) { self.last_id } else { right_behind };
        self.item = Some((id, self.behind.map_or(self.lane.end, |(_, offset)| offset)));
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
    fn examine(&mut self) -> Result<Examined, LineError> {
        let line = self.lines.current();
        let header = self.headers.read(line);
        let covered = match header {
            Some(_) if self.block != usize::MAX => line::covered(line)?,
            // What is passed over anyway.
            Some(header)
                if header.id < self.from && header.id > self.last_id && header.offset < self.lane.end =>
            {
                line
            }
            _ => line::verify(line)?,
        };
        match header {
            Some(header) => Ok(Examined { header, covered_len: covered.len() }),
            None => Err(EventLine::parse(line).err().unwrap_or(LineError::NoSeal)),
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

    /// The error that the current item is: damage, or an event whose message cannot be decoded, for this `reason`.
    #[cold]
    pub(super) fn damaged(&self, reason: Option<LineError>) -> ReadError {
        let next = self.item.and_then(|(id, _)| id.next());
        let (position, reason) = match (&self.damage, reason) {
            (Some(bad), _) => (bad.position, bad.reason.clone()),
            (None, Some(reason)) => (self.lines.position(), reason.to_string()),
            (None, None) => (self.lines.position(), "this is no event line".to_owned()),
        };
        damage(self.lane, position, self.last_id, reason, next)
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
