//! Rows of the commands about publishing and subscribing.

use crate::command::{CommandSpec, Flags, Group, Handler, SyncHandler};
use crate::commands::pubsub;

const GROUP: Group = Group::PubSub;
const LISTENS: &[Flags] = &[Flags::PUBSUB, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE];
const TELLS: &[Flags] = &[Flags::PUBSUB, Flags::LOADING, Flags::STALE];
const PUBLISHES: &[Flags] = &[Flags::PUBSUB, Flags::LOADING, Flags::STALE, Flags::FAST];

const fn row(name: &'static str, arity: i16, flags: &[Flags], handler: SyncHandler) -> CommandSpec {
    CommandSpec::new(name, arity, Handler::Sync(handler)).flags(flags)
}

/// The rows.
pub static ROWS: &[CommandSpec] = &[
    row("subscribe", -2, LISTENS, pubsub::subscribe).docs(
        GROUP,
        "2.0.0",
        "channel...",
        "Listens to messages published to channels.",
    ),
    row("unsubscribe", -1, LISTENS, pubsub::unsubscribe).docs(
        GROUP,
        "2.0.0",
        "[channel]...",
        "Stops listening to channels, to all of them when none is named.",
    ),
    row("psubscribe", -2, LISTENS, pubsub::psubscribe).docs(
        GROUP,
        "2.0.0",
        "pattern...",
        "Listens to messages published to channels whose names match patterns.",
    ),
    row("punsubscribe", -1, LISTENS, pubsub::punsubscribe).docs(
        GROUP,
        "2.0.0",
        "[pattern]...",
        "Stops listening to patterns, to all of them when none is named.",
    ),
    row("ssubscribe", -2, LISTENS, pubsub::ssubscribe).docs(
        GROUP,
        "7.0.0",
        "shardchannel...",
        "Listens to messages published to shard channels.",
    ),
    row("sunsubscribe", -1, LISTENS, pubsub::sunsubscribe).docs(
        GROUP,
        "7.0.0",
        "[shardchannel]...",
        "Stops listening to shard channels, to all of them when none is named.",
    ),
    row("publish", 3, PUBLISHES, pubsub::publish).docs(
        GROUP,
        "2.0.0",
        "channel message",
        "Sends a message to those who listen to a channel.",
    ),
    row("spublish", 3, PUBLISHES, pubsub::spublish).docs(
        GROUP,
        "7.0.0",
        "shardchannel message",
        "Sends a message to those who listen to a shard channel.",
    ),
    CommandSpec::new("pubsub", -2, Handler::Container(PUBSUB)).docs(
        GROUP,
        "2.8.0",
        "",
        "Tells about channels and who listens to them.",
    ),
];

static PUBSUB: &[CommandSpec] = &[
    row("pubsub|channels", -2, TELLS, pubsub::channels).docs(
        GROUP,
        "2.8.0",
        "[pattern]",
        "Lists the channels with subscribers.",
    ),
    row("pubsub|numpat", 2, TELLS, pubsub::num_pat).docs(
        GROUP,
        "2.8.0",
        "",
        "Tells the number of patterns subscribed to.",
    ),
    row("pubsub|numsub", -2, TELLS, pubsub::num_sub).docs(
        GROUP,
        "2.8.0",
        "[channel]...",
        "Tells the numbers of subscribers of channels.",
    ),
    row("pubsub|shardchannels", -2, TELLS, pubsub::shard_channels).docs(
        GROUP,
        "7.0.0",
        "[pattern]",
        "Lists the shard channels with subscribers.",
    ),
    row("pubsub|shardnumsub", -2, TELLS, pubsub::shard_num_sub).docs(
        GROUP,
        "7.0.0",
        "[shardchannel]...",
        "Tells the numbers of subscribers of shard channels.",
    ),
    row("pubsub|help", 2, &[Flags::LOADING, Flags::STALE], pubsub::help).docs(
        GROUP,
        "6.2.0",
        "",
        "Tells what PUBSUB can do.",
    ),
];
