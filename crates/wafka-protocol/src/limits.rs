//! How large a request may be.

/// What a request may announce and send; every limit is checked before memory is taken for what it limits.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The most arguments of a multibulk request. Redis's historical limit, 1 Mi, is the default.
    pub max_args: usize,
    /// The longest argument of a multibulk request in bytes; 512 MiB, as Redis's `proto-max-bulk-len`.
    pub max_bulk_len: usize,
    /// The longest inline request, and the longest line announcing a count or a length, in bytes; 64 KiB as Redis.
    pub max_inline_len: usize,
    /// The longest request in bytes, with all that frames its arguments; 1 GiB. Values above 4 GiB act as 4 GiB.
    pub max_request_len: usize,
    /// Whether these limits hold because the client has not authenticated yet: the errors then say so.
    pub unauthenticated: bool,
}

impl Limits {
    /// The limits for a client that must authenticate first: 10 arguments of 16 KiB, as Redis has it.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Limits {
            max_args: 10,
            max_bulk_len: 16 * 1024,
            max_request_len: 256 * 1024,
            unauthenticated: true,
            ..Limits::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_args: 1024 * 1024,
            max_bulk_len: 512 * 1024 * 1024,
            max_inline_len: 64 * 1024,
            max_request_len: 1024 * 1024 * 1024,
            unauthenticated: false,
        }
    }
}
