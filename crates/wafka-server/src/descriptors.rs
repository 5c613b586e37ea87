//! File descriptors: how many the system gives, and how many clients that is enough for.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that no client gets, beside those that are open when the server starts: for logs of new topics, for
/// rewriting, for connections that are turned away. Redis reserves as many.
const RESERVE: u64 = 32;

/// Lets the server have as many connections and files open as the system allows it.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, current = ?limit.current, "cannot raise the limit on open files");
    }
}

/// The most clients that leave enough descriptors to the logs, given those open now; `u32::MAX` without a limit. Tells
/// in the log when these are fewer than `wanted`.
pub(crate) fn clients_max(wanted: u32) -> u32 {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return u32::MAX };
    let open = match count_open() {
        Ok(open) => open,
        Err(error) => {
            tracing::warn!(%error, "cannot count the open files in /dev/fd: server.maxclients is not checked");
            return u32::MAX;
        }
    };
    let max = clients_within(limit, open);
    if max < wanted {
        tracing::warn!(
            wanted,
            limit,
            open,
            reserve = RESERVE,
            max,
            "the limit on open files (ulimit -n) allows fewer clients than server.maxclients: max is used"
        );
    }
    max
}

/// At least one: a server that serves nobody could not even be asked why.
fn clients_within(limit: u64, open: u64) -> u32 {
    let left = limit.saturating_sub(open).saturating_sub(RESERVE);
    u32::try_from(left).unwrap_or(u32::MAX).max(1)
}

fn count_open() -> io::Result<u64> {
    let mut open = 0;
    for entry in std::fs::read_dir("/dev/fd")? {
        entry?;
        open += 1;
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_come_before_clients() {
        assert_eq!(clients_within(1024, 24), 968);
        assert_eq!(clients_within(100, 68), 1);
        assert_eq!(clients_within(100, 1000), 1);
        assert_eq!(clients_within(u64::MAX, 0), u32::MAX);
        assert!(count_open().unwrap() >= 3);
    }
}
