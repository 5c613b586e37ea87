//! Reading a topic: its partitions merged by id, or one of them alone.
//!
//! A read takes a snapshot under the topic's lock (what is visible, what is trimmed and deleted, where the partitions
//! end) and works on it without the lock. Lines come from the tail in memory when it reaches far enough back, else
//! from the file. Every line is verified before it is handed out.

use std::ops::ControlFlow;

use wafka_core::{EventId, PartitionId};
pub use wafka_storage::line::DecodedFields as EntryFields;
use wafka_storage::line::{EventLine, FieldBuf};

use super::Topic;
use super::forward::Merge;
use super::read_back::Backward;
use super::view::View;
use crate::error::ReadError;

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

impl Topic {
    pub(super) fn view(&self, range: &ReadRange) -> Result<View, ReadError> {
        self.check_readable()?;
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
        if lane.is_damage() {
            return Err(lane.damaged(None));
        }
        if view.is_live(id) {
            match lane.fields(&mut fields) {
                Ok(fields) if sink.entry(id, &fields).is_break() => break,
                Ok(_) => left -= 1,
                Err(error) => return Err(lane.damaged(Some(error))),
            }
        }
        merge.advance(at)?;
    }
    merge.learn();
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
            match EventLine::parse(lane.line()).and_then(|event| event.fields(&mut fields)) {
                Ok(fields) if sink.entry(id, &fields).is_break() => break,
                Ok(_) => left -= 1,
                Err(error) => return Err(lane.damaged(error.to_string())),
            }
        }
        lane.advance()?;
    }
    Ok(())
}
