//! Failed attempts to authenticate: `ACL LOG`.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Entries kept.
const ENTRIES_MAX: usize = 128;
/// Equal attempts within so many milliseconds are one entry.
const SAME_WITHIN_MS: u64 = 60_000;
/// So many of the latest entries are looked through for an equal one.
const LOOKED_THROUGH: usize = 10;
/// Bytes kept of a user's name.
const USER_BYTES_MAX: usize = 256;

/// Failed attempts with the same user by the same command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthFailure {
    /// Its number, over the server's life.
    pub id: u64,
    /// How many attempts.
    pub count: u64,
    /// The command, as the client wrote it.
    pub command: Vec<u8>,
    /// The user's name.
    pub user: Vec<u8>,
    /// The client, as `CLIENT INFO` shows it.
    pub client: String,
    /// When the first was, in milliseconds since 1970.
    pub first_ms: u64,
    /// When the last was.
    pub last_ms: u64,
}

#[derive(Default)]
struct Log {
    /// The latest first.
    entries: VecDeque<AuthFailure>,
    next_id: u64,
}

/// The log of failed attempts.
#[derive(Default)]
pub struct AuthLog(Mutex<Log>);

impl AuthLog {
    /// Notes an attempt.
    pub fn add(&self, command: &[u8], user: &[u8], client: String, now_ms: u64) {
        let user = &user[..user.len().min(USER_BYTES_MAX)];
        let mut log = self.0.lock();
        let is_same = |entry: &AuthFailure| {
            entry.command == command
                && entry.user == user
                && now_ms.saturating_sub(entry.last_ms) <= SAME_WITHIN_MS
        };
        let same = log.entries.iter().take(LOOKED_THROUGH).position(is_same);
        let entry = match same.and_then(|at| log.entries.remove(at)) {
            Some(entry) => AuthFailure { count: entry.count + 1, client, last_ms: now_ms, ..entry },
            None => {
                let id = log.next_id;
                log.next_id += 1;
                let (command, user) = (command.to_vec(), user.to_vec());
                AuthFailure { id, count: 1, command, user, client, first_ms: now_ms, last_ms: now_ms }
            }
        };
        log.entries.push_front(entry);
        log.entries.truncate(ENTRIES_MAX);
    }

    /// The latest entries, `count` at most.
    #[must_use]
    pub fn latest(&self, count: usize) -> Vec<AuthFailure> {
        self.0.lock().entries.iter().take(count).cloned().collect()
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.0.lock().entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_attempts_are_one_entry_for_a_minute() {
        let log = AuthLog::default();
        log.add(b"AUTH", b"me", "a".to_owned(), 1000);
        log.add(b"HELLO", b"me", "a".to_owned(), 2000);
        log.add(b"AUTH", b"me", "b".to_owned(), 3000);
        let found: Vec<(u64, u64, String)> =
            log.latest(9).into_iter().map(|entry| (entry.id, entry.count, entry.client)).collect();
        assert_eq!(found, [(0, 2, "b".to_owned()), (1, 1, "a".to_owned())]);
        log.add(b"AUTH", b"me", "c".to_owned(), 63_001);
        assert_eq!(log.latest(1)[0].count, 1);
        log.clear();
        for n in 0..1000 {
            log.add(b"AUTH", format!("user{n}").as_bytes(), String::new(), 0);
        }
        assert_eq!(log.latest(usize::MAX).len(), ENTRIES_MAX);
    }
}
