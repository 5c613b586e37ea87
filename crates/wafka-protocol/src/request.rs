//! What scanning a request yields: where it ends, its arguments, or why it is refused.

use std::fmt;

use smallvec::SmallVec;
use thiserror::Error;

/// The arguments of one request, the command's name first.
pub type Args<'a> = SmallVec<[&'a [u8]; 16]>;

/// A complete request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scanned {
    /// The request's length in bytes: what the caller drops from the front of its buffer.
    pub consumed: usize,
}

/// Bytes that are not a request, or one beyond the [`Limits`](crate::Limits). The connection cannot be resynchronised:
/// the server answers `-ERR <this text>` and closes it.
///
/// Where Redis detects the same fault the text is Redis's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ProtocolError {
    /// The number after `*` is malformed or above [`max_args`](crate::Limits::max_args).
    #[error("Protocol error: invalid multibulk length")]
    MultibulkLength,
    /// More arguments than a client may send before it has authenticated.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    /// The line that begins with `*` does not end.
    #[error("Protocol error: too big mbulk count string")]
    CountLineTooLong,
    /// An argument that does not begin with `$`; nested arrays are refused by this.
    #[error("Protocol error: expected '$', got '{}'", Shown(*got))]
    ExpectedBulk {
        /// The byte in the place of `$`.
        got: u8,
    },
    /// The number after `$` is malformed, negative or above [`max_bulk_len`](crate::Limits::max_bulk_len).
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// A longer argument than a client may send before it has authenticated.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// The line that begins with `$` does not end.
    #[error("Protocol error: too big bulk count string")]
    LengthLineTooLong,
    /// No CRLF after an argument's bytes, so its length was wrong. Redis does not look and reads on out of step.
    #[error("Protocol error: expected CRLF after the bytes of a bulk")]
    BulkTerminator,
    /// An inline request above [`max_inline_len`](crate::Limits::max_inline_len).
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    /// A quote of an inline request that is not closed, or is closed in the middle of a word.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// The arguments together are above [`max_request_len`](crate::Limits::max_request_len). Redis closes such a
    /// connection without a word.
    #[error("Protocol error: too big request")]
    RequestTooLong,
}

/// A byte in an error text: itself when printable, a blank for line ends as in Redis's errors, else escaped.
struct Shown(u8);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b'\r' | b'\n' => f.write_str(" "),
            b' '..=b'~' => write!(f, "{}", char::from(self.0)),
            other => write!(f, "{}", other.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ProtocolError;

    #[test]
    fn unexpected_bytes_are_shown_without_breaking_the_line() {
        for (got, text) in [(b'*', "*"), (b'\'', "'"), (b'\n', " "), (0, "\\x00"), (0xff, "\\xff")] {
            assert_eq!(
                ProtocolError::ExpectedBulk { got }.to_string(),
                format!("Protocol error: expected '$', got '{text}'")
            );
        }
    }
}
