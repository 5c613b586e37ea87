//! What a broker does about once a second: syncs what nobody waited for, writes index entries, tries failed logs again.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Instant;

use wafka_core::storage::{CaughtUp, LogSlot, Shard, SyncFailure};

use super::turn::INDEX_FLUSH;
use super::{Broker, Writer};
use crate::index::SparseIndex;
use crate::options::FsyncPolicy;
use crate::ticket::TicketKind;
use crate::topic::Topic;

/// With `fsync = "no"` a checkpoint syncs when so much was appended since the last sync, in bytes: the next start has no
/// more than this to verify, and the index entries that wait in memory are few.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;

impl Broker {
    /// Makes everything appended so far durable, without holding up appends, and writes the index entries for it.
    pub(super) fn checkpoint(&self) {
        let appended = self.counters.bytes.load(Ordering::Relaxed);
        let (sync, indexes) = {
            let mut writer = self.writer.lock();
            let stopping = self.shared.stopping.load(Ordering::SeqCst);
            if !stopping && !is_due(self.shared.fsync(), appended.saturating_sub(writer.synced_bytes)) {
                return;
            }
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
            writer.synced_bytes = appended;
            (sync, indexes)
        };
        let failures = sync.map(|sync| sync.wait()).unwrap_or_default();
        // Not while a rewrite puts its own entries, and newer ones, in the place of those that were counted.
        let mut writer = self.writer.lock();
        self.take_offline(&mut writer, &failures);
        let offline = offline_indexes(&writer);
        for (generation, count, index) in indexes {
            if offline.contains(&Arc::as_ptr(&index)) {
                // Entries of a log that failed must not become checkpoints: they wait until it is back.
                if !index.set_listed(true) {
                    writer.unsynced.push(index);
                }
            } else if index.generation() == generation {
                flush(&index, count);
            }
        }
    }

    /// Takes the logs offline that a sync could not make durable.
    fn take_offline(&self, writer: &mut Writer, failures: &[SyncFailure]) {
        if failures.is_empty() {
            return;
        }
        writer.shard.finish_sync(failures);
        for failure in failures {
            self.shared.note_error(&failure.error);
            self.fail(writer, failure.slot, &failure.error.to_string().into());
        }
    }

    /// Lets the shard do what it put off, as far as it is due.
    pub(super) fn catch_up(&self, writer: &mut Writer, all: bool) {
        let CaughtUp { due, failures } = writer.shard.catch_up(all);
        let behind = self.behind.swap(due.is_some(), Ordering::SeqCst);
        if due.is_some() && !behind {
            // This may be another thread's turn, and the broker's own asleep for longer than the work may wait.
            self.wake();
        }
        self.take_offline(writer, &failures);
    }

    /// Makes everything appended so far durable, also what a checkpoint is about to: a sync covers those before it.
    /// Returns the logs that could not be.
    pub(crate) fn sync_appended(&self) -> Vec<SyncFailure> {
        let sync = self.writer.lock().shard.begin_sync();
        let failures = sync.wait();
        self.take_offline(&mut self.writer.lock(), &failures);
        failures
    }

    /// Does something with the shard, and makes that and everything appended before durable; returns the logs that
    /// could not be.
    pub(crate) fn sync_after<T, E>(
        &self,
        work: impl FnOnce(&mut dyn Shard) -> Result<T, E>,
    ) -> Result<(T, Vec<SyncFailure>), E> {
        let (done, sync) = {
            let mut writer = self.writer.lock();
            let done = work(&mut *writer.shard)?;
            (done, writer.shard.begin_sync())
        };
        let failures = sync.wait();
        self.take_offline(&mut self.writer.lock(), &failures);
        Ok((done, failures))
    }

    /// Takes the log in `slot` offline, outside its own turn.
    pub(super) fn fail(&self, writer: &mut Writer, slot: LogSlot, reason: &Arc<str>) {
        let Some((owner, kind)) = writer.owners.get(&slot).cloned() else { return };
        let mut wakers: Vec<Waker> = Vec::new();
        // As long as a log is offline every sync reports it anew.
        if owner.upgrade().is_some_and(|topic| topic.fail_log(kind, reason, &mut wakers)) {
            writer.offline.push_back((owner, kind));
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

    /// Syncs once more and writes every index entry there is, but those of logs that are not durable.
    pub(super) fn flush_all_indexes(&self) {
        let mut writer = self.writer.lock();
        let failures = writer.shard.begin_sync().wait();
        self.take_offline(&mut writer, &failures);
        let offline = offline_indexes(&writer);
        for (owner, kind) in writer.owners.values() {
            if let (Some(topic), TicketKind::Partition(lane)) = (owner.upgrade(), kind) {
                let index = topic.lane_index_file(*lane);
                if !offline.contains(&Arc::as_ptr(&index)) {
                    flush(&index, index.unflushed());
                }
            }
        }
    }

    /// How many logs are offline.
    pub(super) fn count_offline(&self) -> usize {
        self.writer.lock().offline.len()
    }

    /// Tries the log again that failed longest ago, if it is time. One at a time: where the backend's engine does not
    /// answer each attempt takes as long as the backend has patience, and other logs have work meanwhile.
    pub(super) fn reopen_next(&self) {
        let mut writer = self.writer.lock();
        let Some((owner, kind)) = writer.offline.pop_front() else { return };
        let Some(topic) = owner.upgrade().filter(|topic| !topic.is_gone()) else { return };
        let Some((retry_at, slot, end)) = topic.retry_at(kind) else { return };
        if Instant::now() < retry_at {
            writer.offline.push_back((owner, kind));
            return;
        }
        let result = match slot {
            Some(slot) => writer.shard.reopen(slot, end).map_err(|error| error.to_string()),
            None => Ok(()),
        };
        if result.is_err() {
            writer.offline.push_back((owner, kind));
        }
        topic.reopened(kind, result);
    }
}

/// Whether a checkpoint syncs, `appended` bytes after the last one did.
fn is_due(policy: FsyncPolicy, appended: u64) -> bool {
    policy != FsyncPolicy::No || appended >= UNSYNCED_BYTES_MAX
}

/// The indexes of the partitions that are offline, to be compared with others only.
fn offline_indexes(writer: &Writer) -> HashSet<*const SparseIndex> {
    let index_of = |(owner, kind): &(Weak<Topic>, TicketKind)| match kind {
        TicketKind::Partition(lane) => {
            owner.upgrade().map(|topic| Arc::as_ptr(&topic.lane_index_file(*lane)))
        }
        TicketKind::Journal => None,
    };
    writer.offline.iter().filter_map(index_of).collect()
}

/// An index that cannot be written is worth a warning, no more: it only makes the next start longer.
fn flush(index: &SparseIndex, count: usize) {
    if let Err(error) = index.flush(count) {
        tracing::warn!(%error, "index entries not written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_means_no_sync_before_much_was_appended() {
        for policy in [FsyncPolicy::Always, FsyncPolicy::EverySec] {
            assert!(is_due(policy, 0));
        }
        assert!(!is_due(FsyncPolicy::No, UNSYNCED_BYTES_MAX - 1));
        assert!(is_due(FsyncPolicy::No, UNSYNCED_BYTES_MAX));
    }
}
