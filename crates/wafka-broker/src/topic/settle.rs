//! What follows from a topic's logs and its journal together, when it is opened.
//!
//! A log that was not read is known by its number of lines, which the backend says, and by what the journal says was
//! removed from it. Each offset between its first line and its end that has no line is named in the journal: among what was
//! removed, or among the deletions, which a rewrite may have carried out without the journal having been told. When that
//! does not add up, because an older build wrote the journal or a crash came in between, the log is read from its beginning.

use std::sync::Arc;

use wafka_core::storage::{Cursor, StorageError};
use wafka_core::{EventId, Offset};
use wafka_storage::line;

use super::presence::Presence;
use super::{Lane, State};
use crate::error::ReadError;
use crate::index::Fate;
use crate::lines::{self, Lines};

impl Lane {
    /// How many offsets have no line; `None` where there are more lines than offsets.
    fn missing(&self) -> Option<u64> {
        (self.end.offset - self.first).checked_sub(self.lines)
    }

    /// Whether what was removed is all that is missing.
    fn adds_up(&mut self) -> bool {
        self.removed.forget_below(self.first) && self.missing() == Some(self.removed.total())
    }

    /// The id of the event at an offset; `None` where that cannot be read.
    fn id_at(&self, offset: Offset) -> Result<Option<EventId>, StorageError> {
        let mut lines = Lines::none();
        lines.fill(&*self.reader, Cursor::at_offset(offset), 1)?;
        let found = lines.advance().then(|| lines::peek(lines.current())).flatten();
        let is_whole = || line::verify(lines.current()).is_ok();
        Ok(found.filter(|(_, at)| *at == offset && is_whole()).map(|(id, _)| id))
    }
}

impl State {
    /// Brings what the journal says of the logs together with what there is.
    pub(super) fn settle_logs(&mut self, interval: u64) -> Result<(), StorageError> {
        let counted = |lane: &Lane| lane.counts && !lane.unread;
        let adds_up: Vec<bool> = self.lanes.iter_mut().map(|lane| counted(lane) && lane.adds_up()).collect();
        self.forget_missing_deletions(&adds_up)?;
        for (lane, adds_up) in self.lanes.iter_mut().zip(adds_up).filter(|(lane, _)| counted(lane)) {
            if !adds_up {
                if !lane.adds_up() {
                    tracing::info!(log = %lane.log, "read from its beginning: lines were removed, and it is not known which");
                    lane.read_all(interval)?;
                }
                // The next start is to know.
                self.journal.want_snapshot();
            }
            if lane.is_index_partial {
                lane.index.set_unread(lane.first, Arc::new(lane.removed.clone()));
            }
        }
        Ok(())
    }

    /// A rewrite may have removed deleted events without the journal having been told. `adds_up` says of which logs
    /// everything that is missing is known.
    fn forget_missing_deletions(&mut self, adds_up: &[bool]) -> Result<(), StorageError> {
        let floor = self.floor;
        let mut gone = Vec::new();
        let mut removed = Vec::new();
        let replaced = self.replaced_deletions(adds_up)?;
        let mut lost = EventId::MIN;
        let mut lanes: Vec<_> = self.lanes.iter().map(|lane| (lane, Presence::new(lane))).collect();
        for (id, deleted) in self.deletions.iter() {
            let number = usize::from(deleted.lane);
            let Some((lane, presence)) = lanes.get_mut(number) else {
                gone.push(id);
                continue;
            };
            let is_present = match lane.removed.fate(deleted.offset) {
                _ if lane.unread => true,
                _ if !lane.counts => id > floor && presence.holds(id, deleted.offset)?,
                _ if deleted.offset < lane.first => false,
                _ if deleted.offset >= lane.end.offset || replaced.binary_search(&id).is_ok() => {
                    lost = lost.max(id);
                    false
                }
                Fate::Gone => false,
                Fate::There if adds_up[number] => true,
                Fate::There | Fate::Unknown => presence.holds(id, deleted.offset)?,
            };
            if !is_present && lane.counts {
                removed.push((number, deleted.offset));
            }
            if !is_present || (id <= floor && !lane.unread) {
                gone.push(id);
            }
        }
        for (number, offset) in removed {
            let lane = &mut self.lanes[number];
            if !adds_up[number] && (lane.first..lane.end.offset).contains(&offset) {
                lane.removed.insert(offset);
            }
        }
        if lost > EventId::MIN {
            // Other events take these places: the next start must not find the deletions in the journal again, nor an
            // event that looks as if it was meant.
            self.journal.want_snapshot();
            self.last_id = self.last_id.max(lost);
        }
        if !gone.is_empty() {
            Arc::make_mut(&mut self.deletions).forget(|id, _| gone.binary_search(&id).is_ok());
        }
        Ok(())
    }

    /// The deletions, ascending, of events that were lost, and in whose places others stand: a start that found nothing
    /// there could not tell the journal. It tells it before anything else, so of a log's deletions these are the last
    /// ones, and mostly one look at a single line shows that there are none. `adds_up` as above: of other logs, each
    /// deletion is looked up.
    fn replaced_deletions(&self, adds_up: &[bool]) -> Result<Vec<EventId>, StorageError> {
        let mut found = vec![Vec::new(); self.lanes.len()];
        for (id, deleted) in self.deletions.iter() {
            let number = usize::from(deleted.lane);
            let looks = id > self.floor && adds_up.get(number) == Some(&true);
            let Some(lane) = self.lanes.get(number).filter(|_| looks) else { continue };
            if (lane.first..lane.end.offset).contains(&deleted.offset)
                && lane.removed.fate(deleted.offset) == Fate::There
            {
                found[number].push((id, deleted.offset));
            }
        }
        let mut replaced = Vec::new();
        for (lane, found) in self.lanes.iter().zip(found) {
            let (mut low, mut high) = (0, found.len());
            let mut at = high.wrapping_sub(1);
            while low < high {
                let (id, offset) = found[at];
                if lane.id_at(offset)?.is_none_or(|stands| stands == id) {
                    low = at + 1;
                } else {
                    high = at;
                }
                at = low + (high - low) / 2;
            }
            replaced.extend(found[low..].iter().map(|(id, _)| *id));
        }
        replaced.sort_unstable();
        Ok(replaced)
    }

    /// Works out what follows from files and journal together.
    pub(super) fn settle(&mut self) -> Result<(), StorageError> {
        let read = self.lanes.iter().filter(|lane| !lane.unread);
        let newest = read.map(|lane| lane.last_id).max().unwrap_or(EventId::MIN);
        self.last_id = self.last_id.max(newest).max(self.floor).max(self.max_deleted_id);
        self.visible_id = self.last_id;
        self.journal.durable_floor = self.floor;
        if self.journal.held.is_some() {
            // A line that cannot be read may have said that it lives on.
            self.expire_at_ms = None;
        }
        self.journal.durable_expire_at_ms = self.expire_at_ms;
        let partitions = self.lanes.len() as u64;
        let offsets: u64 = self.lanes.iter().map(|lane| lane.next_offset).sum();
        self.cycle = u16::try_from((offsets + partitions - 1) % partitions).unwrap_or(0);
        let deleted = self.deletions.count_up_to(EventId::MAX, self.lanes.len());
        let floor = self.floor;
        for (lane, deleted) in self.lanes.iter_mut().zip(deleted).filter(|(lane, _)| !lane.unread) {
            let left = match lane.lines_above(floor) {
                Some(left) => left,
                None if lane.floor_at.is_some_and(|at| at > lane.end.offset) => {
                    // Other events take these places: the next start must not find this in the journal.
                    self.journal.want_snapshot();
                    lane.lines.saturating_sub(lane.rank(floor).map_err(into_storage)?)
                }
                None => lane.lines.saturating_sub(lane.rank(floor).map_err(into_storage)?),
            };
            lane.live = left.saturating_sub(deleted);
        }
        Ok(())
    }
}

/// What a read at the opening ended with, as what the opening ends with.
pub(super) fn into_storage(error: ReadError) -> StorageError {
    match error {
        ReadError::Storage(error) => error,
        other => StorageError::Io {
            log: String::new(),
            operation: "read",
            source: std::io::Error::other(other.to_string()),
        },
    }
}
