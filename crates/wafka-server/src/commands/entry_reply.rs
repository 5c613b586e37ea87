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

/// How much a read may write.
#[derive(Clone, Copy)]
struct Room {
    /// The length that the buffer must not exceed.
    len_max: usize,
    /// What a reply may have of that, for the error.
    limit: usize,
    /// The first entry is let through whatever its size: what was accepted must be readable, and a single event is
    /// bounded by the limits on requests.
    first_always: bool,
}

/// Takes the events of a read and writes them as entries.
struct EntryReply<'a> {
    out: &'a mut Vec<u8>,
    room: Room,
    written: Written,
    full: bool,
}

/// What a read has written.
#[derive(Clone, Copy, Default)]
struct Written {
    entries: u64,
    /// The first entry went beyond the limit.
    beyond: bool,
}

impl<'a> EntryReply<'a> {
    fn new(out: &'a mut Vec<u8>, room: Room) -> Self {
        EntryReply { out, room, written: Written::default(), full: false }
    }

    fn finish(self) -> Result<Written, CommandError> {
        if self.full { Err(CommandError::ReplyTooLarge { limit: self.room.limit }) } else { Ok(self.written) }
    }
}

impl EntrySink for EntryReply<'_> {
    fn entry(&mut self, _id: EventId, fields: &EntryFields<'_>) -> ControlFlow<()> {
        // Arrays and bulk strings are the same in both versions of the protocol.
        ReplyWriter::new(self.out, RespVersion::V2).entry(fields.id_text(), fields.parts());
        self.written.entries += 1;
        if self.out.len() <= self.room.len_max {
            return ControlFlow::Continue(());
        }
        if self.written.entries == 1 && self.room.first_always {
            self.written.beyond = true;
            return ControlFlow::Continue(());
        }
        self.full = true;
        ControlFlow::Break(())
    }
}

/// Appends the entries of a range, as an array, to what `session` replies; how many there were. The first entry of a
/// reply is let through whatever its size.
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

/// [`append_entries`] without the array around the entries; the first is let through whatever stands before it.
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
    let room = Room { len_max, limit, first_always: !framed || !session.has_entries() };
    let written = append_in(session, target, range, framed, room).await?;
    session.note_entries(written.entries > 0, written.beyond);
    Ok(written.entries)
}

async fn append_in(
    session: &mut Session,
    target: &Target,
    range: ReadRange,
    framed: bool,
    room: Room,
) -> Result<Written, CommandError> {
    if target.topic.in_memory(&range) {
        return write_entries(session.out(), target, &range, framed, room, Wait::May);
    }
    if range.count.is_some_and(|count| count <= READY_COUNT_MAX) {
        let at = session.out().len();
        match write_entries(session.out(), target, &range, framed, room, Wait::MustNot) {
            Err(CommandError::Read(ReadError::WouldWait)) => session.out().truncate(at),
            result => return result,
        }
    }
    // The buffer goes along to the other thread, so that the entries are written where they will be sent from.
    let mut out = std::mem::take(session.out());
    let target = target.clone();
    let work = session.blocking(move |_| {
        let result = write_entries(&mut out, &target, &range, framed, room, Wait::May);
        (out, result)
    });
    match work.await {
        Ok((out, result)) => {
            *session.out() = out;
            result
        }
        // The replies to earlier commands went with the buffer: nothing may follow them, not even an error.
        Err(_) => Err(CommandError::Closed),
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
    room: Room,
    wait: Wait,
) -> Result<Written, CommandError> {
    let header = if framed {
        let len = target.len()?;
        Some(OpenHeader::array(out, range.count.map_or(len, |count| count.min(len))))
    } else {
        None
    };
    let mut sink = EntryReply::new(out, room);
    match wait {
        Wait::May => target.topic.read(range, &mut sink)?,
        Wait::MustNot => target.topic.read_ready(range, &mut sink)?,
    }
    let written = sink.finish()?;
    if let Some(header) = header {
        header.close(out, written.entries);
    }
    Ok(written)
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
