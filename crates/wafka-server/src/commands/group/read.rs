//! `XREADGROUP`: one look at the topics.
//!
//! New events are read without the topic's lock, straight into the reply, and delivered afterwards: if the group moved
//! meanwhile, what was read is taken back and read anew.

use std::sync::Arc;

use wafka_broker::{Delivered, ReadRange, Ticket, Topic};
use wafka_core::EventId;
use wafka_protocol::error_text::stream as text;

use super::by_id::{ByIdOptions, Gone, WantedEvent, WrittenById, append_by_id};
use super::found;
use super::line::Line;
use super::xreadgroup::{GroupRead, Wanted, wanted};
use crate::command::CommandError;
use crate::commands::entry_reply::{Entries, EntryOptions, OpenHeader, append_with};
use crate::commands::streams_reply::StreamsReply;
use crate::commands::target::Target;
use crate::notify::Classes;
use crate::session::Session;

/// A key as it was found for one look.
pub(super) struct Stream<'a> {
    pub(super) key: &'a [u8],
    pub(super) topic: Arc<Topic>,
    pub(super) wanted: Wanted,
}

impl Stream<'_> {
    fn target(&self) -> Target {
        Target { topic: Arc::clone(&self.topic), partition: None }
    }
}

/// Changes that a command has made and that must be durable before it is answered.
#[derive(Default)]
pub(super) struct Changes(Vec<(Arc<Topic>, Ticket)>);

impl Changes {
    fn add(&mut self, topic: &Arc<Topic>, ticket: Option<Ticket>) {
        let Some(ticket) = ticket else { return };
        // The last one of a topic covers those before it.
        match self.0.iter_mut().find(|(of, _)| Arc::ptr_eq(of, topic)) {
            Some((_, last)) => *last = ticket,
            None => self.0.push((Arc::clone(topic), ticket)),
        }
    }

    /// Waits until they are durable.
    pub(super) async fn commit(&mut self, session: &Session) -> Result<(), CommandError> {
        for (topic, ticket) in self.0.drain(..) {
            session.commit(&topic, ticket).await?;
        }
        Ok(())
    }
}

/// Finds the keys and their groups, and reads the ids, in Redis's order.
pub(super) fn resolve<'a>(
    session: &Session,
    request: &GroupRead<'a>,
) -> Result<Vec<Stream<'a>>, CommandError> {
    let stream = |(key, id): &(&'a [u8], &'a [u8])| {
        let topic = Target::find_topic(session, key)?
            .filter(|topic| topic.has_group(request.group))
            .ok_or_else(|| CommandError::from(text::no_group_to_read(key, request.group)))?;
        Ok(Stream { key, topic, wanted: wanted(id)? })
    };
    request.streams.iter().map(stream).collect()
}

/// Writes the reply if there is anything to answer; whether it did. New events are taken only where it is this
/// command's turn.
pub(super) async fn look(
    session: &mut Session,
    request: &GroupRead<'_>,
    streams: &[Stream<'_>],
    line: &mut Line,
    changes: &mut Changes,
) -> Result<bool, CommandError> {
    let reply_at = session.out().len();
    let result = try_look(session, request, streams, line, changes).await;
    if !matches!(result, Ok(true)) {
        session.out().truncate(reply_at);
        session.forget_entries();
    }
    result
}

async fn try_look(
    session: &mut Session,
    request: &GroupRead<'_>,
    streams: &[Stream<'_>],
    line: &mut Line,
    changes: &mut Changes,
) -> Result<bool, CommandError> {
    let mut reply = StreamsReply::new(streams.len(), request.limits);
    for (at, stream) in streams.iter().enumerate() {
        if reply.is_full(session) {
            break;
        }
        let end = session.out().len();
        let result = match stream.wanted {
            Wanted::New => {
                let look = NewEvents { request, stream, share: line.share(at) };
                look.take(session, &mut reply, changes).await
            }
            Wanted::Pending(after) => history(session, request, stream, after, &mut reply, changes).await,
        };
        match result {
            Ok(true) => line.took_all(at),
            Ok(false) => {}
            Err(error) if reply.has_events() => {
                end_early(session, end, error)?;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(reply.finish(session))
}

/// Ends the reply where it was right before an error: what was delivered must be answered. The error comes again when
/// the reader goes on.
fn end_early(session: &mut Session, end: usize, error: CommandError) -> Result<(), CommandError> {
    if matches!(error, CommandError::Closed) {
        return Err(error);
    }
    session.out().truncate(end);
    Ok(())
}

/// A look for events that are new to the group.
struct NewEvents<'a> {
    request: &'a GroupRead<'a>,
    stream: &'a Stream<'a>,
    /// Up to which id events may be taken; `None` when they are for others.
    share: Option<EventId>,
}

impl NewEvents<'_> {
    /// Delivers what there is; whether nothing is left.
    async fn take(
        &self,
        session: &mut Session,
        reply: &mut StreamsReply,
        changes: &mut Changes,
    ) -> Result<bool, CommandError> {
        let begin = reply.begin(session, self.stream.key);
        let header = OpenHeader::array(session.out(), reply.count().unwrap_or(1));
        let (mut events, mut drained) = (0, true);
        if let Some(min_idle_ms) = self.request.claim_ms {
            let claimed = self.claim(session, reply, min_idle_ms, changes).await?;
            (events, drained) = (claimed.entries, !claimed.stopped);
        }
        let left = reply.count().map(|count| count.saturating_sub(events));
        if drained && left != Some(0) {
            let end = session.out().len();
            match self.deliver(session, reply, left, changes).await {
                Ok(new) => {
                    events += new.count;
                    drained = !new.stopped && left.is_none_or(|left| new.count < left);
                }
                Err(error) if events > 0 => {
                    end_early(session, end, error)?;
                    drained = false;
                }
                Err(error) => return Err(error),
            }
        }
        if events == 0 {
            session.out().truncate(begin);
        } else {
            header.close(session.out(), events);
            reply.keep(events);
        }
        Ok(drained && left != Some(0))
    }

    /// Makes the consumer the owner of events that are pending for so long, and writes them.
    async fn claim(
        &self,
        session: &mut Session,
        reply: &StreamsReply,
        min_idle_ms: u64,
        changes: &mut Changes,
    ) -> Result<WrittenById, CommandError> {
        let (GroupRead { group, consumer, .. }, topic) = (self.request, &self.stream.topic);
        let (entries_at, now_ms) = (session.out().len(), session.now_ms());
        loop {
            let idle = topic.claimable(group, min_idle_ms, reply.count(), now_ms);
            let mut idle = found(idle, || self.missing())?;
            let wanted = idle.iter().map(|entry| WantedEvent {
                id: entry.id,
                delivery: Some((now_ms.saturating_sub(entry.delivered_ms), entry.deliveries)),
            });
            let wanted = wanted.collect();
            let options = ByIdOptions { gone: Gone::LeftOut, max_size: reply.max_size(), ends_early: true };
            let written = append_by_id(session, topic, wanted, options).await?;
            if written.live.is_empty() {
                return Ok(written);
            }
            // In the same order, without those that turned out to be gone.
            let mut live = written.live.iter().peekable();
            idle.retain(|entry| live.next_if(|id| **id == entry.id).is_some());
            match found(topic.claim_idle(group, consumer, &idle, now_ms), || self.missing())? {
                Delivered::Yes(ticket) => {
                    changes.add(topic, Some(ticket));
                    return Ok(written);
                }
                Delivered::Moved => self.take_back(session, reply, entries_at),
            }
        }
    }

    /// Delivers what is new, at most `count` events, and writes it.
    async fn deliver(
        &self,
        session: &mut Session,
        reply: &StreamsReply,
        count: Option<u64>,
        changes: &mut Changes,
    ) -> Result<Entries, CommandError> {
        let (GroupRead { group, consumer, noack, .. }, topic) = (self.request, &self.stream.topic);
        let (entries_at, now_ms) = (session.out().len(), session.now_ms());
        let options = EntryOptions {
            with_delivery: self.request.claim_ms.is_some(),
            max_size: reply.max_size(),
            collect_ids: true,
            ends_early: true,
            ..EntryOptions::default()
        };
        loop {
            let position = found(topic.group_position(group, consumer, now_ms), || self.missing())?;
            tell_if_made(session, position.ticket, self.stream.key);
            changes.add(topic, position.ticket);
            let share = self.share.map(|to| to.min(topic.visible_id()));
            let Some(to) = share.filter(|to| position.last_delivered < *to) else {
                return Ok(Entries::default());
            };
            let Some(range) = ReadRange::after(position.last_delivered, count, None) else {
                return Ok(Entries::default());
            };
            let range = ReadRange { to, ..range };
            let entries = append_with(session, &self.stream.target(), range, options).await?;
            if entries.count == 0 {
                return Ok(entries);
            }
            let delivered = topic.deliver(group, consumer, &position, &entries.ids, *noack, now_ms);
            match found(delivered, || self.missing())? {
                Delivered::Yes(ticket) => {
                    changes.add(topic, Some(ticket));
                    return Ok(entries);
                }
                Delivered::Moved => self.take_back(session, reply, entries_at),
            }
        }
    }

    /// Takes back entries that went to somebody else meanwhile.
    fn take_back(&self, session: &mut Session, reply: &StreamsReply, entries_at: usize) {
        session.out().truncate(entries_at);
        if !reply.has_events() {
            session.forget_entries();
        }
    }

    fn missing(&self) -> String {
        text::no_group_to_read(self.stream.key, self.request.group)
    }
}

/// Publishes that a read made its consumer: that is all it needs a ticket for.
fn tell_if_made(session: &Session, ticket: Option<Ticket>, key: &[u8]) {
    if ticket.is_some() {
        session.notify(Classes::STREAM, "xgroup-createconsumer", key);
    }
}

/// Writes what is pending for the consumer above an id, live events and those that are gone; no new event is taken.
async fn history(
    session: &mut Session,
    request: &GroupRead<'_>,
    stream: &Stream<'_>,
    after: EventId,
    reply: &mut StreamsReply,
    changes: &mut Changes,
) -> Result<bool, CommandError> {
    let missing = || text::no_group_to_read(stream.key, request.group);
    let topic = &stream.topic;
    let pending =
        topic.pending_after(request.group, request.consumer, after, reply.count(), session.now_ms());
    let (ids, ticket) = found(pending, missing)?;
    tell_if_made(session, ticket, stream.key);
    changes.add(topic, ticket);
    let begin = reply.begin(session, stream.key);
    let header = OpenHeader::array(session.out(), ids.len() as u64);
    let wanted = ids.into_iter().map(|id| WantedEvent { id, delivery: None }).collect();
    let options = ByIdOptions { gone: Gone::Shown, max_size: reply.max_size(), ends_early: true };
    let written = append_by_id(session, topic, wanted, options).await?;
    if written.stopped && written.entries == 0 {
        // An empty list says that nothing is left.
        session.out().truncate(begin);
        return Ok(false);
    }
    header.close(session.out(), written.entries);
    if session.is_reply_too_large() {
        return Err(CommandError::ReplyTooLarge { limit: session.reply_limit() });
    }
    let again = topic.redelivered(request.group, request.consumer, &written.live, session.now_ms());
    changes.add(topic, found(again, missing)?);
    reply.keep(written.entries);
    Ok(false)
}
