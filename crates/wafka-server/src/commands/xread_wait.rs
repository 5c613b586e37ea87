//! `XREAD`: looking at the topics, and waiting for them to change.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use wafka_broker::{Changed, ReadRange, WatchPoint};
use wafka_core::{EventId, PartitionId, TopicKey};
use wafka_protocol::error_text;

use super::entry_reply::{EntryOptions, append_with};
use super::read_args::ReadLimits;
use super::streams_reply::StreamsReply;
use super::target::Target;
use super::xread::{After, ReadRequest, parse};
use crate::command::{Args, CommandError, HandlerFuture};
use crate::session::{Interrupt, Session};

/// Executes `XREAD`; see [`ReadRequest`].
pub(crate) fn xread<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let request = parse(args, session.now_ms())?;
        let mut streams = resolve(session, &request).await?;
        // `EXEC` does not wait.
        match request.block_ms.filter(|_| !session.in_transaction()) {
            None => {
                if !look(session, &streams, request.limits).await? {
                    session.reply().null_array();
                }
                Ok(())
            }
            Some(block_ms) => wait(session, &request, &mut streams, block_ms).await,
        }
    })
}

/// A key and the id above which it is read.
type Stream<'a> = (&'a [u8], EventId);

/// Turns `$` and `+` into the ids they stand for now.
async fn resolve<'a>(
    session: &mut Session,
    request: &ReadRequest<'a>,
) -> Result<Vec<Stream<'a>>, CommandError> {
    let mut streams = Vec::with_capacity(request.streams.len());
    for (key, after) in &request.streams {
        let target = Target::find(session, key)?;
        let id = match (after, target) {
            (After::Id(id), _) => *id,
            (_, None) => EventId::MIN,
            (After::LastId, Some(target)) => target.topic.visible_id(),
            (After::LastEvent, Some(target)) => before_last_event(session, &target).await?,
        };
        streams.push((*key, id));
    }
    Ok(streams)
}

/// What `+` stands for changes while it is waited.
async fn resolve_again<'a>(
    session: &mut Session,
    request: &ReadRequest<'a>,
    streams: &mut [Stream<'a>],
) -> Result<(), CommandError> {
    for ((key, after), (_, id)) in request.streams.iter().zip(streams) {
        if matches!(after, After::LastEvent)
            && let Some(target) = Target::find(session, key)?
        {
            *id = before_last_event(session, &target).await?;
        }
    }
    Ok(())
}

/// The id right before the last event there is; the last id when there is none, so that the next event is read.
async fn before_last_event(session: &mut Session, target: &Target) -> Result<EventId, CommandError> {
    let last_id = target.topic.visible_id();
    let last = if target.topic.in_memory(&target.one(true)) {
        target.event_id(true)?
    } else {
        let target = target.clone();
        session.blocking(move |_| target.event_id(true)).await??
    };
    Ok(last.and_then(EventId::prev).unwrap_or(last_id))
}

/// Looks until there is something to answer, or the time is up.
async fn wait<'a>(
    session: &mut Session,
    request: &ReadRequest<'a>,
    streams: &mut [Stream<'a>],
    block_ms: u64,
) -> Result<(), CommandError> {
    let (begin, limits) = (Instant::now(), request.limits);
    let points = watch_points(session, streams);
    // A change between a look and the wait after it must not be missed: each wait begins before its look.
    let mut changes = begin_waiting(&points);
    if look(session, streams, limits).await? {
        return Ok(());
    }
    // Transactions must not wait with it, nor the replies to the commands before this one.
    session.release_keys();
    session.flush().await.map_err(|_| CommandError::Closed)?;
    let _blocked = session.block();
    let deadline = (block_ms > 0).then(|| begin.checked_add(Duration::from_millis(block_ms))).flatten();
    loop {
        tokio::select! {
            biased;
            interrupt = session.interrupted() => match interrupt {
                Interrupt::Closed => return Err(CommandError::Closed),
                Interrupt::TimedOut => break,
                Interrupt::Fenced => return Err(CommandError::fenced(session)),
                Interrupt::Error => return Err(error_text::UNBLOCKED.into()),
            },
            () = any(&mut changes) => {
                changes = begin_waiting(&points);
                session.acquire_keys().await;
                resolve_again(session, request, streams).await?;
                if look(session, streams, limits).await? {
                    return Ok(());
                }
                session.release_keys();
            }
            () = until(deadline) => break,
        }
    }
    session.reply().null_array();
    Ok(())
}

/// Where to wait for a key, and for which of its partitions.
type Point = (Arc<WatchPoint>, Option<PartitionId>);

fn watch_points(session: &Session, streams: &[Stream<'_>]) -> Vec<Point> {
    let engine = session.engine();
    let point = |(key, _): &Stream<'_>| {
        let key = TopicKey::parse(key);
        (engine.watch(session.database(), key.topic), key.partition.flatten())
    };
    streams.iter().map(point).collect()
}

fn begin_waiting(points: &[Point]) -> Vec<Changed> {
    points.iter().map(|(point, partition)| point.changed(*partition)).collect()
}

/// Resolves with the first of `changes`.
async fn any(changes: &mut [Changed]) {
    poll_fn(|context| {
        let mut ready = false;
        // All are polled, so that each knows whom to wake.
        for change in changes.iter_mut() {
            ready |= Pin::new(change).poll(context).is_ready();
        }
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Resolves at `deadline`, never without one.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Writes the reply if any of the streams has events above its id; whether it did.
async fn look(
    session: &mut Session,
    streams: &[Stream<'_>],
    limits: ReadLimits,
) -> Result<bool, CommandError> {
    let reply_at = session.out().len();
    let result = try_look(session, streams, limits).await;
    if !matches!(result, Ok(true)) {
        session.out().truncate(reply_at);
    }
    result
}

async fn try_look(
    session: &mut Session,
    streams: &[Stream<'_>],
    limits: ReadLimits,
) -> Result<bool, CommandError> {
    let mut reply = StreamsReply::new(streams.len(), limits);
    for (key, after) in streams {
        if reply.is_full(session) {
            break;
        }
        let Some(target) = Target::find(session, key)? else { continue };
        let Some(range) = ReadRange::after(*after, reply.count(), target.partition) else { continue };
        // What a partition shows may be ahead of what its topic shows.
        if target.partition.is_none() && target.topic.visible_id() <= *after {
            continue;
        }
        let begin = reply.begin(session, key);
        let max_size = reply.max_size();
        let options = EntryOptions { framed: true, max_size, ends_early: true, ..EntryOptions::default() };
        match append_with(session, &target, range, options).await {
            Ok(written) if written.count > 0 => reply.keep(written.count),
            Ok(_) => session.out().truncate(begin),
            Err(CommandError::ReplyTooLarge { .. }) if reply.has_events() => {
                session.out().truncate(begin);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(reply.finish(session))
}
