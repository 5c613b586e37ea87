//! Opening one partition: what its index knows of its log, and reading the rest of it. A log whose lines the backend counts
//! is not read where there is no index: how many there are is known, and the last one has the last id.

use std::collections::VecDeque;
use std::sync::Arc;

use wafka_core::storage::{Cursor, LogName, LogReader, OpenRequest, Opened, StorageError};
use wafka_core::{EventId, Offset, PartitionId, TopicName};
use wafka_storage::line::{self, EventEncoder};

use super::lane::Pending;
use super::open::{io, report, scan};
use super::{Lane, LaneState};
use crate::broker::Broker;
use crate::index::{Gaps, IndexEntry, Removed, SparseIndex};
use crate::lines::{self, Lines};
use crate::tail::Tail;

/// Reading a log of so many bytes takes long enough to be told of.
const SAID_BYTES: u64 = 1 << 20;

/// Opens one partition.
pub(super) struct OpenLane<'a> {
    pub(super) topic: &'a TopicName,
    pub(super) log: LogName,
    pub(super) index: Arc<SparseIndex>,
    /// Distance between two entries of the index, in bytes.
    pub(super) interval: u64,
    pub(super) number: usize,
}

/// What is known of a log's lines.
struct Known {
    lines: u64,
    since_mark: u64,
    last_id: EventId,
    /// Nobody read it.
    is_partial: bool,
}

impl OpenLane<'_> {
    /// Opens it at the broker with that number, which is held up for no longer than that takes.
    pub(super) fn open(self, brokers: &[Arc<Broker>], number: usize) -> Result<Lane, StorageError> {
        let broker = &brokers[number];
        let last = self.index.last();
        let known = self.index.last_known();
        let request = OpenRequest { create: false, known };
        let opened = broker.with_shard(|shard| shard.open(&self.log, request))?;
        let slot = opened.slot;
        let lane = self.read(opened, last, number);
        if lane.is_err() {
            broker.with_shard(|shard| shard.close(slot));
        }
        lane
    }

    /// Looks through what the index does not know of a log; `last` is the last entry that it had.
    fn read(self, opened: Opened, last: Option<IndexEntry>, broker: usize) -> Result<Lane, StorageError> {
        report(&self.log, &opened);
        let known = self.look_through(&opened, last)?;
        let partition = PartitionId::from_index(self.number);
        Ok(Lane {
            broker,
            slot: opened.slot,
            encoder: EventEncoder::new(self.topic.as_bytes(), partition),
            tail: Tail::default(),
            pending: Pending::default(),
            spare: Vec::new(),
            in_flight: None,
            queued: false,
            next_offset: opened.end.offset,
            end: opened.end,
            last_id: known.last_id,
            last_sequence_committed: 0,
            lines: known.lines,
            first: opened.first.offset,
            counts: opened.lines.is_some(),
            removed: Removed::default(),
            floor_at: None,
            is_index_partial: known.is_partial,
            live: 0,
            since_mark: known.since_mark,
            state: LaneState::Online,
            epoch: 0,
            failures: VecDeque::new(),
            damage: opened.damage,
            rewriting: false,
            swapping: false,
            rewrite_after: None,
            unread: false,
            reader: opened.reader,
            index: self.index,
            log: self.log,
        })
    }

    fn look_through(&self, opened: &Opened, last: Option<IndexEntry>) -> Result<Known, StorageError> {
        let generation = opened.reader.generation();
        self.index.set_generation(generation);
        self.index.truncate_from(opened.end.offset);
        let start = match self.index.last() {
            Some(entry) if stands(&*opened.reader, &entry)? => Some(entry),
            Some(_) => {
                self.reset_index("does not fit the log")?;
                None
            }
            None => None,
        };
        // Only what stands behind the entry that was given as known was verified when the log was opened.
        let unverified = !opened.damage.is_empty() || start != last;
        if let Some(entry) = start {
            let mut tally = Tally::behind(&self.index, self.interval, entry, unverified);
            let from = Cursor { offset: entry.offset, position: entry.position, generation };
            scan(&*opened.reader, from, |cursor, line| tally.line(cursor, line))?;
            if opened.lines.is_none_or(|lines| lines == tally.lines) {
                let (lines, since_mark, last_id) = (tally.lines, tally.since_mark, tally.last_id);
                // Entries may stand for no more than what was appended after an opening that read nothing.
                let is_partial = opened.lines.is_some();
                return Ok(Known { lines, since_mark, last_id, is_partial });
            }
            self.reset_index("counts other lines than there are")?;
        }
        if let Some(lines) = opened.lines.filter(|_| opened.damage.is_empty())
            && let Some(last_id) = last_id(&*opened.reader, opened.first.offset..opened.end.offset)?
        {
            return Ok(Known { lines, since_mark: u64::MAX, last_id, is_partial: true });
        }
        if opened.reader.size_bytes() >= SAID_BYTES {
            let why = match opened.lines {
                _ if !opened.damage.is_empty() => "it is damaged",
                Some(_) => "its last line is not that of its last event",
                None => "there is no index of it, and the backend does not say how many lines it has",
            };
            tracing::info!(log = %self.log, bytes = opened.reader.size_bytes(), why, "read from its beginning");
        }
        let mut tally = Tally::new(&self.index, self.interval, unverified);
        let from = Cursor { generation, ..opened.first };
        scan(&*opened.reader, from, |cursor, line| tally.line(cursor, line))?;
        let (lines, since_mark, last_id) = (tally.lines, tally.since_mark, tally.last_id);
        Ok(Known { lines, since_mark, last_id, is_partial: false })
    }

    fn reset_index(&self, why: &str) -> Result<(), StorageError> {
        tracing::warn!(log = %self.log, "the index {why}, it is rebuilt");
        self.index.reset().map_err(|source| io("reset the index", &self.log, source))
    }
}

impl Lane {
    /// Goes through the whole log, and knows all of it then.
    pub(super) fn read_all(&mut self, interval: u64) -> Result<(), StorageError> {
        self.index.reset().map_err(|source| io("reset the index", &self.log, source))?;
        let mut tally = Tally::new(&self.index, interval, true);
        scan(&*self.reader, Cursor::at_offset(self.first), |cursor, line| tally.line(cursor, line))?;
        (self.lines, self.since_mark, self.last_id) = (tally.lines, tally.since_mark, tally.last_id);
        self.removed = tally.gaps.end(self.end.offset);
        self.is_index_partial = false;
        Ok(())
    }
}

/// The id of a log's last line; `None` where that is not what it should be. Offsets and ids rise together.
fn last_id(
    reader: &dyn LogReader,
    offsets: std::ops::Range<Offset>,
) -> Result<Option<EventId>, StorageError> {
    let Some(last) = offsets.end.checked_sub(1).filter(|last| *last >= offsets.start) else {
        return Ok(Some(EventId::MIN));
    };
    let mut lines = Lines::none();
    lines.fill(reader, Cursor::at_offset(last), 1)?;
    let found = lines.advance().then(|| lines::peek(lines.current())).flatten();
    let is_whole = || line::verify(lines.current()).is_ok();
    Ok(found.filter(|(_, offset)| *offset == last && is_whole()).map(|(id, _)| id))
}

/// Counts lines and fills the index while a log is looked through.
struct Tally<'a> {
    index: &'a SparseIndex,
    interval: u64,
    lines: u64,
    since_mark: u64,
    last_id: EventId,
    gaps: Gaps,
    /// The first line is in the index already.
    skip_mark: bool,
    /// Lines may be damaged: none is believed without being verified.
    unverified: bool,
}

impl<'a> Tally<'a> {
    fn new(index: &'a SparseIndex, interval: u64, unverified: bool) -> Self {
        Tally {
            index,
            interval,
            lines: 0,
            since_mark: u64::MAX,
            last_id: EventId::MIN,
            gaps: Gaps::default(),
            skip_mark: false,
            unverified,
        }
    }

    /// Begins at the line that an entry names.
    fn behind(index: &'a SparseIndex, interval: u64, entry: IndexEntry, unverified: bool) -> Self {
        Tally {
            lines: entry.ordinal,
            since_mark: 0,
            last_id: entry.id,
            skip_mark: true,
            ..Tally::new(index, interval, unverified)
        }
    }

    fn line(&mut self, cursor: Cursor, line: &[u8]) {
        let mark = self.since_mark >= self.interval && !self.skip_mark;
        // A wrong id in the index would mislead every search: a mark is verified whatever is known.
        let believed = !(self.unverified || mark) || line::verify(line).is_ok();
        if let Some((id, offset)) = lines::peek(line).filter(|_| believed) {
            if mark {
                let entry = IndexEntry { id, offset, position: cursor.position, ordinal: self.lines };
                self.index.push(std::iter::once(entry));
                self.since_mark = 0;
            }
            self.last_id = self.last_id.max(id);
            self.gaps.line(offset);
        } else {
            // It had some id above the one before it, and that must not be given to another event.
            self.last_id = self.last_id.next().unwrap_or(EventId::MAX);
            self.gaps.unknown();
        }
        self.skip_mark = false;
        self.since_mark = self.since_mark.saturating_add(line.len() as u64);
        self.lines += 1;
    }
}

/// Whether the line that an index entry names stands where it says.
fn stands(reader: &dyn LogReader, entry: &IndexEntry) -> Result<bool, StorageError> {
    let cursor = Cursor { offset: entry.offset, position: entry.position, generation: reader.generation() };
    let mut lines = Lines::none();
    lines.fill(reader, cursor, 1)?;
    Ok(lines.advance()
        && lines::peek(lines.current()) == Some((entry.id, entry.offset))
        && line::verify(lines.current()).is_ok())
}
