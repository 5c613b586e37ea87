use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Waker};

use super::*;

fn wanted(keys: &[&'static str], mode: Mode) -> Wanted {
    let mut wanted = Wanted::default();
    wanted.set(keys.iter().map(|key| (Database(0), key.as_bytes())), mode, None);
    wanted
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn a_partition_has_its_topics_gate() {
    assert_eq!(stripe_of(Database(0), b"deliveries#2"), stripe_of(Database(0), b"deliveries"));
    assert_ne!(stripe_of(Database(1), b"deliveries"), stripe_of(Database(0), b"deliveries"));
}

#[test]
fn names_spread_over_the_gates() {
    for length in [1, 8, 13] {
        let names = (0..10_000_u32).map(|at| format!("{at:0length$}"));
        let mut counts = vec![0_u32; usize::from(STRIPES)];
        let mut total = 0;
        for name in names.collect::<std::collections::BTreeSet<_>>() {
            counts[usize::from(stripe_of(Database(0), name.as_bytes()))] += 1;
            total += 1;
        }
        let worst = counts.into_iter().max().unwrap();
        assert!(worst <= 4 * total / u32::from(STRIPES), "length {length}: {worst} of {total}");
    }
}

#[test]
fn gates_are_taken_in_order_and_once() {
    let all = ["a", "b", "c", "d", "a", "a#1"];
    let mut wanted = Wanted::default();
    let keys = all.iter().map(|key| (Database(0), key.as_bytes()));
    wanted.set(keys, Mode::Shared, Some(Mode::Exclusive));
    let Wanted(stripes) = wanted;
    assert_eq!(stripes.len(), 5);
    assert!(stripes.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!(stripes.last(), Some(&(NAMES, Mode::Exclusive)));
}

#[test]
fn who_wants_it_alone_waits_for_those_who_share_and_is_not_overtaken() {
    let gates = Arc::new(Gates::default());
    let (mut one, mut other, mut late) =
        (Held::new(Arc::clone(&gates)), Held::new(Arc::clone(&gates)), Held::new(Arc::clone(&gates)));
    assert!(one.try_shared(Database(0), b"a"));
    let alone = wanted(&["a"], Mode::Exclusive);
    let shared = wanted(&["a"], Mode::Shared);
    let mut waits = Box::pin(other.acquire(&alone));
    assert!(!poll(waits.as_mut()));
    // A newcomer lines up behind.
    assert!(!late.try_shared(Database(0), b"a"));
    let mut behind = Box::pin(late.acquire(&shared));
    assert!(!poll(behind.as_mut()));
    one.release();
    assert!(poll(waits.as_mut()));
    drop(waits);
    assert!(!poll(behind.as_mut()));
    other.release();
    assert!(poll(behind.as_mut()));
    drop(behind);
    assert!(one.try_shared(Database(0), b"a"));
}

#[test]
fn a_wait_that_is_given_up_lets_the_others_through() {
    let gates = Arc::new(Gates::default());
    let holder = |key: &'static [u8]| {
        let mut held = Held::new(Arc::clone(&gates));
        assert!(held.try_shared(Database(0), key));
        held
    };
    let mut one = holder(b"a");
    let alone = wanted(&["a"], Mode::Exclusive);
    let (mut second, mut third) = (Held::new(Arc::clone(&gates)), Held::new(Arc::clone(&gates)));
    let mut waits = Box::pin(second.acquire(&alone));
    assert!(!poll(waits.as_mut()));
    let shared = wanted(&["a"], Mode::Shared);
    let mut behind = Box::pin(third.acquire(&shared));
    assert!(!poll(behind.as_mut()));
    drop(waits);
    assert!(poll(behind.as_mut()));
    drop(behind);
    // Given up between the grant and the poll that would have seen it.
    let mut waits = Box::pin(second.acquire(&alone));
    assert!(!poll(waits.as_mut()));
    one.release();
    third.release();
    drop(waits);
    drop(second);
    assert!(one.try_shared(Database(0), b"a"));
}

#[test]
fn threads_exclude_each_other() {
    const ROUNDS: u64 = 3_000;
    let gates = Arc::new(Gates::default());
    let keys: [&[&'static str]; 4] = [&["a", "b"], &["b", "c"], &["c", "a"], &["a", "b", "c"]];
    // Each key has a pair of numbers that are equal whenever nobody is alone at the gate.
    let pairs: Vec<(AtomicU64, AtomicU64)> = (0..3).map(|_| Default::default()).collect();
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (thread, keys) in keys.into_iter().enumerate() {
            let (gates, pairs, inside) = (Arc::clone(&gates), &pairs, &inside);
            scope.spawn(move || {
                let mut held = Held::new(gates);
                for round in 0..ROUNDS {
                    let mode = if (round + thread as u64).is_multiple_of(3) {
                        Mode::Exclusive
                    } else {
                        Mode::Shared
                    };
                    wafka_broker::wait(held.acquire(&wanted(keys, mode)));
                    inside.fetch_add(1, Ordering::Relaxed);
                    for key in keys {
                        let (one, other) = &pairs[usize::from(key.as_bytes()[0] - b'a')];
                        if mode == Mode::Exclusive {
                            one.store(one.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                            std::thread::yield_now();
                            other.store(other.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                        } else {
                            assert_eq!(one.load(Ordering::Relaxed), other.load(Ordering::Relaxed));
                        }
                    }
                    held.release();
                }
            });
        }
    });
    assert_eq!(inside.into_inner() as u64, 4 * ROUNDS);
    // Of three rounds one is alone; each key is held by three of the threads.
    for (one, other) in pairs {
        assert_eq!(one.into_inner(), ROUNDS);
        assert_eq!(other.into_inner(), ROUNDS);
    }
    assert!(gates.stripes.iter().all(Stripe::is_free));
}
