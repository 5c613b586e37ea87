//! Who runs the backend's tasks: a thread of its own, or whoever waits for a sync.
//!
//! A sync that ends as soon as an answer comes spares two hand-overs between threads, to the one that sends and back from it,
//! if the thread that waits sends and receives by itself. Where one client waits for each reply that is a good part of the
//! time there is. So the backend's own thread stands back while others wait again and again.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;

/// The backend's own thread goes on when nobody has waited for so long.
const IDLE: Duration = Duration::from_millis(2);

/// Runs tasks until it is dropped.
pub(crate) struct Driver {
    /// There until the end.
    runtime: Option<Arc<Runtime>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// The backend's own thread is to stand back.
    stand_back: Notify,
    /// It runs the tasks.
    runs: AtomicBool,
    /// How many others are at it, and how often one was.
    others: AtomicUsize,
    count: AtomicU64,
    ended: AtomicBool,
}

impl Driver {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has none left.
    pub(crate) fn start() -> std::io::Result<Self> {
        let runtime = Arc::new(Builder::new_current_thread().enable_all().build()?);
        let shared = Arc::new(Shared::default());
        let (of_thread, run) = (Arc::clone(&shared), Arc::clone(&runtime));
        let thread =
            std::thread::Builder::new().name("jetstream".into()).spawn(move || of_thread.run(&run))?;
        Ok(Driver { runtime: Some(runtime), shared, thread: Some(thread) })
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime().spawn(task);
    }

    /// Waits for something.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime().block_on(future)
    }

    /// Waits for something that is waited for again and again, and runs the tasks meanwhile. On a thread that waits for
    /// tasks of its own already it does nothing.
    pub(crate) fn run_until(&self, future: impl Future<Output = ()>) {
        if Handle::try_current().is_ok() {
            return;
        }
        let shared = &self.shared;
        let _at_it = AtIt::begin(shared);
        if shared.runs.swap(false, Ordering::SeqCst) {
            shared.stand_back.notify_one();
        }
        self.runtime().block_on(future);
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_deref().expect("invariant: it is there until the end")
    }
}

/// Somebody waits; no more when it is dropped, also by a panic, or the backend's thread would stand back for ever.
struct AtIt<'a>(&'a Shared);

impl<'a> AtIt<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.others.fetch_add(1, Ordering::SeqCst);
        AtIt(shared)
    }
}

impl Drop for AtIt<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_add(1, Ordering::SeqCst);
        self.0.others.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn run(&self, runtime: &Runtime) {
        while !self.ended.load(Ordering::SeqCst) {
            self.runs.store(true, Ordering::SeqCst);
            runtime.block_on(self.stand_back.notified());
            loop {
                let count = self.count.load(Ordering::SeqCst);
                if self.ended.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::sleep(IDLE);
                if self.others.load(Ordering::SeqCst) == 0 && self.count.load(Ordering::SeqCst) == count {
                    break;
                }
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.stand_back.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            ::log::error!("the backend's thread panicked");
        }
        // Nobody else has it: the thread has ended.
        if let Some(runtime) = self.runtime.take().and_then(Arc::into_inner) {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn tasks_run_whether_or_not_somebody_waits() {
        let driver = Driver::start().unwrap();
        for _ in 0..3 {
            // Nobody waits on the driver: its own thread runs the task, at once or when it goes on.
            let (done, is_done) = std::sync::mpsc::channel();
            driver.spawn(async move { done.send(()).unwrap() });
            is_done.recv_timeout(Duration::from_secs(60)).unwrap();
            // Somebody does, several at once.
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for number in 0..100 {
                            let (done, is_done) = oneshot::channel();
                            driver.spawn(async move { done.send(number).unwrap() });
                            driver.run_until(async move { assert_eq!(is_done.await.unwrap(), number) });
                        }
                    });
                }
            });
        }
    }

    #[test]
    fn who_panics_while_it_waits_ends_nothing() {
        let driver = Driver::start().unwrap();
        let wait = std::panic::AssertUnwindSafe(|| driver.run_until(async { panic!("on purpose") }));
        assert!(std::panic::catch_unwind(wait).is_err());
        let (done, is_done) = std::sync::mpsc::channel();
        driver.spawn(async move { done.send(()).unwrap() });
        is_done.recv_timeout(Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn the_end_does_not_wait_for_tasks() {
        let driver = Driver::start().unwrap();
        driver.spawn(std::future::pending());
        driver.run_until(async {});
        drop(driver);
    }
}
