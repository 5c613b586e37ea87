//! Where the trim floor stands in each log: the journal says it, so that who opens a log which was not read need not look
//! for it. It is said of what is durable alone, or other events might take the place of trimmed ones that were lost.

use wafka_core::EventId;

use super::journal::{FloorPlaces, JournalRecord};
use super::{Lane, State};

/// With more deletions than these they are counted for a snapshot only, which names them all anyway.
const DELETIONS_MAX: usize = 1024;

impl Lane {
    /// How many lines stand above the trim floor, where that is known without looking for it.
    pub(super) fn lines_above(&self, floor: EventId) -> Option<u64> {
        if floor == EventId::MIN {
            return Some(self.lines);
        }
        let at = self.floor_at.filter(|_| self.counts && !self.unread)?;
        // Else lines were lost that were durable.
        let fits = at <= self.end.offset && (at < self.end.offset) == (self.last_id > floor);
        self.removed.lines_in(at.max(self.first), self.end.offset).filter(|_| fits)
    }
}

impl State {
    /// The floor, as the journal says it.
    pub(super) fn replay_floor(&mut self, floor: EventId, places: &[Option<wafka_core::Offset>]) {
        self.floor = floor;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            lane.floor_at = places.get(number).copied().flatten();
        }
    }

    /// Says in the last record of a trimming where the floor stands. Every visible event must be durable.
    pub(super) fn place_floor(&self, records: &mut [JournalRecord]) {
        let last = records.iter_mut().rev().find_map(|record| match record {
            JournalRecord::Trim { up_to, above } if up_to.0 == self.floor => Some(above),
            _ => None,
        });
        if let Some(above) = last.filter(|_| self.deletions.len() <= DELETIONS_MAX) {
            *above = self.floor_places();
        }
    }

    /// Where the floor stands: what is live or deleted are the last lines of a log.
    pub(super) fn floor_places(&self) -> FloorPlaces {
        if self.floor == EventId::MIN || !self.lanes.iter().any(|lane| lane.counts) {
            return Vec::new();
        }
        let deleted = self.deletions.count_up_to(EventId::MAX, self.lanes.len());
        let places = self.lanes.iter().zip(deleted).map(|(lane, deleted)| {
            // What a log has that is offline is seen when it is opened again: the backend may have taken lines whose events
            // count as failed, and the floor may have passed them.
            let is_known = lane.counts && !lane.unread && lane.is_online();
            is_known.then(|| lane.removed.last_lines(lane.next_offset, lane.live + deleted)).flatten()
        });
        places.collect()
    }
}
