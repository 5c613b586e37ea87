//! Answers of servers that led a stream, were asleep, and woke: they do not know of what came about meanwhile.

use serde_json::json;

use super::cluster::Cluster;
use super::*;

/// So many answers are stale before the server that gives them has heard of the others.
const STALE: u32 = 5;

/// Opens a backend that takes the data over, after some lines were written by one that ends; `prepare` says what it is told,
/// when it is told the prefix.
fn taken_over(
    cluster: &Cluster,
    lines: Offset,
    prepare: impl FnOnce(&JetStreamStorage, &str),
) -> JetStreamStorage {
    let prefix = prefix();
    let before = cluster.open(&prefix);
    let mut shard = shard(&before);
    let opened = create(&mut *shard, "a-1");
    append(&mut *shard, opened.slot, 0, lines);
    assert!(sync(&mut *shard).is_empty());
    let options = crate::Options { prefix: prefix.clone(), ..cluster.options() };
    let storage = crate::open("".as_ref(), options).expect("open");
    prepare(&storage, &prefix);
    // What takes over behind this is what is told the stale answers.
    own_as(&storage, "test");
    storage
}

fn open_log(storage: &JetStreamStorage) -> Opened {
    shard(storage).open(&log("a-1"), OpenRequest::default()).expect("the log")
}

/// The records of logs, as who was asleep when they were written knows them: not at all, or half-made.
#[test]
fn records_of_logs_are_not_lost_to_who_was_asleep() {
    let cluster = Cluster::start(1, true);
    for half_made in [false, true] {
        let storage = taken_over(&cluster, 10, |storage, prefix| {
            let (names, record) = (format!("{prefix}-names"), format!("{prefix}.names.0-a-1"));
            let mut left = STALE;
            let stale = move |stream: &str, found: Option<Stored>| {
                let mut found = found?;
                if stream != names || found.subject != record || left == 0 {
                    return Some(found);
                }
                left -= 1;
                if !half_made {
                    return None;
                }
                let mut older: serde_json::Value = serde_json::from_slice(&found.data).expect("JSON");
                older["stage"] = json!("making");
                found.data = serde_json::to_vec(&older).expect("JSON").into();
                found.sequence -= 1;
                Some(found)
            };
            *storage.home().api().stale.messages.lock() = Some(Box::new(stale));
        });
        assert_holds(&*open_log(&storage).reader, 0..10);
    }
}

/// The lines, as who was asleep when they were written knows them. What was not known would be purged some day.
#[test]
fn lines_are_not_lost_to_who_was_asleep() {
    let cluster = Cluster::start(1, true);
    let storage = taken_over(&cluster, 10, |storage, _| {
        let mut left = STALE;
        let stale = move |_: &str, found: Option<Stored>| {
            let found = found?;
            let is_stale = left > 0 && (found.subject.ends_with(".line") || found.subject.ends_with(".cut"));
            left -= u32::from(is_stale);
            (!is_stale).then_some(found)
        };
        *storage.home().api().stale.messages.lock() = Some(Box::new(stale));
    });
    let opened = open_log(&storage);
    assert_eq!((opened.first.offset, opened.end.offset), (0, 10));
    assert_holds(&*opened.reader, 0..10);
}

/// The log's end, when it is opened again, as who was asleep when it was marked or written to knows it.
#[test]
fn an_end_is_not_believed_to_who_was_asleep() {
    let cluster = Cluster::start(1, true);
    let storage = taken_over(&cluster, 10, |_, _| ());
    let mut shard = shard(&storage);
    for round in 0..2 {
        let opened = shard.open(&log("a-1"), OpenRequest::default()).expect("the log");
        let end = 10 + 5 * round;
        assert_eq!(opened.end.offset, end);
        append(&mut *shard, opened.slot, end, end + 5);
        assert!(sync(&mut *shard).is_empty());
        shard.close(opened.slot);
        let home = storage.home();
        let (of, marked_at) = {
            let logs = home.logs.lock();
            let log = &logs[&log("a-1")];
            let last_cut = log.state.lock().last_cut;
            (log.stream.clone(), last_cut)
        };
        // At first nothing but the mark tells that the end is another one.
        let last = if round == 0 { marked_at - 1 } else { marked_at + 5 };
        if round == 0 {
            home.logs.lock().remove(&log("a-1"));
        }
        let mut left = STALE;
        let stale = move |stream: &str, mut info: StreamInfo| {
            if stream == of && left > 0 {
                left -= 1;
                info.state.last_seq = last;
            }
            info
        };
        *home.api().stale.infos.lock() = Some(Box::new(stale));
    }
    let opened = shard.open(&log("a-1"), OpenRequest::default()).expect("the log");
    assert_eq!((opened.first.offset, opened.end.offset), (0, 20));
    assert_holds(&*opened.reader, 0..20);
}

/// Who takes a log over from an owner that still writes it guesses where it will end, and counts its lines all the same: also
/// where it is told first what was there before.
#[test]
fn lines_are_counted_where_the_end_was_guessed() {
    let cluster = Cluster::start(1, true);
    let storage = taken_over(&cluster, 10, |storage, _| {
        // Two attempts to mark it, and the first question how many lines there are.
        let mut left = 3;
        let stale = move |_: &str, mut info: StreamInfo| {
            // Nothing but logs is asked how many lines it has.
            if !info.state.subjects.is_empty() && left > 0 {
                left -= 1;
                info.state.last_seq -= 3;
                info.state.subjects.values_mut().for_each(|count| *count -= 3);
            }
            info
        };
        *storage.home().api().stale.infos.lock() = Some(Box::new(stale));
    });
    let opened = open_log(&storage);
    assert_eq!((opened.first.offset, opened.end.offset, opened.lines), (0, 10, Some(10)));
    assert_holds(&*opened.reader, 0..10);
}
