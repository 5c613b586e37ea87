//! Counters for `INFO`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::command::table;

/// Kinds of errors counted by name; a client could otherwise fill the memory with made-up ones. Redis stops at 128 too.
const ERROR_KINDS_MAX: usize = 128;

/// A number that goes up.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The sum so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Back to 0: `CONFIG RESETSTAT`.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A number that goes up and down.
#[derive(Default, Debug)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `n`.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes `n` away.
    pub fn sub(&self, n: i64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Places of [`Latencies`]: the last takes all that took longer than about a quarter of an hour.
const LATENCY_PLACES: usize = 31;

/// How many executions took how long: by powers of two, from 1,024 nanoseconds on.
#[derive(Default, Debug)]
pub struct Latencies([Counter; LATENCY_PLACES]);

impl Latencies {
    /// Counts executions that took so long each.
    pub fn add(&self, took: Duration, executions: u64) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // The lowest place whose bound is not exceeded.
        let place = (nanos.saturating_sub(1) >> 10).checked_ilog2().map_or(0, |power| power as usize + 1);
        self.0[place.min(LATENCY_PLACES - 1)].add(executions);
    }

    /// The bounds that executions were counted at, in microseconds, each with how many took no longer; as Redis shows
    /// them.
    #[must_use]
    pub fn cumulated(&self) -> Vec<(u64, u64)> {
        let mut sum = 0;
        let mut bounds = Vec::new();
        for (place, counter) in self.0.iter().enumerate() {
            let count = counter.get();
            if count > 0 {
                sum += count;
                let bound = 1024_u64 << place;
                // The highest value that Redis's histogram does not tell from the bound.
                bounds.push(((bound + (bound >> 7) - 1) / 1000, sum));
            }
        }
        bounds
    }

    fn reset(&self) {
        self.0.iter().for_each(Counter::reset);
    }
}

/// What is counted of one command.
#[derive(Default, Debug)]
pub struct CommandStats {
    /// Executions.
    pub calls: Counter,
    /// Time of the executions, in nanoseconds, without waiting for commits and data.
    pub nanos: Counter,
    /// Requests refused before execution.
    pub rejected: Counter,
    /// Executions that ended in an error.
    pub failed: Counter,
    /// How long the executions took.
    pub latencies: Latencies,
}

/// All counters of a server.
#[derive(Debug)]
pub struct Stats {
    /// Connections accepted.
    pub connections: Counter,
    /// Connections refused because of `maxclients`.
    pub rejected_connections: Counter,
    /// Commands executed.
    pub commands: Counter,
    /// Bytes read from clients.
    pub input_bytes: Counter,
    /// Bytes sent to clients.
    pub output_bytes: Counter,
    /// Error replies.
    pub error_replies: Counter,
    /// Clients closed because a request was beyond the query buffer limit.
    pub query_limit_disconnections: Counter,
    /// Clients closed because they did not read what they subscribed to.
    pub output_limit_disconnections: Counter,
    /// Clients whose command waits for data.
    pub blocked_clients: Gauge,
    /// Clients that watch names for a transaction.
    pub watching_clients: Gauge,
    /// Commands executed per second, sampled.
    pub commands_per_sec: AtomicU64,
    /// Bytes read per second, sampled.
    pub input_per_sec: AtomicU64,
    /// Bytes sent per second, sampled.
    pub output_per_sec: AtomicU64,
    commands_by_index: Vec<CommandStats>,
    errors: Mutex<BTreeMap<String, u64>>,
    sampled: Mutex<[u64; 3]>,
}

impl Default for Stats {
    fn default() -> Self {
        Stats {
            connections: Counter::default(),
            rejected_connections: Counter::default(),
            commands: Counter::default(),
            input_bytes: Counter::default(),
            output_bytes: Counter::default(),
            error_replies: Counter::default(),
            query_limit_disconnections: Counter::default(),
            output_limit_disconnections: Counter::default(),
            blocked_clients: Gauge::default(),
            watching_clients: Gauge::default(),
            commands_per_sec: AtomicU64::new(0),
            input_per_sec: AtomicU64::new(0),
            output_per_sec: AtomicU64::new(0),
            commands_by_index: (0..table::commands().len()).map(|_| CommandStats::default()).collect(),
            errors: Mutex::default(),
            sampled: Mutex::default(),
        }
    }
}

impl Stats {
    /// The counters of the command with that index in the table.
    #[must_use]
    pub fn command(&self, index: usize) -> &CommandStats {
        &self.commands_by_index[index]
    }

    /// Counts an error reply by its code, the text's first word.
    #[cold]
    pub fn count_error(&self, text: &str) {
        self.error_replies.add(1);
        let code = text.split(' ').next().unwrap_or_default();
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < ERROR_KINDS_MAX {
            errors.insert(code.to_owned(), 1);
        }
    }

    /// The error codes and how often each was sent.
    #[must_use]
    pub fn errors(&self) -> Vec<(String, u64)> {
        self.errors.lock().iter().map(|(code, count)| (code.clone(), *count)).collect()
    }

    /// Takes the rates per second, given the time since this was last called.
    pub fn sample(&self, elapsed: Duration) {
        let now = [self.commands.get(), self.input_bytes.get(), self.output_bytes.get()];
        let before = std::mem::replace(&mut *self.sampled.lock(), now);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let rates = [&self.commands_per_sec, &self.input_per_sec, &self.output_per_sec];
        for ((rate, now), before) in rates.into_iter().zip(now).zip(before) {
            rate.store(now.saturating_sub(before).saturating_mul(1000) / millis, Ordering::Relaxed);
        }
    }

    /// Sets all but the gauges back to 0: `CONFIG RESETSTAT`.
    pub fn reset(&self) {
        for counter in [
            &self.connections,
            &self.rejected_connections,
            &self.commands,
            &self.input_bytes,
            &self.output_bytes,
            &self.error_replies,
            &self.query_limit_disconnections,
            &self.output_limit_disconnections,
        ] {
            counter.reset();
        }
        for command in &self.commands_by_index {
            for counter in [&command.calls, &command.nanos, &command.rejected, &command.failed] {
                counter.reset();
            }
            command.latencies.reset();
        }
        self.errors.lock().clear();
        *self.sampled.lock() = [0; 3];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_code_up_to_a_limit() {
        let stats = Stats::default();
        stats.count_error("ERR syntax error");
        stats.count_error("ERR other");
        stats.count_error("NOAUTH Authentication required.");
        assert_eq!(stats.errors(), [("ERR".to_owned(), 2), ("NOAUTH".to_owned(), 1)]);
        for kind in 0..1000 {
            stats.count_error(&format!("KIND{kind} x"));
        }
        assert_eq!(stats.errors().len(), ERROR_KINDS_MAX);
        assert_eq!(stats.error_replies.get(), 1003);
        stats.reset();
        assert!(stats.errors().is_empty());
        assert_eq!(stats.error_replies.get(), 0);
    }

    #[test]
    fn latencies_are_cumulated_by_powers_of_two() {
        let latencies = Latencies::default();
        for (micros, executions) in [(0, 1), (1, 1), (2, 1), (16, 2), (33, 1), (10_000_000_000, 1)] {
            latencies.add(Duration::from_micros(micros), executions);
        }
        let places: Vec<(u64, u64)> = latencies.cumulated();
        assert_eq!(places[..4], [(1, 2), (2, 3), (16, 5), (66, 6)]);
        assert_eq!((places.len(), places[4].1), (5, 7));
        latencies.reset();
        assert!(latencies.cumulated().is_empty());
    }

    #[test]
    fn rates_are_per_second() {
        let stats = Stats::default();
        stats.commands.add(500);
        stats.sample(Duration::from_millis(500));
        assert_eq!(stats.commands_per_sec.load(Ordering::Relaxed), 1000);
        stats.sample(Duration::from_secs(1));
        assert_eq!(stats.commands_per_sec.load(Ordering::Relaxed), 0);
    }
}
