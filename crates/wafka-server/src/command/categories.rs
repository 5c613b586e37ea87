//! Redis's ACL categories: what `ACL CAT`, `COMMAND INFO` and `COMMAND LIST` group commands by.

use super::{CommandSpec, Flags, Group, Handler};

/// All categories, as `ACL CAT` lists them; those of types that are not here have no commands.
pub const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// The categories of a command, each with its `@`, in Redis's order.
#[must_use]
pub fn categories(spec: &CommandSpec) -> Vec<&'static str> {
    if matches!(spec.handler, Handler::Container(_)) && !matches!(spec.name, "command" | "debug") {
        // What it is about is told of its subcommands.
        return vec!["@slow"];
    }
    let flags = spec.flags;
    let fast = flags.contains(Flags::FAST);
    let name = spec.full_name;
    let admin = flags.contains(Flags::ADMIN) || matches!(name, "role" | "lastsave");
    let waits = matches!(name, "wait" | "waitaof");
    let keyspace = spec.group == Group::Generic && !waits
        || matches!(name, "dbsize" | "flushdb" | "flushall" | "swapdb");
    let dangerous = admin || matches!(name, "keys" | "flushdb" | "flushall" | "swapdb" | "info" | "restore");
    let connection = spec.group == Group::Connection
        || waits
        || matches!(name, "readonly" | "readwrite" | "asking" | "command")
        || name.starts_with("command|");
    let rules = [
        (keyspace, "@keyspace"),
        (flags.contains(Flags::READONLY), "@read"),
        (flags.contains(Flags::WRITE), "@write"),
        (spec.group == Group::Stream, "@stream"),
        (flags.contains(Flags::PUBSUB), "@pubsub"),
        (admin, "@admin"),
        (fast, "@fast"),
        (!fast, "@slow"),
        (flags.contains(Flags::BLOCKING), "@blocking"),
        (dangerous, "@dangerous"),
        (connection, "@connection"),
        (spec.group == Group::Transactions, "@transaction"),
    ];
    rules.into_iter().filter(|(applies, _)| *applies).map(|(_, category)| category).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    #[test]
    fn every_command_is_in_categories_that_there_are() {
        for command in table::commands() {
            let found = categories(command);
            assert!(found.contains(&"@fast") != found.contains(&"@slow"), "{}", command.full_name);
            for category in found {
                assert!(CATEGORIES.contains(&&category[1..]), "{category}");
            }
        }
    }
}
