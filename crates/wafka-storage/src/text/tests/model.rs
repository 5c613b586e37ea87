//! Random histories with losses of power, kills and faults, against a plain list of lines.

use std::collections::HashSet;

use proptest::prelude::*;
use wafka_core::Offset;
use wafka_core::storage::{Batch, Cursor, LogReader, LogSlot, OpenRequest, PendingSync, RewritePlan};

use super::*;
use crate::fs::{Fault, FaultKind, Operation};
use crate::line;

const LOGS: usize = 5;

#[derive(Clone, Debug)]
enum Step {
    Append {
        log: usize,
        lines: u64,
        len: usize,
    },
    AppendToAll {
        len: usize,
    },
    Sync,
    /// Begins a sync that is waited for by [`Step::Wait`]; what happens in between is the point.
    Begin,
    /// Waits for one of the syncs under way, whichever order they began in.
    Wait(usize),
    Crash(u64),
    Kill,
    /// What was put off is written, as if it were due, with so much space left on the disk.
    CatchUp {
        room: u64,
    },
    Rewrite {
        log: usize,
        below_percent: u64,
        every: u64,
    },
    Reopen {
        log: usize,
    },
    CloseAndOpen {
        log: usize,
    },
    DeleteAndMake {
        log: usize,
    },
    /// Syncs, and so many syncs of this log's file fail.
    FailSync {
        log: usize,
        times: u64,
    },
    FailWrite {
        log: usize,
        room: u64,
    },
    /// The commit journal's file fails once, at this write or sync of it from now on.
    FailJournal {
        sync: bool,
        skip: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let log = || 0..LOGS;
    let step = prop_oneof![
        8 => (log(), 1u64..6, 0usize..900).prop_map(|(log, lines, len)| Step::Append { log, lines, len }),
        4 => (0usize..900).prop_map(|len| Step::AppendToAll { len }),
        5 => Just(Step::Sync),
        3 => Just(Step::Begin),
        3 => (0usize..4).prop_map(Step::Wait),
        2 => any::<u64>().prop_map(Step::Crash),
        1 => Just(Step::Kill),
        2 => Just(Step::CatchUp { room: u64::MAX }),
        2 => (0u64..3000).prop_map(|room| Step::CatchUp { room }),
        2 => (log(), 0u64..120, 2u64..9)
            .prop_map(|(log, below_percent, every)| Step::Rewrite { log, below_percent, every }),
        2 => log().prop_map(|log| Step::Reopen { log }),
        1 => log().prop_map(|log| Step::CloseAndOpen { log }),
        1 => log().prop_map(|log| Step::DeleteAndMake { log }),
        2 => (log(), 1u64..4).prop_map(|(log, times)| Step::FailSync { log, times }),
        1 => (log(), 0u64..3000).prop_map(|(log, room)| Step::FailWrite { log, room }),
        1 => (any::<bool>(), 0u64..4).prop_map(|(sync, skip)| Step::FailJournal { sync, skip }),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What must be true of a log.
#[derive(Default)]
struct Model {
    content: Vec<u8>,
    end: Offset,
    /// How much of it is durable: bytes, and the offset behind them.
    acked: (usize, Offset),
    /// Lines of a failed append, which a crash may bring back.
    failed: Vec<u8>,
    poisoned: bool,
    /// Changes when positions do, so that a sync from before says nothing.
    life: u64,
    slot: Option<LogSlot>,
    reader: Option<Arc<dyn LogReader>>,
    generation: u32,
}

impl Model {
    fn all_acked(&mut self) {
        self.acked = (self.content.len(), self.end);
    }

    /// Without a loss of power what was written is there, synced or not.
    fn written_is_acked(&mut self) {
        self.acked.0 = self.content.len();
    }

    fn acked_cursor(&self) -> Cursor {
        Cursor { offset: self.acked.1, position: self.acked.0 as u64, generation: self.generation }
    }

    /// The last whole line that is durable.
    fn known(&self) -> Option<Cursor> {
        let mut position = 0;
        let mut known = None;
        for line in self.content[..self.acked.0].split_inclusive(|b| *b == b'\n') {
            if let Some(offset) = whole(line) {
                known = Some(Cursor { offset, position, generation: 0 });
            }
            position += line.len() as u64;
        }
        known
    }
}

fn whole(line: &[u8]) -> Option<Offset> {
    line.ends_with(b"\n").then(|| line::verify(line).ok().and_then(line::offset_of)).flatten()
}

struct World {
    fs: SimFs,
    options: TextOptions,
    storage: TextStorage,
    shard: Box<dyn Shard>,
    logs: Vec<Model>,
    /// Whether a sync may have failed since the start, in the background too.
    sync_failed: bool,
    /// Syncs under way, oldest first.
    pending: Vec<Begun>,
}

/// A sync under way.
struct Begun {
    sync: Box<dyn PendingSync>,
    /// Of each log its life, and what the sync covers.
    covers: Vec<(u64, (usize, Offset))>,
}

fn name(log: usize) -> LogName {
    LogName::new(Database(log as u16 % 2), &format!("log-{log}"))
}

impl World {
    fn new(fs: SimFs, options: TextOptions) -> Self {
        let storage = TextStorage::open(Arc::new(fs.clone()), Path::new("data"), options.clone()).unwrap();
        let mut shard = storage.shard(BrokerId(1)).unwrap();
        shard.set_synced_first(true);
        let mut world =
            World { fs, options, storage, shard, logs: Vec::new(), sync_failed: false, pending: Vec::new() };
        for log in 0..LOGS {
            world.logs.push(Model::default());
            world.open(log, true);
        }
        world
    }

    /// Opens a log and compares what is found with what must be and what may be there.
    fn open(&mut self, log: usize, create: bool) {
        let known = self.logs[log].known();
        let opened = self.shard.open(&name(log), OpenRequest { create, known }).unwrap();
        let model = &mut self.logs[log];
        let found = all(&*opened.reader);
        let acked = &model.content[..model.acked.0];
        assert!(found.starts_with(acked), "log {log} lost acknowledged lines");
        let possible: HashSet<&[u8]> = model
            .content
            .split_inclusive(|b| *b == b'\n')
            .chain(model.failed.split_inclusive(|b| *b == b'\n'))
            .collect();
        let mut position = acked.len();
        for line in found[acked.len()..].split_inclusive(|b| *b == b'\n') {
            let at = position as u64;
            let reported = opened.damage.iter().any(|d| d.position <= at && at < d.position + d.bytes);
            assert!(line.ends_with(b"\n"), "a torn line is visible");
            assert!(reported || possible.contains(line), "log {log} has a line nobody wrote at {at}");
            position += line.len();
        }
        assert!(opened.end.offset >= model.acked.1);
        assert_eq!(opened.end.position, found.len() as u64);
        *model = Model {
            content: found,
            end: opened.end.offset,
            acked: (0, 0),
            failed: Vec::new(),
            poisoned: false,
            life: model.life + 1,
            slot: Some(opened.slot),
            reader: Some(opened.reader),
            generation: opened.end.generation,
        };
        model.all_acked();
    }

    /// The process begins anew on what it finds.
    fn restart(&mut self, fs: SimFs, power_lost: bool) {
        fs.heal();
        self.pending.clear();
        self.sync_failed = false;
        self.fs = fs;
        self.storage =
            TextStorage::open(Arc::new(self.fs.clone()), Path::new("data"), self.options.clone()).unwrap();
        self.shard = self.storage.shard(BrokerId(1)).unwrap();
        self.shard.set_synced_first(true);
        for log in 0..LOGS {
            // What waits in memory and was not synced goes with the process.
            if !power_lost && !self.puts_off() {
                self.logs[log].written_is_acked();
            }
            self.open(log, false);
        }
    }

    fn puts_off(&self) -> bool {
        self.options.written_at_once == 0
    }

    fn append(&mut self, log: usize, lines: u64, len: usize) {
        let model = &mut self.logs[log];
        let bytes: Vec<u8> = (model.end..model.end + lines).flat_map(|offset| line_of(offset, len)).collect();
        let batch = Batch { first_offset: model.end, lines, bytes: &bytes };
        match self.shard.append(model.slot.unwrap(), batch) {
            Ok(start) => {
                assert!(!model.poisoned, "log {log} was to refuse");
                assert_eq!((start.offset, start.position), (model.end, model.content.len() as u64));
                model.content.extend(bytes);
                model.end += lines;
            }
            Err(StorageError::Poisoned { .. }) => model.poisoned = true,
            Err(_) => {
                assert!(!model.poisoned);
                model.poisoned = true;
                model.failed.extend(bytes);
            }
        }
    }

    fn begin(&mut self) {
        let covers = self.logs.iter().map(|model| (model.life, (model.content.len(), model.end))).collect();
        self.pending.push(Begun { sync: self.shard.begin_sync(), covers });
    }

    fn wait(&mut self, index: usize) {
        let Begun { sync, covers } = self.pending.remove(index);
        let failures = sync.wait();
        self.shard.finish_sync(&failures);
        for (log, (life, end)) in covers.into_iter().enumerate() {
            let model = &mut self.logs[log];
            if failures.iter().any(|failure| Some(failure.slot) == model.slot) {
                model.poisoned = true;
            } else if model.life == life {
                model.acked = model.acked.max(end);
            }
        }
    }

    fn rewrite(&mut self, log: usize, below_percent: u64, every: u64) {
        let model = &self.logs[log];
        let plan = RewritePlan {
            drop_below: model.end * below_percent / 100,
            drop: (0..model.end).filter(|offset| offset % every == 0).collect(),
        };
        let lines: Vec<&[u8]> = model.content.split_inclusive(|b| *b == b'\n').collect();
        let last = lines.iter().rposition(|line| whole(line).is_some());
        let stays = |(index, line): &(usize, &&[u8])| {
            Some(*index) == last || whole(line).is_none_or(|o| o >= plan.drop_below && o % every > 0)
        };
        let mut left: Vec<u8> =
            lines.iter().enumerate().filter(stays).flat_map(|(_, line)| line.to_vec()).collect();
        let slot = model.slot.unwrap();
        let mut rewrite = match self.shard.begin_rewrite(slot, plan.clone()) {
            Ok(rewrite) => rewrite,
            Err(StorageError::Poisoned { .. }) => return,
            Err(error) => panic!("{error}"),
        };
        let before = model.content.len();
        rewrite.run(&mut |_| {}).unwrap();
        self.append(log, 2, 50);
        let done = self.shard.finish_rewrite(rewrite, &mut |_| {}).unwrap();
        let model = &mut self.logs[log];
        left.extend_from_slice(&model.content[before..]);
        model.content = left;
        model.life += 1;
        model.generation = done.end.generation;
        assert_eq!((done.end.offset, done.end.position), (model.end, model.content.len() as u64));
        model.all_acked();
    }

    fn reopen(&mut self, log: usize) {
        let model = &mut self.logs[log];
        self.shard.reopen(model.slot.unwrap(), model.acked_cursor()).unwrap();
        model.content.truncate(model.acked.0);
        model.end = model.acked.1;
        model.failed.clear();
        model.poisoned = false;
        model.life += 1;
        model.generation = model.reader.as_ref().unwrap().generation();
    }

    fn step(&mut self, step: Step) {
        let fault = |operation, file: String, skip, times| Fault {
            operation,
            path_contains: file,
            skip,
            times,
            kind: FaultKind::Errno(5),
        };
        match step {
            Step::Append { log, lines, len } => self.append(log, lines, len),
            Step::AppendToAll { len } => (0..LOGS).for_each(|log| self.append(log, 1, len)),
            Step::Sync => {
                self.begin();
                self.wait(self.pending.len() - 1);
            }
            Step::Begin => self.begin(),
            Step::Wait(index) => {
                if index < self.pending.len() {
                    self.wait(index);
                }
            }
            Step::Crash(seed) => self.restart(self.fs.crash(seed), true),
            Step::Kill => {
                // Bytes whose sync failed look as if they were on disk. A process that begins anew cannot tell; one
                // that goes on reopens the log, as is done here.
                if self.sync_failed {
                    (0..LOGS).for_each(|log| self.reopen(log));
                }
                self.restart(self.fs.kill(), false);
            }
            Step::CatchUp { room } => {
                self.fs.limit_space(room);
                let failures = self.shard.catch_up(true).failures;
                self.fs.heal();
                assert!(failures.is_empty() || room < u64::MAX, "{failures:?}");
                self.shard.finish_sync(&failures);
                for model in &mut self.logs {
                    model.poisoned |= failures.iter().any(|failure| Some(failure.slot) == model.slot);
                }
                self.sync_failed |= !failures.is_empty();
            }
            Step::Rewrite { log, below_percent, every } => self.rewrite(log, below_percent, every),
            Step::Reopen { log } => self.reopen(log),
            Step::CloseAndOpen { log } => {
                self.shard.close(self.logs[log].slot.unwrap());
                self.logs[log].written_is_acked();
                self.open(log, false);
            }
            Step::DeleteAndMake { log } => {
                self.shard.close(self.logs[log].slot.unwrap());
                self.storage.delete(&[name(log)]).unwrap();
                self.logs[log] = Model { life: self.logs[log].life + 1, ..Model::default() };
                self.open(log, true);
            }
            Step::FailSync { log, times } => {
                self.begin();
                self.sync_failed = true;
                self.fs.inject(fault(Operation::Sync, format!("log-{log}.txt"), 0, times));
                self.wait(self.pending.len() - 1);
                self.fs.heal();
            }
            Step::FailWrite { log, room } => {
                self.fs.limit_space(room);
                self.append(log, 3, 600);
                self.fs.heal();
            }
            Step::FailJournal { sync, skip } => {
                let operation = if sync { Operation::Sync } else { Operation::Write };
                self.fs.inject(fault(operation, "wafka.commit".to_owned(), skip, 1));
            }
        }
    }

    /// What the readers see is what was appended.
    fn check(&self) {
        for model in &self.logs {
            let found = all(&**model.reader.as_ref().unwrap());
            assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&model.content));
        }
    }
}

fn run(steps: Vec<Step>, options: TextOptions) {
    run_on(SimFs::new(), steps, options);
}

fn run_on(fs: SimFs, steps: Vec<Step>, options: TextOptions) {
    let mut world = World::new(fs, options);
    for (at, step) in steps.into_iter().enumerate() {
        world.step(step);
        // Looking at a log has what was put off written.
        if !world.puts_off() || at % 4 == 3 {
            world.check();
        }
    }
    world.step(Step::Sync);
    world.step(Step::Crash(7));
    world.check();
    for log in 0..LOGS {
        let name = name(log);
        assert!(!world.fs.was_overwritten_directly(&world.storage.home.path_of(&name)), "{name}");
    }
}

fn journaled(commit_journal: CommitJournalUse, commit_journal_bytes: u64, inline: bool) -> TextOptions {
    TextOptions { commit_journal, commit_journal_bytes, inline, ..TextOptions::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_lost_and_nothing_torn_is_seen(steps in steps()) {
        run(steps, journaled(CommitJournalUse::Never, 0, true));
    }

    #[test]
    fn the_same_with_every_sync_through_the_commit_journal(steps in steps(), bytes in 1u64 << 12..1 << 16) {
        run(steps, journaled(CommitJournalUse::Always, bytes, true));
    }

    #[test]
    fn the_same_with_some_syncs_through_the_commit_journal(steps in steps(), bytes in 1u64 << 12..1 << 16) {
        run(steps, journaled(CommitJournalUse::Auto, bytes, true));
    }

    #[test]
    fn the_same_with_direct_writes_of_the_commit_journal(steps in steps(), bytes in 1u64 << 14..1 << 18) {
        let fs = SimFs::new();
        fs.allow_direct(true);
        run_on(fs, steps, journaled(CommitJournalUse::Always, bytes, true));
    }

    #[test]
    fn the_same_with_direct_writes_of_the_logs(steps in steps(), journal: bool) {
        let fs = SimFs::new();
        fs.allow_direct(true);
        let commit_journal = if journal { CommitJournalUse::Auto } else { CommitJournalUse::Never };
        let options = journaled(commit_journal, 1 << 14, true);
        run_on(fs, steps, TextOptions { direct_bytes: 1, ..options });
    }

    #[test]
    fn the_same_with_writing_put_off(steps in steps(), bytes in 1u64 << 12..1 << 16) {
        let options = journaled(CommitJournalUse::Auto, bytes, true);
        run(steps, TextOptions { written_at_once: 0, ..options });
    }

    /// With checkpoints on a thread of their own; a failing history need not fail again.
    #[test]
    fn the_same_with_checkpoints_in_the_background(steps in steps(), bytes in 1u64 << 12..1 << 16) {
        run(steps, journaled(CommitJournalUse::Always, bytes, false));
    }
}
