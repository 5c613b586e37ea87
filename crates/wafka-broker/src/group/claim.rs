//! Pending entries change hands: `XCLAIM`, `XAUTOCLAIM`, and `XREADGROUP … CLAIM`.

use std::collections::BTreeSet;
use std::sync::Arc;

use wafka_core::EventId;

use super::error::GroupError;
use super::membership::check_name;
use super::pending::{NOBODY, Owner, Pending};
use super::reading::Delivered;
use super::state::Group;
use crate::ticket::Ticket;
use crate::topic::{Ack, Claim, Count, GroupAt, GroupRecord, IdText, State, Topic};

/// `XAUTOCLAIM` looks at so many entries for each that it is to claim.
const LOOKS_PER_CLAIM: u64 = 10;

/// What `XCLAIM` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClaimRequest<'a> {
    /// Only entries delivered so long ago, in milliseconds.
    pub min_idle_ms: u64,
    /// The entries.
    pub ids: &'a [EventId],
    /// As if delivered at this time (`TIME`, `IDLE`), in milliseconds since 1970; now when unset or in the future.
    pub delivered_ms: Option<u64>,
    /// The delivery count from now on (`RETRYCOUNT`).
    pub deliveries: Option<u64>,
    /// Events that are not pending become so (`FORCE`).
    pub force: bool,
    /// The caller wants no more than the ids (`JUSTID`): the delivery count stays.
    pub just_ids: bool,
    /// The group has read at least up to here (`LASTID`).
    pub last_id: Option<EventId>,
}

/// What was claimed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Claimed {
    /// The entries that changed hands, in the order asked for.
    pub ids: Vec<EventId>,
    /// Redeemed when that is durable; `None` when nothing changed.
    pub ticket: Option<Ticket>,
    /// The consumer was not there before.
    pub made_consumer: bool,
}

/// What `XAUTOCLAIM` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AutoClaimRequest {
    /// Only entries delivered so long ago, in milliseconds.
    pub min_idle_ms: u64,
    /// The first entry to look at.
    pub start: EventId,
    /// At most so many.
    pub count: u64,
    /// The caller wants no more than the ids: the delivery count stays.
    pub just_ids: bool,
}

/// What `XAUTOCLAIM` claimed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AutoClaimed {
    /// Where to go on; `0-0` at the end.
    pub next: EventId,
    /// The entries that changed hands.
    pub ids: Vec<EventId>,
    /// Those whose event is gone: they are pending no more.
    pub deleted: Vec<EventId>,
    /// Redeemed when that is durable; `None` when nothing changed.
    pub ticket: Option<Ticket>,
    /// The consumer was not there before.
    pub made_consumer: bool,
}

/// An entry that can be claimed by who reads new events (`XREADGROUP … CLAIM`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claimable {
    /// The event.
    pub id: EventId,
    /// When it was delivered last, in milliseconds since 1970; 0 when it was released.
    pub delivered_ms: u64,
    /// How often it was delivered before.
    pub deliveries: u64,
}

/// A claim of several entries as it goes into the journal.
struct Terms<'a> {
    group: &'a [u8],
    consumer: &'a [u8],
    now_ms: u64,
    delivered_ms: u64,
    count: Count,
}

impl Group {
    /// Whether the entry's event is not there any more.
    fn is_gone(id: EventId, entry: &Pending, floor: EventId) -> bool {
        entry.gone || id <= floor
    }

    fn claim(&mut self, id: EventId, owner: Owner, terms: &Terms<'_>) {
        // What was not pending counts as delivered once before.
        let before = self.pending.get(id).map_or(1, |entry| entry.deliveries);
        self.assign(id, owner, terms.delivered_ms, terms.count.of(before));
    }
}

fn count(deliveries: Option<u64>, just_ids: bool) -> Count {
    match deliveries {
        Some(deliveries) => Count::Set(deliveries),
        None if just_ids => Count::Keep,
        None => Count::Add,
    }
}

impl Topic {
    /// Makes a consumer the owner of pending entries (`XCLAIM`). The consumer is made if it is not there; entries whose
    /// event is gone are pending no more.
    ///
    /// # Errors
    /// When there is no such group, the topic cannot be written, or, with `force`, not be read.
    pub fn claim(
        self: &Arc<Self>,
        group: &[u8],
        consumer: &[u8],
        request: &ClaimRequest<'_>,
        now_ms: u64,
    ) -> Result<Claimed, GroupError> {
        check_name(consumer)?;
        let forced = if request.force { self.not_pending(group, request.ids)? } else { BTreeSet::new() };
        let delivered_ms = request.delivered_ms.unwrap_or(now_ms).min(now_ms);
        let count = count(request.deliveries, request.just_ids);
        let terms = Terms { group, consumer, now_ms, delivered_ms, count };
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        let floor = state.floor;
        // Deleted since they were looked up.
        let deletions = Arc::clone(&state.deletions);
        let is_there = |id: EventId| forced.contains(&id) && id > floor && !deletions.contains(id);
        let found = state.group(group)?;
        let passed = request.last_id.filter(|last_id| *last_id > found.last_delivered);
        if let Some(last_id) = passed {
            found.set_last_delivered(last_id, found.entries_read);
        }
        let (number, created) = found.consumers.ensure(consumer, now_ms);
        let (mut ids, mut gone) = (Vec::new(), Vec::new());
        for &id in request.ids {
            match found.pending.get(id) {
                Some(entry) if Group::is_gone(id, entry, floor) => {
                    found.remove(id);
                    gone.push(id);
                }
                Some(entry) if entry.is_young(request.min_idle_ms, now_ms) => {}
                None if !is_there(id) => {}
                _ => {
                    found.claim(id, number, &terms);
                    ids.push(id);
                }
            }
        }
        let position = passed.map(|last_id| GroupAt {
            group: group.into(),
            last_delivered: IdText(last_id),
            entries_read: found.entries_read,
        });
        let moved = position.map(|at| self.note(state, GroupRecord::SetGroup(at)));
        let ticket = self.note_claim(state, &terms, created, &ids, &gone);
        Ok(Claimed { ids, ticket: ticket.or(moved), made_consumer: created })
    }

    /// Makes a consumer the owner of the next idle entries (`XAUTOCLAIM`). The consumer is made if it is not there.
    ///
    /// # Errors
    /// When there is no such group, or the topic cannot be written.
    pub fn auto_claim(
        self: &Arc<Self>,
        group: &[u8],
        consumer: &[u8],
        request: &AutoClaimRequest,
        now_ms: u64,
    ) -> Result<AutoClaimed, GroupError> {
        check_name(consumer)?;
        let count = count(None, request.just_ids);
        let terms = Terms { group, consumer, now_ms, delivered_ms: now_ms, count };
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        let floor = state.floor;
        let found = state.group(group)?;
        let (number, created) = found.consumers.ensure(consumer, now_ms);
        let mut claimed = found.idle_from(request, floor, now_ms);
        for id in &claimed.deleted {
            found.remove(*id);
        }
        for id in &claimed.ids {
            found.claim(*id, number, &terms);
        }
        claimed.made_consumer = created;
        claimed.ticket = self.note_claim(state, &terms, created, &claimed.ids, &claimed.deleted);
        Ok(claimed)
    }

    /// What [`Topic::auto_claim`] would do now; nothing is changed.
    ///
    /// # Errors
    /// When there is no such group.
    pub fn auto_claimable(
        &self,
        group: &[u8],
        request: &AutoClaimRequest,
        now_ms: u64,
    ) -> Result<AutoClaimed, GroupError> {
        let mut state = self.state.lock();
        let floor = state.floor;
        Ok(state.group(group)?.idle_from(request, floor, now_ms))
    }

    /// Which entries [`Topic::claim`] would give to the consumer now, as far as their events are there, and which would be
    /// pending no more; nothing is changed.
    ///
    /// # Errors
    /// When there is no such group.
    pub fn would_claim(
        &self,
        group: &[u8],
        request: &ClaimRequest<'_>,
        now_ms: u64,
    ) -> Result<(Vec<EventId>, Vec<EventId>), GroupError> {
        let mut state = self.state.lock();
        let floor = state.floor;
        let found = state.group(group)?;
        let (mut ids, mut gone) = (Vec::new(), Vec::new());
        for &id in request.ids {
            match found.pending.get(id) {
                Some(entry) if Group::is_gone(id, entry, floor) => gone.push(id),
                Some(entry) if entry.is_young(request.min_idle_ms, now_ms) => {}
                None if !request.force => {}
                _ => ids.push(id),
            }
        }
        Ok((ids, gone))
    }

    /// Entries that a consumer who reads new events may claim: at most `count`, released ones first, in that order, then
    /// those delivered at least `min_idle_ms` ago, longest ago first. What of them is read is then given to
    /// [`Topic::claim_idle`].
    ///
    /// # Errors
    /// When there is no such group, or the topic cannot be written.
    pub fn claimable(
        self: &Arc<Self>,
        group: &[u8],
        min_idle_ms: u64,
        count: Option<u64>,
        now_ms: u64,
    ) -> Result<Vec<Claimable>, GroupError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        let floor = state.floor;
        let count = usize::try_from(count.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let found = state.group(group)?;
        let (idle, gone) = found.idle(min_idle_ms, count, floor, now_ms);
        if !gone.is_empty() {
            for id in &gone {
                found.remove(*id);
            }
            // Nobody waits for it: should it be lost, they are found gone again.
            self.note_ids(state, &gone, |ids| GroupRecord::Ack(Ack { group: group.into(), ids }));
        }
        Ok(idle)
    }

    /// When the next entry can be claimed by who asks for that idle time, in milliseconds since 1970; `None` when nothing
    /// is pending.
    ///
    /// # Errors
    /// When there is no such group.
    pub fn claimable_at(&self, group: &[u8], min_idle_ms: u64) -> Result<Option<u64>, GroupError> {
        let mut state = self.state.lock();
        let pending = &mut state.group(group)?.pending;
        if pending.released_len() > 0 {
            return Ok(Some(0));
        }
        Ok(pending.by_time().next().map(|(at, _)| at.saturating_add(min_idle_ms)))
    }

    /// Makes a consumer the owner of `entries`, all of them or, if one changed since [`Topic::claimable`], none. The
    /// delivery counts go up by one.
    ///
    /// # Errors
    /// When there is no such group, or the topic cannot be written.
    pub fn claim_idle(
        self: &Arc<Self>,
        group: &[u8],
        consumer: &[u8],
        entries: &[Claimable],
        now_ms: u64,
    ) -> Result<Delivered, GroupError> {
        check_name(consumer)?;
        let terms = Terms { group, consumer, now_ms, delivered_ms: now_ms, count: Count::Add };
        let mut guard = self.state.lock();
        let state = &mut *guard;
        self.check_journal(state)?;
        let floor = state.floor;
        let found = state.group(group)?;
        let is_same = |claimable: &Claimable| {
            found.pending.get(claimable.id).is_some_and(|entry| {
                entry.delivered_ms == claimable.delivered_ms
                    && entry.deliveries == claimable.deliveries
                    && !Group::is_gone(claimable.id, entry, floor)
            })
        };
        if entries.is_empty() || !entries.iter().all(is_same) {
            return Ok(Delivered::Moved);
        }
        let (number, created) = found.consumers.ensure(consumer, now_ms);
        let ids: Vec<EventId> = entries.iter().map(|entry| entry.id).collect();
        for id in &ids {
            found.claim(*id, number, &terms);
        }
        let ticket = self.note_claim(state, &terms, created, &ids, &[]);
        Ok(ticket.map_or(Delivered::Moved, Delivered::Yes))
    }

    /// Those of `ids` that are events and pending for nobody in the group.
    pub(super) fn not_pending(&self, group: &[u8], ids: &[EventId]) -> Result<BTreeSet<EventId>, GroupError> {
        let asked: BTreeSet<EventId> = {
            let mut state = self.state.lock();
            let found = state.group(group)?;
            ids.iter().copied().filter(|id| found.pending.get(*id).is_none()).collect()
        };
        let asked: Vec<EventId> = asked.into_iter().collect();
        Ok(self.locate(&asked)?.into_iter().map(|(id, ..)| id).collect())
    }

    /// Notes what a claim did, on the consumer and in the journal.
    fn note_claim(
        self: &Arc<Self>,
        state: &mut State,
        terms: &Terms<'_>,
        created: bool,
        ids: &[EventId],
        gone: &[EventId],
    ) -> Option<Ticket> {
        let found = state.groups.get_mut(terms.group)?;
        let number = found.consumers.number(terms.consumer)?;
        if let Some(consumer) = found.consumers.get_mut(number) {
            consumer.seen_ms = terms.now_ms;
            if !ids.is_empty() {
                consumer.active_ms = Some(terms.now_ms);
            }
        }
        let (group, consumer) = (terms.group, terms.consumer);
        let made = created.then(|| self.note_consumer(state, group, consumer, terms.now_ms));
        let dropped = self.note_ids(state, gone, |ids| GroupRecord::Ack(Ack { group: group.into(), ids }));
        let claimed = self.note_ids(state, ids, |ids| {
            GroupRecord::Claim(Claim {
                group: group.into(),
                consumer: consumer.into(),
                at: terms.now_ms,
                ids,
                delivered: terms.delivered_ms,
                count: terms.count,
            })
        });
        claimed.or(dropped).or(made)
    }
}

impl Pending {
    /// Whether it was delivered to somebody too short a time ago to be claimed.
    fn is_young(&self, min_idle_ms: u64, now_ms: u64) -> bool {
        self.owner != NOBODY && now_ms.saturating_sub(self.delivered_ms) < min_idle_ms
    }
}

impl Group {
    /// What `XAUTOCLAIM` would claim.
    fn idle_from(&self, request: &AutoClaimRequest, floor: EventId, now_ms: u64) -> AutoClaimed {
        let mut looks = request.count.saturating_mul(LOOKS_PER_CLAIM);
        let mut left = request.count;
        let mut idle = AutoClaimed::default();
        for (id, entry) in self.pending.from(request.start) {
            if looks == 0 || left == 0 {
                idle.next = id;
                break;
            }
            looks -= 1;
            if Group::is_gone(id, entry, floor) {
                idle.deleted.push(id);
                left -= 1;
            } else if !entry.is_young(request.min_idle_ms, now_ms) {
                idle.ids.push(id);
                left -= 1;
            }
        }
        idle
    }

    /// The entries first in line, and those on the way there whose event is gone.
    fn idle(
        &mut self,
        min_idle_ms: u64,
        count: usize,
        floor: EventId,
        now_ms: u64,
    ) -> (Vec<Claimable>, Vec<EventId>) {
        let latest = now_ms.saturating_sub(min_idle_ms);
        let (mut idle, mut gone) = (Vec::with_capacity(count.min(1024)), Vec::new());
        for (id, entry) in self.pending.in_line(latest) {
            if idle.len() == count {
                break;
            }
            if Group::is_gone(id, entry, floor) {
                // It goes from the group, and takes nobody's place.
                gone.push(id);
            } else {
                idle.push(Claimable { id, delivered_ms: entry.delivered_ms, deliveries: entry.deliveries });
            }
        }
        (idle, gone)
    }
}
