//! The commit journal: one sync for all the logs that a broker appended to in a turn.
//!
//! Syncing a file that grew costs a commit of the file system's own journal; syncing a hundred of them costs a hundred.
//! So when many files are dirty, what was appended to them is written once more, as one record, into a file whose space
//! was written before, and that file alone is synced. The log files have the bytes too, as ever, but only in the page
//! cache; they are synced later, together and in the background (a *checkpoint*), before the record's space is needed
//! again. After a loss of power the records that matter are written into the log files before any log is opened
//! (`replay.rs`).
//!
//! What must never happen is that a replay brings back bytes into a file that is not the one they were appended to.
//! Records therefore stop mattering, durably, *before* their log is rewritten, or closed (and so can be deleted), or
//! appended to again after it was cut below their bytes: [`CommitJournal::release`]. Where that fails, so does the
//! rewriting; a log that was cut takes no appends, and a closed one can be neither opened nor deleted until the next
//! start.
//!
//! The cut itself comes first, and is synced: what the records hold below it is then in the file, which is why they can
//! be let go although an earlier sync of that file failed. A loss of power between the two brings the lines behind the
//! cut back, as if it had come before the cut: nothing else stands in their place yet.
//!
//! A journal that fails is given up: the files are synced directly, and the journal's file is removed.

mod file;
mod record;
mod release;
mod replay;
mod ring;
mod state;
mod sync;
mod turn;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, MutexGuard};
use wafka_core::BrokerId;
use wafka_core::storage::{LogSlot, PendingSync};

use super::Home;
use super::generation::{Generation, Role};
use super::log::SharedLog;
use crate::fs::OpenMode;
use file::file_name;
pub(super) use replay::replay_all;
use ring::Ring;
use state::{Covered, Phase, State};
use sync::SyncMany;
use turn::TurnSync;
pub(super) use turn::{Dirty, Turn};

/// When a turn's appends go through the commit journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CommitJournalUse {
    /// When more than [`DIRTY_FILES_MAX`] files are dirty, or little was appended.
    #[default]
    Auto,
    /// Never: every dirty file is synced.
    Never,
    /// Always, even for one file.
    Always,
}

/// With more dirty files than this, one record costs less than the syncs it replaces, although its bytes are written
/// twice.
pub const DIRTY_FILES_MAX: usize = 1;
/// The same for a turn of which some is on the disk already, past the page cache: for its record that had to be read again.
const DIRTY_FILES_MAX_DIRECT: usize = 4;
/// A turn of at most so many bytes costs less as a record whatever the number of files: overwriting space that was
/// written before needs no commit of the file system's journal, and writing so little twice costs next to nothing.
const SMALL_TURN_BYTES: u64 = 64 << 10;
/// A turn whose record takes more than this part of the ring is synced directly: its bytes would cost more to write
/// twice than the syncs they save.
const RECORD_SHARE: u64 = 4;
/// A broker's commit journal.
pub(super) struct CommitJournal {
    home: Arc<Home>,
    broker: BrokerId,
    path: PathBuf,
    state: Mutex<State>,
    /// Something in `state` changed that a thread may wait for.
    changed: Condvar,
    /// Whether a record can be written, as far as is known without the state.
    ready: AtomicBool,
    /// Turns whose sync began and that nobody made durable yet, oldest first.
    begun: Mutex<VecDeque<(u64, Turn)>>,
    next_turn: AtomicU64,
    /// Behind the last turn that is durable, or failed.
    settled: AtomicU64,
    sync: SyncMany,
    /// Buffers of turns that are done.
    spare: Mutex<Vec<Vec<u8>>>,
}

impl CommitJournal {
    pub fn new(home: Arc<Home>, broker: BrokerId) -> Self {
        let sync = SyncMany::new(&home);
        CommitJournal {
            path: home.dir.join(file_name(broker)),
            home,
            broker,
            state: Mutex::default(),
            changed: Condvar::new(),
            ready: AtomicBool::new(false),
            begun: Mutex::default(),
            next_turn: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            spare: Mutex::default(),
            sync,
        }
    }

    /// An empty turn.
    pub fn new_turn(&self) -> Turn {
        let options = &self.home.options;
        let bytes_max = match options.commit_journal {
            CommitJournalUse::Never => 0,
            _ => options.commit_journal_bytes / RECORD_SHARE,
        };
        Turn::new(bytes_max, self.spare.lock().pop().unwrap_or_default())
    }

    /// Whether a record is wanted of a turn with so many dirty logs and so many bytes, of which some were perhaps written past
    /// the page cache.
    pub fn wants(&self, dirty: usize, bytes: u64, direct: bool) -> bool {
        let dirty_max = if direct { DIRTY_FILES_MAX_DIRECT } else { DIRTY_FILES_MAX };
        match self.home.options.commit_journal {
            CommitJournalUse::Always => true,
            CommitJournalUse::Auto => dirty > dirty_max || bytes <= SMALL_TURN_BYTES,
            CommitJournalUse::Never => false,
        }
    }

    /// Whether a record can be written, as far as is known.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Begins to make a turn durable, and those before it. `logs` are the logs of all of them. Returns the turn's number.
    pub fn begin(self: &Arc<Self>, mut turn: Turn, logs: Vec<Arc<[Dirty]>>) -> (u64, Box<dyn PendingSync>) {
        turn.journaled = turn.fits() && self.wants(turn.dirty.len(), turn.record_bytes(), turn.has_direct());
        if turn.journaled && !self.is_ready() {
            self.prepare();
        }
        let number = self.next_turn.fetch_add(1, Ordering::Relaxed);
        self.begun.lock().push_back((number, turn));
        (number, Box::new(TurnSync { journal: Arc::clone(self), number, logs }))
    }

    /// Whether a turn was made durable, or failed.
    pub fn is_settled(&self, number: u64) -> bool {
        self.settled.load(Ordering::Acquire) > number
    }

    /// Makes every turn up to this one durable: a later turn's bytes stand behind those of an earlier one, and mean
    /// nothing without them.
    fn settle_up_to(self: &Arc<Self>, number: u64) {
        let mut state = self.state.lock();
        loop {
            let next = self.begun.lock().pop_front_if(|(begun, _)| *begun <= number);
            let Some((number, turn)) = next else { break };
            self.settle(&mut state, turn);
            self.settled.store(number + 1, Ordering::Release);
        }
        let due = state.checkpoint_due();
        drop(state);
        if due {
            self.in_background("checkpoint", |journal| journal.checkpoint(&mut journal.state.lock()));
        }
    }

    /// Makes one turn durable; where that fails the logs' generations know.
    fn settle(&self, state: &mut MutexGuard<'_, State>, mut turn: Turn) {
        let role_is =
            |dirty: &&Dirty, role| !dirty.generation.has_failed() && dirty.generation.role() == role;
        let attached: Vec<&Dirty> =
            turn.dirty.iter().filter(|dirty| role_is(dirty, Role::Attached)).collect();
        let mut direct: Vec<Covered> =
            turn.dirty.iter().filter(|dirty| role_is(dirty, Role::Detached)).map(Covered::of).collect();
        let covered: Vec<Covered> = attached.iter().copied().map(Covered::of).collect();
        if turn.journaled && attached.len() < turn.dirty.len() {
            let mut slots: Vec<LogSlot> = attached.iter().map(|dirty| dirty.slot).collect();
            slots.sort_unstable();
            turn.retain(|slot| slots.binary_search(&slot).is_ok());
        }
        if !(turn.journaled && self.write_record(state, &turn, &covered)) {
            direct.extend(covered);
        }
        self.sync.all(&direct);
        self.spare.lock().push(turn.data);
    }

    /// Writes a turn's record; false when its files have to be synced instead.
    fn write_record(&self, state: &mut MutexGuard<'_, State>, turn: &Turn, covered: &[Covered]) -> bool {
        let len = turn.record_bytes();
        let position = loop {
            let Phase::Ready(ring) = &state.phase else { return false };
            if len > ring.bytes() / RECORD_SHARE {
                return false;
            }
            match ring.room_for(len) {
                Some(position) => break position,
                None if state.checkpointing => self.changed.wait(state),
                None if state.blocked => return false,
                None => self.checkpoint(state),
            }
        };
        let State { phase: Phase::Ready(ring), record, early, .. } = &mut **state else { return false };
        early.clear();
        if turn.read_early(early).is_err() {
            // The files' own sync will tell.
            return false;
        }
        let commit = ring.head().commit;
        record::encode(commit, ring.run(), turn, early, record.begin(len as usize));
        for Covered { generation, .. } in covered {
            generation.journal.hold(commit, generation.end());
        }
        if let Err(error) = ring.write(record, position) {
            state.covered.extend_from_slice(covered);
            self.give_up(state, &error);
            return false;
        }
        let checkpoint = state.checkpoints;
        let new = covered.iter().filter(|covered| covered.generation.journal.enter(checkpoint));
        state.covered.extend(new.cloned());
        true
    }

    /// Syncs the files of all records there are, which then do not matter any more. Another thread's checkpoint must not
    /// be under way. The state is unlocked meanwhile.
    fn checkpoint(&self, state: &mut MutexGuard<'_, State>) {
        let Phase::Ready(ring) = &state.phase else { return };
        if state.checkpointing {
            return;
        }
        let mark = ring.head();
        let covered = std::mem::take(&mut state.covered);
        state.checkpoints += 1;
        state.checkpointing = true;
        let failed = MutexGuard::unlocked(state, || self.sync.all(&covered));
        state.checkpointing = false;
        let failed = match &state.phase {
            Phase::Ready(ring) | Phase::Broken(ring) => self.rescue(ring, failed),
            _ => failed,
        };
        state.blocked = !failed.is_empty();
        if state.blocked {
            tracing::warn!(broker = %self.broker, files = failed.len(), "checkpoint: files cannot be synced");
            state.covered.extend(failed);
        } else if let Phase::Ready(ring) = &mut state.phase
            && let Err(error) = ring.forget_before(mark)
        {
            self.give_up(state, &error);
        }
        self.changed.notify_all();
    }

    /// Tries to make what records hold of logs durable whose sync failed, by way of another descriptor. Returns those for
    /// which that failed too.
    fn rescue(&self, ring: &Ring, mut failed: Vec<Covered>) -> Vec<Covered> {
        failed.retain(|Covered { log, generation }| {
            if generation.role() == Role::Superseded {
                return false;
            }
            if generation.journal.is_reopening() {
                // What the records hold may be about to be cut; the reopening sees to the rest.
                return true;
            }
            let rescued = self.home.fs.open(&log.path, OpenMode::Write).and_then(|file| {
                replay::restore(ring, &log.displayed, &*file, generation.end())?;
                file.sync_data()
            });
            rescued.is_err()
        });
        failed
    }

    /// Waits until nothing happens in the background.
    pub fn quiesce(&self) {
        let mut state = self.state.lock();
        while state.checkpointing || matches!(state.phase, Phase::Preparing) {
            self.changed.wait(&mut state);
        }
    }

    /// Runs a task on a thread of its own; here, when there is none to be had.
    fn in_background(
        self: &Arc<Self>,
        name: &str,
        task: impl FnOnce(&CommitJournal) + Send + Copy + 'static,
    ) {
        #[cfg(test)]
        if self.home.options.inline {
            return task(self);
        }
        let journal = Arc::clone(self);
        let thread = std::thread::Builder::new().name(format!("wafka-{name}-{}", self.broker));
        if thread.spawn(move || task(&journal)).is_err() {
            task(self);
        }
    }
}
