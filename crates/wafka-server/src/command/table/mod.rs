//! The command table: every command that Wafka has, a row each, by family.

pub mod admin;
pub mod connection;
pub mod generic;
pub mod group;
pub mod observe;
pub mod pubsub;
pub mod server;
pub mod stream;
pub mod transactions;
pub mod wafka;

use std::ops::{Deref, Range};
use std::sync::LazyLock;

use super::CommandSpec;

/// The families' rows, streams first, because `XADD` is to be found without a search.
static FAMILIES: [&[CommandSpec]; 10] = [
    stream::ROWS,
    group::ROWS,
    generic::ROWS,
    connection::ROWS,
    pubsub::ROWS,
    transactions::ROWS,
    observe::ROWS,
    server::ROWS,
    admin::ROWS,
    wafka::ROWS,
];

/// A row with its place in the table, by which statistics are kept.
pub struct Command {
    /// The row.
    pub spec: &'static CommandSpec,
    /// Its index in [`commands`].
    pub index: usize,
    /// The indexes of its subcommands.
    subcommands: Range<usize>,
}

impl Deref for Command {
    type Target = CommandSpec;

    fn deref(&self) -> &CommandSpec {
        self.spec
    }
}

struct Table {
    /// The commands in the order of their families, then all subcommands.
    commands: Vec<Command>,
    top_level: usize,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let rows = FAMILIES.into_iter().flatten();
    let mut commands: Vec<Command> =
        rows.enumerate().map(|(index, spec)| Command { spec, index, subcommands: 0..0 }).collect();
    let top_level = commands.len();
    for parent in 0..top_level {
        let begin = commands.len();
        for spec in commands[parent].spec.subcommands() {
            commands.push(Command { spec, index: commands.len(), subcommands: 0..0 });
        }
        commands[parent].subcommands = begin..commands.len();
    }
    Table { commands, top_level }
});

/// All commands, then all subcommands.
#[must_use]
pub fn commands() -> &'static [Command] {
    &TABLE.commands
}

/// All commands without their subcommands.
#[must_use]
pub fn top_level() -> &'static [Command] {
    &TABLE.commands[..TABLE.top_level]
}

impl Command {
    /// The command's subcommands; none when it has none.
    #[must_use]
    pub fn children(&self) -> &'static [Command] {
        &TABLE.commands[self.subcommands.clone()]
    }
}
