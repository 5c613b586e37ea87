//! Reading: from a snapshot of the table up to what is stored there, from memory behind that.

use std::io;
use std::sync::{Arc, Weak};

use redb::ReadableDatabase;
use wafka_core::Offset;
use wafka_core::storage::{Chunk, Cursor, LogReader, StorageError};

use crate::database::Home;
use crate::log::{Log, State};
use crate::run::{Run, corrupted, start_for};
use crate::schema::RUNS;

/// A read that finds lines cut off under its hands looks again so often.
const LOOKS_MAX: usize = 8;

/// Reads a log. It does not keep the database open: that ends with the storage and its shards.
pub(crate) struct RedbReader {
    home: Weak<Home>,
    log: Arc<Log>,
}

/// What a read has collected.
pub(crate) struct Collected<'a> {
    pub into: &'a mut Vec<u8>,
    /// Gets the first offset and the count of lines of each stretch without gaps.
    pub stretch: &'a mut dyn FnMut(Offset, u64),
    bytes_max: usize,
    begun: usize,
    start: Option<Offset>,
    next: Offset,
    full: bool,
}

impl<'a> Collected<'a> {
    pub(crate) fn new(
        into: &'a mut Vec<u8>,
        bytes_max: usize,
        from: Offset,
        stretch: &'a mut dyn FnMut(Offset, u64),
    ) -> Self {
        let begun = into.len();
        Collected { into, stretch, bytes_max, begun, start: None, next: from, full: false }
    }

    /// Takes what fits of a run; `None` when the run has fewer lines than it says.
    fn take(&mut self, run: Run<'_>) -> Option<()> {
        let room = self.bytes_max.saturating_sub(self.into.len() - self.begun);
        let taken = run.take(self.next, room, self.start.is_none())?;
        self.full = taken.first + taken.lines < run.end();
        if taken.lines > 0 {
            self.into.extend_from_slice(taken.bytes);
            self.start.get_or_insert(taken.first);
            self.next = taken.first + taken.lines;
            (self.stretch)(taken.first, taken.lines);
        }
        Some(())
    }

    /// Takes what fits of what is pending.
    fn take_pending(&mut self, state: &State) -> Option<()> {
        let begin = state.pending.partition_point(|pending| pending.run().end() <= self.next);
        for pending in state.pending.range(begin..) {
            self.take(pending.run())?;
            if self.full {
                break;
            }
        }
        Some(())
    }

    /// The offsets of the first line and of the one to read on with.
    fn done(&self) -> (Offset, Offset) {
        (self.start.unwrap_or(self.next), self.next)
    }
}

impl Log {
    /// Collects lines from offset `from` on; returns the first one's offset and where to read on, both the same at the
    /// log's end.
    pub(crate) fn collect(
        &self,
        home: &Home,
        mut collected: Collected<'_>,
    ) -> Result<(Offset, Offset), StorageError> {
        let failed = |error| home.log_error(&self.name, "read", error);
        let from = collected.next;
        for _ in 0..LOOKS_MAX {
            let stored = {
                let state = self.state.read();
                collected.next = from.max(state.first);
                if from >= state.end {
                    collected.next = from;
                    return Ok(collected.done());
                }
                if collected.next >= state.stored {
                    collected.take_pending(&state).ok_or_else(|| failed(broken_memory()))?;
                    return Ok(collected.done());
                }
                state.stored
            };
            home.ensure_open_to_read();
            self.collect_stored(home, stored, &mut collected).map_err(failed)?;
            if collected.next == stored && !collected.full {
                let state = self.state.read();
                // Else it was stored or cut meanwhile: whoever reads on finds it.
                if state.pending.front().is_some_and(|pending| pending.first == stored) {
                    collected.take_pending(&state).ok_or_else(|| failed(broken_memory()))?;
                }
            }
            if collected.start.is_some() {
                return Ok(collected.done());
            }
        }
        let reason = format!("there is no line at or behind offset {from}, expected more");
        Err(StorageError::Damaged { log: self.name.clone(), position: 0, reason })
    }

    fn collect_stored(&self, home: &Home, stored: Offset, collected: &mut Collected<'_>) -> io::Result<()> {
        let number = self.number;
        home.with(|database| {
            let runs = database.begin_read()?.open_table(RUNS)?;
            let start = start_for(&runs, number, collected.next)?;
            for entry in runs.range((number, start)..(number, stored))? {
                let (key, value) = entry?;
                let first = key.value().1;
                let run = Run::decode(number, first, value.value())?;
                let short = || corrupted(number, first, "fewer lines than it says");
                collected.take(run).ok_or_else(short)?;
                if collected.full {
                    break;
                }
            }
            Ok(())
        })
    }
}

fn broken_memory() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what is pending has fewer lines than were appended")
}

impl RedbReader {
    pub(crate) fn new(home: &Arc<Home>, log: Arc<Log>) -> Self {
        RedbReader { home: Arc::downgrade(home), log }
    }

    fn chunk(&self, (start, next): (Offset, Offset)) -> Chunk {
        let state = self.log.state.read();
        Chunk { start: state.cursor(start), next: state.cursor(next) }
    }
}

impl LogReader for RedbReader {
    fn read(&self, from: Cursor, bytes_max: usize, into: &mut Vec<u8>) -> Result<Chunk, StorageError> {
        let home = self.home.upgrade().ok_or_else(|| StorageError::Io {
            log: self.log.name.to_string(),
            operation: "read",
            source: io::Error::other("the backend was closed"),
        })?;
        let begun = into.len();
        let done = self.log.collect(&home, Collected::new(into, bytes_max, from.offset, &mut |_, _| ()));
        done.map(|done| self.chunk(done)).inspect_err(|_| into.truncate(begun))
    }

    fn read_ready(
        &self,
        from: Cursor,
        bytes_max: usize,
        into: &mut Vec<u8>,
    ) -> Result<Option<Chunk>, StorageError> {
        // What is stored may have to be fetched from the disk, and is behind a lock that is held while the database
        // is opened afresh.
        let Some(state) = self.log.state.try_read() else { return Ok(None) };
        if from.offset < state.end && from.offset < state.stored {
            return Ok(None);
        }
        let begun = into.len();
        let mut stretch = |_, _| ();
        let mut collected = Collected::new(into, bytes_max, from.offset, &mut stretch);
        let taken = collected.take_pending(&state);
        let (start, next) = collected.done();
        if taken.is_none() {
            into.truncate(begun);
            return Ok(None);
        }
        Ok(Some(Chunk { start: state.cursor(start), next: state.cursor(next) }))
    }

    fn generation(&self) -> u32 {
        self.log.state.read().generation
    }

    fn size_bytes(&self) -> u64 {
        self.log.state.read().size()
    }
}
