//! The reply to a read of several keys: an array of keys and their entries, in RESP3 a map.

use wafka_protocol::RespVersion;

use super::entry_reply::OpenHeader;
use super::read_args::ReadLimits;
use crate::session::Session;

/// A reply that is being written; see the module.
pub(crate) struct StreamsReply {
    limits: ReadLimits,
    /// How many keys there are.
    expected: u64,
    header: Option<OpenHeader>,
    keys: u64,
    events: u64,
}

impl StreamsReply {
    /// A reply about so many keys.
    pub(crate) fn new(expected: usize, limits: ReadLimits) -> Self {
        StreamsReply { limits, expected: expected as u64, header: None, keys: 0, events: 0 }
    }

    /// Whether there are events in it.
    pub(crate) fn has_events(&self) -> bool {
        self.events > 0
    }

    /// Whether `MAXCOUNT` or `MAXSIZE` allow nothing more. One event is always allowed.
    pub(crate) fn is_full(&self, session: &Session) -> bool {
        let size = session.reply_len() as u64;
        self.events > 0
            && (self.limits.max_count.is_some_and(|max| self.events >= max)
                || self.limits.max_size.is_some_and(|max| size >= max))
    }

    /// How many events the next key may have; `None` is any number.
    pub(crate) fn count(&self) -> Option<u64> {
        let left = self.limits.max_count.map(|max| max.saturating_sub(self.events));
        [self.limits.count, left].into_iter().flatten().min()
    }

    /// After how many bytes of the reply no further event is to be begun.
    pub(crate) fn max_size(&self) -> Option<u64> {
        self.limits.max_size
    }

    /// Begins the part of a key; its entries follow, as an array. Returns where it begins in the session's replies.
    pub(crate) fn begin(&mut self, session: &mut Session, key: &[u8]) -> usize {
        if self.header.is_none() {
            self.header = Some(match session.version() {
                RespVersion::V2 => OpenHeader::array(session.out(), self.expected),
                RespVersion::V3 => OpenHeader::map(session.out(), self.expected),
            });
        }
        let at = session.out().len();
        if session.version() == RespVersion::V2 {
            session.reply().array(2);
        }
        session.reply().bulk(key);
        at
    }

    /// The key whose part began last has so many events and is to be shown.
    pub(crate) fn keep(&mut self, events: u64) {
        self.keys += 1;
        self.events += events;
    }

    /// Writes how many keys there are; false when there are none, and what was written is to be taken back.
    pub(crate) fn finish(self, session: &mut Session) -> bool {
        match self.header {
            Some(header) if self.keys > 0 => {
                header.close(session.out(), self.keys);
                true
            }
            _ => false,
        }
    }
}
