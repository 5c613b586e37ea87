//! Load generation and measurement: how fast a server takes events in, how fast it gives them back, and whether
//! every acknowledged event comes back exactly once and in order.
//!
//! The binary `wafka-bench` puts these parts together; `benches/README.md` says how to use it.
//!
//! | module | what it does |
//! |---|---|
//! | [`payload`] | the commands a connection sends, built once and patched in place; what a payload says about itself |
//! | [`reply`] | flat scanners of the two replies measured here: an id, and an entry of `XREAD` |
//! | [`load`] | the single-threaded epoll producer, with one [`conn`] for each connection |
//! | [`readback`] | the catch-up reader |
//! | [`group`], [`delivery`] | consumers of a group, and readers that wait for the next event |
//! | [`ledger`] | what was acknowledged, and the check that exactly that is read back |
//! | [`server`], [`procfs`] | the servers under test as processes, and what the kernel says of them |
//! | [`cell`], [`trial`], [`compare`], [`table`] | the table: its cells, one run of a cell, the rounds, the print |
//! | [`jetstream`] | Wafka on NATS JetStream, next to programs that publish to it by themselves |
//! | [`long`] | Wafka alone with a log of many gigabytes |

pub mod backends;
pub mod cell;
pub mod compare;
pub mod conn;
pub mod delivery;
pub mod error;
pub mod group;
pub mod jetstream;
pub mod latency;
pub mod ledger;
pub mod load;
pub mod long;
pub mod payload;
pub mod procfs;
pub mod readback;
pub mod reply;
pub mod server;
pub mod table;
pub mod takeover;
pub mod trial;

pub use error::{BenchError, Result};
