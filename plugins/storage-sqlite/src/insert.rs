//! Lines become rows.

use memchr::memchr;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement};
use wafka_plugin_sdk::storage::Batch;
use wafka_plugin_sdk::storage::Offset;

use crate::log::{Log, ROWS_AT_ONCE, sql_offset};

/// Bytes stored as text as they are: SQLite does not look into them.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

/// Inserts the lines of a batch, each without its newline.
pub(crate) fn lines(conn: &Connection, log: &Log, batch: Batch<'_>) -> rusqlite::Result<()> {
    let (mut rest, mut offset, mut left) = (batch.bytes, batch.first_offset, batch.lines);
    if left >= ROWS_AT_ONCE as u64 {
        let mut statement = conn.prepare_cached(&log.sql.insert_many)?;
        while left >= ROWS_AT_ONCE as u64 {
            rest = bind(&mut statement, rest, offset, ROWS_AT_ONCE)?;
            statement.raw_execute()?;
            offset += ROWS_AT_ONCE as u64;
            left -= ROWS_AT_ONCE as u64;
        }
    }
    if left > 0 {
        let mut statement = conn.prepare_cached(&log.sql.insert)?;
        for offset in offset..offset + left {
            rest = bind(&mut statement, rest, offset, 1)?;
            statement.raw_execute()?;
        }
    }
    Ok(())
}

/// Binds the next lines; returns what stands behind them.
fn bind<'a>(
    statement: &mut Statement<'_>,
    mut rest: &'a [u8],
    offset: Offset,
    count: usize,
) -> rusqlite::Result<&'a [u8]> {
    for row in 0..count {
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        statement.raw_bind_parameter(2 * row + 1, sql_offset(offset + row as u64))?;
        statement.raw_bind_parameter(2 * row + 2, Text(&rest[..end]))?;
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    Ok(rest)
}
