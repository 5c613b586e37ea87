//! One gate: many may hold it shared, or one alone.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::Mode;

/// Set while somebody holds the gate alone, or waits for it: who comes then lines up.
const CLOSED: u32 = 1 << 31;

/// A gate. Uncontended it costs two additions; who has to wait does so in the order of arrival, so that neither those
/// who share nor those who want it alone can keep the others out for ever. On a cache line of its own.
#[repr(align(64))]
#[derive(Default)]
pub(super) struct Stripe {
    /// How many hold it shared, and [`CLOSED`].
    state: AtomicU32,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Arc<Waiting>>,
    /// Somebody holds the gate alone.
    taken: bool,
}

struct Waiting {
    mode: Mode,
    turn: Mutex<Turn>,
}

struct Turn {
    granted: bool,
    waker: Waker,
}

impl Stripe {
    /// Takes the gate shared if that is possible at once.
    pub(super) fn try_shared(&self) -> bool {
        let open = |state| if state & CLOSED == 0 { Some(state + 1) } else { None };
        self.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, open).is_ok()
    }

    /// Takes the gate, waiting for it.
    pub(super) fn acquire(&self, mode: Mode) -> Acquire<'_> {
        Acquire { stripe: self, mode, waiting: None, done: false }
    }

    /// Gives the gate back.
    pub(super) fn release(&self, mode: Mode) {
        match mode {
            Mode::Shared => {
                if self.state.fetch_sub(1, Ordering::Release) == CLOSED | 1 {
                    self.advance(&mut self.line.lock());
                }
            }
            Mode::Exclusive => {
                let mut line = self.line.lock();
                line.taken = false;
                self.advance(&mut line);
            }
        }
    }

    /// Whether nobody holds it, or waits for it.
    #[cfg(test)]
    pub(super) fn is_free(&self) -> bool {
        self.state.load(Ordering::Acquire) == 0
    }

    /// Lets in whoever is next.
    fn advance(&self, line: &mut Line) {
        while !line.taken {
            let Some(next) = line.waiting.front() else {
                self.state.fetch_and(!CLOSED, Ordering::Release);
                return;
            };
            match next.mode {
                // The last of those who hold it shared comes here again.
                Mode::Exclusive if self.state.load(Ordering::Acquire) != CLOSED => return,
                Mode::Exclusive => line.taken = true,
                Mode::Shared => {
                    self.state.fetch_add(1, Ordering::Acquire);
                }
            }
            if let Some(next) = line.waiting.pop_front() {
                let mut turn = next.turn.lock();
                turn.granted = true;
                turn.waker.wake_by_ref();
            }
        }
    }
}

/// See [`Stripe::acquire`]. May be dropped at any time.
pub(super) struct Acquire<'a> {
    stripe: &'a Stripe,
    mode: Mode,
    waiting: Option<Arc<Waiting>>,
    /// It resolved: whoever awaited it gives the gate back.
    done: bool,
}

impl Future for Acquire<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(waiting) = &self.waiting {
            let mut turn = waiting.turn.lock();
            if !turn.granted {
                turn.waker.clone_from(context.waker());
                return Poll::Pending;
            }
            drop(turn);
            self.done = true;
            return Poll::Ready(());
        }
        if self.mode == Mode::Shared && self.stripe.try_shared() {
            self.done = true;
            return Poll::Ready(());
        }
        let turn = Turn { granted: false, waker: context.waker().clone() };
        let waiting = Arc::new(Waiting { mode: self.mode, turn: Mutex::new(turn) });
        let mut line = self.stripe.line.lock();
        self.stripe.state.fetch_or(CLOSED, Ordering::AcqRel);
        line.waiting.push_back(Arc::clone(&waiting));
        self.stripe.advance(&mut line);
        drop(line);
        let granted = waiting.turn.lock().granted;
        self.waiting = Some(waiting);
        self.done = granted;
        if granted { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        let Some(waiting) = self.waiting.take().filter(|_| !self.done) else { return };
        let mut line = self.stripe.line.lock();
        if waiting.turn.lock().granted {
            drop(line);
            self.stripe.release(self.mode);
            return;
        }
        line.waiting.retain(|other| !Arc::ptr_eq(other, &waiting));
        self.stripe.advance(&mut line);
    }
}
