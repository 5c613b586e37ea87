//! The Wafka server: configuration, connections, the command table.
//!
//! A request's way: `connection` reads and scans it, `execute` finds its row in the [`command`] table and checks it,
//! a handler under [`commands`] executes it on a [`session::Session`].

pub mod backends;
pub mod cli;
pub mod clients;
pub mod command;
pub mod commands;
pub mod config;
mod connection;
pub mod data_dir;
mod descriptors;
pub mod engine;
mod execute;
pub mod gate;
mod io_thread;
mod kick;
pub mod notify;
pub mod observe;
pub mod ownership;
pub mod pause;
pub mod plugins;
pub mod pubsub;
pub mod server;
pub mod session;
pub mod settings;
pub mod shared;
pub mod shutdown;
pub mod stats;
pub mod telemetry;
mod wake;
