//! Finding an entry of an index by bisection. What is in the file is looked for first near the place that was found
//! last, with a page of entries: who reads on from where it stopped needs one read instead of one for every halving. Who
//! reads elsewhere looks at single entries until a page holds all that are left: the pages between would be read in vain.

use wafka_storage::fs::read_full_at;

use super::{ENTRY_BYTES, ENTRY_LEN, IndexEntry, Inner};

/// A search passes over so many entries in a row that cannot be read.
pub(super) const UNREADABLE_MAX: u64 = 64;
/// So many entries are read at once: about a page of the file.
const WINDOW_ENTRIES: u64 = 85;
/// What lies within so many entries is near.
const NEAR_ENTRIES: u64 = 16 * WINDOW_ENTRIES;
const WINDOW_LEN: usize = WINDOW_ENTRIES as usize * ENTRY_LEN;

/// One search, with the entries of the file that it read last.
pub(super) struct Search<'i> {
    inner: &'i Inner,
    /// The number of the first entry in `window`.
    first: u64,
    /// How many there are.
    entries: u64,
    window: [u8; WINDOW_LEN],
}

/// What a search found where it looked.
enum Probe {
    /// The nearest readable entry, and its number.
    Entry(u64, IndexEntry),
    /// None of those that were left can be read.
    AllUnreadable,
    /// Too many in a row cannot be read.
    GivenUp,
}

impl<'i> Search<'i> {
    pub(super) fn new(inner: &'i Inner) -> Self {
        Search { inner, first: 0, entries: 0, window: [0; _] }
    }

    /// The number of entries at the front for which `test` holds; `near` is where to look first. An entry that cannot be
    /// read is passed over: the nearest readable one below it decides. Where too many in a row cannot be read, the search
    /// goes on below them: the reader then reads more lines than it had to.
    pub(super) fn partition_point(&mut self, near: u64, test: impl Fn(&IndexEntry) -> bool) -> u64 {
        let Inner { recent, flushed, .. } = self.inner;
        // Readers mostly ask for what is recent.
        if recent.first().is_some_and(&test) {
            return flushed + recent.partition_point(|entry| test(entry)) as u64;
        }
        let (mut low, mut high) = (0, *flushed);
        // From `near` upward, the first step within one window, then a few longer ones.
        let (mut at, mut step) = (near, WINDOW_ENTRIES - 1);
        while at < high && step <= NEAR_ENTRIES {
            let entry = if at == near { self.get(at) } else { self.peek(at) };
            match entry {
                Some(entry) if test(&entry) => low = at + 1,
                Some(_) => high = at,
                None => break,
            }
            at = at.saturating_add(step);
            step *= 2;
        }
        while low < high {
            if high - low <= WINDOW_ENTRIES {
                // All that is left, with one read.
                self.look_at(low, high - 1);
            }
            let middle = low + (high - low) / 2;
            match self.readable(low, middle) {
                Probe::Entry(at, entry) if !test(&entry) => high = at,
                // What stands between the readable entry and the middle cannot be told, nor will it be used.
                Probe::Entry(..) | Probe::AllUnreadable => low = middle + 1,
                Probe::GivenUp => high = middle,
            }
        }
        low
    }

    /// The entry at `at`; `None` when it cannot be read or its checksum fails.
    pub(super) fn get(&mut self, at: u64) -> Option<IndexEntry> {
        if at >= self.inner.flushed {
            return self.inner.get(at);
        }
        self.look_at(at, at);
        self.in_window(at)
    }

    /// As [`Search::get`], but reads no more than the entry.
    fn peek(&self, at: u64) -> Option<IndexEntry> {
        if at >= self.first && at - self.first < self.entries {
            self.in_window(at)
        } else {
            self.inner.get(at)
        }
    }

    fn in_window(&self, at: u64) -> Option<IndexEntry> {
        let at = usize::try_from(at.checked_sub(self.first).filter(|at| *at < self.entries)?).ok()?;
        IndexEntry::from_bytes(self.window.as_chunks().0.get(at)?)
    }

    /// The readable entry nearest to `at` among `low..=at`.
    fn readable(&mut self, low: u64, at: u64) -> Probe {
        let lowest = low.max(at.saturating_sub(UNREADABLE_MAX));
        match (lowest..=at).rev().find_map(|at| Some((at, self.peek(at)?))) {
            Some((at, entry)) => Probe::Entry(at, entry),
            None if lowest == low => Probe::AllUnreadable,
            None => Probe::GivenUp,
        }
    }

    /// Lets the window hold the entries `first..=last` of the file, as far as it has room and they can be read.
    fn look_at(&mut self, first: u64, last: u64) {
        if first >= self.first && last - self.first < self.entries {
            return;
        }
        self.first = first;
        self.entries = 0;
        let Some(file) = &self.inner.file else { return };
        let there = usize::try_from(self.inner.flushed - first).unwrap_or(usize::MAX);
        let window = &mut self.window[..there.saturating_mul(ENTRY_LEN).min(WINDOW_LEN)];
        if let Ok(read) = read_full_at(&**file, window, (first + 1) * ENTRY_BYTES) {
            self.entries = (read / ENTRY_LEN) as u64;
        }
    }
}
