//! `XACK`.

use wafka_core::EventId;

use super::{commit, existing};
use crate::command::{Args, CommandError, HandlerFuture};
use crate::commands::arguments::event_id;
use crate::commands::entry_reply::signed;
use crate::commands::target::Target;
use crate::session::Session;

/// ```text
/// XACK key group id [id …]
/// ```
///
/// The ids. Redis looks at them only when there is such a group: without one there is nothing to acknowledge.
fn parse(args: &[&[u8]]) -> Result<Vec<EventId>, CommandError> {
    args[3..].iter().map(|id| event_id(id)).collect()
}

/// Executes `XACK`: events are pending no more; answers how many were, once it is durable.
pub(crate) fn xack<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let acknowledged = acknowledge(session, args).await?;
        session.reply().integer(signed(acknowledged));
        Ok(())
    })
}

async fn acknowledge(session: &mut Session, args: &Args<'_>) -> Result<u64, CommandError> {
    let ids = parse(args);
    let Some(topic) = Target::find_topic(session, args[1])? else {
        return Ok(0);
    };
    let ids = match ids {
        Err(_) if !topic.has_group(args[2]) => return Ok(0),
        ids => ids?,
    };
    let Some((acknowledged, ticket)) = existing(topic.ack(args[2], &ids))? else { return Ok(0) };
    commit(session, &topic, ticket).await?;
    Ok(acknowledged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_id_refuses_all() {
        let ids = |args: &[&[u8]]| parse(args).map_err(|error| error.to_string());
        let good: [&[u8]; 5] = [b"XACK", b"s", b"g", b"1-1", b"9"];
        assert_eq!(ids(&good), Ok(vec![EventId::new(1, 1), EventId::new(9, 0)]));
        let expected = "ERR Invalid stream ID specified as stream command argument";
        assert_eq!(ids(&[b"XACK", b"s", b"g", b"2-1", b"x"]), Err(expected.to_owned()));
    }
}
