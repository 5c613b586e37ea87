//! Reading a log while it is written.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::types::ValueRef;
use wafka_plugin_sdk::storage::Offset;
use wafka_plugin_sdk::storage::{Chunk, Cursor, LogReader, StorageError};

use crate::error::failed;
use crate::log::{Log, View, offset_of, sql_offset};

/// Reads a log by offset; positions mean nothing here.
pub(crate) struct Reader(pub Arc<Log>);

impl LogReader for Reader {
    fn read(&self, from: Cursor, bytes_max: usize, into: &mut Vec<u8>) -> Result<Chunk, StorageError> {
        let base = into.len();
        let mut chunk = self.0.read_committed(from.offset, bytes_max, into)?;
        if into.len() == base && self.0.uncommitted.load(Ordering::Acquire) {
            // What is asked for is in the open transaction. If that cannot be committed, it is gone, and its log says so.
            let _committed = self.0.database.commit();
            chunk = self.0.read_committed(from.offset, bytes_max, into)?;
        }
        Ok(chunk)
    }

    fn generation(&self) -> u32 {
        self.0.view.read().generation
    }

    fn size_bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Acquire)
    }
}

impl Log {
    /// Appends whole lines to `into`, as [`LogReader::read`] does, of those that are committed.
    fn read_committed(
        &self,
        from: Offset,
        bytes_max: usize,
        into: &mut Vec<u8>,
    ) -> Result<Chunk, StorageError> {
        // Taken before the rows are looked at: what it hides is deleted before it is forgotten.
        let view = self.view();
        let base = into.len();
        let mut found: Option<(Offset, Offset)> = None;
        let mut take = |offset: Offset, line: &[u8]| {
            if found.is_some() && into.len() - base + line.len() >= bytes_max {
                return false;
            }
            into.extend_from_slice(line);
            into.push(b'\n');
            found = Some((found.map_or(offset, |(first, _)| first), offset));
            into.len() - base < bytes_max
        };
        if let Err(error) = self.each_row(&view, from, &mut take) {
            into.truncate(base);
            return Err(error);
        }
        let at = |offset| Cursor { offset, position: 0, generation: view.generation };
        let (start, next) = found.map_or((from, from), |(first, last)| (first, last + 1));
        Ok(Chunk { start: at(start), next: at(next) })
    }

    fn check_not_deleted(&self) -> Result<(), StorageError> {
        match self.deleted.load(Ordering::Acquire) {
            true => Err(StorageError::NotFound(self.name.clone())),
            false => Ok(()),
        }
    }

    /// Hands out the lines from `from` on, without their newlines, as long as `take` says so.
    pub fn each_row(
        &self,
        view: &View,
        from: Offset,
        take: &mut dyn FnMut(Offset, &[u8]) -> bool,
    ) -> Result<(), StorageError> {
        self.check_not_deleted()?;
        let from = from.max(view.hidden.floor);
        if i64::try_from(from).is_err() {
            return Ok(());
        }
        let read = self.database.read(|conn| {
            let mut statement = conn.prepare_cached(&self.sql.select)?;
            let mut rows = statement.query([sql_offset(from)])?;
            while let Some(row) = rows.next()? {
                let offset = offset_of(row.get(0)?);
                let line = match row.get_ref(1)? {
                    ValueRef::Text(line) | ValueRef::Blob(line) => line,
                    other => return Err(not_a_line(offset, other)),
                };
                if !view.hidden.contains(offset) && !take(offset, line) {
                    break;
                }
            }
            Ok(())
        });
        // A new log may have got the table's name, and what was read is that one's.
        self.check_not_deleted()?;
        read.map_err(|error| failed(&self.name, "read", &self.database.path, &error))
    }
}

/// Somebody else wrote it: no line that Wafka stores is a number or nothing.
fn not_a_line(offset: Offset, found: ValueRef<'_>) -> rusqlite::Error {
    let reason = format!("offset {offset} holds {}, expected text", found.data_type());
    let source = io::Error::new(io::ErrorKind::InvalidData, reason);
    rusqlite::Error::FromSqlConversionFailure(1, found.data_type(), Box::new(source))
}
