//! Writing a topic's events and state into the files of another one.

use std::sync::Arc;

use wafka_core::storage::{Batch, Cursor, LogSlot, OpenRequest, StorageError};
use wafka_core::{EventId, Offset, PartitionId};
use wafka_storage::LINE_BYTES_MAX;
use wafka_storage::line::{EventEncoder, EventLine, RecordKind, encode_record};

use super::journal::JournalRecord;
use super::{Deletions, LaneState, State, Topic};
use crate::error::{AppendError, ReadError};
use crate::lines::Lines;

/// How much is read and written at once, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// Takes the live lines of a partition.
type Take<'t> = dyn FnMut(&EventLine<'_>) -> Result<(), ReadError> + 't;

impl Topic {
    /// Writes what `source`, which nobody writes to, has into the empty files of this topic, and syncs them.
    ///
    /// # Errors
    /// When an event of the source cannot be read, or the backend fails.
    pub(crate) fn fill_from(&self, source: &Topic, now_ms: u64) -> Result<(), ReadError> {
        let lanes: Vec<_> = self.state.lock().lanes.iter().map(|lane| (lane.broker, lane.slot)).collect();
        let (mut lines, mut last_id) = (0, EventId::MIN);
        for (number, (broker, slot)) in lanes.into_iter().enumerate() {
            let mut copy = Copy {
                topic: self,
                broker,
                slot,
                encoder: EventEncoder::new(self.name.as_bytes(), PartitionId::from_index(number)),
                bytes: Vec::new(),
                first_offset: 0,
                end: 0,
                last_id: EventId::MIN,
            };
            source.each_line(number, &mut |line| copy.line(line))?;
            copy.write()?;
            copy.sync()?;
            lines += copy.end;
            last_id = last_id.max(copy.last_id);
        }
        let records = source.state.lock().copied_state(lines, last_id);
        self.write_journal(&records, now_ms).map_err(ReadError::Storage)
    }

    /// Hands every live line of a partition to `take`.
    fn each_line(&self, number: usize, take: &mut Take<'_>) -> Result<(), ReadError> {
        let (view, floor, deletions) = {
            let state = self.state.lock();
            if let LaneState::Offline { reason, .. } = &state.lanes[number].state {
                return Err(self.offline(number, reason).into());
            }
            (state.lanes[number].file_view(number), state.floor, Arc::clone(&state.deletions))
        };
        let mut walk = Walk { floor, deletions: &deletions, before: EventId::MIN, damage: None };
        let mut lines = Lines::none();
        let mut cursor = Cursor { offset: 0, position: 0, generation: view.reader.generation() };
        loop {
            let chunk = lines.fill(&*view.reader, cursor, CHUNK_BYTES)?;
            if lines.is_empty() {
                break;
            }
            while lines.advance() {
                match EventLine::parse(lines.current()) {
                    Ok(line) if line.offset >= view.end => break,
                    Ok(line) => walk.line(&line, take).map_err(|at| at.error(&view.log.to_string()))?,
                    Err(error) => walk.damaged(lines.position(), error.to_string()),
                }
            }
            cursor = chunk.next;
        }
        walk.end().map_err(|at| at.error(&view.log.to_string()))
    }

    /// Writes the journal of a topic that has none.
    fn write_journal(&self, records: &[JournalRecord], now_ms: u64) -> Result<(), StorageError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for (offset, record) in (0..).zip(records) {
            encode_record(&mut bytes, RecordKind::Journal, self.name.as_bytes(), offset, now_ms, record)
                .expect("invariant: a journal record serializes to one line of JSON");
        }
        let log = self.state.lock().journal.log.clone();
        let home = &self.brokers[self.home];
        let slot = home.with_shard(|shard| {
            let opened = shard.open(&log, OpenRequest { create: true, known: None })?;
            let batch = Batch { first_offset: 0, lines: records.len() as u64, bytes: &bytes };
            let appended = shard.append(opened.slot, batch);
            if appended.is_err() {
                shard.close(opened.slot);
            }
            appended.map(|_| opened.slot)
        })?;
        let synced = self.sync_log(self.home, slot);
        home.close(slot);
        synced
    }

    /// Makes what was appended to one of the topic's logs durable.
    fn sync_log(&self, broker: usize, slot: LogSlot) -> Result<(), StorageError> {
        let failures = self.brokers[broker].sync_appended();
        match failures.into_iter().find(|failure| failure.slot == slot) {
            None => Ok(()),
            Some(failure) => Err(failure.error),
        }
    }
}

/// What was come across while a partition is walked.
struct Walk<'w> {
    floor: EventId,
    deletions: &'w Deletions,
    /// The last event.
    before: EventId,
    /// Where damage begins that is behind it, in bytes, and what is wrong.
    damage: Option<(u64, String)>,
}

/// Why a walk ended early.
enum Stop {
    Damage { position: u64, after: EventId, reason: String, next_readable: Option<EventId> },
    Refused(ReadError),
}

impl Stop {
    fn error(self, log: &str) -> ReadError {
        match self {
            Stop::Damage { position, after, reason, next_readable } => {
                ReadError::Damaged { log: log.to_owned(), position, after, reason, next_readable }
            }
            Stop::Refused(error) => error,
        }
    }
}

impl Walk<'_> {
    fn line(&mut self, line: &EventLine<'_>, take: &mut Take<'_>) -> Result<(), Stop> {
        // What lies between trimmed events is trimmed too.
        let damage = self.damage.take().filter(|_| line.id > self.floor);
        if let Some((position, reason)) = damage {
            let (after, next_readable) = (self.before, Some(line.id));
            return Err(Stop::Damage { position, after, reason, next_readable });
        }
        self.before = line.id;
        if line.id <= self.floor || self.deletions.contains(line.id) {
            return Ok(());
        }
        take(line).map_err(Stop::Refused)
    }

    fn damaged(&mut self, position: u64, reason: String) {
        self.damage.get_or_insert((position, reason));
    }

    fn end(self) -> Result<(), Stop> {
        match self.damage {
            None => Ok(()),
            Some((position, reason)) => {
                Err(Stop::Damage { position, after: self.before, reason, next_readable: None })
            }
        }
    }
}

/// One partition being written.
struct Copy<'t> {
    topic: &'t Topic,
    broker: usize,
    slot: LogSlot,
    encoder: EventEncoder,
    bytes: Vec<u8>,
    first_offset: Offset,
    end: Offset,
    last_id: EventId,
}

impl Copy<'_> {
    fn line(&mut self, line: &EventLine<'_>) -> Result<(), ReadError> {
        let begin = self.bytes.len();
        self.encoder.copy(&mut self.bytes, line, self.end);
        let bytes = (self.bytes.len() - begin) as u64;
        if bytes > LINE_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes, limit: LINE_BYTES_MAX }.into());
        }
        self.end += 1;
        self.last_id = line.id;
        if self.bytes.len() < CHUNK_BYTES {
            return Ok(());
        }
        self.write()
    }

    fn write(&mut self) -> Result<(), ReadError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let (first_offset, lines) = (self.first_offset, self.end - self.first_offset);
        let batch = Batch { first_offset, lines, bytes: &self.bytes };
        self.topic.brokers[self.broker].with_shard(|shard| shard.append(self.slot, batch))?;
        self.first_offset = self.end;
        self.bytes.clear();
        Ok(())
    }

    fn sync(&self) -> Result<(), ReadError> {
        Ok(self.topic.sync_log(self.broker, self.slot)?)
    }
}

impl State {
    /// The journal of a copy that has so many lines and no dead ones; empty when there is nothing to say.
    fn copied_state(&mut self, lines: u64, last_line: EventId) -> Vec<JournalRecord> {
        let entries_added = self.entries_added();
        let mut records = self.snapshot_of_copy();
        let Some(JournalRecord::Snapshot {
            added_extra, deleted, last_id, max_deleted, expire_at_ms, ..
        }) = records.first_mut()
        else {
            return records;
        };
        deleted.clear();
        let difference = i128::from(entries_added) - i128::from(lines);
        *added_extra = i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX });
        let plain = *added_extra == 0
            && last_id.0 == last_line
            && max_deleted.0 == EventId::MIN
            && expire_at_ms.is_none();
        if plain && records.len() == 1 { Vec::new() } else { records }
    }
}
