//! What a topic must be: one stream, however many partitions there are.

use std::collections::BTreeMap;

use wafka_broker::{IdSpec, ReadRange, SetId, Trim, TrimStrategy};
use wafka_core::EventId;

use crate::support::Entry;

/// A plain map that follows Redis's rules.
#[derive(Clone, Default, Debug)]
pub struct Oracle {
    pub live: BTreeMap<EventId, Vec<Vec<u8>>>,
    pub last: EventId,
    /// The highest id that an event ever had.
    written: EventId,
    /// Everything at or below it was trimmed.
    floor: EventId,
    pub max_deleted: EventId,
    pub added: u64,
}

impl Oracle {
    /// The id that an event gets, or `None` when it is refused.
    pub fn next_id(&self, spec: IdSpec, now_ms: u64) -> Option<EventId> {
        let id = match spec {
            IdSpec::Auto => EventId::auto(self.last, now_ms)?,
            IdSpec::Explicit(id) => id,
            IdSpec::AutoSeq { ms } if ms == self.last.ms => EventId::new(ms, self.last.seq.checked_add(1)?),
            IdSpec::AutoSeq { ms } => EventId::new(ms, 0),
        };
        (id > self.last).then_some(id)
    }

    pub fn append(&mut self, id: EventId, parts: Vec<Vec<u8>>) {
        self.live.insert(id, parts);
        self.last = id;
        self.written = id;
        self.added += 1;
    }

    /// What a trimming removes: exactly so many, or at most so many, with `~`.
    pub fn to_trim(&self, trim: &Trim) -> u64 {
        let len = self.live.len() as u64;
        let wanted = match trim.strategy {
            TrimStrategy::MaxLen(max) => len.saturating_sub(max),
            TrimStrategy::MinId(min) => self.live.range(..min).count() as u64,
        };
        let limit = match trim.limit {
            None => 10_000,
            Some(0) => u64::MAX,
            Some(limit) => limit,
        };
        if trim.approximate { wanted.min(limit) } else { wanted }
    }

    /// Trims so many.
    pub fn trim(&mut self, trim: &Trim, count: u64) {
        let wanted = self.to_trim(&Trim { approximate: false, ..*trim });
        for _ in 0..count {
            if let Some((id, _)) = self.live.pop_first() {
                self.floor = self.floor.max(id);
            }
        }
        if let TrimStrategy::MinId(min) = trim.strategy
            && count == wanted
            && let Some(below) = min.prev()
            && count > 0
        {
            self.floor = self.floor.max(below.min(self.written));
        }
    }

    pub fn delete(&mut self, ids: &[EventId]) -> u64 {
        let mut count = 0;
        for id in ids {
            if self.live.remove(id).is_some() {
                self.max_deleted = self.max_deleted.max(*id);
                count += 1;
            }
        }
        count
    }

    /// Whether it is allowed; then it is done.
    pub fn set_id(&mut self, set: &SetId) -> bool {
        let deleted = set.max_deleted.unwrap_or(EventId::MIN).max(self.max_deleted);
        let len = self.live.len() as u64;
        // Redis looks at live events alone; files are in the order of ids, so what was ever written counts here.
        if set.last < deleted || set.last < self.written.max(self.floor) {
            return false;
        }
        if set.entries_added.is_some_and(|added| added < len) {
            return false;
        }
        self.last = set.last;
        self.added = set.entries_added.unwrap_or(self.added);
        self.max_deleted = set.max_deleted.unwrap_or(self.max_deleted);
        true
    }

    pub fn read(&self, range: &ReadRange) -> Vec<Entry> {
        if range.from > range.to {
            return Vec::new();
        }
        let count = range.count.map_or(usize::MAX, |count| count as usize);
        let all = self.live.range(range.from..=range.to).map(|(id, parts)| (*id, parts.clone()));
        if range.reverse { all.rev().take(count).collect() } else { all.take(count).collect() }
    }

    pub fn first(&self) -> EventId {
        self.live.first_key_value().map_or(EventId::MIN, |(id, _)| *id)
    }
}
