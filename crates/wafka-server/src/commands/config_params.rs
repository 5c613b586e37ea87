//! The parameters of `CONFIG GET` and `CONFIG SET`: Redis's names for what Wafka has, each with what it means here.

use std::borrow::Cow;
use std::time::Duration;

use wafka_broker::{FsyncPolicy, NODE_ENTRIES};

use super::idempotence::{DURATION_SECS, MAX_IIDS};
use crate::config::{ByteSize, Fsync};
use crate::engine::fsync_policy;
use crate::notify::{BadClasses, Classes};
use crate::observe::ENTRIES_MAX;
use crate::pubsub::InboxLimits;
use crate::shared::Shared;

/// A parameter.
pub(super) struct Param {
    /// Redis's name.
    pub(super) name: &'static str,
    /// Its value now.
    pub(super) get: fn(&Shared) -> String,
    kind: Kind,
}

/// What a parameter may be set to.
enum Kind {
    /// To a number within a range.
    Number { min: u32, max: u32, change: fn(u32) -> Setting },
    /// To a number of clients that there are descriptors for.
    MaxClients,
    /// To a size in bytes within a range.
    Size { min: ByteSize, max: ByteSize, change: fn(usize) -> Setting },
    /// To what a function of its own understands.
    Text(fn(&str) -> Result<Change, Reason>),
    /// To nothing but the number it has.
    FixedNumber,
    /// To nothing but what it has.
    Fixed,
}

/// Why a value is refused, in Redis's words where there are any.
type Reason = Cow<'static, str>;

/// A checked change.
pub(super) enum Change {
    /// Takes effect by [`Engine::set_fsync`](wafka_broker::Engine::set_fsync), which blocks.
    Fsync(Fsync),
    /// Takes effect at once.
    Setting(Setting),
}

/// A change of a setting.
pub(super) enum Setting {
    MaxClients(u32),
    Timeout(u32),
    ProtectedMode(bool),
    Password(String),
    BulkLen(usize),
    QueryBuffer(usize),
    OutputBuffers { normal: Option<usize>, pubsub: Option<InboxLimits> },
    Notify(Classes),
    SlowerThan(i64),
    SlowLogLen(u32),
    LatencyThreshold(u32),
    LogLevel(&'static str),
    IdempotenceDuration(u32),
    IdempotenceMaxIids(u32),
    NodeEntries(u32),
}

/// The largest size there can be: see the ranges in `config/check.rs`.
const SIZE_MAX: ByteSize = ByteSize::mib(4096);

/// Redis's log levels with Wafka's.
const LOG_LEVELS: [(&str, &str); 5] =
    [("debug", "trace"), ("verbose", "debug"), ("notice", "info"), ("warning", "warn"), ("nothing", "off")];

const fn fixed(name: &'static str, get: fn(&Shared) -> String) -> Param {
    Param { name, get, kind: Kind::Fixed }
}

const fn fixed_number(name: &'static str, get: fn(&Shared) -> String) -> Param {
    Param { name, get, kind: Kind::FixedNumber }
}

/// All parameters.
pub(super) static PARAMS: &[Param] = &[
    fixed("bind", |shared| shared.config.server.bind.to_string()),
    fixed_number("port", |shared| shared.addr.port().to_string()),
    fixed("dir", |shared| shared.data_dir.display().to_string()),
    fixed_number("databases", |shared| shared.config.server.databases.to_string()),
    fixed_number("io-threads", |shared| shared.config.server.io_thread_count().to_string()),
    fixed_number("tcp-keepalive", |shared| shared.config.server.tcp_keepalive.to_string()),
    Param {
        name: "maxclients",
        get: |shared| shared.settings.maxclients().to_string(),
        kind: Kind::MaxClients,
    },
    Param {
        name: "timeout",
        get: |shared| shared.settings.timeout_secs().to_string(),
        kind: Kind::Number { min: 0, max: i32::MAX as u32, change: Setting::Timeout },
    },
    Param {
        name: "protected-mode",
        get: |shared| yes_no(shared.settings.protected_mode()),
        kind: Kind::Text(|value| match value.to_ascii_lowercase().as_str() {
            "yes" => Ok(Setting::ProtectedMode(true).into()),
            "no" => Ok(Setting::ProtectedMode(false).into()),
            _ => Err("argument must be 'yes' or 'no'".into()),
        }),
    },
    Param {
        name: "requirepass",
        get: |shared| shared.settings.password(),
        kind: Kind::Text(|value| Ok(Setting::Password(value.to_owned()).into())),
    },
    Param {
        name: "proto-max-bulk-len",
        get: |shared| shared.settings.proto_max_bulk_len().to_string(),
        kind: Kind::Size { min: ByteSize::mib(1), max: SIZE_MAX, change: Setting::BulkLen },
    },
    Param {
        name: "client-query-buffer-limit",
        get: |shared| shared.settings.query_buffer_limit().to_string(),
        kind: Kind::Size { min: ByteSize::mib(1), max: SIZE_MAX, change: Setting::QueryBuffer },
    },
    Param {
        name: "client-output-buffer-limit",
        get: |shared| {
            let pubsub = shared.settings.pubsub_limits();
            let (normal, soft_secs) = (shared.settings.output_buffer_limit(), pubsub.soft_time.as_secs());
            format!("normal {normal} 0 0 pubsub {} {} {soft_secs}", pubsub.hard, pubsub.soft)
        },
        kind: Kind::Text(output_buffer_limits),
    },
    Param {
        name: "appendfsync",
        get: |shared| fsync_of(shared).name().to_owned(),
        kind: Kind::Text(|value| {
            let parsed = value.to_ascii_lowercase().parse().map(Change::Fsync);
            parsed.map_err(|_| "argument(s) must be one of the following: always, everysec, no".into())
        }),
    },
    Param {
        name: "loglevel",
        get: |shared| log_level(&shared.settings.log_level()),
        kind: Kind::Text(|value| {
            let level = LOG_LEVELS.iter().find(|(theirs, _)| theirs.eq_ignore_ascii_case(value));
            level.map(|(_, ours)| Setting::LogLevel(ours).into()).ok_or(
                "argument(s) must be one of the following: debug, verbose, notice, warning, nothing".into(),
            )
        }),
    },
    Param {
        name: "notify-keyspace-events",
        get: |shared| shared.settings.notify_classes().to_string(),
        kind: Kind::Text(|value| {
            let classes = value.parse().map_err(|error: BadClasses| error.to_string())?;
            Ok(Setting::Notify(classes).into())
        }),
    },
    Param {
        name: "slowlog-log-slower-than",
        get: |shared| shared.observers.slow_log.slower_than().to_string(),
        kind: Kind::Text(|value| match value.parse::<i64>() {
            Ok(micros @ -1..) => Ok(Setting::SlowerThan(micros).into()),
            Ok(_) => Err(format!("argument must be between -1 and {} inclusive", i64::MAX).into()),
            Err(_) => Err("argument couldn't be parsed into an integer".into()),
        }),
    },
    Param {
        name: "slowlog-max-len",
        get: |shared| shared.observers.slow_log.len_max().to_string(),
        kind: Kind::Number { min: 0, max: ENTRIES_MAX, change: Setting::SlowLogLen },
    },
    Param {
        name: "latency-monitor-threshold",
        get: |shared| shared.observers.latency.threshold_millis().to_string(),
        kind: Kind::Number { min: 0, max: u32::MAX, change: Setting::LatencyThreshold },
    },
    fixed("latency-tracking", |_| yes_no(true)),
    // What every event gets without being asked for, and what Wafka does not have.
    fixed("appendonly", |_| yes_no(true)),
    fixed("save", |_| String::new()),
    fixed_number("maxmemory", |_| "0".to_owned()),
    fixed("maxmemory-policy", |_| "noeviction".to_owned()),
    Param {
        name: "stream-node-max-entries",
        get: |shared| shared.engine().map_or(NODE_ENTRIES, |engine| engine.node_entries()).to_string(),
        kind: Kind::Number { min: 0, max: u32::MAX, change: Setting::NodeEntries },
    },
    // What a node of a stream weighs does not matter here: nodes are counted by entries alone.
    fixed_number("stream-node-max-bytes", |_| "4096".to_owned()),
    Param {
        name: "stream-idmp-duration",
        get: |shared| shared.settings.idempotence().duration_secs.to_string(),
        kind: Kind::Number {
            min: *DURATION_SECS.start(),
            max: *DURATION_SECS.end(),
            change: Setting::IdempotenceDuration,
        },
    },
    Param {
        name: "stream-idmp-maxsize",
        get: |shared| shared.settings.idempotence().max_iids.to_string(),
        kind: Kind::Number {
            min: *MAX_IIDS.start(),
            max: *MAX_IIDS.end(),
            change: Setting::IdempotenceMaxIids,
        },
    },
];

fn yes_no(on: bool) -> String {
    if on { "yes" } else { "no" }.to_owned()
}

/// Redis's word for a level, or the filter itself when it has none.
fn log_level(ours: &str) -> String {
    let known = LOG_LEVELS.iter().find(|(_, level)| *level == ours);
    known.map_or(ours, |(theirs, _)| theirs).to_owned()
}

/// `<class> <hard limit> <soft limit> <soft seconds>` for one or more classes: `normal`, which has a hard limit only
/// (for one reply), and `pubsub`.
fn output_buffer_limits(value: &str) -> Result<Change, Reason> {
    const BAD: &str = "Error in hard, soft or soft_seconds setting in client-output-buffer-limit";
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let (classes, []) = words.as_chunks::<4>() else { return Err("Wrong number of arguments".into()) };
    let (mut normal, mut pubsub) = (None, None);
    for [class, hard, soft, soft_secs] in classes {
        let (hard, soft): (ByteSize, ByteSize) =
            (hard.parse().map_err(|_| BAD)?, soft.parse().map_err(|_| BAD)?);
        let soft_secs: u32 = soft_secs.parse().map_err(|_| BAD)?;
        match class.to_ascii_lowercase().as_str() {
            "normal" if soft.get() > 0 || soft_secs > 0 => {
                return Err("expected 'normal <hard limit> 0 0': the class has no soft limit".into());
            }
            "normal" => normal = Some(within(hard, ByteSize::kib(64), SIZE_MAX)?),
            "pubsub" => {
                let soft_time = Duration::from_secs(u64::from(soft_secs));
                let (hard, soft) = (hard.as_usize(), soft.as_usize());
                pubsub = Some(InboxLimits { hard, soft, soft_time });
            }
            "slave" | "replica" => return Err("there are no replicas, so their class has no limits".into()),
            _ => return Err("Invalid client class specified in buffer limit configuration.".into()),
        }
    }
    Ok(Setting::OutputBuffers { normal, pubsub }.into())
}

fn within(size: ByteSize, min: ByteSize, max: ByteSize) -> Result<usize, Reason> {
    if (min..=max).contains(&size) {
        Ok(size.as_usize())
    } else {
        Err(format!("argument must be between {} and {} inclusive", min.get(), max.get()).into())
    }
}

impl Param {
    /// Checks a value; `None` when it is the one that cannot change anyway.
    pub(super) fn check(&self, shared: &Shared, value: &str) -> Result<Option<Change>, Reason> {
        let number = |value: &str| -> Result<i64, Reason> {
            value.parse().map_err(|_| "argument couldn't be parsed into an integer".into())
        };
        let within_range = |value: &str, min: u32, max: u32| -> Result<u32, Reason> {
            let number = u32::try_from(number(value)?).ok().filter(|n| (min..=max).contains(n));
            number.ok_or_else(|| format!("argument must be between {min} and {max} inclusive").into())
        };
        match &self.kind {
            Kind::Text(parse) => parse(value).map(Some),
            Kind::Number { min, max, change } => {
                within_range(value, *min, *max).map(|n| Some(change(n).into()))
            }
            Kind::MaxClients => {
                let clients = within_range(value, 1, u32::MAX)?;
                let max = shared.settings.maxclients_max();
                let error = || {
                    format!(
                        "The operating system is not able to handle the specified number of clients, try with {max}"
                    )
                };
                if clients <= max {
                    Ok(Some(Setting::MaxClients(clients).into()))
                } else {
                    Err(error().into())
                }
            }
            Kind::Size { min, max, change } => {
                let size = value.parse().map_err(|_| "argument must be a memory value")?;
                within(size, *min, *max).map(|n| Some(change(n).into()))
            }
            Kind::FixedNumber => {
                number(value)?;
                self.unchanged(shared, value)
            }
            Kind::Fixed => self.unchanged(shared, value),
        }
    }

    fn unchanged(&self, shared: &Shared, value: &str) -> Result<Option<Change>, Reason> {
        if (self.get)(shared) == value { Ok(None) } else { Err("can't set immutable config".into()) }
    }
}

impl Change {
    /// Whether it is one of the engine.
    pub(super) fn needs_engine(&self) -> bool {
        matches!(self, Change::Fsync(_) | Change::Setting(Setting::NodeEntries(_)))
    }
}

/// When events are synced; before there is an engine, as the configuration says.
fn fsync_of(shared: &Shared) -> FsyncPolicy {
    shared.engine().map_or_else(|| fsync_policy(shared.config.storage.fsync), |engine| engine.fsync())
}

impl From<Setting> for Change {
    fn from(setting: Setting) -> Self {
        Change::Setting(setting)
    }
}

impl Setting {
    /// Lets the change take effect.
    pub(super) fn apply(self, shared: &Shared) {
        let settings = &shared.settings;
        match self {
            Setting::MaxClients(max) => settings.set_maxclients(max),
            Setting::Timeout(secs) => settings.set_timeout_secs(secs),
            Setting::ProtectedMode(on) => settings.set_protected_mode(on),
            Setting::Password(password) => settings.set_password(&password),
            Setting::BulkLen(len) => settings.set_proto_max_bulk_len(len),
            Setting::QueryBuffer(len) => settings.set_query_buffer_limit(len),
            Setting::OutputBuffers { normal, pubsub } => {
                if let Some(limit) = normal {
                    settings.set_output_buffer_limit(limit);
                }
                if let Some(limits) = pubsub {
                    settings.set_pubsub_limits(limits);
                }
            }
            Setting::Notify(classes) => settings.set_notify_classes(classes),
            Setting::SlowerThan(micros) => shared.observers.slow_log.set_slower_than(micros),
            Setting::SlowLogLen(len) => shared.observers.slow_log.set_len_max(len as usize),
            Setting::LatencyThreshold(millis) => shared.observers.latency.set_threshold_millis(millis),
            Setting::IdempotenceDuration(secs) => settings.set_idempotence_duration_secs(secs),
            Setting::NodeEntries(entries) => {
                if let Some(engine) = shared.engine() {
                    engine.set_node_entries(u64::from(entries));
                }
            }
            Setting::IdempotenceMaxIids(max) => settings.set_idempotence_max_iids(max),
            Setting::LogLevel(level) => {
                settings.set_log_level(level);
                if let Some(log) = &shared.log
                    && let Err(error) = log.set(level)
                {
                    tracing::error!(%error, level, "cannot set the log's level");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Result<(Option<usize>, Option<InboxLimits>), String> {
        match output_buffer_limits(value) {
            Ok(Change::Setting(Setting::OutputBuffers { normal, pubsub })) => Ok((normal, pubsub)),
            Ok(_) => Err("another change".to_owned()),
            Err(reason) => Err(reason.into_owned()),
        }
    }

    #[test]
    fn output_buffer_limits_by_class() {
        assert_eq!(parsed("normal 1mb 0 0"), Ok((Some(1 << 20), None)));
        let limits = InboxLimits { hard: 32 << 20, soft: 8 << 20, soft_time: Duration::from_secs(60) };
        assert_eq!(parsed("PubSub 32mb 8mb 60"), Ok((None, Some(limits))));
        assert_eq!(parsed("normal 1mb 0 0 pubsub 32mb 8mb 60"), Ok((Some(1 << 20), Some(limits))));
        assert_eq!(parsed(""), Ok((None, None)));
        for (value, reason) in [
            ("normal 1mb 0", "Wrong number of arguments"),
            ("normal x 0 0", "Error in hard, soft or soft_seconds setting in client-output-buffer-limit"),
            ("pubsub 1 1 -1", "Error in hard, soft or soft_seconds setting in client-output-buffer-limit"),
            ("nope 1 1 1", "Invalid client class specified in buffer limit configuration."),
            ("normal 1mb 1mb 1", "expected 'normal <hard limit> 0 0': the class has no soft limit"),
            ("replica 1 1 1", "there are no replicas, so their class has no limits"),
        ] {
            assert_eq!(parsed(value), Err(reason.to_owned()), "{value}");
        }
    }
}
