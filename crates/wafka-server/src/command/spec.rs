//! A row of the command table.

use std::future::Future;
use std::pin::Pin;

use super::{Args, CommandError, Flags};
use crate::session::Session;

/// A command that never waits: it appends its reply by [`Session::reply`].
pub type SyncHandler = fn(&mut Session, &Args<'_>) -> Result<(), CommandError>;

/// The future of a command that may wait. It stays on its connection's thread.
pub type HandlerFuture<'a> = Pin<Box<dyn Future<Output = Result<(), CommandError>> + 'a>>;

/// A command that may wait, for a commit, for data, or for work on another thread.
pub type AsyncHandler = for<'a> fn(&'a mut Session, &'a Args<'a>) -> HandlerFuture<'a>;

/// The fast path of a command that appends an event.
pub type AppendHandler = fn(&mut Session, &Args<'_>) -> Result<Append, CommandError>;

/// What the fast path of an append came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Append {
    /// The event is on its way; [`Session::push_append`] was called and the reply follows with its commit.
    Pending,
    /// Nothing was done: the slow path must take the request, once the appends before it are answered.
    Slow,
}

/// How a command is executed.
///
/// All but the fast path of [`Handler::Append`] are called when every append of the connection before them is
/// committed and answered, so a pipeline sees its own writes and replies keep their order. What a handler wrote is
/// cut off again when it returns an error.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Never waits.
    Sync(SyncHandler),
    /// May wait.
    Async(AsyncHandler),
    /// Appends an event: `fast` takes the request where nothing has to be waited for, else `slow` does.
    Append {
        /// Parses and appends without waiting.
        fast: AppendHandler,
        /// Does all of it, waiting where need be.
        slow: AsyncHandler,
    },
    /// Is named by its first argument too: `CLIENT ID`. Each subcommand is a row, with an arity that counts both
    /// names.
    Container(&'static [CommandSpec]),
}

/// Redis's groups of commands, as `COMMAND DOCS` names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// `connection`
    Connection,
    /// `generic`: whatever the type of the key.
    Generic,
    /// `server`
    Server,
    /// `stream`
    Stream,
    /// `cluster`
    Cluster,
    /// `pubsub`
    PubSub,
    /// `transactions`
    Transactions,
}

impl Group {
    /// Redis's name of the group.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Group::Connection => "connection",
            Group::Generic => "generic",
            Group::Server => "server",
            Group::Stream => "stream",
            Group::Cluster => "cluster",
            Group::PubSub => "pubsub",
            Group::Transactions => "transactions",
        }
    }
}

/// Where a command's keys stand among its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// It has none.
    None,
    /// At fixed places.
    Range {
        /// The index of the first key, the command's name being 0.
        first: i16,
        /// The index of the last key; from the end when negative.
        last: i16,
        /// From one key to the next.
        step: i16,
    },
    /// After the word `STREAMS`, the first half of what follows.
    Streams,
}

/// One row of the command table.
#[derive(Clone, Copy)]
pub struct CommandSpec {
    /// The name in lower case; of a subcommand, its own: `setname`.
    pub name: &'static str,
    /// The name in lower case as errors and statistics show it: `client|setname`.
    pub full_name: &'static str,
    /// The number of arguments with the names; at least `-arity` when negative.
    pub arity: i16,
    /// What it does and where it is allowed.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: Keys,
    /// Redis's flags of those keys, for `COMMAND INFO`: `RW update`, separated by blanks. Where the keys differ, those of
    /// each, separated by semicolons.
    pub key_flags: &'static str,
    /// Redis's group.
    pub group: Group,
    /// Redis's command tips, for `COMMAND INFO`, separated by blanks.
    pub tips: &'static str,
    /// One sentence for people.
    pub summary: &'static str,
    /// The version of Redis that brought it; Wafka's own have none.
    pub since: &'static str,
    /// The arguments after the name, in the notation of redis.io: `[COUNT count] <* | id>`; see
    /// [`syntax`](crate::command::syntax).
    pub syntax: &'static str,
    /// What executes it.
    pub handler: Handler,
    /// What executes a container's name alone; without it that is the wrong number of arguments.
    pub bare: Option<SyncHandler>,
}

impl CommandSpec {
    /// A row; what is left out is empty.
    #[must_use]
    pub const fn new(name: &'static str, arity: i16, handler: Handler) -> Self {
        CommandSpec {
            name: own_name(name),
            full_name: name,
            arity,
            flags: Flags::NONE,
            keys: Keys::None,
            key_flags: "",
            group: Group::Server,
            tips: "",
            summary: "",
            since: "",
            syntax: "",
            handler,
            bare: None,
        }
    }

    /// With what executes a container's name alone.
    #[must_use]
    pub const fn bare(mut self, handler: SyncHandler) -> Self {
        self.bare = Some(handler);
        self
    }

    /// With these flags too.
    #[must_use]
    pub const fn flags(mut self, flags: &[Flags]) -> Self {
        let mut at = 0;
        while at < flags.len() {
            self.flags = self.flags.with(flags[at]);
            at += 1;
        }
        self
    }

    /// With keys at fixed places, and Redis's flags for them.
    #[must_use]
    pub const fn keys(mut self, first: i16, last: i16, step: i16, key_flags: &'static str) -> Self {
        self.keys = Keys::Range { first, last, step };
        self.key_flags = key_flags;
        self
    }

    /// With keys after the word `STREAMS`, and Redis's flags for them.
    #[must_use]
    pub const fn streams(mut self, key_flags: &'static str) -> Self {
        self.keys = Keys::Streams;
        self.key_flags = key_flags;
        self.flags(&[Flags::MOVABLEKEYS])
    }

    /// With what people are told: the group, since when Redis has it, its arguments, and one sentence.
    #[must_use]
    pub const fn docs(
        mut self,
        group: Group,
        since: &'static str,
        syntax: &'static str,
        summary: &'static str,
    ) -> Self {
        self.group = group;
        self.since = since;
        self.syntax = syntax;
        self.summary = summary;
        self
    }

    /// With Redis's command tips.
    #[must_use]
    pub const fn tips(mut self, tips: &'static str) -> Self {
        self.tips = tips;
        self
    }

    /// Whether a request of `len` arguments, names included, has the right number of them.
    #[must_use]
    pub fn accepts(&self, len: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { len >= wanted } else { len == wanted }
    }

    /// The rows of its subcommands; none when it has none.
    #[must_use]
    pub fn subcommands(&self) -> &'static [CommandSpec] {
        match self.handler {
            Handler::Container(rows) => rows,
            _ => &[],
        }
    }
}

/// What stands after the `|` of `client|setname`; all of a name without one.
const fn own_name(full_name: &'static str) -> &'static str {
    let bytes = full_name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'|' {
            return full_name.split_at(at + 1).1;
        }
        at += 1;
    }
    full_name
}
