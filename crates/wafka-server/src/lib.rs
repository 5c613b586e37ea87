//! The Wafka server: configuration, connections, the command table.
//!
//! A request's way: [`connection`](crate::session) reads and scans it, [`command`] finds its row and checks it, a
//! handler under [`commands`] executes it on a [`session::Session`].

pub mod clients;
pub mod command;
pub mod commands;
pub mod config;
mod kick;
pub mod pause;
pub mod session;
pub mod settings;
pub mod shared;
pub mod shutdown;
pub mod stats;
pub mod telemetry;
