//! Backends that panic: it is an error that says so, what it happened to is used no more, and all else goes on.

use wafka_core::storage::RewritePlan;

use super::*;

#[test]
fn of_the_storage() {
    type Act = fn(&dyn Storage) -> Result<(), StorageError>;
    let acts: [(&str, Act); 4] = [
        ("list", |storage| storage.list().map(|_| ())),
        ("create", |storage| storage.create(&[log("b-1")])),
        ("delete", |storage| storage.delete(&[log("b-1")])),
        ("shard", |storage| storage.shard(BrokerId(2)).map(|_| ())),
    ];
    for (operation, act) in acts {
        let storage = opened(&[&format!("panic-{operation}:*:1:1")]);
        if operation == "shard" {
            drop(storage.shard(BrokerId(9)).unwrap());
        }
        let mut shard = match operation {
            "shard" => None,
            _ => Some(storage.shard(BrokerId(1)).unwrap()),
        };
        if operation != "shard" {
            act(&*storage).unwrap();
        }
        assert_faulty(act(&*storage), &format!("panicked: scripted panic at {operation}"));
        for (_, act) in acts {
            assert_faulty(act(&*storage), "not used until the server starts again");
        }
        if let Some(shard) = &mut shard {
            // Its shards are other handles.
            let slot = shard.open(&log("a-1"), CREATE).unwrap().slot;
            append(&mut **shard, slot, 0, 1).unwrap();
        }
    }
}

#[test]
fn of_a_shard() {
    type Act = fn(&mut dyn Shard, LogSlot) -> Result<(), StorageError>;
    let acts: [(&str, Act); 4] = [
        ("log_open", |shard, _| shard.open(&log("b-1"), CREATE).map(|_| ())),
        ("append", |shard, slot| append(shard, slot, 3, 4).map(|_| ())),
        ("reopen", |shard, slot| shard.reopen(slot, Cursor::at_offset(3))),
        ("begin_rewrite", |shard, slot| shard.begin_rewrite(slot, RewritePlan::default()).map(|_| ())),
    ];
    for (operation, act) in acts {
        let storage = opened(&[&format!("panic-{operation}:*:1:1")]);
        let mut shard = storage.shard(BrokerId(1)).unwrap();
        let a = shard.open(&log("a-1"), CREATE).unwrap();
        if operation == "append" {
            append(&mut *shard, a.slot, 0, 3).unwrap();
        } else {
            append(&mut *shard, a.slot, 0, 3).unwrap();
            if operation != "log_open" {
                act(&mut *shard, a.slot).unwrap();
            }
        }
        let said = format!("panicked: scripted panic at {operation}");
        assert_faulty(act(&mut *shard, a.slot), &said);
        for (_, act) in acts {
            assert_faulty(act(&mut *shard, a.slot), &said);
        }
        let failed = sync(&mut *shard);
        assert!(failed.len() == 1 && failed[0].contains(&said), "{failed:?}");
        shard.set_synced_first(true);
        assert!(shard.catch_up(true).failures.is_empty());
        assert_eq!(read(&*a.reader, 0).unwrap(), lines_of(0..3));
        shard.close(a.slot);
        drop(shard);
        assert!(storage.shard(BrokerId(2)).unwrap().open(&log("c-1"), CREATE).is_ok());
    }
}

#[test]
fn where_there_is_no_error_to_return() {
    for operation in ["set_synced_first", "finish_sync", "log_close"] {
        let log_or_any = if operation == "log_close" { "b-1" } else { "*" };
        let storage = opened(&[&format!("panic-{operation}:{log_or_any}:0:1")]);
        let mut shard = storage.shard(BrokerId(1)).unwrap();
        let slots = ["a-1", "b-1"].map(|name| shard.open(&log(name), CREATE).unwrap().slot);
        match operation {
            "set_synced_first" => shard.set_synced_first(true),
            "finish_sync" => shard.finish_sync(&[]),
            _ => shard.close(slots[1]),
        }
        let next = append(&mut *shard, slots[0], 0, 1);
        assert_faulty(next, &format!("scripted panic at {operation}"));
    }
}

/// A plugin learns of either, also when it is the first that is said.
#[test]
fn what_is_synced_first_is_told_at_once() {
    for synced_first in [false, true] {
        let storage = opened(&["panic-set_synced_first:*:0:1"]);
        let mut shard = storage.shard(BrokerId(1)).unwrap();
        let slot = shard.open(&log("a-1"), CREATE).unwrap().slot;
        shard.set_synced_first(synced_first);
        assert_faulty(append(&mut *shard, slot, 0, 1), "scripted panic at set_synced_first");
    }
}

#[test]
fn of_a_sync() {
    for operation in ["begin_sync", "sync_wait", "catch_up"] {
        let storage = opened(&[&format!("panic-{operation}:*:0:1")]);
        let mut shard = storage.shard(BrokerId(1)).unwrap();
        let slot = shard.open(&log("a-1"), CREATE).unwrap().slot;
        append(&mut *shard, slot, 0, 2).unwrap();
        let failures = match operation {
            "catch_up" => shard.catch_up(true).failures,
            _ => shard.begin_sync().wait(),
        };
        let texts: Vec<String> = failures.iter().map(|failure| failure.error.to_string()).collect();
        let said = format!("panicked: scripted panic at {operation}");
        assert!(texts.len() == 1 && texts[0].contains(&said) && texts[0].contains(FILE), "{texts:?}");
        shard.finish_sync(&failures);
        assert!(append(&mut *shard, slot, 2, 3).is_err());
        if operation == "sync_wait" {
            // Only that sync panicked.
            shard.reopen(slot, Cursor::at_offset(0)).unwrap();
            append(&mut *shard, slot, 0, 1).unwrap();
        }
    }
}

#[test]
fn of_a_reader() {
    for operation in ["read", "read_ready"] {
        let storage = opened(&[&format!("panic-{operation}:a-1:0:1")]);
        let mut shard = storage.shard(BrokerId(1)).unwrap();
        let a = shard.open(&log("a-1"), CREATE).unwrap();
        append(&mut *shard, a.slot, 0, 2).unwrap();
        let panicked = match operation {
            "read" => read(&*a.reader, 0).map(|_| ()),
            _ => a.reader.read_ready(Cursor::at_offset(0), 10, &mut Vec::new()).map(|_| ()),
        };
        assert_faulty(panicked, &format!("panicked: scripted panic at {operation}"));
        assert_faulty(read(&*a.reader, 0), "not read until the server starts again");
        append(&mut *shard, a.slot, 2, 3).unwrap();
    }
    let storage = opened(&["panic-generation:a-1", "panic-size:b-1"]);
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    for name in ["a-1", "b-1"] {
        let reader = shard.open(&log(name), CREATE).unwrap().reader;
        for _ in 0..2 {
            let _zero_where_it_panicked = (reader.generation(), reader.size_bytes());
        }
        assert_faulty(read(&*reader, 0), "scripted panic");
    }
}

#[test]
fn of_a_rewrite() {
    let storage = opened(&["panic-rewrite_run:a-1", "panic-finish_rewrite:b-1"]);
    let mut shard = storage.shard(BrokerId(1)).unwrap();
    let [a, b] = ["a-1", "b-1"].map(|name| shard.open(&log(name), CREATE).unwrap());
    append(&mut *shard, a.slot, 0, 3).unwrap();
    let mut rewrite = shard.begin_rewrite(a.slot, RewritePlan::default()).unwrap();
    assert_faulty(rewrite.run(&mut |_| {}), "panicked: scripted panic at rewrite_run");
    assert_faulty(rewrite.run(&mut |_| {}), "scripted panic at rewrite_run");
    assert_faulty(shard.finish_rewrite(rewrite, &mut |_| {}), "scripted panic at rewrite_run");
    append(&mut *shard, a.slot, 3, 4).unwrap();
    append(&mut *shard, b.slot, 0, 3).unwrap();
    let rewrite = shard.begin_rewrite(b.slot, RewritePlan::default()).unwrap();
    assert_faulty(shard.finish_rewrite(rewrite, &mut |_| {}), "panicked: scripted panic at finish_rewrite");
    // That was a call of the shard.
    assert_faulty(append(&mut *shard, a.slot, 4, 5), "scripted panic at finish_rewrite");
}
