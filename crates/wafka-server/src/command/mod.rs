//! Commands: what one is ([`CommandSpec`]), how it is found ([`lookup`]), how it fails ([`CommandError`]).
//!
//! One table, in [`table`], drives dispatch, arity, the states in which a command is allowed, and all that `COMMAND`
//! tells about it.

mod categories;
mod error;
mod flags;
mod keys;
mod lookup;
mod spec;
pub mod syntax;
pub mod table;

pub use categories::{CATEGORIES, categories};
pub use error::CommandError;
pub use flags::Flags;
pub use keys::KeysOf;
pub use lookup::{lookup, subcommand};
pub use spec::{
    Append, AppendHandler, AsyncHandler, CommandSpec, Group, Handler, HandlerFuture, Keys, SyncHandler,
};
pub use table::Command;

/// A request's arguments, the command's name first.
pub type Args<'a> = [&'a [u8]];
