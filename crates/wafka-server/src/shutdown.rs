//! The way down: who asks for it, and who waits for it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Asked for once by a signal or `SHUTDOWN`; the accept loop waits for it.
#[derive(Default)]
pub struct Shutdown {
    asked: AtomicBool,
    wake: Notify,
}

impl Shutdown {
    /// Asks the server to shut down.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether the server is shutting down.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Resolves once a shutdown is asked for. The accept loop only.
    pub async fn asked(&self) {
        while !self.is_asked() {
            self.wake.notified().await;
        }
    }
}
