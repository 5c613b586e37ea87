//! Arguments that several commands share: numbers, event ids, the bounds of an interval.

use wafka_core::EventId;
use wafka_protocol::error_text::stream as text;
use wafka_protocol::parse::parse_i64;

use crate::command::CommandError;

/// Whether `arg` is the option `word`, in any case.
pub(crate) fn is_word(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// A signed 64-bit integer.
pub(crate) fn integer(arg: &[u8]) -> Result<i64, CommandError> {
    parse_i64(arg).ok_or_else(CommandError::not_integer)
}

/// A count that Redis reads as signed, where what is negative counts as 0.
pub(crate) fn count(arg: &[u8]) -> Result<u64, CommandError> {
    integer(arg).map(|count| u64::try_from(count).unwrap_or(0))
}

/// An event id as most commands take it: `ms-seq`, or `ms` for `ms-0`; `-`, `+` and `$` are none.
pub(crate) fn event_id(arg: &[u8]) -> Result<EventId, CommandError> {
    EventId::parse(arg, 0).map_err(|_| text::INVALID_STREAM_ID.into())
}

/// The lowest id of the interval that begins at `arg`: `-`, `+`, an id, or `(` and an id for what lies above it.
pub(crate) fn interval_start(arg: &[u8]) -> Result<EventId, CommandError> {
    match bound(arg, 0)? {
        Bound::Inclusive(id) => Ok(id),
        Bound::Exclusive(id) => id.next().ok_or(text::INVALID_START.into()),
    }
}

/// The highest id of the interval that ends at `arg`; a lone `ms` means all of that millisecond.
pub(crate) fn interval_end(arg: &[u8]) -> Result<EventId, CommandError> {
    match bound(arg, u64::MAX)? {
        Bound::Inclusive(id) => Ok(id),
        Bound::Exclusive(id) => id.prev().ok_or(text::INVALID_END.into()),
    }
}

enum Bound {
    Inclusive(EventId),
    Exclusive(EventId),
}

fn bound(arg: &[u8], default_seq: u64) -> Result<Bound, CommandError> {
    let id = |arg| EventId::parse(arg, default_seq).map_err(|_| text::INVALID_STREAM_ID.into());
    match arg {
        b"-" => Ok(Bound::Inclusive(EventId::MIN)),
        b"+" => Ok(Bound::Inclusive(EventId::MAX)),
        // A lone `(` is an id to Redis, and a bad one.
        [b'(', rest @ ..] if !rest.is_empty() => id(rest).map(Bound::Exclusive),
        _ => id(arg).map(Bound::Inclusive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error<T: std::fmt::Debug>(result: Result<T, CommandError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn bounds_are_redis_s() {
        assert_eq!(interval_start(b"-").unwrap(), EventId::MIN);
        assert_eq!(interval_start(b"+").unwrap(), EventId::MAX);
        assert_eq!(interval_start(b"2").unwrap(), EventId::new(2, 0));
        assert_eq!(interval_end(b"2").unwrap(), EventId::new(2, u64::MAX));
        assert_eq!(interval_start(b"(1-1").unwrap(), EventId::new(1, 2));
        assert_eq!(interval_end(b"(3-1").unwrap(), EventId::new(3, 0));
        assert_eq!(interval_end(b"(3").unwrap(), EventId::new(3, u64::MAX - 1));
    }

    #[test]
    fn what_is_no_bound_is_refused() {
        for bad in ["x", "(x", "(-", "(+", "$", "(", "", "1-1-1", "((1"] {
            let expected = "ERR Invalid stream ID specified as stream command argument";
            assert_eq!(error(interval_start(bad.as_bytes())), expected, "{bad}");
            assert_eq!(error(interval_end(bad.as_bytes())), expected, "{bad}");
        }
        assert_eq!(error(interval_end(b"(0-0")), "ERR invalid end ID for the interval");
        let max = b"(18446744073709551615-18446744073709551615";
        assert_eq!(error(interval_start(max)), "ERR invalid start ID for the interval");
        assert!(interval_end(max).is_ok());
    }

    #[test]
    fn ids_have_no_special_forms() {
        assert_eq!(event_id(b"7").unwrap(), EventId::new(7, 0));
        for bad in ["-", "+", "$", "*", ">", "1-*", "x", ""] {
            assert!(event_id(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn negative_counts_are_zero() {
        assert_eq!(count(b"-5").unwrap(), 0);
        assert_eq!(count(b"7").unwrap(), 7);
        assert_eq!(error(count(b"x")), "ERR value is not an integer or out of range");
    }
}
