//! What a broker does about once a second: syncs what nobody waited for, writes index entries, tries failed logs again.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use wafka_core::storage::LogSlot;

use super::turn::INDEX_FLUSH;
use super::{Broker, Writer};
use crate::index::SparseIndex;
use crate::options::FsyncPolicy;
use crate::ticket::TicketKind;

impl Broker {
    /// Makes everything appended so far durable, without holding up appends, and writes the index entries for it.
    pub(super) fn checkpoint(&self) {
        let (sync, indexes) = {
            let mut writer = self.writer.lock();
            let indexes: Vec<_> = writer
                .unsynced
                .drain(..)
                .map(|index| {
                    index.set_listed(false);
                    (index.generation(), index.unflushed(), index)
                })
                .collect();
            if !writer.dirty && indexes.is_empty() {
                return;
            }
            let sync = writer.dirty.then(|| writer.shard.begin_sync());
            writer.dirty = false;
            (sync, indexes)
        };
        if let Some(sync) = sync {
            let failures = sync.wait();
            if !failures.is_empty() {
                let mut writer = self.writer.lock();
                writer.shard.finish_sync(&failures);
                for failure in &failures {
                    self.fail(&mut writer, failure.slot, &failure.error.to_string().into());
                }
                // Entries of the logs that failed must not become checkpoints: none is written this time.
                return;
            }
        }
        // Not while a rewrite puts its own entries, and newer ones, in the place of those that were counted.
        let _writer = self.writer.lock();
        for (generation, count, index) in indexes {
            if index.generation() == generation {
                flush(&index, count);
            }
        }
    }

    /// Takes the log in `slot` offline, outside its own turn.
    pub(super) fn fail(&self, writer: &mut Writer, slot: LogSlot, reason: &Arc<str>) {
        let Some((owner, kind)) = writer.owners.get(&slot).cloned() else { return };
        let mut wakers: Vec<Waker> = Vec::new();
        // As long as a log is offline every sync reports it anew.
        if let Some(topic) = owner.upgrade().filter(|topic| topic.fail_log(kind, reason, &mut wakers)) {
            topic.watch.notify();
            writer.offline.push((owner, kind));
        }
        for waker in wakers {
            waker.wake();
        }
    }

    /// Remembers indexes with new entries, and writes those whose lines are synced and that have many.
    pub(super) fn note_indexes(&self, writer: &mut Writer, indexes: Vec<Arc<SparseIndex>>) {
        let synced = self.shared.fsync() == FsyncPolicy::Always;
        for index in indexes {
            if synced {
                let count = index.unflushed();
                if count >= INDEX_FLUSH {
                    flush(&index, count);
                }
            } else if !index.set_listed(true) {
                writer.unsynced.push(index);
            }
        }
    }

    /// Writes every index entry there is. Everything is synced.
    pub(super) fn flush_all_indexes(&self) {
        let writer = self.writer.lock();
        for (owner, kind) in writer.owners.values() {
            if let (Some(topic), TicketKind::Partition(lane)) = (owner.upgrade(), kind) {
                let index = topic.lane_index_file(*lane);
                flush(&index, index.unflushed());
            }
        }
    }

    /// Tries logs that failed again.
    pub(super) fn reopen_offline(&self) {
        let mut writer = self.writer.lock();
        let offline = std::mem::take(&mut writer.offline);
        for (owner, kind) in offline {
            let Some(topic) = owner.upgrade().filter(|topic| !topic.is_gone()) else { continue };
            let Some((retry_at, slot, end)) = topic.retry_at(kind) else { continue };
            if Instant::now() < retry_at {
                writer.offline.push((owner, kind));
                continue;
            }
            let result = match slot {
                Some(slot) => writer.shard.reopen(slot, end).map_err(|error| error.to_string()),
                None => Ok(()),
            };
            if result.is_err() {
                writer.offline.push((owner, kind));
            }
            topic.reopened(kind, result);
        }
    }
}

/// An index that cannot be written is worth a warning, no more: it only makes the next start longer.
fn flush(index: &SparseIndex, count: usize) {
    if let Err(error) = index.flush(count) {
        tracing::warn!(%error, "index entries not written");
    }
}
