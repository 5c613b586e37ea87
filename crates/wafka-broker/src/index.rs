//! The sparse index of a partition: the place of about every fourth kilobyte's first line, by id and by offset.
//!
//! A cache: every entry says what the log says too, so the file can be deleted and is rebuilt when the partition is
//! opened. Entries reach the file only after the lines they name are synced: the last one is the checkpoint behind
//! which recovery begins to verify.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `WAFKAIDX` |
//! | 8..12 | format version, little endian, now 1 |
//! | 12..48 | zero |
//! | 48·n.. | entries: `ms`, `seq`, `offset`, `position`, `ordinal` (u64 each), CRC-32C of these 40 bytes (u32), zero (u32) |

pub(crate) mod claim;
mod removed;
mod search;
mod unread;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;
use wafka_core::storage::Cursor;
use wafka_core::{EventId, Offset};
use wafka_storage::fs::{File, OpenMode, read_full_at, write_all_at};

use crate::options::IndexPlace;
pub(crate) use removed::{Fate, Gaps, Removed};
use search::Search;
use unread::Unread;
pub(crate) use unread::{Between, Counted};

const MAGIC: &[u8; 8] = b"WAFKAIDX";
const VERSION: u32 = 1;
const ENTRY_LEN: usize = 48;
const ENTRY_BYTES: u64 = ENTRY_LEN as u64;
const _: () = assert!(ENTRY_LEN == 5 * 8 + 4 + 4);

/// One entry: a line and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IndexEntry {
    pub(crate) id: EventId,
    pub(crate) offset: Offset,
    pub(crate) position: u64,
    /// How many lines stand before it in the log as it is now.
    pub(crate) ordinal: u64,
}

impl IndexEntry {
    fn to_bytes(self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        let numbers = [self.id.ms, self.id.seq, self.offset, self.position, self.ordinal];
        for (into, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            into.copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc_fast::crc32_iscsi(&bytes[..40]);
        bytes[40..44].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; ENTRY_LEN]) -> Option<Self> {
        let number = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at * 8..at * 8 + 8]);
            u64::from_le_bytes(eight)
        };
        let crc = crc_fast::crc32_iscsi(&bytes[..40]).to_le_bytes();
        (bytes[40..44] == crc).then(|| IndexEntry {
            id: EventId::new(number(0), number(1)),
            offset: number(2),
            position: number(3),
            ordinal: number(4),
        })
    }
}

/// The index of one partition. Shared between its writer and its readers.
pub(crate) struct SparseIndex {
    inner: RwLock<Inner>,
    /// Whether the broker's list of indexes to be written names it.
    listed: AtomicBool,
    /// Whether `unread` is there: readers of other logs take no lock to find out.
    is_unread: AtomicBool,
    /// The number of the entry that was found last: who reads on finds the next one near it. Only a guess.
    found_last: AtomicU64,
}

struct Inner {
    /// The rewrite of the log that the positions belong to.
    generation: u32,
    place: Option<(IndexPlace, PathBuf)>,
    /// The file was set aside.
    aside: bool,
    file: Option<Arc<dyn File>>,
    /// Entries in the file.
    flushed: u64,
    /// Entries that come after those in the file.
    recent: Vec<IndexEntry>,
    /// Of a log that was not read when it was opened.
    unread: Option<Unread>,
}

impl SparseIndex {
    /// Opens the index file of the log called `stem`, or begins an empty index when there is none that can be used.
    pub(crate) fn open(place: Option<&IndexPlace>, relative: &Path) -> Self {
        let place = place.map(|place| (place.clone(), place.dir.join(relative)));
        let (file, flushed) = match &place {
            None => (None, 0),
            Some((place, path)) => match open_file(place, path) {
                Ok(Some((file, entries))) => (Some(file), entries),
                Ok(None) => (None, 0),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "index not usable, it is rebuilt");
                    (None, 0)
                }
            },
        };
        let inner =
            Inner { generation: 0, place, aside: false, file, flushed, recent: Vec::new(), unread: None };
        SparseIndex {
            inner: RwLock::new(inner),
            listed: AtomicBool::new(false),
            is_unread: AtomicBool::new(false),
            found_last: AtomicU64::new(0),
        }
    }

    /// Says which generation of the log the positions are of.
    pub(crate) fn set_generation(&self, generation: u32) {
        self.inner.write().generation = generation;
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<IndexEntry> {
        let inner = self.inner.read();
        (0..inner.len()).rev().find_map(|at| inner.get(at))
    }

    /// The line of the last entry, as one that a log is known to have when it is opened.
    pub(crate) fn last_known(&self) -> Option<Cursor> {
        let last = self.last();
        last.map(|entry| Cursor { offset: entry.offset, position: entry.position, generation: 0 })
    }

    /// Drops the entries of lines from `offset` on: the log ends there.
    pub(crate) fn truncate_from(&self, offset: Offset) {
        let mut inner = self.inner.write();
        let mut keep = Search::new(&inner).partition_point(0, |entry| entry.offset < offset);
        // An entry that cannot be read now, and may be later, must not come to stand behind the end.
        while keep > 0 && inner.get(keep - 1).is_none() {
            keep -= 1;
        }
        let flushed = inner.flushed.min(keep);
        let recent = usize::try_from(keep - flushed).unwrap_or(usize::MAX);
        inner.flushed = flushed;
        inner.recent.truncate(recent);
        if let Some(unread) = &mut inner.unread {
            unread.truncate_from(offset);
        }
    }

    /// Forgets everything and removes the file.
    pub(crate) fn reset(&self) -> io::Result<()> {
        let mut inner = self.inner.write();
        inner.recent.clear();
        self.set_read(&mut inner);
        inner.flushed = 0;
        inner.file = None;
        inner.aside = false;
        if let Some((place, path)) = &inner.place {
            remove_aside(place, path);
            match place.fs.remove(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Err(_) => {}
                // Entries of one log must not come back beside another: the last one is believed to be durable.
                Ok(()) => place.fs.sync_dir(path.parent().unwrap_or(&place.dir))?,
            }
        }
        Ok(())
    }

    /// Puts the file where it is not found at the next start, for as long as another log may take the place of the one
    /// it belongs to. Entries are found as before.
    pub(crate) fn set_aside(&self) -> io::Result<()> {
        let mut inner = self.inner.write();
        inner.aside = inner.move_file(true)?;
        inner.sync_dir()
    }

    /// Puts the file back: the log is the one it belongs to.
    pub(crate) fn put_back(&self) -> io::Result<()> {
        let mut inner = self.inner.write();
        if std::mem::take(&mut inner.aside) {
            inner.move_file(false)?;
        }
        Ok(())
    }

    /// Adds entries, ascending.
    pub(crate) fn push(&self, entries: impl Iterator<Item = IndexEntry>) {
        let mut entries = entries.peekable();
        if entries.peek().is_some() {
            self.inner.write().recent.extend(entries);
        }
    }

    /// Whether it is yet to have a file.
    pub(crate) fn lacks_file(&self) -> bool {
        let inner = self.inner.read();
        inner.place.is_some() && inner.file.is_none()
    }

    /// Notes whether a list names the index; returns what was noted before.
    pub(crate) fn set_listed(&self, listed: bool) -> bool {
        self.listed.swap(listed, Ordering::AcqRel)
    }

    /// Which generation of the log the positions are of.
    pub(crate) fn generation(&self) -> u32 {
        self.inner.read().generation
    }

    /// How many entries are not in the file yet.
    pub(crate) fn unflushed(&self) -> usize {
        self.inner.read().recent.len()
    }

    /// Writes the `count` oldest of the entries that are not in the file yet. The lines they name must be synced.
    pub(crate) fn flush(&self, count: usize) -> io::Result<()> {
        let mut inner = self.inner.write();
        let count = count.min(inner.recent.len());
        if count == 0 || inner.place.is_none() {
            return Ok(());
        }
        let file = match &inner.file {
            Some(file) => Arc::clone(file),
            None => inner.create()?,
        };
        let mut bytes = Vec::with_capacity(count * ENTRY_LEN);
        for entry in &inner.recent[..count] {
            bytes.extend_from_slice(&entry.to_bytes());
        }
        write_all_at(&*file, &bytes, (inner.flushed + 1) * ENTRY_BYTES)?;
        inner.flushed += count as u64;
        inner.recent.drain(..count);
        Ok(())
    }

    /// Where to begin to read for the first event at or above `id`: at or before it.
    pub(crate) fn seek_entry(&self, id: EventId) -> Option<(Cursor, IndexEntry)> {
        self.last_entry_where(|entry| entry.id <= id)
    }

    /// The last entry that stands before `offset`.
    pub(crate) fn before_offset(&self, offset: Offset) -> Option<(Cursor, u64)> {
        self.last_where(|entry| entry.offset < offset)
    }

    /// The last entry at or before `offset`.
    pub(crate) fn at_offset(&self, offset: Offset) -> Option<(Cursor, u64)> {
        self.last_where(|entry| entry.offset <= offset)
    }

    /// Cursor and ordinal of the last entry for which `test` holds; it holds for a prefix.
    fn last_where(&self, test: impl Fn(&IndexEntry) -> bool) -> Option<(Cursor, u64)> {
        self.last_entry_where(test).map(|(cursor, entry)| (cursor, entry.ordinal))
    }

    fn last_entry_where(&self, test: impl Fn(&IndexEntry) -> bool) -> Option<(Cursor, IndexEntry)> {
        let inner = self.inner.read();
        let mut search = Search::new(&inner);
        let mut at = search.partition_point(self.found_last.load(Ordering::Relaxed), test);
        while at > 0 {
            at -= 1;
            if let Some(entry) = search.get(at) {
                self.found_last.store(at, Ordering::Relaxed);
                let cursor =
                    Cursor { offset: entry.offset, position: entry.position, generation: inner.generation };
                return Some((cursor, entry));
            }
        }
        None
    }

    /// Puts the entries of a rewritten log in the place of all there were. The file was set aside and is made anew.
    pub(crate) fn replace(&self, entries: Vec<IndexEntry>, generation: u32) {
        let mut inner = self.inner.write();
        inner.recent = entries;
        self.set_read(&mut inner);
        inner.flushed = 0;
        inner.file = None;
        inner.aside = false;
        inner.generation = generation;
    }
}

impl Inner {
    fn len(&self) -> u64 {
        self.flushed + self.recent.len() as u64
    }

    /// The entry at `at`; `None` when it cannot be read or its checksum fails.
    fn get(&self, at: u64) -> Option<IndexEntry> {
        if at >= self.flushed {
            let at = usize::try_from(at - self.flushed).ok()?;
            return self.recent.get(at).copied();
        }
        let mut bytes = [0; ENTRY_LEN];
        let read = read_full_at(&**self.file.as_ref()?, &mut bytes, (at + 1) * ENTRY_BYTES);
        match read {
            Ok(ENTRY_LEN) => IndexEntry::from_bytes(&bytes),
            _ => None,
        }
    }

    /// Renames the file to the name it has aside, or back; `false` when there is none.
    fn move_file(&self, aside: bool) -> io::Result<bool> {
        let Some((place, path)) = &self.place else { return Ok(false) };
        let other = aside_of(path);
        let (from, to) = if aside { (path, &other) } else { (&other, path) };
        match place.fs.rename(from, to) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Entries of one log must not come back beside another: the last one is believed to be durable.
    fn sync_dir(&self) -> io::Result<()> {
        match &self.place {
            Some((place, path)) if self.aside => place.fs.sync_dir(path.parent().unwrap_or(&place.dir)),
            _ => Ok(()),
        }
    }

    fn create(&mut self) -> io::Result<Arc<dyn File>> {
        let (place, path) = self.place.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        if let Some(parent) = path.parent() {
            place.fs.create_dir_all(parent)?;
        }
        remove_aside(place, path);
        let file = place.fs.open(path, OpenMode::Truncate)?;
        let mut header = [0; ENTRY_LEN];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        write_all_at(&*file, &header, 0)?;
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }
}

/// The name of an index file that was set aside. What a crash leaves there is never read.
fn aside_of(path: &Path) -> PathBuf {
    path.with_added_extension("old")
}

/// Removes a file that was set aside. It does no harm when it stays: the next one takes its place.
fn remove_aside(place: &IndexPlace, path: &Path) {
    let aside = aside_of(path);
    if let Err(error) = place.fs.remove(&aside)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %aside.display(), %error, "old index not removed");
    }
}

fn open_file(place: &IndexPlace, path: &Path) -> io::Result<Option<(Arc<dyn File>, u64)>> {
    let file = match place.fs.open(path, OpenMode::Write) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut header = [0; ENTRY_LEN];
    let read = read_full_at(&*file, &mut header, 0)?;
    if read < ENTRY_LEN || header[..8] != *MAGIC || header[8..12] != VERSION.to_le_bytes() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no index file of this version"));
    }
    let entries = (file.len()? / ENTRY_BYTES).saturating_sub(1);
    Ok(Some((file, entries)))
}

#[cfg(test)]
mod tests;
