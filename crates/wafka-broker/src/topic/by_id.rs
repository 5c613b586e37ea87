//! Reading single events by their ids: what a group has pending.

use std::ops::ControlFlow;

use wafka_core::{EventId, Offset};
use wafka_storage::line::FieldBuf;

use super::Topic;
use super::forward::{Forward, Merge};
use super::read::{EntrySink, ReadRange};
use super::view::View;
use crate::error::ReadError;

/// Up to so many events of each partition are passed over on the way to the next id; beyond it a search is cheaper.
const SKIP_MAX: usize = 64;

/// Takes the events of a read by ids, one by one, in the order of the ids.
pub trait IdSink: EntrySink {
    /// There is no such event, or no more.
    fn gone(&mut self, id: EventId) -> ControlFlow<()>;
}

/// Takes what was found, id by id.
type Visit<'e> = dyn FnMut(EventId, Found<'_, '_>) -> Result<ControlFlow<()>, ReadError> + 'e;

/// What stands where an id should be.
enum Found<'f, 'v> {
    Event {
        lane: u16,
        forward: &'f Forward<'v>,
    },
    Gone,
    /// Gone, and not because it was deleted or trimmed: it was lost with the power before it was synced.
    Lost,
}

impl Topic {
    /// Hands the events of `ids` to `sink`, and says of each that is not there that it is gone. Any order will do;
    /// ascending ids are read in one go where they are near each other.
    ///
    /// # Errors
    /// When an event may be among damaged lines, or the backend fails. What was handed out before is right.
    pub fn read_ids<S: IdSink>(&self, ids: &[EventId], sink: &mut S) -> Result<(), ReadError> {
        self.read_each(ids, sink, true)
    }

    /// As [`Topic::read_ids`], but never waits for a disk.
    ///
    /// # Errors
    /// As [`Topic::read_ids`]; [`ReadError::WouldWait`] when not all is in memory: what was handed out before is right,
    /// and may end anywhere.
    pub fn read_ids_ready<S: IdSink>(&self, ids: &[EventId], sink: &mut S) -> Result<(), ReadError> {
        self.read_each(ids, sink, false)
    }

    fn read_each<S: IdSink>(&self, ids: &[EventId], sink: &mut S, may_wait: bool) -> Result<(), ReadError> {
        let mut fields = FieldBuf::new();
        let mut lost = Vec::new();
        let result = self.visit(ids, may_wait, &mut |id, found| match found {
            Found::Event { forward, .. } => {
                let decoded = forward.fields(&mut fields);
                let handed = decoded.map(|fields| sink.entry(id, &fields));
                handed.map_err(|error| forward.damaged(Some(error)))
            }
            Found::Gone => Ok(sink.gone(id)),
            Found::Lost => {
                lost.push(id);
                Ok(sink.gone(id))
            }
        });
        if !lost.is_empty() {
            let mut state = self.state.lock();
            lost.into_iter().for_each(|id| state.groups.mark_gone(id));
        }
        result
    }

    /// Where the events of `ids` stand: the index of the partition and the offset. Those that are not there are left out.
    pub(crate) fn locate(&self, ids: &[EventId]) -> Result<Vec<(EventId, u16, Offset)>, ReadError> {
        let mut places = Vec::with_capacity(ids.len());
        self.visit(ids, true, &mut |id, found| {
            if let Found::Event { lane, forward } = found
                && let Some((_, offset)) = forward.item()
            {
                places.push((id, lane, offset));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(places)
    }

    /// Looks every id up, in their order.
    fn visit(&self, ids: &[EventId], may_wait: bool, each: &mut Visit<'_>) -> Result<(), ReadError> {
        let mut rest = ids;
        while let Some(first) = rest.first() {
            let count = Some(rest.len() as u64);
            let range = ReadRange { from: *first, to: EventId::MAX, count, reverse: false, partition: None };
            let mut view = self.view(&range)?;
            for lane in &mut view.lanes {
                lane.may_wait = may_wait;
            }
            let (done, flow) = visit_view(&view, rest, each)?;
            if flow.is_break() {
                return Ok(());
            }
            rest = &rest[done..];
        }
        Ok(())
    }
}

/// Looks ids up, at least the first, as long as it is cheaper to go on than to search; returns how many that were.
fn visit_view(
    view: &View,
    ids: &[EventId],
    each: &mut Visit<'_>,
) -> Result<(usize, ControlFlow<()>), ReadError> {
    let mut merge = Merge::new(view, ids[0], Some(ids.len() as u64))?;
    let horizon = horizon(view);
    let skips_max = SKIP_MAX * view.lanes.len();
    for (done, &id) in ids.iter().enumerate() {
        if done > 0 && (id <= ids[done - 1] || id > horizon) {
            return Ok((done, ControlFlow::Continue(())));
        }
        let flow = if id > view.visible || !view.is_live(id) {
            each(id, Found::Gone)?
        } else {
            let mut skips = 0;
            while let Some((at, _)) = merge.lowest().filter(|(_, lowest)| *lowest < id) {
                merge.advance(at)?;
                skips += 1;
                if done > 0 && skips > skips_max {
                    return Ok((done, ControlFlow::Continue(())));
                }
            }
            match merge.lowest() {
                Some((at, lowest)) if lowest == id && !merge.lanes[at].is_damage() => {
                    each(id, Found::Event { lane: view.lanes[at].number, forward: &merge.lanes[at] })?
                }
                Some((at, lowest)) if lowest == id => return Err(merge.lanes[at].damaged(None)),
                _ => match merge.lanes.iter_mut().find_map(Forward::lost_before) {
                    Some(error) => return Err(error),
                    None => each(id, Found::Lost)?,
                },
            }
        };
        if flow.is_break() {
            return Ok((done + 1, flow));
        }
    }
    Ok((ids.len(), ControlFlow::Continue(())))
}

/// Up to which id the view shows everything: the blocks of the tail that it took may end before the partition does.
fn horizon(view: &View) -> EventId {
    let cut = view.lanes.iter().filter_map(|lane| {
        let last = lane.blocks.last()?;
        (last.first_offset + last.lines < lane.end).then_some(last.last_id)
    });
    cut.min().unwrap_or(EventId::MAX)
}
