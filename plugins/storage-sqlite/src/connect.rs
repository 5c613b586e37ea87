//! Opening connections, and the file system's side of a database file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use wafka_plugin_sdk::storage::StorageError;

use crate::error::{failed, io_error, refused};
use crate::options::Options;
use crate::schema::{self, Found};

/// Statements that the writing connection keeps prepared: one or two for each log that is appended to.
const WRITER_STATEMENTS: usize = 2048;
/// Statements that each reading connection keeps prepared: one for each log.
const READER_STATEMENTS: usize = 256;
/// A WAL that has become longer, in bytes, is cut to this when it begins anew.
const WAL_BYTES_KEPT: i64 = 64 << 20;

/// The file's write-ahead log.
pub(crate) fn wal_path(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    path.as_mut_os_string().push("-wal");
    path
}

/// Opens the connection that writes, with the file's tables made; and the WAL, to be synced. What both are is durable.
/// `wait` is how long it waits for others that have the file locked.
pub(crate) fn connect(
    path: &Path,
    options: &Options,
    wait: Duration,
    wal_pages: &Arc<AtomicU32>,
) -> Result<(Connection, File), StorageError> {
    let fault = |error: rusqlite::Error| failed(path.display(), "open", path, &error);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    create_private(path).map_err(|error| io_error(path.display(), "open", path, &error))?;
    let mut conn = Connection::open_with_flags(path, flags).map_err(fault)?;
    conn.busy_timeout(wait).map_err(fault)?;
    // Before anything is changed in it.
    let is_new = match schema::examine(&conn).map_err(fault)? {
        Found::Known => false,
        Found::Empty => true,
        Found::Foreign(reason) => {
            let reason = format!("{}: {reason}", path.display());
            return Err(refused(path.display(), "open", io::ErrorKind::InvalidData, &reason));
        }
    };
    prepare(&conn, options, is_new).map_err(fault)?;
    conn.busy_timeout(options.busy_timeout()).map_err(fault)?;
    let pages = Arc::clone(wal_pages);
    conn.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count| {
        pages.store(u32::try_from(count).unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }))
    .map_err(fault)?;
    let wal = wal_path(path);
    let opened = || {
        let wal = OpenOptions::new().read(true).write(true).open(&wal)?;
        wal.sync_data()?;
        // The database file itself must not be opened here: closing it would end SQLite's locks on it, which belong to
        // the process. SQLite synced what it wrote there.
        sync_parent(path)?;
        Ok(wal)
    };
    let wal = opened().map_err(|error| io_error(path.display(), "open", &wal, &error))?;
    Ok((conn, wal))
}

/// Makes a file that is missing readable by its owner and group alone, as the text files are; SQLite gives the files
/// beside it the same permissions. One that exists is not opened, for the reason given in [`connect`].
fn create_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o640).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn prepare(conn: &Connection, options: &Options, is_new: bool) -> rusqlite::Result<()> {
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        let reason =
            format!("the journal mode is '{mode}', expected 'wal': the file system cannot map shared memory");
        return Err(rusqlite::Error::SqliteFailure(code, Some(reason)));
    }
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    // Renaming a table looks at nothing else, such as views that somebody made.
    conn.pragma_update(None, "legacy_alter_table", true)?;
    settings(conn, options, WRITER_STATEMENTS)?;
    if let Some(pages) = options.pages_max {
        conn.pragma_update(None, "max_page_count", pages)?;
    }
    if is_new {
        schema::create_tables(conn)?;
    }
    // Reading opens the WAL, and makes it when there is none.
    conn.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))
}

fn settings(conn: &Connection, options: &Options, statements: usize) -> rusqlite::Result<()> {
    // Negative: KiB.
    conn.pragma_update(None, "cache_size", -i64::from(options.cache_kib))?;
    // What somebody put into the file is not run: no functions of views or triggers but harmless ones.
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.set_prepared_statement_cache_capacity(statements);
    Ok(())
}

/// Opens a connection that reads.
pub(crate) fn connect_reader(path: &Path, options: &Options) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(options.busy_timeout())?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    settings(&conn, options, READER_STATEMENTS)?;
    Ok(conn)
}

/// Makes the names in the file's directory durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Writes a file once more as it is, and syncs it.
pub(crate) fn write_again(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut buffer = vec![0; 1 << 20];
    let mut position = 0;
    loop {
        file.seek(SeekFrom::Start(position))?;
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return file.sync_data();
        }
        file.seek(SeekFrom::Start(position))?;
        file.write_all(&buffer[..count])?;
        position += count as u64;
    }
}
