//! File descriptors: how many the system gives, and how many clients that is enough for.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::clients::Signals;
use crate::shared::Shared;

/// Descriptors that no client gets, beside those that are open when the server starts: for logs of new topics, for
/// rewriting, for connections that are turned away. Redis reserves as many. How many topics there will be is not known, and
/// clients that are served are not closed for a new one: where more is needed, `XADD` says that there are too many open files.
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

/// Sees to it that clients leave enough descriptors to the logs and their indexes, as many as these are by now: sets how many
/// clients there may be, and closes those that are too many by then, the newest first. A server that does not own the data
/// cannot know how many logs it will open; its clients have half of what there is.
pub(crate) fn limit_clients(shared: &Shared) {
    shared.settings.limit_maxclients(|wanted| clients_max(shared, wanted));
    let max = usize::try_from(shared.settings.maxclients()).unwrap_or(usize::MAX);
    let mut clients = shared.clients.all();
    if clients.len() > max {
        tracing::warn!(
            clients = clients.len(),
            max,
            "closing the newest clients: the logs need their descriptors (ulimit -n)"
        );
        clients.sort_unstable_by_key(|client| client.id);
        clients[max..].iter().for_each(|client| client.signal(Signals::KILL));
    }
}

/// The most clients that leave enough descriptors to the logs; `u32::MAX` without a limit. Tells in the log when these are
/// fewer than `wanted`.
fn clients_max(shared: &Shared, wanted: u32) -> u32 {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return u32::MAX };
    let open = match count_open() {
        Ok(open) => open,
        Err(error) => {
            tracing::warn!(%error, "cannot count the open files in /dev/fd: server.maxclients is not checked");
            return u32::MAX;
        }
    };
    let open = open.saturating_sub(shared.clients.len() as u64);
    let engine = shared.engine();
    // The file of an index is made when there is something to put into it.
    let to_come = engine.map_or(0, |engine| engine.indexes_without_file() as u64);
    let max = clients_within(limit, open + to_come, engine.is_none());
    if max < wanted {
        tracing::warn!(
            wanted,
            limit,
            open,
            to_come,
            reserve = RESERVE,
            stands_by = engine.is_none(),
            max,
            "the limit on open files (ulimit -n) allows fewer clients than server.maxclients: max is used"
        );
    }
    max
}

/// At least one: a server that serves nobody could not even be asked why.
fn clients_within(limit: u64, open: u64, stands_by: bool) -> u32 {
    let left = limit.saturating_sub(open).saturating_sub(RESERVE);
    let left = if stands_by { left / 2 } else { left };
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
        assert_eq!(clients_within(1024, 24, false), 968);
        assert_eq!(clients_within(1024, 24, true), 484);
        assert_eq!(clients_within(100, 68, false), 1);
        assert_eq!(clients_within(100, 1000, true), 1);
        assert_eq!(clients_within(u64::MAX, 0, false), u32::MAX);
        assert!(count_open().unwrap() >= 3);
    }
}
