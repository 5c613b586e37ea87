//! Transactions: whatever happens, and whenever, all of one counts or nothing.

use std::sync::Arc;

use wafka_broker::{Appended, FsyncPolicy, GroupStart, IdSpec, Placing, Transaction, TransactionError, wait};
use wafka_core::EventId;
use wafka_storage::fs::{Operation, SimFs};
use wafka_storage::memory::MemoryStorage;
use wafka_storage::text::CommitJournalUse;

use crate::support::{ALL, Bench, DB, EAGER, EIO, Home, accept, eventually, ids, maxlen, name, read, values};

/// How the machine ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Kill,
    Power(u64),
}

pub fn bench(fsync: FsyncPolicy) -> Bench {
    bench_with(fsync, CommitJournalUse::Never)
}

fn bench_with(fsync: FsyncPolicy, commit_journal: CommitJournalUse) -> Bench {
    let mut bench = Bench::new(Home::Sim(SimFs::new()), 2).with(|options| {
        options.index_interval_bytes = 100;
        options.fsync = fsync;
    });
    bench.commit_journal = commit_journal;
    bench.started()
}

/// `a` has been trimmed and so has a journal; `b` has none; `c` is going to be deleted.
pub fn prepare(bench: &Bench) {
    for topic in ["a", "b", "c"] {
        let topic = bench.topic(topic);
        for n in 0..6 {
            bench.add(&topic, &format!("before {n}")).unwrap();
        }
    }
    bench.trim(&bench.topic("a"), &maxlen(4)).unwrap();
    bench.engine().set_fsync(FsyncPolicy::Always);
}

pub fn begin(bench: &Bench, names: &[&str]) -> Result<Transaction, TransactionError> {
    bench.engine().begin_transaction(names.iter().map(|topic| (DB, name(topic))).collect())
}

/// Does a bit of everything; whether it is committed for certain.
fn transact(bench: &Bench) -> Option<()> {
    let transaction = begin(bench, &["a", "b", "c", "d", "e", "a"]).ok()?;
    let (a, b) = (bench.topic("a"), bench.topic("b"));
    for n in 0..3 {
        bench.add(&a, &format!("after {n}")).ok()?;
        bench.add(&b, &format!("after {n}")).ok()?;
    }
    let oldest = ids(&read(&a, &ALL).ok()?)[0];
    bench.delete(&a, &[oldest]).ok()?;
    let group = b.create_group(b"g", GroupStart::Id(EventId::MIN), None).ok()?;
    bench.engine().kick();
    wait(b.committed(group)).ok()?;
    let d = bench.engine().ensure_topic(DB, &name("d")).ok()?;
    bench.add(&d, "new").ok()?;
    assert_eq!(transaction.delete(DB, &[b"c", b"none"]), 1);
    assert!(bench.engine().topic(DB, b"c").is_none());
    transaction.commit().ok()
}

/// What there is.
fn found(bench: &Bench) -> (Vec<String>, Vec<String>, bool, Option<Vec<String>>, bool) {
    let topic = |name: &str| bench.engine().topic(DB, name.as_bytes());
    let (a, b) = (topic("a").unwrap(), topic("b").unwrap());
    for topic in [&a, &b] {
        let info = topic.info().unwrap();
        assert!(info.partitions.iter().all(|partition| partition.damage.is_empty()));
    }
    let has_group = b.pending_summary(b"g").is_ok();
    (values(&a), values(&b), topic("c").is_some(), topic("d").map(|d| values(&d)), has_group)
}

pub fn strings(of: &[(&str, std::ops::Range<u32>)]) -> Vec<String> {
    of.iter().flat_map(|(word, numbers)| numbers.clone().map(move |n| format!("{word} {n}"))).collect()
}

fn check(bench: &Bench, committed: bool, what: &str) -> bool {
    let found = found(bench);
    let before =
        (strings(&[("before", 2..6)]), strings(&[("before", 0..6)]), true, None::<Vec<String>>, false);
    let after = (
        strings(&[("before", 3..6), ("after", 0..3)]),
        strings(&[("before", 0..6), ("after", 0..3)]),
        false,
        Some(vec!["new".to_owned()]),
        true,
    );
    assert!(found == after || (found == before && !committed), "{what}: {found:?}");
    assert!(bench.engine().topic(DB, b"e").is_none());
    found == after
}

fn end(bench: &mut Bench, end: End) {
    match end {
        End::Kill => bench.kill(),
        End::Power(seed) => bench.crash(seed),
    }
}

/// A crash after every `step`th operation that changes something.
fn crash_everywhere(fsync: FsyncPolicy, commit_journal: CommitJournalUse, how: End, step: usize) {
    let mut outcomes = [false, false];
    for changes in (0..).step_by(step) {
        let mut bench = bench_with(FsyncPolicy::Always, commit_journal);
        prepare(&bench);
        bench.engine().set_fsync(fsync);
        bench.fs().stop_after(changes);
        let committed = transact(&bench).is_some();
        let stopped = bench.fs().is_stopped();
        end(&mut bench, how);
        let what = format!("{fsync:?}, {how:?} after {changes} changes");
        let whole = check(&bench, committed, &what);
        outcomes[usize::from(whole)] = true;
        go_on(&mut bench, whole, &what);
        if !stopped {
            assert!(committed);
            break;
        }
    }
    assert_eq!(outcomes, [true, true]);
}

#[test]
fn a_kill_at_any_moment_leaves_all_of_it_or_nothing() {
    for fsync in [FsyncPolicy::Always, FsyncPolicy::No] {
        crash_everywhere(fsync, CommitJournalUse::Never, End::Kill, 1);
    }
}

#[test]
fn a_loss_of_power_at_any_moment_leaves_all_of_it_or_nothing() {
    for (seed, fsync) in [(1, FsyncPolicy::Always), (2, FsyncPolicy::No), (3, FsyncPolicy::EverySec)] {
        crash_everywhere(fsync, CommitJournalUse::Never, End::Power(seed), 1);
    }
}

#[test]
fn so_it_is_with_commit_journals() {
    crash_everywhere(FsyncPolicy::Always, CommitJournalUse::Auto, End::Power(4), 3);
    crash_everywhere(FsyncPolicy::Always, CommitJournalUse::Auto, End::Kill, 5);
}

/// So many files that a commit journal has lines which the files get later.
#[test]
fn so_it_is_with_many_topics_at_a_time() {
    let topics: Vec<String> = (0..14).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    for how in [End::Kill, End::Power(5)] {
        let mut outcomes = [false, false];
        for changes in (0..).step_by(4) {
            let mut bench = bench_with(FsyncPolicy::Always, CommitJournalUse::Auto);
            let add_to_all = |bench: &Bench| {
                let fields: &[&[u8]] = &[b"v", b"x"];
                let accept = |name: &&str| accept(&bench.topic(name), IdSpec::Auto, None, fields, None).ok();
                let tickets: Vec<_> = names.iter().chain(&names).map(|name| (accept(name), name)).collect();
                bench.engine().kick();
                tickets.into_iter().all(|(appended, name)| {
                    let committed = |appended: Appended| wait(bench.topic(name).committed(appended.ticket));
                    appended.is_some_and(|appended| committed(appended).is_ok())
                })
            };
            assert!(add_to_all(&bench));
            bench.fs().stop_after(changes);
            let transaction = begin(&bench, &names);
            let added = transaction.is_ok() && add_to_all(&bench);
            let committed = added && transaction.is_ok_and(|transaction| transaction.commit().is_ok());
            let stopped = bench.fs().is_stopped();
            end(&mut bench, how);
            let lens: Vec<u64> = names.iter().map(|name| bench.topic(name).len(None).unwrap()).collect();
            let whole = lens.iter().all(|len| *len == 4);
            assert!(whole || (!committed && lens.iter().all(|len| *len == 2)), "after {changes}: {lens:?}");
            outcomes[usize::from(whole)] = true;
            if !stopped {
                break;
            }
        }
        assert_eq!(outcomes, [true, true]);
    }
}

#[test]
fn so_it_is_in_memory() {
    let mut bench = Bench::new(Home::Memory(MemoryStorage::new()), 2).started();
    let a = bench.topic("a");
    bench.add(&a, "before").unwrap();
    let transaction = begin(&bench, &["a", "b"]).unwrap();
    bench.add(&a, "half").unwrap();
    bench.add(&bench.topic("b"), "half").unwrap();
    drop((transaction, a));
    bench.restart();
    assert_eq!(values(&bench.topic("a")), ["before"]);
    assert!(bench.engine().topic(DB, b"b").is_none());
    let transaction = begin(&bench, &["a"]).unwrap();
    bench.add(&bench.topic("a"), "whole").unwrap();
    transaction.commit().unwrap();
    drop(transaction);
    bench.restart();
    assert_eq!(values(&bench.topic("a")), ["before", "whole"]);
}

/// What is written after the start that took a transaction back stays.
fn go_on(bench: &mut Bench, whole: bool, what: &str) {
    for topic in ["a", "b"] {
        bench.add(&bench.topic(topic), "later").unwrap();
    }
    if !whole {
        bench.add(&bench.topic("d"), "later").unwrap();
    }
    bench.kill();
    for topic in ["a", "b", "d"] {
        let values = values(&bench.topic(topic));
        let expected = if whole && topic == "d" { "new" } else { "later" };
        assert_eq!(values.last().map(String::as_str), Some(expected), "{what}: {topic}");
    }
}

#[test]
fn a_crash_while_one_is_taken_back_does_no_harm() {
    for changes in 0.. {
        let mut bench = bench(FsyncPolicy::Always);
        prepare(&bench);
        let transaction = begin(&bench, &["a", "b", "d"]).unwrap();
        for topic in ["a", "b", "d"] {
            bench.add(&bench.topic(topic), "half").unwrap();
        }
        drop(transaction);
        bench.kill_only();
        bench.fs().stop_after(changes);
        let started = bench.start().is_ok();
        let stopped = bench.fs().is_stopped();
        bench.crash_only(changes);
        bench.start().unwrap();
        assert_eq!(values(&bench.topic("a")), strings(&[("before", 2..6)]), "after {changes} changes");
        assert_eq!(values(&bench.topic("b")), strings(&[("before", 0..6)]), "after {changes} changes");
        assert!(bench.engine().topic(DB, b"d").is_none());
        if started && !stopped {
            break;
        }
    }
}

#[test]
fn what_cannot_be_committed_holds_its_topics() {
    let mut bench = bench(FsyncPolicy::Always);
    prepare(&bench);
    fail_to_commit(&bench, u64::MAX);
    for topic in ["a", "c", "d"] {
        let error = bench.add(&bench.topic(topic), "later").unwrap_err().to_string();
        assert!(error.starts_with("READONLY "), "{error}");
    }
    assert!(matches!(begin(&bench, &["a"]), Err(TransactionError::ReadOnly { .. })));
    let how = Placing { copy: false, replace: true };
    for (from, to) in [("a", "x"), ("b", "a")] {
        let placed = bench.engine().place_topic((DB, from.as_bytes()), (DB, &name(to)), how);
        assert!(placed.unwrap_err().to_string().starts_with("READONLY "), "{from} to {to}");
    }
    // The others go on.
    bench.add(&bench.topic("b"), "later").unwrap();
    // Nor can the names be taken.
    bench.engine().delete_topics(DB, &[b"d"]).unwrap();
    let error = bench.engine().ensure_topic(DB, &name("d")).err().unwrap().to_string();
    assert!(error.starts_with("READONLY "), "{error}");
    bench.stop();
    bench.fs().heal();
    bench.start().unwrap();
    is_taken_back(&bench);
    bench.add(&bench.topic("a"), "later").unwrap();
}

/// A transaction on `a`, `c`, which it deletes, and `d`, which it makes, that fails: so many writes to the log of transactions
/// do.
pub fn fail_to_commit(bench: &Bench, writes: u64) {
    let transaction = begin(bench, &["a", "c", "d"]).unwrap();
    bench.add(&bench.topic("a"), "half").unwrap();
    bench.trim(&bench.topic("a"), &maxlen(2)).unwrap();
    bench.add(&bench.topic("d"), "half").unwrap();
    assert_eq!(transaction.delete(DB, &[b"c"]), 1);
    bench.fault(Operation::Write, "wafka.transactions", EIO, writes);
    let error = transaction.commit().unwrap_err();
    assert_eq!(matches!(error, TransactionError::NotCommitted(_)), writes == 1, "{error}");
}

fn is_taken_back(bench: &Bench) {
    assert_eq!(values(&bench.topic("a")), strings(&[("before", 2..6)]));
    assert_eq!(values(&bench.topic("c")), strings(&[("before", 0..6)]));
    assert!(bench.engine().topic(DB, b"d").is_none());
}

#[test]
fn what_failed_is_taken_back_when_its_logs_can_be_written_again() {
    for unsure in [false, true] {
        let mut bench = bench(FsyncPolicy::Always);
        prepare(&bench);
        let old = bench.topic("a");
        if unsure {
            let transaction = begin(&bench, &["a", "d"]).unwrap();
            bench.add(&bench.topic("a"), "half").unwrap();
            bench.add(&bench.topic("d"), "half").unwrap();
            // Nor can the line be taken out, which is in the file.
            bench.fault(Operation::Sync, "wafka.transactions", EIO, u64::MAX);
            bench.fault(Operation::Open, "wafka.transactions", EIO, u64::MAX);
            let error = transaction.commit().unwrap_err();
            assert!(matches!(error, TransactionError::Unknown(_)), "{error}");
        } else {
            fail_to_commit(&bench, 1);
        }
        let error = bench.add(&bench.topic("a"), "later").unwrap_err().to_string();
        assert!(error.starts_with("READONLY "), "{error}");
        bench.fs().heal();
        eventually("it is taken back", || bench.add(&bench.topic("a"), "later").is_ok());
        let later = [strings(&[("before", 2..6)]), vec!["later".to_owned()]].concat();
        assert_eq!(values(&bench.topic("a")), later);
        // Who still has it in hand is told to look the name up again.
        assert!(old.is_deleted());
        assert_eq!(values(&bench.topic("c")), strings(&[("before", 0..6)]));
        assert!(bench.engine().topic(DB, b"d").is_none());
        for topic in ["c", "d"] {
            bench.add(&bench.topic(topic), "later").unwrap();
        }
        let transaction = begin(&bench, &["a", "d"]).unwrap();
        bench.add(&bench.topic("d"), "whole").unwrap();
        transaction.commit().unwrap();
        drop(transaction);
        for _ in 0..2 {
            bench.kill();
            assert_eq!(values(&bench.topic("a")), later);
            assert_eq!(values(&bench.topic("d")), ["later", "whole"]);
        }
    }
}

#[test]
fn a_crash_while_what_failed_is_taken_back_does_no_harm() {
    // Each takes a second: the engine looks after what failed that often.
    for changes in (0..).step_by(3) {
        let how = if u64::is_multiple_of(changes, 2) { End::Kill } else { End::Power(changes) };
        let mut bench = bench(FsyncPolicy::Always);
        prepare(&bench);
        fail_to_commit(&bench, 1);
        bench.fs().heal();
        bench.fs().stop_after(changes);
        let mut back = false;
        eventually("it is taken back, or the machine has stopped", || {
            back = bench.engine().topic(DB, b"d").is_none() && bench.topic("a").info().unwrap().length == 4;
            back = back && bench.add(&bench.topic("c"), "later").is_ok();
            back || bench.fs().is_stopped()
        });
        end(&mut bench, how);
        let c = values(&bench.topic("c"));
        assert!(c.starts_with(&strings(&[("before", 0..6)])), "after {changes} changes: {c:?}");
        assert!(c.len() == 6 || c[6..] == ["later"], "after {changes} changes: {c:?}");
        assert_eq!(values(&bench.topic("a")), strings(&[("before", 2..6)]), "after {changes} changes");
        assert!(bench.engine().topic(DB, b"d").is_none());
        for topic in ["a", "c", "d"] {
            bench.add(&bench.topic(topic), "later").unwrap();
        }
        if back {
            break;
        }
    }
}

#[test]
fn what_cannot_be_taken_back_stops_the_start() {
    let mut bench = bench(FsyncPolicy::Always);
    prepare(&bench);
    let transaction = begin(&bench, &["a", "b"]).unwrap();
    bench.add(&bench.topic("a"), "half").unwrap();
    drop(transaction);
    bench.kill_only();
    bench.fault(Operation::Open, "b-2.txt", EIO, 1);
    let error = bench.start().err().unwrap().to_string();
    assert!(
        error.contains(r#"on topics ["a", "b"], was not committed and cannot be taken back: b-2.txt"#),
        "{error}"
    );
    bench.start().unwrap();
    assert_eq!(values(&bench.topic("a")), strings(&[("before", 2..6)]));
}

#[test]
fn what_cannot_begin_does_nothing() {
    let bench = bench(FsyncPolicy::Always);
    prepare(&bench);
    bench.fault(Operation::Create, "wafka.transactions", EIO, 1);
    let error = begin(&bench, &["a"]).err().unwrap();
    assert!(matches!(error, TransactionError::NotBegun(_)), "{error}");
    begin(&bench, &["a"]).unwrap().commit().unwrap();
    bench.add(&bench.topic("a"), "later").unwrap();
}

#[test]
fn a_deleted_name_is_free_again_behind_the_end() {
    let bench = bench(FsyncPolicy::Always);
    prepare(&bench);
    let transaction = begin(&bench, &["c"]).unwrap();
    assert_eq!(transaction.delete(DB, &[b"c"]), 1);
    let error = bench.engine().ensure_topic(DB, &name("c")).err().unwrap().to_string();
    assert_eq!(error, "ERR topic 'c' was deleted in this transaction: it can be made anew after EXEC");
    transaction.commit().unwrap();
    let c = bench.topic("c");
    bench.add(&c, "new").unwrap();
    assert_eq!(values(&c), ["new"]);
}

#[test]
fn space_is_given_back_after_a_transaction_not_within() {
    let bench = bench(FsyncPolicy::Always).with(|options| options.reclaim = EAGER);
    let mut bench = bench;
    bench.restart();
    prepare(&bench);
    let a = bench.topic("a");
    let lines = |file: &str| bench.content(file).lines().count();
    eventually("space is given back", || lines("a-1.txt") + lines("a-2.txt") == 4);
    let transaction = begin(&bench, &["a"]).unwrap();
    bench.trim(&a, &maxlen(1)).unwrap();
    for n in 0..50 {
        bench.add(&a, &n.to_string()).unwrap();
    }
    // Not one line went, however long it takes.
    assert_eq!(lines("a-1.txt") + lines("a-2.txt"), 54);
    transaction.commit().unwrap();
    eventually("space is given back", || {
        bench.add(&a, "later").unwrap();
        bench.trim(&a, &maxlen(2)).unwrap();
        lines("a-1.txt") + lines("a-2.txt") < 30
    });
}

#[test]
fn the_log_stays_small_and_damage_in_it_stops_the_start() {
    let mut bench = bench(FsyncPolicy::No);
    prepare(&bench);
    bench.engine().set_fsync(FsyncPolicy::No);
    let file = "wafka.transactions.txt";
    assert_eq!(bench.content(file), "");
    let many: Vec<String> = (0..200).map(|n| format!("{n:0>190}")).collect();
    let names: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut compacted = false;
    for _ in 0..60 {
        let before = bench.content(file).len();
        begin(&bench, &names).unwrap().commit().unwrap();
        compacted |= bench.content(file).len() < before;
    }
    assert!(compacted);
    begin(&bench, &["a"]).unwrap().commit().unwrap();
    assert!(bench.content(file).len() < 2 << 20);
    bench.restart();
    begin(&bench, &["a"]).unwrap().commit().unwrap();
    bench.stop();
    let content = bench.content(file);
    bench.put(file, content.replacen("\"begin\":", "\"began\":", 1).as_bytes());
    let error = bench.start().err().unwrap().to_string();
    assert!(error.contains("wafka.transactions.txt: at byte "), "{error}");
    bench.put(file, content.as_bytes());
    bench.start().unwrap();
}

#[test]
fn transactions_on_different_topics_run_at_the_same_time() {
    let bench = Arc::new(bench(FsyncPolicy::Always));
    prepare(&bench);
    std::thread::scope(|scope| {
        for topic in ["a", "b", "c", "d"] {
            let bench = &bench;
            scope.spawn(move || {
                for n in 0..20 {
                    let transaction = begin(bench, &[topic]).unwrap();
                    bench.add(&bench.topic(topic), &format!("in {n}")).unwrap();
                    transaction.commit().unwrap();
                }
            });
        }
    });
    for topic in ["a", "b", "c", "d"] {
        assert_eq!(values(&bench.topic(topic)).iter().filter(|value| value.starts_with("in ")).count(), 20);
    }
}
