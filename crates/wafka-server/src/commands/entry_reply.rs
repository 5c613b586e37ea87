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
pub(crate) const READY_COUNT_MAX: u64 = 2048;

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

/// What a reply that ends early has left for headers that grow when they are closed, in bytes.
pub(crate) const HEADERS_LEN_MAX: usize = 64;

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
    /// No further entry is begun once the buffer has this length.
    stop_len: usize,
    /// See [`EntryOptions`].
    ends_early: bool,
}

/// How entries are written.
#[derive(Clone, Copy, Default)]
pub(crate) struct EntryOptions {
    /// As an array; otherwise one by one.
    pub(crate) framed: bool,
    /// With two more elements, as `XREADGROUP CLAIM` shows new events: idle for 0 milliseconds, delivered 0 times.
    pub(crate) with_delivery: bool,
    /// No further entry is begun once this reply has so many bytes.
    pub(crate) max_size: Option<u64>,
    /// Their ids are wanted.
    pub(crate) collect_ids: bool,
    /// The first is let through whatever its size and whatever stands before it in the reply.
    pub(crate) first_always: bool,
    /// Where the reply has no room for a further entry, it ends before that, for a reader that goes on from there; an
    /// error otherwise, and where there is no room for one.
    pub(crate) ends_early: bool,
}

/// What was written.
#[derive(Default)]
pub(crate) struct Entries {
    /// How many there were.
    pub(crate) count: u64,
    /// Their ids, if asked for.
    pub(crate) ids: Vec<EventId>,
    /// There were more, and no room for them.
    pub(crate) stopped: bool,
    /// The first entry went beyond the limit.
    beyond: bool,
}

/// Takes the events of a read and writes them as entries.
struct EntryReply<'a> {
    out: &'a mut Vec<u8>,
    room: Room,
    with_delivery: bool,
    collect_ids: bool,
    written: Entries,
    full: bool,
}

impl EntryReply<'_> {
    fn finish(self) -> Result<Entries, CommandError> {
        if self.full { Err(CommandError::ReplyTooLarge { limit: self.room.limit }) } else { Ok(self.written) }
    }
}

impl EntrySink for EntryReply<'_> {
    fn entry(&mut self, id: EventId, fields: &EntryFields<'_>) -> ControlFlow<()> {
        let is_first = self.written.count == 0 && self.room.first_always;
        let at = self.out.len();
        if at >= self.room.stop_len && !is_first {
            self.written.stopped = true;
            return ControlFlow::Break(());
        }
        write_entry(self.out, fields, self.with_delivery.then_some((0, 0)));
        if self.out.len() > self.room.len_max {
            if !is_first {
                self.out.truncate(at);
                self.written.stopped = self.room.ends_early && self.written.count > 0;
                self.full = !self.written.stopped;
                return ControlFlow::Break(());
            }
            self.written.beyond = true;
        }
        self.written.count += 1;
        if self.collect_ids {
            self.written.ids.push(id);
        }
        ControlFlow::Continue(())
    }
}

/// Writes one entry; with `delivery`, also for how many milliseconds it has been idle and how often it was delivered.
pub(crate) fn write_entry(out: &mut Vec<u8>, fields: &EntryFields<'_>, delivery: Option<(u64, u64)>) {
    // Arrays, bulk strings and integers are the same in both versions of the protocol.
    let mut writer = ReplyWriter::new(out, RespVersion::V2);
    let Some((idle_ms, deliveries)) = delivery else { return writer.entry(fields.id_text(), fields.parts()) };
    writer.array(4);
    writer.bulk(fields.id_text());
    let parts = fields.parts();
    writer.array(parts.len());
    for part in parts {
        writer.bulk(part);
    }
    writer.integer(signed(idle_ms));
    writer.integer(signed(deliveries));
}

/// A count as an integer of the protocol.
pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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
    let options = EntryOptions { framed: true, ..EntryOptions::default() };
    append_with(session, target, range, options).await.map(|written| written.count)
}

/// [`append_entries`] without the array around the entries; the first is let through whatever stands before it.
pub(crate) async fn append_each(
    session: &mut Session,
    target: &Target,
    range: ReadRange,
) -> Result<u64, CommandError> {
    let options = EntryOptions { first_always: true, ..EntryOptions::default() };
    append_with(session, target, range, options).await.map(|written| written.count)
}

/// [`append_entries`] as `options` want it.
pub(crate) async fn append_with(
    session: &mut Session,
    target: &Target,
    range: ReadRange,
    options: EntryOptions,
) -> Result<Entries, CommandError> {
    let limit = session.reply_limit();
    let begin = session.out_len() - session.reply_len();
    let stop_len = options.max_size.and_then(|size| usize::try_from(size).ok());
    let left = if options.ends_early { HEADERS_LEN_MAX } else { 0 };
    let room = Room {
        len_max: begin.saturating_add(limit.saturating_sub(left)),
        limit,
        first_always: options.first_always || !session.has_entries(),
        stop_len: stop_len.map_or(usize::MAX, |size| begin.saturating_add(size)),
        ends_early: options.ends_early,
    };
    let readiness = match target.topic.in_memory(&range) {
        true => Readiness::InMemory,
        false if range.count.is_some_and(|count| count <= READY_COUNT_MAX) => Readiness::Short,
        false => Readiness::Long,
    };
    let target = target.clone();
    let read = move |out: &mut Vec<u8>, wait| write_entries(out, &target, &range, options, room, wait);
    let written = read_into(session, readiness, read).await?;
    session.note_entries(written.count > 0, written.beyond);
    Ok(written)
}

/// Where a read finds what it needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readiness {
    /// In memory.
    InMemory,
    /// Probably in the page cache, and it is not much.
    Short,
    /// On a disk maybe, or it takes long.
    Long,
}

/// Whether a read may wait for a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    /// It may.
    May,
    /// It must fail with [`ReadError::WouldWait`] instead.
    MustNot,
}

/// Runs a read that writes to the end of the replies: in place if it needs not wait, else on a thread that may block.
pub(crate) async fn read_into<T: Send + 'static>(
    session: &mut Session,
    readiness: Readiness,
    read: impl Fn(&mut Vec<u8>, Wait) -> Result<T, CommandError> + Send + 'static,
) -> Result<T, CommandError> {
    match readiness {
        Readiness::InMemory => return read(session.out(), Wait::May),
        Readiness::Short => {
            let at = session.out().len();
            match read(session.out(), Wait::MustNot) {
                Err(CommandError::Read(ReadError::WouldWait)) => session.out().truncate(at),
                result => return result,
            }
        }
        Readiness::Long => {}
    }
    // The buffer goes along to the other thread, so that the entries are written where they will be sent from.
    let mut out = std::mem::take(session.out());
    let work = session.blocking(move |_| {
        let result = read(&mut out, Wait::May);
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

fn write_entries(
    out: &mut Vec<u8>,
    target: &Target,
    range: &ReadRange,
    options: EntryOptions,
    room: Room,
    wait: Wait,
) -> Result<Entries, CommandError> {
    let header = if options.framed {
        let len = target.len()?;
        Some(OpenHeader::array(out, range.count.map_or(len, |count| count.min(len))))
    } else {
        None
    };
    let EntryOptions { with_delivery, collect_ids, .. } = options;
    let mut sink =
        EntryReply { out, room, with_delivery, collect_ids, written: Entries::default(), full: false };
    match wait {
        Wait::May => target.topic.read(range, &mut sink)?,
        Wait::MustNot => target.topic.read_ready(range, &mut sink)?,
    }
    let written = sink.finish()?;
    if let Some(header) = header {
        header.close(out, written.count);
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
