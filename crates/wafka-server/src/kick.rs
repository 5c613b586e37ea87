//! One hand-over to the brokers for all connections that are ready at the same time.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use wafka_broker::Engine;

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
    engine: Arc<Engine>,
    asked: Cell<bool>,
    wake: Notify,
}

impl Kicker {
    /// A kicker for the connections of one thread; [`Kicker::run`] must run as a task there.
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Kicker { inner: Rc::new(Inner { engine, asked: Cell::new(false), wake: Notify::new() }) }
    }

    /// Asks for a kick in this turn of the event loop.
    pub(crate) fn kick(&self) {
        if !self.inner.asked.replace(true) {
            self.inner.wake.notify_one();
        }
    }

    /// Kicks whenever asked, for ever.
    pub(crate) async fn run(self) {
        loop {
            self.inner.wake.notified().await;
            self.inner.asked.set(false);
            self.inner.engine.kick();
        }
    }
}
