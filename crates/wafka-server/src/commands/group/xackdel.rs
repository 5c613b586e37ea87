//! `XACKDEL`.

use std::sync::Arc;

use super::commit;
use super::ids::IdsRequest;
use super::xdelex::{reply_missing, reply_outcomes};
use crate::command::{Args, HandlerFuture};
use crate::commands::target::{Target, unless_deleted};
use crate::session::Session;

/// ```text
/// XACKDEL key group [KEEPREF | DELREF | ACKED] IDS numids id [id …]
/// ```
///
/// Executes `XACKDEL`: acknowledges events in a group and deletes them; answers for each, once it is durable, 1 if it
/// was, 2 if it was acknowledged and stays because a group still needs it, -1 if it was not pending in the group.
pub(crate) fn xackdel<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let request = IdsRequest::parse(&args[3..])?;
        let (key, group) = (args[1], args[2]);
        let found = Target::find_topic(session, key)?;
        let Some(topic) = found.filter(|topic| topic.has_group(group)) else {
            reply_missing(session, request.len());
            return Ok(());
        };
        let (ids, policy) = (request.ids()?, request.policy);
        let (work, of) = (Arc::clone(&topic), group.to_vec());
        let outcome = session.blocking(move |_| work.ack_delete(&of, &ids, policy)).await?;
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
