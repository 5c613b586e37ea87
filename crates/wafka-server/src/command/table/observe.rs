//! Rows of the commands by which operators watch the server.

use crate::command::{CommandSpec, Flags, Group, Handler, SyncHandler};
use crate::commands::{latency, monitor};

const GROUP: Group = Group::Server;
const ADMIN: &[Flags] = &[Flags::ADMIN, Flags::LOADING, Flags::STALE];
const ADMIN_ALONE: &[Flags] = &[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE];
const HELP: &[Flags] = &[Flags::LOADING, Flags::STALE];
const OF_EVERY_NODE: &str = "nondeterministic_output request_policy:all_nodes response_policy:special";

const fn row(name: &'static str, arity: i16, flags: &[Flags], handler: SyncHandler) -> CommandSpec {
    CommandSpec::new(name, arity, Handler::Sync(handler)).flags(flags)
}

/// The rows.
pub static ROWS: &[CommandSpec] = &[
    row("monitor", 1, ADMIN_ALONE, monitor::monitor).docs(
        GROUP,
        "1.0.0",
        "",
        "Shows all commands from now on.",
    ),
    CommandSpec::new("slowlog", -2, Handler::Container(SLOWLOG)).docs(
        GROUP,
        "2.2.12",
        "",
        "Tells which commands took long.",
    ),
    CommandSpec::new("latency", -2, Handler::Container(LATENCY)).docs(
        GROUP,
        "2.8.13",
        "",
        "Tells about latency.",
    ),
];

static SLOWLOG: &[CommandSpec] = &[
    row("slowlog|get", -2, ADMIN, monitor::get)
        .tips("request_policy:all_nodes nondeterministic_output")
        .docs(GROUP, "2.2.12", "[count:integer]", "Lists the commands that took long."),
    row("slowlog|len", 2, ADMIN, monitor::len)
        .tips("request_policy:all_nodes response_policy:agg_sum nondeterministic_output")
        .docs(GROUP, "2.2.12", "", "Tells how many slow commands are kept."),
    row("slowlog|reset", 2, ADMIN, monitor::reset)
        .tips("request_policy:all_nodes response_policy:all_succeeded")
        .docs(GROUP, "2.2.12", "", "Forgets all slow commands."),
    row("slowlog|help", 2, HELP, monitor::help).docs(GROUP, "6.2.0", "", "Tells what SLOWLOG can do."),
];

static LATENCY: &[CommandSpec] = &[
    row("latency|doctor", 2, ADMIN_ALONE, latency::doctor).tips(OF_EVERY_NODE).docs(
        GROUP,
        "2.8.13",
        "",
        "Reports on latency for people.",
    ),
    row("latency|graph", 3, ADMIN_ALONE, latency::graph).tips(OF_EVERY_NODE).docs(
        GROUP,
        "2.8.13",
        "event",
        "Draws the latency spikes of an event.",
    ),
    row("latency|histogram", -2, ADMIN_ALONE, latency::histogram).tips(OF_EVERY_NODE).docs(
        GROUP,
        "7.0.0",
        "[command]...",
        "Tells how long commands took.",
    ),
    row("latency|history", 3, ADMIN_ALONE, latency::history).tips(OF_EVERY_NODE).docs(
        GROUP,
        "2.8.13",
        "event",
        "Lists the latency spikes of an event.",
    ),
    row("latency|latest", 2, ADMIN_ALONE, latency::latest).tips(OF_EVERY_NODE).docs(
        GROUP,
        "2.8.13",
        "",
        "Tells the latest latency spike of every event.",
    ),
    row("latency|reset", -2, ADMIN_ALONE, latency::reset)
        .tips("request_policy:all_nodes response_policy:agg_sum")
        .docs(GROUP, "2.8.13", "[event]...", "Forgets latency spikes."),
    row("latency|help", 2, HELP, latency::help).docs(GROUP, "2.8.13", "", "Tells what LATENCY can do."),
];
