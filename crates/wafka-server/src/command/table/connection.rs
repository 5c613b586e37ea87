//! Rows of the commands about the connection.

use crate::command::{CommandSpec, Flags, Group, Handler};
use crate::commands::{client, client_list, connection, hello};

const ADMIN: Flags = Flags::ADMIN;
const FAST: Flags = Flags::FAST;
/// Of every row here.
const ANYWHERE: &[Flags] = &[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE];
const NO_AUTH: &[Flags] = &[Flags::NO_AUTH, Flags::ALLOW_BUSY, FAST];

const fn row(name: &'static str, arity: i16, handler: Handler) -> CommandSpec {
    CommandSpec::new(name, arity, handler).flags(ANYWHERE)
}

const CONNECTION: Group = Group::Connection;

/// The rows.
pub static ROWS: &[CommandSpec] = &[
    CommandSpec::new("ping", -1, Handler::Sync(connection::ping))
        .flags(&[FAST])
        .tips("request_policy:all_shards response_policy:all_succeeded")
        .docs(CONNECTION, "1.0.0", "[message]", "Answers PONG, or the message."),
    CommandSpec::new("echo", 2, Handler::Sync(connection::echo))
        .flags(&[FAST, Flags::LOADING, Flags::STALE])
        .docs(CONNECTION, "1.0.0", "message", "Answers the message."),
    row("hello", -1, Handler::Sync(hello::hello)).flags(NO_AUTH).docs(
        CONNECTION,
        "6.0.0",
        "[protover:integer [AUTH(username password)] [SETNAME clientname]]",
        "Chooses the protocol version and tells about the server.",
    ),
    row("auth", -2, Handler::Sync(hello::auth)).flags(NO_AUTH).docs(
        CONNECTION,
        "1.0.0",
        "[username] password",
        "Authenticates the connection.",
    ),
    CommandSpec::new("select", 2, Handler::Sync(connection::select))
        .flags(&[Flags::LOADING, Flags::STALE, FAST])
        .docs(CONNECTION, "1.0.0", "index:integer", "Chooses the database."),
    row("reset", 1, Handler::Sync(connection::reset)).flags(NO_AUTH).docs(
        CONNECTION,
        "6.2.0",
        "",
        "Makes the connection as new.",
    ),
    row("quit", -1, Handler::Sync(connection::quit)).flags(NO_AUTH).docs(
        CONNECTION,
        "1.0.0",
        "[ignored]...",
        "Closes the connection.",
    ),
    CommandSpec::new("client", -2, Handler::Container(CLIENT)).docs(
        CONNECTION,
        "2.4.0",
        "",
        "Tells about clients and manages them.",
    ),
];

static CLIENT: &[CommandSpec] = &[
    row("client|id", 2, Handler::Sync(client::id)).docs(
        CONNECTION,
        "5.0.0",
        "",
        "Tells the number of the connection.",
    ),
    row("client|info", 2, Handler::Sync(client_list::info)).tips("nondeterministic_output").docs(
        CONNECTION,
        "6.2.0",
        "",
        "Tells about the connection.",
    ),
    row("client|list", -2, Handler::Sync(client_list::list))
        .flags(&[ADMIN])
        .tips("nondeterministic_output")
        .docs(
            CONNECTION,
            "2.4.0",
            "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id:integer...]",
            "Lists the connections.",
        ),
    row("client|kill", -3, Handler::Sync(client_list::kill)).flags(&[ADMIN]).docs(
        CONNECTION,
        "2.4.0",
        "<ip-port | <ID client-id:integer | TYPE type | USER username | ADDR address | LADDR address | \
         SKIPME yes-no | MAXAGE seconds:integer>...>",
        "Closes connections.",
    ),
    row("client|setname", 3, Handler::Sync(client::set_name))
        .tips("request_policy:all_nodes response_policy:all_succeeded")
        .docs(CONNECTION, "2.6.9", "connection-name", "Names the connection."),
    row("client|getname", 2, Handler::Sync(client::get_name)).docs(
        CONNECTION,
        "2.6.9",
        "",
        "Tells the connection's name.",
    ),
    row("client|setinfo", 4, Handler::Sync(client::set_info))
        .tips("request_policy:all_nodes response_policy:all_succeeded")
        .docs(CONNECTION, "7.2.0", "<LIB-NAME libname | LIB-VER libver>", "Notes the client's library."),
    row("client|reply", 3, Handler::Sync(client::reply)).docs(
        CONNECTION,
        "3.2.0",
        "<ON | OFF | SKIP>",
        "Chooses which replies are sent.",
    ),
    row("client|pause", -3, Handler::Sync(client::pause)).flags(&[ADMIN]).docs(
        CONNECTION,
        "3.0.0",
        "timeout:integer [WRITE | ALL]",
        "Holds back commands for a time.",
    ),
    row("client|unpause", 2, Handler::Sync(client::unpause)).flags(&[ADMIN]).docs(
        CONNECTION,
        "6.2.0",
        "",
        "Ends a pause.",
    ),
    row("client|unblock", -3, Handler::Sync(client::unblock)).flags(&[ADMIN]).docs(
        CONNECTION,
        "5.0.0",
        "client-id:integer [TIMEOUT | ERROR]",
        "Ends the waiting of a blocked client.",
    ),
    row("client|no-evict", 3, Handler::Sync(client::no_evict)).flags(&[ADMIN]).docs(
        CONNECTION,
        "7.0.0",
        "<ON | OFF>",
        "Marks the connection as not to be evicted; none ever is.",
    ),
    row("client|no-touch", 3, Handler::Sync(client::no_touch)).docs(
        CONNECTION,
        "7.2.0",
        "<ON | OFF>",
        "Marks the connection as not touching what it reads; none ever does.",
    ),
    row("client|tracking", -3, Handler::Sync(client::tracking)).docs(
        CONNECTION,
        "6.0.0",
        "<ON | OFF> [REDIRECT client-id:integer] [PREFIX prefix]... [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
        "Ends tracking, which is never on.",
    ),
    row("client|caching", 3, Handler::Sync(client::caching)).docs(
        CONNECTION,
        "6.0.0",
        "<YES | NO>",
        "An error: tracking is never on.",
    ),
    row("client|trackinginfo", 2, Handler::Sync(client::tracking_info)).docs(
        CONNECTION,
        "6.2.0",
        "",
        "Tells that tracking is off.",
    ),
    row("client|getredir", 2, Handler::Sync(client::get_redir)).docs(
        CONNECTION,
        "6.0.0",
        "",
        "Tells that tracking is not redirected.",
    ),
    CommandSpec::new("client|help", 2, Handler::Sync(client::help))
        .flags(&[Flags::LOADING, Flags::STALE])
        .docs(CONNECTION, "5.0.0", "", "Tells what CLIENT can do."),
];
