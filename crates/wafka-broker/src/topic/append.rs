//! Accepting an event: id, partition, offset and line in one step under the topic's lock.

use std::sync::Arc;

use wafka_core::partitioner::{Route, RouteRequest};
use wafka_core::{EventId, Fields, PartitionId};

use wafka_storage::LINE_BYTES_MAX;

use super::idempotence::{IID, Idempotent, PRODUCER};
use super::lane::{LaneState, Mark};
use super::{Lane, State, Topic, Trim, Uncommitted};
use crate::error::AppendError;
use crate::ticket::{Ticket, TicketKind};

/// The id asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdSpec {
    /// `*`: the clock, or the successor of the last id.
    Auto,
    /// `ms-*`: the next sequence number of that millisecond.
    AutoSeq {
        /// The millisecond.
        ms: u64,
    },
    /// `ms-seq`.
    Explicit(EventId),
}

/// An event to append.
#[derive(Clone, Copy, Debug)]
pub struct AppendRequest<'a> {
    /// Its id.
    pub id: IdSpec,
    /// The partition, when the producer chose one.
    pub partition: Option<PartitionId>,
    /// Its fields and values.
    pub fields: Fields<'a>,
    /// What to trim once it is visible.
    pub trim: Option<Trim>,
    /// Who sends it under which idempotence id; such an event is added once.
    pub idempotence: Option<Idempotent<'a>>,
    /// The wall clock, in milliseconds since 1970.
    pub now_ms: u64,
}

/// An event that was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Its id.
    pub id: EventId,
    /// Redeemed when the event is durable and visible, and what came with it is trimmed.
    pub ticket: Ticket,
    /// Whether a trimming came with it: [`Topic::trimming_ticket`] tells when that is durable.
    pub trims: bool,
    /// Whether it had been sent before: nothing was added, the id is that of the first.
    pub duplicate: bool,
}

/// Where an event goes.
#[derive(Clone, Copy)]
struct Destination {
    /// The index of its partition's lane.
    index: usize,
    /// Whether the cycle chose it: nobody had a preference.
    free: bool,
}

/// A batch that takes lines. No other batch of the topic has, or ever gets, its first dense number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenBatch {
    lane: u16,
    first_sequence: u64,
}

/// An event that the topic takes.
pub(super) enum Admitted {
    /// Under this id.
    New(EventId),
    /// It was sent before.
    Before(Appended),
}

impl Topic {
    /// Accepts an event: gives it its id, partition and offset and puts its line into the partition's next batch.
    /// Nothing is written yet: the caller says [`crate::Engine::kick`] and awaits [`Topic::committed`].
    ///
    /// # Errors
    /// When the event cannot be accepted; then nothing has changed.
    pub fn append(self: &Arc<Self>, request: &AppendRequest<'_>) -> Result<Appended, AppendError> {
        let mut state = self.state.lock();
        if request.partition.is_none() && state.strategy.is_guest() {
            return self.append_by_guest(state, request);
        }
        self.append_here(&mut state, request, None)
    }

    /// Accepts an event in one step. `route` is where it goes, where that is known.
    pub(super) fn append_here(
        self: &Arc<Self>,
        state: &mut State,
        request: &AppendRequest<'_>,
        route: Option<Route>,
    ) -> Result<Appended, AppendError> {
        let id = match self.admit(state, request)? {
            Admitted::Before(first) => return Ok(first),
            Admitted::New(id) => id,
        };
        let (cycle, unkeyed) = (state.cycle, state.unkeyed);
        let accepted = self.accept(state, id, request, route);
        if let Err(error) = &accepted {
            // What is refused takes no part in the cycle.
            (state.cycle, state.unkeyed) = (cycle, unkeyed);
            state.note_panic(error);
        }
        accepted
    }

    /// Whether the topic takes the event, wherever it goes.
    pub(super) fn admit(
        self: &Arc<Self>,
        state: &mut State,
        request: &AppendRequest<'_>,
    ) -> Result<Admitted, AppendError> {
        if self.is_absent() {
            return Err(AppendError::Deleted);
        }
        self.check_owned(true)?;
        if let Some(reason) = state.read_only.as_ref().or(state.held()) {
            return Err(AppendError::ReadOnly { topic: self.name.to_string(), reason: Arc::clone(reason) });
        }
        if let Some(event) = request.idempotence
            && let Some(first) = self.sent_before(state, event)?
        {
            return Ok(Admitted::Before(first));
        }
        next_id(state.last_id, request.id, request.now_ms).map(Admitted::New)
    }

    fn accept(
        self: &Arc<Self>,
        state: &mut State,
        id: EventId,
        request: &AppendRequest<'_>,
        route: Option<Route>,
    ) -> Result<Appended, AppendError> {
        let Destination { index, free } = self.destination(state, request, route)?;
        let lane = &state.lanes[index];
        if lane.pending.bytes.len() > self.limits.queue_bytes_max {
            return Err(AppendError::Overloaded {
                partition: PartitionId::from_index(index),
                limit: self.limits.queue_bytes_max,
            });
        }
        // The index of a lane fits: a partition number is a u16.
        let lane_number = u16::try_from(index).unwrap_or(u16::MAX);
        let sequence = state.last_sequence + 1;
        let event = Uncommitted { id, lane: lane_number, sequence };
        if request.trim.is_some() {
            self.check_journal(state)?;
        }
        let lane = &mut state.lanes[index];
        let offset = lane.next_offset;
        lane.push_line(id, sequence, request, self.limits.index_interval_bytes)?;
        self.brokers[lane.broker].count(&mut lane.pending);
        let ticket = Ticket { kind: TicketKind::Partition(lane_number), epoch: lane.epoch, sequence, id };
        if free {
            state.open = Some(OpenBatch { lane: lane_number, first_sequence: lane.pending.first_sequence });
        }
        if !lane.queued {
            lane.queued = true;
            self.brokers[lane.broker].enqueue(self, TicketKind::Partition(lane_number));
        }
        state.nodes.added(id, self.node_entries());
        state.last_id = id;
        state.last_sequence = sequence;
        state.uncommitted.push_back(event);
        if let Some(trim) = request.trim {
            state.trims.push_back((event, trim));
        }
        if let (Some(sent), Some(idempotence)) = (request.idempotence, &mut state.idempotence) {
            idempotence.note(sent, id, lane_number, offset);
            self.tell_idempotence(state);
        }
        Ok(Appended { id, ticket, trims: request.trim.is_some(), duplicate: false })
    }

    /// Where the event goes.
    fn destination(
        &self,
        state: &mut State,
        request: &AppendRequest<'_>,
        route: Option<Route>,
    ) -> Result<Destination, AppendError> {
        let partitions = state.partitions();
        let index = if let Some(id) = request.partition {
            self.lane_index(state, id).map_err(AppendError::NoSuchPartition)?
        } else {
            let route = match route {
                Some(route) => route,
                None => {
                    let to_route = self.route_request(state, request);
                    state.strategy.route_here(&to_route)?
                }
            };
            match route {
                Route::Partition(index) if index < partitions => usize::from(index),
                Route::Partition(index) => {
                    return Err(AppendError::BadRoute { topic: self.name.to_string(), index, partitions });
                }
                Route::Any => return self.next_in_cycle(state, partitions),
                Route::Unkeyed => {
                    state.unkeyed += 1;
                    return self.next_in_cycle(state, partitions);
                }
            }
        };
        match &state.lanes[index].state {
            LaneState::Online => Ok(Destination { index, free: false }),
            LaneState::Offline { reason, .. } => Err(self.offline(index, reason)),
        }
    }

    /// What a strategy is told.
    pub(super) fn route_request<'a>(
        &'a self,
        state: &State,
        request: &AppendRequest<'a>,
    ) -> RouteRequest<'a> {
        RouteRequest {
            topic: self.name.as_bytes(),
            fields: request.fields,
            partitions: state.partitions(),
            open: self.open_batch(state),
        }
    }

    /// The partition of the batch that the last free event went into, while that very batch takes lines and has room.
    /// A partition that fails loses its batch, so one that is offline has none.
    fn open_batch(&self, state: &State) -> Option<u16> {
        let open = state.open?;
        let pending = &state.lanes[usize::from(open.lane)].pending;
        let is_open = !pending.is_empty()
            && pending.first_sequence == open.first_sequence
            && pending.bytes.len() <= self.limits.queue_bytes_max;
        is_open.then_some(open.lane)
    }

    /// The next partition of the cycle that can be written to.
    fn next_in_cycle(&self, state: &mut State, partitions: u16) -> Result<Destination, AppendError> {
        for _ in 0..partitions {
            state.cycle = if state.cycle + 1 >= partitions { 0 } else { state.cycle + 1 };
            if state.lanes[usize::from(state.cycle)].is_online() {
                return Ok(Destination { index: usize::from(state.cycle), free: true });
            }
        }
        match &state.lanes[usize::from(state.cycle)].state {
            LaneState::Online => Ok(Destination { index: usize::from(state.cycle), free: true }),
            LaneState::Offline { reason, .. } => Err(self.offline(usize::from(state.cycle), reason)),
        }
    }

    pub(super) fn offline(&self, index: usize, reason: &Arc<str>) -> AppendError {
        AppendError::Offline {
            topic: self.name.to_string(),
            partition: PartitionId::from_index(index),
            reason: Arc::clone(reason),
        }
    }
}

impl Lane {
    /// Puts an event's line into the pending batch.
    fn push_line(
        &mut self,
        id: EventId,
        sequence: u64,
        request: &AppendRequest<'_>,
        index_interval: u64,
    ) -> Result<(), AppendError> {
        let pending = &mut self.pending;
        let at = pending.bytes.len();
        let (out, encoder) = (&mut pending.bytes, &mut self.encoder);
        match request.idempotence {
            None => encoder.encode(out, id, self.next_offset, &[], request.fields),
            Some(Idempotent { producer, iid }) => {
                let metadata = [(PRODUCER, producer), (IID, iid)];
                encoder.encode(out, id, self.next_offset, &metadata, request.fields);
            }
        }
        let len = (pending.bytes.len() - at) as u64;
        if len > LINE_BYTES_MAX {
            pending.bytes.truncate(at);
            return Err(AppendError::TooLarge { bytes: len, limit: LINE_BYTES_MAX });
        }
        if pending.lines == 0 {
            pending.first_offset = self.next_offset;
            pending.first_id = id;
            pending.first_sequence = sequence;
        }
        if self.since_mark >= index_interval {
            pending.marks.push(Mark { id, offset: self.next_offset, at });
            self.since_mark = 0;
        }
        self.since_mark = self.since_mark.saturating_add(len);
        pending.lines += 1;
        pending.last_id = id;
        pending.last_sequence = sequence;
        self.next_offset += 1;
        self.live += 1;
        Ok(())
    }
}

/// Redis's rules for the id of a new entry.
fn next_id(last: EventId, spec: IdSpec, now_ms: u64) -> Result<EventId, AppendError> {
    // Redis looks at exhaustion first, whatever id was asked for.
    if spec == IdSpec::Explicit(EventId::MIN) {
        return Err(AppendError::Zero);
    }
    if last == EventId::MAX {
        return Err(AppendError::Exhausted);
    }
    match spec {
        IdSpec::Auto => EventId::auto(last, now_ms).ok_or(AppendError::Exhausted),
        IdSpec::Explicit(id) if id > last => Ok(id),
        IdSpec::Explicit(_) => Err(AppendError::TooSmall),
        IdSpec::AutoSeq { ms } if ms > last.ms => Ok(EventId::new(ms, 0)),
        IdSpec::AutoSeq { ms } if ms == last.ms => match last.seq.checked_add(1) {
            Some(seq) => Ok(EventId::new(ms, seq)),
            None => Err(AppendError::TooSmall),
        },
        IdSpec::AutoSeq { .. } => Err(AppendError::TooSmall),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_redis() {
        let last = EventId::new(5, 3);
        assert_eq!(next_id(last, IdSpec::Auto, 9), Ok(EventId::new(9, 0)));
        assert_eq!(next_id(last, IdSpec::Auto, 2), Ok(EventId::new(5, 4)));
        assert_eq!(next_id(last, IdSpec::AutoSeq { ms: 5 }, 0), Ok(EventId::new(5, 4)));
        assert_eq!(next_id(last, IdSpec::AutoSeq { ms: 6 }, 0), Ok(EventId::new(6, 0)));
        assert_eq!(next_id(last, IdSpec::AutoSeq { ms: 4 }, 0), Err(AppendError::TooSmall));
        assert_eq!(next_id(last, IdSpec::Explicit(last), 0), Err(AppendError::TooSmall));
        assert_eq!(next_id(last, IdSpec::Explicit(EventId::MIN), 0), Err(AppendError::Zero));
        assert_eq!(next_id(EventId::MIN, IdSpec::AutoSeq { ms: 0 }, 0), Ok(EventId::new(0, 1)));
        assert_eq!(next_id(EventId::MAX, IdSpec::Auto, 0), Err(AppendError::Exhausted));
        let full = EventId::new(5, u64::MAX);
        assert_eq!(next_id(full, IdSpec::AutoSeq { ms: 5 }, 0), Err(AppendError::TooSmall));
    }
}
