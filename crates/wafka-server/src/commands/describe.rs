//! Pieces of the maps by which Wafka's own commands describe topics and brokers.

use serde_json::Value;
use wafka_core::EventId;
use wafka_core::partitioner::Options;
use wafka_protocol::ReplyWriter;

/// Writes a map's key; its value follows.
pub(crate) fn key<'r, 'a>(reply: &'r mut ReplyWriter<'a>, name: &str) -> &'r mut ReplyWriter<'a> {
    reply.bulk(name.as_bytes());
    reply
}

/// Writes a number that is not negative.
pub(crate) fn count(reply: &mut ReplyWriter<'_>, count: u64) {
    reply.integer(i64::try_from(count).unwrap_or(i64::MAX));
}

/// Writes an event's id, null for none.
pub(crate) fn optional_id(reply: &mut ReplyWriter<'_>, id: Option<EventId>) {
    match id {
        Some(id) => reply.bulk_id(id),
        None => reply.null(),
    }
}

/// Writes a strategy's options: texts as they are, other values as JSON.
pub(crate) fn map_of_options(reply: &mut ReplyWriter<'_>, options: &Options) {
    reply.map(options.len());
    for (name, value) in options {
        reply.bulk(name.as_bytes());
        match value {
            Value::String(text) => reply.bulk(text.as_bytes()),
            other => reply.bulk(other.to_string().as_bytes()),
        }
    }
}
