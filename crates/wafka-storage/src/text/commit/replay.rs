//! Writing what records hold into the log files: after a loss of power, and for a log whose own sync failed.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use wafka_core::Database;
use wafka_core::storage::LogName;

use super::record::Entry;
use super::ring::Ring;
use super::sync::SYNC_THREADS;
use crate::fs::{File, OpenMode, read_full_at, write_all_at};
use crate::text::{Home, LOG_ENDING, database_number, is_stem};

/// Replays every journal in the data directory and empties it. No log may be open.
///
/// A record only matters as long as its log's file is the one it was written for, so bytes that differ are bytes that
/// were lost; what is there already is left alone. Doing it again changes nothing.
///
/// # Errors
/// When a journal, or a log that a record names, cannot be read, written or synced: lines that were acknowledged would be
/// missing.
pub(in crate::text) fn replay_all(home: &Home) -> io::Result<()> {
    for entry in home.fs.read_dir(&home.dir)? {
        let broker =
            entry.name.to_str().and_then(|name| name.strip_prefix("wafka.commit-")?.strip_suffix(".log"));
        if broker.is_some_and(|broker| broker.parse::<u16>().is_ok()) && !entry.is_dir {
            let path = home.dir.join(&entry.name);
            replay(home, &path).map_err(|error| {
                io::Error::new(error.kind(), format!("replaying {}: {error}", path.display()))
            })?;
        }
    }
    Ok(())
}

fn replay(home: &Home, path: &Path) -> io::Result<()> {
    let Some(mut ring) = Ring::open(&*home.fs, path)? else {
        // It was never finished, so nothing was ever written to it.
        home.fs.remove(path)?;
        return home.fs.sync_dir(&home.dir);
    };
    let mut files = HashMap::new();
    let mut restored: u64 = 0;
    let next = ring.records(&mut |record, data| {
        for (entry, bytes) in parts(&record.entries, data) {
            let file = match files.get(&entry.log) {
                Some(file) => file,
                None => {
                    let file = open(home, &entry.log)?;
                    files.entry(entry.log.clone()).or_insert(file)
                }
            };
            if let Some(file) = file
                && !holds(&**file, bytes, entry.position)?
            {
                write_all_at(&**file, bytes, entry.position)?;
                restored += entry.bytes;
            }
        }
        Ok(())
    })?;
    if restored > 0 {
        tracing::warn!(journal = %path.display(), bytes = restored, "restored lines from the commit journal");
    }
    // Even what was found in place may be in the page cache alone.
    let files: Vec<Arc<dyn File>> = files.into_values().flatten().collect();
    sync_files(&files)?;
    ring.begin_run(next)
}

/// Writes what the records hold of one log below `end` into its file.
pub(super) fn restore(ring: &Ring, log: &str, file: &dyn File, end: u64) -> io::Result<()> {
    let written = ring.head().commit;
    ring.records(&mut |record, data| {
        let mine =
            parts(&record.entries, data).filter(|(entry, _)| entry.log == log && record.commit < written);
        for (entry, bytes) in mine {
            let len = bytes.len().min(end.saturating_sub(entry.position) as usize);
            write_all_at(file, &bytes[..len], entry.position)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// The entries of a record with their bytes.
fn parts<'a>(entries: &'a [Entry], data: &'a [u8]) -> impl Iterator<Item = (&'a Entry, &'a [u8])> {
    entries.iter().scan(data, |rest, entry| {
        let (bytes, behind) = rest.split_at_checked(entry.bytes as usize)?;
        *rest = behind;
        Some((entry, bytes))
    })
}

/// Opens the log that an entry names; `None` when it is gone.
fn open(home: &Home, displayed: &str) -> io::Result<Option<Arc<dyn File>>> {
    let log = parse(displayed).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("'{displayed}' is no log's name"))
    })?;
    match home.fs.open(&home.path_of(&log), OpenMode::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::warn!(%log, "the commit journal holds lines of a log whose file is gone");
            Ok(None)
        }
        opened => opened.map(Some),
    }
}

fn parse(displayed: &str) -> Option<LogName> {
    let (database, name) = match displayed.split_once('/') {
        None => (0, displayed),
        Some((directory, name)) => (database_number(directory)?, name),
    };
    let stem = name.strip_suffix(LOG_ENDING).filter(|stem| is_stem(stem))?;
    Some(LogName::new(Database(database), stem).with_ending(LOG_ENDING))
}

fn holds(file: &dyn File, bytes: &[u8], position: u64) -> io::Result<bool> {
    let mut found = vec![0; bytes.len()];
    Ok(read_full_at(file, &mut found, position)? == bytes.len() && found == bytes)
}

fn sync_files(files: &[Arc<dyn File>]) -> io::Result<()> {
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for share in files.chunks(files.len().div_ceil(SYNC_THREADS).max(1)) {
            scope.spawn(|| {
                if let Err(error) = share.iter().try_for_each(|file| file.sync_data()) {
                    *failure.lock() = Some(error);
                }
            });
        }
    });
    failure.into_inner().map_or(Ok(()), Err)
}
