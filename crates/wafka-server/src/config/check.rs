//! What the types of the configuration cannot express: ranges, and values that must fit together.

use thiserror::Error;

use super::{ByteSize, Config};
use crate::observe::ENTRIES_MAX;

/// The longest address that others are told, in bytes.
const ADVERTISE_LEN_MAX: usize = 256;

/// A value outside its range.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{key}: found {found}, expected {expected}")]
pub(super) struct RangeError {
    key: String,
    found: String,
    expected: String,
}

/// Checks every value on its own.
pub(super) fn alone(config: &Config) -> Result<(), RangeError> {
    let server = &config.server;
    within("server.databases", u64::from(server.databases), 1, 10_000)?;
    within("server.brokers", u64::from(server.brokers), 0, 1024)?;
    within("server.io_threads", u64::from(server.io_threads), 0, 256)?;
    within("server.maxclients", u64::from(server.maxclients), 1, u64::from(u32::MAX))?;
    // What Linux takes for TCP_KEEPIDLE.
    within("server.tcp_keepalive", u64::from(server.tcp_keepalive), 0, 32_767)?;
    size("server.proto_max_bulk_len", server.proto_max_bulk_len, ByteSize::mib(1))?;
    size("server.query_buffer_limit", server.query_buffer_limit, ByteSize::mib(1))?;
    within("server.slowlog_max_len", u64::from(server.slowlog_max_len), 0, u64::from(ENTRIES_MAX))?;
    if server.slowlog_log_slower_than < -1 {
        return Err(RangeError {
            key: "server.slowlog_log_slower_than".to_owned(),
            found: server.slowlog_log_slower_than.to_string(),
            expected: "microseconds, or -1".to_owned(),
        });
    }
    at_most("server.pubsub_buffer_limit", server.pubsub_buffer_limit)?;
    at_most("server.pubsub_buffer_soft_limit", server.pubsub_buffer_soft_limit)?;
    size("server.output_buffer_limit", server.output_buffer_limit, ByteSize::kib(64))?;
    within("server.idempotence_duration", u64::from(server.idempotence_duration), 1, 86_400)?;
    within("server.idempotence_max_iids", u64::from(server.idempotence_max_iids), 1, 10_000)?;
    let addressed = |text: &str| {
        text.len() <= ADVERTISE_LEN_MAX
            && !text.contains(|char: char| char.is_whitespace() || char.is_control())
            && text
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if !server.advertise.is_empty() && !addressed(&server.advertise) {
        return Err(RangeError {
            key: "server.advertise".to_owned(),
            found: format!("'{}'", server.advertise),
            expected: format!("host:port, of at most {ADVERTISE_LEN_MAX} bytes"),
        });
    }
    if server.data_dir.as_os_str().is_empty() {
        return Err(RangeError {
            key: "server.data_dir".to_owned(),
            found: "an empty path".to_owned(),
            expected: "a directory".to_owned(),
        });
    }
    if config.plugins.iter().any(|plugin| plugin.path.as_os_str().is_empty()) {
        return Err(RangeError {
            key: "plugins.path".to_owned(),
            found: "an empty path".to_owned(),
            expected: "the path of a shared library".to_owned(),
        });
    }
    let storage = &config.storage;
    size("storage.index_interval_bytes", storage.index_interval_bytes, ByteSize::kib(1))?;
    size("storage.queue_bytes_max", storage.queue_bytes_max, ByteSize::mib(1))?;
    within("storage.reclaim_dead_percent", u64::from(storage.reclaim_dead_percent), 1, 100)?;
    within("storage.reclaim_deletions_max", u64::from(storage.reclaim_deletions_max), 1, 100_000_000)?;
    crate::telemetry::parse_filter(&config.log.level).map_err(|error| RangeError {
        key: "log.level".to_owned(),
        found: format!("'{}' ({error})", config.log.level),
        expected:
            "a level (error, warn, info, debug, trace, off), or levels by module: info,wafka_broker=debug"
                .to_owned(),
    })
}

/// Checks what must fit together.
pub(super) fn together(config: &Config) -> Result<(), String> {
    let brokers = config.server.broker_count();
    let defaults = std::iter::once(("topic_defaults".to_owned(), &config.topic_defaults));
    let topics = config.topics.iter().map(|(name, topic)| (format!("topics.{name}"), topic));
    for (table, topic) in defaults.chain(topics) {
        let partitions = topic.partitions.unwrap_or(0);
        if partitions > brokers {
            return Err(format!(
                "{table}.partitions: found {partitions}, expected at most {brokers}, the number of brokers \
                 (server.brokers): a broker holds at most one partition of a topic"
            ));
        }
    }
    if config.server.proto_max_bulk_len > config.server.query_buffer_limit {
        return Err(format!(
            "server.proto_max_bulk_len: found {:?}, expected at most server.query_buffer_limit, {:?}",
            config.server.proto_max_bulk_len, config.server.query_buffer_limit
        ));
    }
    for name in config.topics.keys() {
        wafka_core::TopicName::new(name.as_bytes()).map_err(|error| format!("topics.\"{name}\": {error}"))?;
    }
    Ok(())
}

fn within(key: &str, found: u64, min: u64, max: u64) -> Result<(), RangeError> {
    if (min..=max).contains(&found) {
        return Ok(());
    }
    Err(RangeError { key: key.to_owned(), found: found.to_string(), expected: format!("{min} to {max}") })
}

/// A limit that is switched off by 0.
fn at_most(key: &str, found: ByteSize) -> Result<(), RangeError> {
    if found.get() == 0 { Ok(()) } else { size(key, found, ByteSize::kib(64)) }
}

/// Sizes go up to 4 GiB: the positions within a request have 32 bits.
fn size(key: &str, found: ByteSize, min: ByteSize) -> Result<(), RangeError> {
    let max = ByteSize::mib(4096);
    if (min..=max).contains(&found) {
        return Ok(());
    }
    let expected = format!("{min:?} to {max:?}");
    Err(RangeError { key: key.to_owned(), found: format!("{found:?}"), expected })
}
