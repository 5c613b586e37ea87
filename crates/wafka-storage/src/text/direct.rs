//! Direct writes of large batches into a log's file.
//!
//! Writing through the page cache makes the kernel find a page for every 4 KiB of a file that grows, and copy the lines
//! there; where memory is short of pages that were just used, that takes more time than everything else that is done for
//! an event. So of a large batch the whole blocks go to the disk straight from memory. What completes the file's last block, and what
//! is left behind the last whole one, goes through the page cache.
//!
//! A direct write never touches a page that holds bytes of the file: nobody has such a page in the page cache, as nobody reads
//! behind a file's end. Otherwise whoever reads the file meanwhile, as `tail -f` does, could be shown the last block as it was in the
//! page cache up to the file's new length, with NUL bytes where its lines are.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;

use super::blocks::BlockBuffer;
use super::log::SharedLog;
use crate::fs::{DIRECT_ALIGN, File, write_all_at};

/// So much is written at once, in bytes: whole blocks.
const PIECE_BYTES: usize = 1 << 20;

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
    fn file_of(&mut self, log: &SharedLog, generation: u32, file: &dyn File) -> Option<Arc<dyn File>> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != generation) {
            let direct = file.direct().unwrap_or_else(|error| {
                tracing::debug!(log = %log.displayed, %error, "no direct writes");
                None
            });
            self.open = Some((generation, direct));
        }
        self.open.as_ref().and_then(|(_, file)| file.clone())
    }

    /// Writes `bytes` at `position`, which is where `file` ends.
    ///
    /// # Errors
    /// As [`write_all_at`].
    pub fn write(
        &mut self,
        log: &SharedLog,
        (generation, file): (u32, &dyn File),
        bytes: &[u8],
        position: u64,
    ) -> io::Result<()> {
        let Some(direct) = self.file_of(log, generation, file) else {
            return write_all_at(file, bytes, position);
        };
        let to_block = (position.next_multiple_of(file.page_bytes()) - position) as usize;
        let (head, rest) = bytes.split_at(to_block.min(bytes.len()));
        let (blocks, tail) = rest.split_at(rest.len() / DIRECT_ALIGN * DIRECT_ALIGN);
        write_all_at(file, head, position)?;
        let mut at = position + head.len() as u64;
        for piece in blocks.chunks(PIECE_BYTES) {
            self.buffer.begin(piece.len()).extend_from_slice(piece);
            let written = match direct.write_at(self.buffer.blocks(), at) {
                // A file system may find out only now.
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                    tracing::debug!(log = %log.displayed, "no direct writes");
                    self.open = Some((generation, None));
                    0
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                written => written?,
            };
            at += written as u64;
            if written < piece.len() {
                // Perhaps the file ends within a page now.
                return write_all_at(file, &bytes[(at - position) as usize..], at);
            }
        }
        write_all_at(file, tail, at)
    }
}
