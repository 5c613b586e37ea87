//! `XINFO` of consumer groups: `GROUPS`, `CONSUMERS`, and what `STREAM … FULL` tells of them.

use std::sync::Arc;

use wafka_broker::{FullConsumer, FullGroup, GroupInfo, LagMode, PendingEntry, Topic};
use wafka_protocol::error_text::{self, stream as text};
use wafka_protocol::{ReplyWriter, RespVersion};

use super::found;
use crate::command::{Args, CommandError, HandlerFuture};
use crate::commands::entry_reply::{Readiness, read_into, signed};
use crate::commands::reply_room::ReplyRoom;
use crate::commands::target::Target;
use crate::config::Lag;
use crate::session::Session;

/// ```text
/// XINFO GROUPS key
/// ```
///
/// The consumer groups of a topic.
pub(crate) fn groups<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let topic = find(session, args[2])?;
        let lag = lag_mode(session);
        let groups = session.blocking(move |_| topic.group_infos(lag)).await?;
        let groups = found(groups, || error_text::NO_SUCH_KEY.to_owned())?;
        let room = ReplyRoom::of(session);
        session.reply().array(groups.len());
        for group in &groups {
            let mut reply = session.reply();
            reply.map(6);
            name(&mut reply, &group.name);
            count(&mut reply, "consumers", group.consumers);
            count(&mut reply, "pending", group.pending);
            write_progress(&mut reply, group);
            room.check(session.out())?;
        }
        Ok(())
    })
}

/// ```text
/// XINFO CONSUMERS key group
/// ```
///
/// The consumers of a group.
pub(crate) fn consumers(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let topic = find(session, args[2])?;
    let consumers = found(topic.consumer_infos(args[3]), || text::no_group_of_key(args[2], args[3]))?;
    let (now_ms, room) = (session.now_ms(), ReplyRoom::of(session));
    session.reply().array(consumers.len());
    for consumer in &consumers {
        let mut reply = session.reply();
        reply.map(4);
        name(&mut reply, &consumer.name);
        count(&mut reply, "pending", consumer.pending);
        count(&mut reply, "idle", now_ms.saturating_sub(consumer.seen_ms));
        reply.bulk(b"inactive");
        reply.integer(consumer.active_ms.map_or(-1, |at| signed(now_ms.saturating_sub(at))));
        room.check(session.out())?;
    }
    Ok(())
}

/// Writes the groups of a topic with their consumers, and of each the first `count` events pending, as `XINFO STREAM
/// key FULL` shows them; a partition has none.
pub(crate) async fn write_full_groups(
    session: &mut Session,
    target: &Target,
    count: Option<u64>,
) -> Result<(), CommandError> {
    if target.partition.is_some() {
        session.reply().array(0);
        return Ok(());
    }
    let (topic, lag) = (Arc::clone(&target.topic), lag_mode(session));
    let (room, version) = (ReplyRoom::of(session), session.version());
    let write = move |out: &mut Vec<u8>, _| {
        let groups = found(topic.full_groups(count, lag), || error_text::NO_SUCH_KEY.to_owned())?;
        ReplyWriter::new(out, version).array(groups.len());
        groups.iter().try_for_each(|group| write_full_group(out, version, group, room))
    };
    read_into(session, Readiness::Long, write).await
}

fn write_full_group(
    out: &mut Vec<u8>,
    version: RespVersion,
    group: &FullGroup,
    room: ReplyRoom,
) -> Result<(), CommandError> {
    let mut reply = ReplyWriter::new(out, version);
    let info = &group.info;
    reply.map(8);
    name(&mut reply, &info.name);
    write_progress(&mut reply, info);
    count(&mut reply, "pel-count", info.pending);
    count(&mut reply, "nacked-count", info.released);
    reply.bulk(b"pending");
    reply.array(group.pending.len());
    for entry in &group.pending {
        let mut reply = ReplyWriter::new(out, version);
        reply.array(4);
        reply.bulk_id(entry.id);
        reply.bulk(entry.consumer.as_deref().unwrap_or_default());
        write_delivery(&mut reply, entry);
        room.check(out)?;
    }
    let mut reply = ReplyWriter::new(out, version);
    reply.bulk(b"consumers");
    reply.array(group.consumers.len());
    group.consumers.iter().try_for_each(|consumer| write_full_consumer(out, version, consumer, room))
}

fn write_full_consumer(
    out: &mut Vec<u8>,
    version: RespVersion,
    consumer: &FullConsumer,
    room: ReplyRoom,
) -> Result<(), CommandError> {
    let mut reply = ReplyWriter::new(out, version);
    let info = &consumer.info;
    reply.map(5);
    name(&mut reply, &info.name);
    count(&mut reply, "seen-time", info.seen_ms);
    reply.bulk(b"active-time");
    reply.integer(info.active_ms.map_or(-1, signed));
    count(&mut reply, "pel-count", info.pending);
    reply.bulk(b"pending");
    reply.array(consumer.pending.len());
    for entry in &consumer.pending {
        let mut reply = ReplyWriter::new(out, version);
        reply.array(3);
        reply.bulk_id(entry.id);
        write_delivery(&mut reply, entry);
        room.check(out)?;
    }
    room.check(out)
}

fn write_delivery(reply: &mut ReplyWriter<'_>, entry: &PendingEntry) {
    reply.integer(signed(entry.delivered_ms));
    reply.integer(signed(entry.deliveries));
}

/// How far a group has come.
fn write_progress(reply: &mut ReplyWriter<'_>, group: &GroupInfo) {
    reply.bulk(b"last-delivered-id");
    reply.bulk_id(group.last_delivered);
    for (field, value) in [("entries-read", group.entries_read.map(signed)), ("lag", group.lag)] {
        reply.bulk(field.as_bytes());
        match value {
            Some(value) => reply.integer(value),
            None => reply.null(),
        }
    }
}

fn name(reply: &mut ReplyWriter<'_>, name: &[u8]) {
    reply.bulk(b"name");
    reply.bulk(name);
}

fn count(reply: &mut ReplyWriter<'_>, field: &str, value: u64) {
    reply.bulk(field.as_bytes());
    reply.integer(signed(value));
}

fn lag_mode(session: &Session) -> LagMode {
    match session.shared.config.groups.lag {
        Lag::Exact => LagMode::Exact,
        Lag::Redis => LagMode::Redis,
    }
}

fn find(session: &Session, key: &[u8]) -> Result<Arc<Topic>, CommandError> {
    Target::find_topic(session, key)?.ok_or(error_text::NO_SUCH_KEY.into())
}
