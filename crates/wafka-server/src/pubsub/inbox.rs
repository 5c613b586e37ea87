//! What a client is to be told out of turn: messages of channels, lines of `MONITOR`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wafka_protocol::RespVersion;

/// What a frame takes beside its bytes: its place in the queue.
const FRAME_OVERHEAD: usize = 32;

/// A reply out of turn, encoded once for all who get it.
///
/// In RESP3 it begins with `>` when it is a push; RESP2 has an array in its place, whose only difference is the first
/// byte.
#[derive(Clone, Debug)]
pub struct Frame(Arc<[u8]>);

impl Frame {
    /// A frame of these bytes, as RESP3 has them.
    #[must_use]
    pub fn new(resp3: &[u8]) -> Self {
        Frame(resp3.into())
    }

    /// Appends it to replies in this version of the protocol.
    pub fn append_to(&self, out: &mut Vec<u8>, version: RespVersion) {
        match &*self.0 {
            [b'>', rest @ ..] if version == RespVersion::V2 => {
                out.push(b'*');
                out.extend_from_slice(rest);
            }
            all => out.extend_from_slice(all),
        }
    }

    fn cost(&self) -> usize {
        self.0.len() + FRAME_OVERHEAD
    }
}

/// How much may wait for a client: Redis's `client-output-buffer-limit`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InboxLimits {
    /// Bytes beyond which the client is closed at once; 0 is no limit.
    pub hard: usize,
    /// Bytes beyond which it is closed when it stays there; 0 is no limit.
    pub soft: usize,
    /// How long it may stay there.
    pub soft_time: Duration,
}

/// What became of a frame that was put into an inbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// It is the first: the client must be woken.
    First,
    /// Others wait before it, so that the client is awake already.
    Queued,
    /// The client reads too slowly: nothing is kept for it any more, it must be closed.
    Overflow,
    /// That was so before.
    Closed,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    above_soft_since: Option<Instant>,
    closed: bool,
}

/// The frames that wait for one client, bounded in bytes.
#[derive(Default)]
pub struct Inbox {
    queue: Mutex<Queue>,
    /// Whether there are frames, to be asked without the lock.
    ready: AtomicBool,
}

impl Inbox {
    /// Puts a frame in.
    pub fn push(&self, frame: Frame, limits: &InboxLimits) -> Delivery {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Delivery::Closed;
        }
        queue.bytes += frame.cost();
        queue.frames.push_back(frame);
        if queue.is_beyond(limits) {
            *queue = Queue { closed: true, ..Queue::default() };
            self.ready.store(false, Ordering::Release);
            return Delivery::Overflow;
        }
        if self.ready.swap(true, Ordering::AcqRel) { Delivery::Queued } else { Delivery::First }
    }

    /// Whether frames wait.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Moves frames to `out`, the oldest first, until that has `enough` bytes.
    pub fn take(&self, out: &mut Vec<u8>, version: RespVersion, enough: usize) {
        let mut queue = self.queue.lock();
        while out.len() < enough
            && let Some(frame) = queue.frames.pop_front()
        {
            queue.bytes -= frame.cost();
            frame.append_to(out, version);
        }
        if queue.frames.is_empty() {
            *queue = Queue { closed: queue.closed, ..Queue::default() };
            self.ready.store(false, Ordering::Release);
        }
    }

    /// Frames and their bytes, for `CLIENT LIST`.
    #[must_use]
    pub fn len_and_bytes(&self) -> (usize, usize) {
        let queue = self.queue.lock();
        (queue.frames.len(), queue.bytes)
    }
}

impl Queue {
    fn is_beyond(&mut self, limits: &InboxLimits) -> bool {
        if limits.hard > 0 && self.bytes > limits.hard {
            return true;
        }
        if limits.soft == 0 || self.bytes <= limits.soft {
            self.above_soft_since = None;
            return false;
        }
        let since = *self.above_soft_since.get_or_insert_with(Instant::now);
        since.elapsed() > limits.soft_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: InboxLimits = InboxLimits { hard: 1000, soft: 0, soft_time: Duration::ZERO };

    fn frame(bytes: &[u8]) -> Frame {
        Frame::new(bytes)
    }

    #[test]
    fn a_push_is_an_array_in_resp2() {
        let (mut v2, mut v3) = (Vec::new(), Vec::new());
        for bytes in [&b">1\r\n:1\r\n"[..], b"+line\r\n"] {
            frame(bytes).append_to(&mut v2, RespVersion::V2);
            frame(bytes).append_to(&mut v3, RespVersion::V3);
        }
        assert_eq!(v2, b"*1\r\n:1\r\n+line\r\n");
        assert_eq!(v3, b">1\r\n:1\r\n+line\r\n");
    }

    #[test]
    fn the_client_is_woken_once_for_all_that_waits() {
        let inbox = Inbox::default();
        assert!(!inbox.is_ready());
        assert_eq!(inbox.push(frame(b"+a\r\n"), &LIMITS), Delivery::First);
        assert_eq!(inbox.push(frame(b"+b\r\n"), &LIMITS), Delivery::Queued);
        assert_eq!(inbox.len_and_bytes(), (2, 2 * (4 + FRAME_OVERHEAD)));
        let mut out = Vec::new();
        inbox.take(&mut out, RespVersion::V3, 1);
        assert_eq!(out, b"+a\r\n");
        assert!(inbox.is_ready());
        inbox.take(&mut out, RespVersion::V3, 100);
        assert_eq!(out, b"+a\r\n+b\r\n");
        assert!(!inbox.is_ready());
        assert_eq!(inbox.push(frame(b"+c\r\n"), &LIMITS), Delivery::First);
    }

    #[test]
    fn nothing_is_kept_beyond_the_limit() {
        let inbox = Inbox::default();
        assert_eq!(inbox.push(frame(&[b'x'; 900]), &LIMITS), Delivery::First);
        assert_eq!(inbox.push(frame(&[b'x'; 100]), &LIMITS), Delivery::Overflow);
        assert_eq!(inbox.push(frame(b"x"), &LIMITS), Delivery::Closed);
        assert_eq!(inbox.len_and_bytes(), (0, 0));
        assert!(!inbox.is_ready());
    }

    #[test]
    fn the_soft_limit_closes_who_stays_above_it() {
        let lenient = InboxLimits { hard: 0, soft: 100, soft_time: Duration::from_secs(3600) };
        let inbox = Inbox::default();
        assert_eq!(inbox.push(frame(&[b'x'; 200]), &lenient), Delivery::First);
        assert_eq!(inbox.push(frame(&[b'x'; 200]), &lenient), Delivery::Queued);
        let strict = InboxLimits { soft_time: Duration::ZERO, ..lenient };
        // The clock may not have moved yet.
        while inbox.push(frame(b"x"), &strict) == Delivery::Queued {}
        assert_eq!(inbox.push(frame(b"x"), &strict), Delivery::Closed);
    }
}
