//! What the system tells about the process, from Linux's `/proc`
//! (<https://man7.org/linux/man-pages/man5/proc.5.html>).

use std::fs;

/// What the process takes; all 0 where the system does not tell.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Usage {
    /// Memory in use, in bytes.
    pub(super) resident_bytes: u64,
    /// The most memory that was in use, in bytes.
    pub(super) resident_peak_bytes: u64,
    /// CPU time of its own, in clock ticks.
    pub(super) user_ticks: u64,
    /// CPU time of the system on its behalf, in clock ticks.
    pub(super) system_ticks: u64,
    /// Clock ticks per second.
    pub(super) ticks_per_sec: u64,
    /// Memory of the machine, in bytes.
    pub(super) machine_bytes: u64,
}

/// Asks the system.
pub(super) fn usage() -> Usage {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let (user_ticks, system_ticks) = cpu_ticks(&stat).unwrap_or_default();
    Usage {
        resident_bytes: kilobytes(&status, "VmRSS:"),
        resident_peak_bytes: kilobytes(&status, "VmHWM:"),
        user_ticks,
        system_ticks,
        ticks_per_sec: rustix::param::clock_ticks_per_second(),
        machine_bytes: kilobytes(&memory, "MemTotal:"),
    }
}

/// The number of the line `<name> <number> kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0).saturating_mul(1024)
}

/// `utime` and `stime`, the 14th and 15th field; the second is a name in parentheses that may hold anything.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_blanks_do_not_shift_the_fields() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1000 0 0 0 31 42 0 0 20 0 9 0 100 1 2";
        assert_eq!(cpu_ticks(stat), Some((31, 42)));
        assert_eq!(cpu_ticks("nonsense"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = usage();
        assert!(usage.resident_bytes > 0 && usage.resident_peak_bytes >= usage.resident_bytes);
        assert!(usage.ticks_per_sec > 0);
        assert!(usage.machine_bytes > usage.resident_bytes);
    }
}
