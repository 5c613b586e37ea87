//! What can be told about groups: `XPENDING` and `XINFO`.

use std::sync::Arc;

use wafka_core::EventId;

use super::consumers::Consumer;
use super::error::GroupError;
use super::lag::signed;
use super::pending::{NOBODY, Pending};
use super::state::Group;
use crate::topic::Topic;

/// How `lag` is worked out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LagMode {
    /// The number of events still to be delivered, always.
    #[default]
    Exact,
    /// Redis's estimate, which may be unknown.
    Redis,
}

/// What a group has pending, in short.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PendingSummary {
    /// How many entries.
    pub count: u64,
    /// The lowest and the highest id; `None` when there is none.
    pub range: Option<(EventId, EventId)>,
    /// The consumers that have any, by name, and how many. Released entries are nobody's.
    pub consumers: Vec<(Arc<[u8]>, u64)>,
}

/// A pending entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PendingEntry {
    /// The event.
    pub id: EventId,
    /// Whose it is; `None` when it was released.
    pub consumer: Option<Arc<[u8]>>,
    /// When it was delivered last, in milliseconds since 1970; 0 when it was released.
    pub delivered_ms: u64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// What can be told about a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupInfo {
    /// Its name.
    pub name: Box<[u8]>,
    /// How many consumers there are.
    pub consumers: u64,
    /// How many entries are pending.
    pub pending: u64,
    /// How many of them were released.
    pub released: u64,
    /// The last event delivered.
    pub last_delivered: EventId,
    /// How many events were delivered, as Redis counts, when that is known.
    pub entries_read: Option<u64>,
    /// How many events are still to be delivered. As Redis estimates, it may be unknown, and even negative.
    pub lag: Option<i64>,
}

/// What can be told about a consumer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerInfo {
    /// Its name.
    pub name: Arc<[u8]>,
    /// How many entries are pending for it.
    pub pending: u64,
    /// When it last tried anything, in milliseconds since 1970.
    pub seen_ms: u64,
    /// When it last got anything, likewise.
    pub active_ms: Option<u64>,
}

/// A consumer and what is pending for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FullConsumer {
    /// The consumer.
    pub info: ConsumerInfo,
    /// The first of its pending entries.
    pub pending: Vec<PendingEntry>,
}

/// A group, its consumers and what is pending.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FullGroup {
    /// The group.
    pub info: GroupInfo,
    /// The first of its pending entries.
    pub pending: Vec<PendingEntry>,
    /// Its consumers, by name.
    pub consumers: Vec<FullConsumer>,
}

impl Consumer {
    fn info(&self) -> ConsumerInfo {
        ConsumerInfo {
            name: Arc::clone(&self.name),
            pending: self.pending.len() as u64,
            seen_ms: self.seen_ms,
            active_ms: self.active_ms,
        }
    }
}

impl Group {
    fn entry(&self, id: EventId, entry: &Pending) -> PendingEntry {
        let owner = self.consumers.get(entry.owner).filter(|_| entry.owner != NOBODY);
        PendingEntry {
            id,
            consumer: owner.map(|consumer| Arc::clone(&consumer.name)),
            delivered_ms: entry.delivered_ms,
            deliveries: entry.deliveries,
        }
    }

    fn info(&self, name: &[u8]) -> GroupInfo {
        GroupInfo {
            name: name.into(),
            consumers: self.consumers.len(),
            pending: self.pending.len(),
            released: self.pending.released_len(),
            last_delivered: self.last_delivered,
            entries_read: self.entries_read,
            lag: None,
        }
    }

    fn full(&self, name: &[u8], count: usize) -> FullGroup {
        let consumers = self.consumers.iter().map(|(_, consumer)| {
            let ids = consumer.pending.iter().take(count);
            let pending = ids.filter_map(|id| Some(self.entry(*id, self.pending.get(*id)?)));
            FullConsumer { info: consumer.info(), pending: pending.collect() }
        });
        let pending = self.pending.from(EventId::MIN).take(count);
        FullGroup {
            info: self.info(name),
            consumers: consumers.collect(),
            pending: pending.map(|(id, entry)| self.entry(id, entry)).collect(),
        }
    }
}

/// Which pending entries are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PendingQuery<'a> {
    /// The lowest id.
    pub from: EventId,
    /// The highest id.
    pub to: EventId,
    /// At most so many.
    pub count: u64,
    /// Of this consumer alone.
    pub consumer: Option<&'a [u8]>,
    /// Only those delivered so long ago, in milliseconds.
    pub min_idle_ms: u64,
}

impl Topic {
    /// What a group has pending, in short (`XPENDING key group`).
    ///
    /// # Errors
    /// When there is no such group.
    pub fn pending_summary(&self, group: &[u8]) -> Result<PendingSummary, GroupError> {
        let state = self.state.lock();
        let found = state.groups.get(group).ok_or_else(|| self.no_group(&state))?;
        let with_any = found.consumers.iter().filter(|(_, consumer)| !consumer.pending.is_empty());
        Ok(PendingSummary {
            count: found.pending.len(),
            range: found.pending.first().zip(found.pending.last()),
            consumers: with_any
                .map(|(_, consumer)| (Arc::clone(&consumer.name), consumer.pending.len() as u64))
                .collect(),
        })
    }

    /// Pending entries one by one, ascending (`XPENDING` with a range).
    ///
    /// # Errors
    /// When there is no such group.
    pub fn pending_range(
        &self,
        group: &[u8],
        query: &PendingQuery<'_>,
        now_ms: u64,
    ) -> Result<Vec<PendingEntry>, GroupError> {
        let state = self.state.lock();
        let found = state.groups.get(group).ok_or_else(|| self.no_group(&state))?;
        let count = usize::try_from(query.count).unwrap_or(usize::MAX);
        let is_idle = |entry: &Pending| now_ms.saturating_sub(entry.delivered_ms) >= query.min_idle_ms;
        if query.from > query.to {
            return Ok(Vec::new());
        }
        let Some(name) = query.consumer else {
            let range = found.pending.from(query.from).take_while(|(id, _)| *id <= query.to);
            let idle = range.filter(|(_, entry)| is_idle(entry)).take(count);
            return Ok(idle.map(|(id, entry)| found.entry(id, entry)).collect());
        };
        let number = found.consumers.number(name);
        let Some(consumer) = number.and_then(|number| found.consumers.get(number)) else {
            return Ok(Vec::new());
        };
        let range = consumer.pending.range(query.from..=query.to);
        let entries = range.filter_map(|id| Some((*id, found.pending.get(*id)?)));
        let idle = entries.filter(|(_, entry)| is_idle(entry)).take(count);
        Ok(idle.map(|(id, entry)| found.entry(id, entry)).collect())
    }

    /// The groups, by name (`XINFO GROUPS`). May read a few KB of each partition for each group's exact lag.
    ///
    /// # Errors
    /// When a partition cannot be read.
    pub fn group_infos(&self, lag: LagMode) -> Result<Vec<GroupInfo>, GroupError> {
        let mut infos = self.infos(lag, |name, group| group.info(name))?;
        if lag == LagMode::Exact {
            for info in &mut infos {
                info.lag = Some(signed(self.count_above(info.last_delivered)?));
            }
        }
        Ok(infos)
    }

    /// The consumers of a group, by name (`XINFO CONSUMERS`).
    ///
    /// # Errors
    /// When there is no such group.
    pub fn consumer_infos(&self, group: &[u8]) -> Result<Vec<ConsumerInfo>, GroupError> {
        let state = self.state.lock();
        let found = state.groups.get(group).ok_or_else(|| self.no_group(&state))?;
        Ok(found.consumers.iter().map(|(_, consumer)| consumer.info()).collect())
    }

    /// The groups with their consumers and the first `count` pending entries of each, all when there is no count
    /// (`XINFO STREAM FULL`).
    ///
    /// # Errors
    /// When a partition cannot be read.
    pub fn full_groups(&self, count: Option<u64>, lag: LagMode) -> Result<Vec<FullGroup>, GroupError> {
        let count = usize::try_from(count.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let mut groups = self.infos(lag, |name, group| group.full(name, count))?;
        if lag == LagMode::Exact {
            for group in &mut groups {
                group.info.lag = Some(signed(self.count_above(group.info.last_delivered)?));
            }
        }
        Ok(groups)
    }

    fn infos<T: AsMut<GroupInfo>>(
        &self,
        lag: LagMode,
        tell: impl Fn(&[u8], &Group) -> T,
    ) -> Result<Vec<T>, GroupError> {
        let mut state = self.state.lock();
        let first_id = if lag == LagMode::Redis { state.first_id()? } else { EventId::MIN };
        let told = state.groups.iter().map(|(name, group)| {
            let mut told = tell(name, group);
            if lag == LagMode::Redis {
                told.as_mut().lag = state.redis_lag(group, first_id);
            }
            told
        });
        Ok(told.collect())
    }
}

impl AsMut<GroupInfo> for GroupInfo {
    fn as_mut(&mut self) -> &mut GroupInfo {
        self
    }
}

impl AsMut<GroupInfo> for FullGroup {
    fn as_mut(&mut self) -> &mut GroupInfo {
        &mut self.info
    }
}
