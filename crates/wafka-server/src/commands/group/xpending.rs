//! `XPENDING`.

use std::sync::Arc;

use wafka_broker::{PendingEntry, PendingQuery, Topic};
use wafka_protocol::error_text::stream as text;
use wafka_protocol::{ReplyWriter, RespVersion};

use super::{found, topic_with_group};
use crate::command::{Args, CommandError, HandlerFuture};
use crate::commands::arguments::{count, integer, interval_end, interval_start, is_word};
use crate::commands::entry_reply::{READY_COUNT_MAX, Readiness, read_into, signed};
use crate::commands::reply_room::ReplyRoom;
use crate::session::Session;

/// No entry is shorter in a reply, in bytes.
const ENTRY_LEN_MIN: usize = 24;

/// ```text
/// XPENDING key group [[IDLE min-idle-time] start end count [consumer]]
/// ```
///
/// How many events of a group are pending, the lowest and highest id, and how many each consumer has; or these events
/// one by one: id, consumer, milliseconds since the last delivery, how often it was delivered.
enum PendingRequest<'a> {
    Summary,
    Range(PendingQuery<'a>),
}

fn parse<'a>(args: &[&'a [u8]]) -> Result<PendingRequest<'a>, CommandError> {
    let mut filter = match args.len() {
        3 => return Ok(PendingRequest::Summary),
        6..=9 => &args[3..],
        _ => return Err(CommandError::syntax()),
    };
    let mut min_idle_ms = 0;
    if is_word(filter[0], "IDLE") {
        min_idle_ms = u64::try_from(integer(filter[1])?).unwrap_or(0);
        filter = &filter[2..];
    }
    let [start, end, limit, rest @ ..] = filter else { return Err(CommandError::syntax()) };
    let count = count(limit)?;
    // Redis takes no notice of what follows the consumer.
    let consumer = rest.first().copied();
    let (from, to) = (interval_start(start)?, interval_end(end)?);
    Ok(PendingRequest::Range(PendingQuery { from, to, count, min_idle_ms, consumer }))
}

/// Executes `XPENDING`.
pub(crate) fn xpending<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let request = parse(args)?;
        let (key, group) = (args[1], args[2]);
        let topic = topic_with_group(session, key, group)?;
        match request {
            PendingRequest::Summary => summary(session, &topic, group, || text::no_group(key, group)),
            PendingRequest::Range(query) => range(session, topic, key, group, query).await,
        }
    })
}

/// Writes the entries asked for; many of them where others need not wait for it.
async fn range(
    session: &mut Session,
    topic: Arc<Topic>,
    key: &[u8],
    group: &[u8],
    query: PendingQuery<'_>,
) -> Result<(), CommandError> {
    let (room, version, now_ms) = (ReplyRoom::of(session), session.version(), session.now_ms());
    let readiness = if query.count <= READY_COUNT_MAX { Readiness::InMemory } else { Readiness::Long };
    // One more than a reply can hold is as wrong as all.
    let count = query.count.min((room.limit() / ENTRY_LEN_MIN) as u64 + 1);
    let PendingQuery { from, to, min_idle_ms, .. } = query;
    let [key, group] = [key.to_vec(), group.to_vec()];
    let consumer = query.consumer.map(<[u8]>::to_vec);
    let write = move |out: &mut Vec<u8>, _| {
        let query = PendingQuery { from, to, count, min_idle_ms, consumer: consumer.as_deref() };
        let entries = topic.pending_range(&group, &query, now_ms);
        write_entries(out, version, &found(entries, || text::no_group(&key, &group))?, now_ms, room)
    };
    read_into(session, readiness, write).await
}

fn summary(
    session: &mut Session,
    topic: &Topic,
    group: &[u8],
    missing: impl FnOnce() -> String,
) -> Result<(), CommandError> {
    let summary = found(topic.pending_summary(group), missing)?;
    let room = ReplyRoom::of(session);
    let mut reply = session.reply();
    reply.array(4);
    reply.integer(signed(summary.count));
    match summary.range {
        Some((first, last)) => {
            reply.bulk_id(first);
            reply.bulk_id(last);
            reply.array(summary.consumers.len());
            for (name, count) in &summary.consumers {
                let mut reply = session.reply();
                reply.array(2);
                reply.bulk(name);
                reply.bulk(itoa::Buffer::new().format(*count).as_bytes());
                room.check(session.out())?;
            }
        }
        None => {
            reply.null();
            reply.null();
            reply.null_array();
        }
    }
    Ok(())
}

fn write_entries(
    out: &mut Vec<u8>,
    version: RespVersion,
    entries: &[PendingEntry],
    now_ms: u64,
    room: ReplyRoom,
) -> Result<(), CommandError> {
    ReplyWriter::new(out, version).array(entries.len());
    for entry in entries {
        let mut reply = ReplyWriter::new(out, version);
        reply.array(4);
        reply.bulk_id(entry.id);
        match &entry.consumer {
            Some(consumer) => {
                reply.bulk(consumer);
                reply.integer(signed(now_ms.saturating_sub(entry.delivered_ms)));
            }
            // It was released: nobody's, and to be claimed at any time.
            None => {
                reply.bulk(b"");
                reply.integer(-1);
            }
        }
        reply.integer(signed(entry.deliveries));
        room.check(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use wafka_core::EventId;

    use super::*;

    fn parsed(line: &str) -> Result<(String, u64, u64, Option<String>), String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        match parse(&args).map_err(|error| error.to_string())? {
            PendingRequest::Summary => Ok((String::new(), 0, 0, None)),
            PendingRequest::Range(filter) => Ok((
                format!("{}..{}", filter.from, filter.to),
                filter.count,
                filter.min_idle_ms,
                filter.consumer.map(|name| String::from_utf8_lossy(name).into_owned()),
            )),
        }
    }

    #[test]
    fn both_forms() {
        assert_eq!(parsed("XPENDING s g"), Ok((String::new(), 0, 0, None)));
        let all = format!("{}..{}", EventId::MIN, EventId::MAX);
        assert_eq!(parsed("XPENDING s g - + 10"), Ok((all.clone(), 10, 0, None)));
        assert_eq!(parsed("XPENDING s g - + -1 c"), Ok((all.clone(), 0, 0, Some("c".to_owned()))));
        assert_eq!(parsed("XPENDING s g - + 1 c x y"), Ok((all.clone(), 1, 0, Some("c".to_owned()))));
        assert_eq!(parsed("XPENDING s g idle 5 - + 10 c"), Ok((all.clone(), 10, 5, Some("c".to_owned()))));
        assert_eq!(parsed("XPENDING s g IDLE -5 - + 10"), Ok((all, 10, 0, None)));
        assert_eq!(parsed("XPENDING s g (1-1 (3-1 10"), Ok(("1-2..3-0".to_owned(), 10, 0, None)));
    }

    #[test]
    fn errors() {
        let not_integer = "ERR value is not an integer or out of range";
        let invalid_id = "ERR Invalid stream ID specified as stream command argument";
        for (line, expected) in [
            ("XPENDING s g -", "ERR syntax error"),
            ("XPENDING s g - +", "ERR syntax error"),
            ("XPENDING s g IDLE 5", "ERR syntax error"),
            ("XPENDING s g IDLE 5 -", "ERR syntax error"),
            ("XPENDING s g IDLE 5 - +", "ERR syntax error"),
            ("XPENDING s g - + 1 c x y z", "ERR syntax error"),
            ("XPENDING s g - + x", not_integer),
            ("XPENDING s g x + x", not_integer),
            ("XPENDING s g IDLE x - + 10", not_integer),
            ("XPENDING s g IDLE x -", not_integer),
            ("XPENDING s g x + 10", invalid_id),
            ("XPENDING s g - x 10", invalid_id),
            ("XPENDING s g - (0-0 10", "ERR invalid end ID for the interval"),
        ] {
            assert_eq!(parsed(line), Err(expected.to_owned()), "{line}");
        }
    }
}
