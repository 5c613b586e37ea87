//! Several servers on one memory: who owns the data, who stands by, and what they say.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is the test's failure")]

#[path = "../support/mod.rs"]
mod support;

mod beside;
mod fencing;
#[path = "support.rs"]
mod nodes;
mod standing_by;
mod takeover;
