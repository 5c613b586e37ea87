//! Waiting for a topic to change, whether or not it exists yet.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// The place where readers of one key wait. Each topic name has at most one; it outlives deletion and re-creation.
#[derive(Default)]
pub struct WatchPoint {
    waiting: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Grows with every change; a waiter that saw an older value need not sleep.
    version: u64,
    next_id: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl WatchPoint {
    /// A future that resolves at the first change after this call. Take it before looking at the topic.
    pub fn changed(self: &Arc<Self>) -> Changed {
        let mut state = self.state.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        state.next_id += 1;
        Changed { point: Arc::clone(self), version: state.version, id: state.next_id }
    }

    /// Whether anybody waits.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Wakes all who wait.
    pub(crate) fn notify(&self) {
        if !self.is_watched() {
            return;
        }
        let wakers = {
            let mut state = self.state.lock();
            state.version += 1;
            std::mem::take(&mut state.wakers)
        };
        for waker in wakers.into_values() {
            waker.wake();
        }
    }
}

/// See [`WatchPoint::changed`].
pub struct Changed {
    point: Arc<WatchPoint>,
    version: u64,
    id: u64,
}

impl Future for Changed {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.point.state.lock();
        if state.version != self.version {
            return Poll::Ready(());
        }
        state
            .wakers
            .entry(self.id)
            .and_modify(|waker| waker.clone_from(context.waker()))
            .or_insert_with(|| context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        self.point.waiting.fetch_sub(1, Ordering::SeqCst);
        self.point.state.lock().wakers.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(changed: &mut Changed) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(changed).poll(&mut context).is_ready()
    }

    #[test]
    fn a_change_between_taking_the_future_and_polling_it_is_seen() {
        let point = Arc::new(WatchPoint::default());
        let mut changed = point.changed();
        point.notify();
        assert!(poll(&mut changed));
    }

    #[test]
    fn dropped_waiters_leave_nothing_behind() {
        let point = Arc::new(WatchPoint::default());
        let mut changed = point.changed();
        assert!(!poll(&mut changed));
        drop(changed);
        assert!(!point.is_watched());
        assert!(point.state.lock().wakers.is_empty());
    }
}
