//! Jump consistent hash of a field's value.

pub mod jump;
