//! Events by their ids, written as entries: what was pending for somebody, wherever it stands in the topic.

use std::ops::ControlFlow;
use std::sync::Arc;

use wafka_broker::{EntryFields, EntrySink, IdSink, ReadRange, Topic};
use wafka_core::EventId;
use wafka_protocol::{ReplyWriter, RespVersion};

use crate::command::CommandError;
use crate::commands::entry_reply::{
    HEADERS_LEN_MAX, READY_COUNT_MAX, Readiness, Wait, read_into, write_entry,
};
use crate::session::Session;

/// An event that is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WantedEvent {
    pub(super) id: EventId,
    /// Since how many milliseconds it is idle and how often it was delivered, if that is to be shown.
    pub(super) delivery: Option<(u64, u64)>,
}

/// How events are written that are not in the topic any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gone {
    /// As their id and null.
    Shown,
    /// Not at all.
    LeftOut,
}

/// How events are written.
#[derive(Clone, Copy)]
pub(super) struct ByIdOptions {
    pub(super) gone: Gone,
    /// No further one is begun once this reply has so many bytes.
    pub(super) max_size: Option<u64>,
    /// Where the reply has no room for a further one, it ends before that; an error otherwise, and where there is no
    /// room for one.
    pub(super) ends_early: bool,
}

/// What was written.
#[derive(Default, Debug)]
pub(super) struct WrittenById {
    /// How many elements.
    pub(super) entries: u64,
    /// The events that are there, in the order they were wanted in.
    pub(super) live: Vec<EventId>,
    /// Where the entry of each ends in the buffer of replies.
    ends: Vec<usize>,
    /// There were more, and no room for them.
    pub(super) stopped: bool,
}

impl WrittenById {
    /// Takes back the entries, written from `begin` on, that are not among `kept`: some of `live`, in the same order.
    pub(super) fn keep(&mut self, out: &mut Vec<u8>, begin: usize, kept: &[EventId]) {
        if self.live == kept {
            return;
        }
        let mut kept = kept.iter().peekable();
        let (mut from, mut to) = (begin, begin);
        self.entries = 0;
        for (id, &end) in self.live.iter().zip(&self.ends) {
            if kept.next_if_eq(&id).is_some() {
                out.copy_within(from..end, to);
                to += end - from;
                self.entries += 1;
            }
            from = end;
        }
        out.truncate(to);
    }
}

/// Appends the entries of `wanted`, in that order and without an array around them, to what `session` replies; one is
/// written in any case.
///
/// # Errors
/// When an event cannot be read, or the reply would become too large.
pub(super) async fn append_by_id(
    session: &mut Session,
    topic: &Arc<Topic>,
    wanted: Vec<WantedEvent>,
    options: ByIdOptions,
) -> Result<WrittenById, CommandError> {
    let ByIdOptions { gone, max_size, ends_early } = options;
    let (Some(lowest), Some(highest)) =
        (wanted.iter().map(|event| event.id).min(), wanted.iter().map(|event| event.id).max())
    else {
        return Ok(WrittenById::default());
    };
    let limit = session.reply_limit();
    let begin = session.out_len() - session.reply_len();
    let max_size = max_size.and_then(|size| usize::try_from(size).ok());
    let room = Room {
        len_max: begin.saturating_add(limit.saturating_sub(if ends_early { HEADERS_LEN_MAX } else { 0 })),
        stop_len: max_size.map_or(usize::MAX, |size| begin.saturating_add(size)),
        first_always: !session.has_entries(),
        ends_early,
    };
    let range = ReadRange { from: lowest, to: highest, count: None, reverse: false, partition: None };
    let readiness = match topic.in_memory(&range) {
        true => Readiness::InMemory,
        false if wanted.len() as u64 <= READY_COUNT_MAX => Readiness::Short,
        false => Readiness::Long,
    };
    let ids: Vec<EventId> = wanted.iter().map(|event| event.id).collect();
    let version = session.version();
    let topic = Arc::clone(topic);
    let read = move |out: &mut Vec<u8>, wait| {
        let written = WrittenById::default();
        let mut sink = ByIdSink { out, version, room, gone, wanted: wanted.iter(), full: false, written };
        match wait {
            Wait::May => topic.read_ids(&ids, &mut sink)?,
            Wait::MustNot => topic.read_ids_ready(&ids, &mut sink)?,
        }
        if sink.full { Err(CommandError::ReplyTooLarge { limit }) } else { Ok(sink.written) }
    };
    let written = read_into(session, readiness, read).await?;
    let beyond = session.reply_len() > limit;
    session.note_entries(written.entries > 0, beyond);
    Ok(written)
}

#[derive(Clone, Copy)]
struct Room {
    len_max: usize,
    stop_len: usize,
    first_always: bool,
    ends_early: bool,
}

struct ByIdSink<'a> {
    out: &'a mut Vec<u8>,
    version: RespVersion,
    room: Room,
    gone: Gone,
    /// From the one on that comes next.
    wanted: std::slice::Iter<'a, WantedEvent>,
    full: bool,
    written: WrittenById,
}

impl ByIdSink<'_> {
    /// Whether another element may be begun.
    fn has_room(&mut self) -> bool {
        let is_first = self.written.entries == 0 && self.room.first_always;
        self.written.stopped = self.out.len() >= self.room.stop_len && !is_first;
        !self.written.stopped
    }

    /// Counts an element that begins at `at`, or takes it back if there is no room for it; the first is let through
    /// whatever its size.
    fn count(&mut self, at: usize) -> ControlFlow<()> {
        let is_first = self.written.entries == 0 && self.room.first_always;
        if self.out.len() > self.room.len_max && !is_first {
            self.out.truncate(at);
            self.written.stopped = self.room.ends_early && self.written.entries > 0;
            self.full = !self.written.stopped;
            return ControlFlow::Break(());
        }
        self.written.entries += 1;
        ControlFlow::Continue(())
    }
}

impl EntrySink for ByIdSink<'_> {
    fn entry(&mut self, id: EventId, fields: &EntryFields<'_>) -> ControlFlow<()> {
        let delivery = self.wanted.next().and_then(|wanted| wanted.delivery);
        if !self.has_room() {
            return ControlFlow::Break(());
        }
        let at = self.out.len();
        write_entry(self.out, fields, delivery);
        self.count(at)?;
        self.written.live.push(id);
        self.written.ends.push(self.out.len());
        ControlFlow::Continue(())
    }
}

impl IdSink for ByIdSink<'_> {
    fn gone(&mut self, id: EventId) -> ControlFlow<()> {
        self.wanted.next();
        if self.gone == Gone::LeftOut {
            return ControlFlow::Continue(());
        }
        if !self.has_room() {
            return ControlFlow::Break(());
        }
        let at = self.out.len();
        let mut writer = ReplyWriter::new(self.out, self.version);
        writer.array(2);
        writer.bulk_id(id);
        writer.null_array();
        self.count(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_taken_back() {
        let ids = [1, 2, 2, 3].map(|ms| EventId::new(ms, 0));
        for (kept, left) in [
            (&ids[..], "+OK one two TWO three"),
            (&ids[1..2], "+OK two"),
            (&ids[2..], "+OK two three"),
            (&[ids[0], ids[3]][..], "+OK one three"),
            (&[], "+OK"),
        ] {
            let mut out = b"+OK one two TWO three".to_vec();
            let ends = vec![7, 11, 15, 21];
            let mut written = WrittenById { entries: 4, live: ids.to_vec(), ends, stopped: false };
            written.keep(&mut out, 3, kept);
            assert_eq!(out, left.as_bytes());
            assert_eq!(written.entries, kept.len() as u64);
        }
    }
}
