//! `CLIENT PAUSE`: commands held back for a time.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Which commands are held back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PauseMode {
    /// Those that may change data.
    Write = 1,
    /// All but `CLIENT`'s own way to end the pause.
    All = 2,
}

/// The pause of commands, off at first.
#[derive(Default)]
pub struct Pause {
    /// 0, or the [`PauseMode`]; read before every command.
    mode: AtomicU8,
    until: Mutex<Option<Instant>>,
    changed: Notify,
}

impl Pause {
    /// Holds commands back for `time`. As in Redis, a pause is never made shorter or weaker by another.
    pub fn pause(&self, mode: PauseMode, time: Duration) {
        let mut until = self.until.lock();
        // A time beyond what the clock can tell is for ever in all but name.
        let now = Instant::now();
        let end = now.checked_add(time).unwrap_or(now + Duration::from_secs(86_400 * 365 * 30));
        if until.is_some_and(|until| until <= now) {
            // One that nobody had to wait for, and that is over, has no say.
            *until = None;
            self.mode.store(0, Ordering::Release);
        }
        *until = Some(until.map_or(end, |until| until.max(end)));
        self.mode.fetch_max(mode as u8, Ordering::AcqRel);
    }

    /// Ends the pause.
    pub fn unpause(&self) {
        let mut until = self.until.lock();
        *until = None;
        self.mode.store(0, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Whether a command that writes, or one that does not, is held back.
    #[must_use]
    pub fn holds(&self, writes: bool) -> bool {
        match self.mode.load(Ordering::Acquire) {
            0 => false,
            mode => writes || mode == PauseMode::All as u8,
        }
    }

    /// Resolves when the command is no longer held back.
    pub async fn over(&self, writes: bool) {
        loop {
            let changed = self.changed.notified();
            if !self.holds(writes) {
                return;
            }
            let until = *self.until.lock();
            let Some(until) = until else { return };
            if until <= Instant::now() {
                self.expire();
                continue;
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// Ends the pause if its time is up.
    fn expire(&self) {
        let mut until = self.until.lock();
        if until.is_some_and(|until| until <= Instant::now()) {
            *until = None;
            self.mode.store(0, Ordering::Release);
            self.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_not_weakened_by_another() {
        let pause = Pause::default();
        assert!(!pause.holds(true));
        pause.pause(PauseMode::Write, Duration::from_secs(60));
        assert!(pause.holds(true));
        assert!(!pause.holds(false));
        pause.pause(PauseMode::All, Duration::MAX);
        pause.pause(PauseMode::Write, Duration::ZERO);
        assert!(pause.holds(false));
        pause.unpause();
        assert!(!pause.holds(true));
    }

    #[test]
    fn a_pause_that_is_over_does_not_strengthen_the_next() {
        let pause = Pause::default();
        pause.pause(PauseMode::All, Duration::ZERO);
        pause.pause(PauseMode::Write, Duration::from_secs(60));
        assert!(pause.holds(true));
        assert!(!pause.holds(false));
    }

    #[tokio::test]
    async fn a_pause_ends_by_itself_or_when_ended() {
        let pause = Pause::default();
        pause.pause(PauseMode::All, Duration::from_millis(5));
        pause.over(false).await;
        assert!(!pause.holds(true));
        pause.pause(PauseMode::All, Duration::from_secs(3600));
        tokio::join!(pause.over(true), async { pause.unpause() });
        assert!(!pause.holds(true));
    }
}
