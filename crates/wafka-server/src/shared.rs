//! What all connections of a server share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use wafka_broker::Engine;
use wafka_core::Clock;

use crate::clients::Clients;
use crate::config::Config;
use crate::gate::Gates;
use crate::notify::{Classes, notify};
use crate::observe::Observers;
use crate::ownership::Standing;
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

/// Where a server is.
pub(crate) struct Place {
    /// The address listened on.
    pub(crate) addr: SocketAddr,
    /// The absolute path of the data directory.
    pub(crate) data_dir: PathBuf,
    /// Tells this run of the server from others.
    pub(crate) run_id: String,
}

/// What all connections of a server share.
pub struct Shared {
    /// The topics and brokers, once this server has opened them.
    engine: OnceLock<Arc<Engine>>,
    /// Whether this server owns what they hold.
    pub standing: Standing,
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
    /// What connections share, without topics yet.
    pub(crate) fn new(
        config: Config,
        plugins: Plugins,
        standing: Standing,
        place: Place,
        log: Option<LogLevel>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Shared {
            engine: OnceLock::new(),
            standing,
            plugins,
            settings: Settings::new(&config),
            observers: Observers::new(&config.server),
            config,
            addr: place.addr,
            data_dir: place.data_dir,
            clients: Clients::default(),
            stats: Stats::default(),
            pubsub: PubSub::default(),
            gates: Arc::default(),
            pause: Pause::default(),
            shutdown: Shutdown::default(),
            log,
            started: Instant::now(),
            started_ms: clock.now_ms(),
            run_id: place.run_id,
            clock,
        }
    }

    /// The topics and brokers; `None` until this server has opened them. They stay from then on.
    #[inline]
    #[must_use]
    pub fn engine(&self) -> Option<&Arc<Engine>> {
        self.engine.get()
    }

    /// Lets the commands have the engine. Only the first one counts.
    pub(crate) fn set_engine(self: &Arc<Self>, engine: Arc<Engine>) {
        let told = Arc::downgrade(self);
        engine.on_expired(move |database, name| {
            if let Some(shared) = told.upgrade() {
                notify(&shared, Classes::EXPIRED, "expired", database, name.as_bytes());
            }
        });
        let set = self.engine.set(engine).is_ok();
        debug_assert!(set, "the data is opened once");
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }
}
