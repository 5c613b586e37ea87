//! A process that appends is killed in the middle of it, again and again: what it was told is durable is there, whole
//! and in order, and nothing is there that it did not append.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use wafka_core::storage::{
    Batch, Cursor, LogName, LogReader, LogSlot, OpenRequest, RewritePlan, Shard, Storage,
};
use wafka_core::{BrokerId, Database, Offset};
use wafka_storage::conformance::lines_of;
use wafka_storage_redb::{Options, RedbStorage};

/// Tells a copy of this program that it is the one to be killed, and where to write.
const CHILD_DIR: &str = "WAFKA_TEST_REDB_KILL_DIR";
const LOGS: usize = 12;
/// How often a process is killed.
const ROUNDS: usize = 6;

fn open(dir: &Path) -> RedbStorage {
    RedbStorage::open(dir, Options { pending_mib: 1, ..Options::default() }).unwrap()
}

fn name(index: usize) -> LogName {
    LogName::new(Database((index % 3) as u16), &format!("topic{index}-1"))
}

/// One log of the process that is killed.
struct Writing {
    slot: LogSlot,
    end: Offset,
}

/// Appends, syncs, rewrites and says what is durable, until it is killed.
fn child(dir: &Path) -> ! {
    let storage = open(dir);
    std::thread::scope(|scope| {
        for broker in 0..2 {
            let shard = storage.shard(BrokerId(broker + 1)).unwrap();
            scope.spawn(move || write(shard, usize::from(broker)));
        }
    });
    panic!("it was not killed");
}

fn write(mut shard: Box<dyn Shard>, broker: usize) {
    let request = OpenRequest { create: true, known: None };
    let mut logs: BTreeMap<usize, Writing> = (0..LOGS)
        .filter(|index| index % 2 == broker)
        .map(|index| {
            let opened = shard.open(&name(index), request).unwrap();
            (index, Writing { slot: opened.slot, end: opened.end.offset })
        })
        .collect();
    for turn in 0_u64.. {
        for (index, log) in &mut logs {
            let lines = (turn + *index as u64) % 5 * if turn % 11 == 0 { 100 } else { 1 };
            if lines > 0 {
                let bytes = lines_of(log.end..log.end + lines);
                shard.append(log.slot, Batch { first_offset: log.end, lines, bytes: &bytes }).unwrap();
                log.end += lines;
            }
        }
        if turn % 13 == 5 {
            // The first log of each broker loses lines all the time.
            let log = logs.values().next().unwrap();
            let plan =
                RewritePlan { drop_below: log.end.saturating_sub(50), drop: vec![log.end.saturating_sub(3)] };
            let rewrite = shard.begin_rewrite(log.slot, plan).unwrap();
            shard.finish_rewrite(rewrite, &mut |_| ()).unwrap();
        }
        assert!(shard.begin_sync().wait().is_empty());
        let durable: String = logs.iter().map(|(index, log)| format!(" {index}:{}", log.end)).collect();
        // One write, so that no line is mixed with the other thread's or with the harness's own.
        std::io::stdout().lock().write_all(format!("\ndurable{durable}\n").as_bytes()).unwrap();
    }
}

/// What a child said, in the order it said it, until it was killed after `turns` syncs.
fn run_and_kill(dir: &Path, turns: usize, durable: &mut BTreeMap<usize, Offset>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_was_durable_survives_a_kill", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // A line that the kill cut short says nothing.
        let Some(ends) = line.strip_prefix("durable") else { continue };
        if said < turns {
            for (index, end) in ends.split_whitespace().filter_map(|end| end.split_once(':')) {
                let (index, end) = (index.parse().unwrap(), end.parse::<Offset>().unwrap());
                durable.entry(index).and_modify(|known| *known = end.max(*known)).or_insert(end);
            }
        }
        said += 1;
        if said == turns {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(said >= turns, "it ended by itself after {said} syncs");
}

/// Reads everything and checks that lines are whole and in order; returns their offsets.
fn offsets(reader: &dyn LogReader) -> Vec<Offset> {
    let (mut bytes, mut cursor) = (Vec::new(), Cursor::default());
    loop {
        let chunk = reader.read(cursor, 1 << 20, &mut bytes).unwrap();
        if chunk.start == chunk.next {
            break;
        }
        cursor = chunk.next;
    }
    let text = String::from_utf8(bytes).unwrap();
    let offset = |line: &str| {
        let offset: Offset =
            line.split("\"offset\":").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
        assert_eq!(format!("{line}\n").into_bytes(), lines_of([offset]));
        offset
    };
    text.lines().map(offset).collect()
}

#[test]
fn what_was_durable_survives_a_kill() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        child(Path::new(&dir));
    }
    let dir = TempDir::new().unwrap();
    let mut durable = BTreeMap::new();
    for round in 0..ROUNDS {
        run_and_kill(dir.path(), 7 + round * 13, &mut durable);
        let storage = open(dir.path());
        let mut shard = storage.shard(BrokerId(1)).unwrap();
        for (index, known) in &mut durable {
            let opened = shard.open(&name(*index), OpenRequest::default()).unwrap();
            assert!(opened.damage.is_empty() && opened.torn.is_none());
            let (first, end) = (opened.first.offset, opened.end.offset);
            assert!(end >= *known, "round {round}: log {index} ends at {end}, {known} was durable");
            *known = end;
            let found = offsets(&*opened.reader);
            assert_eq!(opened.reader.size_bytes(), lines_of(found.iter().copied()).len() as u64);
            assert!(found.is_sorted() && found.first().is_none_or(|found| *found == first));
            // Only the first two logs are rewritten.
            if *index < 2 {
                assert_eq!(found.last().map(|last| last + 1), Some(end));
            } else {
                assert_eq!(found, (0..end).collect::<Vec<_>>());
            }
        }
    }
    assert_eq!(durable.len(), LOGS);
}
