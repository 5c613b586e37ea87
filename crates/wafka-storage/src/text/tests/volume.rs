//! Many dirty files at once: the file system is synced as a whole, and file by file when that fails.

use super::*;

const LOGS: usize = 40;

/// Appends to every log and syncs, so often that the journal's ring comes round several times.
fn fill(bench: &mut Bench, opened: &[Opened]) {
    for offset in 0..60 {
        for log in opened {
            bench.append(log.slot, offset, offset + 1).unwrap();
        }
        assert!(bench.sync().is_empty());
    }
}

fn open_all(bench: &mut Bench) -> Vec<Opened> {
    (0..LOGS).map(|log| bench.open(&format!("log-{log}"))).collect()
}

fn assert_complete(bench: &mut Bench) {
    for log in 0..LOGS {
        let opened = bench.open(&format!("log-{log}"));
        assert_eq!(all(&*opened.reader), lines_of(0..60), "log {log}");
    }
}

#[test]
fn a_checkpoint_of_many_files_syncs_the_volume() {
    for seed in 0..4 {
        let mut bench = on(SimFs::new());
        let opened = open_all(&mut bench);
        fill(&mut bench, &opened);
        assert!(bench.fs.count(Operation::SyncVolume) > 0);
        assert_complete(&mut bench.crash(seed));
    }
}

#[test]
fn when_the_volume_fails_each_file_tells_for_itself() {
    for seed in 0..4 {
        let mut bench = on(SimFs::new());
        let opened = open_all(&mut bench);
        let last = opened.last().unwrap().slot;
        bench.append(last, 0, 1).unwrap();
        assert!(bench.sync().is_empty());
        let volume_syncs = bench.fs.count(Operation::SyncVolume);
        bench.fs.inject(Fault {
            operation: Operation::SyncVolume,
            path_contains: String::new(),
            skip: 0,
            times: 1,
            kind: FaultKind::Errno(5),
        });
        let mut poisoned = Vec::new();
        for offset in 1..60 {
            for log in &opened {
                let from = if log.slot == last { offset } else { offset - 1 };
                // A log whose pages were lost refuses from then on.
                _ = bench.append(log.slot, from, from + 1);
            }
            poisoned.extend(bench.sync());
        }
        assert_eq!(bench.fs.count(Operation::SyncVolume), volume_syncs + 1, "it is not trusted again");
        // What was acknowledged, that is synced without a failure, is there after a loss of power.
        let mut bench = bench.crash(seed);
        for (number, log) in opened.iter().enumerate() {
            if !poisoned.contains(&log.slot) {
                let first_extra = u64::from(log.slot == last);
                let found = all(&*bench.open(&format!("log-{number}")).reader);
                assert_eq!(found, lines_of(0..59 + first_extra), "log {number}");
            }
        }
    }
}
