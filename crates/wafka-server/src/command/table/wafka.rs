//! Rows of Wafka's own commands.

use crate::command::CommandSpec;

/// The rows.
pub static ROWS: &[CommandSpec] = &[];
