//! What all connections of a server share.

use std::sync::Arc;
use std::time::Instant;

use wafka_broker::Engine;
use wafka_core::Clock;

use crate::clients::Clients;
use crate::config::Config;
use crate::pause::Pause;
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::stats::Stats;

/// The version of Redis whose commands and replies this release follows: what `HELLO` and `INFO` report, because
/// clients choose by it what to send.
pub const REDIS_VERSION: &str = "7.0.15";

/// Wafka's own version.
pub const WAFKA_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What all connections of a server share.
pub struct Shared {
    /// The topics and brokers.
    pub engine: Arc<Engine>,
    /// The configuration at start, with the port that was really taken.
    pub config: Config,
    /// What `CONFIG SET` may change.
    pub settings: Settings,
    /// The clients connected.
    pub clients: Clients,
    /// Counters.
    pub stats: Stats,
    /// `CLIENT PAUSE`.
    pub pause: Pause,
    /// The way down.
    pub shutdown: Shutdown,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// When the server started.
    pub started: Instant,
    /// The wall clock at start, in milliseconds since 1970.
    pub started_ms: u64,
    /// Tells this run of the server from others: 40 hexadecimal digits.
    pub run_id: String,
}

impl Shared {
    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }
}
