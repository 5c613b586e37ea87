//! What can go wrong in a measurement. Nothing is retried or left out: a run that meets one of these has no result.

use std::io;

use crate::reply::{Id, ReplyError};

/// Shorthand for results of this crate.
pub type Result<T, E = BenchError> = std::result::Result<T, E>;

/// Why a measurement has no result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// An operating-system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, and to what.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The server answered with an error, or with something that is not the expected reply.
    #[error("{what}: {source}")]
    Reply {
        /// Which command, on which connection.
        what: String,
        /// What was wrong with the reply.
        source: ReplyError,
    },
    /// The server closed a connection with replies outstanding.
    #[error("{what}: the server closed the connection with {outstanding} replies outstanding")]
    Closed {
        /// Which connection.
        what: String,
        /// Replies that were still to come.
        outstanding: usize,
    },
    /// Nothing arrived for so long that the server is taken to hang.
    #[error("{what}: no reply for {seconds} s")]
    Stalled {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// Ids on one connection, or in one topic, did not strictly increase.
    #[error("{what}: id {next} follows {last}; ids must strictly increase")]
    IdOrder {
        /// Where: the connection or the topic.
        what: String,
        /// The id before.
        last: Id,
        /// The id that should have been greater.
        next: Id,
    },
    /// The events read back are not the events that were acknowledged.
    #[error("read-back mismatch: {0}")]
    ReadBack(String),
    /// A server did not start, did not stop, or died.
    #[error("{server}: {problem}{log}")]
    Server {
        /// Which server.
        server: String,
        /// What happened.
        problem: String,
        /// The end of its output, if there is any, on lines of its own.
        log: String,
    },
    /// A run cannot be set up as asked.
    #[error("{0}")]
    Setup(String),
}

/// Puts what was being done in front of an I/O error.
pub trait Context<T> {
    /// `what` is only evaluated for an error.
    ///
    /// # Errors
    /// The error itself, as [`BenchError::Io`].
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn doing<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|source| BenchError::Io { what: what().into(), source: source.into() })
    }
}
