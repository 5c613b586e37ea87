//! How a command fails.

use std::borrow::Cow;

use thiserror::Error;
use wafka_broker::{AppendError, GroupError, ReadError, TopicError, TransactionError};
use wafka_core::TopicNameError;
use wafka_protocol::error_text;

use crate::session::Session;

/// Why a command failed; displayed as the error reply, code first, as Redis words it where Redis has the error.
#[derive(Debug, Error)]
pub enum CommandError {
    /// One of Redis's own errors, or one of Wafka's with a code of its own.
    #[error("{0}")]
    Reply(Cow<'static, str>),
    /// The number of arguments is wrong for the command of this full name, where its arity alone does not show it.
    #[error("{}", error_text::wrong_arity(.0))]
    Arity(&'static str),
    /// A key cannot be a topic's name.
    #[error("ERR {0}")]
    Name(#[from] TopicNameError),
    /// An event could not be appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Events could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Something could not be done to a consumer group.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// A topic could not be created, changed or deleted.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// A transaction did not come about.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The reply would be larger than the client's output buffer may become.
    #[error(
        "ERR the reply exceeds the output buffer limit of {limit} bytes (server.output_buffer_limit); \
         ask for less, for example with COUNT"
    )]
    ReplyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A thread that worked for the command is gone: the server is shutting down.
    #[error("ERR the server is shutting down")]
    ShuttingDown,
    /// There is nobody left to answer: the connection ends without a reply to this command.
    #[error("ERR the connection is closed")]
    Closed,
}

impl CommandError {
    /// Redis's `ERR syntax error`.
    #[must_use]
    pub fn syntax() -> Self {
        CommandError::Reply(Cow::Borrowed(error_text::SYNTAX))
    }

    /// What is said to a command that waited when another server took the data over.
    pub(crate) fn fenced(session: &Session) -> Self {
        session.shared.standing.not_open().into()
    }

    /// Redis's error for a number that is none or does not fit.
    #[must_use]
    pub fn not_integer() -> Self {
        CommandError::Reply(Cow::Borrowed(error_text::NOT_INTEGER))
    }
}

impl From<&'static str> for CommandError {
    fn from(text: &'static str) -> Self {
        CommandError::Reply(Cow::Borrowed(text))
    }
}

impl From<String> for CommandError {
    fn from(text: String) -> Self {
        CommandError::Reply(Cow::Owned(text))
    }
}
