//! Servers of NATS with JetStream, for tests and measurements: one, or three that replicate, on loopback, with their data
//! in a directory that goes away with them. They can be killed, put to sleep, woken up, and asked who leads.
//!
//! ```no_run
//! # fn main() -> Result<(), wafka_test_nats::NatsError> {
//! let mut cluster = wafka_test_nats::Cluster::start(&wafka_test_nats::Config::three())?;
//! println!("{}", cluster.backend_toml());
//! cluster.kill(0)?;
//! # Ok(())
//! # }
//! ```
//!
//! Everything that waits has a time limit.

mod cluster;
mod error;
mod groups;
mod talk;

pub use cluster::{Cluster, Config, Login, SYSTEM, USER, free_ports, program};
pub use error::NatsError;
