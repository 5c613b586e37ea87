//! What a read sees of a topic: a snapshot taken under its lock.

use std::sync::Arc;

use wafka_core::storage::{LogName, LogReader};
use wafka_core::{EventId, Offset};

use super::deletions::Deletions;
use super::forward::{CHUNK_MIN, Forward, Merge};
use super::read::ReadRange;
use super::{Lane, State};
use crate::error::ReadError;
use crate::index::SparseIndex;
use crate::tail::Block;

/// A partition as a read sees it.
pub(crate) struct LaneView {
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

/// One of the oldest live events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OldEvent {
    pub(crate) id: EventId,
    /// The index of its partition.
    pub(crate) lane: u16,
    pub(crate) offset: Offset,
    /// How many events were added to the topic before it.
    pub(crate) ordinal: u64,
}

/// A snapshot of a topic to read from.
pub(crate) struct View {
    pub(super) lanes: Vec<LaneView>,
    pub(super) visible: EventId,
    pub(super) floor: EventId,
    pub(super) deletions: Arc<Deletions>,
}

impl View {
    pub(super) fn of(state: &State, range: &ReadRange, lanes: impl Iterator<Item = usize>) -> Self {
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

    /// Everything visible of a topic, from the tails where they hold it.
    pub(crate) fn of_topic(state: &State) -> Self {
        let from = state.floor.next().unwrap_or(EventId::MAX);
        let range = ReadRange { from, to: EventId::MAX, count: None, reverse: false, partition: None };
        Self::of(state, &range, 0..state.lanes.len())
    }

    /// Everything visible above `id`.
    pub(super) fn above(state: &State, id: EventId) -> Self {
        let from = id.next().unwrap_or(EventId::MAX);
        let range = ReadRange { from, to: EventId::MAX, count: None, reverse: false, partition: None };
        let view = Self::of(state, &range, 0..state.lanes.len());
        View { floor: view.floor.max(id), ..view }
    }

    pub(super) fn is_live(&self, id: EventId) -> bool {
        id > self.floor && !self.deletions.contains(id)
    }

    /// The `count` oldest live events.
    pub(crate) fn oldest(&self, count: usize) -> Result<Vec<OldEvent>, ReadError> {
        Ok(self.oldest_within(count, usize::MAX)?.0)
    }

    /// As [`View::oldest`], among the first `lines`; and the id of the last line that was looked at, `None` when there
    /// are no more.
    pub(super) fn oldest_within(
        &self,
        count: usize,
        lines: usize,
    ) -> Result<(Vec<OldEvent>, Option<EventId>), ReadError> {
        let (mut found, mut looked_at) = (Vec::new(), None);
        let from = self.floor.next().unwrap_or(EventId::MAX);
        let mut merge = Merge::new(self, from, Some(count as u64))?;
        for _ in 0..lines {
            if found.len() == count {
                return Ok((found, looked_at));
            }
            let Some((at, id)) = merge.lowest().filter(|(_, id)| *id <= self.visible) else {
                return Ok((found, None));
            };
            looked_at = Some(id);
            // A damaged line whose id cannot be read is left where it is.
            if self.is_live(id) && merge.lanes[at].damaged_lines() == 0 {
                let offset = merge.offset(at);
                let ordinal = (0..self.lanes.len()).map(|at| merge.offset(at)).sum();
                found.push(OldEvent { id, lane: self.lanes[at].number, offset, ordinal });
            }
            merge.advance(at)?;
        }
        Ok((found, looked_at))
    }

    /// How many live events lie at or below `id`, by partition, counted one by one.
    pub(crate) fn count_up_to(&self, id: EventId) -> Result<Vec<u64>, ReadError> {
        let from = self.floor.next().unwrap_or(EventId::MAX);
        let up_to = id.min(self.visible);
        let mut counts = Vec::with_capacity(self.lanes.len());
        for lane in &self.lanes {
            let mut forward = Forward::new(lane, from, None)?;
            let mut count = 0;
            while let Some((found, _)) = forward.item().filter(|(found, _)| *found <= up_to) {
                // Each damaged line counts as an event, as it does where lines are counted.
                count += match forward.damaged_lines() {
                    0 => u64::from(self.is_live(found)),
                    damaged => damaged,
                };
                forward.advance()?;
            }
            counts.push(count);
        }
        Ok(counts)
    }
}

impl LaneView {
    /// The offset of the first committed line above `id`; the end when there is none.
    pub(super) fn first_above(&self, id: EventId) -> Result<Offset, ReadError> {
        let Some(above) = id.next() else { return Ok(self.end) };
        let forward = Forward::at(self, self.seek(id)?.cursor, above, CHUNK_MIN)?;
        Ok(forward.item().map_or(self.end, |(_, offset)| offset))
    }
}

impl Lane {
    /// Whether the tail holds every event of the partition from `id` on.
    pub(super) fn covers(&self, id: EventId) -> bool {
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
        self.rank_view(0).rank(id)
    }

    /// The committed lines, to be counted without the lock. Not while a rewrite takes the log's place.
    pub(crate) fn rank_view(&self, number: usize) -> RankView {
        let generation = self.reader.generation();
        RankView { view: self.file_view(number), lines: self.lines, last_id: self.last_id, generation }
    }

    /// The committed lines of the file alone, to be read without the lock.
    pub(super) fn file_view(&self, number: usize) -> LaneView {
        self.view(number, Vec::new())
    }
}

/// The committed lines of a partition, to be counted.
pub(crate) struct RankView {
    view: LaneView,
    lines: u64,
    last_id: EventId,
    generation: u32,
}

impl RankView {
    /// How many lines have an id at or below `id`.
    pub(crate) fn rank(&self, id: EventId) -> Result<u64, ReadError> {
        if self.lines == 0 || id >= self.last_id {
            return Ok(self.lines);
        }
        let start = self.view.seek(id)?;
        if let Some(rank) = self.view.rank_by_offset(id, &start)? {
            return Ok(rank);
        }
        let mut rank = start.ordinal;
        let mut forward = Forward::at(&self.view, start.cursor, EventId::MIN, CHUNK_MIN)?;
        while forward.item().is_some_and(|(found, _)| found <= id) {
            rank += forward.damaged_lines().max(1);
            forward.advance()?;
        }
        Ok(rank)
    }

    /// Whether the log was not rewritten since the view was taken: else what was counted does not add up.
    pub(crate) fn is_current(&self) -> bool {
        self.view.reader.generation() == self.generation
    }
}
