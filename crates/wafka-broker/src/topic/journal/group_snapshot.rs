//! The groups' part of a journal's snapshot.

use wafka_core::EventId;

use super::group_record::{GroupAt, GroupConsumers, GroupPending, GroupRecord};
use super::text::{BytesText, IdRun, IdText};
use crate::group::{Group, Groups, NOBODY, Pending};

/// So many consumers, or runs of pending entries, stand in one line at most.
const LINE_ITEMS_MAX: usize = 5_000;
/// The names of consumers in one line have about so many bytes at most, but for the last one's.
const LINE_NAMES_BYTES: usize = 256 << 10;

/// The records that make the groups as they are.
pub(super) fn parts(groups: &Groups) -> impl Iterator<Item = GroupRecord> {
    groups.iter().flat_map(|(name, group)| {
        let name = BytesText::from(name);
        let created = GroupRecord::CreateGroup(GroupAt {
            group: name.clone(),
            last_delivered: IdText(group.last_delivered),
            entries_read: group.entries_read,
        });
        let mut records = vec![created];
        consumers(&name, group, &mut records);
        pending(&name, group, &mut records);
        records
    })
}

fn consumers(name: &BytesText, group: &Group, records: &mut Vec<GroupRecord>) {
    let mut lines: Vec<Vec<_>> = Vec::new();
    let mut bytes = 0;
    for (_, consumer) in group.consumers.iter() {
        if bytes > LINE_NAMES_BYTES || lines.last().is_none_or(|line| line.len() >= LINE_ITEMS_MAX) {
            lines.push(Vec::new());
            bytes = 0;
        }
        bytes += consumer.name.len();
        if let Some(line) = lines.last_mut() {
            line.push((BytesText::from(&*consumer.name), consumer.seen_ms, consumer.active_ms));
        }
    }
    for consumers in lines {
        records.push(GroupRecord::GroupConsumers(GroupConsumers { group: name.clone(), consumers }));
    }
}

/// What is pending for one consumer, by the line. It is gathered under the topic's lock, so nothing is copied twice.
#[derive(Default)]
struct Bucket {
    entries: Vec<Vec<(IdRun, u64, u64)>>,
    gone: Vec<Vec<IdRun>>,
}

impl Bucket {
    fn push(&mut self, id: EventId, entry: &Pending) {
        let run = self.entries.last_mut().and_then(|line| line.last_mut());
        let same = |last: &&mut (IdRun, u64, u64)| last.1 == entry.delivered_ms && last.2 == entry.deliveries;
        if !run.filter(same).is_some_and(|(run, ..)| run.extend(id)) {
            push_item(&mut self.entries, (IdRun::of(id), entry.delivered_ms, entry.deliveries));
        }
        if entry.gone {
            let run = self.gone.last_mut().and_then(|line| line.last_mut());
            if !run.is_some_and(|run| run.extend(id)) {
                push_item(&mut self.gone, IdRun::of(id));
            }
        }
    }
}

/// Adds an item to the last line, or to a new one.
fn push_item<T>(lines: &mut Vec<Vec<T>>, item: T) {
    match lines.last_mut() {
        Some(line) if line.len() < LINE_ITEMS_MAX => line.push(item),
        // Where one line was not enough, the next is likely to be full too.
        last => {
            let mut line = Vec::with_capacity(if last.is_some() { LINE_ITEMS_MAX } else { 1 });
            line.push(item);
            lines.push(line);
        }
    }
}

fn pending(name: &BytesText, group: &Group, records: &mut Vec<GroupRecord>) {
    // By the number of the consumer: they are given out from 0 on.
    let mut buckets: Vec<Bucket> = Vec::new();
    for (id, entry) in group.pending.from(EventId::MIN).filter(|(_, entry)| entry.owner != NOBODY) {
        let at = usize::try_from(entry.owner).unwrap_or(usize::MAX);
        if at >= buckets.len() {
            buckets.resize_with(at + 1, Bucket::default);
        }
        buckets[at].push(id, entry);
    }
    let mut released = Bucket::default();
    for id in group.pending.released() {
        if let Some(entry) = group.pending.get(id) {
            released.push(id, entry);
        }
    }
    for (owner, bucket) in (0..).zip(buckets) {
        if let Some(consumer) = group.consumers.get(owner) {
            push(name, Some(BytesText::from(&*consumer.name)), bucket, records);
        }
    }
    push(name, None, released, records);
}

fn push(name: &BytesText, consumer: Option<BytesText>, bucket: Bucket, records: &mut Vec<GroupRecord>) {
    let record = |entries, gone| {
        let (group, consumer) = (name.clone(), consumer.clone());
        GroupRecord::GroupPending(GroupPending { group, consumer, entries, gone })
    };
    records.extend(bucket.entries.into_iter().map(|entries| record(entries, Vec::new())));
    // Behind what they are among.
    records.extend(bucket.gone.into_iter().map(|gone| record(Vec::new(), gone)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_consumers_end_by_their_bytes_too() {
        let mut groups = Groups::default();
        groups.create(b"g", EventId::MIN, None);
        // Names of the hardest kind: every byte takes six in JSON.
        let name = |number: u32| [&[1; 60_000][..], &number.to_be_bytes()].concat();
        let group = groups.get_mut(b"g").unwrap();
        for number in 0..100 {
            group.consumers.ensure(&name(number), 7);
        }
        for number in 0..6_000_u32 {
            group.consumers.ensure(&number.to_be_bytes(), 7);
        }
        let records: Vec<_> = parts(&groups).collect();
        assert!(records.len() < 40);
        let mut again = Groups::default();
        for record in records {
            assert!(serde_json::to_string(&record).unwrap().len() < 4 << 20);
            record.apply(&mut again);
        }
        let names = |groups: &Groups| -> Vec<_> {
            groups.get(b"g").unwrap().consumers.iter().map(|(_, consumer)| consumer.name.clone()).collect()
        };
        assert_eq!(names(&again), names(&groups));
    }
}
