//! Deleting events with an eye to the groups that have them pending: `XDELEX`, `XACKDEL`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wafka_core::{EventId, Offset};

use crate::error::ReadError;
use crate::ticket::Ticket;
use crate::topic::{Ack, GroupRecord, State, Topic, Unreference};

/// What becomes of groups that have a deleted event pending.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RefPolicy {
    /// They keep it (`KEEPREF`).
    #[default]
    Keep,
    /// It is pending no more (`DELREF`).
    Delete,
    /// An event that some group has pending, or has still to read, is not deleted (`ACKED`).
    Acked,
}

/// What became of an event that was to be deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeleteOutcome {
    /// There is no such event; or it was not pending where it had to be.
    Missing,
    /// It is deleted.
    Deleted,
    /// It was gone already, and is acknowledged now.
    Gone,
    /// It stays: a group still refers to it.
    Referenced,
}

/// Events that are about to be deleted, by id, and where they stand.
type Places = BTreeMap<EventId, (u16, Offset)>;

/// What a command that deletes did.
#[derive(Default)]
struct Effects {
    outcomes: Vec<DeleteOutcome>,
    acked: Vec<EventId>,
    deleted: Vec<(EventId, u16, Offset)>,
    unreferenced: Vec<EventId>,
}

impl Topic {
    /// Deletes single events (`XDEL`): returns how many there were, and the ticket of the deletion's durability. Groups
    /// keep them pending.
    ///
    /// # Errors
    /// When the topic cannot be read or written; then nothing has changed.
    pub fn delete_events(self: &Arc<Self>, ids: &[EventId]) -> Result<(u64, Option<Ticket>), ReadError> {
        let (outcomes, ticket) = self.delete_events_with(ids, RefPolicy::Keep)?;
        let deleted = outcomes.iter().filter(|outcome| **outcome == DeleteOutcome::Deleted).count();
        Ok((deleted as u64, ticket))
    }

    /// Deletes single events (`XDELEX`): what became of each.
    ///
    /// # Errors
    /// When the topic cannot be read or written; then nothing has changed.
    pub fn delete_events_with(
        self: &Arc<Self>,
        ids: &[EventId],
        policy: RefPolicy,
    ) -> Result<(Vec<DeleteOutcome>, Option<Ticket>), ReadError> {
        self.deleting(ids, |state, places| {
            let mut effects = Effects::default();
            for &id in ids {
                let outcome = match places.get(&id).copied() {
                    _ if policy == RefPolicy::Acked && state.groups.references(id) => {
                        DeleteOutcome::Referenced
                    }
                    Some(place) => {
                        effects.delete(state, places, id, place, policy);
                        DeleteOutcome::Deleted
                    }
                    None => {
                        // What is pending of an event that is gone already goes too.
                        effects.unreference(state, id, policy);
                        DeleteOutcome::Missing
                    }
                };
                effects.outcomes.push(outcome);
            }
            (effects, &[])
        })
    }

    /// Acknowledges entries and deletes their events (`XACKDEL`): what became of each. Without such a group all are
    /// missing.
    ///
    /// # Errors
    /// When the topic cannot be read or written; then nothing has changed.
    pub fn ack_delete(
        self: &Arc<Self>,
        group: &[u8],
        ids: &[EventId],
        policy: RefPolicy,
    ) -> Result<(Vec<DeleteOutcome>, Option<Ticket>), ReadError> {
        self.deleting(ids, |state, places| {
            let mut effects = Effects::default();
            for &id in ids {
                let acked = state.groups.get_mut(group).is_some_and(|found| found.remove(id));
                if acked {
                    effects.acked.push(id);
                }
                let outcome = if !acked {
                    DeleteOutcome::Missing
                } else if policy == RefPolicy::Acked && state.groups.references(id) {
                    DeleteOutcome::Referenced
                } else {
                    match places.get(&id).copied() {
                        Some(place) => {
                            effects.delete(state, places, id, place, policy);
                            DeleteOutcome::Deleted
                        }
                        // What other groups have pending of it goes too.
                        None => {
                            effects.unreference(state, id, policy);
                            DeleteOutcome::Gone
                        }
                    }
                };
                effects.outcomes.push(outcome);
            }
            (effects, group)
        })
    }

    /// Looks the events up without the lock, then does `work` under it and journals its effects.
    fn deleting<'g>(
        self: &Arc<Self>,
        ids: &[EventId],
        work: impl Fn(&mut State, &mut Places) -> (Effects, &'g [u8]),
    ) -> Result<(Vec<DeleteOutcome>, Option<Ticket>), ReadError> {
        let unique: Vec<EventId> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        loop {
            let forgotten = {
                let state = self.state.lock();
                self.check_journal(&state)?;
                state.deletions_forgotten
            };
            let found = self.locate(&unique)?;
            let mut guard = self.state.lock();
            let state = &mut *guard;
            self.check_journal(state)?;
            if state.deletions_forgotten != forgotten {
                // What was found may have been deleted, and that forgotten.
                continue;
            }
            let is_live = |id: EventId| id > state.floor && !state.deletions.contains(id);
            let mut places: Places = found
                .into_iter()
                .filter(|(id, ..)| is_live(*id))
                .map(|(id, lane, offset)| (id, (lane, offset)))
                .collect();
            let (effects, group) = work(state, &mut places);
            let ticket = self.note_effects(state, &effects, group);
            return Ok((effects.outcomes, ticket));
        }
    }

    fn note_effects(self: &Arc<Self>, state: &mut State, effects: &Effects, group: &[u8]) -> Option<Ticket> {
        let acked =
            self.note_ids(state, &effects.acked, |ids| GroupRecord::Ack(Ack { group: group.into(), ids }));
        let deleted = self.note_deleted(state, &effects.deleted, false);
        let unreferenced =
            self.note_ids(state, &effects.unreferenced, |ids| GroupRecord::Unreference(Unreference { ids }));
        unreferenced.or(deleted).or(acked)
    }

    /// The events above `from` and up to `to` are about to be trimmed: they are pending no more, in any group. Those that
    /// were deleted before stay as they were.
    pub(crate) fn unreference_between(self: &Arc<Self>, state: &mut State, from: EventId, to: EventId) {
        let referenced = state.groups.pending_between(from, to);
        for id in &referenced {
            state.groups.unreference(*id);
        }
        self.note_ids(state, &referenced, |ids| GroupRecord::Unreference(Unreference { ids }));
    }
}

impl Effects {
    fn delete(
        &mut self,
        state: &mut State,
        places: &mut Places,
        id: EventId,
        (lane, offset): (u16, Offset),
        policy: RefPolicy,
    ) {
        places.remove(&id);
        state.delete_event(id, lane, offset);
        self.deleted.push((id, lane, offset));
        self.unreference(state, id, policy);
    }

    fn unreference(&mut self, state: &mut State, id: EventId, policy: RefPolicy) {
        if policy == RefPolicy::Delete && state.groups.unreference(id) {
            self.unreferenced.push(id);
        }
    }
}
