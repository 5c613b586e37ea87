//! The settings that `CONFIG SET` may change while the server runs, and that hot paths read.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use wafka_broker::IdempotenceSettings;
use wafka_protocol::Limits;

use crate::config::Config;
use crate::notify::Classes;
use crate::pubsub::InboxLimits;

/// The longest inline request in bytes, as Redis has it.
const MAX_INLINE_LEN: usize = 64 * 1024;

/// Settings that may change while the server runs. A connection sees a change at its next request.
#[derive(Debug)]
pub struct Settings {
    maxclients: AtomicU32,
    maxclients_max: AtomicU32,
    /// Held by who finds out `maxclients_max`, which takes a while; who reads it takes no lock.
    limiting: Mutex<()>,
    timeout_secs: AtomicU32,
    protected_mode: AtomicBool,
    proto_max_bulk_len: AtomicUsize,
    query_buffer_limit: AtomicUsize,
    output_buffer_limit: AtomicUsize,
    password: RwLock<String>,
    has_password: AtomicBool,
    log_level: RwLock<String>,
    idempotence_duration_secs: AtomicU32,
    idempotence_max_iids: AtomicU32,
    notify: AtomicU32,
    pubsub: RwLock<InboxLimits>,
}

impl Settings {
    /// The settings that the server starts with.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let log_level = RwLock::new(config.log.level.clone());
        let config = &config.server;
        Settings {
            maxclients: AtomicU32::new(config.maxclients),
            maxclients_max: AtomicU32::new(u32::MAX),
            limiting: Mutex::new(()),
            timeout_secs: AtomicU32::new(config.timeout),
            protected_mode: AtomicBool::new(config.protected_mode),
            proto_max_bulk_len: AtomicUsize::new(config.proto_max_bulk_len.as_usize()),
            query_buffer_limit: AtomicUsize::new(config.query_buffer_limit.as_usize()),
            output_buffer_limit: AtomicUsize::new(config.output_buffer_limit.as_usize()),
            password: RwLock::new(config.requirepass.clone()),
            has_password: AtomicBool::new(!config.requirepass.is_empty()),
            log_level,
            idempotence_duration_secs: AtomicU32::new(config.idempotence_duration),
            idempotence_max_iids: AtomicU32::new(config.idempotence_max_iids),
            notify: AtomicU32::new(config.notify_keyspace_events.bits()),
            pubsub: RwLock::new(InboxLimits {
                hard: config.pubsub_buffer_limit.as_usize(),
                soft: config.pubsub_buffer_soft_limit.as_usize(),
                soft_time: Duration::from_secs(u64::from(config.pubsub_buffer_soft_secs)),
            }),
        }
    }

    /// The most clients connected at a time.
    #[must_use]
    pub fn maxclients(&self) -> u32 {
        self.maxclients.load(Ordering::Relaxed).min(self.maxclients_max())
    }

    /// Sets the most clients connected at a time; those connected stay.
    pub fn set_maxclients(&self, max: u32) {
        self.maxclients.store(max, Ordering::Relaxed);
    }

    /// What [`Settings::set_maxclients`] may be given at most: the system has descriptors for so many.
    #[must_use]
    pub fn maxclients_max(&self) -> u32 {
        self.maxclients_max.load(Ordering::Relaxed)
    }

    /// Notes for how many clients the system has descriptors; more than that are not let in. `find` is told how many are
    /// wanted. What is found later counts, whoever else finds out meanwhile.
    pub fn limit_maxclients(&self, find: impl FnOnce(u32) -> u32) {
        let _limiting = self.limiting.lock();
        self.maxclients_max.store(find(self.maxclients.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Seconds after which an idle client is closed; 0 is never.
    #[must_use]
    pub fn timeout_secs(&self) -> u32 {
        self.timeout_secs.load(Ordering::Relaxed)
    }

    /// Sets the seconds after which an idle client is closed.
    pub fn set_timeout_secs(&self, secs: u32) {
        self.timeout_secs.store(secs, Ordering::Relaxed);
    }

    /// Whether clients from other machines are refused as long as there is no password.
    #[must_use]
    pub fn protected_mode(&self) -> bool {
        self.protected_mode.load(Ordering::Relaxed)
    }

    /// Sets whether clients from other machines are refused as long as there is no password.
    pub fn set_protected_mode(&self, on: bool) {
        self.protected_mode.store(on, Ordering::Relaxed);
    }

    /// The longest argument of a request, in bytes.
    #[must_use]
    pub fn proto_max_bulk_len(&self) -> usize {
        self.proto_max_bulk_len.load(Ordering::Relaxed)
    }

    /// Sets the longest argument of a request, in bytes.
    pub fn set_proto_max_bulk_len(&self, len: usize) {
        self.proto_max_bulk_len.store(len, Ordering::Relaxed);
    }

    /// The longest request, in bytes.
    #[must_use]
    pub fn query_buffer_limit(&self) -> usize {
        self.query_buffer_limit.load(Ordering::Relaxed)
    }

    /// Sets the longest request, in bytes.
    pub fn set_query_buffer_limit(&self, len: usize) {
        self.query_buffer_limit.store(len, Ordering::Relaxed);
    }

    /// The largest reply to one command, in bytes.
    #[must_use]
    pub fn output_buffer_limit(&self) -> usize {
        self.output_buffer_limit.load(Ordering::Relaxed)
    }

    /// Sets the largest reply to one command, in bytes.
    pub fn set_output_buffer_limit(&self, len: usize) {
        self.output_buffer_limit.store(len, Ordering::Relaxed);
    }

    /// Whether clients must give a password.
    #[must_use]
    pub fn password_required(&self) -> bool {
        self.has_password.load(Ordering::Relaxed)
    }

    /// Sets the password; none when empty. Clients that are in stay in.
    pub fn set_password(&self, password: &str) {
        let mut current = self.password.write();
        password.clone_into(&mut current);
        self.has_password.store(!password.is_empty(), Ordering::Relaxed);
    }

    /// The password, for `CONFIG GET`; empty when there is none.
    #[must_use]
    pub fn password(&self) -> String {
        self.password.read().clone()
    }

    /// Whether `given` is the password, compared in a time that does not depend on where the two differ.
    #[must_use]
    pub fn password_is(&self, given: &[u8]) -> bool {
        let password = self.password.read();
        let expected = password.as_bytes();
        let differences = (0..given.len()).fold(given.len() ^ expected.len(), |differences, at| {
            let expected = expected.get(at % expected.len().max(1)).copied().unwrap_or_default();
            differences | usize::from(given[at] ^ expected)
        });
        differences == 0
    }

    /// The level of the server's log, or its levels by module.
    #[must_use]
    pub fn log_level(&self) -> String {
        self.log_level.read().clone()
    }

    /// Notes the level of the server's log.
    pub fn set_log_level(&self, level: &str) {
        level.clone_into(&mut self.log_level.write());
    }

    /// The classes of keyspace notifications that are sent.
    #[must_use]
    pub fn notify_classes(&self) -> Classes {
        Classes::from_bits(self.notify.load(Ordering::Relaxed))
    }

    /// Chooses the classes of keyspace notifications that are sent.
    pub fn set_notify_classes(&self, classes: Classes) {
        self.notify.store(classes.bits(), Ordering::Relaxed);
    }

    /// How much may wait for a subscriber.
    #[must_use]
    pub fn pubsub_limits(&self) -> InboxLimits {
        *self.pubsub.read()
    }

    /// Sets how much may wait for a subscriber.
    pub fn set_pubsub_limits(&self, limits: InboxLimits) {
        *self.pubsub.write() = limits;
    }

    /// How long and how many idempotence records a topic keeps that gets its first.
    #[must_use]
    pub fn idempotence(&self) -> IdempotenceSettings {
        IdempotenceSettings {
            duration_secs: self.idempotence_duration_secs.load(Ordering::Relaxed),
            max_iids: self.idempotence_max_iids.load(Ordering::Relaxed),
        }
    }

    /// Sets how long a topic keeps idempotence records, in seconds.
    pub fn set_idempotence_duration_secs(&self, secs: u32) {
        self.idempotence_duration_secs.store(secs, Ordering::Relaxed);
    }

    /// Sets how many idempotence records of each producer a topic keeps.
    pub fn set_idempotence_max_iids(&self, max: u32) {
        self.idempotence_max_iids.store(max, Ordering::Relaxed);
    }

    /// The limits on the requests of a client.
    #[must_use]
    pub fn request_limits(&self, authenticated: bool) -> Limits {
        if !authenticated {
            return Limits::unauthenticated();
        }
        Limits {
            max_bulk_len: self.proto_max_bulk_len(),
            max_request_len: self.query_buffer_limit(),
            max_inline_len: MAX_INLINE_LEN,
            ..Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    #[test]
    fn only_the_password_itself_is_right() {
        let mut config = Config::default();
        "secret".clone_into(&mut config.server.requirepass);
        let settings = Settings::new(&config);
        assert!(settings.password_required());
        assert!(settings.password_is(b"secret"));
        for wrong in ["", "secre", "secrets", "Secret", "secretsecret"] {
            assert!(!settings.password_is(wrong.as_bytes()), "{wrong}");
        }
        settings.set_password("");
        assert!(!settings.password_required());
    }

    #[test]
    fn nobody_waits_for_who_counts_descriptors() {
        let settings = Arc::new(Settings::new(&Config::default()));
        settings.limit_maxclients(|wanted| wanted - 1);
        let (read, reads) = mpsc::channel();
        settings.limit_maxclients(|wanted| {
            // As an accept and CONFIG SET do meanwhile.
            let other = Arc::clone(&settings);
            std::thread::spawn(move || read.send((other.maxclients(), other.maxclients_max())));
            let seen = reads.recv_timeout(Duration::from_secs(20));
            assert_eq!(seen, Ok((wanted - 1, wanted - 1)));
            5
        });
        assert_eq!((settings.maxclients(), settings.maxclients_max()), (5, 5));
    }
}
