//! Rows of Wafka's own commands.

use crate::command::{CommandSpec, Flags, Group, Handler};
use crate::commands::{broker, plugin, topic};

const WRITE: Flags = Flags::WRITE;
const READONLY: Flags = Flags::READONLY;

/// The rows.
pub static ROWS: &[CommandSpec] = &[
    CommandSpec::new("topic", -2, Handler::Container(TOPIC)).docs(
        Group::Stream,
        "",
        "",
        "Manages topics: partitions and partitioner.",
    ),
    CommandSpec::new("broker", -2, Handler::Container(BROKER)).docs(
        Group::Server,
        "",
        "",
        "Tells about the brokers.",
    ),
    CommandSpec::new("plugin", -2, Handler::Container(PLUGIN)).docs(
        Group::Server,
        "",
        "",
        "Tells about plugins.",
    ),
];

static TOPIC: &[CommandSpec] = &[
    CommandSpec::new("topic|create", -3, Handler::Async(topic::create))
        .flags(&[WRITE, Flags::UNQUEUED, Flags::DENYOOM])
        .keys(2, 2, 1, "OW insert")
        .docs(
            Group::Stream,
            "",
            "name [PARTITIONS count:integer] [PARTITIONER partitioner] [BACKEND backend] [OPTION(key value)]...",
            "Creates a topic.",
        ),
    CommandSpec::new("topic|alter", -3, Handler::Async(topic::alter))
        .flags(&[WRITE, Flags::UNQUEUED])
        .keys(2, 2, 1, "RW update")
        .docs(Group::Stream, "", "name [OPTION(key value)]...", "Changes options of a topic's partitioner, and makes it anew."),
    CommandSpec::new("topic|delete", -3, Handler::Async(topic::delete_topics))
        .flags(&[WRITE, Flags::UNQUEUED])
        .keys(2, -1, 1, "RM delete")
        .docs(Group::Stream, "", "name...", "Deletes topics."),
    CommandSpec::new("topic|list", -2, Handler::Sync(topic::list)).flags(&[READONLY, Flags::ALL_NAMES]).docs(
        Group::Stream,
        "",
        "[MATCH pattern] [BACKEND backend]",
        "Lists the names of the topics.",
    ),
    CommandSpec::new("topic|describe", 3, Handler::Async(topic::describe))
        .flags(&[READONLY])
        .keys(2, 2, 1, "RO access")
        .docs(Group::Stream, "", "name", "Tells all about a topic and its partitions."),
    CommandSpec::new("topic|help", 2, Handler::Sync(topic::help))
        .flags(&[Flags::LOADING, Flags::STALE])
        .docs(Group::Stream, "", "", "Tells what TOPIC can do."),
];

static BROKER: &[CommandSpec] = &[
    CommandSpec::new("broker|list", 2, Handler::Sync(broker::list))
        .flags(&[READONLY, Flags::ALL_NAMES])
        .docs(Group::Server, "", "", "Lists the brokers and the partitions they serve."),
    CommandSpec::new("broker|help", 2, Handler::Sync(broker::help))
        .flags(&[Flags::LOADING, Flags::STALE])
        .docs(Group::Server, "", "", "Tells what BROKER can do."),
];

static PLUGIN: &[CommandSpec] = &[
    CommandSpec::new("plugin|list", 2, Handler::Sync(plugin::list)).docs(
        Group::Server,
        "",
        "",
        "Lists the plugins loaded.",
    ),
    CommandSpec::new("plugin|help", 2, Handler::Sync(plugin::help))
        .flags(&[Flags::LOADING, Flags::STALE])
        .docs(Group::Server, "", "", "Tells what PLUGIN can do."),
];
