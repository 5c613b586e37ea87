//! The commands of consumer groups.

mod by_id;
pub(crate) mod ids;
mod line;
mod read;
pub(crate) mod wait;
pub(crate) mod xack;
pub(crate) mod xackdel;
pub(crate) mod xautoclaim;
pub(crate) mod xclaim;
pub(crate) mod xdelex;
pub(crate) mod xgroup;
pub(crate) mod xinfo;
pub(crate) mod xnack;
pub(crate) mod xpending;
pub(crate) mod xreadgroup;

use std::sync::Arc;

use wafka_broker::{AppendError, GroupError, ReadError, Ticket, Topic};
use wafka_protocol::error_text::stream as text;

use super::target::Target;
use crate::command::CommandError;
use crate::session::Session;

/// Whether the topic went away under the command: to the client it came after the deletion.
fn is_deleted(error: &GroupError) -> bool {
    matches!(
        error,
        GroupError::Refused(AppendError::Deleted)
            | GroupError::Read(ReadError::Refused(AppendError::Deleted))
    )
}

/// What the engine did to a group, with `missing` as the error when there is no such topic or group.
pub(crate) fn found<T>(
    outcome: Result<T, GroupError>,
    missing: impl FnOnce() -> String,
) -> Result<T, CommandError> {
    match outcome {
        Ok(value) => Ok(value),
        Err(GroupError::NoGroup) => Err(missing().into()),
        Err(error) if is_deleted(&error) => Err(missing().into()),
        Err(error) => Err(error.into()),
    }
}

/// As [`found`], where no topic or group is nothing to do.
pub(crate) fn existing<T>(outcome: Result<T, GroupError>) -> Result<Option<T>, CommandError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(GroupError::NoGroup) => Ok(None),
        Err(error) if is_deleted(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The topic that `key` names, if it has that group; the error of `XPENDING`, `XCLAIM` and `XAUTOCLAIM` otherwise.
pub(crate) fn topic_with_group(
    session: &Session,
    key: &[u8],
    group: &[u8],
) -> Result<Arc<Topic>, CommandError> {
    Target::find_topic(session, key)?
        .filter(|topic| topic.has_group(group))
        .ok_or_else(|| text::no_group(key, group).into())
}

/// Waits until a change is durable, if there was one.
pub(crate) async fn commit(
    session: &Session,
    topic: &Arc<Topic>,
    ticket: Option<Ticket>,
) -> Result<(), CommandError> {
    match ticket {
        Some(ticket) => Ok(session.commit(topic, ticket).await?),
        None => Ok(()),
    }
}
