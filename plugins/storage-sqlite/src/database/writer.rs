//! The connection that writes: its transactions, and how it is opened anew after a failure.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rusqlite::Connection;
use wafka_plugin_sdk::storage::StorageError;

use super::{Database, REST_MAX, SyncState, Writer};
use crate::connect::{connect, sync_parent, wal_path, write_again};
use crate::error::{explained, failed, io_error, refused};

impl Database {
    /// Opens the file anew if it has to be.
    pub(super) fn mend(&self, writer: &mut Writer) -> Result<(), StorageError> {
        if !self.sync_failed.load(Ordering::Acquire) && writer.conn.is_some() {
            return Ok(());
        }
        if let Some((until, reason)) = &writer.broken_until
            && Instant::now() < *until
        {
            return Err(refused(self.path.display(), "reopen", io::ErrorKind::Other, reason));
        }
        let mended = self.reconnect(writer);
        let failure = mended.as_ref().err().map(ToString::to_string);
        writer.broken_until = failure.map(|reason| (Instant::now() + REST_MAX, reason));
        mended
    }

    /// Begins a transaction that writes.
    pub(super) fn begin(&self, writer: &mut Writer) -> rusqlite::Result<()> {
        if writer.locked_until.is_some_and(|until| Instant::now() < until) {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
            return Err(rusqlite::Error::SqliteFailure(code, Some("database is locked".to_owned())));
        }
        let begun = self
            .connection(writer)
            .and_then(|conn| conn.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(|_| ()));
        let is_locked = begun
            .as_ref()
            .is_err_and(|error| error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy));
        let rest = REST_MAX.min(self.options.busy_timeout() * 20);
        writer.locked_until = is_locked.then(|| Instant::now() + rest);
        begun
    }

    pub(super) fn connection<'a>(&self, writer: &'a Writer) -> rusqlite::Result<&'a Connection> {
        writer.conn.as_ref().ok_or_else(|| {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
            let reason = "the file could not be opened anew after a failure";
            rusqlite::Error::SqliteFailure(code, Some(reason.to_owned()))
        })
    }

    pub(super) fn commit_open(&self, writer: &mut Writer) -> rusqlite::Result<()> {
        if writer.pending.is_empty() {
            return Ok(());
        }
        let committed =
            self.connection(writer).and_then(|conn| conn.prepare_cached("COMMIT")?.execute([]).map(|_| ()));
        if let Err(error) = committed {
            let reason = format!("commit: {}", explained(&self.path, &error));
            self.abandon(writer, &reason);
            return Err(error);
        }
        for log in writer.pending.drain(..) {
            log.uncommitted.store(false, Ordering::Release);
        }
        self.commits.fetch_add(1, Ordering::AcqRel);
        let tidy_at = self.tidy_at.load(Ordering::Relaxed);
        if self.wal_pages.load(Ordering::Relaxed) >= tidy_at.saturating_mul(4) {
            // Nobody calls `tidy`.
            self.copy_wal(writer);
        }
        Ok(())
    }

    /// Takes the open transaction back and poisons the logs that lose lines.
    pub(super) fn abandon(&self, writer: &mut Writer, reason: &str) {
        if let Some(conn) = writer.conn.as_ref().filter(|conn| !conn.is_autocommit())
            && let Err(error) = conn.execute_batch("ROLLBACK")
        {
            log::warn!("{}: rollback: {error}", self.path.display());
        }
        for log in writer.pending.drain(..) {
            log.poison(reason);
            log.uncommitted.store(false, Ordering::Release);
        }
    }

    /// Opens the file anew after a sync of the WAL failed. What it holds can be read and may not be on the disk, and the
    /// pages count as written: so it is written once more, as it is, and synced; opening then verifies every page of it
    /// by its checksum and goes by what is whole.
    fn reconnect(&self, writer: &mut Writer) -> Result<(), StorageError> {
        self.abandon(writer, "the database is opened anew after a failure");
        let _alone = self.gate.write();
        self.readers.lock().clear();
        if let Some(conn) = writer.conn.take() {
            let keep = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            // Else closing would copy the WAL, and delete it, whatever state it is in.
            conn.set_db_config(keep, true)
                .map_err(|error| failed(self.path.display(), "reopen", &self.path, &error))?;
            drop(conn);
        }
        let wal = wal_path(&self.path);
        write_again(&wal).map_err(|error| io_error(self.path.display(), "reopen", &wal, &error))?;
        sync_parent(&self.path)
            .map_err(|error| io_error(self.path.display(), "reopen", &self.path, &error))?;
        let wait = self.options.busy_timeout();
        let (conn, wal) = connect(&self.path, &self.options, wait, &self.wal_pages)?;
        writer.conn = Some(conn);
        let mut sync = self.sync.lock();
        *sync = SyncState { wal, failed: None };
        self.synced.store(self.commits.load(Ordering::Acquire), Ordering::Release);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.sync_failed.store(false, Ordering::Release);
        log::info!("{}: opened anew after a failure", self.path.display());
        Ok(())
    }
}
