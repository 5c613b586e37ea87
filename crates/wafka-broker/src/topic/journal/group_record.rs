//! The journal's records about consumer groups, and what each does to the groups in memory.

use serde::{Deserialize, Serialize};
use wafka_core::EventId;

use super::text::{BytesText, IdRun, IdText, ids};
use crate::group::{DELIVERIES_MAX, Groups, NOBODY};

/// A group, and where it stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct GroupAt {
    pub(crate) group: BytesText,
    pub(crate) last_delivered: IdText,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) entries_read: Option<u64>,
}

/// A consumer of a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ConsumerOf {
    pub(crate) group: BytesText,
    pub(crate) consumer: BytesText,
    /// The time, in milliseconds since 1970.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub(crate) at: u64,
}

/// New events went to a consumer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Deliver {
    pub(crate) group: BytesText,
    pub(crate) consumer: BytesText,
    pub(crate) at: u64,
    pub(crate) ids: Vec<IdRun>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) entries_read: Option<u64>,
    /// They are not pending.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(crate) noack: bool,
}

/// Entries are pending no more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Ack {
    pub(crate) group: BytesText,
    pub(crate) ids: Vec<IdRun>,
}

/// What becomes of a delivery count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Count {
    Keep,
    Add,
    /// One less, and not below 0.
    Subtract,
    Set(u64),
}

impl Count {
    pub(crate) fn of(self, count: u64) -> u64 {
        match self {
            Count::Keep => count,
            Count::Add => count.saturating_add(1).min(DELIVERIES_MAX),
            Count::Subtract if count >= DELIVERIES_MAX => DELIVERIES_MAX,
            Count::Subtract => count.saturating_sub(1),
            Count::Set(count) => count.min(DELIVERIES_MAX),
        }
    }
}

/// Pending entries, or events that were not pending, went to a consumer; or it was handed its own again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) group: BytesText,
    pub(crate) consumer: BytesText,
    pub(crate) at: u64,
    pub(crate) ids: Vec<IdRun>,
    /// As if delivered at this time, in milliseconds since 1970.
    pub(crate) delivered: u64,
    pub(crate) count: Count,
}

/// Entries were released: they are pending for nobody.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Release {
    pub(crate) group: BytesText,
    pub(crate) ids: Vec<IdRun>,
    pub(crate) count: Count,
}

/// Events are pending in no group any more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Unreference {
    pub(crate) ids: Vec<IdRun>,
}

/// Of a snapshot: some consumers of a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct GroupConsumers {
    pub(crate) group: BytesText,
    /// Name, when it was seen and when it last got something.
    pub(crate) consumers: Vec<(BytesText, u64, Option<u64>)>,
}

/// Of a snapshot: some of what is pending for a consumer, or for nobody, in the order it is to be put back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct GroupPending {
    pub(crate) group: BytesText,
    pub(crate) consumer: Option<BytesText>,
    /// Ids, when they were delivered last, and how often.
    pub(crate) entries: Vec<(IdRun, u64, u64)>,
    /// Those whose event was deleted.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) gone: Vec<IdRun>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A record about groups.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum GroupRecord {
    /// `XGROUP CREATE`.
    CreateGroup(GroupAt),
    /// `XGROUP SETID`, or a claim that said so.
    SetGroup(GroupAt),
    /// `XGROUP DESTROY`.
    DestroyGroup {
        group: BytesText,
    },
    CreateConsumer(ConsumerOf),
    /// `XGROUP DELCONSUMER`.
    DeleteConsumer(ConsumerOf),
    Deliver(Deliver),
    Ack(Ack),
    Claim(Claim),
    /// A consumer read its own pending entries again.
    Redeliver(Claim),
    Release(Release),
    Unreference(Unreference),
    GroupConsumers(GroupConsumers),
    GroupPending(GroupPending),
}

impl GroupRecord {
    /// The highest id that the record proves an event to have had.
    pub(crate) fn delivered(&self) -> EventId {
        match self {
            GroupRecord::Deliver(deliver) => {
                deliver.ids.last().map_or(EventId::MIN, |run| EventId::new(run.ms, run.last))
            }
            _ => EventId::MIN,
        }
    }

    /// Does to the groups what the record says. What it says of a group or consumer that is not there is passed over.
    pub(crate) fn apply(self, groups: &mut Groups) {
        match self {
            GroupRecord::CreateGroup(at) => {
                groups.create(&at.group.0, at.last_delivered.0, at.entries_read);
            }
            GroupRecord::SetGroup(at) => {
                if let Some(group) = groups.get_mut(&at.group.0) {
                    group.set_last_delivered(at.last_delivered.0, at.entries_read);
                }
            }
            GroupRecord::DestroyGroup { group } => {
                groups.destroy(&group.0);
            }
            GroupRecord::CreateConsumer(of) => {
                if let Some(group) = groups.get_mut(&of.group.0) {
                    group.consumers.ensure(&of.consumer.0, of.at);
                }
            }
            GroupRecord::DeleteConsumer(of) => {
                if let Some(group) = groups.get_mut(&of.group.0) {
                    group.delete_consumer(&of.consumer.0);
                }
            }
            GroupRecord::Deliver(deliver) => apply_deliver(&deliver, groups),
            GroupRecord::Ack(ack) => {
                if let Some(group) = groups.get_mut(&ack.group.0) {
                    for id in ids(&ack.ids) {
                        group.remove(id);
                    }
                }
            }
            GroupRecord::Claim(claim) => apply_claim(&claim, groups, true),
            GroupRecord::Redeliver(claim) => apply_claim(&claim, groups, false),
            GroupRecord::Release(release) => {
                if let Some(group) = groups.get_mut(&release.group.0) {
                    for id in ids(&release.ids) {
                        let count = group.pending.get(id).map_or(0, |entry| entry.deliveries);
                        group.release(id, release.count.of(count));
                    }
                }
            }
            GroupRecord::Unreference(unreference) => {
                for id in ids(&unreference.ids) {
                    groups.unreference(id);
                }
            }
            GroupRecord::GroupConsumers(of) => {
                if let Some(group) = groups.get_mut(&of.group.0) {
                    for (name, seen_ms, active_ms) in of.consumers {
                        let (number, _) = group.consumers.ensure(&name.0, seen_ms);
                        if let Some(consumer) = group.consumers.get_mut(number) {
                            consumer.active_ms = active_ms;
                        }
                    }
                }
            }
            GroupRecord::GroupPending(of) => apply_pending(&of, groups),
        }
    }
}

fn apply_deliver(deliver: &Deliver, groups: &mut Groups) {
    let Some(group) = groups.get_mut(&deliver.group.0) else { return };
    let (number, _) = group.consumers.ensure(&deliver.consumer.0, deliver.at);
    let mut last = group.last_delivered;
    for id in ids(&deliver.ids) {
        if !deliver.noack {
            group.assign(id, number, deliver.at, 1);
        }
        last = last.max(id);
    }
    if let Some(consumer) = group.consumers.get_mut(number) {
        consumer.seen_ms = deliver.at;
        if !deliver.noack {
            consumer.active_ms = Some(deliver.at);
        }
    }
    group.set_last_delivered(last, deliver.entries_read);
}

fn apply_claim(claim: &Claim, groups: &mut Groups, is_active: bool) {
    let Some(group) = groups.get_mut(&claim.group.0) else { return };
    let (number, _) = group.consumers.ensure(&claim.consumer.0, claim.at);
    for id in ids(&claim.ids) {
        // What was not pending counts as delivered once before.
        let count = group.pending.get(id).map_or(1, |entry| entry.deliveries);
        group.assign(id, number, claim.delivered, claim.count.of(count));
    }
    if let Some(consumer) = group.consumers.get_mut(number) {
        consumer.seen_ms = claim.at;
        if is_active {
            consumer.active_ms = Some(claim.at);
        }
    }
}

fn apply_pending(of: &GroupPending, groups: &mut Groups) {
    let Some(group) = groups.get_mut(&of.group.0) else { return };
    let number = match &of.consumer {
        Some(name) => group.consumers.ensure(&name.0, 0).0,
        None => NOBODY,
    };
    for (run, delivered_ms, deliveries) in &of.entries {
        for id in run.ids() {
            if number == NOBODY {
                group.release(id, *deliveries);
            } else {
                group.assign(id, number, *delivered_ms, *deliveries);
            }
        }
    }
    ids(&of.gone).for_each(|id| group.pending.mark_gone(id));
}
