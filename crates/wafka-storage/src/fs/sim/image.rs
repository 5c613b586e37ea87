//! The two images of a file: what a process sees, and what a loss of power leaves.

use std::collections::BTreeSet;
use std::io;

use super::rng::Rng;

/// What is written to disk as one piece or not at all.
const SECTOR: usize = 512;
/// Sectors that a sync, or the lack of one, concerns together.
const SECTORS_PER_PAGE: usize = 8;
const PAGE: usize = SECTOR * SECTORS_PER_PAGE;
/// More than any test writes; a position beyond it is a mistake that must not exhaust memory.
const LEN_MAX: u64 = 1 << 31;

/// A file's content.
#[derive(Default)]
pub(super) struct Image {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Pages of `live` not yet in `durable`.
    dirty: BTreeSet<usize>,
    len_dirty: bool,
    errors: u64,
    overwritten_directly: bool,
}

impl Image {
    /// How many syncs failed.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// A direct write is about to write here.
    pub fn note_direct(&mut self, position: u64) {
        self.overwritten_directly |= position < self.live.len() as u64;
    }

    pub fn overwritten_directly(&self) -> bool {
        self.overwritten_directly
    }

    pub fn live(&self) -> &[u8] {
        &self.live
    }

    pub fn put(&mut self, content: &[u8]) {
        self.live = content.to_vec();
        self.durable = content.to_vec();
        self.dirty.clear();
        self.len_dirty = false;
    }

    pub fn read(&self, into: &mut [u8], position: u64) -> usize {
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(self.live.len());
        let count = into.len().min(self.live.len() - from);
        into[..count].copy_from_slice(&self.live[from..from + count]);
        count
    }

    pub fn write(&mut self, bytes: &[u8], position: u64) -> io::Result<()> {
        let end = checked_len(position.saturating_add(bytes.len() as u64))?;
        let from = end - bytes.len();
        if end > self.live.len() {
            self.resize(end);
        }
        self.live[from..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            self.dirty.extend(from / PAGE..=(end - 1) / PAGE);
        }
        Ok(())
    }

    pub fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.resize(checked_len(len)?);
        Ok(())
    }

    fn resize(&mut self, len: usize) {
        self.live.resize(len, 0);
        self.len_dirty = true;
        // Cutting a page clears what is behind the cut, so it has to be written again.
        self.dirty.retain(|page| page * PAGE < len);
        if !len.is_multiple_of(PAGE) {
            self.dirty.insert(len / PAGE);
        }
    }

    pub fn sync(&mut self) {
        self.durable.resize(self.live.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            copy(&self.live, &mut self.durable, page * PAGE, PAGE);
        }
        self.len_dirty = false;
    }

    /// The pages count as clean although they were not written: Linux's way with a failed write-back.
    pub fn fail_sync(&mut self) {
        self.errors += 1;
        self.dirty.clear();
    }

    /// Keeps a part of what was not synced: a length, and of each page nothing, all or some first sectors.
    pub fn lose_power(&mut self, rng: &mut Rng) {
        let (short, long) =
            (self.live.len().min(self.durable.len()), self.live.len().max(self.durable.len()));
        let len = match rng.up_to(3) {
            _ if !self.len_dirty => self.durable.len(),
            0 => self.durable.len(),
            1 => self.live.len(),
            _ if self.live.len() < self.durable.len() => self.live.len(),
            _ => short + rng.up_to((long - short) as u64) as usize,
        };
        self.durable.resize(len, 0);
        for page in std::mem::take(&mut self.dirty) {
            let sectors = match rng.up_to(2) {
                0 => 0,
                1 => SECTORS_PER_PAGE,
                _ => rng.up_to(SECTORS_PER_PAGE as u64) as usize,
            };
            copy(&self.live, &mut self.durable, page * PAGE, sectors * SECTOR);
        }
        self.live.clone_from(&self.durable);
        self.len_dirty = false;
    }
}

fn checked_len(len: u64) -> io::Result<usize> {
    if len > LEN_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(len as usize)
}

/// Copies `len` bytes at `from`, as far as both reach.
fn copy(source: &[u8], target: &mut [u8], from: usize, len: usize) {
    let end = (from + len).min(source.len()).min(target.len());
    if from < end {
        target[from..end].copy_from_slice(&source[from..end]);
    }
}
