//! Topics with a time to live.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wafka_broker::{AppendError, ExpireIf, Expiry, GroupStart, Topic, Transaction, wait};
use wafka_core::{Clock, Database};
use wafka_storage::fs::{Operation, SimFs};
use wafka_storage::text::CommitJournalUse;

use crate::support::{Bench, DB, EIO, Home, eventually, name, values};

/// A clock that is set by hand.
#[derive(Clone)]
struct HandClock(Arc<AtomicU64>);

impl Clock for HandClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn bench() -> (Bench, HandClock) {
    let clock = HandClock(Arc::new(AtomicU64::new(1_000)));
    let held = clock.clone();
    let bench = Bench::new(Home::Sim(SimFs::new()), 2).with(|options| options.clock = Arc::new(held));
    (bench.started(), clock)
}

fn expire(bench: &Bench, topic: &Arc<Topic>, at_ms: i64) {
    let Expiry::Set(ticket) = topic.expire(at_ms, ExpireIf::default()).unwrap() else {
        panic!("not set");
    };
    bench.engine().kick();
    wait(topic.committed(ticket)).unwrap();
}

#[test]
fn a_topic_is_gone_from_its_millisecond_on() {
    let (bench, clock) = bench();
    let topic = bench.topic("t");
    bench.add(&topic, "a").unwrap();
    expire(&bench, &topic, 5_000);
    assert_eq!(bench.engine().expiring(DB).topics, 1);
    assert_eq!(bench.engine().expiring(DB).average_ttl_ms, 4_000);
    clock.0.store(4_999, Ordering::SeqCst);
    assert!(bench.engine().topic(DB, b"t").is_some());
    clock.0.store(5_000, Ordering::SeqCst);
    assert!(bench.engine().topic(DB, b"t").is_none());
    assert!(bench.engine().topics(DB).is_empty());
    assert_eq!(bench.add(&topic, "b"), Err(AppendError::Deleted));
    assert_eq!(topic.persist(), Err(AppendError::Deleted));
    // Made anew at once, whether or not what is left of it was cleared away by then.
    let again = bench.topic("t");
    assert_eq!(again.expire_at_ms(), None);
    bench.add(&again, "c").unwrap();
    assert_eq!(values(&again), ["c"]);
    assert_eq!(bench.engine().expired_topics(), 1);
}

#[test]
fn what_is_left_is_cleared_away_and_told_of() {
    let (bench, clock) = bench();
    let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let teller = Arc::clone(&told);
    bench
        .engine()
        .on_expired(move |database: Database, name| teller.lock().push((database, name.to_string())));
    for (topic, at) in [("late", 9_000), ("soon", 2_000), ("sooner", 1_500)] {
        expire(&bench, &bench.topic(topic), at);
    }
    bench.topic("stays");
    clock.0.store(2_000, Ordering::SeqCst);
    eventually("two topics to go", || bench.engine().expired_topics() == 2);
    assert_eq!(bench.engine().topic_count(DB), 2);
    let mut names: Vec<_> = told.lock().iter().map(|(_, name)| name.clone()).collect();
    names.sort();
    assert_eq!(names, ["soon", "sooner"]);
    assert!(!bench.files().iter().any(|file| file.starts_with("soon")), "{:?}", bench.files());
}

#[test]
fn the_time_survives_a_crash_and_passes_while_the_server_is_down() {
    let (mut bench, clock) = bench();
    expire(&bench, &bench.topic("t"), 5_000);
    expire(&bench, &bench.topic("u"), 8_000);
    expire(&bench, &bench.topic("p"), 5_000);
    let persisted = bench.topic("p");
    let ticket = persisted.persist().unwrap().unwrap();
    bench.engine().kick();
    wait(persisted.committed(ticket)).unwrap();
    assert_eq!(persisted.persist(), Ok(None));
    drop(persisted);
    for round in 0..3 {
        bench.crash(round);
        assert_eq!(bench.topic("t").expire_at_ms(), Some(5_000));
        assert_eq!(bench.topic("p").expire_at_ms(), None);
    }
    bench.crash_only(7);
    clock.0.store(6_000, Ordering::SeqCst);
    bench.start().unwrap();
    assert!(bench.engine().topic(DB, b"t").is_none());
    assert_eq!(bench.engine().topic(DB, b"u").unwrap().expire_at_ms(), Some(8_000));
    eventually("the other to be cleared away", || bench.engine().topic_count(DB) == 2);
}

/// Who is told that the journal failed must not lose the topic by what was not written.
#[test]
fn a_time_that_is_not_written_does_not_count() {
    let clock = HandClock(Arc::new(AtomicU64::new(1_000)));
    let mut bench = Bench::new(Home::Sim(SimFs::new()), 1);
    bench.options.clock = Arc::new(clock.clone());
    // A fault of a file is a fault of its log.
    bench.commit_journal = CommitJournalUse::Never;
    bench.start().unwrap();
    let topic = bench.topic("t");
    bench.add(&topic, "a").unwrap();
    let mut groups = 0u32;
    for (operation, written, tried) in [
        (Operation::Write, None, Some(3_000)),
        (Operation::Sync, Some(8_000), Some(3_000)),
        (Operation::Sync, Some(8_000), None),
    ] {
        if let Some(at) = written {
            expire(&bench, &topic, at);
        }
        let written = written.and_then(|at| u64::try_from(at).ok());
        bench.fault(operation, "t.journal", EIO, 1);
        let ticket = match tried {
            Some(at) => match topic.expire(at, ExpireIf::default()) {
                Ok(Expiry::Set(ticket)) => ticket,
                other => panic!("{other:?}"),
            },
            None => topic.persist().unwrap().unwrap(),
        };
        bench.engine().kick();
        let error = wait(topic.committed(ticket)).unwrap_err().to_string();
        assert!(error.contains("journal is offline"), "{error}");
        assert_eq!(topic.expire_at_ms(), written);
        assert_eq!(bench.engine().expiring(DB).topics, u64::from(written.is_some()));
        bench.fs().heal();
        eventually("the journal to come back", || {
            groups += 1;
            let made = topic.create_group(&groups.to_le_bytes(), GroupStart::Last, None);
            bench.engine().kick();
            made.is_ok_and(|ticket| wait(topic.committed(ticket)).is_ok())
        });
    }
    clock.0.store(7_999, Ordering::SeqCst);
    drop(topic);
    bench.crash(1);
    assert_eq!(bench.topic("t").expire_at_ms(), Some(8_000));
    assert_eq!(values(&bench.topic("t")), ["a"]);
}

#[test]
fn conditions_and_times_that_have_passed() {
    let (bench, _clock) = bench();
    let topic = bench.topic("t");
    let only_if_set = ExpireIf { some: true, ..ExpireIf::default() };
    assert_eq!(topic.expire(5_000, only_if_set), Ok(Expiry::Refused));
    for past in [1_000, 0, -5, i64::MIN] {
        assert_eq!(topic.expire(past, ExpireIf::default()), Ok(Expiry::Due));
    }
    assert_eq!(topic.expire_at_ms(), None);
    expire(&bench, &topic, i64::MAX);
    assert_eq!(topic.expire_at_ms(), u64::try_from(i64::MAX).ok());
    expire(&bench, &topic, 5_000);
    let later = ExpireIf { later: true, ..ExpireIf::default() };
    assert_eq!(topic.expire(-1, later), Ok(Expiry::Refused));
    bench.engine().delete_topics(DB, &[b"t"]).unwrap();
    assert_eq!(bench.engine().expiring(DB).topics, 0);
    assert_eq!(bench.engine().expired_topics(), 0);
    assert!(bench.engine().create_topic(DB, &name("t"), None).unwrap().1);
}

fn begin(bench: &Bench, topic: &str) -> Transaction {
    bench.engine().begin_transaction(vec![(DB, name(topic))]).unwrap()
}

/// Waits until the thread has been at every topic whose time had come before: theirs come in order.
fn let_time_pass(bench: &Bench, clock: &HandClock, to: u64) {
    let before = bench.engine().expired_topics();
    expire(bench, &bench.topic("last"), i64::try_from(to).unwrap());
    clock.0.store(to, Ordering::SeqCst);
    eventually("the last to go", || bench.engine().expired_topics() == before + 1);
}

#[test]
fn a_time_that_is_going_to_be_taken_back_deletes_nothing() {
    for restart in [true, false] {
        let (mut bench, clock) = bench();
        bench.add(&bench.topic("t"), "before").unwrap();
        let transaction = begin(&bench, "t");
        bench.add(&bench.topic("t"), "half").unwrap();
        expire(&bench, &bench.topic("t"), 5_000);
        bench.fault(Operation::Write, "wafka.transactions", EIO, 1);
        // So that it cannot be taken back yet.
        bench.fault(Operation::Open, "data/t-", EIO, u64::MAX);
        transaction.commit().unwrap_err();
        drop(transaction);
        let_time_pass(&bench, &clock, 6_000);
        // Gone for everybody, but not for who takes the transaction back.
        assert!(bench.engine().topic(DB, b"t").is_none());
        let refused = [
            bench.engine().ensure_topic(DB, &name("t")).err().unwrap().to_string(),
            bench.engine().begin_transaction(vec![(DB, name("t"))]).err().unwrap().to_string(),
        ];
        assert!(refused.iter().all(|error| error.starts_with("READONLY ")), "{refused:?}");
        if restart {
            bench.stop();
            bench.fs().heal();
            bench.start().unwrap();
        } else {
            bench.fs().heal();
            eventually("it is taken back", || bench.engine().topic(DB, b"t").is_some());
        }
        assert_eq!(values(&bench.topic("t")), ["before"]);
        assert_eq!(bench.topic("t").expire_at_ms(), None);
    }
}

#[test]
fn within_a_transaction_no_time_comes() {
    let (mut bench, clock) = bench();
    bench.add(&bench.topic("t"), "before").unwrap();
    for killed in [true, false] {
        let transaction = begin(&bench, "t");
        expire(&bench, &bench.topic("t"), i64::try_from(clock.now_ms()).unwrap() + 1);
        let later = clock.now_ms() + 1_000;
        let_time_pass(&bench, &clock, later);
        bench.add(&bench.topic("t"), "within").unwrap();
        assert_eq!(values(&bench.topic("t")), ["before", "within"]);
        if killed {
            bench.kill();
            assert_eq!(values(&bench.topic("t")), ["before"]);
        } else {
            transaction.commit().unwrap();
            assert!(bench.engine().topic(DB, b"t").is_none());
        }
    }
    bench.restart();
    assert!(bench.engine().topic(DB, b"t").is_none());
}

#[test]
fn what_has_expired_is_not_there_for_a_transaction() {
    let (mut bench, clock) = bench();
    for round in 0..20 {
        bench.add(&bench.topic("t"), "old").unwrap();
        let at = clock.now_ms() + 1;
        expire(&bench, &bench.topic("t"), i64::try_from(at).unwrap());
        clock.0.store(at, Ordering::SeqCst);
        let transaction = begin(&bench, "t");
        bench.add(&bench.topic("t"), "new").unwrap();
        assert_eq!(values(&bench.topic("t")), ["new"]);
        if round % 2 == 0 {
            transaction.commit().unwrap();
            assert_eq!(bench.engine().delete_topics(DB, &[b"t"]).unwrap(), 1);
        } else {
            drop(transaction);
            bench.kill();
            assert!(bench.engine().topic(DB, b"t").is_none());
        }
    }
}
