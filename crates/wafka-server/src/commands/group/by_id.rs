//! Events by their ids, written as entries: what was pending for somebody, wherever it stands in the topic.

use std::ops::ControlFlow;
use std::sync::Arc;

use wafka_broker::{EntryFields, EntrySink, ReadRange, Topic};
use wafka_core::EventId;
use wafka_protocol::{ReplyWriter, RespVersion};

use crate::command::CommandError;
use crate::commands::entry_reply::{READY_COUNT_MAX, Readiness, Wait, read_into, write_entry};
use crate::session::Session;

/// So many events that nobody asked for are passed over before the next one is looked up by the index.
const SKIP_MAX: u64 = 16;

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
    #[expect(dead_code, reason = "for claiming, which follows")]
    LeftOut,
}

/// What was written.
#[derive(Default, Debug)]
pub(super) struct WrittenById {
    /// How many elements.
    pub(super) entries: u64,
    /// The events that are there, in the order they were wanted in.
    pub(super) live: Vec<EventId>,
    /// There were more, and no room for them.
    pub(super) stopped: bool,
}

/// Appends the entries of `wanted`, in that order and without an array around them, to what `session` replies. No
/// further one is begun once the reply has `max_size` bytes; one is written in any case.
///
/// # Errors
/// When an event cannot be read, or the reply would become too large.
pub(super) async fn append_by_id(
    session: &mut Session,
    topic: &Arc<Topic>,
    wanted: Vec<WantedEvent>,
    gone: Gone,
    max_size: Option<u64>,
) -> Result<WrittenById, CommandError> {
    let (Some(lowest), Some(highest)) =
        (wanted.iter().map(|event| event.id).min(), wanted.iter().map(|event| event.id).max())
    else {
        return Ok(WrittenById::default());
    };
    let limit = session.reply_limit();
    let begin = session.out_len() - session.reply_len();
    let max_size = max_size.and_then(|size| usize::try_from(size).ok());
    let room = Room {
        len_max: begin.saturating_add(limit),
        stop_len: max_size.map_or(usize::MAX, |size| begin.saturating_add(size)),
        first_always: !session.has_entries(),
    };
    let range = ReadRange { from: lowest, to: highest, count: None, reverse: false, partition: None };
    let readiness = match topic.in_memory(&range) {
        true => Readiness::InMemory,
        false if wanted.len() as u64 <= READY_COUNT_MAX => Readiness::Short,
        false => Readiness::Long,
    };
    let version = session.version();
    let topic = Arc::clone(topic);
    let read = move |out: &mut Vec<u8>, wait| {
        let mut sink = ByIdSink {
            out,
            version,
            room,
            gone,
            wanted: &wanted,
            at: 0,
            end: 0,
            skipped: 0,
            full: false,
            written: WrittenById::default(),
        };
        sink.read_all(&topic, wait)?;
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
}

struct ByIdSink<'a> {
    out: &'a mut Vec<u8>,
    version: RespVersion,
    room: Room,
    gone: Gone,
    wanted: &'a [WantedEvent],
    /// The next one wanted.
    at: usize,
    /// Where the ascending run ends that is being read.
    end: usize,
    /// Events passed over since the last one wanted.
    skipped: u64,
    full: bool,
    written: WrittenById,
}

impl ByIdSink<'_> {
    fn read_all(&mut self, topic: &Topic, wait: Wait) -> Result<(), CommandError> {
        while self.at < self.wanted.len() && !self.full && !self.written.stopped {
            let run = &self.wanted[self.at..];
            let len = 1 + run.windows(2).take_while(|pair| pair[0].id < pair[1].id).count();
            self.end = self.at + len;
            let range = ReadRange {
                from: run[0].id,
                to: run[len - 1].id,
                // Never reached: a hint at how much is to be read.
                count: Some(len as u64 + SKIP_MAX + 1),
                reverse: false,
                partition: None,
            };
            self.skipped = 0;
            match wait {
                Wait::May => topic.read(&range, self)?,
                Wait::MustNot => topic.read_ready(&range, self)?,
            }
            if self.skipped <= SKIP_MAX {
                // There is nothing more up to the end of the run.
                while self.at < self.end && self.has_room() {
                    self.pass_gone();
                }
            }
        }
        Ok(())
    }

    /// Whether another element may be written; notes it when not.
    fn has_room(&mut self) -> bool {
        let is_first = self.written.entries == 0 && self.room.first_always;
        if self.out.len() >= self.room.stop_len && !is_first {
            self.written.stopped = true;
        }
        self.full |= self.out.len() > self.room.len_max && self.written.entries > 1;
        !self.full && !self.written.stopped
    }

    /// Passes over the next one wanted, which is not there.
    fn pass_gone(&mut self) {
        if self.gone == Gone::Shown {
            let mut writer = ReplyWriter::new(self.out, self.version);
            writer.array(2);
            writer.bulk_id(self.wanted[self.at].id);
            writer.null_array();
            self.written.entries += 1;
        }
        self.at += 1;
    }
}

impl EntrySink for ByIdSink<'_> {
    fn entry(&mut self, id: EventId, fields: &EntryFields<'_>) -> ControlFlow<()> {
        while self.at < self.end && self.wanted[self.at].id < id {
            if !self.has_room() {
                return ControlFlow::Break(());
            }
            self.pass_gone();
        }
        if self.at == self.end {
            return ControlFlow::Break(());
        }
        let wanted = self.wanted[self.at];
        if wanted.id != id {
            self.skipped += 1;
            return if self.skipped > SKIP_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        }
        if !self.has_room() {
            return ControlFlow::Break(());
        }
        write_entry(self.out, fields, wanted.delivery);
        self.written.entries += 1;
        self.written.live.push(id);
        self.skipped = 0;
        self.at += 1;
        // The first entry is let through whatever its size.
        let is_first = self.written.entries == 1 && self.room.first_always;
        self.full |= self.out.len() > self.room.len_max && !is_first;
        if self.full || self.at == self.end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
