//! The slow log: the commands that took longest, as many as it is told to keep.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::redact::shown;
use crate::command::Args;

/// Arguments kept of a command.
const ARGS_MAX: usize = 32;
/// Bytes kept of an argument.
const ARG_BYTES_MAX: usize = 128;

/// The most entries that the log may be told to keep: some hundred megabytes at worst.
pub const ENTRIES_MAX: u32 = 100_000;

/// A command that took long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlowCommand {
    /// Its number, over the server's life.
    pub id: u64,
    /// When it ended, in seconds since 1970.
    pub at_secs: u64,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// Its arguments, cut.
    pub args: Vec<Vec<u8>>,
    /// Where its client connected from.
    pub addr: String,
    /// The client's name.
    pub name: Vec<u8>,
}

impl SlowCommand {
    /// A command that took so long; secrets among its arguments are left out.
    #[must_use]
    pub fn new(at_secs: u64, took: Duration, full_name: &str, args: &Args<'_>) -> Self {
        let kept = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
        let mut cut: Vec<Vec<u8>> = (0..kept).map(|index| cut_arg(shown(full_name, args, index))).collect();
        if args.len() > kept {
            cut.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
        }
        SlowCommand { id: 0, at_secs, micros: micros(took), args: cut, addr: String::new(), name: Vec::new() }
    }

    /// As sent by the client of that address and name.
    #[must_use]
    pub fn of(mut self, addr: SocketAddr, name: &[u8]) -> Self {
        self.addr = addr.to_string();
        self.name = name.to_vec();
        self
    }
}

fn cut_arg(arg: &[u8]) -> Vec<u8> {
    if arg.len() <= ARG_BYTES_MAX {
        return arg.to_vec();
    }
    let more = format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX);
    [&arg[..ARG_BYTES_MAX], more.as_bytes()].concat()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The slow log.
pub struct SlowLog {
    /// Microseconds from which on a command is logged; negative is never.
    slower_than: AtomicI64,
    len_max: AtomicUsize,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    /// The latest first.
    entries: VecDeque<SlowCommand>,
    next_id: u64,
}

impl Default for SlowLog {
    fn default() -> Self {
        SlowLog { slower_than: AtomicI64::new(10_000), len_max: AtomicUsize::new(128), log: Mutex::default() }
    }
}

impl SlowLog {
    /// Whether a command that took so long is logged.
    #[must_use]
    pub fn wants(&self, took: Duration) -> bool {
        u64::try_from(self.slower_than()).is_ok_and(|least| micros(took) >= least)
    }

    /// Whether so short times are logged that even an append has to be measured.
    #[must_use]
    pub fn wants_short_ones(&self) -> bool {
        (0..1000).contains(&self.slower_than())
    }

    /// Adds a command, and gives it its number.
    pub fn add(&self, command: SlowCommand) {
        let mut log = self.log.lock();
        let id = log.next_id;
        log.next_id += 1;
        log.entries.push_front(SlowCommand { id, ..command });
        log.entries.truncate(self.len_max());
    }

    /// The latest commands, `count` at most.
    #[must_use]
    pub fn latest(&self, count: usize) -> Vec<SlowCommand> {
        self.log.lock().entries.iter().take(count).cloned().collect()
    }

    /// How many commands there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.log.lock().entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all commands.
    pub fn clear(&self) {
        self.log.lock().entries.clear();
    }

    /// Microseconds from which on a command is logged; negative is never.
    #[must_use]
    pub fn slower_than(&self) -> i64 {
        self.slower_than.load(Ordering::Relaxed)
    }

    /// Sets from how many microseconds on a command is logged.
    pub fn set_slower_than(&self, micros: i64) {
        self.slower_than.store(micros, Ordering::Relaxed);
    }

    /// How many commands are kept.
    #[must_use]
    pub fn len_max(&self) -> usize {
        self.len_max.load(Ordering::Relaxed)
    }

    /// Sets how many commands are kept; there are no more than that at once.
    pub fn set_len_max(&self, len: usize) {
        self.len_max.store(len, Ordering::Relaxed);
        self.log.lock().entries.truncate(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(name: &str) -> SlowCommand {
        SlowCommand::new(7, Duration::from_micros(5), name, &[name.as_bytes()])
    }

    #[test]
    fn the_latest_are_kept() {
        let log = SlowLog::default();
        log.set_len_max(2);
        for name in ["a", "b", "c"] {
            log.add(slow(name));
        }
        let kept: Vec<(u64, Vec<Vec<u8>>)> =
            log.latest(9).into_iter().map(|command| (command.id, command.args)).collect();
        assert_eq!(kept, [(2, vec![b"c".to_vec()]), (1, vec![b"b".to_vec()])]);
        assert_eq!(log.latest(1).len(), 1);
        log.set_len_max(0);
        log.add(slow("d"));
        assert!(log.is_empty());
    }

    #[test]
    fn what_is_slow_is_told_in_microseconds() {
        let log = SlowLog::default();
        assert!(log.wants(Duration::from_millis(10)) && !log.wants(Duration::from_micros(9999)));
        assert!(!log.wants_short_ones());
        log.set_slower_than(0);
        assert!(log.wants(Duration::ZERO) && log.wants_short_ones());
        log.set_slower_than(-1);
        assert!(!log.wants(Duration::MAX) && !log.wants_short_ones());
    }

    #[test]
    fn long_requests_are_cut() {
        let words: Vec<Vec<u8>> = (0..41).map(|n| format!("k{n}").into_bytes()).collect();
        let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let command = SlowCommand::new(0, Duration::ZERO, "exists", &args);
        assert_eq!(command.args.len(), 32);
        assert_eq!(command.args[30], b"k30");
        assert_eq!(command.args[31], b"... (10 more arguments)");
        let long = [b'x'; 300];
        let command = SlowCommand::new(0, Duration::ZERO, "echo", &[b"ECHO", &long]);
        assert_eq!(command.args[1], [&long[..128], b"... (172 more bytes)"].concat());
        assert_eq!(SlowCommand::new(0, Duration::ZERO, "echo", &args[..32]).args.len(), 32);
    }
}
