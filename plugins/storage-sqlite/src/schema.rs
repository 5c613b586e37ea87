//! The tables of a database file, and what is asked of them.
//!
//! | table | what |
//! |---|---|
//! | `"deliveries-1"`, `"db3/orders-2"`, … | a log: `"offset" INTEGER PRIMARY KEY, line TEXT NOT NULL`; a line is stored without its newline |
//! | `wafka_logs` | the logs there are, and the name of each one's table |
//! | `wafka_dropped` | single lines that a rewrite dropped and that are still to be deleted: their offsets, 8 bytes each, a thousand in a row |
//! | `wafka_deleted` | tables of deleted logs whose rows are still to be deleted |
//!
//! A log's table has the log's name, unless SQLite cannot have it: names there do not tell upper from lower case, and
//! those that begin with `sqlite_` are its own. Then a `~` and a number follow, or a `~` stands before it.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension};
use wafka_plugin_sdk::storage::Database as DatabaseNumber;
use wafka_plugin_sdk::storage::LogName;
use wafka_plugin_sdk::storage::Offset;

use crate::deleted;
use crate::log::{Hidden, Log, offset_of, quoted, sql_offset};

/// "Wfka", in the header of every file.
pub(crate) const APPLICATION_ID: i32 = 0x5766_6b61;
/// The version of these tables, in the header of every file.
pub(crate) const VERSION: i32 = 2;

/// At most so many rows, and about so many bytes, are deleted in one transaction.
pub(crate) const DELETED_ROWS: usize = 1000;
pub(crate) const DELETED_BYTES: u64 = 1 << 20;

const TABLES: &str = "
    CREATE TABLE wafka_logs (
        id INTEGER PRIMARY KEY,
        db INTEGER NOT NULL,
        stem TEXT NOT NULL,
        table_name TEXT NOT NULL UNIQUE,
        dropped_below INTEGER NOT NULL DEFAULT 0,
        counted_below INTEGER NOT NULL DEFAULT 0,
        bytes_counted INTEGER NOT NULL DEFAULT 0,
        UNIQUE (db, stem)
    );
    CREATE TABLE wafka_dropped (
        log INTEGER NOT NULL,
        part INTEGER NOT NULL,
        offsets BLOB NOT NULL,
        PRIMARY KEY (log, part)
    );
    CREATE TABLE wafka_deleted (id INTEGER PRIMARY KEY, table_name TEXT NOT NULL UNIQUE COLLATE NOCASE);";

/// No log grows to this offset: a row there is none of Wafka's.
pub(crate) const FARTHEST: Offset = 1 << 62;

type Result<T> = rusqlite::Result<T>;

/// What a file turned out to be.
pub(crate) enum Found {
    /// One of this version's.
    Known,
    /// An empty one.
    Empty,
    /// Something else; why it is none of ours.
    Foreign(String),
}

pub(crate) fn examine(conn: &Connection) -> Result<Found> {
    let number = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    Ok(match (application, version) {
        (APPLICATION_ID, VERSION) => Found::Known,
        (APPLICATION_ID, other) => Found::Foreign(format!(
            "its tables are of version {other}, expected {VERSION}: another version of Wafka made them"
        )),
        (0, 0) if tables == 0 => Found::Empty,
        _ => Found::Foreign("it is a SQLite database, and none that Wafka made: move it away".to_owned()),
    })
}

/// Makes the tables of a new file.
pub(crate) fn create_tables(conn: &Connection) -> Result<()> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    conn.execute_batch(TABLES)?;
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "user_version", VERSION)?;
    conn.execute_batch("COMMIT")
}

/// The logs that a file holds, each with its number and its table.
pub(crate) fn logs(conn: &Connection) -> Result<Vec<(LogName, i64, String)>> {
    let mut statement = conn.prepare("SELECT db, stem, id, table_name FROM wafka_logs")?;
    let rows = statement.query_map([], |row| {
        let (database, stem): (u16, String) = (row.get(0)?, row.get(1)?);
        Ok((LogName::new(DatabaseNumber(database), &stem), row.get(2)?, row.get(3)?))
    })?;
    rows.collect()
}

/// Above the number of every log there is, or was and is not forgotten.
pub(crate) fn next_id(conn: &Connection) -> Result<i64> {
    let highest = "SELECT coalesce(max(id), 0) + 1 FROM (SELECT id FROM wafka_logs UNION ALL SELECT id FROM wafka_deleted)";
    conn.query_row(highest, [], |row| row.get(0))
}

/// Makes the table of a log, which gets the number `id`; returns that and the table's name.
pub(crate) fn create_log(conn: &Connection, log: &LogName, id: i64) -> Result<(i64, String)> {
    let mut table = match log.database().0 {
        0 => log.stem().to_owned(),
        number => format!("db{number}/{}", log.stem()),
    };
    if table.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_")) {
        table.insert(0, '~');
    }
    deleted::move_away(conn, &table)?;
    let mut taken =
        conn.prepare_cached("SELECT 1 FROM sqlite_master WHERE name = ? COLLATE NOCASE LIMIT 1")?;
    if taken.exists([&table])? {
        table = format!("{table}~{id}");
    }
    let quoted = quoted(&table);
    conn.execute_batch(&format!(
        "CREATE TABLE {quoted} (\"offset\" INTEGER PRIMARY KEY, line TEXT NOT NULL)"
    ))?;
    let mut insert =
        conn.prepare_cached("INSERT INTO wafka_logs (id, db, stem, table_name) VALUES (?, ?, ?, ?)")?;
    insert.execute((id, log.database().0, log.stem(), &table))?;
    Ok((id, table))
}

/// The lines of a log that are dropped and may still be there.
pub(crate) fn hidden(conn: &Connection, id: i64) -> Result<Hidden> {
    let floor = conn
        .prepare_cached("SELECT dropped_below FROM wafka_logs WHERE id = ?")?
        .query_row([id], |row| row.get(0))?;
    let mut singles: Vec<Offset> = parts(conn, id)?.into_iter().flat_map(|(_, offsets)| offsets).collect();
    singles.sort_unstable();
    Ok(Hidden { floor: offset_of(floor), singles })
}

/// The single lines of a log that are dropped, as they are noted: in parts, each ascending.
fn parts(conn: &Connection, id: i64) -> Result<Vec<(i64, Vec<Offset>)>> {
    let mut statement =
        conn.prepare_cached("SELECT part, offsets FROM wafka_dropped WHERE log = ? ORDER BY part")?;
    let rows = statement.query_map([id], part)?;
    rows.collect()
}

fn part(row: &rusqlite::Row<'_>) -> Result<(i64, Vec<Offset>)> {
    let (offsets, rest) = row.get_ref(1)?.as_blob()?.as_chunks::<8>();
    if rest.is_empty() {
        return Ok((row.get(0)?, offsets.iter().map(|bytes| Offset::from_le_bytes(*bytes)).collect()));
    }
    let reason = "wafka_dropped.offsets: expected 8 bytes for each line";
    Err(rusqlite::Error::FromSqlConversionFailure(1, Type::Blob, reason.into()))
}

fn encoded(offsets: &[Offset]) -> Vec<u8> {
    offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect()
}

/// Deletes the rows of the first part of a log's dropped lines; returns which these were, ascending.
pub(crate) fn delete_part(conn: &Connection, log: &Log) -> Result<Option<Vec<Offset>>> {
    let first = conn
        .prepare_cached("SELECT part, offsets FROM wafka_dropped WHERE log = ? ORDER BY part LIMIT 1")?
        .query_row([log.id], part)
        .optional()?;
    let Some((part, offsets)) = first else { return Ok(None) };
    let mut row = conn.prepare_cached(&log.sql.delete_one)?;
    for offset in &offsets {
        row.execute([sql_offset(*offset)])?;
    }
    let mut noted = conn.prepare_cached("DELETE FROM wafka_dropped WHERE log = ? AND part = ?")?;
    noted.execute((log.id, part))?;
    Ok(Some(offsets))
}

/// Forgets that lines from `end` on are dropped.
fn cut_dropped(conn: &Connection, id: i64, end: Offset) -> Result<()> {
    for (part, mut offsets) in parts(conn, id)? {
        let all = offsets.len();
        offsets.retain(|offset| *offset < end);
        if offsets.is_empty() {
            conn.execute("DELETE FROM wafka_dropped WHERE log = ? AND part = ?", (id, part))?;
        } else if offsets.len() < all {
            let update = "UPDATE wafka_dropped SET offsets = ? WHERE log = ? AND part = ?";
            conn.execute(update, (encoded(&offsets), id, part))?;
        }
    }
    Ok(())
}

/// What is noted of a log: every line below an offset is counted, and how many bytes they have.
fn noted(conn: &Connection, id: i64) -> Result<(Offset, u64)> {
    conn.prepare_cached("SELECT counted_below, bytes_counted FROM wafka_logs WHERE id = ?")?
        .query_row([id], |row| Ok((offset_of(row.get(0)?), offset_of(row.get(1)?))))
}

/// The bytes of a log's lines: what was counted before and what came since, less the `singles` that are dropped; and
/// the former alone.
pub(crate) fn bytes(
    conn: &Connection,
    id: i64,
    quoted_table: &str,
    singles: &[Offset],
) -> Result<(u64, u64)> {
    let (below, counted) = noted(conn, id)?;
    let since = bytes_between(conn, quoted_table, below, Offset::MAX, singles)?;
    Ok((counted.saturating_add(since), counted))
}

/// Notes that the lines below `end` have so many bytes, so that the next opening need not count them.
pub(crate) fn note_bytes(conn: &Connection, id: i64, end: Offset, bytes: u64) -> Result<()> {
    conn.prepare_cached("UPDATE wafka_logs SET counted_below = ?, bytes_counted = ? WHERE id = ?")?
        .execute((sql_offset(end), sql_offset(bytes), id))?;
    Ok(())
}

/// Notes what a rewrite drops. Of single lines, ascending, there may be a hundred thousand: a row for each would take
/// the time of many appends.
pub(crate) fn note_dropped(conn: &Connection, id: i64, floor: Offset, singles: &[Offset]) -> Result<()> {
    conn.execute("UPDATE wafka_logs SET dropped_below = ? WHERE id = ?", (sql_offset(floor), id))?;
    let last = "SELECT coalesce(max(part), 0) FROM wafka_dropped WHERE log = ?";
    let last: i64 = conn.query_row(last, [id], |row| row.get(0))?;
    let mut insert =
        conn.prepare_cached("INSERT INTO wafka_dropped (log, part, offsets) VALUES (?, ?, ?)")?;
    for (part, offsets) in (last + 1..).zip(singles.chunks(DELETED_ROWS)) {
        insert.execute((id, part, encoded(offsets)))?;
    }
    Ok(())
}

/// Deletes the lines from `end` on, and what is noted of them. The bytes of the rest are returned.
pub(crate) fn cut(conn: &Connection, id: i64, quoted_table: &str, end: Offset) -> Result<u64> {
    let Hidden { floor, singles } = hidden(conn, id)?;
    let gone = bytes_between(conn, quoted_table, end.max(floor), Offset::MAX, &singles)?;
    let left = bytes(conn, id, quoted_table, &singles)?.0.saturating_sub(gone);
    conn.execute(&format!("DELETE FROM {quoted_table} WHERE \"offset\" >= ?"), [sql_offset(end)])?;
    cut_dropped(conn, id, end)?;
    conn.execute(
        "UPDATE wafka_logs SET dropped_below = min(dropped_below, ?) WHERE id = ?",
        (sql_offset(end), id),
    )?;
    note_bytes(conn, id, end, left)?;
    Ok(left)
}

/// Deletes the first lines below an offset, some at a time so that nobody waits for long; whether there were any. Without
/// `last_too` the last ones, which are less than are deleted at once, stay.
pub(crate) fn delete_some(
    conn: &Connection,
    quoted_table: &str,
    below: Offset,
    last_too: bool,
) -> Result<bool> {
    let lengths = format!(
        "SELECT \"offset\", octet_length(line) FROM {quoted_table} WHERE \"offset\" < ? ORDER BY \"offset\""
    );
    let mut statement = conn.prepare_cached(&lengths)?;
    let mut rows = statement.query([sql_offset(below)])?;
    let (mut last, mut bytes, mut count) = (None, 0, 0);
    while bytes < DELETED_BYTES
        && count < DELETED_ROWS
        && let Some(row) = rows.next()?
    {
        last = Some(row.get::<_, i64>(0)?);
        bytes += offset_of(row.get(1)?);
        count += 1;
    }
    let enough = last_too || bytes >= DELETED_BYTES || count >= DELETED_ROWS;
    let Some(last) = last.filter(|_| enough) else { return Ok(false) };
    let delete = format!("DELETE FROM {quoted_table} WHERE \"offset\" <= ?");
    conn.prepare_cached(&delete)?.execute([last])?;
    Ok(true)
}

/// Where the next line goes: behind the last one there is, and never before what was counted.
pub(crate) fn end(conn: &Connection, id: i64, quoted_table: &str) -> Result<Offset> {
    let counted = noted(conn, id)?.0;
    Ok(last_below(conn, quoted_table, Offset::MAX)?.map_or(counted, |last| counted.max(last + 1)))
}

/// The offset of the last line below `limit`.
pub(crate) fn last_below(conn: &Connection, quoted_table: &str, limit: Offset) -> Result<Option<Offset>> {
    let sql = format!("SELECT max(\"offset\") FROM {quoted_table} WHERE \"offset\" < ?");
    let last: Option<i64> = conn.query_row(&sql, [sql_offset(limit)], |row| row.get(0))?;
    Ok(last.map(offset_of))
}

/// The offset of the first line at or above `from`.
pub(crate) fn first_from(conn: &Connection, quoted_table: &str, from: Offset) -> Result<Option<Offset>> {
    let sql = format!("SELECT min(\"offset\") FROM {quoted_table} WHERE \"offset\" >= ?");
    let found: Option<i64> = conn.query_row(&sql, [sql_offset(from)], |row| row.get(0))?;
    Ok(found.map(offset_of))
}

/// Deletes rows behind everything that Wafka wrote; how many there were.
pub(crate) fn delete_far(conn: &Connection, quoted_table: &str) -> Result<usize> {
    conn.execute(&format!("DELETE FROM {quoted_table} WHERE \"offset\" >= ?"), [sql_offset(FARTHEST)])
}

/// The bytes of the lines from `from` to below `to`, without those of `singles`, ascending.
pub(crate) fn bytes_between(
    conn: &Connection,
    quoted_table: &str,
    from: Offset,
    to: Offset,
    singles: &[Offset],
) -> Result<u64> {
    let all = format!(
        "SELECT coalesce(sum(octet_length(line) + 1), 0) FROM {quoted_table} WHERE \"offset\" >= ? AND \"offset\" < ?"
    );
    let all: u64 =
        conn.query_row(&all, (sql_offset(from), sql_offset(to)), |row| row.get(0).map(offset_of))?;
    let below = |limit| singles.partition_point(|offset| *offset < limit);
    let mut dropped = 0;
    let mut one = conn
        .prepare_cached(&format!("SELECT octet_length(line) + 1 FROM {quoted_table} WHERE \"offset\" = ?"))?;
    for offset in singles.get(below(from)..below(to)).unwrap_or_default() {
        let length = one.query_row([sql_offset(*offset)], |row| row.get(0).map(offset_of)).optional()?;
        dropped += length.unwrap_or(0);
    }
    Ok(all.saturating_sub(dropped))
}
