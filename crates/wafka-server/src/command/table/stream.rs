//! Rows of the stream commands.

use crate::command::{CommandSpec, Flags, Group, Handler};

const WRITE: Flags = Flags::WRITE;
const READONLY: Flags = Flags::READONLY;
const DENYOOM: Flags = Flags::DENYOOM;
const FAST: Flags = Flags::FAST;
const BLOCKING: Flags = Flags::BLOCKING;

/// `XADD` stays first.
pub static ROWS: &[CommandSpec] = &[
    CommandSpec::new("xadd", -5, Handler::Absent)
        .flags(&[WRITE, DENYOOM, FAST])
        .keys(1, 1, 1, "RW update")
        .tips("nondeterministic_output")
        .docs(
            Group::Stream,
            "5.0.0",
            "key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count:integer]] <* | id> (field value)...",
            "Appends an event to a topic, creating the topic if it does not exist.",
        ),
    CommandSpec::new("xread", -4, Handler::Absent).flags(&[READONLY, BLOCKING]).streams("RO access").docs(
        Group::Stream,
        "5.0.0",
        "[COUNT count:integer] [BLOCK milliseconds:integer] STREAMS(key... id...)",
        "Reads events above the given ids from one or more topics, waiting for them if asked to.",
    ),
    CommandSpec::new("xrange", -4, Handler::Absent).flags(&[READONLY]).keys(1, 1, 1, "RO access").docs(
        Group::Stream,
        "5.0.0",
        "key start end [COUNT count:integer]",
        "Returns the events of a topic whose ids lie in a range.",
    ),
    CommandSpec::new("xrevrange", -4, Handler::Absent).flags(&[READONLY]).keys(1, 1, 1, "RO access").docs(
        Group::Stream,
        "5.0.0",
        "key end start [COUNT count:integer]",
        "Returns the events of a topic whose ids lie in a range, highest first.",
    ),
    CommandSpec::new("xlen", 2, Handler::Absent).flags(&[READONLY, FAST]).keys(1, 1, 1, "RO").docs(
        Group::Stream,
        "5.0.0",
        "key",
        "Returns the number of events in a topic.",
    ),
    CommandSpec::new("xdel", -3, Handler::Absent).flags(&[WRITE, FAST]).keys(1, 1, 1, "RW delete").docs(
        Group::Stream,
        "5.0.0",
        "key id...",
        "Deletes events of a topic by their ids.",
    ),
    CommandSpec::new("xtrim", -4, Handler::Absent)
        .flags(&[WRITE])
        .keys(1, 1, 1, "RW delete")
        .tips("nondeterministic_output")
        .docs(
            Group::Stream,
            "5.0.0",
            "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count:integer]",
            "Deletes the oldest events of a topic.",
        ),
    CommandSpec::new("xsetid", -3, Handler::Absent).flags(&[WRITE, DENYOOM, FAST]).keys(1, 1, 1, "RW update").docs(
        Group::Stream,
        "5.0.0",
        "key last-id [ENTRIESADDED entries-added:integer] [MAXDELETEDID max-deleted-id]",
        "Sets the last id of a topic, and its counters.",
    ),
    CommandSpec::new("xinfo", -2, Handler::Container(XINFO)).docs(
        Group::Stream,
        "5.0.0",
        "",
        "Tells about topics.",
    ),
];

static XINFO: &[CommandSpec] = &[];
