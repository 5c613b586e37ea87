//! The line of those who wait for events of one consumer group: first come, first served.
//!
//! An event *calls* the first of the line, who then looks at the topic. When it finds something it leaves, and the next
//! is called if there may be more; when it finds nothing, nobody behind it would. The line is *busy* until then.
//!
//! A command that comes while others wait must not take what is theirs. It is let *pass*, as soon as the line is not
//! busy, to what was visible when it came: that was offered to all who wait. If it then has to wait itself, it
//! lines up in the place of its [`Arrival`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use super::{WatchPoint, wake_all};

/// When a command arrived, compared to others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Arrival(u64);

impl Arrival {
    /// After all arrivals so far.
    #[must_use]
    pub fn now() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arrival(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Why one who waits is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Call {
    /// There may be something for it.
    Look,
    /// The group, or the topic, was removed since it lined up.
    Gone,
}

/// Those who wait for one group, and those who pass.
#[derive(Default)]
pub(super) struct Line {
    members: BTreeMap<Arrival, Member>,
    passers: BTreeMap<Arrival, Passer>,
    /// Members who are called, or looking.
    busy: usize,
}

#[derive(Default)]
struct Member {
    called: Option<Call>,
    looking: bool,
    waker: Option<Waker>,
    /// Looks for pending events of others too.
    claims: bool,
}

#[derive(Default)]
struct Passer {
    may_pass: bool,
    waker: Option<Waker>,
}

impl Line {
    /// Does something to a member and keeps count of those who are busy.
    fn change<T>(&mut self, arrival: Arrival, change: impl FnOnce(&mut Member) -> T) -> Option<T> {
        let member = self.members.get_mut(&arrival)?;
        let busy = |member: &Member| usize::from(member.called.is_some() || member.looking);
        let before = busy(member);
        let result = change(member);
        self.busy = self.busy + busy(member) - before;
        Some(result)
    }

    fn call(&mut self, arrival: Arrival, call: Call, wakers: &mut Vec<Waker>) {
        let waker = self.change(arrival, |member| {
            member.called = member.called.max(Some(call));
            member.waker.take()
        });
        wakers.extend(waker.flatten());
    }

    /// Calls the first of the line.
    pub(super) fn call_first(&mut self, wakers: &mut Vec<Waker>) {
        if let Some(first) = self.first() {
            self.call(first, Call::Look, wakers);
        }
    }

    /// Calls everybody.
    pub(super) fn call_all(&mut self, call: Call, wakers: &mut Vec<Waker>) {
        let all: Vec<Arrival> = self.members.keys().copied().collect();
        for arrival in all {
            self.call(arrival, call, wakers);
        }
    }

    /// Lets those pass who want to, if the line is not busy.
    fn let_pass(&mut self, wakers: &mut Vec<Waker>) {
        if self.busy == 0 {
            for passer in self.passers.values_mut() {
                passer.may_pass = true;
                wakers.extend(passer.waker.take());
            }
        }
    }

    fn first(&self) -> Option<Arrival> {
        self.members.first_key_value().map(|(arrival, _)| *arrival)
    }
}

impl WatchPoint {
    /// Whether anybody waits for events of `group`.
    #[must_use]
    pub fn has_line(&self, group: &[u8]) -> bool {
        self.lined_up.load(Ordering::SeqCst) > 0 && self.state.lock().lines.contains_key(group)
    }

    /// Asks to pass those who wait for events of `group`: [`Turn::poll_called`] tells when. What the command may take is
    /// what was visible before this call.
    pub fn pass(self: &Arc<Self>, group: &[u8], arrival: Arrival) -> Turn {
        let mut state = self.state.lock();
        self.lined_up.fetch_add(1, Ordering::SeqCst);
        let line = match state.lines.get_mut(group) {
            Some(line) => line,
            None => state.lines.entry(group.into()).or_default(),
        };
        line.passers.insert(arrival, Passer { may_pass: line.busy == 0, waker: None });
        Turn { point: Arc::clone(self), group: group.into(), arrival }
    }

    /// A group was removed: all who wait for it are called.
    pub fn notify_group_gone(&self, group: &[u8]) {
        self.call_line(group, |line, wakers| line.call_all(Call::Gone, wakers));
    }

    /// A group that was removed is there again, and nobody could look in between: who waits for it goes on waiting.
    pub fn notify_group_back(&self, group: &[u8]) {
        self.call_line(group, |line, _| {
            for member in line.members.values_mut().filter(|member| member.called == Some(Call::Gone)) {
                member.called = Some(Call::Look);
            }
        });
    }

    /// Pending events of a group became free to be claimed: those who claim are called.
    pub fn notify_claimable(&self, group: &[u8]) {
        self.call_line(group, |line, wakers| {
            let claims: Vec<Arrival> =
                line.members.iter().filter(|(_, member)| member.claims).map(|(at, _)| *at).collect();
            for arrival in claims {
                line.call(arrival, Call::Look, wakers);
            }
        });
    }

    fn call_line(&self, group: &[u8], call: impl FnOnce(&mut Line, &mut Vec<Waker>)) {
        if self.lined_up.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut wakers = Vec::new();
        if let Some(line) = self.state.lock().lines.get_mut(group) {
            call(line, &mut wakers);
        }
        wake_all(wakers);
    }
}

/// A place in the line for a group's events, or beside it. Dropping it passes a call on.
pub struct Turn {
    point: Arc<WatchPoint>,
    group: Box<[u8]>,
    arrival: Arrival,
}

impl Turn {
    /// Resolves when one who waits is called, or one who passes may.
    pub fn poll_called(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.point.state.lock();
        // It stands there until it is dropped.
        let Some(line) = state.lines.get_mut(&self.group) else { return Poll::Ready(()) };
        let waker = if let Some(member) = line.members.get_mut(&self.arrival) {
            if member.called.is_some() {
                return Poll::Ready(());
            }
            &mut member.waker
        } else if let Some(passer) = line.passers.get_mut(&self.arrival) {
            if passer.may_pass {
                return Poll::Ready(());
            }
            &mut passer.waker
        } else {
            return Poll::Ready(());
        };
        match waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => *waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Goes over from passing to waiting, and begins a look, as [`Turn::begin_look`] does. `claims` is for one who looks
    /// for events too that are pending with others.
    pub fn line_up(&mut self, claims: bool) -> (Option<Call>, bool) {
        {
            let mut state = self.point.state.lock();
            let Some(line) = state.lines.get_mut(&self.group) else { return (Some(Call::Gone), false) };
            line.passers.remove(&self.arrival);
            line.members.entry(self.arrival).or_default().claims = claims;
        }
        self.begin_look()
    }

    /// Begins the look of one who waits: calls from here on ask for another one. Returns what this one was called for,
    /// if it was, and whether it is the first of the line: to others what is new in the topic does not belong.
    pub fn begin_look(&mut self) -> (Option<Call>, bool) {
        let mut state = self.point.state.lock();
        let Some(line) = state.lines.get_mut(&self.group) else { return (Some(Call::Gone), false) };
        let is_first = line.first() == Some(self.arrival);
        let called = line.change(self.arrival, |member| {
            member.looking = true;
            member.called.take()
        });
        (called.flatten(), is_first)
    }

    /// Ends a look that left nothing new in the topic, or found nothing: unless it is called again meanwhile, this one
    /// calls nobody when it is dropped, and those behind it have nothing to look for.
    pub fn end_look(&mut self) {
        let mut wakers = Vec::new();
        if let Some(line) = self.point.state.lock().lines.get_mut(&self.group) {
            line.change(self.arrival, |member| member.looking = false);
            line.let_pass(&mut wakers);
        }
        wake_all(wakers);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut wakers = Vec::new();
        {
            let mut state = self.point.state.lock();
            self.point.lined_up.fetch_sub(1, Ordering::SeqCst);
            let Some(line) = state.lines.get_mut(&self.group) else { return };
            line.passers.remove(&self.arrival);
            if let Some(member) = line.members.remove(&self.arrival)
                && (member.called.is_some() || member.looking)
            {
                line.busy -= 1;
                line.call_first(&mut wakers);
                line.let_pass(&mut wakers);
            }
            if line.members.is_empty() && line.passers.is_empty() {
                state.lines.remove(&self.group);
            }
        }
        wake_all(wakers);
    }
}

#[cfg(test)]
mod tests;
