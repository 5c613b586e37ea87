//! Rows of the commands of consumer groups.

use crate::command::{CommandSpec, Flags, Group, Handler};
use crate::commands::group::{wait, xack, xackdel, xautoclaim, xclaim, xdelex, xgroup, xnack, xpending};

const WRITE: Flags = Flags::WRITE;
const READONLY: Flags = Flags::READONLY;
const DENYOOM: Flags = Flags::DENYOOM;
const FAST: Flags = Flags::FAST;
const BLOCKING: Flags = Flags::BLOCKING;

/// The commands.
pub static ROWS: &[CommandSpec] = &[
    CommandSpec::new("xreadgroup", -7, Handler::Async(wait::xreadgroup))
        .flags(&[WRITE, BLOCKING])
        .streams("RO access")
        .docs(
            Group::Stream,
            "5.0.0",
            "GROUP(group consumer) [COUNT count:integer] [MAXCOUNT maxcount:integer] [MAXSIZE maxsize:integer] \
             [BLOCK milliseconds:integer] [CLAIM min-idle-time:integer] [NOACK] STREAMS(key... id...)",
            "Reads events that are new to a consumer group, or pending for one of its consumers, waiting if asked to.",
        ),
    CommandSpec::new("xgroup", -2, Handler::Container(XGROUP)).docs(
        Group::Stream,
        "5.0.0",
        "",
        "Manages consumer groups.",
    ),
    CommandSpec::new("xack", -4, Handler::Async(xack::xack))
        .flags(&[WRITE, FAST])
        .keys(1, 1, 1, "RW update")
        .docs(
            Group::Stream,
            "5.0.0",
            "key group id...",
            "Acknowledges events that are pending in a consumer group.",
        ),
    CommandSpec::new("xpending", -3, Handler::Async(xpending::xpending))
        .flags(&[READONLY])
        .keys(1, 1, 1, "RO access")
        .tips("nondeterministic_output")
        .docs(
            Group::Stream,
            "5.0.0",
            "key group [[IDLE min-idle-time:integer] start end count:integer [consumer]]",
            "Tells which events of a consumer group are pending.",
        ),
    CommandSpec::new("xclaim", -6, Handler::Async(xclaim::xclaim))
        .flags(&[WRITE, FAST])
        .keys(1, 1, 1, "RW update")
        .tips("nondeterministic_output")
        .docs(
            Group::Stream,
            "5.0.0",
            "key group consumer min-idle-time id... [IDLE ms:integer] \
             [TIME unix-time-milliseconds:unix-time] [RETRYCOUNT count:integer] [FORCE] [JUSTID] [LASTID lastid]",
            "Makes events that are pending with others a consumer's own.",
        ),
    CommandSpec::new("xautoclaim", -6, Handler::Async(xautoclaim::xautoclaim))
        .flags(&[WRITE, FAST])
        .keys(1, 1, 1, "RW delete")
        .tips("nondeterministic_output")
        .docs(
            Group::Stream,
            "6.2.0",
            "key group consumer min-idle-time start [COUNT count:integer] [JUSTID]",
            "Makes events that have been pending for some time a consumer's own.",
        ),
    CommandSpec::new("xackdel", -6, Handler::Async(xackdel::xackdel))
        .flags(&[WRITE, FAST])
        .keys(1, 1, 1, "RW update delete")
        .docs(
            Group::Stream,
            "8.2.0",
            "key group [KEEPREF | DELREF | ACKED] IDS(numids:integer id...)",
            "Acknowledges events that are pending in a consumer group, and deletes them.",
        ),
    CommandSpec::new("xdelex", -5, Handler::Async(xdelex::xdelex))
        .flags(&[WRITE, FAST])
        .keys(1, 1, 1, "RW delete")
        .docs(
            Group::Stream,
            "8.2.0",
            "key [KEEPREF | DELREF | ACKED] IDS(numids:integer id...)",
            "Deletes events of a topic by their ids, with an eye to the groups that refer to them.",
        ),
    CommandSpec::new("xnack", -7, Handler::Async(xnack::xnack))
        .flags(&[WRITE, FAST])
        .keys(1, 1, 1, "RW update")
        .docs(
            Group::Stream,
            "8.8.0",
            "key group <SILENT | FAIL | FATAL> IDS(numids:integer id...) [RETRYCOUNT count:integer] [FORCE]",
            "Gives events that are pending in a consumer group back to the group.",
        ),
];

static XGROUP: &[CommandSpec] = &[
    CommandSpec::new("xgroup|create", -5, Handler::Async(xgroup::create))
        .flags(&[WRITE, DENYOOM])
        .keys(2, 2, 1, "RW insert")
        .docs(
            Group::Stream,
            "5.0.0",
            "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read:integer]",
            "Creates a consumer group.",
        ),
    CommandSpec::new("xgroup|setid", -5, Handler::Async(xgroup::set_id))
        .flags(&[WRITE])
        .keys(2, 2, 1, "RW update")
        .docs(
            Group::Stream,
            "5.0.0",
            "key group <id | $> [ENTRIESREAD entries-read:integer]",
            "Sets the last id delivered in a consumer group.",
        ),
    CommandSpec::new("xgroup|destroy", 4, Handler::Async(xgroup::destroy))
        .flags(&[WRITE])
        .keys(2, 2, 1, "RW delete")
        .docs(Group::Stream, "5.0.0", "key group", "Deletes a consumer group."),
    CommandSpec::new("xgroup|createconsumer", 5, Handler::Async(xgroup::create_consumer))
        .flags(&[WRITE, DENYOOM])
        .keys(2, 2, 1, "RW insert")
        .docs(Group::Stream, "6.2.0", "key group consumer", "Creates a consumer in a consumer group."),
    CommandSpec::new("xgroup|delconsumer", 5, Handler::Async(xgroup::delete_consumer))
        .flags(&[WRITE])
        .keys(2, 2, 1, "RW delete")
        .docs(Group::Stream, "5.0.0", "key group consumer", "Deletes a consumer of a consumer group."),
    CommandSpec::new("xgroup|help", 2, Handler::Sync(xgroup::help))
        .flags(&[Flags::LOADING, Flags::STALE])
        .docs(Group::Stream, "5.0.0", "", "Tells what XGROUP can do."),
];
