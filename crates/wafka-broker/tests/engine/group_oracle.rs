//! What groups must be: plain maps that follow Redis's rules.

use std::collections::BTreeMap;

use wafka_broker::{AutoClaimRequest, ClaimRequest, DeleteOutcome, RefPolicy, ReleaseMode};
use wafka_core::EventId;

/// A pending entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Nobody's when it was released.
    pub owner: Option<String>,
    pub delivered: u64,
    pub count: u64,
}

/// A group. Consumers have the time when they last got something.
#[derive(Clone, Default, Debug)]
pub struct Group {
    pub last: EventId,
    pub pending: BTreeMap<EventId, Entry>,
    pub consumers: BTreeMap<String, Option<u64>>,
    /// Released entries, first released first.
    pub released: Vec<EventId>,
}

/// A topic and its groups.
#[derive(Clone, Default, Debug)]
pub struct Oracle {
    /// Ascending.
    pub live: Vec<EventId>,
    pub groups: BTreeMap<String, Group>,
}

impl Group {
    fn hand(&mut self, id: EventId, owner: &str, delivered: u64, count: u64) {
        self.released.retain(|released| *released != id);
        let count = count.min(i64::MAX as u64);
        self.pending.insert(id, Entry { owner: Some(owner.to_owned()), delivered, count });
    }

    pub fn remove(&mut self, id: EventId) -> bool {
        self.released.retain(|released| *released != id);
        self.pending.remove(&id).is_some()
    }

    pub fn of(&self, consumer: &str) -> Vec<EventId> {
        let mine = self.pending.iter().filter(|(_, entry)| entry.owner.as_deref() == Some(consumer));
        mine.map(|(id, _)| *id).collect()
    }
}

impl Oracle {
    pub fn is_live(&self, id: EventId) -> bool {
        self.live.binary_search(&id).is_ok()
    }

    pub fn unread(&self, group: &str, count: usize) -> Vec<EventId> {
        let last = self.groups[group].last;
        self.live.iter().copied().filter(|id| *id > last).take(count).collect()
    }

    pub fn deliver(&mut self, group: &str, consumer: &str, ids: &[EventId], noack: bool, now: u64) {
        let Some(group) = self.groups.get_mut(group) else { return };
        let active = group.consumers.entry(consumer.to_owned()).or_default();
        if !noack && !ids.is_empty() {
            *active = Some(now);
        }
        for id in ids {
            group.last = *id;
            if !noack {
                group.hand(*id, consumer, now, 1);
            }
        }
    }

    pub fn delete_consumer(&mut self, group: &str, consumer: &str) -> u64 {
        let Some(group) = self.groups.get_mut(group) else { return 0 };
        let mine = group.of(consumer);
        mine.iter().for_each(|id| drop(group.pending.remove(id)));
        group.consumers.remove(consumer);
        mine.len() as u64
    }

    pub fn claim(&mut self, group: &str, consumer: &str, ask: &ClaimRequest<'_>, now: u64) -> Vec<EventId> {
        let live = self.live.clone();
        let Some(group) = self.groups.get_mut(group) else { return Vec::new() };
        group.last = group.last.max(ask.last_id.unwrap_or_default());
        group.consumers.entry(consumer.to_owned()).or_default();
        let mut claimed = Vec::new();
        for &id in ask.ids {
            if live.binary_search(&id).is_err() {
                group.remove(id);
                continue;
            }
            let count = match group.pending.get(&id) {
                None if ask.force => 1,
                None => continue,
                Some(entry) if entry.owner.is_some() && now - entry.delivered < ask.min_idle_ms => continue,
                Some(entry) => entry.count,
            };
            let count = ask.deliveries.unwrap_or(count + u64::from(!ask.just_ids));
            group.hand(id, consumer, ask.delivered_ms.unwrap_or(now).min(now), count);
            claimed.push(id);
        }
        if !claimed.is_empty() {
            group.consumers.insert(consumer.to_owned(), Some(now));
        }
        claimed
    }

    /// Where to go on, what was claimed, what was gone.
    pub fn auto_claim(
        &mut self,
        group: &str,
        consumer: &str,
        ask: &AutoClaimRequest,
        now: u64,
    ) -> (EventId, Vec<EventId>, Vec<EventId>) {
        let looked: Vec<EventId> = self.groups[group].pending.range(ask.start..).map(|(id, _)| *id).collect();
        let (mut claimed, mut gone, mut next) = (Vec::new(), Vec::new(), EventId::MIN);
        for (looks, id) in looked.into_iter().enumerate() {
            if looks as u64 == 10 * ask.count || (claimed.len() + gone.len()) as u64 == ask.count {
                next = id;
                break;
            }
            let one = ClaimRequest {
                min_idle_ms: ask.min_idle_ms,
                ids: &[id],
                delivered_ms: None,
                deliveries: None,
                force: false,
                just_ids: ask.just_ids,
                last_id: None,
            };
            if !self.is_live(id) {
                gone.push(id);
            }
            claimed.extend(self.claim(group, consumer, &one, now));
        }
        if let Some(group) = self.groups.get_mut(group) {
            group.consumers.entry(consumer.to_owned()).or_default();
        }
        (next, claimed, gone)
    }

    pub fn release(
        &mut self,
        group: &str,
        ids: &[EventId],
        mode: ReleaseMode,
        set: Option<u64>,
        force: bool,
    ) -> u64 {
        let live = self.live.clone();
        let Some(group) = self.groups.get_mut(group) else { return 0 };
        let mut released = 0;
        for &id in ids {
            let before = match group.pending.get(&id) {
                Some(entry) => entry.count,
                None if force && live.binary_search(&id).is_ok() => 0,
                None => continue,
            };
            let count = set.unwrap_or(match mode {
                ReleaseMode::Silent if before == i64::MAX as u64 => before,
                ReleaseMode::Silent => before.saturating_sub(1),
                ReleaseMode::Fail => before,
                ReleaseMode::Fatal => i64::MAX as u64,
            });
            group.remove(id);
            group.pending.insert(id, Entry { owner: None, delivered: 0, count });
            group.released.push(id);
            released += 1;
        }
        released
    }

    fn references(&self, id: EventId) -> bool {
        self.groups.values().any(|group| id > group.last || group.pending.contains_key(&id))
    }

    fn unreference(&mut self, id: EventId) {
        self.groups.values_mut().for_each(|group| {
            group.remove(id);
        });
    }

    pub fn delete(&mut self, ids: &[EventId], policy: RefPolicy) -> Vec<DeleteOutcome> {
        ids.iter().map(|id| self.delete_one(*id, policy)).collect()
    }

    fn delete_one(&mut self, id: EventId, policy: RefPolicy) -> DeleteOutcome {
        if policy == RefPolicy::Acked && self.references(id) {
            return DeleteOutcome::Referenced;
        }
        if policy == RefPolicy::Delete {
            self.unreference(id);
        }
        let Ok(at) = self.live.binary_search(&id) else { return DeleteOutcome::Missing };
        self.live.remove(at);
        DeleteOutcome::Deleted
    }

    pub fn ack_delete(&mut self, group: &str, ids: &[EventId], policy: RefPolicy) -> Vec<DeleteOutcome> {
        let one = |oracle: &mut Self, id: EventId| {
            if !oracle.groups.get_mut(group).is_some_and(|group| group.remove(id)) {
                return DeleteOutcome::Missing;
            }
            match oracle.delete_one(id, policy) {
                DeleteOutcome::Missing => DeleteOutcome::Gone,
                outcome => outcome,
            }
        };
        ids.iter().map(|id| one(self, *id)).collect()
    }

    pub fn trim(&mut self, max: usize, policy: RefPolicy) -> u64 {
        let mut removed = 0;
        let mut at = 0;
        while self.live.len() > max && at < self.live.len() {
            match self.delete_one(self.live[at], policy) {
                DeleteOutcome::Deleted => removed += 1,
                _ => at += 1,
            }
        }
        removed
    }
}
