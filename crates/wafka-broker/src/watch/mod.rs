//! Waiting for a topic to change, whether or not it exists yet.
//!
//! Readers of events ([`Changed`]) are all woken by a change that concerns them. Members of a consumer group line up
//! ([`Turn`]): an event goes to one of them, so it wakes one.

mod turn;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use wafka_core::PartitionId;

pub use turn::{Arrival, Call, Turn};

/// The place where readers of one key wait. Each topic name has at most one; it outlives deletion and re-creation.
#[derive(Default)]
pub struct WatchPoint {
    /// Readers of events.
    waiting: AtomicUsize,
    /// Members of groups.
    lined_up: AtomicUsize,
    /// How often what the name stands for was modified, as `WATCH` understands it.
    modifications: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_id: u64,
    readers: BTreeMap<u64, Reader>,
    /// Groups that somebody has lined up for.
    lines: HashMap<Box<[u8]>, turn::Line>,
}

/// One who waits for events.
struct Reader {
    /// Of one partition only, by its index.
    lane: Option<usize>,
    /// There was a change.
    changed: bool,
    waker: Option<Waker>,
}

/// What happened to a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// It was made, or what held events back is gone.
    Any,
    /// The partition at this index has events, and the topic's readers see them (or earlier ones) too.
    Events(usize),
    /// The partition at this index has events, which readers of the whole topic do not see yet.
    PartitionEvents(usize),
    /// It is gone, and its groups with it.
    Gone,
}

impl Change {
    fn concerns(self, lane: Option<usize>) -> bool {
        match (self, lane) {
            (Change::Events(changed) | Change::PartitionEvents(changed), Some(lane)) => changed == lane,
            (Change::PartitionEvents(_), None) => false,
            _ => true,
        }
    }
}

impl WatchPoint {
    /// A future that resolves at the first change after this call, of the topic, or of one partition. Take it before
    /// looking at the topic.
    pub fn changed(self: &Arc<Self>, partition: Option<PartitionId>) -> Changed {
        let mut state = self.state.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        state.next_id += 1;
        let id = state.next_id;
        let reader = Reader { lane: partition.map(PartitionId::index), changed: false, waker: None };
        state.readers.insert(id, reader);
        Changed { point: Arc::clone(self), id }
    }

    /// A number that grows when events of the topic of this name come or go, when its time to live changes, and when it is
    /// made or deleted (`WATCH`). Of an event it tells when that becomes visible.
    #[must_use]
    pub fn modifications(&self) -> u64 {
        self.modifications.load(Ordering::Acquire)
    }

    /// Notes a modification: with the topic's state locked, where that is what is modified, so that nobody reads what is
    /// new and finds the number old.
    pub(crate) fn modified(&self) {
        self.modifications.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether anybody waits, as a reader or as a member of a group.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0 || self.lined_up.load(Ordering::SeqCst) > 0
    }

    /// Whether anybody waits as a member of a group.
    pub(crate) fn is_lined_up_for(&self) -> bool {
        self.lined_up.load(Ordering::SeqCst) > 0
    }

    /// Wakes those whom a change concerns: all readers, and the first member of each group.
    pub(crate) fn notify(&self, change: Change) {
        let mut wakers = Vec::new();
        self.announce(change, &mut wakers);
        wake_all(wakers);
    }

    /// [`WatchPoint::notify`] that leaves the waking to the caller. Events are announced with the topic's state locked:
    /// who sees them there finds those called whose turn it is.
    pub(crate) fn announce(&self, change: Change, wakers: &mut Vec<Waker>) {
        if !self.is_watched() {
            return;
        }
        let mut state = self.state.lock();
        for reader in state.readers.values_mut().filter(|reader| change.concerns(reader.lane)) {
            reader.changed = true;
            wakers.extend(reader.waker.take());
        }
        for line in state.lines.values_mut() {
            match change {
                Change::Gone => line.call_all(Call::Gone, wakers),
                Change::Any | Change::Events(_) => line.call_first(wakers),
                Change::PartitionEvents(_) => {}
            }
        }
    }
}

fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

/// See [`WatchPoint::changed`].
pub struct Changed {
    point: Arc<WatchPoint>,
    id: u64,
}

impl Future for Changed {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.point.state.lock();
        match state.readers.get_mut(&self.id) {
            Some(reader) if !reader.changed => {
                match &mut reader.waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => reader.waker = Some(context.waker().clone()),
                }
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        self.point.waiting.fetch_sub(1, Ordering::SeqCst);
        self.point.state.lock().readers.remove(&self.id);
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
        let mut changed = point.changed(None);
        point.notify(Change::Any);
        assert!(poll(&mut changed));
    }

    #[test]
    fn dropped_waiters_leave_nothing_behind() {
        let point = Arc::new(WatchPoint::default());
        let mut changed = point.changed(None);
        assert!(!poll(&mut changed));
        drop(changed);
        assert!(!point.is_watched());
        assert!(point.state.lock().readers.is_empty());
    }

    #[test]
    fn readers_of_a_partition_wake_by_its_events_alone() {
        let point = Arc::new(WatchPoint::default());
        let readers = || [None, Some(PartitionId(1)), Some(PartitionId(2))].map(|of| point.changed(of));
        for (change, woken) in [
            (Change::Events(0), [true, true, false]),
            (Change::PartitionEvents(1), [false, false, true]),
            (Change::Any, [true, true, true]),
            (Change::Gone, [true, true, true]),
        ] {
            let mut readers = readers();
            point.notify(change);
            assert_eq!(readers.each_mut().map(poll), woken, "{change:?}");
        }
    }
}
