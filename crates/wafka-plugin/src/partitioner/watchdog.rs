//! Noticing calls that do not return, without reading a clock for each.
//!
//! A call counts up a number when it begins and when it ends, so that an odd number is a call under way. A thread looks at
//! the numbers from time to time: one that is odd and the same at two looks is a call that takes longer than the time
//! between them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use wafka_core::partitioner::RouteWatch;

use crate::load::PluginInfo;

/// How long between two looks: a call is noticed after one to two times this.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// After a slow call of an instance was logged, no further one of it is for so many looks: ten seconds.
const QUIET_LOOKS: u32 = 100;

/// What is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Function {
    Create,
    Route,
    Destroy,
}

/// The calls of one instance.
pub(crate) struct Call {
    count: AtomicU64,
    /// A [`Function`].
    function: AtomicU8,
    /// Of a call that was found slow: the count during it, and since when about it is under way.
    slow: Mutex<Option<(u64, Instant)>>,
    plugin: Arc<PluginInfo>,
    topic: String,
    slow_calls: Arc<AtomicU64>,
}

impl Call {
    pub(crate) fn new(plugin: Arc<PluginInfo>, topic: &[u8], slow_calls: Arc<AtomicU64>) -> Self {
        Call {
            count: AtomicU64::new(0),
            function: AtomicU8::new(Function::Route as u8),
            slow: Mutex::new(None),
            plugin,
            topic: topic.escape_ascii().to_string(),
            slow_calls,
        }
    }

    /// What the calls from here on are.
    pub(crate) fn set_function(&self, function: Function) {
        self.function.store(function as u8, Ordering::Relaxed);
    }

    fn function(&self) -> &'static str {
        let number = self.function.load(Ordering::Relaxed);
        let is = |function: Function| number == function as u8;
        if is(Function::Create) {
            "create"
        } else if is(Function::Destroy) {
            "destroy"
        } else {
            "route"
        }
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// To be said before a call and, as `end`, after it, by one thread at a time: so a plain load and store will do, and
    /// nothing else depends on the order of these.
    pub(crate) fn begin(&self) {
        self.count.store(self.count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.begin();
    }
}

impl RouteWatch for Call {
    fn origin(&self) -> String {
        format!("plugin {}", self.plugin.file.display())
    }

    fn stuck_for(&self) -> Option<Duration> {
        let slow = *self.slow.lock();
        let (count, since) = slow?;
        (self.count.load(Ordering::Relaxed) == count).then(|| since.elapsed())
    }
}

/// An instance as the watchdog sees it.
struct Watched {
    call: Weak<Call>,
    seen: u64,
    /// Since how many looks the call under way has been slow; 0 when it is not.
    slow_looks: u32,
    /// Whether that was logged.
    is_logged: bool,
    /// For how many looks nothing is logged.
    quiet: u32,
}

/// What a look found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// The call has been under way for at least [`LOOK_EVERY`].
    Slow,
    /// The slow call has ended; it took about so long.
    Ended(Duration),
}

/// Looks at calls.
#[derive(Default)]
pub(crate) struct Watchdog {
    watched: Mutex<Vec<Watched>>,
    wanted: Condvar,
}

impl Watchdog {
    /// The one that looks from a thread of its own.
    pub(crate) fn running() -> &'static Watchdog {
        static RUNNING: OnceLock<&'static Watchdog> = OnceLock::new();
        RUNNING.get_or_init(|| {
            let watchdog: &'static Watchdog = Box::leak(Box::default());
            let thread = thread::Builder::new().name("wafka-plugins".to_owned());
            if let Err(error) = thread.spawn(move || watchdog.run()) {
                tracing::error!(%error, "no thread to watch plugins with: slow calls will not be noticed");
            }
            watchdog
        })
    }

    pub(crate) fn watch(&self, call: &Arc<Call>) {
        let call = Arc::downgrade(call);
        self.watched.lock().push(Watched { call, seen: 0, slow_looks: 0, is_logged: false, quiet: 0 });
        self.wanted.notify_one();
    }

    fn run(&self) {
        loop {
            let mut watched = self.watched.lock();
            while watched.is_empty() {
                self.wanted.wait(&mut watched);
            }
            drop(watched);
            thread::sleep(LOOK_EVERY);
            // A log that panics must not end the looks: the calls would go uncounted.
            let _ = catch_unwind(AssertUnwindSafe(|| self.look(report)));
        }
    }

    /// Looks once, and tells `report` what is to be logged, after all locks are released.
    pub(crate) fn look(&self, mut report: impl FnMut(&Call, Found)) {
        let mut found = Vec::new();
        self.watched.lock().retain_mut(|watched| {
            let call = watched.call.upgrade();
            if let Some(call) = &call
                && let Some(what) = watched.look(call)
            {
                found.push((Arc::clone(call), what));
            }
            call.is_some()
        });
        for (call, what) in found {
            report(&call, what);
        }
    }
}

impl Watched {
    fn look(&mut self, call: &Call) -> Option<Found> {
        self.quiet = self.quiet.saturating_sub(1);
        let count = call.count.load(Ordering::Relaxed);
        let is_same = count == self.seen && count % 2 == 1;
        self.seen = count;
        if is_same {
            self.slow_looks = self.slow_looks.saturating_add(1);
            if self.slow_looks > 1 {
                return None;
            }
            call.slow_calls.fetch_add(1, Ordering::Relaxed);
            let now = Instant::now();
            *call.slow.lock() = Some((count, now.checked_sub(LOOK_EVERY).unwrap_or(now)));
            self.is_logged = self.quiet == 0;
            if !self.is_logged {
                return None;
            }
            self.quiet = QUIET_LOOKS;
            return Some(Found::Slow);
        }
        let looks = std::mem::take(&mut self.slow_looks);
        (looks > 0 && self.is_logged).then(|| Found::Ended(LOOK_EVERY * looks.saturating_add(1)))
    }
}

fn report(call: &Call, found: Found) {
    let (file, strategy, topic) = (call.plugin.file.display(), &call.plugin.name, &call.topic);
    let function = call.function();
    match found {
        Found::Slow => tracing::warn!(
            %file, strategy, topic,
            "a plugin's {function} has not returned for {} ms; what the strategy is to route waits, and so do the \
             connections of the thread that is in it", LOOK_EVERY.as_millis()
        ),
        Found::Ended(after) => {
            tracing::warn!(%file, strategy, topic, "the slow {function} returned after about {} ms", after.as_millis());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(watchdog: &Watchdog) -> Vec<Found> {
        let mut all = Vec::new();
        watchdog.look(|_, found| all.push(found));
        all
    }

    fn call() -> (Watchdog, Arc<Call>) {
        let call = Arc::new(Call::new(Arc::new(crate::partitioner::tests::info()), b"t", Arc::default()));
        let watchdog = Watchdog::default();
        watchdog.watch(&call);
        (watchdog, call)
    }

    #[test]
    fn a_call_that_is_the_same_at_two_looks_is_slow_once() {
        let (watchdog, call) = call();
        assert_eq!(seen(&watchdog), []);
        call.begin();
        assert_eq!(seen(&watchdog), [], "it may have begun just now");
        assert_eq!(call.stuck_for(), None);
        assert_eq!(seen(&watchdog), [Found::Slow]);
        assert!(call.stuck_for() >= Some(LOOK_EVERY));
        assert_eq!(seen(&watchdog), []);
        call.end();
        assert_eq!(call.stuck_for(), None);
        call.begin();
        assert_eq!(call.stuck_for(), None, "that is another call");
        call.end();
        assert_eq!(seen(&watchdog), [Found::Ended(3 * LOOK_EVERY)]);
        assert_eq!(seen(&watchdog), []);
        assert_eq!(call.slow_calls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn many_quick_calls_are_not_slow() {
        let (watchdog, call) = call();
        for _ in 0..5 {
            call.begin();
            assert_eq!(seen(&watchdog), []);
            call.end();
        }
        assert_eq!(call.slow_calls.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn slow_calls_are_counted_all_and_logged_now_and_then() {
        let (watchdog, call) = call();
        let mut logged = 0;
        for _ in 0..60 {
            call.begin();
            for _ in 0..2 {
                logged += seen(&watchdog).iter().filter(|found| **found == Found::Slow).count();
            }
            call.end();
        }
        assert_eq!(call.slow_calls.load(Ordering::Relaxed), 60);
        assert_eq!(logged, 2, "120 looks are two times ten seconds");
    }

    #[test]
    fn what_is_gone_is_not_watched() {
        let (watchdog, call) = call();
        call.begin();
        drop(call);
        assert_eq!(seen(&watchdog), []);
        assert!(watchdog.watched.lock().is_empty());
    }
}
