//! Where syncs are slow, a turn waits a little for who was answered by the last one.
//!
//! Clients that wait for each reply before they send the next event fall into groups otherwise: one group's events are
//! being synced while those of the others queue up, and each sync carries a part of what it could. A sync that takes about
//! a millisecond or more, over a network or on a slow disk, costs about the same for all of them. PostgreSQL has the same
//! idea as `commit_delay` and `commit_siblings`.
//!
//! As many events are waited for as the last turn had and as came meanwhile: when all who waited for a reply are back, so
//! are they. Who waits for another partition of the topic to be synced is answered, and back, after that: in a topic, nothing
//! is visible before what comes before it is. So that is waited for too, and the time counts from the last turn that any broker
//! ended. Other clients' turns may go on ending for ever, so nothing is put off for longer than both times together.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Broker;
use crate::topic::Pending;

/// With shorter syncs than this nothing is waited for: some dozens of clients take about as long to come back.
pub(super) const SLOW_SYNC: Duration = Duration::from_micros(600);
/// Who was answered is waited for as long as a sync takes at most, and no longer than this.
const WAIT_MAX: Duration = Duration::from_millis(2);
/// After so many waits in a row in which not all came nothing is waited for, ...
const VAIN_MAX: u32 = 3;
/// ... but for every so many turns, to find out whether that has changed.
const TRY_EVERY: u32 = 16;
/// Another partition is waited for as long as a sync takes at most, and no longer than this.
const HELD_MAX: Duration = Duration::from_millis(5);
/// So often it is looked whether that is done.
const LOOK_EVERY: Duration = Duration::from_micros(200);
/// For so many events waiting is worth it: who sends alone is answered at once, and large turns carry enough.
const EVENTS: std::ops::Range<u64> = 4..256;
/// In so many topics at most it is looked for something that is being written elsewhere.
const HELD_LOOK_MAX: usize = 64;

/// What the last turns were like.
#[derive(Debug)]
pub(super) struct Gathering {
    /// The shorter of the last two syncs: a single slow one says little.
    sync: Duration,
    last_sync: Duration,
    /// The events of the last turn and those that came meanwhile.
    expected: u64,
    /// How many turns were put off, one after the other, without all coming that were waited for; and the turns since that
    /// were not put off for that reason.
    vain: u32,
    skipped: u32,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gather {
    /// So many events.
    events: u64,
    /// So long after the last answers.
    patience: Duration,
    /// How long, while who is to come cannot be answered yet.
    held_until: Instant,
    /// How long at most, whatever else is answered meanwhile.
    until: Instant,
}

impl Gathering {
    pub(super) fn new() -> Self {
        Gathering { sync: Duration::ZERO, last_sync: Duration::ZERO, expected: 0, vain: 0, skipped: 0 }
    }

    /// Takes note of a turn that was synced. `events` is what it had and what came meanwhile.
    pub(super) fn turned(&mut self, events: u64, sync: Duration) {
        self.sync = sync.min(self.last_sync);
        self.last_sync = sync;
        self.expected = events;
    }

    /// Takes note of a turn that was put off, and whether all came.
    fn gathered(&mut self, all_came: bool) {
        self.vain = if all_came { 0 } else { self.vain.saturating_add(1) };
        self.skipped = 0;
    }

    /// What the turn that is about to begin is better put off for. Producers that do not wait for replies are not back when
    /// they are answered: it shows, and is not tried at each turn.
    fn plan(&mut self, now: Instant) -> Option<Gather> {
        if self.sync < SLOW_SYNC || !EVENTS.contains(&self.expected) {
            return None;
        }
        if self.vain >= VAIN_MAX && self.skipped < TRY_EVERY {
            self.skipped += 1;
            return None;
        }
        let patience = self.sync.min(WAIT_MAX);
        let held_until = now + self.sync.min(HELD_MAX);
        Some(Gather { events: self.expected, patience, held_until, until: held_until + patience })
    }
}

impl Gather {
    /// How much longer is waited where `queued` events are there, a turn of any broker last ended at `answered`, and `held`
    /// says whether something of the same topics is being written elsewhere.
    fn left(&self, now: Instant, answered: Instant, queued: u64, held: impl FnOnce() -> bool) -> Duration {
        if queued >= self.events {
            return Duration::ZERO;
        }
        let left = (answered + self.patience).min(self.until).saturating_duration_since(now);
        let held_for = self.held_until.saturating_duration_since(now);
        if held_for.is_zero() || !held() {
            return left;
        }
        left.max(held_for).min(LOOK_EVERY)
    }
}

/// Whether what came during a sync is counted.
pub(super) fn counts(sync: Duration) -> bool {
    sync >= SLOW_SYNC
}

impl Broker {
    /// Puts a turn off, if that is worth it.
    pub(super) fn gather(&self) {
        let Some(plan) = self.writer.lock().gathering.plan(Instant::now()) else { return };
        self.gathers.store(plan.events, Ordering::SeqCst);
        loop {
            let left = plan.left(Instant::now(), self.shared.answered(), self.queued(), || self.is_held());
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(left);
        }
        self.gathers.store(0, Ordering::SeqCst);
        let all_came = self.queued() >= plan.events;
        self.writer.lock().gathering.gathered(all_came);
    }

    /// Ends [`Broker::gather`] if what it waits for has come.
    pub(super) fn gathered(&self) {
        let events = self.gathers.load(Ordering::SeqCst);
        if events > 0
            && self.queued() >= events
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Counts what has been added to a partition's batch, under its topic's lock. Where no turn is put off, nobody asks, and
    /// producers of different topics need not meet at one counter; what came before syncs were slow is counted with the
    /// next event. The average is never below the last sync, so that whatever turn is put off was counted for.
    pub(crate) fn count(&self, pending: &mut Pending) {
        if self.last_syncs() >= SLOW_SYNC {
            self.queued.fetch_add(pending.lines - pending.counted, Ordering::SeqCst);
            pending.counted = pending.lines;
        }
    }

    /// A batch that was counted waits no more, under its topic's lock: it was taken, or it is lost.
    pub(crate) fn discount(&self, pending: &Pending) {
        if pending.counted > 0 {
            self.queued.fetch_sub(pending.counted, Ordering::SeqCst);
        }
    }

    /// How many events and records wait for the next turn, what a journal is about to say being one. Right where the last
    /// two syncs were slow.
    pub(super) fn queued(&self) -> u64 {
        self.queued.load(Ordering::SeqCst)
    }

    /// Whether something of the topics that wait is being written elsewhere.
    fn is_held(&self) -> bool {
        let queue = self.queue.lock();
        // A topic's lock is taken before that of the queue, never behind it.
        let topics: Vec<_> = queue.iter().take(HELD_LOOK_MAX).map(|(topic, _)| Arc::clone(topic)).collect();
        drop(queue);
        topics.iter().any(|topic| topic.is_under_way())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn only_several_events_behind_slow_syncs_are_waited_for() {
        let now = Instant::now();
        let mut gathering = Gathering::new();
        assert_eq!(gathering.plan(now), None);
        // One long sync among short ones is a hiccup.
        for sync in [0, 8, 0] {
            gathering.turned(25, sync * MS);
            assert_eq!(gathering.plan(now), None);
        }
        gathering.turned(25, 3 * MS);
        gathering.turned(26, MS);
        let expected = Gather { events: 26, patience: MS, held_until: now + MS, until: now + 2 * MS };
        assert_eq!(gathering.plan(now), Some(expected));
        gathering.turned(25, 90 * MS);
        gathering.turned(25, 90 * MS);
        let (held_until, until) = (now + HELD_MAX, now + HELD_MAX + WAIT_MAX);
        let longest = Gather { events: 25, patience: WAIT_MAX, held_until, until };
        assert_eq!(gathering.plan(now), Some(longest));
        for events in [0, 1, 3, 256, 10_000] {
            gathering.turned(events, 90 * MS);
            assert_eq!(gathering.plan(now), None, "{events}");
        }
    }

    #[test]
    fn it_is_waited_for_who_was_answered_and_for_who_will_be() {
        let answered = Instant::now();
        let at = |ms: u32| answered + ms * MS;
        let plan = Gather { events: 25, patience: 2 * MS, held_until: at(4), until: at(6) };
        let left = |now, events, held| plan.left(now, answered, events, || held);
        assert_eq!(left(at(0), 24, false), 2 * MS);
        assert_eq!(left(at(1), 24, false), MS);
        assert_eq!(left(at(2), 1, false), Duration::ZERO);
        // All are there, or so many that they do not matter.
        assert_eq!(left(at(0), 25, false), Duration::ZERO);
        assert_eq!(left(at(0), u64::MAX, true), Duration::ZERO);
        // Others cannot come before another partition is written: nobody tells when that is, and it is not waited for ever.
        assert_eq!(left(at(0), 24, true), LOOK_EVERY);
        assert_eq!(left(at(3), 24, true), LOOK_EVERY);
        assert_eq!(left(at(4), 24, true), Duration::ZERO);
        // Somebody was answered since.
        assert_eq!(plan.left(at(5), at(4), 24, || false), MS);
    }

    #[test]
    fn who_does_not_wait_for_replies_is_not_waited_for_at_each_turn() {
        let now = Instant::now();
        let mut gathering = Gathering::new();
        let mut turns = |count: u32, all_came: bool| {
            let mut put_off = 0;
            for _ in 0..count {
                gathering.turned(25, 2 * MS);
                if gathering.plan(now).is_some() {
                    put_off += 1;
                    gathering.gathered(all_came);
                }
            }
            put_off
        };
        // The first turn's sync was not there to be compared.
        assert_eq!(turns(101, true), 100);
        assert_eq!(turns(VAIN_MAX, false), VAIN_MAX);
        assert_eq!(turns(TRY_EVERY, false), 0);
        assert_eq!(turns(1, false), 1);
        assert_eq!(turns(10 * (TRY_EVERY + 1), false), 10);
        // They wait for them again.
        assert_eq!(turns(TRY_EVERY, true), 0);
        assert_eq!(turns(100, true), 100);
    }

    #[test]
    fn others_that_are_answered_again_and_again_put_nothing_off_for_ever() {
        let begun = Instant::now();
        let mut gathering = Gathering::new();
        gathering.turned(25, 90 * MS);
        gathering.turned(25, 90 * MS);
        let plan = gathering.plan(begun).unwrap();
        for held in [false, true] {
            let mut now = begun;
            // Each time it is looked, another broker's turn has just ended.
            while !plan.left(now, now, 1, || held).is_zero() {
                now += LOOK_EVERY;
                assert!(now <= begun + HELD_MAX + WAIT_MAX, "still put off, held: {held}");
            }
        }
    }
}
