//! Rows of the commands on keys of any type.

use crate::command::{CommandSpec, Flags, Group, Handler};
use crate::commands::{expire, keys, object, rename, scan};

const WRITE: Flags = Flags::WRITE;
const READONLY: Flags = Flags::READONLY;
const FAST: Flags = Flags::FAST;
const ALL_NAMES: Flags = Flags::ALL_NAMES;
const UNQUEUED: Flags = Flags::UNQUEUED;

/// The rows.
pub static ROWS: &[CommandSpec] = &[
    CommandSpec::new("del", -2, Handler::Async(keys::del))
        .flags(&[WRITE])
        .keys(1, -1, 1, "RM delete")
        .tips("request_policy:multi_shard response_policy:agg_sum")
        .docs(Group::Generic, "1.0.0", "key...", "Deletes topics."),
    CommandSpec::new("unlink", -2, Handler::Async(keys::del))
        .flags(&[WRITE, FAST])
        .keys(1, -1, 1, "RM delete")
        .tips("request_policy:multi_shard response_policy:agg_sum")
        .docs(Group::Generic, "4.0.0", "key...", "Deletes topics."),
    CommandSpec::new("exists", -2, Handler::Sync(keys::exists_count))
        .flags(&[READONLY, FAST])
        .keys(1, -1, 1, "RO")
        .tips("request_policy:multi_shard response_policy:agg_sum")
        .docs(Group::Generic, "1.0.0", "key...", "Tells how many of the topics exist."),
    CommandSpec::new("touch", -2, Handler::Sync(keys::touch))
        .flags(&[READONLY, FAST])
        .keys(1, -1, 1, "RO")
        .tips("request_policy:multi_shard response_policy:agg_sum")
        .docs(Group::Generic, "3.2.1", "key...", "Tells how many of the topics exist."),
    CommandSpec::new("type", 2, Handler::Sync(keys::type_of))
        .flags(&[READONLY, FAST])
        .keys(1, 1, 1, "RO")
        .docs(Group::Generic, "1.0.0", "key", "Tells the type of a key: stream."),
    CommandSpec::new("keys", 2, Handler::Sync(keys::keys))
        .flags(&[READONLY, ALL_NAMES])
        .tips("request_policy:all_shards nondeterministic_output_order")
        .docs(Group::Generic, "1.0.0", "pattern", "Returns the names of the topics that match a pattern."),
    CommandSpec::new("scan", -2, Handler::Sync(scan::scan))
        .flags(&[READONLY, ALL_NAMES])
        .tips("nondeterministic_output request_policy:special response_policy:special")
        .docs(
            Group::Generic,
            "2.8.0",
            "cursor:integer [MATCH pattern] [COUNT count:integer] [TYPE type]",
            "Goes through the names of the topics, some at a time.",
        ),
    CommandSpec::new("randomkey", 1, Handler::Sync(keys::random_key))
        .flags(&[READONLY, ALL_NAMES])
        .tips("request_policy:all_shards response_policy:special nondeterministic_output")
        .docs(Group::Generic, "1.0.0", "", "Returns the name of a topic taken at random."),
    CommandSpec::new("expire", -3, Handler::Async(expire::expire))
        .flags(&[WRITE, FAST])
        .keys(1, 1, 1, "RW update")
        .docs(
            Group::Generic,
            "1.0.0",
            "key seconds:integer [NX | XX | GT | LT]",
            "Sets how many seconds a topic has to live.",
        ),
    CommandSpec::new("pexpire", -3, Handler::Async(expire::pexpire))
        .flags(&[WRITE, FAST])
        .keys(1, 1, 1, "RW update")
        .docs(
            Group::Generic,
            "2.6.0",
            "key milliseconds:integer [NX | XX | GT | LT]",
            "Sets how many milliseconds a topic has to live.",
        ),
    CommandSpec::new("expireat", -3, Handler::Async(expire::expire_at))
        .flags(&[WRITE, FAST])
        .keys(1, 1, 1, "RW update")
        .docs(
            Group::Generic,
            "1.2.0",
            "key unix-time-seconds:integer [NX | XX | GT | LT]",
            "Sets when a topic's time comes, in seconds since 1970.",
        ),
    CommandSpec::new("pexpireat", -3, Handler::Async(expire::pexpire_at))
        .flags(&[WRITE, FAST])
        .keys(1, 1, 1, "RW update")
        .docs(
            Group::Generic,
            "2.6.0",
            "key unix-time-milliseconds:integer [NX | XX | GT | LT]",
            "Sets when a topic's time comes, in milliseconds since 1970.",
        ),
    CommandSpec::new("ttl", 2, Handler::Sync(expire::ttl))
        .flags(&[READONLY, FAST])
        .keys(1, 1, 1, "RO access")
        .tips("nondeterministic_output")
        .docs(Group::Generic, "1.0.0", "key", "Tells how many seconds a topic has to live."),
    CommandSpec::new("pttl", 2, Handler::Sync(expire::pttl))
        .flags(&[READONLY, FAST])
        .keys(1, 1, 1, "RO access")
        .tips("nondeterministic_output")
        .docs(Group::Generic, "2.6.0", "key", "Tells how many milliseconds a topic has to live."),
    CommandSpec::new("expiretime", 2, Handler::Sync(expire::expire_time))
        .flags(&[READONLY, FAST])
        .keys(1, 1, 1, "RO access")
        .docs(Group::Generic, "7.0.0", "key", "Tells when a topic's time comes, in seconds since 1970."),
    CommandSpec::new("pexpiretime", 2, Handler::Sync(expire::pexpire_time))
        .flags(&[READONLY, FAST])
        .keys(1, 1, 1, "RO access")
        .docs(Group::Generic, "7.0.0", "key", "Tells when a topic's time comes, in milliseconds since 1970."),
    CommandSpec::new("persist", 2, Handler::Async(expire::persist))
        .flags(&[WRITE, FAST])
        .keys(1, 1, 1, "RW update")
        .docs(Group::Generic, "2.2.0", "key", "Takes a topic's time to live away."),
    CommandSpec::new("rename", 3, Handler::Async(rename::rename))
        .flags(&[WRITE, UNQUEUED])
        .keys(1, 2, 1, "RW access delete; OW update")
        .docs(Group::Generic, "1.0.0", "key newkey", "Gives a topic another name, in the place of one that has it."),
    CommandSpec::new("renamenx", 3, Handler::Async(rename::rename_nx))
        .flags(&[WRITE, FAST, UNQUEUED])
        .keys(1, 2, 1, "RW access delete; OW insert")
        .docs(Group::Generic, "1.0.0", "key newkey", "Gives a topic another name if no topic has it."),
    CommandSpec::new("copy", -3, Handler::Async(rename::copy))
        .flags(&[WRITE, Flags::DENYOOM, UNQUEUED])
        .keys(1, 2, 1, "RO access; OW update")
        .docs(
            Group::Generic,
            "6.2.0",
            "source destination [DB destination-db:integer] [REPLACE]",
            "Copies a topic, with all that belongs to it.",
        ),
    CommandSpec::new("move", 3, Handler::Async(rename::move_to))
        .flags(&[WRITE, FAST, UNQUEUED])
        .keys(1, 1, 1, "RW access update")
        .docs(Group::Generic, "1.0.0", "key db:integer", "Moves a topic to another database."),
    CommandSpec::new("swapdb", 3, Handler::Sync(rename::swap_db))
        .flags(&[WRITE, FAST, UNQUEUED])
        .docs(Group::Server, "4.0.0", "index1:integer index2:integer", "An error: databases are not swapped."),
    CommandSpec::new("dump", 2, Handler::Sync(rename::dump))
        .flags(&[READONLY])
        .keys(1, 1, 1, "RO access")
        .tips("nondeterministic_output")
        .docs(Group::Generic, "2.6.0", "key", "An error: topics have no serialized form."),
    CommandSpec::new("restore", -4, Handler::Sync(rename::restore))
        .flags(&[WRITE, Flags::DENYOOM, UNQUEUED])
        .keys(1, 1, 1, "OW update")
        .docs(
            Group::Generic,
            "2.6.0",
            "key ttl:integer serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds:integer] [FREQ frequency:integer]",
            "An error: topics have no serialized form.",
        ),
    CommandSpec::new("object", -2, Handler::Container(OBJECT)).docs(
        Group::Generic,
        "2.2.3",
        "",
        "Tells about the objects behind keys.",
    ),
    CommandSpec::new("dbsize", 1, Handler::Sync(keys::db_size))
        .flags(&[READONLY, ALL_NAMES, FAST])
        .tips("request_policy:all_shards response_policy:agg_sum")
        .docs(Group::Server, "1.0.0", "", "Tells the number of topics in the database."),
    CommandSpec::new("flushdb", -1, Handler::Async(keys::flush_db))
        .flags(&[WRITE, UNQUEUED, ALL_NAMES])
        .tips("request_policy:all_shards response_policy:all_succeeded")
        .docs(Group::Server, "1.0.0", "[ASYNC | SYNC]", "Deletes all topics of the database."),
    CommandSpec::new("flushall", -1, Handler::Async(keys::flush_all))
        .flags(&[WRITE, UNQUEUED, ALL_NAMES])
        .tips("request_policy:all_shards response_policy:all_succeeded")
        .docs(Group::Server, "1.0.0", "[ASYNC | SYNC]", "Deletes all topics of all databases."),
];

static OBJECT: &[CommandSpec] = &[
    CommandSpec::new("object|encoding", 3, Handler::Sync(object::encoding))
        .flags(&[READONLY])
        .keys(2, 2, 1, "RO")
        .tips("nondeterministic_output")
        .docs(Group::Generic, "2.2.3", "key", "Tells the encoding of a key: stream."),
    CommandSpec::new("object|freq", 3, Handler::Sync(object::frequency))
        .flags(&[READONLY])
        .keys(2, 2, 1, "RO")
        .tips("nondeterministic_output")
        .docs(Group::Generic, "4.0.0", "key", "An error: how often a topic is used is not tracked."),
    CommandSpec::new("object|idletime", 3, Handler::Sync(object::idle_time))
        .flags(&[READONLY])
        .keys(2, 2, 1, "RO")
        .tips("nondeterministic_output")
        .docs(Group::Generic, "2.2.3", "key", "Tells for how many seconds a topic was not used."),
    CommandSpec::new("object|refcount", 3, Handler::Sync(object::ref_count))
        .flags(&[READONLY])
        .keys(2, 2, 1, "RO")
        .tips("nondeterministic_output")
        .docs(Group::Generic, "2.2.3", "key", "Tells how often a key's object is referred to: once."),
    CommandSpec::new("object|help", 2, Handler::Sync(object::help))
        .flags(&[Flags::LOADING, Flags::STALE])
        .docs(Group::Generic, "6.2.0", "", "Tells what OBJECT can do."),
];
