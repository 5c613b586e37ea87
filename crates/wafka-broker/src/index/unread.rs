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
    /// How many lines were counted before an offset, within the run that it is in; ascending.
    counted: Vec<Counted>,
    /// The log was cut from here on. Who looked before that may come to tell of it only now: of the places behind it nothing
    /// is remembered any more.
    cut: Offset,
}

/// So many lines stand before an offset in the run that it is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Counted {
    pub(crate) offset: Offset,
    pub(crate) lines: u64,
}

impl Unread {
    pub(super) fn truncate_from(&mut self, offset: Offset) {
        self.learnt.retain(|(_, at)| *at < offset);
        self.counted.retain(|counted| counted.offset <= offset);
        self.cut = self.cut.min(offset);
    }
}

impl SparseIndex {
    /// Nobody read the log, which begins at `first`.
    pub(crate) fn set_unread(&self, first: Offset, removed: Arc<Removed>) {
        let mut inner = self.inner.write();
        inner.unread =
            Some(Unread { first, removed, learnt: Vec::new(), counted: Vec::new(), cut: Offset::MAX });
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
        let Unread { first, removed, learnt, .. } = inner.unread.as_ref()?;
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
        let Some(Unread { learnt, cut, .. }) = &mut inner.unread else { return };
        if offset >= *cut {
            return;
        }
        let at = learnt.partition_point(|(known, _)| *known < id);
        if learnt.get(at).is_some_and(|(known, _)| *known == id) {
            return;
        }
        learnt.insert(at, (id, offset));
        if learnt.len() > LEARNT_MAX {
            thin_out(learnt, |(_, offset)| *offset);
        }
    }

    /// The nearest place at or below `to` up to which lines were counted from `from` on, where a run begins.
    pub(crate) fn counted(&self, from: Offset, to: Offset) -> Counted {
        let none = Counted { offset: from, lines: 0 };
        let inner = self.inner.read();
        let Some(Unread { counted, .. }) = &inner.unread else { return none };
        let at = counted.partition_point(|counted| counted.offset <= to);
        let nearest = at.checked_sub(1).and_then(|at| counted.get(at)).copied();
        nearest.filter(|nearest| nearest.offset > from).unwrap_or(none)
    }

    /// Remembers how many lines were counted, in places that ascend.
    pub(crate) fn learn_counts(&self, places: &[Counted]) {
        if places.is_empty() {
            return;
        }
        let mut inner = self.inner.write();
        let Some(Unread { counted, cut, .. }) = &mut inner.unread else { return };
        for place in places.iter().filter(|place| place.offset <= *cut) {
            let at = counted.partition_point(|counted| counted.offset < place.offset);
            if counted.get(at).is_none_or(|counted| counted.offset != place.offset) {
                counted.insert(at, *place);
            }
            if counted.len() > LEARNT_MAX {
                thin_out(counted, |counted| counted.offset);
            }
        }
    }

    /// Forgets how many lines were counted: some may be gone, and differences have to be right.
    pub(crate) fn forget_counts(&self) {
        if self.learns()
            && let Some(unread) = &mut self.inner.write().unread
        {
            unread.counted.clear();
        }
    }
}

/// Forgets places that others are near to: those that are left, half of them at most, are spread over all of the log.
fn thin_out<T>(places: &mut Vec<T>, offset_of: impl Fn(&T) -> Offset) {
    let (Some(first), Some(last)) = (places.first().map(&offset_of), places.last().map(&offset_of)) else {
        return;
    };
    let apart = (last - first) / (LEARNT_MAX as u64 / 2);
    let mut next = first;
    places.retain(|place| {
        let offset = offset_of(place);
        let keeps = offset >= next;
        if keeps {
            next = offset.saturating_add(apart.max(2));
        }
        keeps
    });
}
