//! Routing by a table of labels.

pub mod table;
