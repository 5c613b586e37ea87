//! The lease on a backend beside the default one, where several servers reach that: acquired when the backend is first
//! needed, and kept by a thread of its own. What becomes of it the topics learn by its [`Standing`].

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use wafka_core::storage::{Acquired, Owner, Ownership};

use super::standing::Standing;
use crate::lease::{AskKeeper, BootClock, KeeperEnd, LeaseNews, acquire, acted_on_until, keep};

/// A lease that is kept.
pub(super) struct KeptLease {
    asks: Sender<AskKeeper>,
    thread: JoinHandle<()>,
}

impl KeptLease {
    /// Acquires the lease on `backend` for `me`, and says so to `standing` from then on; the reason when it is not ours.
    pub(super) fn acquire(
        backend: &Arc<str>,
        ownership: Arc<dyn Ownership>,
        me: &Owner,
        standing: &Arc<Standing>,
    ) -> Result<Self, String> {
        let (lease, asked_at) = match acquire(&*ownership, me, &BootClock) {
            Ok((Acquired::Ours(lease), asked_at)) => (lease, asked_at),
            Ok((Acquired::HeldBy(holder), _)) => {
                return Err(format!(
                    "{} at {} owns the data since epoch {}, unless it renews until its lease ends",
                    holder.owner.id, holder.owner.address, holder.epoch
                ));
            }
            Err(error) => return Err(format!("cannot ask who owns the data: {error}")),
        };
        let (asks, asked) = channel();
        let (keeps, name) = (Arc::clone(&ownership), Arc::clone(backend));
        standing.acquired(lease.epoch, acted_on_until(asked_at, &lease));
        let told = Arc::clone(standing);
        let work = move || {
            let end = keep(&*keeps, &lease, asked_at, &BootClock, &asked, |news| match news {
                LeaseNews::Until(until) => told.renewed(until),
                LeaseNews::Unknown(error) => {
                    tracing::warn!(backend = %name, %error, "cannot renew the lease on the backend's data");
                    told.unknown(error.to_string());
                }
                LeaseNews::Lost(holder) => {
                    let by = holder.as_ref().map_or("", |holder| &holder.owner.id);
                    tracing::error!(backend = %name, by, "the backend's data is another server's now: restart this one");
                    told.lost(holder);
                }
            });
            if end == KeeperEnd::Asked
                && let Err(error) = keeps.release()
            {
                tracing::warn!(backend = %name, %error, "cannot give the lease up: it ends by itself");
            }
        };
        let thread = std::thread::Builder::new().name(format!("lease-{backend}")).spawn(work);
        match thread {
            Ok(thread) => {
                tracing::info!(%backend, epoch = lease.epoch, "this server owns the backend's data now");
                Ok(KeptLease { asks, thread })
            }
            Err(error) => {
                // It ends by itself too.
                let _ = ownership.release();
                standing.none();
                Err(format!("cannot start a thread to keep the lease: {error}"))
            }
        }
    }

    /// Gives the lease up, once nothing is written any more.
    pub(super) fn end(self) {
        // A thread that lost the lease has ended already.
        let _ = self.asks.send(AskKeeper::End);
        if self.thread.thread().id() == std::thread::current().id() {
            // It told of a loss, and who was told was the last one to hold the backends.
            return;
        }
        if self.thread.join().is_err() {
            tracing::error!("a thread that keeps a lease panicked");
        }
    }
}
