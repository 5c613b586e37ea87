//! The journal's file: made ready in the background, given up when it fails.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;
use wafka_core::BrokerId;

use super::ring::{self, Ring};
use super::state::{Phase, State};
use super::{CommitJournal, CommitJournalUse};

impl CommitJournal {
    /// Begins to make the journal's file ready, if nobody did.
    pub(super) fn prepare(self: &Arc<Self>) {
        // A sync under way on another thread holds the state; the next turn tries again.
        let Some(mut state) = self.state.try_lock() else { return };
        if !matches!(state.phase, Phase::Absent) {
            return;
        }
        state.phase = Phase::Preparing;
        drop(state);
        let prepare = |journal: &CommitJournal| {
            let opened = journal.open_ring();
            let mut state = journal.state.lock();
            journal.ready.store(opened.is_ok(), Ordering::Release);
            state.phase = opened.map_or_else(
                |error| {
                    tracing::warn!(broker = %journal.broker, %error, "no commit journal");
                    Phase::Off
                },
                Phase::Ready,
            );
            journal.changed.notify_all();
        };
        match self.home.options.commit_journal {
            CommitJournalUse::Always => prepare(self),
            _ => self.in_background("journal", prepare),
        }
    }

    fn open_ring(&self) -> io::Result<Ring> {
        let (fs, bytes) = (&*self.home.fs, self.home.options.commit_journal_bytes.max(ring::BYTES_MIN));
        if let Some(ring) = Ring::open(fs, &self.path)? {
            if ring.records(&mut |_, _| Ok(()))? > ring.since() {
                return Err(io::Error::other("the file holds records that could not be released"));
            }
            if ring.bytes() == bytes {
                return Ok(ring);
            }
        }
        Ring::create(fs, &self.home.dir, &self.path, bytes).inspect_err(|_| {
            // A part of it would only take space.
            _ = fs.remove(&self.path);
        })
    }

    /// Uses the journal no more: its file may hold a record in part.
    pub(super) fn give_up(&self, state: &mut MutexGuard<'_, State>, error: &io::Error) {
        tracing::error!(broker = %self.broker, %error, "the commit journal failed: syncing every file instead");
        self.ready.store(false, Ordering::Release);
        if let Phase::Ready(ring) = std::mem::take(&mut state.phase) {
            state.phase = Phase::Broken(ring);
        }
        // What a checkpoint under way cannot sync comes back to the logs that are covered.
        while state.checkpointing {
            self.changed.wait(state);
        }
        self.remove(state);
    }

    /// Syncs what only the records of a broken journal keep, and removes its file, so that no start replays it.
    pub(super) fn remove(&self, state: &mut MutexGuard<'_, State>) {
        let Phase::Broken(ring) = &state.phase else { return };
        state.covered = self.rescue(ring, self.sync.all(&state.covered));
        if !state.covered.is_empty() {
            return;
        }
        let gone = match self.home.fs.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.home.fs.sync_dir(&self.home.dir),
        };
        match gone {
            Ok(()) => state.phase = Phase::Off,
            Err(error) => tracing::error!(broker = %self.broker, %error, "cannot remove the commit journal"),
        }
    }
}

/// The name of a broker's journal; no log's file ends so.
pub(super) fn file_name(broker: BrokerId) -> String {
    format!("wafka.commit-{broker}.log")
}
