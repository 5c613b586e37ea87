//! The configuration: every key with its type, default and range.
//!
//! Precedence: defaults < file < environment (`WAFKA_SERVER__PORT`) < command line. See [`load`].

mod check;
mod load;
mod plugin;
#[cfg(test)]
mod tests;
mod topic;
mod value;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde::Deserialize;
use wafka_core::storage::Options;

use crate::notify::Classes;

pub use load::{ConfigError, Override, Sources, load};
pub use plugin::PluginConfig;
pub use topic::{DEFAULT_PARTITIONER, TopicConfig};
pub use value::{ByteSize, Fsync, Lag, LogFormat};

/// The storage backend unless another one is configured.
pub const DEFAULT_BACKEND: &str = "text";

/// The whole configuration.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[storage]`
    pub storage: StorageConfig,
    /// `[groups]`
    pub groups: GroupsConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[topic_defaults]`
    pub topic_defaults: TopicConfig,
    /// `[topics.NAME]`: topics that exist from the start.
    pub topics: BTreeMap<String, TopicConfig>,
    /// `[backends.NAME]`: the options of storage backends, which they check themselves.
    pub backends: BTreeMap<String, Options>,
    /// The file that it comes from, as far as it comes from one: for what is found to be wrong with it later.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// `[[plugins]]`: libraries to load at start.
    pub plugins: Vec<PluginConfig>,
}

/// `[server]`: the socket, the threads, the limits on clients.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// The address to listen on.
    pub bind: IpAddr,
    /// The TCP port; 0 takes a free one.
    pub port: u16,
    /// Where other servers are told that clients reach this one, as `host:port`; the address it listens on when empty.
    pub advertise: String,
    /// Where the data is, relative to the working directory.
    pub data_dir: PathBuf,
    /// The number of brokers; 0 is one per core, at least 2.
    pub brokers: u16,
    /// The number of threads that serve connections; 0 is one per two cores.
    pub io_threads: u16,
    /// The number of databases that `SELECT` can choose among.
    pub databases: u16,
    /// The password that clients must give; none when empty.
    pub requirepass: String,
    /// Whether clients from other machines are refused as long as there is no password.
    pub protected_mode: bool,
    /// The most clients connected at a time; fewer where the limit on open files leaves room for fewer beside the logs that
    /// there are at the start, and half of those on a standby.
    pub maxclients: u32,
    /// Seconds after which an idle client is closed; 0 is never.
    pub timeout: u32,
    /// Seconds between TCP keep-alive probes; 0 is none.
    pub tcp_keepalive: u32,
    /// The longest argument of a request.
    pub proto_max_bulk_len: ByteSize,
    /// The longest request.
    pub query_buffer_limit: ByteSize,
    /// The largest reply to one command; a single event is let through whatever its size.
    pub output_buffer_limit: ByteSize,
    /// What may wait for a subscriber that does not read; beyond it the client is closed. 0 is no limit.
    pub pubsub_buffer_limit: ByteSize,
    /// What may wait for a subscriber for longer than `pubsub_buffer_soft_secs`; 0 is no limit.
    pub pubsub_buffer_soft_limit: ByteSize,
    /// Seconds for which more than `pubsub_buffer_soft_limit` may wait for a subscriber.
    pub pubsub_buffer_soft_secs: u32,
    /// Which events of topics are published, by Redis's letters.
    pub notify_keyspace_events: Classes,
    /// Microseconds from which on a command is in the slow log; -1 is never.
    pub slowlog_log_slower_than: i64,
    /// How many commands the slow log keeps.
    pub slowlog_max_len: u32,
    /// Milliseconds from which on a command is a latency spike; 0 is never.
    pub latency_monitor_threshold: u32,
    /// Seconds for which a topic knows what idempotent events its producers sent, unless `XCFGSET` says otherwise.
    pub idempotence_duration: u32,
    /// How many of each producer's last idempotent events a topic knows, unless `XCFGSET` says otherwise.
    pub idempotence_max_iids: u32,
    /// Seconds that clients have for reading their last replies when the server shuts down.
    pub shutdown_timeout: u32,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 6379,
            data_dir: PathBuf::from("data"),
            advertise: String::new(),
            brokers: 0,
            io_threads: 0,
            databases: 16,
            requirepass: String::new(),
            protected_mode: true,
            maxclients: 10_000,
            timeout: 0,
            tcp_keepalive: 300,
            proto_max_bulk_len: ByteSize::mib(512),
            query_buffer_limit: ByteSize::mib(1024),
            output_buffer_limit: ByteSize::mib(256),
            pubsub_buffer_limit: ByteSize::mib(32),
            pubsub_buffer_soft_limit: ByteSize::mib(8),
            pubsub_buffer_soft_secs: 60,
            notify_keyspace_events: Classes::NONE,
            slowlog_log_slower_than: 10_000,
            slowlog_max_len: 128,
            latency_monitor_threshold: 0,
            idempotence_duration: 100,
            idempotence_max_iids: 100,
            shutdown_timeout: 10,
        }
    }
}

/// `[storage]`: how events become durable and how much is kept in memory.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// The storage backend that holds the catalog, and topics that name no other.
    pub backend: String,
    /// When an event is synced to disk.
    pub fsync: Fsync,
    /// Memory for recent events.
    pub tail_bytes: ByteSize,
    /// Bytes of a partition's file from one entry of its sparse index to the next.
    pub index_interval_bytes: ByteSize,
    /// Events accepted and not yet written, per partition; beyond it an `XADD` is refused.
    pub queue_bytes_max: ByteSize,
    /// Dead bytes of a partition's file below which it is not rewritten.
    pub reclaim_dead_bytes_min: ByteSize,
    /// The share of dead lines, in percent, from which on a partition's file is rewritten.
    pub reclaim_dead_percent: u8,
    /// Single deletions from which on a partition's file is rewritten whatever its size.
    pub reclaim_deletions_max: u32,
}

impl Default for StorageConfig {
    fn default() -> Self {
        StorageConfig {
            backend: DEFAULT_BACKEND.to_owned(),
            fsync: Fsync::Always,
            tail_bytes: ByteSize::mib(16),
            index_interval_bytes: ByteSize::kib(4),
            queue_bytes_max: ByteSize::mib(256),
            reclaim_dead_bytes_min: ByteSize::mib(1),
            reclaim_dead_percent: 50,
            reclaim_deletions_max: 100_000,
        }
    }
}

/// `[groups]`: consumer groups.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupsConfig {
    /// What the lag of a group is.
    pub lag: Lag,
}

impl Default for GroupsConfig {
    fn default() -> Self {
        GroupsConfig { lag: Lag::Exact }
    }
}

/// `[log]`: the server's own log, on standard error.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How a log line looks.
    pub format: LogFormat,
    /// The least level logged, for all or by module: `info,wafka_broker=debug`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { format: LogFormat::Text, level: "info".to_owned() }
    }
}

impl ServerConfig {
    /// The number of brokers after resolving 0.
    #[must_use]
    pub fn broker_count(&self) -> u16 {
        if self.brokers > 0 { self.brokers } else { cores().max(2) }
    }

    /// The number of connection threads after resolving 0.
    #[must_use]
    pub fn io_thread_count(&self) -> u16 {
        if self.io_threads > 0 { self.io_threads } else { (cores() / 2).max(1) }
    }
}

/// The number of cores that the process may use; 1 when the system does not tell.
fn cores() -> u16 {
    std::thread::available_parallelism().map_or(1, |n| u16::try_from(n.get()).unwrap_or(u16::MAX))
}
