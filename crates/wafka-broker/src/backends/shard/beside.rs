//! Syncs of several backends, waited for beside each other.

use std::sync::Arc;
use std::thread::{Builder, ScopedJoinHandle};

use parking_lot::Mutex;
use wafka_core::storage::{PendingSync, SyncFailure};

use super::owed::Asked;

/// A sync of a backend beside the default one.
pub(super) struct PendingPart {
    /// The backend's number.
    pub(super) at: usize,
    pub(super) sync: Box<dyn PendingSync>,
    pub(super) asked: Asked,
    /// It may take time.
    pub(super) durable: bool,
}

impl PendingPart {
    fn wait(self) -> (usize, Vec<SyncFailure>) {
        let failures = self.sync.wait();
        self.asked.answered(&failures);
        (self.at, failures)
    }
}

/// A part that its thread takes, or whoever finds that it has none.
type Slot = Arc<Mutex<Option<PendingPart>>>;

fn wait(slot: &Slot) -> Option<(usize, Vec<SyncFailure>)> {
    let part = slot.lock().take();
    part.map(PendingPart::wait)
}

/// Waits for the parts while `default` waits for the default backend: it takes as long as the slowest of them, not as all
/// of them together. Parts that take no time, or whose thread cannot be started, are waited for afterwards.
pub(super) fn wait_beside<T>(
    parts: Vec<PendingPart>,
    default: impl FnOnce() -> T,
) -> (T, Vec<(usize, Vec<SyncFailure>)>) {
    std::thread::scope(|scope| {
        let mut waits: Vec<(Slot, Option<ScopedJoinHandle<'_, _>>)> = Vec::new();
        for part in parts {
            let durable = part.durable;
            let slot = Arc::new(Mutex::new(Some(part)));
            let theirs = Arc::clone(&slot);
            let spawn = || Builder::new().name("sync".to_owned()).spawn_scoped(scope, move || wait(&theirs));
            let thread = if durable { spawn().ok() } else { None };
            waits.push((slot, thread));
        }
        let default = default();
        let waited = |(slot, thread): (Slot, Option<ScopedJoinHandle<'_, _>>)| match thread {
            Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => wait(&slot),
        };
        (default, waits.into_iter().filter_map(waited).collect())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::super::owed::Owed;
    use super::*;

    /// Tells that it is waited for, and ends when the other one is, too.
    struct Meets(Sender<()>, Receiver<()>);

    impl Meets {
        fn meet(&self) {
            self.0.send(()).unwrap();
            self.1.recv_timeout(Duration::from_secs(20)).expect("the other one is waited for meanwhile");
        }
    }

    impl PendingSync for Meets {
        fn wait(self: Box<Self>) -> Vec<SyncFailure> {
            self.meet();
            Vec::new()
        }
    }

    #[test]
    fn nobody_waits_for_the_others_first() {
        let ((to_default, from_part), (to_part, from_default)) = (channel(), channel());
        let owed = Arc::new(Owed::default());
        owed.appended();
        let asked = Owed::ask(&owed).unwrap();
        let part =
            PendingPart { at: 3, sync: Box::new(Meets(to_default, from_default)), asked, durable: true };
        let default = Meets(to_part, from_part);
        let ((), parts) = wait_beside(vec![part], || default.meet());
        assert!(matches!(&parts[..], [(3, failures)] if failures.is_empty()));
        assert!(Owed::ask(&owed).is_none(), "nothing is owed any more");
    }
}
