//! Which events producers have sent: by producer, the id that each idempotence id came to.
//!
//! A record lives for the configured time, counted from the milliseconds of its event's id, and of one producer only so
//! many are kept. Producers whose records have all lapsed go.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use wafka_core::{EventId, Offset};

use super::IdempotenceSettings;

/// Producers that lapsed are forgotten at most so many at a time: the topic's lock is held meanwhile.
const LAPSED_MAX: usize = 32;
/// What a record takes in memory beside its bytes, about.
const RECORD_BYTES: usize = 160;
/// What a producer takes in memory beside its bytes, about.
const PRODUCER_BYTES: usize = 240;

/// Bytes that several maps share.
pub(super) type Name = Arc<[u8]>;

/// Where the event of a record stands: the index of its partition, and its offset. Not known of one that is durable for
/// sure.
pub(super) type Place = Option<(u16, Offset)>;

/// The records of a topic.
#[derive(Debug, Default)]
pub(super) struct Records {
    producers: HashMap<Name, Producer>,
    /// The producers by their newest record.
    by_age: BTreeSet<(EventId, Name)>,
    count: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Producer {
    by_iid: HashMap<Name, EventId>,
    /// Oldest first.
    by_id: BTreeMap<(EventId, Name), Place>,
}

/// A record, to be written down.
pub(super) struct Record<'a> {
    pub(super) producer: &'a Name,
    pub(super) iid: &'a Name,
    pub(super) id: EventId,
    pub(super) place: Place,
}

impl Records {
    /// How many producers have records.
    pub(super) fn producers(&self) -> u64 {
        self.producers.len() as u64
    }

    /// How many records there are.
    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// Memory that the records take, in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What a producer's idempotence id came to.
    pub(super) fn find(&self, producer: &[u8], iid: &[u8]) -> Option<EventId> {
        self.producers.get(producer)?.by_iid.get(iid).copied()
    }

    /// Takes a record in; the oldest ones of its producer make room. One that is there already stays.
    pub(super) fn insert(&mut self, producer: &[u8], iid: &[u8], id: EventId, place: Place, max: usize) {
        let name = match self.producers.get_key_value(producer) {
            Some((name, _)) => Arc::clone(name),
            None => {
                self.bytes += producer.len() + PRODUCER_BYTES;
                producer.into()
            }
        };
        let of = self.producers.entry(Arc::clone(&name)).or_default();
        let before = of.newest();
        if of.by_iid.contains_key(iid) {
            return;
        }
        let iid: Name = iid.into();
        self.bytes += iid.len() + RECORD_BYTES;
        self.count += 1;
        of.by_iid.insert(Arc::clone(&iid), id);
        of.by_id.insert((id, iid), place);
        while of.by_iid.len() > max
            && let Some(bytes) = of.pop_oldest()
        {
            self.bytes -= bytes;
            self.count -= 1;
        }
        let after = of.newest();
        self.move_producer(&name, before, after);
    }

    /// Forgets records that have lapsed: every one of `producer`, and producers that have no other.
    pub(super) fn lapse(&mut self, producer: &[u8], settings: &IdempotenceSettings, now_ms: u64) {
        if let Some((name, _)) = self.producers.get_key_value(producer) {
            let name = Arc::clone(name);
            self.lapse_one(&name, settings, now_ms);
        }
        for _ in 0..LAPSED_MAX {
            match self.by_age.first() {
                Some((newest, _)) if settings.has_lapsed(*newest, now_ms) => {}
                _ => break,
            }
            if let Some((_, name)) = self.by_age.pop_first()
                && let Some(gone) = self.producers.remove(&name)
            {
                self.bytes -= gone.bytes() + name.len() + PRODUCER_BYTES;
                self.count -= gone.by_iid.len() as u64;
            }
        }
    }

    /// Forgets every record that has lapsed.
    pub(super) fn lapse_all(&mut self, settings: &IdempotenceSettings, now_ms: u64) {
        let names: Vec<Name> = self.producers.keys().map(Arc::clone).collect();
        for name in names {
            self.lapse_one(&name, settings, now_ms);
        }
    }

    fn lapse_one(&mut self, name: &Name, settings: &IdempotenceSettings, now_ms: u64) {
        self.remove_from(name, |oldest, _| settings.has_lapsed(oldest, now_ms));
    }

    /// Removes the oldest records of a producer as long as `gone` says so, and the producer with the last.
    fn remove_from(&mut self, name: &Name, mut gone: impl FnMut(EventId, Place) -> bool) {
        let Some(producer) = self.producers.get_mut(name) else { return };
        let before = producer.newest();
        while producer.by_id.first_key_value().is_some_and(|((id, _), place)| gone(*id, *place))
            && let Some(bytes) = producer.pop_oldest()
        {
            self.bytes -= bytes;
            self.count -= 1;
        }
        let after = producer.newest();
        self.move_producer(name, before, after);
    }

    /// Forgets records whose events are gone as if they had never been.
    pub(super) fn forget(&mut self, mut gone: impl FnMut(EventId, Place) -> bool) {
        let names: Vec<Name> = self.producers.keys().map(Arc::clone).collect();
        for name in names {
            let Some(producer) = self.producers.get_mut(&name) else { continue };
            let before = producer.newest();
            let lost: Vec<(EventId, Name)> = producer
                .by_id
                .iter()
                .filter(|((id, _), place)| gone(*id, **place))
                .map(|(key, _)| key.clone())
                .collect();
            for key in lost {
                producer.by_id.remove(&key);
                producer.by_iid.remove(&key.1);
                self.bytes -= key.1.len() + RECORD_BYTES;
                self.count -= 1;
            }
            let after = producer.newest();
            self.move_producer(&name, before, after);
        }
    }

    /// Notes that the newest record of a producer is another one; without any it goes.
    fn move_producer(&mut self, name: &Name, before: Option<EventId>, after: Option<EventId>) {
        if before == after && after.is_some() {
            return;
        }
        if let Some(before) = before {
            self.by_age.remove(&(before, Arc::clone(name)));
        }
        match after {
            Some(after) => {
                self.by_age.insert((after, Arc::clone(name)));
            }
            None => {
                if self.producers.remove(name).is_some() {
                    self.bytes -= name.len() + PRODUCER_BYTES;
                }
            }
        }
    }

    /// The records at or above `from` and up to `up_to`, by producer and in the order of their ids.
    pub(super) fn between(&self, from: EventId, up_to: EventId) -> impl Iterator<Item = Record<'_>> {
        let first = (from, Name::from([].as_slice()));
        // Producers that sent nothing since are passed over.
        let recent = self.by_age.range(first.clone()..);
        recent.filter_map(|(_, name)| self.producers.get_key_value(name)).flat_map(move |(producer, of)| {
            of.by_id
                .range(first.clone()..)
                .take_while(move |((id, _), _)| *id <= up_to)
                .map(move |((id, iid), place)| Record { producer, iid, id: *id, place: *place })
        })
    }
}

impl Producer {
    fn newest(&self) -> Option<EventId> {
        self.by_id.last_key_value().map(|((id, _), _)| *id)
    }

    /// Removes the oldest record; returns the memory it took, in bytes.
    fn pop_oldest(&mut self) -> Option<usize> {
        let ((_, iid), _) = self.by_id.pop_first()?;
        self.by_iid.remove(&iid);
        Some(iid.len() + RECORD_BYTES)
    }

    fn bytes(&self) -> usize {
        self.by_iid.keys().map(|iid| iid.len() + RECORD_BYTES).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: IdempotenceSettings = IdempotenceSettings { duration_secs: 10, max_iids: 3 };

    fn id(ms: u64) -> EventId {
        EventId::new(ms, 0)
    }

    /// Every count agrees with what there is.
    fn check(records: &Records) {
        let all: Vec<_> = records.between(EventId::MIN, EventId::MAX).collect();
        assert_eq!(all.len() as u64, records.len());
        assert_eq!(records.by_age.len(), records.producers.len());
        let bytes: usize = all.iter().map(|record| record.iid.len() + RECORD_BYTES).sum();
        let names: usize = records.producers.keys().map(|name| name.len() + PRODUCER_BYTES).sum();
        assert_eq!(records.bytes(), bytes + names);
        for record in all {
            assert_eq!(records.find(record.producer, record.iid), Some(record.id));
        }
    }

    #[test]
    fn the_oldest_make_room() {
        let mut records = Records::default();
        for n in 1..=5 {
            records.insert(b"p", format!("i{n}").as_bytes(), id(n), None, 3);
            records.insert(b"q", b"i1", id(n + 10), None, 3);
            check(&records);
        }
        assert_eq!(records.find(b"p", b"i2"), None);
        assert_eq!(records.find(b"p", b"i3"), Some(id(3)));
        assert_eq!(records.find(b"q", b"i1"), Some(id(11)));
        assert_eq!((records.producers(), records.len()), (2, 4));
        let between: Vec<_> = records.between(id(4), id(11)).map(|record| record.id).collect();
        assert_eq!(between, [id(4), id(5), id(11)]);
    }

    #[test]
    fn records_lapse_and_producers_with_them() {
        let mut records = Records::default();
        for n in 1..=100u64 {
            records.insert(format!("p{n}").as_bytes(), b"i", id(n * 1000), None, 3);
        }
        records.insert(b"p100", b"j", id(300_000), None, 3);
        records.lapse(b"p100", &SETTINGS, 109_999);
        check(&records);
        assert_eq!(records.len(), 101 - LAPSED_MAX as u64);
        assert_eq!(records.find(b"p100", b"i"), Some(id(100_000)));
        records.lapse(b"p100", &SETTINGS, 110_000);
        assert_eq!(records.find(b"p100", b"i"), None);
        assert_eq!(records.find(b"p100", b"j"), Some(id(300_000)));
        records.lapse_all(&SETTINGS, 110_000);
        assert_eq!(records.len(), 1);
        check(&records);
        records.lapse_all(&SETTINGS, 310_000);
        assert_eq!((records.producers(), records.len(), records.bytes()), (0, 0, 0));
    }

    #[test]
    fn lost_events_take_their_records_with_them() {
        let mut records = Records::default();
        records.insert(b"p", b"a", id(1), Some((0, 7)), 9);
        records.insert(b"p", b"b", id(2), Some((1, 3)), 9);
        records.insert(b"q", b"b", id(3), Some((0, 8)), 9);
        records.insert(b"q", b"c", id(3), None, 9);
        records.forget(|_, place| place.is_some_and(|(lane, offset)| lane == 0 && offset >= 8));
        check(&records);
        assert_eq!(records.len(), 3);
        records.forget(|found, _| found == id(2));
        records.forget(|found, _| found == id(1));
        check(&records);
        assert_eq!((records.producers(), records.len()), (1, 1));
    }

    #[test]
    fn one_iid_comes_to_one_event() {
        let mut records = Records::default();
        records.insert(b"p", b"a", id(5), None, 9);
        records.insert(b"p", b"a", id(6), None, 9);
        records.insert(b"p", b"b", id(5), None, 9);
        check(&records);
        assert_eq!(records.find(b"p", b"a"), Some(id(5)));
        assert_eq!(records.len(), 2);
    }
}
