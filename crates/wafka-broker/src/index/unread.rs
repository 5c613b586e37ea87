//! What an index knows of a log that nobody read when it was opened: which lines are no more, and the lines that were come
//! across since. Entries stand only for what was appended after that.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wafka_core::storage::Cursor;
use wafka_core::{EventId, Offset};

use super::removed::Removed;
use super::search::Search;
use super::{Inner, SparseIndex};

/// So many lines are remembered; then every second one is forgotten.
const LEARNT_MAX: usize = 4096;

/// Where an id is between.
pub(crate) struct Between {
    /// The last line known at or below it, or the first there is; and its id, the lowest where that is not known.
    pub(crate) cursor: Cursor,
    pub(crate) id: EventId,
    /// The first line known above it; the highest offset where there is none.
    pub(crate) high: Offset,
    /// The first line there is, and what was removed since.
    pub(crate) first: Offset,
    pub(crate) removed: Arc<Removed>,
}

/// See the module.
pub(super) struct Unread {
    first: Offset,
    removed: Arc<Removed>,
    /// Lines that were come across, ascending.
    learnt: Vec<(EventId, Offset)>,
}

impl Unread {
    pub(super) fn truncate_from(&mut self, offset: Offset) {
        self.learnt.retain(|(_, at)| *at < offset);
    }
}

impl SparseIndex {
    /// Nobody read the log, which begins at `first`.
    pub(crate) fn set_unread(&self, first: Offset, removed: Arc<Removed>) {
        let mut inner = self.inner.write();
        inner.unread = Some(Unread { first, removed, learnt: Vec::new() });
        self.is_unread.store(true, Ordering::Release);
    }

    /// Entries stand for all lines.
    pub(super) fn set_read(&self, inner: &mut Inner) {
        inner.unread = None;
        self.is_unread.store(false, Ordering::Release);
    }

    /// Where `id` is between; `None` where entries stand for all lines.
    pub(crate) fn between(&self, id: EventId) -> Option<Between> {
        if !self.is_unread.load(Ordering::Acquire) {
            return None;
        }
        let inner = self.inner.read();
        let Unread { first, removed, learnt } = inner.unread.as_ref()?;
        let mut between = Between {
            cursor: Cursor::at_offset(*first),
            id: EventId::MIN,
            high: Offset::MAX,
            first: *first,
            removed: Arc::clone(removed),
        };
        let mut search = Search::new(&inner);
        let at = search.partition_point(self.found_last.load(Ordering::Relaxed), |entry| entry.id <= id);
        if let Some(next) = search.get(at) {
            between.high = next.offset;
        }
        if let Some(at) = at.checked_sub(1)
            && let Some(entry) = search.get(at)
        {
            self.found_last.store(at, Ordering::Relaxed);
            let (offset, position) = (entry.offset, entry.position);
            between.cursor = Cursor { offset, position, generation: inner.generation };
            between.id = entry.id;
        }
        let at = learnt.partition_point(|(known, _)| *known <= id);
        if let Some((_, offset)) = learnt.get(at) {
            between.high = between.high.min(*offset);
        }
        if let Some((known, offset)) = at.checked_sub(1).and_then(|at| learnt.get(at))
            && *known > between.id
        {
            (between.cursor, between.id) = (Cursor::at_offset(*offset), *known);
        }
        Some(between)
    }

    /// Whether it is of use to tell where events stand.
    pub(crate) fn learns(&self) -> bool {
        self.is_unread.load(Ordering::Acquire)
    }

    /// Remembers where an event stands that was come across.
    pub(crate) fn learn(&self, id: EventId, offset: Offset) {
        let mut inner = self.inner.write();
        let Some(Unread { learnt, .. }) = &mut inner.unread else { return };
        let at = learnt.partition_point(|(known, _)| *known < id);
        if learnt.get(at).is_some_and(|(known, _)| *known == id) {
            return;
        }
        learnt.insert(at, (id, offset));
        if learnt.len() > LEARNT_MAX {
            thin_out(learnt);
        }
    }
}

/// Forgets lines that others stand near to: those that are left, half of them at most, are spread over all of the log.
fn thin_out(learnt: &mut Vec<(EventId, Offset)>) {
    let (Some((_, first)), Some((_, last))) = (learnt.first(), learnt.last()) else { return };
    let apart = (last - first) / (LEARNT_MAX as u64 / 2);
    let mut next = *first;
    learnt.retain(|(_, offset)| {
        let keeps = *offset >= next;
        if keeps {
            next = offset.saturating_add(apart.max(2));
        }
        keeps
    });
}
