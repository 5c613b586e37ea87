//! Servers whose logs are streams of NATS.

use wafka_test_nats::{Cluster, Config};

use crate::{Setup, plugins};

/// One server of NATS.
///
/// # Panics
/// When it does not start.
#[must_use]
pub fn one() -> Cluster {
    Cluster::start(&Config::one()).unwrap_or_else(|error| panic!("{error}"))
}

/// Three servers of NATS, which replicate.
///
/// # Panics
/// When they do not start.
#[must_use]
pub fn three() -> Cluster {
    Cluster::start(&Config::three()).unwrap_or_else(|error| panic!("{error}"))
}

/// A server of Wafka's with two brokers, whose logs are there, and which owns them when it has started; `options` are further
/// lines of `[backends.jetstream]`.
#[must_use]
pub fn setup(cluster: &Cluster, options: &str) -> Setup {
    setup_with(&format!("{}{options}\n", cluster.backend_toml())).owns()
}

/// The same, where `backend` is the whole table; it may stand by when it has started.
///
/// # Panics
/// When the configuration cannot be written.
#[must_use]
pub fn setup_with(backend: &str) -> Setup {
    let rest = format!("[storage]\nbackend = \"jetstream\"\nfsync = \"always\"\n{backend}");
    plugins::loading(Setup::new().brokers(2), ["wafka_storage_jetstream"], &rest)
}
