//! Reading a topic: its partitions merged by id, or one of them alone.
//!
//! A read takes a snapshot under the topic's lock (what is visible, what is trimmed and deleted, where the partitions
//! end) and works on it without the lock. Lines come from the tail in memory when it reaches far enough back, else
//! from the file. Every line is verified before it is handed out.

use std::ops::ControlFlow;
use std::sync::Arc;

use wafka_core::storage::{Cursor, LogName, LogReader};
use wafka_core::{EventId, Offset, PartitionId};
pub use wafka_storage::line::DecodedFields as EntryFields;
use wafka_storage::line::{self, EventHeader, FieldBuf};

use super::deletions::Deletions;
use super::read_back::Backward;
use super::{Lane, State, Topic, Uncommitted};
use crate::error::ReadError;
use crate::index::SparseIndex;
use crate::lines::Lines;
use crate::tail::Block;

/// The most that is read from a file at once, in bytes.
const CHUNK_MAX: usize = 256 << 10;
/// The least that is read from a file at once, in bytes: about what lies between two entries of the index.
const CHUNK_MIN: usize = 8 << 10;

/// What to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadRange {
    /// The lowest id.
    pub from: EventId,
    /// The highest id.
    pub to: EventId,
    /// At most so many events.
    pub count: Option<u64>,
    /// Newest first.
    pub reverse: bool,
    /// One partition alone.
    pub partition: Option<PartitionId>,
}

impl ReadRange {
    /// Everything above `id`, oldest first, at most `count` events: what `XREAD` asks for.
    #[must_use]
    pub fn after(id: EventId, count: Option<u64>, partition: Option<PartitionId>) -> Option<Self> {
        id.next().map(|from| ReadRange { from, to: EventId::MAX, count, reverse: false, partition })
    }
}

/// Takes the events of a read, one by one.
pub trait EntrySink {
    /// One event. [`ControlFlow::Break`] ends the read.
    fn entry(&mut self, id: EventId, fields: &EntryFields<'_>) -> ControlFlow<()>;
}

/// A partition as a read sees it.
pub(super) struct LaneView {
    pub(super) number: u16,
    pub(super) log: LogName,
    pub(super) reader: Arc<dyn LogReader>,
    pub(super) index: Arc<SparseIndex>,
    /// The offset behind the last event that is committed.
    pub(super) end: Offset,
    /// Blocks of the tail that the read can begin in.
    pub(super) blocks: Vec<Arc<Block>>,
    /// Whether the read begins behind the last event.
    pub(super) is_past: bool,
    /// Average length of a line, in bytes.
    pub(super) line_bytes: u64,
    /// Whether the read may wait for a disk.
    pub(super) may_wait: bool,
}

/// A snapshot of a topic to read from.
pub(super) struct View {
    pub(super) lanes: Vec<LaneView>,
    pub(super) visible: EventId,
    pub(super) floor: EventId,
    pub(super) deletions: Arc<Deletions>,
}

impl View {
    fn of(state: &State, range: &ReadRange, lanes: impl Iterator<Item = usize>) -> Self {
        // Deleted events still stand in the blocks: as many lines may be passed over.
        let dead = state.deletions.len() as u64;
        let count = range.count.unwrap_or(u64::MAX).saturating_add(dead);
        let from = range.from.max(state.floor);
        let lanes = lanes
            .map(|number| {
                let lane = &state.lanes[number];
                if range.reverse {
                    return lane.view(number, lane.tail.up_to(range.to, count));
                }
                if !lane.covers(from) {
                    return lane.view(number, Vec::new());
                }
                let blocks = lane.tail.from(from, count);
                // The tail holds all there is from here on: when that is nothing, the file has nothing either.
                LaneView { is_past: blocks.is_empty(), ..lane.view(number, blocks) }
            })
            .collect();
        // One partition alone is visible as far as it is committed itself: its end is a snapshot already.
        let visible = if range.partition.is_some() { EventId::MAX } else { state.visible_id };
        View { lanes, visible, floor: state.floor, deletions: Arc::clone(&state.deletions) }
    }

    /// Everything visible of a topic, from files alone.
    pub(super) fn of_topic(state: &State) -> Self {
        let from = state.floor.next().unwrap_or(EventId::MAX);
        let range = ReadRange { from, to: EventId::MAX, count: None, reverse: false, partition: None };
        Self::of(state, &range, 0..state.lanes.len())
    }

    fn is_live(&self, id: EventId) -> bool {
        id > self.floor && !self.deletions.contains(id)
    }

    /// The `count` oldest live events.
    pub(super) fn oldest(&self, count: usize) -> Result<Vec<Uncommitted>, ReadError> {
        let mut found = Vec::new();
        let from = self.floor.next().unwrap_or(EventId::MAX);
        let mut merge = Merge::new(self, from, Some(count as u64))?;
        while found.len() < count {
            let Some((at, id)) = merge.lowest() else { break };
            if id > self.visible {
                break;
            }
            // A damaged line whose id cannot be read is left where it is.
            if self.is_live(id) && merge.lanes[at].damage.is_none() {
                found.push(Uncommitted { id, lane: self.lanes[at].number, sequence: 0 });
            }
            merge.advance(at)?;
        }
        Ok(found)
    }

    /// Where the event `id` stands: the index of its partition and its offset. `None` when there is no such event.
    pub(super) fn find(&self, id: EventId) -> Result<Option<(u16, Offset)>, ReadError> {
        if id > self.visible || !self.is_live(id) {
            return Ok(None);
        }
        for lane in &self.lanes {
            let mut forward = Forward::new(lane, id, Some(1))?;
            if forward.damage.is_some() {
                forward.advance()?;
            }
            if let Some((found, offset)) = forward.item()
                && found == id
            {
                return Ok(Some((lane.number, offset)));
            }
        }
        Ok(None)
    }
}

impl Lane {
    /// Whether the tail holds every event of the partition from `id` on.
    fn covers(&self, id: EventId) -> bool {
        match self.tail.first_id() {
            None => self.lines == 0 || self.last_id < id,
            Some(first) => first <= id || self.tail.lines() == self.lines,
        }
    }

    fn view(&self, number: usize, blocks: Vec<Arc<Block>>) -> LaneView {
        LaneView {
            number: u16::try_from(number).unwrap_or(u16::MAX),
            log: self.log.clone(),
            reader: Arc::clone(&self.reader),
            index: Arc::clone(&self.index),
            end: self.end.offset,
            blocks,
            is_past: false,
            may_wait: true,
            line_bytes: self.reader.size_bytes().checked_div(self.lines).unwrap_or(255) + 1,
        }
    }

    /// How many committed lines of the log have an id at or below `id`.
    pub(super) fn rank(&self, id: EventId) -> Result<u64, ReadError> {
        if self.lines == 0 || id >= self.last_id {
            return Ok(self.lines);
        }
        let (start, mut rank) = self.index.seek(id).unwrap_or((self.start(), 0));
        let view = self.view(0, Vec::new());
        let mut forward = Forward::at(&view, start, EventId::MIN, CHUNK_MIN)?;
        while forward.item().is_some_and(|(found, _)| found <= id) {
            rank += forward.damage.as_ref().map_or(1, |bad| bad.lines);
            forward.advance()?;
        }
        Ok(rank)
    }

    /// The offset of the first committed line above `id`; the end when there is none.
    pub(super) fn first_above(&self, id: EventId) -> Result<Offset, ReadError> {
        let Some(above) = id.next() else { return Ok(self.end.offset) };
        let view = self.view(0, Vec::new());
        let (start, _) = self.index.seek(id).unwrap_or((self.start(), 0));
        let forward = Forward::at(&view, start, above, CHUNK_MIN)?;
        Ok(forward.item().map_or(self.end.offset, |(_, offset)| offset))
    }

    /// The beginning of the log.
    fn start(&self) -> Cursor {
        Cursor { offset: 0, position: 0, generation: self.reader.generation() }
    }
}

impl Topic {
    fn view(&self, range: &ReadRange) -> Result<View, ReadError> {
        let state = self.state.lock();
        Ok(match range.partition {
            None => View::of(&state, range, 0..state.lanes.len()),
            Some(id) => {
                let index = self.lane_index(&state, id).map_err(ReadError::NoSuchPartition)?;
                View::of(&state, range, std::iter::once(index))
            }
        })
    }

    /// Whether a read is served from memory alone, and so never waits for a disk.
    #[must_use]
    pub fn in_memory(&self, range: &ReadRange) -> bool {
        let state = self.state.lock();
        let from = range.from.max(state.floor);
        let chosen = range.partition.map(PartitionId::index);
        let mut lanes = state.lanes.iter().enumerate().filter(|(at, _)| chosen.is_none_or(|c| c == *at));
        if range.reverse {
            let count = range.count.unwrap_or(u64::MAX);
            let dead = state.deletions.len() as u64;
            lanes.all(|(_, lane)| {
                lane.covers(from)
                    || (range.to >= lane.last_id && lane.tail.lines() > count.saturating_add(dead))
            })
        } else {
            lanes.all(|(_, lane)| lane.covers(from))
        }
    }

    /// Hands the events of a range to `sink`, in order.
    ///
    /// # Errors
    /// When the range comes to a damaged line, or the backend fails. What was handed out before is right.
    pub fn read<S: EntrySink>(&self, range: &ReadRange, sink: &mut S) -> Result<(), ReadError> {
        self.read_view(range, sink, true)
    }

    /// As [`Topic::read`] for a range that is not reversed, but never waits for a disk.
    ///
    /// # Errors
    /// As [`Topic::read`]; [`ReadError::WouldWait`] when not all is in memory: what was handed out before is right, and
    /// may end anywhere.
    pub fn read_ready<S: EntrySink>(&self, range: &ReadRange, sink: &mut S) -> Result<(), ReadError> {
        if range.reverse {
            return Err(ReadError::WouldWait);
        }
        self.read_view(range, sink, false)
    }

    fn read_view<S: EntrySink>(
        &self,
        range: &ReadRange,
        sink: &mut S,
        may_wait: bool,
    ) -> Result<(), ReadError> {
        if range.count == Some(0) || range.from > range.to {
            return Ok(());
        }
        let mut view = self.view(range)?;
        for lane in &mut view.lanes {
            lane.may_wait = may_wait;
        }
        if range.reverse { read_backward(&view, range, sink) } else { read_forward(&view, range, sink) }
    }

    /// Where the event `id` stands, if it is visible.
    pub(super) fn find(state: &State, id: EventId) -> Result<Option<(u16, Offset)>, ReadError> {
        let range = ReadRange { from: id, to: id, count: Some(1), reverse: false, partition: None };
        View::of(state, &range, 0..state.lanes.len()).find(id)
    }
}

fn read_forward<S: EntrySink>(view: &View, range: &ReadRange, sink: &mut S) -> Result<(), ReadError> {
    let to = range.to.min(view.visible);
    let from = match view.floor.next() {
        Some(above_floor) => range.from.max(above_floor),
        None => return Ok(()),
    };
    let mut merge = Merge::new(view, from, range.count)?;
    let mut left = range.count.unwrap_or(u64::MAX);
    let mut fields = FieldBuf::new();
    while left > 0 {
        let Some((at, id)) = merge.lowest() else { break };
        if id > to {
            break;
        }
        let lane = &merge.lanes[at];
        lane.check_damage()?;
        if view.is_live(id) {
            if hand_out(lane.header(), lane.line(), &mut fields, sink)
                .map_err(|reason| lane.damaged(reason))?
                .is_break()
            {
                break;
            }
            left -= 1;
        }
        merge.advance(at)?;
    }
    Ok(())
}

fn read_backward<S: EntrySink>(view: &View, range: &ReadRange, sink: &mut S) -> Result<(), ReadError> {
    let from = match view.floor.next() {
        Some(above_floor) => range.from.max(above_floor),
        None => return Ok(()),
    };
    let to = range.to.min(view.visible);
    let mut lanes =
        view.lanes.iter().map(|lane| Backward::new(lane, to)).collect::<Result<Vec<_>, ReadError>>()?;
    let mut left = range.count.unwrap_or(u64::MAX);
    let mut fields = FieldBuf::new();
    while left > 0 {
        let next = |(at, lane): (usize, &Backward<'_>)| Some((lane.id()?, !lane.is_damage(), at));
        let Some((id, _, at)) = lanes.iter().enumerate().filter_map(next).max() else { break };
        if id < from {
            break;
        }
        let lane = &mut lanes[at];
        lane.check_damage()?;
        if view.is_live(id) {
            if hand_out(EventHeader::read(lane.line()), lane.line(), &mut fields, sink)
                .map_err(|reason| lane.damaged(reason))?
                .is_break()
            {
                break;
            }
            left -= 1;
        }
        lane.advance()?;
    }
    Ok(())
}

/// Verifies a line, decodes it, hands it out.
fn hand_out<S: EntrySink>(
    header: Option<EventHeader>,
    line: &[u8],
    fields: &mut FieldBuf,
    sink: &mut S,
) -> Result<ControlFlow<()>, String> {
    let header = header.ok_or("this is no event line")?;
    let event = header.verify(line).map_err(|error| error.to_string())?;
    let decoded = event.fields(fields).map_err(|error| error.to_string())?;
    Ok(sink.entry(event.id, &decoded))
}

/// The partitions of a view, each at its next event.
struct Merge<'v> {
    lanes: Vec<Forward<'v>>,
}

impl<'v> Merge<'v> {
    fn new(view: &'v View, from: EventId, count: Option<u64>) -> Result<Self, ReadError> {
        let share = count.map(|count| count / view.lanes.len().max(1) as u64 + 1);
        let lanes = view.lanes.iter().map(|lane| Forward::new(lane, from, share));
        Ok(Merge { lanes: lanes.collect::<Result<_, _>>()? })
    }

    /// The lane with the lowest id, and the id.
    fn lowest(&self) -> Option<(usize, EventId)> {
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

    fn advance(&mut self, at: usize) -> Result<(), ReadError> {
        self.lanes[at].advance()
    }
}

/// Walks one partition forward.
struct Forward<'v> {
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
    fn new(lane: &'v LaneView, from: EventId, count: Option<u64>) -> Result<Self, ReadError> {
        let wanted =
            count.map_or(u64::MAX, |count| count.saturating_mul(lane.line_bytes + lane.line_bytes / 16));
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
    fn at(lane: &'v LaneView, start: Cursor, from: EventId, chunk_bytes: usize) -> Result<Self, ReadError> {
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

    fn item(&self) -> Option<(EventId, Offset)> {
        self.item
    }

    fn header(&self) -> Option<EventHeader> {
        self.header.clone()
    }

    fn line(&self) -> &[u8] {
        self.lines.current()
    }

    /// Moves to the next event, or damage.
    fn advance(&mut self) -> Result<(), ReadError> {
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
        Ok(chunk.next != before && !self.lines.is_empty())
    }

    /// An error when the current item is damage.
    fn check_damage(&self) -> Result<(), ReadError> {
        let Some(bad) = &self.damage else { return Ok(()) };
        let next = self.item.and_then(|(id, _)| id.next());
        Err(damage(self.lane, bad.position, self.last_id, bad.reason.clone(), next))
    }

    /// The current line, which looked like an event, fails its check.
    fn damaged(&self, reason: String) -> ReadError {
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
