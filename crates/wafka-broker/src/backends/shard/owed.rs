//! What a backend beside the default one still has to make durable: it is left alone when that is nothing.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use wafka_core::storage::{LogSlot, SyncFailure};

/// See the module.
#[derive(Default)]
pub(super) struct Owed {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Something was appended since the last sync began.
    dirty: bool,
    /// Syncs under way: who syncs waits for what they are about to make durable, too.
    under_way: usize,
    /// Logs that failed, by the backend's slots, each with the number of its failure. The backend names them in every sync
    /// until they are open afresh, so it is asked; only a sync that began after the failure can say that it is none any more.
    failed: HashMap<LogSlot, u64>,
    failures: u64,
}

impl State {
    fn fail(&mut self, slots: impl IntoIterator<Item = LogSlot>) {
        for slot in slots {
            self.failures += 1;
            self.failed.insert(slot, self.failures);
        }
    }
}

impl Owed {
    /// Something was, or may have been, appended.
    pub(super) fn appended(&self) {
        self.state.lock().dirty = true;
    }

    /// These logs failed.
    pub(super) fn failed(&self, slots: impl IntoIterator<Item = LogSlot>) {
        self.state.lock().fail(slots);
    }

    /// The log was opened afresh, or closed.
    pub(super) fn is_whole(&self, slot: LogSlot) {
        self.state.lock().failed.remove(&slot);
    }

    /// Notes that a sync begins; `None` when none is needed.
    pub(super) fn ask(owed: &Arc<Self>) -> Option<Asked> {
        let mut state = owed.state.lock();
        if !state.dirty && state.under_way == 0 && state.failed.is_empty() {
            return None;
        }
        state.dirty = false;
        state.under_way += 1;
        Some(Asked { owed: Arc::clone(owed), failures_before: state.failures, answered: false })
    }
}

/// A sync under way, until it is dropped.
pub(super) struct Asked {
    owed: Arc<Owed>,
    failures_before: u64,
    answered: bool,
}

impl Asked {
    /// The sync ended, and these logs failed.
    pub(super) fn answered(mut self, failures: &[SyncFailure]) {
        self.answered = true;
        let mut state = self.owed.state.lock();
        // What failed while it was waited for is not its to clear.
        state.failed.retain(|_, number| *number > self.failures_before);
        state.fail(failures.iter().map(|failure| failure.slot));
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut state = self.owed.state.lock();
        state.under_way -= 1;
        // A sync that nobody waited for made nothing durable.
        state.dirty |= !self.answered;
    }
}
