//! What all connections of a server share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use wafka_broker::Engine;
use wafka_core::Clock;

use crate::clients::Clients;
use crate::config::Config;
use crate::gate::Gates;
use crate::observe::Observers;
use crate::pause::Pause;
use crate::plugins::Plugins;
use crate::pubsub::PubSub;
use crate::settings::Settings;
use crate::shutdown::Shutdown;
use crate::stats::Stats;
use crate::telemetry::LogLevel;

/// The version of Redis whose commands and replies this release follows: what `HELLO` and `INFO` report, because
/// clients choose by it what to send.
pub const REDIS_VERSION: &str = "8.10.0";

/// Wafka's own version.
pub const WAFKA_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What all connections of a server share.
pub struct Shared {
    /// The topics and brokers.
    pub engine: Arc<Engine>,
    /// The plugins loaded.
    pub plugins: Plugins,
    /// The configuration at start.
    pub config: Config,
    /// The address listened on, with the port that was really taken.
    pub addr: SocketAddr,
    /// The absolute path of the data directory.
    pub data_dir: PathBuf,
    /// What `CONFIG SET` may change.
    pub settings: Settings,
    /// The clients connected.
    pub clients: Clients,
    /// Counters.
    pub stats: Stats,
    /// Channels and who listens to them.
    pub pubsub: PubSub,
    /// What keeps a transaction's commands together.
    pub gates: Arc<Gates>,
    /// What operators see of the commands executed.
    pub observers: Observers,
    /// `CLIENT PAUSE`.
    pub pause: Pause,
    /// The way down.
    pub shutdown: Shutdown,
    /// The server's own log, if it has one.
    pub log: Option<LogLevel>,
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
