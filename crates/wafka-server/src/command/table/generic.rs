//! Rows of the commands on keys of any type.

use crate::command::CommandSpec;

/// The rows.
pub static ROWS: &[CommandSpec] = &[];
