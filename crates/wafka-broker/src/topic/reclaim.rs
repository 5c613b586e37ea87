//! Giving back the space of trimmed and deleted events: a partition's log is written anew in the background.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wafka_core::storage::{Cursor, KeptLine, LogSlot, Rewrite, RewritePlan, Shard, StorageError};
use wafka_core::{EventId, Offset};
use wafka_storage::line;

use super::journal::JournalRecord;
use super::view::LaneView;
use super::{Lane, State, Topic};
use crate::error::ReadError;
use crate::index::{Gaps, IndexEntry, Removed};
use crate::lines;

/// After a rewrite that failed, so long none of that log is tried.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// What a rewrite of a partition is to drop.
struct Planned {
    view: LaneView,
    slot: LogSlot,
    floor: EventId,
    drop: Vec<Offset>,
}

impl Topic {
    /// Whether a rewrite of some partition, or of the journal, is worth it.
    pub(super) fn wants_reclaim(&self, state: &State) -> bool {
        let deletions = state.deletions.len() > self.limits.reclaim.deletions_max;
        is_journal_worth_it(state) || state.lanes.iter().any(|lane| self.is_worth_it(lane, deletions))
    }

    fn is_worth_it(&self, lane: &Lane, many_deletions: bool) -> bool {
        let limits = &self.limits.reclaim;
        if lane.rewriting || !lane.is_online() || lane.lines < 2 || is_too_early(lane.rewrite_after) {
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
            let result = self.reclaim_lane(number);
            let mut state = self.state.lock();
            let lane = &mut state.lanes[number];
            lane.rewriting = false;
            if let Err(error) = result {
                lane.rewrite_after = Some(Instant::now() + RETRY_AFTER);
                tracing::error!(topic = %self.name, partition = number + 1, %error, "space not reclaimed");
            }
        }
        if let Err(error) = self.reclaim_journal() {
            self.state.lock().journal.rewrite_after = Some(Instant::now() + RETRY_AFTER);
            tracing::error!(topic = %self.name, %error, "journal not compacted");
        }
        self.reclaiming.store(false, Ordering::Release);
    }

    fn reclaim_lane(self: &Arc<Self>, number: usize) -> Result<(), ReadError> {
        let (broker, planned) = {
            let mut state = self.state.lock();
            let broker = Arc::clone(&self.brokers[state.lanes[number].broker]);
            (broker, self.plan_rewrite(&mut state, number))
        };
        let Some(Planned { view, slot, floor, drop }) = planned else { return Ok(()) };
        let plan = RewritePlan {
            drop_below: if floor == EventId::MIN { 0 } else { view.first_above(floor)? },
            drop: drop.clone(),
        };
        let begun = broker.with_shard(|shard| {
            // Else the slot may be closed.
            (!self.is_leaving()).then(|| shard.begin_rewrite(slot, plan)).transpose()
        });
        let Some(mut rewrite) = begun? else { return Ok(()) };
        let mut entries = Entries::new(self.limits.index_interval_bytes, drop);
        rewrite.run(&mut |line| entries.kept(line))?;
        // A transaction that is under way may have to cut the log back to where it ended.
        let Some(_swap) = self.freeze.swap() else { return Ok(()) };
        let freed = broker.with_shard(|shard| self.swap(shard, number, rewrite, entries))?;
        tracing::info!(topic = %self.name, partition = number + 1, bytes = freed, "space reclaimed");
        Ok(())
    }

    /// Whether its slots may be other logs'.
    fn is_leaving(&self) -> bool {
        self.is_deleted() || self.is_closed()
    }

    fn plan_rewrite(&self, state: &mut State, number: usize) -> Option<Planned> {
        let many = state.deletions.len() > self.limits.reclaim.deletions_max;
        if self.is_leaving() || !self.is_worth_it(&state.lanes[number], many) {
            return None;
        }
        // A crash must not find more gone than the journal says.
        let mut floor = state.journal.durable_floor;
        let now_ms = self.deadlines.now_ms();
        let idempotence = state.idempotence.as_mut();
        let first_needed = idempotence.and_then(|idempotence| idempotence.first_in_lines_alone(now_ms));
        if let Some(before) = first_needed.and_then(EventId::prev) {
            floor = floor.min(before);
        }
        let lane_number = u16::try_from(number).unwrap_or(u16::MAX);
        let drop: BTreeSet<Offset> = state
            .deletions
            .iter()
            .filter(|(id, deleted)| {
                deleted.lane == lane_number && first_needed.is_none_or(|first| *id < first)
            })
            .map(|(_, deleted)| deleted.offset)
            .collect();
        let lane = &mut state.lanes[number];
        lane.rewriting = true;
        Some(Planned {
            view: lane.file_view(number),
            slot: lane.slot,
            floor,
            drop: drop.into_iter().collect(),
        })
    }

    /// Puts the rewritten log in the place of the old one; returns how many bytes that freed. The broker's writer lock
    /// is held, so nothing is appended meanwhile; the state's lock is not, so events are accepted and read.
    fn swap(
        self: &Arc<Self>,
        shard: &mut dyn Shard,
        number: usize,
        rewrite: Box<dyn Rewrite>,
        mut entries: Entries,
    ) -> Result<u64, StorageError> {
        let (index, reader, log) = {
            let mut state = self.state.lock();
            if self.is_leaving() {
                return Ok(0);
            }
            let lane = &mut state.lanes[number];
            lane.swapping = true;
            (Arc::clone(&lane.index), Arc::clone(&lane.reader), lane.log.clone())
        };
        let generation = reader.generation();
        // Between the two renames neither index may be taken for the other log's: first one goes, then one comes.
        let set_aside = index.set_aside().map_err(|source| StorageError::Io {
            log: log.to_string(),
            operation: "set the index aside",
            source,
        });
        let result = set_aside.and_then(|()| shard.finish_rewrite(rewrite, &mut |line| entries.kept(line)));
        let swapped = reader.generation();
        let as_it_was = result.is_err() && swapped == generation;
        if as_it_was {
            index.forget_counts();
            if let Err(error) = index.put_back() {
                tracing::warn!(%log, %error, "index not put back: the next start rebuilds it");
            }
        }
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let lane = &mut state.lanes[number];
        lane.swapping = false;
        if !as_it_was {
            lane.lines = entries.lines;
            lane.end = Cursor { offset: lane.end.offset, position: reader.size_bytes(), generation: swapped };
            lane.since_mark = entries.since_mark;
            index.replace(entries.entries, swapped);
            // The tail still holds what was deleted.
            self.brokers[lane.broker].tail_forgotten(lane.tail.clear());
        }
        // As long as power might bring the old file back, its deleted events must stay deleted.
        let rewritten = result?;
        let gone = entries.dropped;
        let lane_number = u16::try_from(number).unwrap_or(u16::MAX);
        self.note_removed(state, number, entries.gaps.end(rewritten.end.offset));
        state.deletions_forgotten += 1;
        Arc::make_mut(&mut state.deletions)
            .forget(|_, deleted| deleted.lane == lane_number && gone.contains(&deleted.offset));
        Ok(rewritten.bytes_freed)
    }

    /// Journals which lines of a log are no more, for who opens it without its index.
    fn note_removed(self: &Arc<Self>, state: &mut State, number: usize, removed: Removed) {
        let lane = &mut state.lanes[number];
        if !lane.counts || lane.removed == removed {
            return;
        }
        lane.removed = removed;
        if state.journal_reason().is_some() {
            // It begins with a snapshot when it is back.
            return;
        }
        if state.lanes[number].removed.is_exact() {
            state.journal.push(JournalRecord::removed(number, &state.lanes[number].removed));
        } else {
            // Which of the deletions in the journal are among these would have to be looked up.
            state.journal.want_snapshot();
        }
        self.journal_ticket(state);
        // Nobody waits for it, so nobody kicks.
        self.brokers[self.home].wake();
    }

    fn reclaim_journal(self: &Arc<Self>) -> Result<(), StorageError> {
        let home = &self.brokers[self.home];
        let begun = home.with_shard(|shard| -> Result<_, StorageError> {
            let (slot, obsolete_below) = {
                let state = self.state.lock();
                match state.journal.slot {
                    Some(slot) if is_journal_worth_it(&state) && !self.is_leaving() => {
                        (slot, state.journal.obsolete_below)
                    }
                    _ => return Ok(None),
                }
            };
            let plan = RewritePlan { drop_below: obsolete_below, drop: Vec::new() };
            Ok(Some((shard.begin_rewrite(slot, plan)?, obsolete_below)))
        })?;
        let Some((mut rewrite, obsolete_below)) = begun else { return Ok(()) };
        rewrite.run(&mut |_| {})?;
        let Some(_swap) = self.freeze.swap() else { return Ok(()) };
        home.with_shard(|shard| {
            if self.is_leaving() {
                return Ok(());
            }
            let rewritten = shard.finish_rewrite(rewrite, &mut |_| {})?;
            let mut state = self.state.lock();
            state.journal.end = rewritten.end;
            // A snapshot that was written meanwhile makes more obsolete.
            if state.journal.obsolete_below == obsolete_below {
                state.journal.obsolete_below = 0;
            }
            Ok(())
        })
    }
}

fn is_journal_worth_it(state: &State) -> bool {
    state.journal.is_reclaimable() && !is_too_early(state.journal.rewrite_after)
}

/// Whether a rewrite failed a short time ago.
fn is_too_early(rewrite_after: Option<Instant>) -> bool {
    rewrite_after.is_some_and(|after| Instant::now() < after)
}

/// Collects the index of a log while it is rewritten.
struct Entries {
    interval: u64,
    entries: Vec<IndexEntry>,
    lines: u64,
    since_mark: u64,
    gaps: Gaps,
    /// What was to be dropped and was not kept: a log's last line stays even so.
    dropped: BTreeSet<Offset>,
}

impl Entries {
    fn new(interval: u64, dropped: Vec<Offset>) -> Self {
        let dropped = dropped.into_iter().collect();
        Entries {
            interval,
            entries: Vec::new(),
            lines: 0,
            since_mark: u64::MAX,
            gaps: Gaps::default(),
            dropped,
        }
    }

    fn kept(&mut self, line: KeptLine<'_>) {
        self.dropped.remove(&line.cursor.offset);
        self.gaps.line(line.cursor.offset);
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
