//! Rows of the commands about the server.

use crate::command::CommandSpec;

/// The rows.
pub static ROWS: &[CommandSpec] = &[];
