//! Backends that say what cannot be.

use wafka_core::storage::RewritePlan;
use wafka_plugin_abi::status;

use super::*;

#[test]
fn an_append_that_says_another_place_poisons_until_it_is_reopened() {
    let storage = opened(&["wrong-offset:a-1:1:1"]);
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    let a = shard.open(&log("a-1"), CREATE).unwrap();
    let b = shard.open(&log("b-1"), CREATE).unwrap();
    append(&mut *shard, a.slot, 0, 3).unwrap();
    assert_faulty(append(&mut *shard, a.slot, 3, 5), "offsets 4..6 were appended, expected 3..5");
    assert_poisoned(append(&mut *shard, a.slot, 3, 5));
    assert_poisoned(shard.begin_rewrite(a.slot, RewritePlan::default()).map(|_| ()));
    append(&mut *shard, b.slot, 0, 1).unwrap();
    assert!(sync(&mut *shard).is_empty());
    shard.reopen(a.slot, Cursor::at_offset(3)).unwrap();
    append(&mut *shard, a.slot, 3, 5).unwrap();
    assert_eq!(read(&*a.reader, 0).unwrap(), lines_of(0..5));
}

#[test]
fn a_short_append_is_noticed() {
    unsafe extern "C" fn short(
        shard: *mut c_void,
        slot: u32,
        batch: *const abi::Batch,
        appended: *mut abi::Appended,
        error: *mut ErrorOut,
    ) -> u32 {
        let Some(append) = functions().append else { return status::FAILED };
        // SAFETY: the arguments are the host's.
        unsafe {
            let result = append(shard, slot, batch, appended, error);
            (*appended).end_offset -= 1;
            result
        }
    }
    let storage = opened_with(StorageVtable { append: Some(short), ..functions() }, &[]);
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    let a = shard.open(&log("a-1"), CREATE).unwrap();
    assert_faulty(append(&mut *shard, a.slot, 0, 4), "offsets 0..3 were appended, expected 0..4");
    assert_poisoned(append(&mut *shard, a.slot, 3, 4));
}

#[test]
fn when_nobody_knows_which_log_failed_all_did() {
    let storage = opened(&["unknown-slot:*:0:1"]);
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    let slots = ["a-1", "b-1"].map(|name| shard.open(&log(name), CREATE).unwrap().slot);
    for slot in slots {
        append(&mut *shard, slot, 0, 2).unwrap();
    }
    let failed = sync(&mut *shard);
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(failed.iter().all(|text| text.contains(FILE) && text.contains("slot 9999")), "{failed:?}");
    for slot in slots {
        assert_poisoned(append(&mut *shard, slot, 2, 3));
        shard.reopen(slot, Cursor::at_offset(0)).unwrap();
        append(&mut *shard, slot, 0, 1).unwrap();
    }
    assert!(sync(&mut *shard).is_empty());
}

#[test]
fn a_sync_that_fails_as_a_whole_fails_for_every_log() {
    unsafe extern "C" fn no_sync(_: *mut c_void, _: *mut *mut c_void, _: *mut ErrorOut) -> u32 {
        status::IO
    }
    unsafe extern "C" fn fails(
        pending: *mut c_void,
        failures: *const abi::FailureSink,
        error: *mut ErrorOut,
    ) -> u32 {
        let Some(wait) = functions().sync_wait else { return status::FAILED };
        // SAFETY: the arguments are the host's.
        unsafe { wait(pending, failures, error) };
        4711
    }
    for (functions, said) in [
        (StorageVtable { begin_sync: Some(no_sync), ..functions() }, "no reason given"),
        (StorageVtable { sync_wait: Some(fails), ..functions() }, "unknown status 4711"),
    ] {
        let storage = opened_with(functions, &[]);
        let mut shard = storage.shard(BrokerId(1)).unwrap();
        let slot = shard.open(&log("a-1"), CREATE).unwrap().slot;
        append(&mut *shard, slot, 0, 2).unwrap();
        let failed = sync(&mut *shard);
        assert!(failed.len() == 1 && failed[0].contains(said) && failed[0].contains(FILE), "{failed:?}");
        assert_poisoned(append(&mut *shard, slot, 2, 3));
    }
}

/// Nobody waited, and so nobody was told: the lines must not be built upon.
#[test]
fn a_sync_that_nobody_waits_for_may_fail_too() {
    let storage = opened(&["sync:a-1:0:1"]);
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    let slot = shard.open(&log("a-1"), CREATE).unwrap().slot;
    append(&mut *shard, slot, 0, 2).unwrap();
    drop(shard.begin_sync());
    assert_poisoned(append(&mut *shard, slot, 2, 3));
}

#[test]
fn a_read_that_cannot_be_right_is_an_error() {
    for (fault, said) in [
        ("read-half-line", "ends within a line"),
        ("read-too-much", "more than the 1000 bytes"),
        ("read-backwards", "expected none below 2"),
        ("read-nothing", "gives nothing from offset 2 on, expected lines: the log ends at 30"),
        ("read-stands-still", "read on at 2"),
        ("read-skips", "says to read on at"),
    ] {
        let storage = opened(&[&format!("{fault}:a-1:0:1")]);
        let mut shard = storage.shard(BrokerId(1)).unwrap();
        let a = shard.open(&log("a-1"), CREATE).unwrap();
        append(&mut *shard, a.slot, 0, 30).unwrap();
        assert_faulty(read(&*a.reader, 2), said);
        // The next answer may be right.
        assert!(lines_of(2..30).starts_with(&read(&*a.reader, 2).unwrap()), "{fault}");
    }
}

#[test]
fn names_that_are_none_are_not_listed() {
    let storage = opened(&["bad-name:*"]);
    storage.create(&[log("a-1")]).unwrap();
    assert_faulty(storage.list(), "a log called '../passwd'");
}

#[test]
fn a_log_that_cannot_be_is_not_opened() {
    for (fault, said) in [
        ("first-behind-end", "begins at offset 1, expected at most its end, 0"),
        ("no-generation", "generation 0"),
    ] {
        let storage = opened(&[&format!("{fault}:a-1:0:1")]);
        let mut shard = storage.shard(BrokerId(1)).unwrap();
        assert_faulty(shard.open(&log("a-1"), CREATE).map(|_| ()), said);
        // It was closed again.
        assert!(shard.open(&log("a-1"), CREATE).is_ok(), "{fault}");
    }
}

/// Whatever is done with either log may hit the other: the shard is used no more.
#[test]
fn two_logs_in_one_slot_end_the_shard() {
    let storage = opened(&["slot-twice:b-1"]);
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    let a = shard.open(&log("a-1"), CREATE).unwrap();
    append(&mut *shard, a.slot, 0, 2).unwrap();
    let said = "gives slot 0 to b-1, expected another one than that of a-1";
    assert_faulty(shard.open(&log("b-1"), CREATE).map(|_| ()), said);
    assert_faulty(append(&mut *shard, a.slot, 2, 3), said);
    assert_eq!(sync(&mut *shard).len(), 1);
    assert_eq!(read(&*a.reader, 0).unwrap(), lines_of(0..2));
    // The other shards go on.
    let mut other = storage.shard(BrokerId(2)).unwrap();
    assert!(other.open(&log("c-2"), CREATE).is_ok());
}

#[test]
fn a_rewrite_that_keeps_what_cannot_be_changes_nothing() {
    for (fault, said) in [
        ("keeps-twice", "keeps offset 2 after 2, expected a higher one"),
        ("keeps-half", "is not one line"),
        ("fail-rewrite", "the script says so"),
    ] {
        let storage = opened(&[&format!("{fault}:a-1:0:1")]);
        let mut shard = storage.shard(BrokerId(1)).unwrap();
        let a = shard.open(&log("a-1"), CREATE).unwrap();
        append(&mut *shard, a.slot, 0, 5).unwrap();
        let plan = || RewritePlan { drop_below: 2, drop: vec![] };
        let mut rewrite = shard.begin_rewrite(a.slot, plan()).unwrap();
        let error = rewrite.run(&mut |_| {}).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert!(shard.finish_rewrite(rewrite, &mut |_| {}).is_err());
        assert_eq!(read(&*a.reader, 0).unwrap(), lines_of(0..5));
        // Another one is begun afresh.
        let mut rewrite = shard.begin_rewrite(a.slot, plan()).unwrap();
        rewrite.run(&mut |_| {}).unwrap();
        assert_eq!(shard.finish_rewrite(rewrite, &mut |_| {}).unwrap().first.offset, 2);
        append(&mut *shard, a.slot, 5, 6).unwrap();
    }
}

#[test]
fn a_rewrite_that_ends_wrongly_poisons() {
    for (fault, said) in [
        ("wrong-end", "the log ends at offset 6 now, expected 5"),
        ("wrong-first", "the log begins at offset 3 now, expected 2"),
        ("keeps-none", "the last line it kept is no line, expected the log's last, offset 4"),
    ] {
        let storage = opened(&[&format!("{fault}:a-1:0:1")]);
        let mut shard = storage.shard(BrokerId(1)).unwrap();
        let a = shard.open(&log("a-1"), CREATE).unwrap();
        append(&mut *shard, a.slot, 0, 5).unwrap();
        let mut rewrite = shard.begin_rewrite(a.slot, RewritePlan { drop_below: 2, drop: vec![] }).unwrap();
        rewrite.run(&mut |_| {}).unwrap();
        assert_faulty(shard.finish_rewrite(rewrite, &mut |_| {}), said);
        assert_poisoned(append(&mut *shard, a.slot, 5, 6));
        shard.reopen(a.slot, Cursor::at_offset(5)).unwrap();
        append(&mut *shard, a.slot, 5, 6).unwrap();
    }
}

/// What the engine does with kept lines may panic: that must not unwind into the plugin.
#[test]
fn a_panic_in_the_host_passes_round_the_plugin() {
    let storage = opened(&[]);
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    let a = shard.open(&log("a-1"), CREATE).unwrap();
    append(&mut *shard, a.slot, 0, 5).unwrap();
    let mut rewrite = shard.begin_rewrite(a.slot, RewritePlan::default()).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        rewrite.run(&mut |_| panic!("the host's own"))
    }));
    assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"the host's own"));
    drop(rewrite);
    append(&mut *shard, a.slot, 5, 6).unwrap();
}
