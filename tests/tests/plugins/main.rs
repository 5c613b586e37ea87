//! Plugins at a server: what it does with them, and what it says when one is not as it must be.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure here is a failed test"
)]

mod backends;
mod panics;
mod restart;
mod start;
mod support;
mod work;
