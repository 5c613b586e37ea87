use std::time::Duration;

use wafka_core::Clock;

use super::*;

#[derive(Default)]
struct Held(Mutex<Duration>);

impl LeaseClock for Held {
    fn now(&self) -> Duration {
        *self.0.lock()
    }
}

struct Wall;

impl Clock for Wall {
    fn now_ms(&self) -> u64 {
        1_795_402_577_000
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn standing() -> (Standing, Arc<Held>) {
    let clock = Arc::new(Held(Mutex::new(100 * SECOND)));
    let me = Owner { id: "me".to_owned(), address: "here:1".to_owned() };
    (Standing::standby(me, Arc::clone(&clock) as _, Arc::new(Wall)), clock)
}

fn other(epoch: u64) -> Holder {
    let owner = Owner { id: "other".to_owned(), address: "there:2".to_owned() };
    Holder { owner, epoch, remaining: 3 * SECOND }
}

fn owner(until: u64) -> (Standing, Arc<Held>) {
    let (standing, clock) = standing();
    standing.opening(8, Duration::from_secs(until));
    assert!(standing.opened());
    (standing, clock)
}

fn unreachable() -> StorageError {
    StorageError::Io {
        log: "lease".to_owned(),
        operation: "renew",
        source: std::io::Error::other("no quorum"),
    }
}

#[test]
fn alone_everything_is_served_and_nothing_told() {
    let alone = Standing::alone();
    alone.look();
    assert!(alone.is_open() && alone.refusal(true, true).is_none() && alone.info().is_none());
}

#[test]
fn a_standby_says_who_owns_the_data_and_for_how_long() {
    let (standing, clock) = standing();
    let text = |standing: &Standing| standing.refusal(true, false).unwrap();
    assert!(text(&standing).contains("has not found out yet"), "{}", text(&standing));
    assert!(standing.held_by(other(7), 100 * SECOND));
    assert!(!standing.held_by(other(7), 100 * SECOND));
    *clock.0.lock() = 101 * SECOND;
    assert_eq!(
        text(&standing),
        "LOADING Wafka is a standby: other at there:2 owns the data since epoch 7, for another 2000 ms unless it renews"
    );
    *clock.0.lock() = 200 * SECOND;
    assert!(text(&standing).contains("for another 0 ms"));
    assert_eq!(standing.refusal(false, false), None);
    assert!(standing.unknown(&unreachable()) && !standing.unknown(&unreachable()));
    assert_eq!(
        text(&standing),
        "LOADING Wafka is a standby: it cannot be found out who owns the data: lease: renew: no quorum"
    );
    let (role, epoch, owner) = standing.info().unwrap();
    assert_eq!((role, epoch, owner.as_deref()), (Role::Standby, Some(7), Some("other there:2")));
}

#[test]
fn it_opens_before_it_serves() {
    let (standing, _) = standing();
    standing.held_by(other(7), 100 * SECOND);
    standing.opening(8, 103 * SECOND);
    assert_eq!(
        standing.refusal(true, false).as_deref(),
        Some("LOADING Wafka took the data over at epoch 8 and is opening it")
    );
    assert!(standing.opened() && standing.is_open());
    let (role, epoch, owner) = standing.info().unwrap();
    assert_eq!((role, epoch, owner.as_deref()), (Role::Owner, Some(8), Some("me here:1")));
}

#[test]
fn a_lease_that_ends_lets_nothing_be_written_until_it_is_renewed() {
    let (standing, clock) = owner(103);
    *clock.0.lock() = 103 * SECOND - Duration::from_millis(1);
    assert_eq!(standing.refusal(true, true), None);
    standing.unknown(&unreachable());
    assert!(standing.is_open());
    *clock.0.lock() = 104 * SECOND;
    standing.look();
    assert!(!standing.is_open());
    assert_eq!(standing.refusal(true, false), None, "what is there can be read");
    assert_eq!(
        standing.refusal(true, true).as_deref(),
        Some(
            "LAPSED Wafka's lease on the data (epoch 8) ended at 2026-11-23T02:56:16.000Z and could not be renewed: \
             lease: renew: no quorum; what may write is refused until it is"
        )
    );
    standing.renewed(107 * SECOND);
    assert!(standing.is_open());
    assert_eq!(standing.refusal(true, true), None);
}

#[test]
fn whoever_lost_the_data_says_so_for_good() {
    let (standing, clock) = owner(103);
    *clock.0.lock() = 105 * SECOND;
    standing.lost(Some(other(9)));
    let text = "FENCED Wafka no longer owns the data: other at there:2 took it over at epoch 9, after this server's lease \
                had ended at 2026-11-23T02:56:15.000Z; restart this server to make it a standby";
    assert_eq!(standing.refusal(true, false).as_deref(), Some(text));
    assert_eq!(standing.fenced().as_deref(), Some(text));
    assert_eq!(standing.refusal(false, false), None);
    standing.renewed(200 * SECOND);
    assert_eq!(standing.role(), Role::Fenced);
    let (role, epoch, owner) = standing.info().unwrap();
    assert_eq!((role, epoch, owner.as_deref()), (Role::Fenced, Some(9), Some("other there:2")));
}

#[test]
fn what_is_lost_while_it_is_opened_is_not_served() {
    let (standing, _) = standing();
    standing.opening(8, 103 * SECOND);
    standing.lost(None);
    assert!(!standing.opened());
    let text = standing.refusal(true, false).unwrap();
    assert!(text.starts_with("FENCED ") && text.contains("another server took it over;"), "{text}");
}
