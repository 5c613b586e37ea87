//! Room for a reply that is written piece by piece.

use crate::command::CommandError;
use crate::session::Session;

/// How far a command may write before it must stop: what it writes ends at the limit on replies, not in all the memory
/// that its pieces take.
#[derive(Clone, Copy)]
pub(crate) struct ReplyRoom {
    len_max: usize,
    limit: usize,
}

impl ReplyRoom {
    /// Room behind what is written already, which may hold one large entry that was let through.
    pub(crate) fn of(session: &Session) -> Self {
        let limit = session.reply_limit();
        ReplyRoom { len_max: session.out_len().saturating_add(limit), limit }
    }

    /// What a reply may have, in bytes.
    pub(crate) fn limit(self) -> usize {
        self.limit
    }

    /// # Errors
    /// When `out` has become too long.
    pub(crate) fn check(self, out: &[u8]) -> Result<(), CommandError> {
        match out.len() <= self.len_max {
            true => Ok(()),
            false => Err(CommandError::ReplyTooLarge { limit: self.limit }),
        }
    }
}
