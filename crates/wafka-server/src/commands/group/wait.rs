//! `XREADGROUP`: whose turn it is, and waiting.
//!
//! Where nobody waits for events of the group, a command looks at once. Where others do, one that blocks lines up behind
//! them, and one that does not waits until they have had their turn, which is short.

use std::time::Duration;

use tokio::time::Instant;
use wafka_broker::Manner;
use wafka_protocol::error_text;

use super::line::Line;
use super::read::{Changes, Stream, look, resolve};
use super::xreadgroup::{GroupRead, Wanted, parse};
use crate::command::{Args, CommandError, HandlerFuture};
use crate::commands::xread_wait::until;
use crate::session::{Interrupt, Session};

/// A command that claims looks at most so often, whatever the idle time it asks for.
const CLAIM_EVERY_MIN: Duration = Duration::from_millis(10);

/// Executes `XREADGROUP`; see [`GroupRead`].
pub(crate) fn xreadgroup<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let request = parse(args, session.now_ms())?;
        let mut changes = Changes::default();
        let found = execute(session, &request, &mut changes).await?;
        changes.commit(session).await?;
        if !found {
            session.reply().null_array();
        }
        Ok(())
    })
}

/// Writes the reply, after waiting for something to answer if need be; false when there is nothing.
async fn execute(
    session: &mut Session,
    request: &GroupRead<'_>,
    changes: &mut Changes,
) -> Result<bool, CommandError> {
    let begin = Instant::now();
    let streams = resolve(session, request)?;
    let is_new = |stream: &Stream<'_>| stream.wanted == Wanted::New;
    let has_line = |stream: &Stream<'_>| is_new(stream) && stream.topic.watch_point().has_line(request.group);
    // Who waits is served after a transaction, which has the topics to itself.
    let others_wait = !session.in_transaction() && streams.iter().any(has_line);
    if !others_wait && look(session, request, &streams, &mut Line::default(), changes).await? {
        return Ok(true);
    }
    // `EXEC` does not wait.
    match request.block_ms.filter(|_| !session.in_transaction()) {
        // What is pending is there at once, if there is any.
        Some(block_ms) if streams.iter().all(is_new) => {
            let deadline = (block_ms > 0).then(|| begin.checked_add(Duration::from_millis(block_ms)));
            block(session, request, changes, deadline.flatten()).await
        }
        _ if others_wait => pass(session, request, streams, changes).await,
        _ => Ok(false),
    }
}

/// Looks when those who wait have had their turn.
async fn pass(
    session: &mut Session,
    request: &GroupRead<'_>,
    streams: Vec<Stream<'_>>,
    changes: &mut Changes,
) -> Result<bool, CommandError> {
    let mut line = Line::join(request, &streams, Manner::Passes);
    drop(streams);
    session.release_keys();
    loop {
        tokio::select! {
            biased;
            interrupt = session.interrupted() => if interrupt == Interrupt::Closed {
                return Err(CommandError::Closed);
            },
            () = line.called_everywhere() => break,
        }
    }
    session.acquire_keys().await;
    let streams = resolve(session, request)?;
    line.begin_look(request)?;
    let found = look(session, request, &streams, &mut line, changes).await?;
    if found {
        line.leave();
    } else {
        line.found_nothing();
    }
    Ok(found)
}

/// Looks whenever it is this command's turn, until there is something or the time is up.
async fn block(
    session: &mut Session,
    request: &GroupRead<'_>,
    changes: &mut Changes,
    deadline: Option<Instant>,
) -> Result<bool, CommandError> {
    // Replies to the commands before this one must not wait with it, and nobody is to wait for a client that does not
    // read them.
    session.release_keys();
    session.flush().await.map_err(|_| CommandError::Closed)?;
    session.acquire_keys().await;
    let manner = if request.claim_ms.is_some() { Manner::Claims } else { Manner::Blocks };
    let mut streams = resolve(session, request)?;
    let mut line = Line::join(request, &streams, manner);
    let _blocked = session.block();
    loop {
        line.begin_look(request)?;
        if look(session, request, &streams, &mut line, changes).await? {
            line.leave();
            return Ok(true);
        }
        line.found_nothing();
        session.release_keys();
        changes.commit(session).await?;
        let claim_at = request.claim_ms.map(|ms| next_claim(session, &streams, request.group, ms));
        tokio::select! {
            biased;
            interrupt = session.interrupted() => match interrupt {
                Interrupt::Closed => return Err(CommandError::Closed),
                Interrupt::TimedOut => return Ok(false),
                Interrupt::Error => return Err(error_text::UNBLOCKED.into()),
            },
            () = line.called() => {}
            () = until(claim_at) => {}
            () = until(deadline) => return Ok(false),
        }
        session.acquire_keys().await;
        session.begin_batch();
        streams = resolve(session, request)?;
    }
}

/// When to look for events that can be claimed.
fn next_claim(session: &Session, streams: &[Stream<'_>], group: &[u8], min_idle_ms: u64) -> Instant {
    let now_ms = session.shared.now_ms();
    let at = |stream: &Stream<'_>| stream.topic.claimable_at(group, min_idle_ms).ok().flatten();
    let pending = streams.iter().filter_map(at).min().map(|at| at.saturating_sub(now_ms));
    // What is delivered from now on cannot be claimed sooner than that.
    let wait = Duration::from_millis(pending.map_or(min_idle_ms, |pending| pending.min(min_idle_ms)));
    let now = Instant::now();
    now.checked_add(wait.max(CLAIM_EVERY_MIN)).unwrap_or(now + Duration::from_secs(3600))
}
