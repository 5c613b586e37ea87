//! One hand-over to the brokers for all connections that are ready at the same time.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::shared::Shared;

/// With more appends than this at a time, the thread is better off reading the next ones than helping the brokers.
const HELP_MAX: usize = 128;

/// Asks for [`Engine::kick`] on behalf of a thread's connections.
///
/// The runtime polls tasks in the order in which they became ready. So when a connection has appended and asks, the
/// task that kicks runs behind all connections whose requests arrived in the same turn of the event loop, and one
/// call hands over the appends of all of them.
#[derive(Clone)]
pub(crate) struct Kicker {
    inner: Rc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    asked: Cell<bool>,
    /// Appends since the last kick.
    appended: Cell<usize>,
    wake: Notify,
}

impl Kicker {
    /// A kicker for the connections of one thread; [`Kicker::run`] must run as a task there.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Kicker {
            inner: Rc::new(Inner {
                shared,
                asked: Cell::new(false),
                appended: Cell::new(0),
                wake: Notify::new(),
            }),
        }
    }

    /// Asks for a kick in this turn of the event loop, for so many appends.
    pub(crate) fn kick(&self, appended: usize) {
        self.inner.appended.set(self.inner.appended.get().saturating_add(appended));
        if !self.inner.asked.replace(true) {
            self.inner.wake.notify_one();
        }
    }

    /// Kicks whenever asked, for ever.
    pub(crate) async fn run(self) {
        loop {
            self.inner.wake.notified().await;
            self.inner.asked.set(false);
            let appended = self.inner.appended.take();
            // Without one nothing was appended.
            let Some(engine) = self.inner.shared.engine() else { continue };
            if appended <= HELP_MAX {
                engine.kick_and_help();
            } else {
                engine.kick();
            }
        }
    }
}
