//! `XSETID`.

use std::sync::Arc;

use wafka_broker::{AppendError, ReadError, SetId, SetIdError};
use wafka_protocol::error_text::{self, stream as text};

use super::arguments::{event_id, integer, is_word};
use super::target::Target;
use crate::command::{Args, CommandError, HandlerFuture};
use crate::notify::Classes;
use crate::session::Session;

/// ```text
/// XSETID key last-id [ENTRIESADDED count] [MAXDELETEDID id]
/// ```
///
/// Sets the last id of a topic, and what `XINFO STREAM` tells of its past. `key` names a whole topic.
fn parse(args: &[&[u8]]) -> Result<SetId, CommandError> {
    let mut set = SetId { last: event_id(args[2])?, entries_added: None, max_deleted: None };
    let mut options = args[3..].iter();
    while let Some(option) = options.next() {
        let value = options.next().ok_or_else(CommandError::syntax)?;
        if is_word(option, "ENTRIESADDED") {
            let added = u64::try_from(integer(value)?);
            set.entries_added = Some(added.map_err(|_| text::ENTRIES_ADDED_NEGATIVE)?);
        } else if is_word(option, "MAXDELETEDID") {
            let id = event_id(value)?;
            if set.last < id {
                return Err(text::SETID_BELOW_GIVEN_DELETED.into());
            }
            // To Redis 0-0 is as good as not given.
            set.max_deleted = Some(id).filter(|id| *id > wafka_core::EventId::MIN);
        } else {
            return Err(CommandError::syntax());
        }
    }
    Ok(set)
}

/// Executes `XSETID`.
pub(crate) fn xsetid<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let set = parse(args)?;
        let topic = Target::find_topic(session, args[1])?.ok_or(error_text::NO_SUCH_KEY)?;
        let work = Arc::clone(&topic);
        let ticket = session.blocking(move |_| work.set_id(&set)).await?.map_err(refused)?;
        session.commit(&topic, ticket).await?;
        session.notify(Classes::STREAM, "xsetid", args[1]);
        session.reply().ok();
        Ok(())
    })
}

fn refused(error: SetIdError) -> CommandError {
    match error {
        SetIdError::Refused(AppendError::Deleted) => error_text::NO_SUCH_KEY.into(),
        SetIdError::Refused(error) => CommandError::Append(error),
        SetIdError::Read(ReadError::Refused(AppendError::Deleted)) => error_text::NO_SUCH_KEY.into(),
        SetIdError::Read(error) => CommandError::Read(error),
        refused @ (SetIdError::BelowTop | SetIdError::BelowDeleted | SetIdError::AddedTooSmall) => {
            CommandError::Reply(refused.to_string().into())
        }
    }
}

#[cfg(test)]
mod tests {
    use wafka_core::EventId;

    use super::*;

    fn parsed(line: &str) -> Result<SetId, String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        parse(&args).map_err(|error| error.to_string())
    }

    #[test]
    fn values() {
        let last = EventId::new(9, 9);
        assert_eq!(parsed("XSETID s 9-9"), Ok(SetId { last, entries_added: None, max_deleted: None }));
        assert_eq!(
            parsed("XSETID s 9-9 ENTRIESADDED 7 maxdeletedid 3-1"),
            Ok(SetId { last, entries_added: Some(7), max_deleted: Some(EventId::new(3, 1)) })
        );
        assert_eq!(
            parsed("XSETID s 9-9 MAXDELETEDID 0-0"),
            Ok(SetId { last, entries_added: None, max_deleted: None })
        );
    }

    #[test]
    fn errors() {
        for (line, expected) in [
            ("XSETID s x", "ERR Invalid stream ID specified as stream command argument"),
            (
                "XSETID s 9-9 ENTRIESADDED 5 MAXDELETEDID 10-0",
                "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
            ),
            ("XSETID s 9-9 ENTRIESADDED -1 MAXDELETEDID 1-1", "ERR entries_added must be positive"),
            ("XSETID s 9-9 ENTRIESADDED x MAXDELETEDID 1-1", "ERR value is not an integer or out of range"),
            ("XSETID s 9-9 7", "ERR syntax error"),
            ("XSETID s 9-9 ENTRIESADDED", "ERR syntax error"),
            ("XSETID s 9-9 NOPE 7", "ERR syntax error"),
        ] {
            assert_eq!(parsed(line), Err(expected.to_owned()), "{line}");
        }
    }

    #[test]
    fn refusals_are_redis_s() {
        for (error, expected) in [
            (SetIdError::BelowTop, text::SETID_BELOW_TOP),
            (SetIdError::BelowDeleted, text::SETID_BELOW_DELETED),
            (SetIdError::AddedTooSmall, text::SETID_ENTRIES_ADDED),
            (SetIdError::Refused(AppendError::Deleted), error_text::NO_SUCH_KEY),
        ] {
            assert_eq!(refused(error).to_string(), expected);
        }
    }
}
