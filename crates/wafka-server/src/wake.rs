//! Wake-ups from other threads, gathered: a turn of a broker that answers fifty connections of a thread interrupts that
//! thread's wait for its sockets once, not fifty times. Each interruption is a system call, and without this they are
//! a tenth of what an event costs that is sent alone.
//!
//! A connection's future is polled with a waker of ours. Woken on its own thread it passes the wake-up on; woken on
//! another it puts the task's own waker into the thread's inbox, and only who finds the inbox empty rings the bell: the task
//! that empties it, on the right thread, where waking costs next to nothing.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;

use parking_lot::Mutex;

/// Wake-ups kept room for when the inbox is empty.
const CAPACITY_KEPT: usize = 1024;

/// The wake-ups that other threads have for the tasks of one thread.
pub(crate) struct Inbox {
    thread: ThreadId,
    /// Empty, or the bell has rung.
    woken: Mutex<Vec<Waker>>,
    /// Wakes the task that empties the inbox.
    bell: OnceLock<Waker>,
}

impl Inbox {
    /// The inbox of the current thread; [`Inbox::empty`] must run as a task there.
    pub(crate) fn new() -> Arc<Self> {
        let thread = std::thread::current().id();
        Arc::new(Inbox { thread, woken: Mutex::new(Vec::new()), bell: OnceLock::new() })
    }

    /// Passes on what is in the inbox whenever the bell rings, for ever.
    pub(crate) async fn empty(self: Arc<Self>) {
        let mut taken = Vec::new();
        poll_fn(|context| {
            // A task keeps its waker for life.
            self.bell.get_or_init(|| context.waker().clone());
            self.pass_on(&mut taken);
            Poll::Pending
        })
        .await
    }

    fn pass_on(&self, taken: &mut Vec<Waker>) {
        std::mem::swap(&mut *self.woken.lock(), taken);
        taken.drain(..).for_each(Waker::wake);
        taken.shrink_to(CAPACITY_KEPT);
    }

    fn put(&self, waker: &Waker) {
        // Until the bell is hung up nobody empties the inbox.
        let Some(bell) = self.bell.get() else { return waker.wake_by_ref() };
        let mut woken = self.woken.lock();
        woken.push(waker.clone());
        let first = woken.len() == 1;
        drop(woken);
        if first {
            bell.wake_by_ref();
        }
    }
}

/// Wakes one task, through the inbox if need be.
struct TaskWaker {
    task: Waker,
    inbox: Arc<Inbox>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if std::thread::current().id() == self.inbox.thread {
            self.task.wake_by_ref();
        } else {
            self.inbox.put(&self.task);
        }
    }
}

/// A future that other threads wake through an inbox.
pub(crate) struct Gathered<F> {
    future: Pin<Box<F>>,
    inbox: Arc<Inbox>,
    /// The task's own waker, and ours for it.
    wakers: Option<(Waker, Waker)>,
}

impl<F: Future> Gathered<F> {
    pub(crate) fn new(future: F, inbox: &Arc<Inbox>) -> Self {
        Gathered { future: Box::pin(future), inbox: Arc::clone(inbox), wakers: None }
    }
}

impl<F: Future> Future for Gathered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let task = context.waker();
        let wakers = this.wakers.take().filter(|(known, _)| known.will_wake(task));
        let (_, ours) = this.wakers.insert(wakers.unwrap_or_else(|| {
            let ours = TaskWaker { task: task.clone(), inbox: Arc::clone(&this.inbox) };
            (task.clone(), Arc::new(ours).into())
        }));
        this.future.as_mut().poll(&mut Context::from_waker(ours))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Count {
        fn new() -> (Arc<Self>, Waker) {
            let count = Arc::new(Count::default());
            (Arc::clone(&count), Waker::from(count))
        }

        fn get(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    /// The waker that a future is given when the task's own one is `task`.
    fn given(inbox: &Arc<Inbox>, task: &Waker) -> Waker {
        let future = poll_fn(|context| Poll::Ready(context.waker().clone()));
        match Pin::new(&mut Gathered::new(future, inbox)).poll(&mut Context::from_waker(task)) {
            Poll::Ready(waker) => waker,
            Poll::Pending => panic!("the future was ready"),
        }
    }

    #[test]
    fn another_threads_wake_ups_ring_the_bell_once() {
        let inbox = Inbox::new();
        let (bell, bell_waker) = Count::new();
        let mut emptying = std::pin::pin!(Arc::clone(&inbox).empty());
        let mut empty =
            || assert!(emptying.as_mut().poll(&mut Context::from_waker(&bell_waker)).is_pending());
        empty();
        let tasks: Vec<_> = (0..3).map(|_| Count::new()).collect();
        let woken = || tasks.iter().map(|(task, _)| task.get()).collect::<Vec<_>>();
        let wakers: Vec<_> = tasks.iter().map(|(_, waker)| given(&inbox, waker)).collect();
        for round in 1..=2 {
            std::thread::scope(|scope| {
                scope.spawn(|| wakers.iter().for_each(Waker::wake_by_ref));
            });
            assert_eq!((bell.get(), woken()), (round, vec![round - 1; 3]));
            empty();
            assert_eq!(woken(), vec![round; 3]);
        }
    }

    #[test]
    fn the_threads_own_wake_ups_go_straight() {
        let inbox = Inbox::new();
        let (task, waker) = Count::new();
        given(&inbox, &waker).wake();
        assert_eq!(task.get(), 1);
        assert!(inbox.woken.lock().is_empty());
    }

    #[test]
    fn without_a_bell_nothing_waits() {
        let inbox = Inbox::new();
        let (task, waker) = Count::new();
        let waker = given(&inbox, &waker);
        std::thread::scope(|scope| {
            scope.spawn(move || waker.wake());
        });
        assert_eq!(task.get(), 1);
    }

    #[test]
    fn a_future_keeps_its_waker_as_long_as_its_task() {
        let inbox = Inbox::new();
        let seen = std::cell::RefCell::new(Vec::<Waker>::new());
        let mut future = Gathered::new(
            poll_fn(|context| {
                seen.borrow_mut().push(context.waker().clone());
                Poll::<()>::Pending
            }),
            &inbox,
        );
        let (_, first) = Count::new();
        let (other, second) = Count::new();
        for task in [&first, &first, &second] {
            assert!(Pin::new(&mut future).poll(&mut Context::from_waker(task)).is_pending());
        }
        let seen = seen.borrow();
        assert!(seen[0].will_wake(&seen[1]) && !seen[1].will_wake(&seen[2]));
        seen[2].wake_by_ref();
        assert_eq!(other.get(), 1);
    }
}
