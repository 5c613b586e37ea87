//! Entries as Redis shows them, `[id, [field, value, …]]`, written straight into the reply.

use std::ops::ControlFlow;

use wafka_broker::{EntryFields, EntrySink, ReadError, ReadRange};
use wafka_core::EventId;
use wafka_protocol::{ReplyWriter, RespVersion};

use super::target::Target;
use crate::command::CommandError;
use crate::session::Session;

/// A read of at most so many events is done in place when the page cache holds them: handing it to another thread would
/// cost more. A longer one would hold up the other connections of the thread.
const READY_COUNT_MAX: u64 = 2048;

/// The header of an array or map whose length is known only once its elements are written.
pub(crate) struct OpenHeader {
    at: usize,
    len: usize,
    marker: u8,
}

impl OpenHeader {
    /// Begins an array. Its elements are moved once, at [`OpenHeader::close`], unless their number comes to have as
    /// many digits as `expected`.
    pub(crate) fn array(out: &mut Vec<u8>, expected: u64) -> Self {
        Self::open(out, b'*', expected)
    }

    /// Begins a map in RESP3, by the number of its pairs.
    pub(crate) fn map(out: &mut Vec<u8>, expected: u64) -> Self {
        Self::open(out, b'%', expected)
    }

    fn open(out: &mut Vec<u8>, marker: u8, expected: u64) -> Self {
        let at = out.len();
        out.push(marker);
        out.extend_from_slice(itoa::Buffer::new().format(expected).as_bytes());
        out.extend_from_slice(b"\r\n");
        OpenHeader { at, len: out.len() - at, marker }
    }

    /// Writes how many elements there are.
    pub(crate) fn close(self, out: &mut Vec<u8>, elements: u64) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(elements).as_bytes();
        if digits.len() + 3 == self.len {
            out[self.at + 1..][..digits.len()].copy_from_slice(digits);
        } else {
            let header = [self.marker].into_iter().chain(digits.iter().copied()).chain(*b"\r\n");
            out.splice(self.at..self.at + self.len, header);
        }
    }
}

/// Takes the events of a read and writes them as entries.
pub(crate) struct EntryReply<'a> {
    out: &'a mut Vec<u8>,
    /// The length that `out` must not exceed.
    len_max: usize,
    entries: u64,
}

impl<'a> EntryReply<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, len_max: usize) -> Self {
        EntryReply { out, len_max, entries: 0 }
    }

    /// How many entries were written; `None` when they exceed what `out` may hold.
    pub(crate) fn entries(&self) -> Option<u64> {
        (self.out.len() <= self.len_max).then_some(self.entries)
    }
}

impl EntrySink for EntryReply<'_> {
    fn entry(&mut self, id: EventId, fields: &EntryFields<'_>) -> ControlFlow<()> {
        // Arrays and bulk strings are the same in both versions of the protocol.
        let mut writer = ReplyWriter::new(self.out, RespVersion::V2);
        writer.array(2);
        writer.bulk_id(id);
        let parts = fields.parts();
        writer.array(parts.len());
        for part in parts {
            writer.bulk(part);
        }
        self.entries += 1;
        if self.out.len() > self.len_max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Appends the entries of a range, as an array, to what `session` replies; how many there were.
///
/// # Errors
/// When the range cannot be read, or the reply would become too large.
pub(crate) async fn append_entries(
    session: &mut Session,
    target: &Target,
    range: ReadRange,
) -> Result<u64, CommandError> {
    append(session, target, range, true).await
}

/// [`append_entries`] without the array around the entries.
pub(crate) async fn append_each(
    session: &mut Session,
    target: &Target,
    range: ReadRange,
) -> Result<u64, CommandError> {
    append(session, target, range, false).await
}

async fn append(
    session: &mut Session,
    target: &Target,
    range: ReadRange,
    framed: bool,
) -> Result<u64, CommandError> {
    let limit = session.reply_limit();
    let len_max = (session.out_len() - session.reply_len()).saturating_add(limit);
    if target.topic.in_memory(&range) {
        return write_entries(session.out(), target, &range, framed, len_max, limit, Wait::May);
    }
    if range.count.is_some_and(|count| count <= READY_COUNT_MAX) {
        let at = session.out().len();
        match write_entries(session.out(), target, &range, framed, len_max, limit, Wait::MustNot) {
            Err(CommandError::Read(ReadError::WouldWait)) => session.out().truncate(at),
            result => return result,
        }
    }
    // The buffer goes along to the other thread, so that the entries are written where they will be sent from.
    let mut out = std::mem::take(session.out());
    let target = target.clone();
    let work = session.blocking(move |_| {
        let result = write_entries(&mut out, &target, &range, framed, len_max, limit, Wait::May);
        (out, result)
    });
    match work.await {
        Ok((out, result)) => {
            *session.out() = out;
            result
        }
        Err(error) => {
            // The replies to earlier commands went with the buffer: nothing may follow them.
            session.close();
            Err(error)
        }
    }
}

/// Whether a read may wait for a disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    May,
    MustNot,
}

fn write_entries(
    out: &mut Vec<u8>,
    target: &Target,
    range: &ReadRange,
    framed: bool,
    len_max: usize,
    limit: usize,
    wait: Wait,
) -> Result<u64, CommandError> {
    let header = if framed {
        let len = target.len()?;
        Some(OpenHeader::array(out, range.count.map_or(len, |count| count.min(len))))
    } else {
        None
    };
    let mut sink = EntryReply::new(out, len_max);
    match wait {
        Wait::May => target.topic.read(range, &mut sink)?,
        Wait::MustNot => target.topic.read_ready(range, &mut sink)?,
    }
    let entries = sink.entries().ok_or(CommandError::ReplyTooLarge { limit })?;
    if let Some(header) = header {
        header.close(out, entries);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_right_whatever_was_expected() {
        for expected in [0, 9, 10, 1000, u64::MAX] {
            for actual in [0, 7, 10, 99, 123_456] {
                let mut out = b"+OK\r\n".to_vec();
                let header = OpenHeader::array(&mut out, expected);
                out.extend_from_slice(b"$1\r\nx\r\n");
                header.close(&mut out, actual);
                let wanted = format!("+OK\r\n*{actual}\r\n$1\r\nx\r\n");
                assert_eq!(out, wanted.as_bytes(), "{expected} {actual}");
            }
        }
    }
}
