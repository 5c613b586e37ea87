//! The thread that asks for the lease, has the data opened once it is ours, and keeps the lease.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use wafka_broker::Engine;
use wafka_broker::lease::{
    AskKeeper, KeeperEnd, LeaseClock, LeaseNews, acquire, acted_on_until, keep, retry_after,
};
use wafka_core::storage::{Acquired, Holder, Lease, Owner, Ownership};

use crate::descriptors;
use crate::engine::EngineError;
use crate::shared::Shared;

/// Between two questions for the lease as long as nothing is known of its length.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// The least pause between two questions: a lease that is about to end is not asked for over and over.
const ASK_PAUSE_MIN: Duration = Duration::from_millis(5);

/// Opens the data, which is ours.
pub(crate) type Open = Box<dyn FnOnce() -> Result<Arc<Engine>, EngineError> + Send>;

/// What came of the start, as far as that can be waited for: the data is open, another server has it, or it is ours and
/// does not open.
pub(crate) type First = Receiver<Result<(), EngineError>>;

/// The handle on the thread.
pub(crate) struct Keeper {
    /// The thread forgets about the lease when this is gone.
    asks: Arc<Sender<AskKeeper>>,
    opening: Arc<Opening>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts the thread. It hands the engine that `open` brings to `shared`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn start(
        ownership: Arc<dyn Ownership>,
        me: Owner,
        clock: Arc<dyn LeaseClock>,
        shared: Arc<Shared>,
        open: Open,
    ) -> io::Result<(Self, First)> {
        let (asks, asked) = channel();
        let asks = Arc::new(asks);
        let (first, of_first) = sync_channel(1);
        let opening = Arc::new(Opening::default());
        let first = Arc::new(Mutex::new(Some(first)));
        let doubts = Arc::downgrade(&asks);
        let work = Work { ownership, me, clock, shared, opening: Arc::clone(&opening), first, doubts };
        let thread = std::thread::Builder::new()
            .name("wafka-lease".to_owned())
            .spawn(move || work.run(open, &asked))?;
        Ok((Keeper { asks, opening, thread }, of_first))
    }

    /// Sees to it that the data is not opened any more, and waits for its being opened to end; false when that takes longer
    /// than `until`.
    pub(crate) fn close(&self, until: Instant) -> bool {
        self.opening.close(until)
    }

    /// Ends the thread, once nothing is written any more: the lease is given up if it is ours.
    pub(crate) fn end(self) {
        // When it has ended already there is nobody to ask.
        let _ = self.asks.send(AskKeeper::End);
        if self.thread.join().is_err() {
            tracing::error!("the thread that keeps the lease panicked");
        }
    }
}

/// Whether the data is being opened.
#[derive(Default)]
struct Opening {
    phase: Mutex<Phase>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// Not yet.
    #[default]
    Waiting,
    Running,
    Ended,
    /// Not, and never will be.
    Closed,
}

impl Opening {
    /// Whether it may begin.
    fn begin(&self) -> bool {
        let mut phase = self.phase.lock();
        let begins = *phase == Phase::Waiting;
        if begins {
            *phase = Phase::Running;
        }
        begins
    }

    fn end(&self) {
        *self.phase.lock() = Phase::Ended;
        self.changed.notify_all();
    }

    fn close(&self, until: Instant) -> bool {
        let mut phase = self.phase.lock();
        if *phase == Phase::Waiting {
            *phase = Phase::Closed;
        }
        while *phase == Phase::Running {
            if self.changed.wait_until(&mut phase, until).timed_out() {
                return *phase != Phase::Running;
            }
        }
        true
    }
}

/// Ends the opening however it ends.
struct EndsOpening {
    opening: Arc<Opening>,
    shared: Arc<Shared>,
    first: FirstSender,
}

impl Drop for EndsOpening {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a panic while the data was opened: the server ends");
            self.shared.standing.fail();
            self.shared.shutdown.ask();
            // Who waits for the start waits no longer.
            self.first.lock().take();
        }
        self.opening.end();
    }
}

type FirstSender = Arc<Mutex<Option<SyncSender<Result<(), EngineError>>>>>;

/// What the thread works with.
struct Work {
    ownership: Arc<dyn Ownership>,
    me: Owner,
    clock: Arc<dyn LeaseClock>,
    shared: Arc<Shared>,
    opening: Arc<Opening>,
    first: FirstSender,
    /// To be asked for a renewal when an append was refused.
    doubts: Weak<Sender<AskKeeper>>,
}

impl Work {
    fn run(self, open: Open, asks: &Receiver<AskKeeper>) {
        let Some((lease, asked_at)) = self.acquire(asks) else { return };
        let standing = &self.shared.standing;
        standing.opening(lease.epoch, acted_on_until(asked_at, &lease));
        tracing::info!(epoch = lease.epoch, "this server owns the data now");
        if self.opening.begin() {
            self.start_opening(open);
        }
        let end = keep(&*self.ownership, &lease, asked_at, &*self.clock, asks, |news| match news {
            LeaseNews::Until(until) => standing.renewed(until),
            LeaseNews::Unknown(error) => {
                if standing.unknown(error) {
                    tracing::warn!(%error, "cannot renew the lease on the data");
                }
            }
            LeaseNews::Lost(holder) => self.lost(holder),
        });
        if end == KeeperEnd::Asked
            && let Err(error) = self.ownership.release()
        {
            tracing::warn!(%error, "cannot give the lease up: it ends by itself");
        }
    }

    /// Asks for the lease until it is ours; `None` when the server ends before that. With the lease, what the clock showed
    /// before it was asked for.
    fn acquire(&self, asks: &Receiver<AskKeeper>) -> Option<(Lease, Duration)> {
        let standing = &self.shared.standing;
        // Right after a renewal what remains of a lease is its whole length.
        let mut longest = Duration::ZERO;
        loop {
            let pause = match acquire(&*self.ownership, &self.me, &*self.clock) {
                Ok((Acquired::Ours(lease), asked_at)) => return Some((lease, asked_at)),
                Ok((Acquired::HeldBy(holder), asked_at)) => {
                    longest = longest.max(holder.remaining);
                    let pause = retry_after(longest).min(holder.remaining).max(ASK_PAUSE_MIN);
                    let (owner, epoch) = (holder.owner.clone(), holder.epoch);
                    if standing.held_by(holder, asked_at) {
                        tracing::info!(
                            id = owner.id,
                            address = owner.address,
                            epoch,
                            "standing by: another server owns the data"
                        );
                    }
                    pause
                }
                Err(error) => {
                    if standing.unknown(&error) {
                        tracing::warn!(%error, "standing by: cannot ask who owns the data");
                    }
                    ASK_EVERY
                }
            };
            self.say_first(Ok(()));
            match asks.recv_timeout(pause) {
                Ok(AskKeeper::End) | Err(RecvTimeoutError::Disconnected) => return None,
                Ok(AskKeeper::Renew) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Says what the start came to, if that is still waited for; else gives it back.
    fn say_first(&self, result: Result<(), EngineError>) {
        // Nobody waits any more: there is nobody to tell.
        if let Some(first) = self.first.lock().take() {
            let _ = first.send(result);
        }
    }

    /// Opens the data on another thread, for the lease is to be renewed meanwhile.
    fn start_opening(&self, open: Open) {
        let ends = EndsOpening {
            opening: Arc::clone(&self.opening),
            shared: Arc::clone(&self.shared),
            first: Arc::clone(&self.first),
        };
        let doubts = self.doubts.clone();
        let opener = move || {
            let EndsOpening { shared, first, .. } = &ends;
            let result = open().map(|engine| {
                // What was refused to this server tells sooner than the next renewal who owns the data.
                engine.on_not_owner(move || {
                    let _ = doubts.upgrade().map(|asks| asks.send(AskKeeper::Renew));
                });
                serve(shared, engine);
            });
            conclude(shared, first, result);
        };
        if let Err(error) = std::thread::Builder::new().name("wafka-open".to_owned()).spawn(opener) {
            conclude(&self.shared, &self.first, Err(EngineError::Thread(error)));
        }
    }

    fn lost(&self, holder: Option<Holder>) {
        let standing = &self.shared.standing;
        standing.lost(holder);
        if let Some(reason) = standing.fenced() {
            tracing::error!("{reason}");
        }
        // Those that wait for topics to change see it when they wake up.
        self.shared.clients.wake_all();
    }
}

/// Lets the commands have the engine, unless the data was lost meanwhile.
fn serve(shared: &Arc<Shared>, engine: Arc<Engine>) {
    shared.set_engine(engine);
    descriptors::limit_clients(shared);
    if shared.standing.opened() {
        tracing::info!("all topics are open");
    }
}

/// Tells whoever waits for the start what became of it; later a failure ends the server.
fn conclude(shared: &Shared, first: &FirstSender, result: Result<(), EngineError>) {
    let waited_for = first.lock().take();
    match (waited_for, result) {
        (Some(first), result) => {
            // Were it gone, the start would have failed by itself.
            let _ = first.send(result);
        }
        (None, Ok(())) => {}
        (None, Err(error)) => {
            tracing::error!(%error, "the data is this server's, and does not open: the server ends");
            shared.standing.fail();
            shared.shutdown.ask();
        }
    }
}
