//! What the logs ask of the journal: that records of theirs matter no more, or are written back.

use std::io;

use super::state::Phase;
use super::{CommitJournal, replay};
use crate::fs::File;
use crate::text::Claim;
use crate::text::generation::{Generation, Role};
use crate::text::log::SharedLog;

impl CommitJournal {
    /// Lets no record matter that holds bytes of this generation, and none be written any more.
    ///
    /// # Errors
    /// When that cannot be made durable. The generation stays detached: its syncs go to its own file.
    pub fn release(&self, generation: &Generation) -> io::Result<()> {
        let mut state = self.state.lock();
        if generation.role() == Role::Attached {
            generation.set_role(Role::Detached);
        }
        let mut tried = false;
        loop {
            let held = generation.journal.held_commit();
            match &state.phase {
                Phase::Ready(ring) if held < ring.since() => return Ok(()),
                Phase::Absent | Phase::Preparing | Phase::Off => return Ok(()),
                _ if held == 0 => return Ok(()),
                Phase::Ready(_) if state.checkpointing => self.changed.wait(&mut state),
                _ if tried => {
                    return Err(io::Error::other(
                        "the commit journal holds lines of logs that cannot be synced",
                    ));
                }
                Phase::Ready(_) => {
                    self.checkpoint(&mut state);
                    tried = true;
                }
                Phase::Broken(_) => {
                    self.remove(&mut state);
                    tried = true;
                }
            }
        }
    }

    /// As [`CommitJournal::release`], when records hold bytes at `end` or behind it.
    pub fn release_behind(&self, generation: &Generation, end: u64) -> io::Result<()> {
        if generation.journal.held_end() > end { self.release(generation) } else { Ok(()) }
    }

    /// No sync of this generation succeeds any more, and its file is left alone: it may be cut.
    pub fn begin_reopening(&self, generation: &Generation) {
        let _state = self.state.lock();
        generation.retire();
        generation.journal.set_reopening(true);
    }

    /// The file is not being cut any more.
    pub fn end_reopening(&self, generation: &Generation) {
        let _state = self.state.lock();
        generation.journal.set_reopening(false);
    }

    /// Records may hold bytes of this generation again.
    pub fn attach(&self, generation: &Generation) {
        let _state = self.state.lock();
        generation.set_role(Role::Attached);
    }

    /// Everything of this generation that counts is durable elsewhere: records of it need not be waited for.
    pub fn supersede(&self, generation: &Generation) {
        let mut state = self.state.lock();
        generation.set_role(Role::Superseded);
        state.blocked = false;
    }

    /// Keeps a log from being opened and deleted as long as this process runs.
    pub fn keep(&self, claim: Claim) {
        self.state.lock().kept.push(claim);
    }

    /// Writes what records hold of a log below `end` into its file, whatever stands there.
    pub fn restore(&self, log: &SharedLog, file: &dyn File, end: u64) -> io::Result<()> {
        let state = self.state.lock();
        match &state.phase {
            Phase::Ready(ring) | Phase::Broken(ring) => replay::restore(ring, &log.displayed, file, end),
            _ => Ok(()),
        }
    }
}
