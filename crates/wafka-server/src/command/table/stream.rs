//! Rows of the stream commands.

use crate::command::{CommandSpec, Flags, Group, Handler};
use crate::commands::{group, idempotence, xadd, xdel, xinfo, xlen, xrange, xread_wait, xsetid, xtrim};

const WRITE: Flags = Flags::WRITE;
const READONLY: Flags = Flags::READONLY;
const DENYOOM: Flags = Flags::DENYOOM;
const FAST: Flags = Flags::FAST;
const BLOCKING: Flags = Flags::BLOCKING;

/// `XADD` stays first.
pub static ROWS: &[CommandSpec] =
    &[
        CommandSpec::new("xadd", -5, Handler::Append { fast: xadd::fast, slow: xadd::slow })
            .flags(&[WRITE, DENYOOM, FAST])
            .keys(1, 1, 1, "RW update")
            .tips("nondeterministic_output")
            .docs(
                Group::Stream,
                "5.0.0",
                "key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [IDMPAUTO producer-id | IDMP(producer-id idempotent-id)] [<MAXLEN | MINID> [= | ~] threshold [LIMIT \
             count:integer]] <* | id> (field value)...",
                "Appends an event to a topic, creating the topic if it does not exist.",
            ),
        CommandSpec::new("xread", -4, Handler::Async(xread_wait::xread))
            .flags(&[READONLY, BLOCKING])
            .streams("RO access")
            .docs(
                Group::Stream,
                "5.0.0",
                "[COUNT count:integer] [MAXCOUNT maxcount:integer] [MAXSIZE maxsize:integer] \
                 [BLOCK milliseconds:integer] STREAMS(key... id...)",
                "Reads events above the given ids from one or more topics, waiting for them if asked to.",
            ),
        CommandSpec::new("xrange", -4, Handler::Async(xrange::xrange))
            .flags(&[READONLY])
            .keys(1, 1, 1, "RO access")
            .docs(
                Group::Stream,
                "5.0.0",
                "key start end [COUNT count:integer]",
                "Returns the events of a topic whose ids lie in a range.",
            ),
        CommandSpec::new("xrevrange", -4, Handler::Async(xrange::xrevrange))
            .flags(&[READONLY])
            .keys(1, 1, 1, "RO access")
            .docs(
                Group::Stream,
                "5.0.0",
                "key end start [COUNT count:integer]",
                "Returns the events of a topic whose ids lie in a range, highest first.",
            ),
        CommandSpec::new("xlen", 2, Handler::Sync(xlen::xlen))
            .flags(&[READONLY, FAST])
            .keys(1, 1, 1, "RO")
            .docs(Group::Stream, "5.0.0", "key", "Returns the number of events in a topic."),
        CommandSpec::new("xdel", -3, Handler::Async(xdel::xdel))
            .flags(&[WRITE, FAST])
            .keys(1, 1, 1, "RW delete")
            .docs(Group::Stream, "5.0.0", "key id...", "Deletes events of a topic by their ids."),
        CommandSpec::new("xtrim", -4, Handler::Async(xtrim::xtrim))
            .flags(&[WRITE])
            .keys(1, 1, 1, "RW delete")
            .tips("nondeterministic_output")
            .docs(
                Group::Stream,
                "5.0.0",
                "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count:integer] [KEEPREF | DELREF | ACKED]",
                "Deletes the oldest events of a topic.",
            ),
        CommandSpec::new("xsetid", -3, Handler::Async(xsetid::xsetid))
            .flags(&[WRITE, DENYOOM, FAST])
            .keys(1, 1, 1, "RW update")
            .docs(
                Group::Stream,
                "5.0.0",
                "key last-id [ENTRIESADDED entries-added:integer] [MAXDELETEDID max-deleted-id]",
                "Sets the last id of a topic, and its counters.",
            ),
        CommandSpec::new("xcfgset", -2, Handler::Async(idempotence::xcfgset))
            .flags(&[WRITE, DENYOOM, FAST])
            .keys(1, 1, 1, "RW update")
            .docs(
                Group::Stream,
                "8.6.0",
                "key [IDMP-DURATION seconds:integer] [IDMP-MAXSIZE count:integer]",
                "Sets for how long, and how many, idempotent events of its producers a topic knows.",
            ),
        CommandSpec::new("xidmprecord", 5, Handler::Async(idempotence::xidmprecord))
            .flags(&[WRITE, DENYOOM, FAST])
            .keys(1, 1, 1, "RW update")
            .docs(
                Group::Stream,
                "8.6.0",
                "key producer-id idempotent-id id",
                "Notes under which idempotent id a producer sent an event.",
            ),
        CommandSpec::new("xinfo", -2, Handler::Container(XINFO)).docs(
            Group::Stream,
            "5.0.0",
            "",
            "Tells about topics.",
        ),
    ];

static XINFO: &[CommandSpec] = &[
    CommandSpec::new("xinfo|stream", -3, Handler::Async(xinfo::stream))
        .flags(&[READONLY])
        .keys(2, 2, 1, "RO access")
        .docs(
            Group::Stream,
            "5.0.0",
            "key [FULL [COUNT count:integer]]",
            "Tells about a topic and its events.",
        ),
    CommandSpec::new("xinfo|groups", 3, Handler::Async(group::xinfo::groups))
        .flags(&[READONLY])
        .keys(2, 2, 1, "RO access")
        .docs(Group::Stream, "5.0.0", "key", "Lists the consumer groups of a topic."),
    CommandSpec::new("xinfo|consumers", 4, Handler::Sync(group::xinfo::consumers))
        .flags(&[READONLY])
        .keys(2, 2, 1, "RO access")
        .tips("nondeterministic_output")
        .docs(Group::Stream, "5.0.0", "key group", "Lists the consumers of a consumer group."),
    CommandSpec::new("xinfo|help", 2, Handler::Sync(xinfo::help))
        .flags(&[Flags::LOADING, Flags::STALE])
        .docs(Group::Stream, "5.0.0", "", "Tells what XINFO can do."),
];
