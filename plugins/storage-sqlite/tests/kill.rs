//! A process that appends is killed in the middle of it, again and again: what it said is kept is there, whole and in
//! order, and nothing is there that it did not append.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use wafka_plugin_sdk::storage::{
    Batch, BrokerId, Cursor, Database, LogName, LogReader, OpenRequest, Opened, RewritePlan, Shard, Storage,
};
use wafka_storage::conformance::lines_of;
use wafka_storage_sqlite::{Options, SqliteStorage};

/// Tells a copy of this program that it is the one to be killed, and where to write.
const CHILD_DIR: &str = "WAFKA_TEST_SQLITE_KILL_DIR";
const BROKERS: u16 = 2;
const LOGS_OF_EACH: usize = 5;
/// How often a process is killed; after some more turns each time.
const ROUNDS: usize = 6;
const TURNS: usize = 40;
/// A line of the first log of a broker lives for so many further ones.
const KEPT: u64 = 300;

fn open(dir: &Path) -> SqliteStorage {
    // The write-ahead log is copied all the time.
    let options: Options = serde_json::from_str(r#"{"checkpoint_pages": 100}"#).unwrap();
    SqliteStorage::open(dir, options).unwrap()
}

fn names(broker: u16) -> Vec<LogName> {
    let name = |index| match index {
        0 => LogName::new(Database(0), &format!("topic.journal{broker}")),
        _ => LogName::new(Database(index as u16 % 2), &format!("topic{index}-{broker}")),
    };
    (0..LOGS_OF_EACH).map(name).collect()
}

fn open_all(shard: &mut dyn Shard, broker: u16) -> Vec<Opened> {
    let request = OpenRequest { create: true, known: None };
    names(broker).iter().map(|name| shard.open(name, request).unwrap()).collect()
}

/// Appends, and says what a killed process must not lose: everything that is synced, and where nothing waits for a
/// sync, everything that is appended.
fn write(storage: &SqliteStorage, broker: u16) {
    let mut shard = storage.shard(BrokerId(broker)).unwrap();
    let opened = open_all(&mut *shard, broker);
    let mut ends: Vec<u64> = opened.iter().map(|opened| opened.end.offset).collect();
    for turn in 0_u64.. {
        let synced_first = turn % 8 < 5;
        shard.set_synced_first(synced_first);
        for (index, opened) in opened.iter().enumerate() {
            let lines = (turn + index as u64) % 4 * if turn % 9 == 0 { 60 } else { 1 };
            if lines > 0 {
                let bytes = lines_of(ends[index]..ends[index] + lines);
                let batch = Batch { first_offset: ends[index], lines, bytes: &bytes };
                shard.append(opened.slot, batch).unwrap();
                ends[index] += lines;
            }
        }
        if synced_first {
            assert!(shard.begin_sync().wait().is_empty());
        }
        if turn % 7 == 3 {
            let plan = RewritePlan { drop_below: ends[0].saturating_sub(KEPT), drop: Vec::new() };
            let mut rewrite = shard.begin_rewrite(opened[0].slot, plan).unwrap();
            rewrite.run(&mut |_| ()).unwrap();
            shard.finish_rewrite(rewrite, &mut |_| ()).unwrap();
        }
        shard.catch_up(false);
        let said: String = ends.iter().map(|end| format!(" {end}")).collect();
        // One write, so that no line is mixed with the other thread's or with the harness's own.
        std::io::stdout().lock().write_all(format!("\nkept {broker}{said}\n").as_bytes()).unwrap();
    }
}

/// Runs a process until it has said so much, kills it, and returns what it said last of each broker.
fn run_and_kill(dir: &Path, turns: usize) -> HashMap<u16, Vec<u64>> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_was_said_to_be_kept_survives_a_kill", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut said, mut last) = (0, HashMap::new());
    for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n') {
        let line = String::from_utf8(line.unwrap()).unwrap();
        let Some(numbers) = line.strip_prefix("kept ").filter(|_| said < turns) else { continue };
        let mut numbers = numbers.split(' ').map(|number| number.parse::<u64>().unwrap());
        last.insert(u16::try_from(numbers.next().unwrap()).unwrap(), numbers.collect());
        said += 1;
        if said == turns {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert_eq!(said, turns, "it ended by itself");
    last
}

fn read_all(reader: &dyn LogReader) -> Vec<u8> {
    let (mut bytes, mut from) = (Vec::new(), Cursor::at_offset(0));
    loop {
        let chunk = reader.read(from, 1 << 16, &mut bytes).unwrap();
        if chunk.start == chunk.next {
            return bytes;
        }
        from = chunk.next;
    }
}

#[test]
fn what_was_said_to_be_kept_survives_a_kill() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        let storage = open(Path::new(&dir));
        std::thread::scope(|scope| {
            for broker in 1..=BROKERS {
                let storage = &storage;
                scope.spawn(move || write(storage, broker));
            }
        });
        panic!("it was not killed");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut dropped = 0;
    for round in 1..=ROUNDS {
        let said = run_and_kill(dir.path(), TURNS + round * 7);
        let storage = open(dir.path());
        for broker in 1..=BROKERS {
            let mut shard = storage.shard(BrokerId(broker)).unwrap();
            for (index, opened) in open_all(&mut *shard, broker).iter().enumerate() {
                let (first, end) = (opened.first.offset, opened.end.offset);
                let kept = said.get(&broker).map_or(0, |ends| ends[index]);
                assert!(end >= kept, "broker {broker}, log {index}: {end} lines of {kept}");
                assert!(index == 0 || first == 0, "broker {broker}, log {index} begins at {first}");
                dropped += first;
                let bytes = read_all(&*opened.reader);
                assert!(bytes == lines_of(first..end), "broker {broker}, log {index}: {first}..{end}");
                assert_eq!(opened.reader.size_bytes(), bytes.len() as u64);
            }
        }
    }
    assert!(dropped > 0, "no line was dropped: the rewrites were not tested");
}
