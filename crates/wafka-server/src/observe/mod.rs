//! What operators see of the commands executed: `MONITOR`, the slow log, latency spikes.

mod auth_log;
mod latency;
mod monitor;
mod redact;
mod slow_log;

use std::time::Duration;

use wafka_core::TopicKey;

pub use auth_log::{AuthFailure, AuthLog};
pub use latency::{Latency, Sample, Spikes};
pub use monitor::Monitors;
pub use slow_log::{ENTRIES_MAX, SlowCommand, SlowLog};

use crate::command::{Args, Command, Flags, KeysOf};
use crate::config::ServerConfig;
use crate::notify::Classes;
use crate::session::Session;

/// All that watches commands.
#[derive(Default)]
pub struct Observers {
    /// The clients in `MONITOR` mode.
    pub monitors: Monitors,
    /// The slow log.
    pub slow_log: SlowLog,
    /// Latency spikes.
    pub latency: Latency,
    /// Failed attempts to authenticate.
    pub auth_log: AuthLog,
}

impl Observers {
    /// As configured.
    #[must_use]
    pub fn new(config: &ServerConfig) -> Self {
        let observers = Observers::default();
        observers.slow_log.set_slower_than(config.slowlog_log_slower_than);
        observers.slow_log.set_len_max(config.slowlog_max_len as usize);
        observers.latency.set_threshold_millis(config.latency_monitor_threshold);
        observers
    }

    /// Whether every single append is watched, which are too many for that otherwise.
    #[must_use]
    pub fn watch_appends(&self) -> bool {
        self.monitors.is_watched() || self.slow_log.wants_short_ones()
    }
}

/// To be told before a command is executed: who watches sees one that blocks when it arrives.
pub(crate) fn command_begins(session: &Session, command: &Command, args: &Args<'_>) {
    if command.flags.contains(Flags::BLOCKING) {
        show(session, command, args);
    }
    if session.shared.settings.notify_classes().has(Classes::KEY_MISS) {
        tell_misses(session, command, args);
    }
}

/// Publishes which topics a command reads that do not exist.
#[cold]
fn tell_misses(session: &Session, command: &Command, args: &Args<'_>) {
    let looks_only = matches!(command.full_name, "memory|usage") || command.full_name.starts_with("object|");
    let reads = command.flags.contains(Flags::READONLY) && !looks_only;
    let looks_up = matches!(command.full_name, "xreadgroup" | "xack" | "xclaim" | "xautoclaim");
    let Some(keys) = KeysOf::find(command.keys, args).filter(|_| reads || looks_up) else { return };
    for key in keys.iter() {
        let name = TopicKey::parse(key).topic;
        if session.shared.engine().is_some_and(|engine| engine.topic(session.database(), name).is_none()) {
            session.notify(Classes::KEY_MISS, "keymiss", key);
        }
    }
}

/// To be told when a command was executed, and how long that took, without the time for which it was blocked.
pub(crate) fn command_ends(session: &Session, command: &Command, args: &Args<'_>, took: Duration) {
    if !command.flags.contains(Flags::BLOCKING) {
        show(session, command, args);
    }
    log_if_slow(session, command, args, took);
    let observers = &session.shared.observers;
    if observers.latency.wants(took) {
        let event = if command.flags.contains(Flags::FAST) { "fast-command" } else { "command" };
        observers.latency.add(event, session.shared.now_ms() / 1000, took);
    }
    session.shared.stats.command(command.index).latencies.add(took, 1);
}

/// To be told when an append was accepted on the hot path, where appends are watched.
#[cold]
pub(crate) fn append_ends(session: &Session, command: &Command, args: &Args<'_>, took: Duration) {
    show(session, command, args);
    log_if_slow(session, command, args, took);
}

fn log_if_slow(session: &Session, command: &Command, args: &Args<'_>, took: Duration) {
    let log = &session.shared.observers.slow_log;
    // Of a transaction its commands are logged.
    if log.wants(took) && command.full_name != "exec" {
        let labels = session.client.labels.lock();
        let slow = SlowCommand::new(session.shared.now_ms() / 1000, took, command.full_name, args);
        log.add(slow.of(session.client.addr, &labels.name));
    }
}

/// Shows a command to the clients in `MONITOR` mode. Those of administrators are not shown.
pub(crate) fn show(session: &Session, command: &Command, args: &Args<'_>) {
    if session.shared.observers.monitors.is_watched() && !command.flags.contains(Flags::ADMIN) {
        monitor::show(session, command.full_name, args);
    }
}
