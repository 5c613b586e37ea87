//! `XDEL`.

use wafka_core::EventId;

use super::arguments::event_id;
use super::target::{Target, unless_deleted};
use crate::command::{Args, CommandError, HandlerFuture};
use crate::notify::Classes;
use crate::session::Session;

/// ```text
/// XDEL key id [id …]
/// ```
///
/// Deletes events by their ids and answers how many there were, once it is durable. `key` names a whole topic. As in Redis
/// nobody looks at the ids when there is no such topic.
fn parse(args: &[&[u8]]) -> Result<Vec<EventId>, CommandError> {
    args[2..].iter().map(|id| event_id(id)).collect()
}

/// Executes `XDEL`.
pub(crate) fn xdel<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let key = args[1];
        let deleted = match Target::find_topic(session, key)? {
            None => 0,
            Some(topic) => {
                let ids = parse(args)?;
                let work = std::sync::Arc::clone(&topic);
                let outcome = session.blocking(move |_| work.delete_events(&ids)).await?;
                let (deleted, ticket) = unless_deleted(outcome)?.unwrap_or((0, None));
                if let Some(ticket) = ticket {
                    session.commit(&topic, ticket).await?;
                    session.notify(Classes::STREAM, "xdel", key);
                }
                deleted
            }
        };
        session.reply().integer(i64::try_from(deleted).unwrap_or(i64::MAX));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_id_refuses_all() {
        let ids = |args: &[&[u8]]| parse(args).map_err(|error| error.to_string());
        assert_eq!(ids(&[b"XDEL", b"s", b"1-1", b"9"]), Ok(vec![EventId::new(1, 1), EventId::new(9, 0)]));
        let expected = "ERR Invalid stream ID specified as stream command argument";
        assert_eq!(ids(&[b"XDEL", b"s", b"1-1", b"x"]), Err(expected.to_owned()));
    }
}
