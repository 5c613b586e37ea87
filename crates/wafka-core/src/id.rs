//! Event ids: Redis's stream entry IDs, `<ms>-<seq>`.

use std::fmt;

use thiserror::Error;

/// An event's id: milliseconds and a sequence number, strictly increasing over a whole topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventId {
    /// Milliseconds since 1970, or whatever the producer chose.
    pub ms: u64,
    /// Distinguishes events of the same millisecond.
    pub seq: u64,
}

/// Bytes that are not an event id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("an event id is <ms> or <ms>-<seq>, two unsigned 64-bit decimal numbers")]
pub struct ParseIdError;

impl EventId {
    /// `0-0`, below every event.
    pub const MIN: EventId = EventId { ms: 0, seq: 0 };
    /// The highest id there is.
    pub const MAX: EventId = EventId { ms: u64::MAX, seq: u64::MAX };

    /// The id `ms-seq`.
    #[must_use]
    pub const fn new(ms: u64, seq: u64) -> Self {
        EventId { ms, seq }
    }

    /// The id right after this one; `None` after [`EventId::MAX`].
    #[must_use]
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(EventId { ms: self.ms, seq }),
            None => self.ms.checked_add(1).map(|ms| EventId { ms, seq: 0 }),
        }
    }

    /// The id right before this one; `None` before [`EventId::MIN`].
    #[must_use]
    pub fn prev(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(EventId { ms: self.ms, seq }),
            None => self.ms.checked_sub(1).map(|ms| EventId { ms, seq: u64::MAX }),
        }
    }

    /// The id that Redis's rule gives to `*` after `last` at wall-clock time `now_ms`: the clock when it is ahead,
    /// else the successor of `last`; `None` when the ids are exhausted.
    #[must_use]
    pub fn auto(last: EventId, now_ms: u64) -> Option<Self> {
        if now_ms > last.ms { Some(EventId { ms: now_ms, seq: 0 }) } else { last.next() }
    }

    /// Parses `ms-seq`, or `ms` alone with `seq` taken to be `default_seq`. Leading zeros are accepted, as Redis does.
    ///
    /// # Errors
    /// When the bytes are anything else, or a number does not fit 64 bits.
    pub fn parse(bytes: &[u8], default_seq: u64) -> Result<Self, ParseIdError> {
        match bytes.iter().position(|&b| b == b'-') {
            None => Ok(EventId { ms: parse_u64(bytes)?, seq: default_seq }),
            Some(dash) => Ok(EventId { ms: parse_u64(&bytes[..dash])?, seq: parse_u64(&bytes[dash + 1..])? }),
        }
    }
}

fn parse_u64(bytes: &[u8]) -> Result<u64, ParseIdError> {
    // Redis's string2ull refuses what is empty or longer than any 64-bit number.
    if bytes.is_empty() || bytes.len() > 20 {
        return Err(ParseIdError);
    }
    let mut value: u64 = 0;
    for &b in bytes {
        if !b.is_ascii_digit() {
            return Err(ParseIdError);
        }
        value = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(b - b'0'))).ok_or(ParseIdError)?;
    }
    Ok(value)
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_redis_refuses() {
        for bad in ["", "-", "1-", "-1", "1-x", "x", "1-1-1", "$", "+", "18446744073709551616", "1 ", "+1"] {
            assert_eq!(EventId::parse(bad.as_bytes(), 0), Err(ParseIdError), "{bad}");
        }
    }

    #[test]
    fn a_lone_millisecond_takes_the_default_sequence() {
        assert_eq!(EventId::parse(b"7", 3), Ok(EventId::new(7, 3)));
    }

    #[test]
    fn auto_follows_the_clock_and_never_goes_back() {
        let last = EventId::new(10, 4);
        assert_eq!(EventId::auto(last, 11), Some(EventId::new(11, 0)));
        assert_eq!(EventId::auto(last, 10), Some(EventId::new(10, 5)));
        assert_eq!(EventId::auto(last, 3), Some(EventId::new(10, 5)));
        assert_eq!(EventId::auto(EventId::new(10, u64::MAX), 3), Some(EventId::new(11, 0)));
        assert_eq!(EventId::auto(EventId::MAX, 3), None);
    }

    proptest! {
        #[test]
        fn text_round_trips(ms: u64, seq: u64) {
            let id = EventId::new(ms, seq);
            prop_assert_eq!(EventId::parse(id.to_string().as_bytes(), 9), Ok(id));
        }

        #[test]
        fn next_and_prev_are_inverse_and_ordered(ms: u64, seq: u64) {
            let id = EventId::new(ms, seq);
            if let Some(next) = id.next() {
                prop_assert!(next > id);
                prop_assert_eq!(next.prev(), Some(id));
            }
        }
    }
}
