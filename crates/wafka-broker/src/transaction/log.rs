//! The log of transactions: written to at a transaction's beginning and at its end, synced both times. Transactions that
//! begin or end at the same time share a sync.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use wafka_core::storage::{Batch, Cursor, LogName, LogSlot, OpenRequest, RewritePlan, Shard, StorageError};
use wafka_core::{Clock, Offset};
use wafka_storage::line::{RecordKind, RecordLine, encode_record};

use super::record::TransactionRecord;
use crate::backends::Backends;
use crate::broker::Broker;
use crate::error::StartError;
use crate::topic::scan;

const STEM: &str = "wafka.transactions";
/// With so much in it that nobody needs any more the log is written anew, in bytes.
const COMPACT_AT: u64 = 1 << 20;

/// Why a line was not written.
#[derive(Clone, Debug)]
pub(crate) struct NotWritten {
    pub(crate) reason: Arc<str>,
    /// The line may be found at the next start all the same.
    pub(crate) unsure: bool,
}

/// The log of transactions.
pub(crate) struct TransactionLog {
    name: LogName,
    broker: Arc<Broker>,
    clock: Arc<dyn Clock>,
    /// Lines that nobody has written yet.
    queue: Mutex<Vec<Arc<Line>>>,
    file: Mutex<LogFile>,
    /// Transactions that began, and whose lines are still needed.
    open: Mutex<BTreeSet<Offset>>,
}

struct Line {
    record: TransactionRecord,
    outcome: Mutex<Option<Result<Offset, NotWritten>>>,
}

#[derive(Default)]
struct LogFile {
    /// The log is made when there is something to say.
    slot: Option<LogSlot>,
    end: Cursor,
    /// What a failed write left behind the end has to be cut before the next one.
    unsettled: bool,
    /// Bytes written since it was last written anew.
    bytes: u64,
}

/// What the log said at start.
pub(crate) struct LoadedTransactions {
    pub(crate) log: TransactionLog,
    /// Every line, with its offset.
    pub(crate) records: Vec<(Offset, TransactionRecord)>,
}

impl TransactionLog {
    /// Opens the log if there is one; `broker` writes it.
    pub(crate) fn open(
        backends: &Backends,
        broker: &Arc<Broker>,
        clock: Arc<dyn Clock>,
    ) -> Result<LoadedTransactions, StartError> {
        let name = backends.log(STEM);
        let mut file = LogFile::default();
        let mut records = Vec::new();
        let opened = broker.with_shard(|shard| shard.open(&name, OpenRequest::default()));
        match opened {
            Err(StorageError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
            Ok(opened) => {
                if let Some(damage) = opened.damage.first() {
                    return Err(StartError::Transactions(format!(
                        "{name}: at byte {}: {}; repair the line, or restore the file",
                        damage.position, damage.reason
                    )));
                }
                let mut error = None;
                scan(&*opened.reader, opened.first, |cursor, line| match parse(line) {
                    Ok(record) => records.push(record),
                    Err(reason) if error.is_none() => {
                        error = Some(format!("{name}: at byte {}: {reason}", cursor.position));
                    }
                    Err(_) => {}
                })?;
                if let Some(error) = error {
                    return Err(StartError::Transactions(error));
                }
                file = LogFile {
                    slot: Some(opened.slot),
                    end: opened.end,
                    unsettled: false,
                    bytes: opened.end.position,
                };
            }
        }
        let log = TransactionLog {
            name,
            broker: Arc::clone(broker),
            clock,
            queue: Mutex::default(),
            file: Mutex::new(file),
            open: Mutex::default(),
        };
        Ok(LoadedTransactions { log, records })
    }

    /// Writes a line and syncs it; returns its offset. A transaction that begins with it is open from then on.
    pub(crate) fn write(&self, record: TransactionRecord) -> Result<Offset, NotWritten> {
        let line = Arc::new(Line { record, outcome: Mutex::new(None) });
        self.queue.lock().push(Arc::clone(&line));
        let mut file = self.file.lock();
        if let Some(outcome) = line.outcome.lock().take() {
            return outcome;
        }
        let lines = std::mem::take(&mut *self.queue.lock());
        let first = file.end.offset;
        let result = self.write_all(&mut file, &lines);
        for (offset, other) in (first..).zip(&lines) {
            let outcome = result.clone().map(|()| offset);
            if outcome.is_ok() && matches!(other.record, TransactionRecord::Begin { .. }) {
                self.open.lock().insert(offset);
            }
            *other.outcome.lock() = Some(outcome);
        }
        let outcome = line.outcome.lock().take();
        // The line was queued before the lock was taken, so it was written by this call or an earlier one.
        outcome
            .unwrap_or_else(|| Err(NotWritten { reason: "the line was not written".into(), unsure: false }))
    }

    /// Appends and syncs lines; nothing of them counts when it fails, and the end is as it was.
    fn write_all(&self, file: &mut LogFile, lines: &[Arc<Line>]) -> Result<(), NotWritten> {
        let mut bytes = Vec::new();
        let now_ms = self.clock.now_ms();
        for (offset, line) in (file.end.offset..).zip(lines) {
            encode_record(&mut bytes, RecordKind::Transactions, b"wafka", offset, now_ms, &line.record)
                .map_err(|error| NotWritten { reason: error.to_string().into(), unsure: false })?;
        }
        match self.append(file, &bytes, lines.len() as u64) {
            Ok(()) => Ok(()),
            Err(error) => {
                let end = file.end;
                let cut = |slot| self.broker.with_shard(|shard| shard.reopen(slot, end));
                file.unsettled = file.slot.is_some_and(|slot| cut(slot).is_err());
                Err(NotWritten { reason: error.to_string().into(), unsure: file.unsettled })
            }
        }
    }

    fn append(&self, file: &mut LogFile, bytes: &[u8], lines: u64) -> Result<(), StorageError> {
        let end = file.end;
        let (slot, unsettled) = (file.slot, file.unsettled);
        let work = |shard: &mut dyn Shard| {
            let (slot, end) = match slot {
                Some(slot) => (slot, end),
                None => {
                    let opened = shard.open(&self.name, OpenRequest { create: true, known: None })?;
                    (opened.slot, opened.end)
                }
            };
            if unsettled {
                shard.reopen(slot, end)?;
            }
            let begin = shard.append(slot, Batch { first_offset: end.offset, lines, bytes });
            Ok((slot, begin))
        };
        let ((slot, begin), failures) = self.broker.sync_after(work)?;
        file.slot = Some(slot);
        let begin = begin?;
        if let Some(failure) = failures.into_iter().find(|failure| failure.slot == slot) {
            return Err(failure.error);
        }
        file.unsettled = false;
        file.bytes += bytes.len() as u64;
        file.end = Cursor {
            offset: begin.offset + lines,
            position: begin.position + bytes.len() as u64,
            generation: begin.generation,
        };
        Ok(())
    }

    /// Cuts off what a failed write may have left: nothing that was not written for certain is found at the next start.
    pub(crate) fn settle(&self) -> Result<(), StorageError> {
        let mut file = self.file.lock();
        if let Some(slot) = file.slot.filter(|_| file.unsettled) {
            let end = file.end;
            self.broker.with_shard(|shard| shard.reopen(slot, end))?;
            file.unsettled = false;
        }
        Ok(())
    }

    /// Whether the next start may find what was not written for certain.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.file.lock().unsettled
    }

    /// A transaction's lines are not needed any more.
    pub(crate) fn close(&self, begin: Offset) {
        self.open.lock().remove(&begin);
        // Who writes at the moment compacts next time.
        let Some(mut file) = self.file.try_lock() else { return };
        if file.bytes < COMPACT_AT || !self.open.lock().is_empty() {
            return;
        }
        if let Err(error) = self.compact(&mut file) {
            tracing::warn!(%error, "the log of transactions is not compacted");
            // Not at once again.
            file.bytes = 0;
        }
    }

    fn compact(&self, file: &mut LogFile) -> Result<(), StorageError> {
        let Some(slot) = file.slot.filter(|_| !file.unsettled) else { return Ok(()) };
        let plan = RewritePlan { drop_below: file.end.offset, drop: Vec::new() };
        let mut rewrite = self.broker.with_shard(|shard| shard.begin_rewrite(slot, plan))?;
        rewrite.run(&mut |_| {})?;
        let rewritten = self.broker.with_shard(|shard| shard.finish_rewrite(rewrite, &mut |_| {}))?;
        file.end = rewritten.end;
        file.bytes = 0;
        Ok(())
    }
}

fn parse(line: &[u8]) -> Result<(Offset, TransactionRecord), String> {
    let record = RecordLine::parse(line).map_err(|error| error.to_string())?;
    Ok((record.offset, record.deserialize().map_err(|error| error.to_string())?))
}
