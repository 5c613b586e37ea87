//! Rows of the commands about the connection.

use crate::command::CommandSpec;

/// The rows.
pub static ROWS: &[CommandSpec] = &[];
