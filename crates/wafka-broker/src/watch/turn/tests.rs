use super::super::Change;
use super::*;

fn called(turn: &mut Turn) -> bool {
    turn.poll_called(&mut Context::from_waker(Waker::noop())).is_ready()
}

fn pass(point: &Arc<WatchPoint>) -> Turn {
    point.pass(b"g", Arrival::now())
}

/// One who waits and has looked in vain once.
fn blocked(point: &Arc<WatchPoint>) -> Turn {
    waiting(point, b"g", false)
}

fn waiting(point: &Arc<WatchPoint>, group: &[u8], claims: bool) -> Turn {
    let mut turn = point.pass(group, Arrival::now());
    turn.line_up(claims);
    turn.end_look();
    turn
}

#[test]
fn an_event_calls_the_first_alone_and_the_next_when_there_may_be_more() {
    let point = Arc::new(WatchPoint::default());
    let (mut first, mut second) = (blocked(&point), blocked(&point));
    let mut other = waiting(&point, b"other", false);
    assert!(!called(&mut first));
    point.notify(Change::Events(0));
    assert_eq!([&mut first, &mut second, &mut other].map(called), [true, false, true]);
    assert_eq!(first.begin_look(), (Some(Call::Look), true));
    drop(first);
    assert!(called(&mut second), "what the first did is not known");
    assert_eq!(second.begin_look(), (Some(Call::Look), true));
    second.end_look();
    assert!(!called(&mut second));
}

#[test]
fn who_takes_all_calls_nobody_unless_it_was_called_again() {
    let point = Arc::new(WatchPoint::default());
    let (mut first, mut second, mut third) = (blocked(&point), blocked(&point), blocked(&point));
    first.begin_look();
    first.end_look();
    drop(first);
    assert!(!called(&mut second));
    second.begin_look();
    point.notify(Change::Events(0));
    second.end_look();
    drop(second);
    assert!(called(&mut third));
}

#[test]
fn who_leaves_while_it_is_called_passes_the_call_on() {
    let point = Arc::new(WatchPoint::default());
    let (first, mut second) = (blocked(&point), blocked(&point));
    point.notify(Change::Events(0));
    drop(first);
    assert!(called(&mut second));
}

#[test]
fn a_newcomer_passes_once_nobody_is_busy() {
    let point = Arc::new(WatchPoint::default());
    assert!(called(&mut pass(&point)), "nobody waits");
    let (mut first, mut second) = (blocked(&point), blocked(&point));
    assert!(called(&mut pass(&point)), "there is nothing for those who wait");
    point.notify(Change::Events(0));
    let mut newcomer = pass(&point);
    assert!(!called(&mut newcomer), "the first has not looked");
    first.begin_look();
    assert!(!called(&mut newcomer), "the first is looking");
    drop(first);
    assert!(!called(&mut newcomer), "the second is called");
    second.begin_look();
    second.end_look();
    assert!(called(&mut newcomer));
}

#[test]
fn a_newcomer_that_is_gone_leaves_the_others_alone() {
    let point = Arc::new(WatchPoint::default());
    let mut first = blocked(&point);
    drop(pass(&point));
    assert!(!called(&mut first));
}

#[test]
fn earlier_arrivals_stand_before_later_ones() {
    let point = Arc::new(WatchPoint::default());
    let mut early = point.pass(b"g", Arrival::now());
    let mut late = blocked(&point);
    assert_eq!(early.line_up(false), (None, true));
    early.end_look();
    point.notify(Change::Any);
    assert_eq!([&mut early, &mut late].map(called), [true, false]);
}

#[test]
fn what_is_gone_calls_everybody_and_claimable_events_call_who_claims() {
    let point = Arc::new(WatchPoint::default());
    let (mut first, mut second) = (blocked(&point), blocked(&point));
    let mut claimer = waiting(&point, b"g", true);
    point.notify_claimable(b"g");
    assert_eq!([&mut first, &mut second, &mut claimer].map(called), [false, false, true]);
    point.notify_group_gone(b"other");
    assert!(!called(&mut first));
    point.notify_group_gone(b"g");
    assert_eq!([&mut first, &mut second, &mut claimer].map(called), [true; 3]);
    assert_eq!(second.begin_look(), (Some(Call::Gone), false));
    second.end_look();
    point.notify(Change::Gone);
    assert_eq!(second.begin_look(), (Some(Call::Gone), false));
}

#[test]
fn a_group_that_is_back_before_anybody_looked_was_never_gone() {
    let point = Arc::new(WatchPoint::default());
    let (mut first, mut second) = (blocked(&point), blocked(&point));
    point.notify(Change::Gone);
    point.notify_group_back(b"g");
    assert_eq!([&mut first, &mut second].map(called), [true; 2]);
    assert_eq!(first.begin_look(), (Some(Call::Look), true));
}

#[test]
fn a_line_leaves_nothing_behind() {
    let point = Arc::new(WatchPoint::default());
    let turns = [blocked(&point), pass(&point)];
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
    assert!(!called(&mut turn));
}
