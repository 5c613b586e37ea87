//! `XLEN`.

use super::target::Target;
use crate::command::{Args, CommandError};
use crate::session::Session;

/// ```text
/// XLEN key
/// ```
///
/// The number of events in a topic, or with `topic#n` in one partition; 0 when there is no such topic.
pub(crate) fn xlen(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let len = match Target::find(session, args[1])? {
        Some(target) => target.len()?,
        None => 0,
    };
    session.reply().integer(i64::try_from(len).unwrap_or(i64::MAX));
    Ok(())
}
