//! The line of those who wait for events of one consumer group: first come, first served.
//!
//! An event *calls* the first of the line, who then looks at the topic. When it finds something it leaves, and the next
//! is called if there may be more; when it finds nothing, nobody behind it would. A command that does not block lines up
//! too while others wait, so that it does not take what is theirs: it has its answer once the first has looked in vain.
//!
//! Commands stand in the order of their [`Arrival`], in every line the same. Who waits for those before it therefore
//! never waits in a circle.

use std::collections::{BTreeMap, BTreeSet};
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

/// How one waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Until there is an event.
    Blocks,
    /// As [`Manner::Blocks`], and looks for events too that are pending with others.
    Claims,
    /// Until it is its turn: it is called when it is the first, or there is nothing left for those before it.
    Passes,
}

/// Those who wait for one group.
#[derive(Default)]
pub(super) struct Line {
    members: BTreeMap<Arrival, Member>,
    /// Those who do not block: there is nothing for them when the first of the line has looked in vain.
    passing: BTreeSet<Arrival>,
    /// Those of them up to this one had lined up when the first began its look.
    looking_for: Option<Arrival>,
}

struct Member {
    called: Option<Call>,
    waker: Option<Waker>,
    /// Looks for pending events of others too.
    claims: bool,
}

impl Line {
    fn call(&mut self, arrival: Arrival, call: Call, wakers: &mut Vec<Waker>) {
        if let Some(member) = self.members.get_mut(&arrival) {
            member.called = member.called.max(Some(call));
            wakers.extend(member.waker.take());
        }
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

    /// Lines up for events of `group`, behind those who arrived earlier. Whoever has lined up must look at the topic
    /// without delay when it is called, or leave by dropping the turn.
    pub fn line_up(self: &Arc<Self>, group: &[u8], arrival: Arrival, manner: Manner) -> Turn {
        let mut wakers = Vec::new();
        {
            let mut state = self.state.lock();
            self.lined_up.fetch_add(1, Ordering::SeqCst);
            let line = match state.lines.get_mut(group) {
                Some(line) => line,
                None => state.lines.entry(group.into()).or_default(),
            };
            line.members
                .insert(arrival, Member { called: None, waker: None, claims: manner == Manner::Claims });
            if manner == Manner::Passes {
                line.passing.insert(arrival);
                line.call_first(&mut wakers);
            }
        }
        wake_all(wakers);
        Turn { point: Arc::clone(self), group: group.into(), arrival, looking: false }
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

/// A place in the line for a group's events. Dropping it passes the turn on if need be.
pub struct Turn {
    point: Arc<WatchPoint>,
    group: Box<[u8]>,
    arrival: Arrival,
    /// A look has begun; what it found is not known yet.
    looking: bool,
}

impl Turn {
    /// Resolves when this one is called.
    pub fn poll_called(&mut self, context: &mut Context<'_>) -> Poll<Call> {
        let mut state = self.point.state.lock();
        let member = state.lines.get_mut(&self.group).and_then(|line| line.members.get_mut(&self.arrival));
        // It stands there until it is dropped.
        let Some(member) = member else { return Poll::Ready(Call::Gone) };
        if let Some(call) = member.called {
            return Poll::Ready(call);
        }
        match &mut member.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => member.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Begins a look: calls from here on ask for another one. Returns what this one was called for, if it was, and
    /// whether it is the first of the line: to others what is new in the topic does not belong.
    pub fn begin_look(&mut self) -> (Option<Call>, bool) {
        let mut state = self.point.state.lock();
        let Some(line) = state.lines.get_mut(&self.group) else { return (Some(Call::Gone), false) };
        let is_first = line.first() == Some(self.arrival);
        if is_first {
            line.looking_for = line.passing.last().copied();
        }
        self.looking = true;
        let member = line.members.get_mut(&self.arrival);
        (member.and_then(|member| member.called.take()), is_first)
    }

    /// The look found nothing: this one waits on, in its place.
    pub fn found_nothing(&mut self) {
        let mut wakers = Vec::new();
        {
            let mut state = self.point.state.lock();
            let Some(line) = state.lines.get_mut(&self.group) else { return };
            if line.first() == Some(self.arrival)
                && let Some(last) = line.looking_for.take()
            {
                let answered: Vec<Arrival> = line.passing.range(..=last).copied().collect();
                for arrival in answered {
                    line.call(arrival, Call::Look, &mut wakers);
                }
            }
        }
        self.looking = false;
        wake_all(wakers);
    }

    /// The look took all there was: unless this one was called again meanwhile, dropping it calls nobody.
    pub fn took_all(&mut self) {
        self.looking = false;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut wakers = Vec::new();
        {
            let mut state = self.point.state.lock();
            self.point.lined_up.fetch_sub(1, Ordering::SeqCst);
            let Some(line) = state.lines.get_mut(&self.group) else { return };
            let was_first = line.first() == Some(self.arrival);
            let called = line.members.remove(&self.arrival).is_some_and(|member| member.called.is_some());
            line.passing.remove(&self.arrival);
            if was_first {
                line.looking_for = None;
            }
            // Those who pass wait for somebody to have looked in vain.
            if called || self.looking || (was_first && !line.passing.is_empty()) {
                line.call_first(&mut wakers);
            }
            if line.members.is_empty() {
                state.lines.remove(&self.group);
            }
        }
        wake_all(wakers);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Change;
    use super::*;

    fn called(turn: &mut Turn) -> Option<Call> {
        match turn.poll_called(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(call) => Some(call),
            Poll::Pending => None,
        }
    }

    fn line_up(point: &Arc<WatchPoint>, manner: Manner) -> Turn {
        point.line_up(b"g", Arrival::now(), manner)
    }

    /// One who has looked in vain once.
    fn blocked(point: &Arc<WatchPoint>) -> Turn {
        let mut turn = line_up(point, Manner::Blocks);
        turn.begin_look();
        turn.found_nothing();
        turn
    }

    #[test]
    fn an_event_calls_the_first_alone_and_the_next_when_there_may_be_more() {
        let point = Arc::new(WatchPoint::default());
        let (mut first, mut second) = (blocked(&point), blocked(&point));
        let mut other = point.line_up(b"other", Arrival::now(), Manner::Blocks);
        assert_eq!(other.begin_look(), (None, true));
        other.found_nothing();
        assert_eq!(called(&mut first), None);
        point.notify(Change::Events(0));
        assert_eq!((called(&mut first), called(&mut second)), (Some(Call::Look), None));
        assert_eq!(called(&mut other), Some(Call::Look));
        assert_eq!(first.begin_look(), (Some(Call::Look), true));
        drop(first);
        assert_eq!(called(&mut second), Some(Call::Look), "what the first did is not known");
        assert_eq!(second.begin_look(), (Some(Call::Look), true));
        second.found_nothing();
        assert_eq!(called(&mut second), None);
    }

    #[test]
    fn who_takes_all_calls_nobody_unless_it_was_called_again() {
        let point = Arc::new(WatchPoint::default());
        let (mut first, mut second, mut third) = (blocked(&point), blocked(&point), blocked(&point));
        first.begin_look();
        first.took_all();
        drop(first);
        assert_eq!(called(&mut second), None);
        second.begin_look();
        point.notify(Change::Events(0));
        second.took_all();
        drop(second);
        assert_eq!(called(&mut third), Some(Call::Look));
    }

    #[test]
    fn who_leaves_while_it_is_called_passes_the_call_on() {
        let point = Arc::new(WatchPoint::default());
        let (first, mut second) = (blocked(&point), blocked(&point));
        point.notify(Change::Events(0));
        drop(first);
        assert_eq!(called(&mut second), Some(Call::Look));
    }

    #[test]
    fn who_passes_is_called_after_the_first_has_looked_in_vain() {
        let point = Arc::new(WatchPoint::default());
        let (mut first, mut second) = (blocked(&point), blocked(&point));
        first.begin_look();
        let mut passing = line_up(&point, Manner::Passes);
        // That look may have begun before the event that it came for.
        first.found_nothing();
        assert_eq!(called(&mut passing), None);
        assert_eq!(first.begin_look(), (Some(Call::Look), true));
        first.found_nothing();
        assert_eq!(called(&mut second), None, "nothing for the first is nothing for the second");
        assert_eq!(called(&mut passing), Some(Call::Look));
        assert_eq!(passing.begin_look(), (Some(Call::Look), false));
    }

    #[test]
    fn who_passes_is_called_when_all_before_it_have_left() {
        let point = Arc::new(WatchPoint::default());
        let mut first = blocked(&point);
        let mut passing = line_up(&point, Manner::Passes);
        first.begin_look();
        first.took_all();
        drop(first);
        assert_eq!(called(&mut passing), Some(Call::Look));
        assert_eq!(passing.begin_look(), (Some(Call::Look), true));
        assert_eq!(
            called(&mut line_up(&Arc::default(), Manner::Passes)),
            Some(Call::Look),
            "nobody is before it"
        );
    }

    #[test]
    fn earlier_arrivals_stand_before_later_ones() {
        let point = Arc::new(WatchPoint::default());
        let early = Arrival::now();
        let mut late = blocked(&point);
        let mut early = point.line_up(b"g", early, Manner::Blocks);
        point.notify(Change::Any);
        assert_eq!((called(&mut early), called(&mut late)), (Some(Call::Look), None));
    }

    #[test]
    fn what_is_gone_calls_everybody_and_claimable_events_call_who_claims() {
        let point = Arc::new(WatchPoint::default());
        let (mut first, mut second) = (blocked(&point), blocked(&point));
        let mut claimer = line_up(&point, Manner::Claims);
        point.notify_claimable(b"g");
        assert_eq!([&mut first, &mut second, &mut claimer].map(called), [None, None, Some(Call::Look)]);
        point.notify_group_gone(b"other");
        assert_eq!(called(&mut first), None);
        point.notify_group_gone(b"g");
        assert_eq!([&mut first, &mut second, &mut claimer].map(called), [Some(Call::Gone); 3]);
        point.notify(Change::Gone);
        assert_eq!(second.begin_look(), (Some(Call::Gone), false));
    }

    #[test]
    fn a_group_that_is_back_before_anybody_looked_was_never_gone() {
        let point = Arc::new(WatchPoint::default());
        let (mut first, mut second) = (blocked(&point), blocked(&point));
        point.notify(Change::Gone);
        point.notify_group_back(b"g");
        assert_eq!([&mut first, &mut second].map(called), [Some(Call::Look); 2]);
        assert_eq!(first.begin_look(), (Some(Call::Look), true));
    }

    #[test]
    fn a_line_leaves_nothing_behind() {
        let point = Arc::new(WatchPoint::default());
        let turns = [line_up(&point, Manner::Blocks), line_up(&point, Manner::Passes)];
        assert!(point.has_line(b"g") && !point.has_line(b"h"));
        drop(turns);
        assert!(!point.has_line(b"g") && !point.is_watched());
        assert!(point.state.lock().lines.is_empty());
    }

    #[test]
    fn partition_events_that_the_topic_does_not_show_call_nobody() {
        let point = Arc::new(WatchPoint::default());
        let mut turn = blocked(&point);
        point.notify(Change::PartitionEvents(0));
        assert_eq!(called(&mut turn), None);
    }
}
