//! While a transaction is under way no rewrite takes the place of a log that it may have to be cut back in.

use parking_lot::{Condvar, Mutex, MutexGuard};

/// Keeps rewrites and transactions apart.
#[derive(Default)]
pub(crate) struct Freeze {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Transactions under way.
    transactions: usize,
    /// One of them failed, or nobody knows how it ended: its logs stay as they are until it is taken back.
    for_good: bool,
    /// A rewrite takes its place, or waits for that.
    swapping: bool,
}

/// A rewrite may take its place while this lives.
pub(crate) struct Swap<'a>(&'a Freeze);

impl Freeze {
    /// Begins a transaction: waits for a rewrite that is about to take its place. Blocks.
    pub(crate) fn freeze(&self) {
        let mut state = self.state.lock();
        while state.swapping && !state.for_good {
            self.changed.wait(&mut state);
        }
        state.transactions += 1;
    }

    /// Ends a transaction.
    pub(crate) fn thaw(&self) {
        let mut state = self.state.lock();
        state.transactions = state.transactions.saturating_sub(1);
        self.changed.notify_all();
    }

    /// Ends a transaction that has to be taken back: the topic is opened afresh then.
    pub(crate) fn keep_frozen(&self) {
        self.state.lock().for_good = true;
        self.changed.notify_all();
    }

    /// Whether a transaction is under way.
    pub(crate) fn is_under_way(&self) -> bool {
        let state = self.state.lock();
        state.transactions > 0 && !state.for_good
    }

    /// Whether the next start may have to take something back, should it come now.
    pub(crate) fn is_frozen(&self) -> bool {
        let state = self.state.lock();
        state.transactions > 0 || state.for_good
    }

    /// Lets a rewrite take its place, when no transaction is under way; `None` when it must not until the next start.
    /// New transactions wait meanwhile. Blocks.
    pub(crate) fn swap(&self) -> Option<Swap<'_>> {
        let mut state = self.state.lock();
        state.swapping = true;
        self.wait_for_transactions(&mut state);
        if state.for_good {
            state.swapping = false;
            return None;
        }
        Some(Swap(self))
    }

    fn wait_for_transactions(&self, state: &mut MutexGuard<'_, State>) {
        while state.transactions > 0 && !state.for_good {
            self.changed.wait(state);
        }
    }
}

impl Drop for Swap<'_> {
    fn drop(&mut self) {
        self.0.state.lock().swapping = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    #[test]
    fn a_rewrite_waits_for_transactions_and_they_for_it() {
        let freeze = Freeze::default();
        let thawed = AtomicBool::new(false);
        let swapped = AtomicBool::new(false);
        freeze.freeze();
        std::thread::scope(|scope| {
            let swap = scope.spawn(|| {
                let swap = freeze.swap();
                assert!(thawed.load(Ordering::SeqCst), "it did not wait for the transaction");
                swapped.store(true, Ordering::SeqCst);
                swap.is_some()
            });
            let end = Instant::now() + Duration::from_secs(20);
            while !freeze.state.lock().swapping {
                assert!(Instant::now() < end, "the rewrite does not come");
                std::thread::yield_now();
            }
            let next = scope.spawn(|| {
                freeze.freeze();
                assert!(swapped.load(Ordering::SeqCst), "it did not wait for the rewrite");
                freeze.thaw();
            });
            // The lock was free since `swapping` was set: the rewrite waits, or went on wrongly.
            assert!(!swap.is_finished() && !next.is_finished());
            thawed.store(true, Ordering::SeqCst);
            freeze.thaw();
            assert!(swap.join().unwrap());
            next.join().unwrap();
        });
        freeze.freeze();
        freeze.keep_frozen();
        assert!(freeze.swap().is_none());
    }
}
