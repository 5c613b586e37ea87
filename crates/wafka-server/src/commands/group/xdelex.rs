//! `XDELEX`.

use std::sync::Arc;

use wafka_broker::DeleteOutcome;

use super::commit;
use super::ids::IdsRequest;
use crate::command::{Args, HandlerFuture};
use crate::commands::target::{Target, unless_deleted};
use crate::notify::Classes;
use crate::session::Session;

/// ```text
/// XDELEX key [KEEPREF | DELREF | ACKED] IDS numids id [id …]
/// ```
///
/// Executes `XDELEX`: deletes events by their ids and answers for each, once it is durable, 1 if it was, 2 if it stays
/// because a group still needs it, -1 if there is no such event. `key` names a whole topic.
pub(crate) fn xdelex<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let request = IdsRequest::parse(&args[2..])?;
        let key = args[1];
        let Some(topic) = Target::find_topic(session, key)? else {
            reply_missing(session, request.len());
            return Ok(());
        };
        let (ids, policy, work) = (request.ids()?, request.policy, Arc::clone(&topic));
        let outcome = session.blocking(move |_| work.delete_events_with(&ids, policy)).await?;
        match unless_deleted(outcome)? {
            Some((outcomes, ticket)) => {
                commit(session, &topic, ticket).await?;
                reply_outcomes(session, key, &outcomes);
            }
            None => reply_missing(session, request.len()),
        }
        Ok(())
    })
}

/// Answers that there is no such event, for so many.
pub(super) fn reply_missing(session: &mut Session, count: usize) {
    let mut reply = session.reply();
    reply.array(count);
    for _ in 0..count {
        reply.integer(-1);
    }
}

/// Answers what became of each event.
pub(super) fn reply_outcomes(session: &mut Session, key: &[u8], outcomes: &[DeleteOutcome]) {
    if outcomes.contains(&DeleteOutcome::Deleted) {
        session.notify(Classes::STREAM, "xdel", key);
    }
    let mut reply = session.reply();
    reply.array(outcomes.len());
    for outcome in outcomes {
        reply.integer(match outcome {
            DeleteOutcome::Missing => -1,
            DeleteOutcome::Deleted | DeleteOutcome::Gone => 1,
            DeleteOutcome::Referenced => 2,
        });
    }
}
