//! The sections of `INFO`. Fields have Redis's names where Redis has the field; those that a single server without
//! snapshots, replicas and memory limits does not have are 0, because clients and monitors look for them.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

use wafka_broker::BackendLease;
use wafka_core::Database;

use super::process;
use crate::command::table;
use crate::pubsub::Kind;
use crate::shared::{REDIS_VERSION, Shared, WAFKA_VERSION};

/// A section.
pub(super) struct Section {
    /// Its title; its name is that in any case.
    pub(super) title: &'static str,
    /// Whether it is shown when none is asked for.
    pub(super) by_default: bool,
    /// Writes its lines.
    pub(super) write: fn(&Shared, &mut String),
}

const fn section(title: &'static str, by_default: bool, write: fn(&Shared, &mut String)) -> Section {
    Section { title, by_default, write }
}

/// All sections, in the order shown.
pub(super) static SECTIONS: &[Section] = &[
    section("Server", true, server),
    section("Clients", true, clients),
    section("Memory", true, memory),
    section("Persistence", true, persistence),
    section("Stats", true, stats),
    section("Replication", true, replication),
    section("CPU", true, cpu),
    section("Commandstats", false, command_stats),
    section("Latencystats", false, latency_stats),
    section("Errorstats", true, error_stats),
    section("Cluster", true, |_, text| field(text, "cluster_enabled", 0)),
    section("Keyspace", true, keyspace),
    section("Wafka", true, wafka),
    section("Plugins", true, plugins),
];

fn field(text: &mut String, name: &str, value: impl Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{name}:{value}\r\n");
}

fn fields<const N: usize>(text: &mut String, fields: [(&str, u64); N]) {
    for (name, value) in fields {
        field(text, name, value);
    }
}

fn server(shared: &Shared, text: &mut String) {
    let uptime = shared.started.elapsed().as_secs();
    field(text, "redis_version", REDIS_VERSION);
    field(text, "redis_mode", "standalone");
    field(text, "wafka_version", WAFKA_VERSION);
    field(text, "os", std::env::consts::OS);
    field(text, "arch_bits", usize::BITS);
    field(text, "multiplexing_api", "epoll");
    field(text, "process_id", std::process::id());
    field(text, "run_id", &shared.run_id);
    field(text, "tcp_port", shared.addr.port());
    field(text, "server_time_usec", shared.now_ms().saturating_mul(1000));
    field(text, "uptime_in_seconds", uptime);
    field(text, "uptime_in_days", uptime / 86_400);
    let executable = std::env::current_exe().unwrap_or_default();
    field(text, "executable", executable.display());
    field(text, "io_threads_active", u8::from(shared.config.server.io_thread_count() > 1));
    ownership(shared, text);
}

/// Where several servers reach the data: whether this one owns it, and who does since which epoch, by id and address; and
/// the same of backends beside the default one.
fn ownership(shared: &Shared, text: &mut String) {
    for BackendLease { backend, epoch, role, refusal } in
        shared.engine().iter().flat_map(|engine| engine.backends().leases())
    {
        field(text, &format!("wafka_backend_{backend}"), format!("role={role},epoch={epoch}"));
        if let Some(reason) = refusal {
            let reason = reason.replace(|char: char| char.is_control(), " ");
            field(text, &format!("wafka_backend_{backend}_refusal"), reason);
        }
    }
    let Some((role, epoch, owner)) = shared.standing.info() else { return };
    field(text, "wafka_role", role.name());
    if let Some(epoch) = epoch {
        field(text, "wafka_epoch", epoch);
    }
    if let Some(owner) = owner {
        // It may be another server's word.
        field(text, "wafka_owner", owner.replace(|char: char| char.is_control(), " "));
    }
    if let Some(reason) = shared.standing.refusal(true, true) {
        field(text, "wafka_refusal", reason.replace(|char: char| char.is_control(), " "));
    }
}

fn clients(shared: &Shared, text: &mut String) {
    let blocked = u64::try_from(shared.stats.blocked_clients.get()).unwrap_or(0);
    let engine = shared.engine().filter(|_| blocked > 0);
    let (waited_for, by_groups) = engine.map_or((0, 0), |engine| engine.names_waited_for());
    let watching = u64::try_from(shared.stats.watching_clients.get()).unwrap_or(0);
    fields(
        text,
        [
            ("connected_clients", shared.clients.len() as u64),
            ("cluster_connections", 0),
            ("maxclients", u64::from(shared.settings.maxclients())),
            ("blocked_clients", blocked),
            ("tracking_clients", 0),
            ("pubsub_clients", shared.pubsub.clients() as u64),
            ("watching_clients", watching),
            ("clients_in_timeout_table", 0),
            ("total_watched_keys", shared.clients.watched_names()),
            ("total_blocking_keys", waited_for as u64),
            ("total_blocking_keys_on_nokey", by_groups as u64),
        ],
    );
}

fn memory(_shared: &Shared, text: &mut String) {
    let usage = process::usage();
    fields(
        text,
        [
            ("used_memory", usage.resident_bytes),
            ("used_memory_rss", usage.resident_bytes),
            ("used_memory_peak", usage.resident_peak_bytes),
            ("total_system_memory", usage.machine_bytes),
            ("maxmemory", 0),
        ],
    );
    field(text, "used_memory_human", human(usage.resident_bytes));
    field(text, "used_memory_rss_human", human(usage.resident_bytes));
    field(text, "used_memory_peak_human", human(usage.resident_peak_bytes));
    field(text, "maxmemory_policy", "noeviction");
}

/// A size as Redis shows it to people: `1.50M`.
fn human(bytes: u64) -> String {
    let bytes = bytes as f64;
    match [(30, 'G'), (20, 'M'), (10, 'K')].into_iter().find(|(bits, _)| bytes >= f64::from(1 << bits)) {
        Some((bits, unit)) => format!("{:.2}{unit}", bytes / f64::from(1 << bits)),
        None => format!("{bytes}B"),
    }
}

fn persistence(shared: &Shared, text: &mut String) {
    fields(
        text,
        [
            ("loading", u64::from(shared.engine().is_none())),
            ("async_loading", 0),
            ("rdb_changes_since_last_save", 0),
            ("rdb_bgsave_in_progress", 0),
            ("rdb_last_save_time", shared.started_ms / 1000),
            ("aof_enabled", 1),
            ("aof_rewrite_in_progress", 0),
            ("aof_rewrite_scheduled", 0),
        ],
    );
    field(text, "rdb_last_bgsave_status", "ok");
    field(text, "aof_last_bgrewrite_status", "ok");
    field(text, "aof_last_write_status", "ok");
}

fn stats(shared: &Shared, text: &mut String) {
    let stats = &shared.stats;
    fields(
        text,
        [
            ("total_connections_received", stats.connections.get()),
            ("total_commands_processed", stats.commands.get()),
            ("instantaneous_ops_per_sec", stats.commands_per_sec.load(Ordering::Relaxed)),
            ("total_net_input_bytes", stats.input_bytes.get()),
            ("total_net_output_bytes", stats.output_bytes.get()),
            ("rejected_connections", stats.rejected_connections.get()),
            ("client_query_buffer_limit_disconnections", stats.query_limit_disconnections.get()),
            // Of subscribers: a reply beyond the limit becomes an error, and the client stays.
            ("client_output_buffer_limit_disconnections", stats.output_limit_disconnections.get()),
            ("total_error_replies", stats.error_replies.get()),
            ("expired_keys", shared.engine().map_or(0, |engine| engine.expired_topics())),
            ("evicted_keys", 0),
            ("pubsub_channels", shared.pubsub.count(Kind::Channel) as u64),
            ("pubsub_patterns", shared.pubsub.count(Kind::Pattern) as u64),
            ("pubsubshard_channels", shared.pubsub.count(Kind::Shard) as u64),
        ],
    );
    let kbps = |bytes: u64| bytes as f64 / 1024.0;
    let input = stats.input_per_sec.load(Ordering::Relaxed);
    let output = stats.output_per_sec.load(Ordering::Relaxed);
    field(text, "instantaneous_input_kbps", format_args!("{:.2}", kbps(input)));
    field(text, "instantaneous_output_kbps", format_args!("{:.2}", kbps(output)));
}

fn replication(shared: &Shared, text: &mut String) {
    field(text, "role", "master");
    field(text, "connected_slaves", 0);
    field(text, "master_failover_state", "no-failover");
    field(text, "master_replid", &shared.run_id);
    field(text, "master_repl_offset", 0);
}

fn cpu(_shared: &Shared, text: &mut String) {
    let usage = process::usage();
    let secs = |ticks: u64| ticks as f64 / usage.ticks_per_sec.max(1) as f64;
    field(text, "used_cpu_sys", format_args!("{:.6}", secs(usage.system_ticks)));
    field(text, "used_cpu_user", format_args!("{:.6}", secs(usage.user_ticks)));
}

fn command_stats(shared: &Shared, text: &mut String) {
    for command in table::commands() {
        let stats = shared.stats.command(command.index);
        let (calls, rejected, failed) = (stats.calls.get(), stats.rejected.get(), stats.failed.get());
        if calls + rejected + failed == 0 {
            continue;
        }
        let usec = stats.nanos.get() / 1000;
        let per_call = if calls == 0 { 0.0 } else { stats.nanos.get() as f64 / 1000.0 / calls as f64 };
        let value = format_args!(
            "calls={calls},usec={usec},usec_per_call={per_call:.2},rejected_calls={rejected},failed_calls={failed}"
        );
        field(text, &format!("cmdstat_{}", command.full_name), value);
    }
}

/// Of each command executed, how long half, 99 % and 99.9 % of the executions took at most, to a power of two.
fn latency_stats(shared: &Shared, text: &mut String) {
    for command in table::commands() {
        let bounds = shared.stats.command(command.index).latencies.cumulated();
        let Some((_, executions)) = bounds.last().copied() else { continue };
        let at = |per_mille: u64| {
            let rank = (executions * per_mille).div_ceil(1000);
            bounds.iter().find(|(_, sum)| *sum >= rank).map_or(0, |(micros, _)| *micros)
        };
        let value = format_args!("p50={}.000,p99={}.000,p99.9={}.000", at(500), at(990), at(999));
        field(text, &format!("latency_percentiles_usec_{}", command.full_name), value);
    }
}

fn error_stats(shared: &Shared, text: &mut String) {
    for (code, count) in shared.stats.errors() {
        field(text, &format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn keyspace(shared: &Shared, text: &mut String) {
    let Some(engine) = shared.engine() else { return };
    for database in 0..shared.config.server.databases {
        let keys = engine.topic_count(Database(database));
        if keys > 0 {
            let expiring = engine.expiring(Database(database));
            let (expires, ttl) = (expiring.topics, expiring.average_ttl_ms);
            let value = format_args!("keys={keys},expires={expires},avg_ttl={ttl}");
            field(text, &format!("db{database}"), value);
        }
    }
}

fn wafka(shared: &Shared, text: &mut String) {
    let Some(engine) = shared.engine() else {
        return field(text, "storage_backend", &shared.config.storage.backend);
    };
    let brokers = engine.brokers();
    let sum = |of: fn(&wafka_broker::BrokerInfo) -> u64| brokers.iter().map(of).sum::<u64>();
    let topics: usize =
        (0..shared.config.server.databases).map(|database| engine.topic_count(Database(database))).sum();
    field(text, "brokers", brokers.len());
    field(text, "io_threads", shared.config.server.io_thread_count());
    field(text, "storage_backend", engine.backends().default_name());
    field(text, "fsync", engine.fsync().name());
    field(text, "topics", topics);
    fields(
        text,
        [
            ("partitions", sum(|broker| broker.partitions.len() as u64)),
            ("lines_written", sum(|broker| broker.events)),
            ("bytes_written", sum(|broker| broker.bytes)),
            ("broker_turns", sum(|broker| broker.turns)),
            ("syncs", sum(|broker| broker.syncs)),
        ],
    );
}

/// A line for each plugin, in the form of Redis's `# Modules`. Files may have any name, so they are for `PLUGIN LIST`.
fn plugins(shared: &Shared, text: &mut String) {
    for plugin in shared.plugins.all() {
        let info = plugin.info();
        let (kind, (major, minor)) = (info.kind.as_str(), info.abi);
        let value = format_args!(
            "name={},kind={kind},ver={},abi={major}.{minor},slow_calls={},panics={}",
            info.name,
            info.version,
            plugin.slow_calls(),
            plugin.panics()
        );
        field(text, "plugin", value);
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn sizes_for_people() {
        assert_eq!(human(0), "0B");
        assert_eq!(human(1023), "1023B");
        assert_eq!(human(1536), "1.50K");
        assert_eq!(human(3 << 20), "3.00M");
        assert_eq!(human(5 << 30), "5.00G");
    }
}
