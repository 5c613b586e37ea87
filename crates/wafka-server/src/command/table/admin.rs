//! Rows of the commands about users, and of those for what Redis has and Wafka has not: replicas, modules.

use crate::command::{CommandSpec, Flags, Group, Handler, SyncHandler};
use crate::commands::{acl, alone, server};

const GROUP: Group = Group::Server;
const ADMIN: &[Flags] = &[Flags::ADMIN, Flags::NOSCRIPT, Flags::LOADING, Flags::STALE];
const ANYONE: &[Flags] = &[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE];
const HELP: &[Flags] = &[Flags::LOADING, Flags::STALE];
const REPLICATION: &[Flags] = &[Flags::ADMIN, Flags::NOSCRIPT, Flags::STALE];
const MODULES: &[Flags] = &[Flags::ADMIN, Flags::NOSCRIPT];
const TO_ALL_NODES: &str = "request_policy:all_nodes response_policy:all_succeeded";

const fn row(
    name: &'static str,
    arity: i16,
    flags: &[Flags],
    handler: SyncHandler,
    since: &'static str,
    syntax: &'static str,
    summary: &'static str,
) -> CommandSpec {
    CommandSpec::new(name, arity, Handler::Sync(handler)).flags(flags).docs(GROUP, since, syntax, summary)
}

/// The rows.
pub static ROWS: &[CommandSpec] = &[
    CommandSpec::new("acl", -2, Handler::Container(ACL)).docs(GROUP, "6.0.0", "", "Tells about users."),
    CommandSpec::new("module", -2, Handler::Container(MODULE)).docs(
        GROUP,
        "4.0.0",
        "",
        "Tells about modules of Redis.",
    ),
    row(
        "replicaof",
        3,
        REPLICATION,
        alone::replica_of,
        "5.0.0",
        "<host port:integer | no one>",
        "An error but for NO ONE: there is no replication.",
    ),
    row(
        "slaveof",
        3,
        REPLICATION,
        alone::replica_of,
        "1.0.0",
        "<host port:integer | no one>",
        "An error but for NO ONE: there is no replication.",
    ),
    row("failover", -1, REPLICATION, alone::failover, "6.2.0", "[ABORT]", "An error: there are no replicas."),
    row(
        "lolwut",
        -1,
        &[Flags::READONLY, Flags::FAST],
        alone::lolwut,
        "5.0.0",
        "[argument]...",
        "Tells the version.",
    ),
    CommandSpec::new("asking", 1, Handler::Sync(server::no_cluster)).flags(&[Flags::FAST]).docs(
        Group::Cluster,
        "3.0.0",
        "",
        "An error: this is no cluster.",
    ),
];

static ACL: &[CommandSpec] = &[
    row("acl|cat", -2, ANYONE, acl::cat, "6.0.0", "[category]", "Lists categories, or the commands of one."),
    row("acl|deluser", -3, ADMIN, acl::del_user, "6.0.0", "username...", "Deletes no user: there is one.")
        .tips(TO_ALL_NODES),
    row(
        "acl|dryrun",
        -4,
        ADMIN,
        acl::dry_run,
        "7.0.0",
        "username command [arg]...",
        "Tells whether a user could execute a command.",
    ),
    row("acl|genpass", -2, ANYONE, acl::gen_pass, "6.0.0", "[bits:integer]", "Makes a random password."),
    row("acl|getuser", 3, ADMIN, acl::get_user, "6.0.0", "username", "Tells about a user."),
    row("acl|help", 2, HELP, acl::help, "6.0.0", "", "Tells what ACL can do."),
    row("acl|list", 2, ADMIN, acl::list, "6.0.0", "", "Shows the user as Redis's configuration would."),
    row("acl|load", 2, ADMIN, acl::one_user, "6.0.0", "", "An error: there is one user."),
    row(
        "acl|log",
        -2,
        ADMIN,
        acl::log,
        "6.0.0",
        "[<count:integer | RESET>]",
        "Lists failed authentications.",
    ),
    row("acl|save", 2, ADMIN, acl::one_user, "6.0.0", "", "An error: there is one user.").tips(TO_ALL_NODES),
    row(
        "acl|setuser",
        -3,
        ADMIN,
        acl::one_user,
        "6.0.0",
        "username [rule]...",
        "An error: there is one user.",
    )
    .tips(TO_ALL_NODES),
    row("acl|users", 2, ADMIN, acl::users, "6.0.0", "", "Lists the names of users: default."),
    row("acl|whoami", 2, ANYONE, acl::who_am_i, "6.0.0", "", "Tells the name of the user: default."),
];

static MODULE: &[CommandSpec] = &[
    row("module|list", 2, MODULES, alone::modules, "4.0.0", "", "Lists the modules: none.")
        .tips("nondeterministic_output_order"),
    row("module|load", -3, MODULES, alone::no_modules, "4.0.0", "path [arg]...", "An error: no modules."),
    row("module|loadex", -3, MODULES, alone::no_modules, "7.0.0", "path [arg]...", "An error: no modules."),
    row("module|unload", 3, MODULES, alone::no_modules, "4.0.0", "name", "An error: no modules."),
    row("module|help", 2, HELP, alone::module_help, "5.0.0", "", "Tells what MODULE can do."),
];
