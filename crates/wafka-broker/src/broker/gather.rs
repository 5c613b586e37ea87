//! Where syncs are slow, a turn waits a little for who was answered by the last one.
//!
//! Clients that wait for each reply before they send the next event fall into two halves otherwise: one half's events are
//! being synced while those of the other queue up, and each sync carries half of what it could. A sync that takes
//! milliseconds, over a network or on a slow disk, costs about the same for all of them. PostgreSQL has the same idea as
//! `commit_delay` and `commit_siblings`.

use std::time::{Duration, Instant};

/// With shorter syncs than this nothing is waited for.
const SLOW_SYNC: Duration = Duration::from_millis(1);
/// The part of a sync's time that is waited at most.
const SHARE: u32 = 3;
const WAIT_MAX: Duration = Duration::from_millis(1);
/// The events of a turn with which waiting is worth it: who sends alone is answered at once, and large turns carry enough.
const EVENTS: std::ops::Range<u64> = 4..256;

/// What the last turns were like.
#[derive(Debug)]
pub(super) struct Gathering {
    /// The shorter of the last two syncs: a single slow one says little.
    sync: Duration,
    last_sync: Duration,
    ended: Instant,
    events: u64,
}

impl Gathering {
    pub(super) fn new() -> Self {
        Gathering { sync: Duration::ZERO, last_sync: Duration::ZERO, ended: Instant::now(), events: 0 }
    }

    /// Takes note of a turn with so many events that was synced and published.
    pub(super) fn turned(&mut self, events: u64, sync: Duration, ended: Instant) {
        *self = Gathering { sync: sync.min(self.last_sync), last_sync: sync, ended, events };
    }

    /// How long the turn that is about to begin is better put off.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        if self.sync < SLOW_SYNC || !EVENTS.contains(&self.events) {
            return Duration::ZERO;
        }
        let until = self.ended + (self.sync / SHARE).min(WAIT_MAX);
        until.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_several_events_behind_slow_syncs_are_waited_for() {
        let ms = Duration::from_millis;
        let now = Instant::now();
        let mut gathering = Gathering::new();
        assert_eq!(gathering.wait(now), Duration::ZERO);
        // One long sync among short ones is a hiccup.
        for sync in [ms(0), ms(8), ms(0)] {
            gathering.turned(25, sync, now);
            assert_eq!(gathering.wait(now), Duration::ZERO);
        }
        gathering.turned(25, ms(2), now);
        gathering.turned(25, Duration::from_micros(1_500), now);
        assert_eq!(gathering.wait(now), Duration::from_micros(500));
        assert_eq!(gathering.wait(now + Duration::from_micros(400)), Duration::from_micros(100));
        assert_eq!(gathering.wait(now + ms(1)), Duration::ZERO);
        gathering.turned(25, ms(90), now);
        gathering.turned(25, ms(90), now);
        assert_eq!(gathering.wait(now), WAIT_MAX);
        for events in [0, 1, 3, 256, 10_000] {
            gathering.turned(events, ms(90), now);
            assert_eq!(gathering.wait(now), Duration::ZERO, "{events}");
        }
    }
}
