//! `XREADGROUP`: whose turn it is, and waiting.
//!
//! Where nobody waits for events of the group, a command looks at once. Where others do, it first waits until they have
//! had their turn, which is short. One that blocks and finds nothing lines up behind them.

use std::time::Duration;

use tokio::time::Instant;
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
    let mut streams = resolve(session, request)?;
    let is_new = |stream: &Stream<'_>| stream.wanted == Wanted::New;
    let has_line = |stream: &Stream<'_>| is_new(stream) && stream.topic.watch_point().has_line(request.group);
    // Who waits is served after a transaction, which has the topics to itself.
    let others_wait = !session.in_transaction() && streams.iter().any(has_line);
    let mut line = if others_wait { pass(session, request, &mut streams).await? } else { Line::default() };
    if look(session, request, &streams, &mut line, changes).await? {
        return Ok(true);
    }
    // `EXEC` does not wait.
    match request.block_ms.filter(|_| !session.in_transaction()) {
        // What is pending is there at once, if there is any.
        Some(block_ms) if streams.iter().all(is_new) => {
            let deadline = (block_ms > 0).then(|| begin.checked_add(Duration::from_millis(block_ms)));
            let line = others_wait.then_some(line);
            block(session, request, line, changes, deadline.flatten()).await
        }
        _ => Ok(false),
    }
}

/// Waits until those who wait have had their turn.
async fn pass<'a>(
    session: &mut Session,
    request: &GroupRead<'a>,
    streams: &mut Vec<Stream<'a>>,
) -> Result<Line, CommandError> {
    let mut line = Line::pass(request, streams);
    session.release_keys();
    loop {
        tokio::select! {
            biased;
            interrupt = session.interrupted() => if interrupt == Interrupt::Closed {
                return Err(CommandError::Closed);
            },
            () = line.may_pass() => break,
        }
    }
    session.acquire_keys().await;
    *streams = resolve(session, request)?;
    Ok(line)
}

/// Looks whenever it is this command's turn, until there is something or the time is up. `line` is where the command has
/// its place already.
async fn block(
    session: &mut Session,
    request: &GroupRead<'_>,
    line: Option<Line>,
    changes: &mut Changes,
    deadline: Option<Instant>,
) -> Result<bool, CommandError> {
    // Replies to the commands before this one must not wait with it, and nobody is to wait for a client that does not
    // read them.
    session.release_keys();
    session.flush().await.map_err(|_| CommandError::Closed)?;
    session.acquire_keys().await;
    let mut streams = resolve(session, request)?;
    let mut line = line.unwrap_or_else(|| Line::pass(request, &streams));
    line.line_up(request, request.claim_ms.is_some())?;
    let _blocked = session.block();
    loop {
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
                Interrupt::Fenced => return Err(CommandError::fenced(session)),
                Interrupt::Error => return Err(error_text::UNBLOCKED.into()),
            },
            () = line.called() => {}
            () = until(claim_at) => {}
            () = until(deadline) => return Ok(false),
        }
        session.acquire_keys().await;
        session.begin_batch();
        streams = resolve(session, request)?;
        line.begin_look(request)?;
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
