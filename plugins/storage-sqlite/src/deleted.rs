//! Deleting logs. One transaction makes them gone, however long they are: the tables of long ones are noted in
//! `wafka_deleted`, and the shard whose file it is deletes their rows between its turns.

use std::sync::atomic::Ordering;
use std::time::Instant;

use rusqlite::{Connection, OptionalExtension, Result};
use wafka_plugin_sdk::storage::{Offset, StorageError};

use crate::database::Database;
use crate::log::{offset_of, quoted, sql_offset};
use crate::rewrite::SWEEP_FOR;
use crate::schema::{DELETED_BYTES, DELETED_ROWS, delete_some};

/// What a log counts at least among those that are deleted at once, in bytes.
const LOG_BYTES_MIN: u64 = 8 << 10;
/// A log with more lines is not deleted at once.
const ROWS_MAX: u64 = DELETED_ROWS as u64;

/// Deletes logs, each given by its number and its table. Short ones go at once, as far as a transaction allows for it.
pub(crate) fn delete_logs<'a>(
    conn: &Connection,
    logs: impl IntoIterator<Item = (i64, &'a str)>,
) -> Result<()> {
    let mut bytes_left = DELETED_BYTES;
    for (id, table) in logs {
        if conn.prepare_cached("DELETE FROM wafka_logs WHERE id = ?")?.execute([id])? == 0 {
            // It is gone where only the sync failed, the last time.
            continue;
        }
        conn.prepare_cached("DELETE FROM wafka_dropped WHERE log = ?")?.execute([id])?;
        if !conn.table_exists(None::<&str>, table)? {
            // Somebody else dropped it.
            continue;
        }
        if bytes_left < LOG_BYTES_MIN {
            note(conn, id, table)?;
            continue;
        }
        bytes_left -= LOG_BYTES_MIN;
        let table_quoted = quoted(table);
        let measure = format!(
            "SELECT count(*), coalesce(sum(octet_length(line)), 0) FROM (SELECT line FROM {table_quoted} LIMIT ?)"
        );
        let (rows, bytes) = conn.query_row(&measure, [sql_offset(ROWS_MAX + 1)], |row| {
            Ok((offset_of(row.get(0)?), offset_of(row.get(1)?)))
        })?;
        if rows > ROWS_MAX || bytes > bytes_left {
            note(conn, id, table)?;
        } else {
            bytes_left -= bytes;
            conn.execute_batch(&format!("DROP TABLE {table_quoted}"))?;
        }
    }
    Ok(())
}

fn note(conn: &Connection, id: i64, table: &str) -> Result<()> {
    conn.prepare_cached("INSERT INTO wafka_deleted (id, table_name) VALUES (?, ?)")?.execute((id, table))?;
    Ok(())
}

/// Frees the name of a table that a deleted log still has.
pub(crate) fn move_away(conn: &Connection, table: &str) -> Result<()> {
    let found: Option<(i64, String)> = conn
        .prepare_cached("SELECT id, table_name FROM wafka_deleted WHERE table_name = ?")?
        .query_row([table], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, table)) = found else { return Ok(()) };
    // No log's table is called so: its name has no such character, or `sqlite_` behind it.
    let away = format!("~deleted~{id}");
    if conn.table_exists(None::<&str>, &table)? {
        conn.execute_batch(&format!("ALTER TABLE {} RENAME TO {}", quoted(&table), quoted(&away)))?;
    }
    conn.execute("UPDATE wafka_deleted SET table_name = ? WHERE id = ?", (away, id))?;
    Ok(())
}

/// Deletes some rows of a deleted log, or its table when few are left; whether there was any.
fn delete_next(conn: &Connection) -> Result<bool> {
    let next: Option<(i64, String)> = conn
        .prepare_cached("SELECT id, table_name FROM wafka_deleted ORDER BY id LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, table)) = next else { return Ok(false) };
    let quoted = quoted(&table);
    if conn.table_exists(None::<&str>, &table)? && delete_some(conn, &quoted, Offset::MAX, false)? {
        return Ok(true);
    }
    conn.execute_batch(&format!("DROP TABLE IF EXISTS {quoted}"))?;
    conn.execute("DELETE FROM wafka_deleted WHERE id = ?", [id])?;
    Ok(true)
}

/// Deletes rows of deleted logs for a short time, if there are any; whether none is left.
pub(crate) fn sweep(database: &Database) -> std::result::Result<bool, StorageError> {
    if !database.has_deleted.swap(false, Ordering::AcqRel) {
        return Ok(true);
    }
    let until = Instant::now() + SWEEP_FOR;
    loop {
        let swept = database.change(database.path.display(), "delete", delete_next);
        if matches!(swept, Ok((false, _))) {
            return Ok(true);
        }
        if swept.is_err() || Instant::now() >= until {
            database.has_deleted.store(true, Ordering::Release);
            return swept.map(|_| false);
        }
    }
}
