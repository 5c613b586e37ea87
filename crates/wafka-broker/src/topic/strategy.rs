//! A topic's strategy at work.
//!
//! One of the server's own routes under the topic's lock. A *guest*, which is a plugin's, may take long or hang, so it is
//! taken out of the topic's state for the route and put back after it: meanwhile the topic can be read, written by its
//! brokers, described and deleted, and only what is to be routed next waits. Id, partition and place in the batch are
//! given out in one step nevertheless, behind the route, and before another thread has the strategy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;
use wafka_core::partitioner::{Partitioner, PartitionerError, Route, RouteRequest, RouteWatch};

use super::append::{Admitted, AppendRequest, Appended};
use super::{State, Topic};
use crate::error::AppendError;

/// How long an event waits for the strategy while that routes another one.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// How often a thread looks again before it sleeps: routes take nanoseconds, and waking up takes microseconds.
const SPINS: u32 = 7;

/// A topic's strategy.
pub(crate) struct Strategy {
    /// `None` while a guest routes.
    idle: Option<Box<dyn Partitioner>>,
    /// Of a guest.
    watch: Option<Arc<dyn RouteWatch>>,
    /// Told apart from those that the topic had before.
    number: u64,
}

/// A guest that is taken out to route.
struct Taken {
    partitioner: Box<dyn Partitioner>,
    number: u64,
}

impl Strategy {
    pub(crate) fn new(partitioner: Box<dyn Partitioner>) -> Self {
        Strategy { watch: partitioner.watch(), idle: Some(partitioner), number: 0 }
    }

    /// Whether it may take long, and routes without the topic's lock.
    pub(super) fn is_guest(&self) -> bool {
        self.watch.is_some()
    }

    /// Routes under the topic's lock. For those that are no guests.
    pub(super) fn route_here(&mut self, request: &RouteRequest<'_>) -> Result<Route, PartitionerError> {
        match &mut self.idle {
            Some(partitioner) => partitioner.route(request),
            // Only guests are ever out.
            None => Ok(Route::Any),
        }
    }

    /// Puts another one in its place. What there was must be dropped without the topic's lock: it may take long.
    #[must_use = "to be dropped without the topic's lock"]
    pub(super) fn exchange(&mut self, partitioner: Box<dyn Partitioner>) -> Strategy {
        let new = Strategy { number: self.number + 1, ..Strategy::new(partitioner) };
        std::mem::replace(self, new)
    }

    /// Takes a guest back; what comes out is to be dropped without the topic's lock.
    fn put_back(&mut self, taken: Taken) -> Option<Taken> {
        if self.number != taken.number {
            return Some(taken);
        }
        self.idle = Some(taken.partitioner);
        None
    }
}

impl Topic {
    /// As [`Topic::append`], by a strategy that may take long.
    pub(super) fn append_by_guest(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        request: &AppendRequest<'_>,
    ) -> Result<Appended, AppendError> {
        loop {
            let Some(mut taken) = self.take_strategy(&mut state)? else {
                return self.append_here(&mut state, request, None);
            };
            let appended = self.append_by(&mut state, &mut taken, request);
            let out = state.strategy.put_back(taken);
            self.strategy_free.notify_one();
            if let Some(appended) = appended.transpose() {
                drop(state);
                drop(out);
                return appended;
            }
            // Another strategy was put in its place meanwhile, and decides.
            MutexGuard::unlocked(&mut state, || drop(out));
        }
    }

    /// Routes without the topic's lock, and accepts the event with it; `None` when the strategy was exchanged meanwhile.
    fn append_by(
        self: &Arc<Self>,
        state: &mut MutexGuard<'_, State>,
        taken: &mut Taken,
        request: &AppendRequest<'_>,
    ) -> Result<Option<Appended>, AppendError> {
        // What is refused anyway, or was sent before, is not routed.
        if let Admitted::Before(first) = self.admit(state, request)? {
            return Ok(Some(first));
        }
        let to_route = self.route_request(state, request);
        let route = MutexGuard::unlocked(state, || taken.partitioner.route(&to_route));
        if state.strategy.number != taken.number {
            return Ok(None);
        }
        match route.map_err(AppendError::from) {
            Ok(route) => self.append_here(state, request, Some(route)).map(Some),
            Err(error) => {
                state.note_panic(&error);
                Err(error)
            }
        }
    }

    /// Takes the strategy out, when it is there; `None` when it is no guest any more.
    fn take_strategy(&self, state: &mut MutexGuard<'_, State>) -> Result<Option<Taken>, AppendError> {
        let mut until = None;
        let mut spins = 0;
        let mut late = false;
        loop {
            let strategy = &mut state.strategy;
            let Some(watch) = &strategy.watch else { return Ok(None) };
            if let Some(partitioner) = strategy.idle.take() {
                return Ok(Some(Taken { partitioner, number: strategy.number }));
            }
            let stuck_for = watch.stuck_for();
            if late || stuck_for.is_some() {
                return Err(AppendError::StrategyBusy {
                    topic: self.name.to_string(),
                    origin: watch.origin(),
                    partitioner: state.partitioner_name.clone(),
                    stuck_for: stuck_for.unwrap_or(WAIT_MAX),
                });
            }
            if spins < SPINS {
                spins += 1;
                MutexGuard::unlocked(state, || (0..1 << spins).for_each(|_| std::hint::spin_loop()));
                continue;
            }
            let until = *until.get_or_insert_with(|| Instant::now() + WAIT_MAX);
            late = self.strategy_free.wait_until(state, until).timed_out();
        }
    }

    /// At the end of the server: whether a route has not returned. Then it says so in the log, and whatever comes of the
    /// route is refused, for nothing writes it any more.
    pub(crate) fn abandon_route(&self) -> bool {
        let (partitioner, watch) = {
            let mut state = self.state.lock();
            let Some(watch) = state.strategy.watch.as_ref().filter(|_| state.strategy.idle.is_none()) else {
                return false;
            };
            let told = (state.partitioner_name.clone(), Arc::clone(watch));
            state.held = Some("the server has shut down".into());
            told
        };
        let stuck_ms = watch.stuck_for().unwrap_or_default().as_millis();
        tracing::error!(
            topic = %self.name, strategy = partitioner, origin = watch.origin(), stuck_ms,
            "a route has not returned: the server ends without it"
        );
        true
    }
}
