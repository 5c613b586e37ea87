//! Reading as a member of a group: new events, and what is pending for the reader already.

use std::sync::Arc;

use wafka_core::EventId;

use super::error::GroupError;
use super::membership::check_name;
use crate::ticket::Ticket;
use crate::topic::{Claim, Count, Deliver, GroupRecord, State, Topic};

/// Where a group stood when a read of new events began: given back with what was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// New are the events behind this one.
    pub last_delivered: EventId,
    /// When the consumer was made with this call: the ticket of that.
    pub ticket: Option<Ticket>,
    group: u64,
    version: u64,
    forgotten: u64,
}

/// What became of an attempt to deliver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivered {
    /// They are the consumer's, for good when the ticket is redeemed.
    Yes(Ticket),
    /// Others were faster, or an event is gone meanwhile: nothing was done, and what was read is not to be answered.
    Moved,
}

impl Topic {
    /// Where to read new events for a consumer of the group, which is made if it is not there.
    ///
    /// # Errors
    /// When there is no such group, or the topic cannot be written.
    pub fn group_position(
        self: &Arc<Self>,
        group: &[u8],
        consumer: &[u8],
        now_ms: u64,
    ) -> Result<Position, GroupError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        let forgotten = state.deletions_forgotten;
        let found = state.group(group)?;
        let (position, created) = {
            let created = match found.consumers.number(consumer) {
                Some(number) => {
                    if let Some(consumer) = found.consumers.get_mut(number) {
                        consumer.seen_ms = now_ms;
                    }
                    false
                }
                None => {
                    check_name(consumer)?;
                    found.consumers.ensure(consumer, now_ms).1
                }
            };
            let position = Position {
                last_delivered: found.last_delivered,
                ticket: None,
                group: found.uid,
                version: found.version,
                forgotten,
            };
            (position, created)
        };
        let ticket = created.then(|| self.note_consumer(state, group, consumer, now_ms));
        Ok(Position { ticket, ..position })
    }

    /// Delivers what was read from `position` on to a consumer, if nothing came between: `ids` are the next visible
    /// events behind `position.last_delivered`, ascending and without a gap, at least one. With `noack` they are not
    /// pending.
    ///
    /// # Errors
    /// When the topic cannot be written.
    pub fn deliver(
        self: &Arc<Self>,
        group: &[u8],
        consumer: &[u8],
        position: &Position,
        ids: &[EventId],
        noack: bool,
        now_ms: u64,
    ) -> Result<Delivered, GroupError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        if !state.stands(group, position, ids) {
            return Ok(Delivered::Moved);
        }
        let entries_read = self.entries_read_after(state, group, ids);
        let Ok(found) = state.group(group) else { return Ok(Delivered::Moved) };
        let Some(last) = ids.last() else { return Ok(Delivered::Moved) };
        let (number, _) = found.consumers.ensure(consumer, now_ms);
        if !noack {
            for id in ids {
                found.assign(*id, number, now_ms, 1);
            }
        }
        if let Some(consumer) = found.consumers.get_mut(number) {
            consumer.seen_ms = now_ms;
            if !noack {
                consumer.active_ms = Some(now_ms);
            }
        }
        found.set_last_delivered(*last, entries_read);
        let ticket = self.note_ids(state, ids, |ids| {
            GroupRecord::Deliver(Deliver {
                group: group.into(),
                consumer: consumer.into(),
                at: now_ms,
                ids,
                entries_read,
                noack,
            })
        });
        Ok(ticket.map_or(Delivered::Moved, Delivered::Yes))
    }

    /// The ids pending for a consumer above `after`, at most `count`. What of them is handed out is then told to
    /// [`Topic::redelivered`]. The consumer is made if it is not there.
    ///
    /// # Errors
    /// When there is no such group, or the topic cannot be written.
    pub fn pending_after(
        self: &Arc<Self>,
        group: &[u8],
        consumer: &[u8],
        after: EventId,
        count: Option<u64>,
        now_ms: u64,
    ) -> Result<(Vec<EventId>, Option<Ticket>), GroupError> {
        let position = self.group_position(group, consumer, now_ms)?;
        let Some(from) = after.next() else { return Ok((Vec::new(), position.ticket)) };
        let mut state = self.state.lock();
        let found = state.group(group)?;
        let number = found.consumers.number(consumer);
        let consumer = number.and_then(|number| found.consumers.get(number));
        let count = usize::try_from(count.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let ids = consumer.map(|consumer| consumer.pending.range(from..).take(count).copied().collect());
        Ok((ids.unwrap_or_default(), position.ticket))
    }

    /// Notes that a consumer was handed its own pending events once more; those that are gone do not belong to `ids`.
    ///
    /// # Errors
    /// When there is no such group, or the topic cannot be written.
    pub fn redelivered(
        self: &Arc<Self>,
        group: &[u8],
        consumer: &[u8],
        ids: &[EventId],
        now_ms: u64,
    ) -> Result<Option<Ticket>, GroupError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        let found = state.group(group)?;
        let Some(number) = found.consumers.number(consumer) else { return Ok(None) };
        let mut still = Vec::with_capacity(ids.len());
        for id in ids {
            // Another may have claimed it, or it was acknowledged, since the ids were asked for.
            if let Some(entry) = found.pending.get(*id).filter(|entry| entry.owner == number) {
                let count = Count::Add.of(entry.deliveries);
                found.assign(*id, number, now_ms, count);
                still.push(*id);
            }
        }
        Ok(self.note_ids(state, &still, |ids| {
            GroupRecord::Redeliver(Claim {
                group: group.into(),
                consumer: consumer.into(),
                at: now_ms,
                ids,
                delivered: now_ms,
                count: Count::Add,
            })
        }))
    }

    /// How many events a group has read when it has read `ids` too, as Redis counts.
    fn entries_read_after(&self, state: &mut State, group: &[u8], ids: &[EventId]) -> Option<u64> {
        let first_id = state.first_id().unwrap_or_else(|error| {
            tracing::error!(topic = %self.name, %error, "the oldest event cannot be read");
            EventId::MAX
        });
        let found = state.groups.get(group)?;
        let mut last = found.last_delivered;
        let mut read = found.entries_read;
        for id in ids {
            read = match read {
                Some(read) if last >= first_id && !state.has_tombstone_from(last, first_id) => Some(read + 1),
                _ => state.count_up_to_if_known(*id, first_id),
            };
            last = *id;
        }
        read
    }
}

impl State {
    /// Whether what was read from `position` on may be delivered.
    fn stands(&self, group: &[u8], position: &Position, ids: &[EventId]) -> bool {
        let same = |found: &&super::Group| found.uid == position.group && found.version == position.version;
        self.groups.get(group).filter(same).is_some()
            && self.deletions_forgotten == position.forgotten
            && ids.first().is_some_and(|first| *first > self.floor)
            && (self.deletions.len() == 0 || !ids.iter().any(|id| self.deletions.contains(*id)))
    }
}
