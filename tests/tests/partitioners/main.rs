//! The strategies in `plugins/`, in a server that loads them: events stand in the files where the papers say.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

mod c;
mod examples;
mod geo;
mod offline;
mod sticky;
mod support;
mod vectors;
