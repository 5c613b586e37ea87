//! Writing a log anew without what was dropped, while it is appended to and read.
//!
//! ```text
//! begin     a temporary file beside the log's
//! run       copies what is kept up to the end at the beginning, then what was appended meanwhile; syncs   (background)
//! finish    copies the rest, syncs, renames over the log's file, syncs the directory, begins a generation  (broker)
//! ```
//!
//! The last whole line below the end at the beginning always stays, so that the offsets go on behind it. Bytes that are
//! no whole line stay too: what is damaged cannot be told to be dropped.

use std::any::Any;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wafka_core::Offset;
use wafka_core::storage::{Cursor, KeptLine, LogSlot, Rewrite, RewritePlan, StorageError};

use super::bisect::verified_offset;
use super::generation::Generation;
use super::lines::{Lines, start_of_segment};
use super::log::{OpenLog, SharedLog};
use super::{CHUNK_BYTES, Home, log_error};
use crate::fs::{File, OpenMode, write_all_at};

/// What is left for the broker's thread to copy is at most about this much, unless producers outrun the copy.
const CATCH_UP_BYTES: u64 = 1 << 18;
/// How often what was appended meanwhile is copied before the broker's thread has to.
const CATCH_UP_ROUNDS: usize = 16;

/// A rewrite under way.
pub(super) struct TextRewrite {
    home: Arc<Home>,
    slot: LogSlot,
    pub log: Arc<SharedLog>,
    /// What is copied.
    pub source: Arc<Generation>,
    plan: RewritePlan,
    /// Below this the plan counts.
    plan_end: u64,
    /// The next byte to copy.
    from: u64,
    target: Target,
}

/// The new file.
struct Target {
    number: u32,
    path: PathBuf,
    file: Arc<dyn File>,
    /// Bytes behind `written` that are not in the file yet.
    buffer: Vec<u8>,
    written: u64,
    /// The offset of the first line kept.
    first: Option<Offset>,
    /// Behind the last line kept.
    next: Offset,
    /// Whether the file has taken the log's place, or is gone.
    settled: bool,
}

impl TextRewrite {
    pub fn begin(
        home: &Arc<Home>,
        slot: LogSlot,
        log: &mut OpenLog,
        plan: RewritePlan,
    ) -> Result<Self, StorageError> {
        log.check_writable()?;
        let shared = Arc::clone(&log.shared);
        if shared.rewriting.swap(true, Ordering::AcqRel) {
            let source = io::Error::new(io::ErrorKind::ResourceBusy, "a rewrite is under way already");
            return Err(log_error(&shared.name, "rewrite", source));
        }
        let number = home.next_generation();
        let path = home.temporary_path_of(&shared.name, number);
        let file = home.fs.open(&path, OpenMode::CreateNew).map_err(|source| {
            shared.rewriting.store(false, Ordering::Release);
            log_error(&shared.name, "rewrite", source)
        })?;
        let target = Target {
            number,
            path,
            file,
            buffer: Vec::new(),
            written: 0,
            first: None,
            next: 0,
            settled: false,
        };
        let source = Arc::clone(&log.generation);
        let plan_end = source.end();
        Ok(TextRewrite { home: Arc::clone(home), slot, log: shared, source, plan, plan_end, from: 0, target })
    }

    /// Copies up to the end of the source as it is now.
    fn copy(&mut self, kept: &mut dyn FnMut(KeptLine<'_>)) -> io::Result<()> {
        let line_bytes_max = self.log.line_bytes_max;
        let end = self.source.write_out()?;
        let last_whole = self.last_whole_line()?;
        let mut lines = Lines::new(&*self.source.file, self.from, end, CHUNK_BYTES, line_bytes_max);
        while let Some(segment) = lines.next()? {
            let offset = verified_offset(&segment);
            let planned = segment.position < self.plan_end && Some(segment.position) != last_whole;
            if offset.filter(|_| planned).is_some_and(|offset| drops(&self.plan, offset)) {
                continue;
            }
            match segment.bytes {
                Some(bytes) => self.target.take(offset, bytes, kept)?,
                None => self.target.take_overlong(&*self.source.file, segment.position, segment.len)?,
            }
        }
        self.from = lines.position();
        self.target.flush()
    }

    /// Where the last whole line below the plan's end begins.
    fn last_whole_line(&self) -> io::Result<Option<u64>> {
        let line_bytes_max = self.log.line_bytes_max;
        let mut end = self.plan_end;
        while end > 0 {
            let Some(start) = start_of_segment(&*self.source.file, end, u64::MAX)? else { break };
            let mut line = Lines::new(&*self.source.file, start, end, CHUNK_BYTES, line_bytes_max);
            if line.next()?.is_some_and(|segment| verified_offset(&segment).is_some()) {
                return Ok(Some(start));
            }
            end = start;
        }
        Ok(None)
    }

    /// Copies the rest and makes the new file durable; the caller puts it in place.
    pub fn complete(&mut self, kept: &mut dyn FnMut(KeptLine<'_>)) -> io::Result<()> {
        self.copy(kept)?;
        self.target.file.sync_data()
    }

    /// Renames the new file over the log's.
    pub fn swap(&mut self) -> io::Result<Arc<Generation>> {
        self.home.fs.rename(&self.target.path, &self.log.path)?;
        self.target.settled = true;
        let Target { number, ref file, written, .. } = self.target;
        Ok(Arc::new(Generation::new(number, Arc::clone(file), written)))
    }

    /// The first line of the new file; `end_offset` when it is empty.
    pub fn first(&self, end_offset: Offset) -> Cursor {
        let offset = self.target.first.unwrap_or(end_offset);
        Cursor { offset, position: 0, generation: self.target.number }
    }
}

impl Rewrite for TextRewrite {
    fn slot(&self) -> LogSlot {
        self.slot
    }

    fn run(&mut self, kept: &mut dyn FnMut(KeptLine<'_>)) -> Result<(), StorageError> {
        let mut copy_and_sync = || {
            self.copy(kept)?;
            for _ in 0..CATCH_UP_ROUNDS {
                if self.source.end() - self.from <= CATCH_UP_BYTES {
                    break;
                }
                self.copy(kept)?;
            }
            // Most of the new file is durable before the broker's thread waits for the rest.
            self.target.file.sync_data()
        };
        copy_and_sync().map_err(|source| log_error(&self.log.name, "rewrite", source))
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl Drop for TextRewrite {
    fn drop(&mut self) {
        if !self.target.settled
            && let Err(error) = self.home.fs.remove(&self.target.path)
        {
            // The next start removes it.
            tracing::warn!(file = ?self.target.path, %error, "cannot remove an unfinished rewrite");
        }
        self.log.rewriting.store(false, Ordering::Release);
    }
}

impl Target {
    fn take(
        &mut self,
        offset: Option<Offset>,
        bytes: &[u8],
        kept: &mut dyn FnMut(KeptLine<'_>),
    ) -> io::Result<()> {
        // A damaged line counts as the one that follows the last.
        let offset = offset.unwrap_or(self.next);
        self.first.get_or_insert(offset);
        self.next = offset.saturating_add(1);
        let position = self.written + self.buffer.len() as u64;
        kept(KeptLine { cursor: Cursor { offset, position, generation: self.number }, bytes });
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    /// Copies damage that is too long to be held in memory.
    fn take_overlong(&mut self, source: &dyn File, mut position: u64, len: u64) -> io::Result<()> {
        let end = position + len;
        self.first.get_or_insert(self.next);
        self.next = self.next.saturating_add(1);
        while position < end {
            self.flush()?;
            self.buffer.resize(CHUNK_BYTES.min((end - position) as usize), 0);
            let read = crate::fs::read_full_at(source, &mut self.buffer, position)?;
            if read < self.buffer.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            position += read as u64;
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        write_all_at(&*self.file, &self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

fn drops(plan: &RewritePlan, offset: Offset) -> bool {
    offset < plan.drop_below || plan.drop.binary_search(&offset).is_ok()
}
