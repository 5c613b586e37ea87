//! The groups' part of a journal's snapshot.

use std::collections::BTreeMap;

use super::group_record::{GroupAt, GroupConsumers, GroupPending, GroupRecord};
use super::text::{BytesText, IdRun, IdText};
use crate::group::{Group, Groups, NOBODY, Owner, Pending};

/// So many consumers, or runs of pending entries, stand in one line at most.
const LINE_ITEMS_MAX: usize = 5_000;

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
    let all: Vec<_> = group
        .consumers
        .iter()
        .map(|(_, consumer)| (BytesText::from(&*consumer.name), consumer.seen_ms, consumer.active_ms))
        .collect();
    for some in all.chunks(LINE_ITEMS_MAX) {
        let consumers = some.to_vec();
        records.push(GroupRecord::GroupConsumers(GroupConsumers { group: name.clone(), consumers }));
    }
}

/// What is pending for one consumer.
#[derive(Default)]
struct Bucket {
    entries: Vec<(IdRun, u64, u64)>,
    gone: Vec<IdRun>,
}

impl Bucket {
    fn push(&mut self, id: wafka_core::EventId, entry: &Pending) {
        let same = |last: &&mut (IdRun, u64, u64)| last.1 == entry.delivered_ms && last.2 == entry.deliveries;
        if !self.entries.last_mut().filter(same).is_some_and(|(run, ..)| run.extend(id)) {
            self.entries.push((IdRun::of(id), entry.delivered_ms, entry.deliveries));
        }
        if entry.gone && !self.gone.last_mut().is_some_and(|run| run.extend(id)) {
            self.gone.push(IdRun::of(id));
        }
    }
}

fn pending(name: &BytesText, group: &Group, records: &mut Vec<GroupRecord>) {
    let mut buckets: BTreeMap<Owner, Bucket> = BTreeMap::new();
    // Neighbours have the same owner mostly: it is looked up once for all of them.
    let mut current: Option<(Owner, Bucket)> = None;
    for (id, entry) in group.pending.from(wafka_core::EventId::MIN) {
        if entry.owner == NOBODY {
            continue;
        }
        match &mut current {
            Some((owner, bucket)) if *owner == entry.owner => bucket.push(id, entry),
            _ => {
                if let Some((owner, bucket)) = current.take() {
                    buckets.insert(owner, bucket);
                }
                let mut bucket = buckets.remove(&entry.owner).unwrap_or_default();
                bucket.push(id, entry);
                current = Some((entry.owner, bucket));
            }
        }
    }
    buckets.extend(current);
    let mut released = Bucket::default();
    for id in group.pending.released() {
        if let Some(entry) = group.pending.get(id) {
            released.push(id, entry);
        }
    }
    for (owner, bucket) in buckets {
        if let Some(consumer) = group.consumers.get(owner) {
            push(name, Some(BytesText::from(&*consumer.name)), &bucket, records);
        }
    }
    push(name, None, &released, records);
}

fn push(name: &BytesText, consumer: Option<BytesText>, bucket: &Bucket, records: &mut Vec<GroupRecord>) {
    let record = |entries: &[(IdRun, u64, u64)], gone: &[IdRun]| {
        GroupRecord::GroupPending(GroupPending {
            group: name.clone(),
            consumer: consumer.clone(),
            entries: entries.to_vec(),
            gone: gone.to_vec(),
        })
    };
    records.extend(bucket.entries.chunks(LINE_ITEMS_MAX).map(|entries| record(entries, &[])));
    // Behind what they are among.
    records.extend(bucket.gone.chunks(LINE_ITEMS_MAX).map(|gone| record(&[], gone)));
}
