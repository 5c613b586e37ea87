//! Rows of the commands that make a transaction.

use crate::command::{CommandSpec, Flags, Group, Handler};
use crate::commands::{exec, transaction};

const GROUP: Group = Group::Transactions;
/// Of every row here.
const ANYWHERE: &[Flags] = &[Flags::NOSCRIPT, Flags::LOADING, Flags::STALE];
const QUICK: &[Flags] = &[Flags::FAST, Flags::ALLOW_BUSY];

const fn row(name: &'static str, arity: i16, handler: Handler) -> CommandSpec {
    CommandSpec::new(name, arity, handler).flags(ANYWHERE)
}

/// The rows.
pub static ROWS: &[CommandSpec] = &[
    row("multi", 1, Handler::Sync(transaction::multi)).flags(QUICK).docs(
        GROUP,
        "1.2.0",
        "",
        "Begins a transaction: the commands that follow are queued.",
    ),
    row("exec", 1, Handler::Async(exec::exec)).flags(&[Flags::SKIP_SLOWLOG]).docs(
        GROUP,
        "1.2.0",
        "",
        "Executes the commands of a transaction.",
    ),
    row("discard", 1, Handler::Sync(transaction::discard)).flags(QUICK).docs(
        GROUP,
        "2.0.0",
        "",
        "Forgets the commands of a transaction.",
    ),
    row("watch", -2, Handler::Sync(transaction::watch)).flags(QUICK).keys(1, -1, 1, "RO").docs(
        GROUP,
        "2.2.0",
        "key...",
        "Lets a transaction do nothing if one of these topics is modified before it.",
    ),
    row("unwatch", 1, Handler::Sync(transaction::unwatch)).flags(QUICK).docs(
        GROUP,
        "2.2.0",
        "",
        "Watches no topic any more.",
    ),
];
