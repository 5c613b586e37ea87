//! Commands about the connection itself: `PING`, `ECHO`, `SELECT`, `RESET`, `QUIT`.

use std::sync::atomic::Ordering;

use wafka_core::Database;
use wafka_protocol::parse::parse_i64;
use wafka_protocol::{RespVersion, error_text};

use crate::command::{Args, CommandError};
use crate::session::{ReplyMode, Session};

/// ```text
/// PING [message]
/// ```
pub(crate) fn ping(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let message = match args {
        [_] => None,
        [_, message] => Some(*message),
        _ => return Err(CommandError::Arity("ping")),
    };
    match message {
        // To a client that takes every reply for a message it looks like one.
        _ if session.is_subscriber_only() => {
            let mut reply = session.reply();
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(message.unwrap_or_default());
        }
        None => session.reply().simple("PONG"),
        Some(message) => session.reply().bulk(message),
    }
    Ok(())
}

/// ```text
/// ECHO message
/// ```
pub(crate) fn echo(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    session.reply().bulk(args[1]);
    Ok(())
}

/// ```text
/// SELECT index
/// ```
pub(crate) fn select(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let database = database_number(session, args[1])?;
    session.select(database);
    session.reply().ok();
    Ok(())
}

/// The database that `arg` names.
pub(crate) fn database_number(session: &Session, arg: &[u8]) -> Result<Database, CommandError> {
    let index = parse_i64(arg).ok_or_else(CommandError::not_integer)?;
    if i32::try_from(index).is_err() {
        return Err(error_text::INT_RANGE.into());
    }
    let database = u16::try_from(index).ok().filter(|index| *index < session.shared.config.server.databases);
    Ok(Database(database.ok_or(error_text::DB_INDEX)?))
}

/// ```text
/// RESET
/// ```
///
/// Makes the connection as new, but for its number.
pub(crate) fn reset(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    session.stop_listening();
    session.discard();
    session.select(Database(0));
    session.set_version(RespVersion::V2);
    session.set_authenticated(!session.shared.settings.password_required());
    session.set_reply_mode(ReplyMode::On);
    session.client.labels.lock().name.clear();
    session.client.no_evict.store(false, Ordering::Relaxed);
    session.client.no_touch.store(false, Ordering::Relaxed);
    session.reply().simple("RESET");
    Ok(())
}

/// ```text
/// QUIT
/// ```
pub(crate) fn quit(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    session.reply().ok();
    session.close();
    Ok(())
}
