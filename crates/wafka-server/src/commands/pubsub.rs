//! `SUBSCRIBE` and its kin, `PUBLISH`, `PUBSUB`.

use wafka_protocol::error_text;

use super::help::reply_help;
use crate::command::{Args, CommandError};
use crate::pubsub::{Kind, publish as send, publish_to_shard};
use crate::session::Session;

/// ```text
/// SUBSCRIBE channel [channel ...]
/// ```
pub(crate) fn subscribe(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    session.subscribe(Kind::Channel, "subscribe", &args[1..])
}

/// ```text
/// PSUBSCRIBE pattern [pattern ...]
/// ```
pub(crate) fn psubscribe(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    session.subscribe(Kind::Pattern, "psubscribe", &args[1..])
}

/// ```text
/// SSUBSCRIBE shardchannel [shardchannel ...]
/// ```
pub(crate) fn ssubscribe(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    session.subscribe(Kind::Shard, "ssubscribe", &args[1..])
}

/// ```text
/// UNSUBSCRIBE [channel [channel ...]]
/// ```
pub(crate) fn unsubscribe(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    session.unsubscribe(Kind::Channel, "unsubscribe", &args[1..]);
    Ok(())
}

/// ```text
/// PUNSUBSCRIBE [pattern [pattern ...]]
/// ```
pub(crate) fn punsubscribe(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    session.unsubscribe(Kind::Pattern, "punsubscribe", &args[1..]);
    Ok(())
}

/// ```text
/// SUNSUBSCRIBE [shardchannel [shardchannel ...]]
/// ```
pub(crate) fn sunsubscribe(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    session.unsubscribe(Kind::Shard, "sunsubscribe", &args[1..]);
    Ok(())
}

/// ```text
/// PUBLISH channel message
/// ```
///
/// How many subscriptions the message went to. It is not stored.
pub(crate) fn publish(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let receivers = send(&session.shared, args[1], args[2]);
    session.reply().integer(integer(receivers));
    Ok(())
}

/// ```text
/// SPUBLISH shardchannel message
/// ```
pub(crate) fn spublish(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let receivers = publish_to_shard(&session.shared, args[1], args[2]);
    session.reply().integer(integer(receivers));
    Ok(())
}

/// ```text
/// PUBSUB CHANNELS [pattern]
/// ```
pub(crate) fn channels(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    names(session, Kind::Channel, args)
}

/// ```text
/// PUBSUB SHARDCHANNELS [pattern]
/// ```
pub(crate) fn shard_channels(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    names(session, Kind::Shard, args)
}

fn names(session: &mut Session, kind: Kind, args: &Args<'_>) -> Result<(), CommandError> {
    let pattern = match args {
        [_, _] => None,
        [_, _, pattern] => Some(*pattern),
        _ => return Err(error_text::subcommand_syntax("PUBSUB", args[1]).into()),
    };
    let names = session.shared.pubsub.names(kind, pattern);
    let mut reply = session.reply();
    reply.array(names.len());
    for name in names {
        reply.bulk(&name);
    }
    Ok(())
}

/// ```text
/// PUBSUB NUMSUB [channel [channel ...]]
/// ```
pub(crate) fn num_sub(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    counts(session, Kind::Channel, &args[2..]);
    Ok(())
}

/// ```text
/// PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]]
/// ```
pub(crate) fn shard_num_sub(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    counts(session, Kind::Shard, &args[2..]);
    Ok(())
}

fn counts(session: &mut Session, kind: Kind, names: &[&[u8]]) {
    let counts: Vec<usize> = names.iter().map(|name| session.shared.pubsub.subscribers(kind, name)).collect();
    let mut reply = session.reply();
    reply.array(names.len() * 2);
    for (name, count) in names.iter().zip(counts) {
        reply.bulk(name);
        reply.integer(integer(count));
    }
}

/// ```text
/// PUBSUB NUMPAT
/// ```
pub(crate) fn num_pat(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let patterns = session.shared.pubsub.count(Kind::Pattern);
    session.reply().integer(integer(patterns));
    Ok(())
}

fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// ```text
/// PUBSUB HELP
/// ```
pub(crate) fn help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    reply_help(
        session,
        "PUBSUB",
        &[
            "CHANNELS [<pattern>]",
            "    Return the channels with subscribers that match a <pattern> (default: '*').",
            "NUMPAT",
            "    Return the number of patterns subscribed to.",
            "NUMSUB [<channel> ...]",
            "    Return the number of subscribers of these channels, without those of patterns.",
            "SHARDCHANNELS [<pattern>]",
            "    Return the shard channels with subscribers that match a <pattern> (default: '*').",
            "SHARDNUMSUB [<shardchannel> ...]",
            "    Return the number of subscribers of these shard channels.",
        ],
    );
    Ok(())
}
