//! Rows of the commands about the server.

use crate::command::{CommandSpec, Flags, Group, Handler, SyncHandler};
use crate::commands::{command_docs, command_info, config, info, object, server};

const ADMIN: Flags = Flags::ADMIN;
const FAST: Flags = Flags::FAST;
const LOADING: Flags = Flags::LOADING;
const STALE: Flags = Flags::STALE;
const NOSCRIPT: Flags = Flags::NOSCRIPT;

const SERVER: Group = Group::Server;

/// A row of a command that never waits.
const fn sync(name: &'static str, arity: i16, handler: SyncHandler) -> CommandSpec {
    CommandSpec::new(name, arity, Handler::Sync(handler))
}

const fn container(name: &'static str, rows: &'static [CommandSpec]) -> CommandSpec {
    CommandSpec::new(name, -2, Handler::Container(rows))
}

/// The rows.
pub static ROWS: &[CommandSpec] = &[
    CommandSpec::new("command", -1, Handler::Container(COMMAND))
        .bare(command_info::all)
        .flags(&[LOADING, STALE])
        .tips("nondeterministic_output_order")
        .docs(SERVER, "2.8.13", "", "Tells about all commands."),
    sync("info", -1, info::info)
        .flags(&[LOADING, STALE])
        .tips("nondeterministic_output request_policy:all_shards response_policy:special")
        .docs(SERVER, "1.0.0", "[section]...", "Tells about the server and its statistics."),
    container("config", CONFIG).docs(SERVER, "2.0.0", "", "Tells about the configuration and changes it."),
    sync("time", 1, server::time).flags(&[LOADING, STALE, FAST]).tips("nondeterministic_output").docs(
        SERVER,
        "2.6.0",
        "",
        "Tells the server's time.",
    ),
    sync("shutdown", -1, server::shutdown)
        .flags(&[ADMIN, NOSCRIPT, LOADING, STALE, Flags::NO_MULTI, Flags::ALLOW_BUSY])
        .docs(
            SERVER,
            "1.0.0",
            "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
            "Commits everything accepted and stops the server.",
        ),
    sync("wait", 3, server::wait)
        .flags(&[Flags::BLOCKING])
        .tips("request_policy:all_shards response_policy:agg_min")
        .docs(
            Group::Generic,
            "3.0.0",
            "numreplicas:integer timeout:integer",
            "Tells how many replicas there are: none.",
        ),
    sync("waitaof", 4, server::wait_aof)
        .flags(&[Flags::BLOCKING])
        .tips("request_policy:all_shards response_policy:agg_min")
        .docs(
            Group::Generic,
            "7.2.0",
            "numlocal:integer numreplicas:integer timeout:integer",
            "Tells whether what was answered is synced to disk.",
        ),
    sync("lastsave", 1, server::last_save)
        .flags(&[LOADING, STALE, FAST])
        .tips("nondeterministic_output")
        .docs(SERVER, "1.0.0", "", "Tells when the server started: it makes no snapshots."),
    sync("save", 1, server::no_snapshots).flags(&[ADMIN, NOSCRIPT, Flags::NO_MULTI]).docs(
        SERVER,
        "1.0.0",
        "",
        "An error: events are in their files already.",
    ),
    sync("bgsave", -1, server::no_snapshots).flags(&[ADMIN, NOSCRIPT]).docs(
        SERVER,
        "1.0.0",
        "[SCHEDULE]",
        "An error: events are in their files already.",
    ),
    sync("bgrewriteaof", 1, server::no_snapshots).flags(&[ADMIN, NOSCRIPT]).docs(
        SERVER,
        "1.0.0",
        "",
        "An error: events are in their files already.",
    ),
    sync("role", 1, server::role).flags(&[NOSCRIPT, LOADING, STALE, FAST]).docs(
        SERVER,
        "2.8.12",
        "",
        "Tells the role in a replication: master, without replicas.",
    ),
    sync("cluster", -2, server::no_cluster).docs(
        Group::Cluster,
        "3.0.0",
        "subcommand [argument]...",
        "An error: this is no cluster.",
    ),
    sync("readonly", 1, server::no_cluster).flags(&[LOADING, STALE, FAST]).docs(
        Group::Cluster,
        "3.0.0",
        "",
        "An error: this is no cluster.",
    ),
    sync("readwrite", 1, server::no_cluster).flags(&[LOADING, STALE, FAST]).docs(
        Group::Cluster,
        "3.0.0",
        "",
        "An error: this is no cluster.",
    ),
    container("debug", DEBUG).flags(&[ADMIN, NOSCRIPT, LOADING, STALE]).docs(
        SERVER,
        "1.0.0",
        "",
        "Helps to test clients.",
    ),
    container("memory", MEMORY).docs(SERVER, "4.0.0", "", "Tells about the use of memory."),
];

static COMMAND: &[CommandSpec] = &[
    sync("command|count", 2, command_info::count).flags(&[LOADING, STALE]).docs(
        SERVER,
        "2.8.13",
        "",
        "Tells how many commands there are.",
    ),
    sync("command|docs", -2, command_docs::docs)
        .flags(&[LOADING, STALE])
        .tips("nondeterministic_output_order")
        .docs(SERVER, "7.0.0", "[command-name]...", "Documents commands."),
    sync("command|info", -2, command_info::info)
        .flags(&[LOADING, STALE])
        .tips("nondeterministic_output_order")
        .docs(SERVER, "2.8.13", "[command-name]...", "Tells about commands."),
    sync("command|list", -2, command_info::list)
        .flags(&[LOADING, STALE])
        .tips("nondeterministic_output_order")
        .docs(
            SERVER,
            "7.0.0",
            "[FILTERBY(<MODULE module-name | ACLCAT category | PATTERN pattern>)]",
            "Lists the names of commands.",
        ),
    sync("command|getkeys", -3, command_info::get_keys).flags(&[LOADING, STALE]).docs(
        SERVER,
        "2.8.13",
        "command [arg]...",
        "Tells which arguments of a command are keys.",
    ),
    sync("command|getkeysandflags", -3, command_info::get_keys_and_flags).flags(&[LOADING, STALE]).docs(
        SERVER,
        "7.0.0",
        "command [arg]...",
        "Tells which arguments of a command are keys, and what it does with them.",
    ),
    sync("command|help", 2, command_info::help).flags(&[LOADING, STALE]).docs(
        SERVER,
        "5.0.0",
        "",
        "Tells what COMMAND can do.",
    ),
];

static CONFIG: &[CommandSpec] = &[
    sync("config|get", -3, config::get).flags(&[ADMIN, NOSCRIPT, LOADING, STALE]).docs(
        SERVER,
        "2.0.0",
        "pattern...",
        "Tells the values of parameters.",
    ),
    CommandSpec::new("config|set", -4, Handler::Async(config::set))
        .flags(&[ADMIN, NOSCRIPT, LOADING, STALE])
        .tips("request_policy:all_nodes response_policy:all_succeeded")
        .docs(SERVER, "2.0.0", "(parameter value)...", "Sets parameters until the server stops."),
    sync("config|resetstat", 2, config::reset_stat)
        .flags(&[ADMIN, NOSCRIPT, LOADING, STALE])
        .tips("request_policy:all_nodes response_policy:all_succeeded")
        .docs(SERVER, "2.0.0", "", "Sets the statistics back to 0."),
    sync("config|rewrite", 2, config::rewrite)
        .flags(&[ADMIN, NOSCRIPT, LOADING, STALE])
        .tips("request_policy:all_nodes response_policy:all_succeeded")
        .docs(SERVER, "2.8.0", "", "An error: the configuration file is changed by hand."),
    sync("config|help", 2, config::help).flags(&[LOADING, STALE]).docs(
        SERVER,
        "5.0.0",
        "",
        "Tells what CONFIG can do.",
    ),
];

static DEBUG: &[CommandSpec] = &[
    CommandSpec::new("debug|sleep", 3, Handler::Async(server::debug_sleep))
        .flags(&[ADMIN, Flags::UNQUEUED, NOSCRIPT, LOADING, STALE])
        .docs(SERVER, "2.2.3", "seconds:double", "Delays this connection."),
    sync("debug|help", 2, server::debug_help).flags(&[ADMIN, NOSCRIPT, LOADING, STALE]).docs(
        SERVER,
        "5.0.0",
        "",
        "Tells what DEBUG can do.",
    ),
];

static MEMORY: &[CommandSpec] = &[
    sync("memory|doctor", 2, server::memory_doctor)
        .tips("nondeterministic_output request_policy:all_shards response_policy:special")
        .docs(SERVER, "4.0.0", "", "Reports on the use of memory."),
    sync("memory|stats", 2, server::memory_stats)
        .tips("nondeterministic_output request_policy:all_shards response_policy:special")
        .docs(SERVER, "4.0.0", "", "Tells the use of memory in numbers."),
    sync("memory|purge", 2, server::memory_purge)
        .tips("request_policy:all_shards response_policy:all_succeeded")
        .docs(SERVER, "4.0.0", "", "Nothing: memory is given back as it becomes free."),
    sync("memory|malloc-stats", 2, server::malloc_stats)
        .tips("nondeterministic_output request_policy:all_shards response_policy:special")
        .docs(SERVER, "4.0.0", "", "Tells that the allocator keeps no statistics."),
    CommandSpec::new("memory|usage", -3, Handler::Async(object::memory_usage))
        .flags(&[Flags::READONLY])
        .keys(2, 2, 1, "RO")
        .docs(SERVER, "4.0.0", "key [SAMPLES count:integer]", "Tells the memory that a topic takes."),
    sync("memory|help", 2, server::memory_help).flags(&[LOADING, STALE]).docs(
        SERVER,
        "4.0.0",
        "",
        "Tells what MEMORY can do.",
    ),
];
