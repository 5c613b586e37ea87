//! Counting the calls that a broker waits for and that take too long.
//!
//! There is one such call for each batch, and not for each event, so a clock is read for each; a call that does not return
//! counts while it lasts.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A call that takes so long is slow.
const SLOW: Duration = Duration::from_millis(100);

/// After a slow call was logged no further one is for so long.
const QUIET: Duration = Duration::from_secs(10);

/// The calls of a backend.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When each call that has not returned began. Who of two that began at once has returned does not matter.
    under_way: Vec<Instant>,
    /// How many slow calls have returned.
    returned: u64,
    logged: Option<Instant>,
}

impl Calls {
    /// How many calls were slow or are so at this time.
    pub(super) fn slow(&self, now: Instant) -> u64 {
        let state = self.0.lock();
        let is_slow = |begun: &&Instant| now.saturating_duration_since(**begun) >= SLOW;
        state.returned + state.under_way.iter().filter(is_slow).count() as u64
    }

    pub(super) fn begin(&self, now: Instant) {
        self.0.lock().under_way.push(now);
    }

    /// A call that began then has returned. How long it took, when that is to be logged.
    pub(super) fn end(&self, begun: Instant, now: Instant) -> Option<Duration> {
        let mut state = self.0.lock();
        if let Some(at) = state.under_way.iter().position(|at| *at == begun) {
            state.under_way.swap_remove(at);
        }
        let took = now.saturating_duration_since(begun);
        if took < SLOW {
            return None;
        }
        state.returned += 1;
        if state.logged.is_some_and(|at| now.saturating_duration_since(at) < QUIET) {
            return None;
        }
        state.logged = Some(now);
        Some(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_takes_long_counts_once_and_already_while_it_lasts() {
        let (calls, begun) = (Calls::default(), Instant::now());
        let after = |millis| begun + Duration::from_millis(millis);
        calls.begin(begun);
        assert_eq!((calls.slow(after(99)), calls.slow(after(100))), (0, 1));
        calls.begin(after(100));
        assert_eq!(calls.end(after(100), after(199)), None, "quick");
        assert_eq!(calls.slow(after(200)), 1);
        assert_eq!(calls.end(begun, after(300)), Some(Duration::from_millis(300)));
        assert_eq!(calls.slow(after(60_000)), 1);
    }

    #[test]
    fn all_are_counted_and_some_logged() {
        let (calls, begin) = (Calls::default(), Instant::now());
        let mut logged = 0;
        for number in 0..60 {
            let begun = begin + number * 2 * SLOW;
            calls.begin(begun);
            logged += u32::from(calls.end(begun, begun + SLOW).is_some());
        }
        assert_eq!((calls.slow(begin), logged), (60, 2), "twelve seconds");
    }
}
