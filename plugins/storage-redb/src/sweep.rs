//! The thread that removes what lies below the floors that rewrites raised, and the lines of deleted logs: in bounded
//! steps, so that no commit waits long.

use std::io;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use parking_lot::MutexGuard;
use redb::{ReadableDatabase, ReadableTable, WriteTransaction};

use wafka_plugin_sdk::log;

use crate::database::Home;
use crate::run::Run;
use crate::schema::{RUNS, TRIMS};

/// Rows that one step removes, at most some 16 MiB.
const STEP_ROWS: usize = 1024;

/// Starts the thread. It ends when nobody can wake it any more.
pub(crate) fn start(home: &Arc<Home>, wake: Receiver<()>) -> io::Result<JoinHandle<()>> {
    let home = Arc::downgrade(home);
    std::thread::Builder::new().name("redb-sweep".into()).spawn(move || run(&home, &wake))
}

fn run(home: &Weak<Home>, wake: &Receiver<()>) {
    while wake.recv().is_ok() {
        let mut from = 0;
        loop {
            // Not held between steps: the file is closed when the storage goes, whatever is left to do.
            let Some(home) = home.upgrade().filter(|home| home.sweep.lock().is_some()) else { return };
            let writing = home.writing.lock();
            let more = home.ensure_open(&writing).and_then(|()| step(&home, &writing, from));
            // Whoever waits for a commit comes first.
            MutexGuard::unlock_fair(writing);
            match more {
                Ok(Some(next)) => from = next,
                Ok(None) => break,
                Err(error) => {
                    // The next one to wake it, or the next start, tries again.
                    log::warn!("{}: trimmed lines not removed: {error}", home.path.display());
                    break;
                }
            }
        }
    }
}

/// Removes some rows of the first log that has any to remove and whose number is not below `from`; says from which
/// number on there is more to do.
pub(crate) fn step(home: &Home, writing: &MutexGuard<'_, ()>, from: u64) -> io::Result<Option<u64>> {
    let due = home.with(|database| {
        let trims = database.begin_read()?.open_table(TRIMS)?;
        let first = trims.range(from..)?.next().transpose()?;
        Ok(first.map(|(number, below)| (number.value(), below.value())))
    })?;
    let Some((number, below)) = due else { return Ok(None) };
    match home.write(writing, |transaction| remove(transaction, number, below)) {
        Ok(done) => Ok(Some(if done { number + 1 } else { number })),
        // Of the others what is to go can go.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            log::warn!("{}: trimmed lines not removed: {error}", home.path.display());
            Ok(Some(number + 1))
        }
        Err(error) => Err(error),
    }
}

/// Removes some rows that end at or below an offset; says whether they are all that do.
fn remove(transaction: &WriteTransaction, number: u64, below: u64) -> Result<bool, redb::Error> {
    let mut runs = transaction.open_table(RUNS)?;
    let mut gone = Vec::new();
    let mut done = true;
    for entry in runs.range((number, 0)..(number, below))? {
        let (key, value) = entry?;
        let first = key.value().1;
        if gone.len() == STEP_ROWS {
            done = false;
            break;
        }
        // A damaged row of a deleted log goes as well.
        if below == u64::MAX || Run::decode(number, first, value.value())?.end() <= below {
            gone.push(first);
        }
    }
    for first in gone {
        runs.remove((number, first))?;
    }
    if done {
        transaction.open_table(TRIMS)?.remove(number)?;
    }
    Ok(done)
}
