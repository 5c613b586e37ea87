//! What `[backends.jetstream]` may say.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use wafka_core::storage::StorageError;

use crate::NAME;

/// Bytes in a MiB.
const MIB: usize = 1 << 20;

/// The backend's options.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Where the engine's servers listen: `host:port` or `nats://host:port`, at least one.
    pub servers: Vec<String>,
    /// As whom to connect.
    pub login: Login,
    /// As whom to ask the servers whether they sync before they acknowledge: a user of their system account.
    pub system_login: Option<Login>,
    /// Says that the loss of what was acknowledged is accepted: servers that do not sync before they acknowledge, or that
    /// nobody asked about it, are written to all the same.
    pub accept_unsynced_loss: bool,
    /// Whether only encrypted connections are made.
    pub tls_required: bool,
    /// A file with the certificates that are trusted, beside those of the system.
    pub tls_ca: Option<PathBuf>,
    /// What the names of streams and subjects begin with: letters, digits, `_` and `-`, at most 32.
    pub prefix: String,
    /// How many servers hold each log: 1, 3 or 5. Counts for logs that are made from then on.
    pub replicas: u8,
    /// How long an acknowledgement is waited for before the log's end is read again, in milliseconds. Neither of the next two
    /// is less.
    pub publish_timeout_ms: u32,
    /// How long it is tried to append lines before that counts as failed, in milliseconds. The engine takes up to 9 s to
    /// find a new leader for a log.
    pub give_up_ms: u32,
    /// How long it is tried to read, to make or to delete a log, in milliseconds.
    pub request_timeout_ms: u32,
    /// Lines of one log that are appended and not acknowledged, in MiB: with more, an append waits.
    pub pending_mib: u32,
    /// How long a server owns the data unless it renews its lease, in milliseconds: another one takes over that much
    /// later at the latest. Each owner's own counts; others are told it.
    pub lease_ms: u32,
}

/// As whom to connect: one of these, or nothing where the servers let anybody in.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Login {
    /// A user's name; needs `password`.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// A token.
    pub token: Option<String>,
    /// A file with credentials (`.creds`).
    pub credentials: Option<PathBuf>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Passwords are for nobody to read.
        f.debug_struct("Login")
            .field("user", &self.user)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // All of them are named, so that one that is added is not forgotten here.
        let Options {
            servers,
            login,
            system_login,
            accept_unsynced_loss,
            tls_required,
            tls_ca,
            prefix,
            replicas,
            publish_timeout_ms,
            give_up_ms,
            request_timeout_ms,
            pending_mib,
            lease_ms,
        } = self;
        let servers: Vec<&str> = servers.iter().map(|server| without_login(server)).collect();
        f.debug_struct("Options")
            .field("servers", &servers)
            .field("login", login)
            .field("system_login", system_login)
            .field("accept_unsynced_loss", accept_unsynced_loss)
            .field("tls_required", tls_required)
            .field("tls_ca", tls_ca)
            .field("prefix", prefix)
            .field("replicas", replicas)
            .field("publish_timeout_ms", publish_timeout_ms)
            .field("give_up_ms", give_up_ms)
            .field("request_timeout_ms", request_timeout_ms)
            .field("pending_mib", pending_mib)
            .field("lease_ms", lease_ms)
            .finish()
    }
}

/// An address without the user, password or token that may stand before it: nothing up to the last `@`, which a password
/// that was written as it is may have, too.
fn without_login(server: &str) -> &str {
    server.rsplit_once('@').map_or(server, |(_, address)| address)
}

impl Default for Options {
    fn default() -> Self {
        Options {
            servers: vec!["127.0.0.1:4222".into()],
            login: Login::default(),
            system_login: None,
            accept_unsynced_loss: false,
            tls_required: false,
            tls_ca: None,
            prefix: "wafka".into(),
            replicas: 3,
            publish_timeout_ms: 2000,
            give_up_ms: 12_000,
            request_timeout_ms: 12_000,
            pending_mib: 64,
            lease_ms: 3000,
        }
    }
}

pub(crate) fn bad_option(option: &str, expected: impl Into<String>) -> StorageError {
    StorageError::BadOption { backend: NAME.into(), option: option.into(), expected: expected.into() }
}

impl Options {
    /// Checks what the types do not say.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        if self.servers.is_empty() {
            return Err(bad_option("servers", "expected at least one address"));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if !(1..=32).contains(&self.prefix.len()) || !self.prefix.bytes().all(is_plain) {
            let expected = format!(
                "expected 1 to 32 letters, digits, '_' and '-', got '{}'",
                self.prefix.escape_debug()
            );
            return Err(bad_option("prefix", expected));
        }
        if ![1, 3, 5].contains(&self.replicas) {
            return Err(bad_option("replicas", format!("expected 1, 3 or 5, got {}", self.replicas)));
        }
        let ranges = [
            // Within less nothing may ever be answered.
            ("publish_timeout_ms", self.publish_timeout_ms, 100..=600_000),
            // It is given up when the end was read again at least once.
            ("give_up_ms", self.give_up_ms, self.publish_timeout_ms..=600_000),
            ("request_timeout_ms", self.request_timeout_ms, self.publish_timeout_ms..=600_000),
            ("pending_mib", self.pending_mib, 1..=1 << 20),
            ("lease_ms", self.lease_ms, 300..=600_000),
        ];
        for (option, value, range) in ranges {
            if !range.contains(&value) {
                let expected =
                    format!("expected a number between {} and {}, got {value}", range.start(), range.end());
                return Err(bad_option(option, expected));
            }
        }
        self.login.check("login")?;
        self.system_login.as_ref().map_or(Ok(()), |login| login.check("system_login"))
    }

    pub(crate) fn publish_timeout(&self) -> Duration {
        Duration::from_millis(self.publish_timeout_ms.into())
    }

    pub(crate) fn give_up(&self) -> Duration {
        Duration::from_millis(self.give_up_ms.into())
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.into())
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms.into())
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_mib as usize * MIB
    }
}

impl Login {
    fn check(&self, option: &str) -> Result<(), StorageError> {
        if self.user.is_some() != self.password.is_some() {
            return Err(bad_option(option, "expected 'user' and 'password' together"));
        }
        let ways = [self.user.is_some(), self.token.is_some(), self.credentials.is_some()];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            return Err(bad_option(option, "expected one of 'user', 'token' and 'credentials'"));
        }
        Ok(())
    }
}
