//! Making, moving and removing groups and their consumers: `XGROUP`.

use std::sync::Arc;

use wafka_core::EventId;

use super::error::GroupError;
use super::state::Group;
use crate::error::AppendError;
use crate::ticket::Ticket;
use crate::topic::{BytesText, ConsumerOf, GroupAt, GroupRecord, IdText, State, Topic};

/// The longest name of a group or a consumer, in bytes: it stands in every line of the journal about it.
pub(crate) const NAME_BYTES_MAX: usize = u16::MAX as usize;

/// Where a group begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupStart {
    /// Behind this id.
    Id(EventId),
    /// Behind the last visible event: `$`.
    Last,
}

/// Whether a group or a consumer may be called `name`.
///
/// # Errors
/// When it is too long.
pub fn check_name(name: &[u8]) -> Result<(), GroupError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(GroupError::NameTooLong { bytes: name.len() });
    }
    Ok(())
}

impl State {
    /// The group, to be changed.
    pub(super) fn group(&mut self, name: &[u8]) -> Result<&mut Group, GroupError> {
        self.groups.get_mut(name).ok_or(GroupError::NoGroup)
    }

    fn start(&self, start: GroupStart, entries_read: Option<u64>) -> (EventId, Option<u64>) {
        let id = match start {
            GroupStart::Id(id) => id,
            GroupStart::Last => self.visible_id,
        };
        (id, entries_read.map(|read| read.min(self.visible_entries_added())))
    }
}

impl Topic {
    /// Whether there is a group of that name, or may be one: a journal that could not be read may tell of it, and whoever
    /// asks for more is told so.
    #[must_use]
    pub fn has_group(&self, group: &[u8]) -> bool {
        let state = self.state.lock();
        state.groups.get(group).is_some() || state.journal.held.is_some()
    }

    /// What is answered about a group that is not found.
    pub(super) fn no_group(&self, state: &State) -> GroupError {
        match &state.journal.held {
            None => GroupError::NoGroup,
            Some(reason) => {
                let (topic, reason) = (self.name.to_string(), Arc::clone(reason));
                AppendError::ReadOnly { topic, reason }.into()
            }
        }
    }

    /// How many groups there are.
    #[must_use]
    pub fn group_count(&self) -> u64 {
        self.state.lock().groups.len()
    }

    /// Makes a group (`XGROUP CREATE`). `entries_read` is taken to be at most the number of events ever added.
    ///
    /// # Errors
    /// When there is one of that name, or the topic cannot be written.
    pub fn create_group(
        self: &Arc<Self>,
        group: &[u8],
        start: GroupStart,
        entries_read: Option<u64>,
    ) -> Result<Ticket, GroupError> {
        check_name(group)?;
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        if state.groups.get(group).is_some() {
            return Err(GroupError::Busy);
        }
        let (id, entries_read) = state.start(start, entries_read);
        state.groups.create(group, id, entries_read);
        let at = GroupAt { group: group.into(), last_delivered: IdText(id), entries_read };
        Ok(self.note(state, GroupRecord::CreateGroup(at)))
    }

    /// Says behind which event the group goes on (`XGROUP SETID`).
    ///
    /// # Errors
    /// When there is no such group, or the topic cannot be written.
    pub fn set_group_id(
        self: &Arc<Self>,
        group: &[u8],
        start: GroupStart,
        entries_read: Option<u64>,
    ) -> Result<Ticket, GroupError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        let (id, entries_read) = state.start(start, entries_read);
        state.group(group)?.set_last_delivered(id, entries_read);
        let at = GroupAt { group: group.into(), last_delivered: IdText(id), entries_read };
        Ok(self.note(state, GroupRecord::SetGroup(at)))
    }

    /// Removes a group and what it has pending (`XGROUP DESTROY`); `None` when there is none. Wakes its blocked readers.
    ///
    /// # Errors
    /// When the topic cannot be written.
    pub fn destroy_group(self: &Arc<Self>, group: &[u8]) -> Result<Option<Ticket>, GroupError> {
        // It is dropped without the lock.
        let (_destroyed, ticket) = {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            self.check_journal(state)?;
            let Some(destroyed) = state.groups.destroy(group) else { return Ok(None) };
            (destroyed, self.note(state, GroupRecord::DestroyGroup { group: group.into() }))
        };
        self.watch.notify_group_gone(group);
        Ok(Some(ticket))
    }

    /// Makes a consumer (`XGROUP CREATECONSUMER`); whether there was none.
    ///
    /// # Errors
    /// When there is no such group, or the topic cannot be written.
    pub fn create_consumer(
        self: &Arc<Self>,
        group: &[u8],
        consumer: &[u8],
        now_ms: u64,
    ) -> Result<(bool, Option<Ticket>), GroupError> {
        check_name(consumer)?;
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        let (_, created) = state.group(group)?.consumers.ensure(consumer, now_ms);
        let ticket = created.then(|| self.note_consumer(state, group, consumer, now_ms));
        Ok((created, ticket))
    }

    /// Removes a consumer (`XGROUP DELCONSUMER`): how many entries were pending for it, and are so no more.
    ///
    /// # Errors
    /// When there is no such group, or the topic cannot be written.
    pub fn delete_consumer(
        self: &Arc<Self>,
        group: &[u8],
        consumer: &[u8],
    ) -> Result<(u64, Option<Ticket>), GroupError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        let Some(pending) = state.group(group)?.delete_consumer(consumer) else { return Ok((0, None)) };
        let of = ConsumerOf { group: group.into(), consumer: consumer.into(), at: 0 };
        Ok((pending, Some(self.note(state, GroupRecord::DeleteConsumer(of)))))
    }

    /// Journals that a consumer was made.
    pub(super) fn note_consumer(
        self: &Arc<Self>,
        state: &mut State,
        group: &[u8],
        consumer: &[u8],
        now_ms: u64,
    ) -> Ticket {
        let of = ConsumerOf { group: BytesText::from(group), consumer: consumer.into(), at: now_ms };
        self.note(state, GroupRecord::CreateConsumer(of))
    }
}
