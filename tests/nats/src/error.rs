//! What can go wrong with the servers.

use std::io;
use std::path::PathBuf;

/// Why the servers are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// There is no program to start.
    #[error(
        "no nats-server at {}: tests/run.sh installs it; or name one of version 2.12 or later in WAFKA_NATS_SERVER",
        .0.display()
    )]
    NoProgram(PathBuf),
    /// An operating-system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, and to what.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A server was to be killed, stopped or resumed, and does not run.
    #[error("server {0} does not run")]
    NotRunning(usize),
    /// Something did not come about in time.
    #[error("not in time: {what}\n{logs}")]
    Late {
        /// What was waited for, and how it stood in the end.
        what: String,
        /// What the servers logged.
        logs: String,
    },
}

/// Puts what was being done in front of an I/O error.
pub(crate) fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> NatsError {
    move |source| NatsError::Io { what: what.into(), source }
}
