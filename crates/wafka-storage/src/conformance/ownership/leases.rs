//! Who has the lease.

use wafka_core::storage::{Renewed, StorageError};

use super::*;

pub(super) const CASES: &[Case] = &[
    one_server_has_it,
    what_is_given_up_is_free_at_once,
    what_is_not_renewed_ends,
    epochs_increase,
    what_nobody_took_is_renewed,
    what_another_had_is_lost_for_good,
    nothing_is_touched_before,
];

fn one_server_has_it(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    let [mut a, mut b] = ["a", "b"].map(|id| Server::open(harness, id));
    let epoch = a.own(harness);
    for _ in 0..3 {
        assert_eq!(b.refused(harness, &a)?.epoch, epoch);
    }
    assert!(b.ownership.renew().is_err(), "what was never acquired was renewed");
    // What it does not have it cannot give up for another.
    let _may_fail = b.ownership.release();
    b.refused(harness, &a)?;
    let asked = harness.now();
    let renewed = a.ownership.renew().expect("renew");
    assert_eq!(renewed, Renewed::Ours);
    a.asked = asked;
    b.refused(harness, &a)?;
    // Who does not know whether it has the lease asks again.
    let again = a.own(harness);
    assert!(again >= epoch, "epoch {again} after {epoch}");
    assert_eq!(b.refused(harness, &a)?.epoch, again);
    assert_eq!(a.ownership.renew().expect("renew"), Renewed::Ours);
    Ok(())
}

fn what_is_given_up_is_free_at_once(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    let [mut a, mut b] = ["a", "b"].map(|id| Server::open(harness, id));
    let mut last = 0;
    for _ in 0..5 {
        let epoch = a.own(harness);
        assert!(epoch > last, "epoch {epoch} after {last}");
        last = epoch;
        b.refused(harness, &a)?;
        a.ownership.release().expect("release");
        let renewed = a.ownership.renew();
        assert!(!matches!(renewed, Ok(Renewed::Ours)), "what was given up was renewed");
        assert_not_owner(a.storage.create(&[log("never-1")]));
        std::mem::swap(&mut a, &mut b);
    }
    a.own(harness);
    assert!(a.storage.list().expect("list").is_empty());
    Ok(())
}

fn what_is_not_renewed_ends(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    let [mut a, mut b, mut c] = ["a", "b", "c"].map(|id| Server::open(harness, id));
    let first = a.own(harness);
    // Whether its process lives or not.
    drop(a);
    let second = b.take_over(harness);
    assert!(second > first, "epoch {second} after {first}");
    assert_eq!(c.refused(harness, &b)?.epoch, second);
    let third = c.take_over(harness);
    assert!(third > second, "epoch {third} after {second}");
    Ok(())
}

fn epochs_increase(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    let mut last = 0;
    for round in 0..4 {
        let mut server = Server::open(harness, &format!("s{round}"));
        let epoch = server.take_over(harness);
        assert!(epoch > last, "epoch {epoch} after {last}");
        last = epoch;
        if round % 2 == 0 {
            server.ownership.release().expect("release");
        } else {
            harness.wait(server.time_to_live);
        }
    }
    Ok(())
}

fn what_nobody_took_is_renewed(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    let [mut a, mut b] = ["a", "b"].map(|id| Server::open(harness, id));
    a.own(harness);
    let mut shard = a.shard();
    let slot = create(&mut *shard, &log("a-1")).slot;
    append(&mut *shard, slot, 0, 3);
    sync(&mut *shard);
    for _ in 0..2 {
        harness.wait(a.time_to_live + Duration::from_millis(1));
        let asked = harness.now();
        assert_eq!(a.ownership.renew().expect("renew"), Renewed::Ours);
        a.asked = asked;
        b.refused(harness, &a)?;
    }
    // Nothing has to be opened anew.
    append(&mut *shard, slot, 3, 5);
    sync(&mut *shard);
    a.storage.create(&[log("b-1")]).expect("create");
    Ok(())
}

fn what_another_had_is_lost_for_good(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    let [mut a, mut b] = ["a", "b"].map(|id| Server::open(harness, id));
    a.own(harness);
    let epoch = b.take_over(harness);
    match a.ownership.renew().expect("renew") {
        Renewed::Lost(Some(holder)) => {
            assert_eq!((&holder.owner, holder.epoch), (&b.owner, epoch));
            assert!(holder.remaining <= b.time_to_live, "{holder:?}");
        }
        Renewed::Lost(None) => {
            b.in_time(harness)?;
            panic!("who has the lease is not told");
        }
        Renewed::Ours => panic!("renewed although {:?} had it since", b.owner),
    }
    b.ownership.release().expect("release");
    for _ in 0..2 {
        let renewed = a.ownership.renew().expect("renew");
        assert!(matches!(renewed, Renewed::Lost(_)), "{renewed:?} of what was lost");
        harness.wait(b.time_to_live + Duration::from_millis(1));
    }
    let _may_fail = a.ownership.release();
    b.own(harness);
    Ok(())
}

fn nothing_is_touched_before(harness: &mut dyn SharedHarness) -> Result<(), TooSlow> {
    let [mut a, mut b] = ["a", "b"].map(|id| Server::open(harness, id));
    // Nor where nobody has it.
    assert_not_owner(b.storage.create(&[log("c-1")]));
    a.own(harness);
    a.storage.create(&[log("a-1"), log("b-1")]).expect("create");
    let mut writer = a.shard();
    let slot = create(&mut *writer, &log("a-1")).slot;
    append(&mut *writer, slot, 0, 3);
    sync(&mut *writer);
    b.refused(harness, &a)?;
    assert_not_owner(b.storage.create(&[log("c-1")]));
    assert_not_owner(b.storage.delete(&[log("b-1")]));
    match b.storage.shard(BrokerId(1)) {
        Ok(mut shard) => {
            for (name, request) in [("a-1", EXISTING), ("a-1", CREATE), ("b-1", CREATE), ("c-1", CREATE)] {
                assert_not_owner(shard.open(&log(name), request).map(|_| ()));
            }
        }
        refused => assert_not_owner(refused.map(|_| ())),
    }
    append(&mut *writer, slot, 3, 5);
    sync(&mut *writer);
    let mut logs = a.storage.list().expect("list");
    logs.sort_by_key(ToString::to_string);
    assert_eq!(logs, [log("a-1"), log("b-1")]);
    Ok(())
}

#[track_caller]
pub(super) fn assert_not_owner(result: Result<(), StorageError>) {
    assert!(matches!(result, Err(StorageError::NotOwner { .. })), "{result:?} of who does not own the data");
}
