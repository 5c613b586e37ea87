//! Direct writes of large batches into a log's file.
//!
//! Writing through the page cache makes the kernel find a page for every 4 KiB of a file that grows, and copy the lines
//! there; with a log of some gigabytes that takes more time than everything else that is done for an event. So
//! of a large batch whole blocks go to the disk straight from memory, and only the rest behind them, less than a
//! block, goes through the page cache, where the block is completed by the next batch. The file is the same, and so is what a failure leaves: the
//! beginning of the batch.
//!
//! A block that is written again holds what it held, and more behind it: a write that is torn by a loss of power loses nothing
//! that was there.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use super::Home;
use super::blocks::BlockBuffer;
use super::log::SharedLog;
use crate::fs::{DIRECT_ALIGN, File, read_full_at, write_all_at};

/// So much is written at once.
const PIECE_BYTES: usize = 1 << 20;
const BLOCK: u64 = DIRECT_ALIGN as u64;

/// A shard's direct writes.
#[derive(Default)]
pub(super) struct DirectWrites {
    /// The file that was written last: its generation, and the file opened for direct writes where that can be.
    open: Option<(u32, Option<Arc<dyn File>>)>,
    buffer: BlockBuffer,
}

impl DirectWrites {
    /// Lets the file go: a log may be closed, or get another file.
    pub fn release(&mut self) {
        self.open = None;
    }

    /// The file of a generation, for direct writes; `None` where there are none.
    fn file_of(&mut self, home: &Home, log: &SharedLog, generation: u32) -> Option<Arc<dyn File>> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != generation) {
            // Whatever is wrong will show when it is written the other way.
            self.open = Some((generation, home.fs.open_direct(&log.path).unwrap_or_default()));
        }
        self.open.as_ref().and_then(|(_, file)| file.clone())
    }

    /// Writes `bytes` at `position`, which is where `file` ends.
    ///
    /// # Errors
    /// As [`write_all_at`].
    pub fn write(
        &mut self,
        home: &Home,
        log: &SharedLog,
        (generation, file): (u32, &dyn File),
        bytes: &[u8],
        position: u64,
    ) -> io::Result<()> {
        let mut done = 0;
        if let Some(direct) = self.file_of(home, log, generation) {
            while done < bytes.len() {
                let position = position + done as u64;
                let piece = &bytes[done..bytes.len().min(done + PIECE_BYTES)];
                match self.write_blocks(&*direct, file, piece, position) {
                    Ok(0) => break,
                    Ok(written) => done += written,
                    // A file system may find out only now.
                    Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                        tracing::debug!(log = %log.name, "no direct writes");
                        self.open = Some((generation, None));
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        write_all_at(file, &bytes[done..], position + done as u64)
    }

    /// Writes those of `bytes` that lie in whole blocks; returns how many that were.
    fn write_blocks(
        &mut self,
        direct: &dyn File,
        file: &dyn File,
        bytes: &[u8],
        position: u64,
    ) -> io::Result<usize> {
        let start = position / BLOCK * BLOCK;
        let end = (position + bytes.len() as u64) / BLOCK * BLOCK;
        let Some(count) = end.checked_sub(position).filter(|count| *count > 0) else { return Ok(0) };
        let (before, count) = ((position - start) as usize, count as usize);
        let buffer = self.buffer.begin(before + count);
        let head = buffer.len();
        buffer.resize(head + before, 0);
        if read_full_at(file, &mut buffer[head..], start)? < before {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.extend_from_slice(&bytes[..count]);
        write_all_at(direct, self.buffer.blocks(), start)?;
        Ok(count)
    }
}
