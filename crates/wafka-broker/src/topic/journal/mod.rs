//! The topic's journal: what happened to events after they were written, as lines of text.
//!
//! Records are applied to memory when they are accepted and written by the next turn of the topic's home broker. From
//! time to time a snapshot line says everything that still matters, and what came before it is trimmed.

mod group_record;
mod group_snapshot;
mod load;
mod record;
mod snapshot;
mod text;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use wafka_core::storage::{Batch, Cursor, LogName, LogSlot};
use wafka_core::{EventId, Offset, TopicName};
use wafka_storage::LINE_BYTES_MAX;
use wafka_storage::line::{RecordKind, encode_record};

pub(crate) use group_record::*;
pub(crate) use record::{DeletedEvent, FloorPlaces, JournalRecord};
pub(in crate::topic) use snapshot::Replay;
pub(crate) use text::{BytesText, IdRun, IdText, runs};

use super::State;
use super::lane::{Failure, LaneState};

/// Records on their way to the journal.
#[derive(Debug)]
pub(crate) struct JournalBatch {
    /// The number that tickets name.
    pub(crate) number: u64,
    pub(crate) slot: Option<LogSlot>,
    pub(crate) log: LogName,
    pub(crate) bytes: Vec<u8>,
    pub(crate) first_offset: Offset,
    pub(crate) lines: u64,
    /// The length of the longest line, in bytes.
    longest_line: u64,
    /// The offset of the snapshot within the batch, if there is one.
    pub(crate) snapshot: Option<Offset>,
    /// The trim floor that the batch, or one before it, says.
    pub(crate) floor: EventId,
    /// When the topic's time comes, as the batch, or one before it, says.
    pub(crate) expire_at_ms: Option<u64>,
    /// Every idempotence record of an event at or below this id is told by the batch, or one before it.
    pub(crate) told: EventId,
}

impl JournalBatch {
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch { first_offset: self.first_offset, lines: self.lines, bytes: &self.bytes }
    }

    /// Whether a start can read the batch back: to it, a line that is too long is damage.
    ///
    /// # Errors
    /// When it cannot; the error is the reason not to write it.
    pub(crate) fn check(&self) -> Result<(), Arc<str>> {
        if self.longest_line <= LINE_BYTES_MAX {
            return Ok(());
        }
        let (bytes, log) = (self.longest_line, &self.log);
        Err(format!("a line of {bytes} bytes for {log}: one has {LINE_BYTES_MAX} at most").into())
    }
}

/// The journal as the engine holds it in memory.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) log: LogName,
    /// Where to append; the log is made when there is something to say.
    pub(crate) slot: Option<LogSlot>,
    pub(crate) end: Cursor,
    pending: Vec<JournalRecord>,
    /// Trimming goes on and on under `MAXLEN`; only the last word of a turn is written.
    pending_trim: Option<EventId>,
    wants_snapshot: bool,
    /// The number of the last batch that was taken.
    taken: u64,
    pub(crate) in_flight: bool,
    pub(crate) queued: bool,
    pub(crate) epoch: u32,
    pub(crate) failures: VecDeque<Failure>,
    pub(crate) state: LaneState,
    /// Why what the file says is not known, if so: then the journal is offline until the topic is opened again.
    pub(crate) held: Option<Arc<str>>,
    /// That is so because the log could not be opened, or read: it is tried again.
    pub(crate) unread: bool,
    /// A snapshot is written when at least this much was journaled since the last one, in bytes.
    snapshot_after_bytes: u64,
    bytes_since_snapshot: u64,
    snapshot_bytes: u64,
    /// What the file says is trimmed: what is above it may not be given back yet.
    pub(crate) durable_floor: EventId,
    /// When the topic's time comes, as the file says.
    pub(crate) durable_expire_at_ms: Option<u64>,
    /// Everything below this offset is told by a snapshot and can be trimmed.
    pub(crate) obsolete_below: Offset,
    /// After a rewrite that failed: none is tried before.
    pub(crate) rewrite_after: Option<Instant>,
}

impl Journal {
    pub(crate) fn new(log: LogName, snapshot_after_bytes: u64) -> Self {
        Journal {
            log,
            slot: None,
            end: Cursor::default(),
            pending: Vec::new(),
            pending_trim: None,
            wants_snapshot: false,
            taken: 0,
            in_flight: false,
            queued: false,
            epoch: 0,
            failures: VecDeque::new(),
            state: LaneState::Online,
            held: None,
            unread: false,
            snapshot_after_bytes,
            bytes_since_snapshot: 0,
            snapshot_bytes: 0,
            durable_floor: EventId::MIN,
            durable_expire_at_ms: None,
            obsolete_below: 0,
            rewrite_after: None,
        }
    }

    pub(crate) fn push(&mut self, record: JournalRecord) {
        self.flush_trim();
        self.pending.push(record);
    }

    pub(crate) fn push_trim(&mut self, up_to: EventId) {
        self.pending_trim = Some(up_to);
    }

    fn flush_trim(&mut self) {
        if let Some(up_to) = self.pending_trim.take() {
            self.pending.push(JournalRecord::Trim { up_to: IdText(up_to), above: Vec::new() });
        }
    }

    /// The number of the batch that what is pending now will be part of.
    pub(crate) fn next_batch(&self) -> u64 {
        self.taken + 1
    }

    /// Gives up the number of the next batch: what was pending is lost.
    pub(crate) fn skip_batch(&mut self) {
        self.taken += 1;
    }

    /// Whether there is something to write.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty() || self.pending_trim.is_some() || self.wants_snapshot
    }

    pub(crate) fn is_idle(&self) -> bool {
        !self.has_pending() && !self.in_flight
    }

    /// After a failure memory is ahead of the file: the next batch begins with a snapshot.
    pub(crate) fn fail(&mut self, reason: &Arc<str>, retry_at: Instant) {
        self.pending.clear();
        self.pending_trim = None;
        self.wants_snapshot = true;
        self.epoch = self.epoch.wrapping_add(1);
        if self.failures.len() > 64 {
            self.failures.pop_front();
        }
        self.state = LaneState::Offline { reason: Arc::clone(reason), retry_at };
    }

    pub(crate) fn committed(&mut self, batch: &JournalBatch) {
        self.bytes_since_snapshot += batch.bytes.len() as u64;
        self.durable_floor = self.durable_floor.max(batch.floor);
        self.durable_expire_at_ms = batch.expire_at_ms;
        if let Some(offset) = batch.snapshot {
            self.obsolete_below = offset;
            self.snapshot_bytes = batch.bytes.len() as u64;
            self.bytes_since_snapshot = 0;
        }
    }

    /// Whether a rewrite would give back what snapshots made obsolete.
    pub(crate) fn is_reclaimable(&self) -> bool {
        self.obsolete_below > 0 && self.slot.is_some()
    }

    /// Counts what was read when the topic was opened.
    pub(crate) fn loaded(&mut self, slot: LogSlot, end: Cursor, bytes: u64) {
        self.slot = Some(slot);
        self.end = end;
        self.bytes_since_snapshot = bytes;
    }

    /// Asks for a snapshot with the next batch, whatever the size.
    pub(crate) fn want_snapshot(&mut self) {
        self.wants_snapshot = true;
    }

    /// Whether the next batch should say everything.
    fn snapshot_due(&self) -> bool {
        let after_bytes = self.snapshot_after_bytes.max(4 * self.snapshot_bytes);
        self.wants_snapshot || self.bytes_since_snapshot > after_bytes
    }
}

/// What goes into the next batch, not yet encoded: that is done without the topic's lock.
pub(crate) struct JournalDraft {
    records: Vec<JournalRecord>,
    is_snapshot: bool,
    number: u64,
    slot: Option<LogSlot>,
    log: LogName,
    first_offset: Offset,
    floor: EventId,
    expire_at_ms: Option<u64>,
    told: EventId,
}

impl State {
    /// Takes what is pending as one batch. `is_synced` says whether every visible event is durable.
    pub(super) fn take_journal(&mut self, is_synced: bool) -> Option<JournalDraft> {
        self.journal.queued = false;
        self.journal.flush_trim();
        let mut records = std::mem::take(&mut self.journal.pending);
        let due = self.journal.snapshot_due();
        let offline = self.journal_reason().is_some();
        if offline {
            return None;
        }
        if !due {
            records.extend(self.untold_idempotence());
        }
        if records.is_empty() && !self.journal.wants_snapshot {
            return None;
        }
        if !due && is_synced {
            self.place_floor(&mut records);
        }
        if due {
            // The snapshot says what the records say: they need not be written.
            records = self.snapshot(is_synced);
            self.journal.wants_snapshot = false;
        }
        self.journal.taken += 1;
        self.journal.in_flight = true;
        Some(JournalDraft {
            records,
            is_snapshot: due,
            number: self.journal.taken,
            slot: self.journal.slot,
            log: self.journal.log.clone(),
            // No other batch is on its way: the end stays where it is until this one is there.
            first_offset: self.journal.end.offset,
            floor: self.floor,
            expire_at_ms: self.expire_at_ms,
            told: self.idempotence_told(),
        })
    }
}

impl JournalDraft {
    /// The lines of the batch.
    pub(crate) fn encode(self, name: &TopicName, now_ms: u64) -> JournalBatch {
        let mut bytes = Vec::new();
        let mut longest_line = 0;
        for (at, record) in self.records.iter().enumerate() {
            let begin = bytes.len();
            encode_record(
                &mut bytes,
                RecordKind::Journal,
                name.as_bytes(),
                self.first_offset + at as u64,
                now_ms,
                record,
            )
            .expect("invariant: a journal record serializes to one line of JSON");
            longest_line = longest_line.max((bytes.len() - begin) as u64);
        }
        JournalBatch {
            number: self.number,
            slot: self.slot,
            log: self.log,
            bytes,
            first_offset: self.first_offset,
            lines: self.records.len() as u64,
            longest_line,
            snapshot: self.is_snapshot.then_some(self.first_offset),
            floor: self.floor,
            expire_at_ms: self.expire_at_ms,
            told: self.told,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_no_start_could_read_is_not_written() {
        let draft = JournalDraft {
            records: vec![JournalRecord::Trim { up_to: IdText(EventId::MIN), above: Vec::new() }],
            is_snapshot: false,
            number: 1,
            slot: None,
            log: LogName::new(wafka_core::Database(0), "t.journal"),
            first_offset: 0,
            floor: EventId::MIN,
            told: EventId::MIN,
            expire_at_ms: None,
        };
        let mut batch = draft.encode(&TopicName::new(b"t").unwrap(), 1_000);
        assert_eq!(batch.longest_line, batch.bytes.len() as u64);
        assert_eq!(batch.check(), Ok(()));
        batch.longest_line = LINE_BYTES_MAX + 1;
        assert!(batch.check().unwrap_err().contains("1073741825 bytes"));
    }
}
