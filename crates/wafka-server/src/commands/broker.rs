//! `BROKER`.

use wafka_broker::{BrokerInfo, BrokerPartition, PartitionState};
use wafka_core::Database;
use wafka_protocol::ReplyWriter;

use super::describe::{count, key, optional_id};
use super::help::reply_help;
use crate::command::{Args, CommandError};
use crate::session::Session;

/// ```text
/// BROKER LIST
/// ```
///
/// Each broker with the partitions it serves, by topic: the id of the current message, the offset of the next one. A
/// topic of another database than 0 is called as its file is: `db3/name`.
pub(crate) fn list(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let brokers = session.engine().brokers();
    let mut reply = session.reply();
    reply.array(brokers.len());
    for broker in &brokers {
        write_broker(&mut reply, broker);
    }
    Ok(())
}

/// ```text
/// BROKER HELP
/// ```
pub(crate) fn help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    reply_help(
        session,
        "BROKER",
        &["LIST", "    List the brokers and the partitions that each of them serves."],
    );
    Ok(())
}

fn write_broker(reply: &mut ReplyWriter<'_>, broker: &BrokerInfo) {
    reply.map(6);
    key(reply, "broker_id").integer(i64::from(broker.id.0));
    key(reply, "partitions").map(broker.partitions.len());
    for partition in &broker.partitions {
        reply.bulk(&topic_key(partition));
        write_partition(reply, partition);
    }
    for (name, value) in
        [("turns", broker.turns), ("events", broker.events), ("bytes", broker.bytes), ("syncs", broker.syncs)]
    {
        count(key(reply, name), value);
    }
}

fn write_partition(reply: &mut ReplyWriter<'_>, partition: &BrokerPartition) {
    reply.map(4);
    optional_id(key(reply, "current_event_id"), partition.current);
    count(key(reply, "next_offset"), partition.next_offset);
    count(key(reply, "bytes"), partition.bytes);
    match &partition.state {
        PartitionState::Online => key(reply, "state").bulk(b"online"),
        PartitionState::Offline { reason } => {
            key(reply, "state").bulk(format!("offline: {reason}").as_bytes());
        }
    }
}

fn topic_key(partition: &BrokerPartition) -> Vec<u8> {
    let name = partition.topic.as_bytes();
    match partition.database {
        Database(0) => name.to_vec(),
        Database(number) => [format!("db{number}/").as_bytes(), name].concat(),
    }
}
