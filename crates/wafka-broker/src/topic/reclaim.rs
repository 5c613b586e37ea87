//! Giving back the space of trimmed and deleted events: a partition's log is written anew in the background.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wafka_core::storage::{Cursor, KeptLine, RewritePlan, StorageError};
use wafka_core::{EventId, Offset};
use wafka_storage::line;

use super::{Lane, State, Topic};
use crate::error::ReadError;
use crate::index::IndexEntry;
use crate::lines;

impl Topic {
    /// Whether a rewrite of some partition, or of the journal, is worth it.
    pub(super) fn wants_reclaim(&self, state: &State) -> bool {
        let deletions = state.deletions.len() > self.limits.reclaim.deletions_max;
        state.journal.is_reclaimable() || state.lanes.iter().any(|lane| self.is_worth_it(lane, deletions))
    }

    fn is_worth_it(&self, lane: &Lane, many_deletions: bool) -> bool {
        let limits = &self.limits.reclaim;
        if lane.rewriting || !lane.is_online() || lane.lines < 2 {
            return false;
        }
        let dead = lane.lines.saturating_sub(lane.live);
        let bytes = lane.reader.size_bytes();
        let dead_bytes = u128::from(bytes) * u128::from(dead) / u128::from(lane.lines);
        let enough = u128::from(dead) * 100 >= u128::from(lane.lines) * u128::from(limits.dead_percent);
        dead > 0 && (many_deletions || (enough && dead_bytes >= u128::from(limits.dead_bytes_min)))
    }

    /// Rewrites what is worth it. Runs on the thread that does nothing else.
    pub(crate) fn reclaim(self: &Arc<Self>) {
        let lanes = self.state.lock().lanes.len();
        for number in 0..lanes {
            if let Err(error) = self.reclaim_lane(number) {
                tracing::error!(topic = %self.name, partition = number + 1, %error, "space not reclaimed");
                self.state.lock().lanes[number].rewriting = false;
            }
        }
        if let Err(error) = self.reclaim_journal() {
            tracing::error!(topic = %self.name, %error, "journal not compacted");
        }
        self.reclaiming.store(false, Ordering::Release);
    }

    fn reclaim_lane(self: &Arc<Self>, number: usize) -> Result<(), ReadError> {
        let broker = {
            let state = self.state.lock();
            let many = state.deletions.len() > self.limits.reclaim.deletions_max;
            if self.is_deleted() || !self.is_worth_it(&state.lanes[number], many) {
                return Ok(());
            }
            Arc::clone(&self.brokers[state.lanes[number].broker])
        };
        let begun = broker.with_shard(|shard| -> Result<_, ReadError> {
            let mut state = self.state.lock();
            // A crash must not find more gone than the journal says.
            let floor = state.journal.durable_floor;
            let lane_number = u16::try_from(number).unwrap_or(u16::MAX);
            let drop: Vec<Offset> = state
                .deletions
                .iter()
                .filter(|(_, deleted)| deleted.lane == lane_number)
                .map(|(_, deleted)| deleted.offset)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            let lane = &mut state.lanes[number];
            let plan = RewritePlan {
                drop_below: if floor == EventId::MIN { 0 } else { lane.first_above(floor)? },
                drop: drop.clone(),
            };
            lane.rewriting = true;
            Ok((shard.begin_rewrite(lane.slot, plan)?, drop))
        });
        let (mut rewrite, dropped) = begun?;
        let mut entries = Entries::new(self.limits.index_interval_bytes, dropped);
        rewrite.run(&mut |line| entries.kept(line))?;
        let freed = broker.with_shard(|shard| -> Result<u64, StorageError> {
            let mut state = self.state.lock();
            let lane = &mut state.lanes[number];
            lane.rewriting = false;
            if self.is_deleted() {
                return Ok(0);
            }
            let generation = lane.reader.generation();
            // Between the two renames neither index may be taken for the other log's: first it goes, then it comes.
            lane.index.reset().map_err(|source| StorageError::Io {
                log: lane.log.to_string(),
                operation: "reset the index",
                source,
            })?;
            let result = shard.finish_rewrite(rewrite, &mut |line| entries.kept(line));
            let swapped = lane.reader.generation();
            if result.is_err() && swapped == generation {
                // The log is as it was.
                return result.map(|rewritten| rewritten.bytes_freed);
            }
            let position = lane.reader.size_bytes();
            lane.lines = entries.lines;
            lane.end = Cursor { offset: lane.end.offset, position, generation: swapped };
            lane.since_mark = entries.since_mark;
            lane.index.replace(std::mem::take(&mut entries.entries), swapped);
            // The tail still holds what was deleted.
            broker.tail_forgotten(lane.tail.clear());
            // As long as power might bring the old file back, its deleted events must stay deleted.
            let rewritten = result?;
            let gone = std::mem::take(&mut entries.dropped);
            let lane_number = u16::try_from(number).unwrap_or(u16::MAX);
            Arc::make_mut(&mut state.deletions)
                .forget(|_, deleted| deleted.lane == lane_number && gone.contains(&deleted.offset));
            Ok(rewritten.bytes_freed)
        })?;
        tracing::info!(topic = %self.name, partition = number + 1, bytes = freed, "space reclaimed");
        Ok(())
    }

    fn reclaim_journal(self: &Arc<Self>) -> Result<(), StorageError> {
        let home = &self.brokers[self.home];
        let begun = home.with_shard(|shard| -> Result<_, StorageError> {
            let state = self.state.lock();
            match state.journal.slot {
                Some(slot) if state.journal.is_reclaimable() && !self.is_deleted() => {
                    let plan = RewritePlan { drop_below: state.journal.obsolete_below, drop: Vec::new() };
                    shard.begin_rewrite(slot, plan).map(Some)
                }
                _ => Ok(None),
            }
        })?;
        let Some(mut rewrite) = begun else { return Ok(()) };
        rewrite.run(&mut |_| {})?;
        home.with_shard(|shard| {
            let rewritten = shard.finish_rewrite(rewrite, &mut |_| {})?;
            let mut state = self.state.lock();
            state.journal.end = rewritten.end;
            state.journal.obsolete_below = 0;
            Ok(())
        })
    }
}

/// Collects the index of a log while it is rewritten.
struct Entries {
    interval: u64,
    entries: Vec<IndexEntry>,
    lines: u64,
    since_mark: u64,
    /// What was to be dropped and was not kept: a log's last line stays even so.
    dropped: BTreeSet<Offset>,
}

impl Entries {
    fn new(interval: u64, dropped: Vec<Offset>) -> Self {
        let dropped = dropped.into_iter().collect();
        Entries { interval, entries: Vec::new(), lines: 0, since_mark: u64::MAX, dropped }
    }

    fn kept(&mut self, line: KeptLine<'_>) {
        self.dropped.remove(&line.cursor.offset);
        if self.since_mark >= self.interval
            && let Some((id, offset)) = lines::peek(line.bytes)
            // A rewrite keeps damaged lines as they are, and the header of one may name any id.
            && line::verify(line.bytes).is_ok()
        {
            let position = line.cursor.position;
            self.entries.push(IndexEntry { id, offset, position, ordinal: self.lines });
            self.since_mark = 0;
        }
        self.since_mark = self.since_mark.saturating_add(line.bytes.len() as u64);
        self.lines += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wafka_core::{Fields, PartitionId};
    use wafka_storage::line::EventEncoder;

    #[test]
    fn a_damaged_line_is_counted_and_no_mark() {
        let mut encoder = EventEncoder::new(b"t", PartitionId(1));
        let mut entries = Entries::new(1, Vec::new());
        for offset in 0..3u64 {
            let mut bytes = Vec::new();
            let flat: [&[u8]; 2] = [b"f", b"v"];
            let id = EventId::new(5 + offset, 0);
            encoder.encode(&mut bytes, id, offset, &[], Fields::new(&flat).unwrap());
            if offset == 1 {
                let at = bytes.iter().position(|byte| *byte == b'6').unwrap();
                bytes[at] = b'9';
                assert_eq!(lines::peek(&bytes).map(|(id, _)| id), Some(EventId::new(9, 0)));
            }
            let cursor = Cursor { offset, position: offset * 100, generation: 2 };
            entries.kept(KeptLine { cursor, bytes: &bytes });
        }
        let marks: Vec<_> = entries.entries.iter().map(|entry| (entry.id.ms, entry.ordinal)).collect();
        assert_eq!(marks, [(5, 0), (7, 2)]);
        assert_eq!(entries.lines, 3);
    }
}
