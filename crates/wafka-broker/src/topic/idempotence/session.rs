//! What producers and `XCFGSET` do to a topic's idempotence records.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use thiserror::Error;
use wafka_core::EventId;

use super::{Idempotence, IdempotenceSettings, Idempotent};
use crate::error::{AppendError, ReadError};
use crate::ticket::{Ticket, TicketKind};
use crate::topic::{Appended, State, Topic};

/// What `XCFGSET` changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IdempotenceChange {
    /// How long a record lives, in seconds.
    pub duration_secs: Option<u32>,
    /// How many records of each producer are kept.
    pub max_iids: Option<u32>,
}

/// Why `XIDMPRECORD` was refused.
#[derive(Debug, Error)]
pub enum RecordError {
    /// There is no such event.
    #[error("ERR No such message in stream")]
    NoSuchEvent,
    /// The producer sent another event under that idempotence id.
    #[error("ERR the producer's idempotent ID belongs to message {0} already")]
    Taken(EventId),
    /// It could not be carried out.
    #[error(transparent)]
    Refused(#[from] AppendError),
    /// The event could not be looked up.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Topic {
    /// Sees to it that the topic can take idempotent events: `None` when it can, else the ticket to be awaited first; then
    /// this is called again. `defaults` are the settings of a topic that takes the first.
    ///
    /// # Errors
    /// When the topic is gone, or its journal cannot be written.
    pub fn prepare_idempotence(
        self: &Arc<Self>,
        defaults: IdempotenceSettings,
    ) -> Result<Option<Ticket>, AppendError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        if self.is_prepared(state) {
            return Ok(None);
        }
        let epoch = state.journal.epoch;
        if let Some(begun) = state.idempotence.as_ref().and_then(|idempotence| idempotence.begun)
            && begun.epoch == epoch
        {
            return Ok(Some(begun));
        }
        Ok(Some(self.begin_idempotence(state, defaults)))
    }

    /// Has the journal say that idempotent events may come; they may when the ticket is redeemed.
    fn begin_idempotence(self: &Arc<Self>, state: &mut State, defaults: IdempotenceSettings) -> Ticket {
        let fresh = || Box::new(Idempotence::new(defaults));
        let record = state.idempotence.get_or_insert_with(fresh).settings_record();
        state.journal.push(record);
        let ticket = self.journal_ticket(state);
        if let Some(idempotence) = &mut state.idempotence {
            idempotence.begun = Some(ticket);
        }
        ticket
    }

    /// Whether the journal knows that idempotent events may come.
    fn is_prepared(&self, state: &mut State) -> bool {
        let epoch = state.journal.epoch;
        let Some(idempotence) = &mut state.idempotence else { return false };
        if let Some(begun) = idempotence.begun
            && begun.epoch == epoch
            && self.journaled.load(Ordering::Acquire) >= begun.sequence
        {
            idempotence.begun = None;
        }
        idempotence.begun.is_none()
    }

    /// The answer to an event that was sent before; `None` for a new one.
    pub(in crate::topic) fn sent_before(
        self: &Arc<Self>,
        state: &mut State,
        event: Idempotent<'_>,
    ) -> Result<Option<Appended>, AppendError> {
        if !self.is_prepared(state) {
            return Err(AppendError::NotPrepared);
        }
        if let Some((lane, reason)) = state.unread() {
            // It may be there that the event stands.
            return Err(self.offline(lane, reason));
        }
        let now_ms = self.deadlines.now_ms();
        let Some(idempotence) = &mut state.idempotence else { return Err(AppendError::NotPrepared) };
        let Some(id) = idempotence.find(event, now_ms) else {
            return idempotence.check_room(&self.name).map(|()| None);
        };
        self.tell_idempotence(state);
        // The first may be on its way still: then its commit is awaited by both.
        let under_way = state.uncommitted.binary_search_by_key(&id, |event| event.id).ok();
        let (lane, sequence) = under_way
            .and_then(|at| state.uncommitted.get(at))
            .map_or((0, 0), |first| (first.lane, first.sequence));
        let epoch = state.lanes[usize::from(lane)].epoch;
        let ticket = Ticket { kind: TicketKind::Partition(lane), epoch, sequence, id };
        Ok(Some(Appended { id, ticket, trims: false, duplicate: true }))
    }

    /// Has the journal told when it lacks much.
    pub(in crate::topic) fn tell_idempotence(self: &Arc<Self>, state: &mut State) {
        if state.idempotence.as_ref().is_some_and(|idempotence| idempotence.is_much_untold()) {
            // Nobody waits for it.
            let _ = self.journal_ticket(state);
        }
    }

    /// Has the journal told what it lacks, before the engine stops.
    pub(crate) fn tell_all_idempotence(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let goes_on = !self.is_deleted() && state.until_reopened.is_none();
        if goes_on && state.idempotence.as_ref().is_some_and(|idempotence| idempotence.is_untold()) {
            let _ = self.journal_ticket(&mut state);
        }
    }

    /// Changes how long and how many records are kept (`XCFGSET`). With other settings than before, all records are
    /// forgotten. Durable when the ticket is redeemed; `None` when nothing changes.
    ///
    /// # Errors
    /// When the topic is gone, or its journal cannot be written.
    pub fn configure_idempotence(
        self: &Arc<Self>,
        change: IdempotenceChange,
        defaults: IdempotenceSettings,
    ) -> Result<Option<Ticket>, AppendError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        let before = state.idempotence.as_ref().map(|idempotence| idempotence.settings);
        let base = before.unwrap_or(defaults);
        let settings = IdempotenceSettings {
            duration_secs: change.duration_secs.unwrap_or(base.duration_secs),
            max_iids: change.max_iids.unwrap_or(base.max_iids),
        };
        if before == Some(settings) {
            return Ok(None);
        }
        let newest = super::super::set_id::newest(state);
        if let Some(idempotence) = &mut state.idempotence {
            idempotence.settings = settings;
            idempotence.records = Default::default();
            // What the lines up to here say of producers does not count any more.
            idempotence.told = idempotence.told.max(newest);
        }
        Ok(Some(self.begin_idempotence(state, settings)))
    }

    /// Notes that a producer sent the event `id` under an idempotence id (`XIDMPRECORD`). Durable when the ticket is
    /// redeemed; `None` when that is known. The topic must be prepared. May read files.
    ///
    /// # Errors
    /// When there is no such event, or the idempotence id came to another one.
    pub fn record_idempotent(
        self: &Arc<Self>,
        event: Idempotent<'_>,
        id: EventId,
    ) -> Result<Option<Ticket>, RecordError> {
        let places = self.locate(&[id])?;
        let (_, lane, offset) = *places.first().ok_or(RecordError::NoSuchEvent)?;
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        if !self.is_prepared(state) {
            return Err(AppendError::NotPrepared.into());
        }
        let now_ms = self.deadlines.now_ms();
        let Some(idempotence) = &mut state.idempotence else {
            return Err(AppendError::NotPrepared.into());
        };
        idempotence.records.lapse(event.producer, &idempotence.settings, now_ms);
        match idempotence.records.find(event.producer, event.iid) {
            Some(known) if known == id => return Ok(None),
            Some(known) => return Err(RecordError::Taken(known)),
            None => idempotence.check_room(&self.name)?,
        }
        idempotence.note(event, id, lane, offset);
        let record = idempotence.single(event, id, lane, offset);
        state.journal.push(record);
        Ok(Some(self.journal_ticket(state)))
    }
}
