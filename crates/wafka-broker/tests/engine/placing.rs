//! Topics under another name: everything goes along, and readers find the one or the other, whole.

use std::sync::Arc;

use wafka_broker::{
    AppendRequest, ExpireIf, Expiry, IdSpec, IdempotenceSettings, Idempotent, LagMode, Placed, Placing,
    ReadError, SetId, Topic, TopicError,
};
use wafka_core::{Database, EventId, Fields, PartitionId};
use wafka_storage::fs::{Fault, Operation, SimFs};

use crate::groups::{pending, with_group};
use crate::support::{ALL, Bench, DB, EIO, Entry, Home, ReadRange, eventually, maxlen, name, read, values};

const RENAME: Placing = Placing { copy: false, replace: true };
const COPY: Placing = Placing { copy: true, replace: false };

fn place(bench: &Bench, from: &str, to: &str, how: Placing) -> Result<Placed, TopicError> {
    bench.engine().place_topic((DB, from.as_bytes()), (DB, &name(to)), how)
}

/// Everything that can be told of a topic but its name, its files and the offsets within them.
#[derive(PartialEq, Debug)]
struct Told {
    entries: Vec<Entry>,
    partitions: Vec<Vec<Entry>>,
    last_id: EventId,
    entries_added: u64,
    max_deleted: EventId,
    groups: String,
    pending: String,
    idempotence: String,
    expire_at_ms: Option<u64>,
}

fn told(topic: &Topic) -> Told {
    let info = topic.info().unwrap();
    let partition = |number: usize| {
        let partition = Some(PartitionId::from_index(number));
        read(topic, &ReadRange { partition, ..ALL }).unwrap()
    };
    let groups = topic.group_infos(LagMode::Exact).unwrap();
    Told {
        entries: read(topic, &ALL).unwrap(),
        partitions: (0..info.partitions.len()).map(partition).collect(),
        last_id: info.last_id,
        entries_added: info.entries_added,
        max_deleted: info.max_deleted_id,
        pending: format!("{:?}", if groups.is_empty() { Vec::new() } else { pending(topic, "g") }),
        groups: format!("{groups:?}"),
        idempotence: format!("{:?}", info.idempotence),
        expire_at_ms: topic.expire_at_ms(),
    }
}

fn send(bench: &Bench, topic: &Arc<Topic>, iid: &[u8]) -> EventId {
    let ticket = topic.prepare_idempotence(IdempotenceSettings::default()).unwrap();
    bench.commit(topic, ticket);
    let flat = [&b"v"[..], b"\xffsent"];
    let request = AppendRequest {
        id: IdSpec::Auto,
        partition: None,
        fields: Fields::new(&flat).unwrap(),
        trim: None,
        idempotence: Some(Idempotent { producer: b"p", iid }),
        now_ms: 1_000,
    };
    let appended = topic.append(&request).unwrap();
    bench.commit(topic, appended.ticket);
    appended.id
}

/// A topic that has everything: dead and live events, a group, a time to live, producers.
fn rich(bench: &Bench) -> Arc<Topic> {
    let (topic, all) = with_group(bench, 30);
    bench.consume(&topic, "g", "c", 20);
    let (_, ticket) = topic.ack(b"g", &all[3..9]).unwrap();
    bench.commit(&topic, ticket);
    bench.trim(&topic, &maxlen(25)).unwrap();
    bench.delete(&topic, &[all[12], all[29], all[14]]).unwrap();
    send(bench, &topic, b"one");
    send(bench, &topic, b"two");
    let Expiry::Set(ticket) = topic.expire(1_000_000, ExpireIf::default()).unwrap() else { panic!() };
    bench.commit(&topic, ticket);
    topic
}

#[test]
fn everything_goes_along() {
    for brokers in 1..4 {
        let mut bench = Bench::sim(brokers);
        let topic = rich(&bench);
        let before = told(&topic);
        let sent = send(&bench, &topic, b"two");
        let before = Told { idempotence: told(&topic).idempotence, ..before };
        assert_eq!(place(&bench, "t", "a long # name/\u{e9}", RENAME).unwrap(), Placed::Done);
        assert!(topic.is_deleted());
        drop(topic);
        assert!(bench.engine().topic(DB, b"t").is_none());
        let moved = bench.topic("a long # name/\u{e9}");
        assert_eq!(told(&moved), before);
        assert!(!bench.files().iter().any(|file| file.starts_with("t-") || file.starts_with("t.")));
        // As good as any topic: a start reads it, producers go on, another copy is made.
        assert_eq!(send(&bench, &moved, b"two"), sent);
        drop(moved);
        for seed in 0..2 {
            bench.crash(seed);
            let moved = bench.topic("a long # name/\u{e9}");
            assert_eq!(told(&moved).entries, before.entries);
            assert_eq!(told(&moved).pending, before.pending);
            assert_eq!(send(&bench, &moved, b"two"), sent);
        }
        let moved = bench.topic("a long # name/\u{e9}");
        let before = told(&moved);
        assert_eq!(place(&bench, "a long # name/\u{e9}", "u", COPY).unwrap(), Placed::Done);
        assert_eq!(told(&bench.topic("u")), before);
        assert_eq!(told(&moved), before);
        let new = bench.add(&moved, "new").unwrap();
        assert!(new > before.last_id);
        assert_eq!(told(&bench.topic("u")), before);
        assert_eq!(bench.add(&bench.topic("u"), "new").unwrap(), new);
    }
}

#[test]
fn names_that_are_taken_and_names_that_are_not_there() {
    let bench = Bench::sim(2);
    for value in ["t", "u"] {
        bench.add(&bench.topic(value), value).unwrap();
    }
    let nx = Placing { copy: false, replace: false };
    assert_eq!(place(&bench, "none", "u", RENAME).unwrap(), Placed::NoSource);
    assert_eq!(place(&bench, "t", "u", nx).unwrap(), Placed::Taken);
    assert_eq!(place(&bench, "t", "u", COPY).unwrap(), Placed::Taken);
    assert_eq!(values(&bench.topic("u")), ["u"]);
    assert_eq!(place(&bench, "t", "u", RENAME).unwrap(), Placed::Done);
    assert_eq!(values(&bench.topic("u")), ["t"]);
    assert_eq!(bench.engine().topic_count(DB), 1);
    let other = Database(3);
    let engine = bench.engine();
    assert_eq!(engine.place_topic((DB, b"u"), (other, &name("u")), nx).unwrap(), Placed::Done);
    assert_eq!(engine.topic_count(DB), 0);
    assert_eq!(values(&engine.topic(other, b"u").unwrap()), ["t"]);
    // The names are free: others may have them.
    bench.add(&bench.topic("u"), "again").unwrap();
    assert_eq!(values(&bench.topic("u")), ["again"]);
}

#[test]
fn an_empty_topic_keeps_its_last_id() {
    let mut bench = Bench::sim(2);
    let topic = bench.topic("t");
    let set = SetId { last: EventId::new(9_000, 1), entries_added: Some(7), max_deleted: None };
    let ticket = topic.set_id(&set).unwrap();
    bench.commit(&topic, ticket);
    place(&bench, "t", "u", RENAME).unwrap();
    bench.crash(1);
    let info = bench.topic("u").info().unwrap();
    assert_eq!((info.last_id, info.entries_added, info.length), (set.last, 7, 0));
    assert!(bench.add(&bench.topic("u"), "v").unwrap() > set.last);
}

#[test]
fn who_writes_meanwhile_goes_on_with_whoever_has_the_name() {
    let bench = Bench::sim(2);
    bench.add(&bench.topic("t"), "first").unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            for n in 0..300 {
                loop {
                    let topic = bench.topic("t");
                    match bench.add(&topic, &n.to_string()) {
                        Ok(_) => break written += 1,
                        Err(wafka_broker::AppendError::Deleted) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            written
        });
        for n in 0..6 {
            place(&bench, "t", &format!("u{n}"), RENAME).unwrap();
            place(&bench, &format!("u{n}"), &format!("copy{n}"), COPY).unwrap();
        }
        assert_eq!(writer.join().unwrap(), 300);
    });
    let mut all = values(&bench.topic("t"));
    for n in 0..6 {
        let some = values(&bench.topic(&format!("u{n}")));
        assert_eq!(some, values(&bench.topic(&format!("copy{n}"))));
        all.extend(some);
    }
    assert_eq!(all.len(), 301);
}

/// At every operation of the file system: afterwards there is the one or the other, with all that belongs to it.
#[test]
fn a_crash_leaves_one_of_the_two() {
    let operations = [
        Operation::Write,
        Operation::Sync,
        Operation::SyncDir,
        Operation::Create,
        Operation::Remove,
        Operation::Open,
    ];
    for operation in operations {
        for copy in [false, true] {
            let mut skip = 0;
            loop {
                let mut bench = Bench::direct(2);
                let topic = rich(&bench);
                let before = told(&topic);
                drop(topic);
                let fault =
                    Fault { operation, path_contains: String::new(), skip, times: u64::MAX, kind: EIO };
                bench.fs().inject(fault);
                let done = place(&bench, "t", "u", Placing { copy, replace: false });
                bench.fs().heal();
                bench.crash(skip);
                let engine = bench.engine();
                let (source, target) = (engine.topic(DB, b"t"), engine.topic(DB, b"u"));
                let context = format!("{operation:?} {skip}, copy {copy}: {done:?}");
                if done.is_ok() {
                    assert!(target.is_some(), "{context}");
                }
                assert!(
                    copy && source.is_some() || !copy && source.is_some() != target.is_some(),
                    "{context}"
                );
                for topic in [&source, &target].into_iter().flatten() {
                    let found = told(topic);
                    assert_eq!(found.entries, before.entries, "{context}");
                    assert_eq!(
                        (&found.groups, &found.pending),
                        (&before.groups, &before.pending),
                        "{context}"
                    );
                    assert_eq!(found.expire_at_ms, before.expire_at_ms, "{context}");
                }
                // Nothing is left behind: either name can be taken.
                let (s, t) = (source.is_some(), target.is_some());
                drop((source, target));
                for (there, free) in [(s, "t"), (t, "u")] {
                    if !there {
                        assert!(
                            bench.files().iter().all(|file| !file.starts_with(&format!("{free}-"))),
                            "{context}"
                        );
                        bench.add(&bench.topic(free), "new").unwrap();
                    }
                }
                if done.is_ok() {
                    break;
                }
                skip += 1;
            }
            assert!(skip < 60, "{operation:?}");
        }
    }
}

#[test]
fn what_cannot_be_read_whole_stays_where_it_is() {
    let mut bench = Bench::new(Home::Sim(SimFs::new()), 2);
    bench.commit_journal = wafka_storage::text::CommitJournalUse::Never;
    bench.start().unwrap();
    for value in ["t", "u"] {
        for n in 0..4 {
            bench.add(&bench.topic(value), &format!("{value}{n}")).unwrap();
        }
    }
    bench.stop();
    let text = bench.content("t-1.txt").replace("t0", "x0");
    bench.put("t-1.txt", text.as_bytes());
    bench.start().unwrap();
    let error = place(&bench, "t", "u", RENAME).unwrap_err();
    assert!(matches!(error, TopicError::Unreadable(ReadError::Damaged { .. })), "{error}");
    assert!(error.to_string().starts_with("DAMAGED t-1.txt: at byte 0"), "{error}");
    // Neither is harmed, and both are written to.
    assert_eq!(values(&bench.topic("u")).len(), 4);
    bench.add(&bench.topic("t"), "goes on").unwrap();
    let error = place(&bench, "t", "v", COPY).unwrap_err();
    assert!(error.to_string().starts_with("DAMAGED t-1.txt"), "{error}");
    assert!(bench.engine().topic(DB, b"v").is_none());
    assert!(bench.files().iter().all(|file| !file.starts_with("v-")));
    // An offline partition cannot be copied either.
    bench.fault(Operation::Sync, "u-2.txt", EIO, u64::MAX);
    let topic = bench.topic("u");
    eventually("the partition to fail", || bench.add(&topic, "lost").is_err());
    let error = place(&bench, "u", "w", RENAME).unwrap_err();
    assert!(error.to_string().starts_with("OFFLINE partition 2"), "{error}");
}

/// As the test before, with a topic that is to be replaced: it stays as it was, or the copy is in its place.
#[test]
fn what_is_not_replaced_stays_as_it_was() {
    let operations =
        [Operation::Write, Operation::Sync, Operation::SyncDir, Operation::Create, Operation::Open];
    for (operation, copy, times) in operations.into_iter().flat_map(|operation| {
        [
            (operation, false, 1),
            (operation, true, 1),
            (operation, false, u64::MAX),
            (operation, true, u64::MAX),
        ]
    }) {
        for skip in 0.. {
            let mut bench = Bench::direct(2);
            let moved = told(&rich(&bench)).entries;
            let target = bench.topic("u");
            for n in 0..5 {
                bench.add(&target, &n.to_string()).unwrap();
            }
            let before = told(&target);
            let fault = Fault { operation, path_contains: String::new(), skip, times, kind: EIO };
            bench.fs().inject(fault);
            let done = place(&bench, "t", "u", Placing { copy, replace: true });
            bench.fs().heal();
            let context = format!("{operation:?} {skip} {times}, copy {copy}: {done:?}");
            let engine = bench.engine();
            assert_eq!(engine.topic(DB, b"t").is_some(), copy || done.is_err(), "{context}");
            assert_eq!(target.is_deleted(), done.is_ok(), "{context}");
            let found = told(&engine.topic(DB, b"u").unwrap());
            match done.is_ok() {
                true => assert_eq!(found.entries, moved, "{context}"),
                false => assert_eq!(found, before, "{context}"),
            }
            drop(target);
            bench.crash(skip);
            let engine = bench.engine();
            let found = told(&engine.topic(DB, b"u").unwrap());
            let replaced = found.entries == moved;
            assert!(replaced || found == before, "{context}");
            assert!(replaced || done.is_err(), "{context}");
            let source = engine.topic(DB, b"t").map(|topic| told(&topic).entries);
            assert_eq!(source, (copy || !replaced).then(|| moved.clone()), "{context}");
            // Nothing is left behind of the one that is not there.
            let stem = if replaced { "u%" } else { "u" };
            let of_target = |file: &&String| file.starts_with('u');
            let fits = |file: &String| file[stem.len()..].starts_with(['-', '.']);
            assert!(bench.files().iter().filter(of_target).all(fits), "{context}: {:?}", bench.files());
            if done.is_ok() && times > 1 || skip > 60 {
                break;
            }
        }
    }
}

#[test]
fn a_name_is_given_on_again_and_again() {
    let mut bench = Bench::sim(2);
    for n in 0..5 {
        bench.add(&bench.topic("new"), &n.to_string()).unwrap();
        assert_eq!(place(&bench, "new", "live", RENAME).unwrap(), Placed::Done);
        bench.add(&bench.topic("live"), "more").unwrap();
        assert_eq!(values(&bench.topic("live")), [n.to_string(), "more".to_owned()]);
        if n % 2 == 0 {
            bench.crash(n);
            assert_eq!(values(&bench.topic("live")), [n.to_string(), "more".to_owned()]);
        }
        let files: Vec<String> = bench.files().into_iter().filter(|file| file.starts_with("live")).collect();
        let expected = if n % 2 == 0 { ["live-1.txt", "live-2.txt"] } else { ["live%-1.txt", "live%-2.txt"] };
        assert_eq!(files, expected);
    }
    // A topic that is made anew has the files that everybody expects.
    place(&bench, "live", "old", RENAME).unwrap();
    bench.add(&bench.topic("live"), "v").unwrap();
    assert!(bench.files().contains(&"live-1.txt".to_owned()));
}
