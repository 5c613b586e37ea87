//! The tables, and what their rows mean.

use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};
use wafka_core::Offset;
use wafka_core::storage::LogName;

/// The version of these tables.
pub(crate) const FORMAT: u64 = 1;
/// Where [`META`] keeps it.
const FORMAT_KEY: &str = "format";
/// Where [`META`] keeps the number of the next log. None is given out twice, so that what is left of a deleted log is
/// never taken for a new one's.
const NEXT_LOG_KEY: &str = "next_log";

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Database and stem -> number, floor, bytes given back.
pub(crate) const LOGS: TableDefinition<'_, (u16, &str), (u64, u64, u64)> = TableDefinition::new("logs");
/// Number and first offset -> a run, see [`crate::run`].
pub(crate) const RUNS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("runs");
/// Sequence -> the lines of one commit, see [`crate::journal`].
pub(crate) const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");
/// Number -> the offset below which its runs are to be removed.
pub(crate) const TRIMS: TableDefinition<'_, u64, u64> = TableDefinition::new("trims");

/// A log's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// What its runs go by.
    pub number: u64,
    /// Lines below this offset are gone, whether their runs are still there or not.
    pub floor: Offset,
    /// Bytes of all lines ever removed from it.
    pub freed: u64,
}

impl From<(u64, u64, u64)> for Row {
    fn from((number, floor, freed): (u64, u64, u64)) -> Self {
        Row { number, floor, freed }
    }
}

impl Row {
    pub(crate) fn stored(self) -> (u64, u64, u64) {
        (self.number, self.floor, self.freed)
    }
}

pub(crate) fn key_of(log: &LogName) -> (u16, &str) {
    (log.database().0, log.stem())
}

/// Why a database cannot be used.
pub(crate) enum Unusable {
    /// It was written by something else.
    Format(u64),
    Redb(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Unusable {
    fn from(error: E) -> Self {
        Unusable::Redb(error.into())
    }
}

/// Makes the tables of a new database, and refuses one of another format.
pub(crate) fn prepare(database: &Database) -> Result<(), Unusable> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        let found = meta.get(FORMAT_KEY)?.map(|format| format.value());
        match found {
            // Dropped, the transaction leaves no trace.
            Some(FORMAT) => return Ok(()),
            Some(other) => return Err(Unusable::Format(other)),
            None => {
                meta.insert(FORMAT_KEY, FORMAT)?;
                meta.insert(NEXT_LOG_KEY, 1)?;
            }
        }
        transaction.open_table(LOGS)?;
        transaction.open_table(RUNS)?;
        transaction.open_table(TRIMS)?;
        transaction.open_table(JOURNAL)?;
    }
    Ok(transaction.commit()?)
}

/// The row of a log, made when it is missing.
pub(crate) fn row_or_new(transaction: &WriteTransaction, log: &LogName) -> Result<Row, redb::Error> {
    let mut logs = transaction.open_table(LOGS)?;
    let found = logs.get(key_of(log))?.map(|row| row.value().into());
    if let Some(row) = found {
        return Ok(row);
    }
    let mut meta = transaction.open_table(META)?;
    let next = meta.get(NEXT_LOG_KEY)?.map(|number| number.value());
    let number =
        next.ok_or_else(|| redb::Error::Corrupted("the number of the next log is missing".into()))?;
    meta.insert(NEXT_LOG_KEY, number + 1)?;
    let row = Row { number, floor: 0, freed: 0 };
    logs.insert(key_of(log), row.stored())?;
    Ok(row)
}
