//! The journal: commits of a few lines for each of many logs, one row each. What is in it is pending in memory, too; a
//! start reads it and writes the lines where they belong.

use std::collections::BTreeMap;

use redb::{ReadableTable, WriteTransaction};
use wafka_core::Offset;

use crate::commit::Part;
use crate::run::{self, Pending, Run, corrupted};
use crate::schema::{JOURNAL, LOGS, RUNS};

/// In front of each run of lines: number, first offset, byte position, count of lines, count of bytes; little-endian,
/// eight bytes each.
const HEADER_BYTES: usize = 5 * 8;

/// Writes a row with the lines of these parts.
pub(crate) fn append(transaction: &WriteTransaction, parts: &[Part]) -> Result<(), redb::Error> {
    let mut journal = transaction.open_table(JOURNAL)?;
    let last = journal.last()?.map(|(sequence, _)| sequence.value());
    let sequence = last.map_or(0, |last| last + 1);
    let len =
        parts.iter().flat_map(|part| &part.runs).map(|pending| HEADER_BYTES + pending.bytes.len()).sum();
    let mut value = journal.insert_reserve(sequence, len)?;
    let mut rest = value.as_mut();
    for part in parts {
        for pending in &part.runs {
            let run = pending.run();
            let header = [part.log.number, run.first, run.position, run.lines, run.bytes.len() as u64];
            for number in header {
                let (here, behind) = rest.split_at_mut(8);
                here.copy_from_slice(&number.to_le_bytes());
                rest = behind;
            }
            let (here, behind) = rest.split_at_mut(run.bytes.len());
            here.copy_from_slice(run.bytes);
            rest = behind;
        }
    }
    Ok(())
}

/// Empties the journal.
pub(crate) fn clear(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    Ok(transaction.open_table(JOURNAL)?.retain(|_, _| false)?)
}

/// One run of a row, with its log's number, and what follows it.
fn decode(row: &[u8]) -> Option<(u64, Run<'_>, &[u8])> {
    let (header, rest) = row.split_first_chunk::<HEADER_BYTES>()?;
    let mut numbers = header.chunks_exact(8).map(|bytes| bytes.try_into().map_or(0, u64::from_le_bytes));
    let mut next = || numbers.next();
    let (number, first, position, lines, len) = (next()?, next()?, next()?, next()?, next()?);
    let (bytes, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    let run = Run { first, lines, position, bytes };
    (lines > 0 && first.checked_add(lines).is_some() && run::count_lines(bytes) == lines)
        .then_some((number, run, rest))
}

/// Writes what the journal holds where it belongs, and empties it.
pub(crate) fn replay(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut found: BTreeMap<u64, Vec<Pending>> = BTreeMap::new();
    for entry in transaction.open_table(LOGS)?.iter()? {
        found.insert(entry?.1.value().0, Vec::new());
    }
    for entry in transaction.open_table(JOURNAL)?.iter()? {
        let (sequence, row) = entry?;
        let mut row = row.value();
        while !row.is_empty() {
            let bad = || {
                redb::Error::Corrupted(format!("table journal, row {}: no runs of lines", sequence.value()))
            };
            let (number, run, rest) = decode(row).ok_or_else(bad)?;
            // A log that is not there any more was deleted since.
            if let Some(pending) = found.get_mut(&number) {
                let Run { first, lines, position, bytes } = run;
                pending.push(Pending { first, lines, position, bytes: bytes.into() });
            }
            row = rest;
        }
    }
    let mut runs = transaction.open_table(RUNS)?;
    for (number, pending) in found.iter().filter(|(_, pending)| !pending.is_empty()) {
        let mut end = run::end_of(&runs, *number)?.0;
        let new = fresh(*number, pending, &mut end)?;
        run::insert_all(&mut runs, *number, new.into_iter())?;
    }
    clear(transaction)
}

/// The runs, or parts of runs, from offset `end` on: what lies below is where it belongs.
fn fresh<'a>(number: u64, pending: &'a [Pending], end: &mut Offset) -> Result<Vec<Run<'a>>, redb::Error> {
    let mut new = Vec::new();
    for run in pending.iter().map(Pending::run) {
        if run.end() <= *end {
            continue;
        }
        let gap = || corrupted(number, run.first, "the journal goes on behind the log's end");
        let known = *end;
        let at = run.start_of(known).ok_or_else(gap)?;
        let (lines, position) = (run.end() - known, run.position + at as u64);
        new.push(Run { first: known, lines, position, bytes: &run.bytes[at..] });
        *end = run.end();
    }
    Ok(new)
}
