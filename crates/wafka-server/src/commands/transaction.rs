//! `MULTI`, `DISCARD`, `WATCH`, `UNWATCH`. `EXEC` stands in [`super::exec`].

use crate::command::{Args, CommandError};
use crate::session::Session;

const NESTED: &str = "ERR MULTI calls can not be nested";
const DISCARD_WITHOUT_MULTI: &str = "ERR DISCARD without MULTI";
const WATCH_INSIDE_MULTI: &str = "ERR WATCH inside MULTI is not allowed";

/// ```text
/// MULTI
/// ```
///
/// The commands from here to `EXEC` are queued, and executed together.
pub(crate) fn multi(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    if !session.begin_queue() {
        return Err(NESTED.into());
    }
    session.reply().ok();
    Ok(())
}

/// ```text
/// DISCARD
/// ```
///
/// Forgets what was queued since `MULTI`, and what was watched.
pub(crate) fn discard(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    if !session.is_queueing() {
        return Err(DISCARD_WITHOUT_MULTI.into());
    }
    session.discard();
    session.reply().ok();
    Ok(())
}

/// ```text
/// WATCH key [key …]
/// ```
///
/// `EXEC` does nothing when one of these topics is modified, made or deleted until then. `topic#n` stands for its topic.
pub(crate) fn watch(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    if session.is_queueing() {
        return Err(WATCH_INSIDE_MULTI.into());
    }
    for key in &args[1..] {
        session.watch(key)?;
    }
    session.reply().ok();
    Ok(())
}

/// ```text
/// UNWATCH
/// ```
pub(crate) fn unwatch(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    session.take_watching();
    session.reply().ok();
    Ok(())
}
