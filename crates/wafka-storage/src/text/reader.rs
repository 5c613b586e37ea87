//! Reading a log while it is written: positioned reads only, nothing is shared with the writer but the end.

use std::io;
use std::sync::Arc;

use memchr::{memchr, memrchr};
use wafka_core::Offset;
use wafka_core::storage::{Chunk, Cursor, LogReader, StorageError};

use super::generation::Generation;
use super::log::SharedLog;
use super::{bisect, log_error};
use crate::fs::read_full_at;
use crate::line;

/// The least that is read at once: most single lines fit.
const READ_BYTES_MIN: usize = 512;

/// Reads a log.
pub(super) struct TextReader {
    pub log: Arc<SharedLog>,
}

impl LogReader for TextReader {
    fn read(&self, from: Cursor, bytes_max: usize, into: &mut Vec<u8>) -> Result<Chunk, StorageError> {
        let generation = self.log.current();
        let base = into.len();
        let read = self.read_at(&generation, from, bytes_max, into);
        if read.is_err() {
            into.truncate(base);
        }
        read
    }

    fn read_ready(
        &self,
        from: Cursor,
        bytes_max: usize,
        into: &mut Vec<u8>,
    ) -> Result<Option<Chunk>, StorageError> {
        let generation = self.log.current();
        // What was put off is written by a thread that may wait.
        let end = generation.written();
        if from.generation != generation.number || from.position >= end {
            return Ok(None);
        }
        let base = into.len();
        let there = usize::try_from(end - from.position).unwrap_or(usize::MAX);
        into.resize(base + bytes_max.max(READ_BYTES_MIN).min(there), 0);
        let read = generation.file.read_at_ready(&mut into[base..], from.position);
        let read = read.map_err(|source| log_error(&self.log.name, "read", source));
        let whole = match read {
            Ok(read) => read.and_then(|read| memrchr(b'\n', &into[base..base + read])),
            Err(error) => {
                into.truncate(base);
                return Err(error);
            }
        };
        let Some(newline) = whole else {
            into.truncate(base);
            return Ok(None);
        };
        into.truncate(base + newline + 1);
        let lines = &into[base..];
        let cursor = |offset, position| Cursor { offset, position, generation: generation.number };
        let behind = offset_behind(lines).unwrap_or(from.offset);
        Ok(Some(Chunk {
            start: cursor(from.offset, from.position),
            next: cursor(behind, from.position + lines.len() as u64),
        }))
    }

    fn generation(&self) -> u32 {
        self.log.current().number
    }

    fn size_bytes(&self) -> u64 {
        self.log.current().end()
    }
}

impl TextReader {
    fn read_at(
        &self,
        generation: &Generation,
        from: Cursor,
        bytes_max: usize,
        into: &mut Vec<u8>,
    ) -> Result<Chunk, StorageError> {
        let base = into.len();
        let failed = |source| log_error(&self.log.name, "read", source);
        let end = generation.write_out().map_err(failed)?;
        let line_bytes_max = self.log.line_bytes_max;
        let mut position = from.position;
        if from.generation != generation.number || position > end {
            position =
                bisect::position_of(&*generation.file, end, from.offset, line_bytes_max).map_err(failed)?;
        }
        self.fill(generation, position, end, bytes_max, into).map_err(failed)?;
        let mut first = first_offset(&into[base..], from.offset);
        if first.is_some_and(|first| first < from.offset) {
            // The position is that of an earlier line.
            into.truncate(base);
            position = bisect::go_through(&*generation.file, position, end, from.offset, line_bytes_max)
                .map_err(failed)?;
            self.fill(generation, position, end, bytes_max, into).map_err(failed)?;
            first = first_offset(&into[base..], from.offset);
        }
        let cursor = |offset, position| Cursor { offset, position, generation: generation.number };
        let start = cursor(first.map_or(from.offset, |first| first.max(from.offset)), position);
        let lines = &into[base..];
        if lines.is_empty() {
            return Ok(Chunk { start, next: start });
        }
        let next = cursor(offset_behind(lines).unwrap_or(start.offset), position + lines.len() as u64);
        Ok(Chunk { start, next })
    }

    /// Appends whole lines from `position` on: at most `bytes_max`, or one longer line.
    fn fill(
        &self,
        generation: &Generation,
        position: u64,
        end: u64,
        bytes_max: usize,
        into: &mut Vec<u8>,
    ) -> io::Result<()> {
        let base = into.len();
        let there = usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX);
        let mut wanted = bytes_max.max(READ_BYTES_MIN).min(there);
        loop {
            let held = into.len() - base;
            into.resize(base + wanted, 0);
            let read = read_full_at(&*generation.file, &mut into[base + held..], position + held as u64)?;
            let got = held + read;
            into.truncate(base + got);
            let lines = &into[base..];
            let within = memrchr(b'\n', &lines[..bytes_max.min(got)]);
            if let Some(newline) = within.or_else(|| memchr(b'\n', lines)) {
                into.truncate(base + newline + 1);
                return Ok(());
            }
            if got < wanted || wanted == there {
                // A reopening cut the file meanwhile: there is no whole line any more.
                into.truncate(base);
                return Ok(());
            }
            if got as u64 > self.log.line_bytes_max {
                let reason = format!("no newline within {got} bytes from byte {position} on");
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            wanted = wanted.saturating_mul(2).min(there);
        }
    }
}

/// The offset of the first line, when it can be relied on: when it is the one looked for, or its checksum holds.
fn first_offset(lines: &[u8], wanted: Offset) -> Option<Offset> {
    let first = &lines[..=memchr(b'\n', lines)?];
    line::offset_of(first).filter(|offset| *offset == wanted || line::verify(first).is_ok())
}

/// The offset behind the last whole line.
fn offset_behind(lines: &[u8]) -> Option<Offset> {
    let mut rest = lines;
    while let [before @ .., _newline] = rest {
        let start = memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        let (above, last) = rest.split_at(start);
        if let Some(offset) = line::verify(last).ok().and_then(line::offset_of) {
            return Some(offset.saturating_add(1));
        }
        rest = above;
    }
    None
}
