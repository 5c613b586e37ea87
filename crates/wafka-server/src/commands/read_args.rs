//! The arguments of `XREAD` and `XREADGROUP`, which are the same but for the group's options:
//!
//! ```text
//! XREAD [COUNT count] [MAXCOUNT count] [MAXSIZE bytes] [BLOCK milliseconds] STREAMS key [key …] id [id …]
//! XREADGROUP GROUP group consumer [COUNT count] [MAXCOUNT count] [MAXSIZE bytes] [BLOCK milliseconds]
//!     [CLAIM min-idle-time] [NOACK] STREAMS key [key …] id [id …]
//! ```

use wafka_protocol::error_text::{self, stream as text};
use wafka_protocol::parse::parse_i64;

use super::arguments::{count, is_word};
use crate::command::CommandError;

/// A time-out whose end does not fit Redis's clock.
const TIMEOUT_TOO_LONG: &str = "ERR timeout is out of range";

/// How much a read may answer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct ReadLimits {
    /// At most so many events of each key.
    pub(crate) count: Option<u64>,
    /// At most so many events of all keys together.
    pub(crate) max_count: Option<u64>,
    /// No further event once the reply has so many bytes.
    pub(crate) max_size: Option<u64>,
}

/// The options of `XREADGROUP` alone.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct GroupArgs<'a> {
    /// The group and the consumer.
    pub(crate) group: Option<(&'a [u8], &'a [u8])>,
    /// Events are not noted as pending.
    pub(crate) noack: bool,
    /// Also events that are pending for so many milliseconds.
    pub(crate) claim: Option<u64>,
}

/// A key and its id, as they came.
type KeyAndId<'a> = (&'a [u8], &'a [u8]);

/// The arguments, the ids as they came.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct ReadArgs<'a> {
    pub(crate) limits: ReadLimits,
    /// Wait for so many milliseconds, 0 being for ever.
    pub(crate) block_ms: Option<u64>,
    pub(crate) group: GroupArgs<'a>,
    /// Keys and ids.
    pub(crate) streams: Vec<KeyAndId<'a>>,
}

/// Which of the two commands it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reader {
    /// `XREAD`
    Plain,
    /// `XREADGROUP`
    Group,
}

/// Reads the arguments, from left to right as Redis does; `now_ms` is the clock that a time-out is added to.
pub(crate) fn parse<'a>(
    args: &[&'a [u8]],
    now_ms: u64,
    reader: Reader,
) -> Result<ReadArgs<'a>, CommandError> {
    let (mut limits, mut block_ms, mut group) = (ReadLimits::default(), None, GroupArgs::default());
    let mut at = 1;
    let streams = loop {
        let option = *args.get(at).ok_or_else(CommandError::syntax)?;
        let values = &args[at + 1..];
        match *values {
            [value, ..] if is_word(option, "BLOCK") => block_ms = Some(timeout(value, now_ms)?),
            [value, ..] if is_word(option, "COUNT") => {
                limits.count = Some(count(value)?).filter(|count| *count > 0);
            }
            [value, ..] if is_word(option, "MAXCOUNT") => {
                limits.max_count = Some(positive(value, text::MAXCOUNT_NOT_POSITIVE)?);
            }
            [value, ..] if is_word(option, "MAXSIZE") => {
                limits.max_size = Some(positive(value, text::MAXSIZE_NOT_POSITIVE)?);
            }
            [_, ..] if is_word(option, "STREAMS") => break streams(values, reader)?,
            _ => {
                at += group.take(option, values, reader)?;
                continue;
            }
        }
        at += 2;
    };
    if let (Some(max), Some(count)) = (limits.max_count, limits.count)
        && max < count
    {
        return Err(text::MAXCOUNT_BELOW_COUNT.into());
    }
    Ok(ReadArgs { limits, block_ms, group, streams })
}

impl<'a> GroupArgs<'a> {
    /// Reads an option of `XREADGROUP`; how many arguments it took. A syntax error when it is none.
    fn take(&mut self, option: &[u8], values: &[&'a [u8]], reader: Reader) -> Result<usize, CommandError> {
        let (word, taken) = match values {
            [_, _, ..] if is_word(option, "GROUP") => ("GROUP", 3),
            _ if is_word(option, "NOACK") => ("NOACK", 1),
            [_, ..] if is_word(option, "CLAIM") => ("CLAIM", 2),
            _ => return Err(CommandError::syntax()),
        };
        if reader == Reader::Plain {
            return Err(text::xreadgroup_only(word).into());
        }
        match (word, values) {
            ("GROUP", [group, consumer, ..]) => self.group = Some((group, consumer)),
            ("CLAIM", [min_idle, ..]) => self.claim = Some(min_idle_time(min_idle)?),
            _ => self.noack = true,
        }
        Ok(taken)
    }
}

fn streams<'a>(args: &[&'a [u8]], reader: Reader) -> Result<Vec<KeyAndId<'a>>, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(match reader {
            Reader::Plain => text::XREAD_UNBALANCED.into(),
            Reader::Group => text::XREADGROUP_UNBALANCED.into(),
        });
    }
    let (keys, ids) = args.split_at(args.len() / 2);
    Ok(keys.iter().zip(ids).map(|(key, id)| (*key, *id)).collect())
}

fn positive(arg: &[u8], otherwise: &'static str) -> Result<u64, CommandError> {
    let value = parse_i64(arg).and_then(|value| u64::try_from(value).ok());
    value.filter(|value| *value > 0).ok_or(otherwise.into())
}

fn min_idle_time(arg: &[u8]) -> Result<u64, CommandError> {
    let ms = parse_i64(arg).ok_or(text::MIN_IDLE_NOT_INTEGER)?;
    u64::try_from(ms).map_err(|_| text::MIN_IDLE_NEGATIVE.into())
}

fn timeout(arg: &[u8], now_ms: u64) -> Result<u64, CommandError> {
    let ms = parse_i64(arg).ok_or(error_text::TIMEOUT_NOT_INTEGER)?;
    let ms = u64::try_from(ms).map_err(|_| error_text::TIMEOUT_NEGATIVE)?;
    match now_ms.checked_add(ms) {
        Some(end) if i64::try_from(end).is_ok() => Ok(ms),
        _ => Err(TIMEOUT_TOO_LONG.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T>(line: &str, then: impl FnOnce(Result<ReadArgs<'_>, CommandError>) -> T) -> T {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let reader = if args[0] == b"XREAD" { Reader::Plain } else { Reader::Group };
        then(parse(&args, 1_763_859_377_000, reader))
    }

    fn limits(line: &str) -> (Option<u64>, Option<u64>, Option<u64>) {
        let limits = check(line, |parsed| parsed.unwrap().limits);
        (limits.count, limits.max_count, limits.max_size)
    }

    #[test]
    fn options_may_repeat_and_have_any_case() {
        let options =
            |line: &str| check(line, |parsed| parsed.map(|args| (args.limits.count, args.block_ms)).unwrap());
        assert_eq!(options("XREAD STREAMS s 0"), (None, None));
        assert_eq!(options("XREAD COUNT 1 COUNT 2 STREAMS s 0"), (Some(2), None));
        assert_eq!(options("XREAD count 0 block 0 streams s 0"), (None, Some(0)));
        assert_eq!(options("XREAD COUNT -1 BLOCK 20 STREAMS s 0"), (None, Some(20)));
    }

    #[test]
    fn the_options_of_groups() {
        check("XREADGROUP GROUP g c COUNT 3 NOACK BLOCK 5 CLAIM 10 STREAMS a b > 0", |parsed| {
            let args = parsed.unwrap();
            let group = GroupArgs { group: Some((b"g", b"c")), noack: true, claim: Some(10) };
            assert_eq!((args.group, args.block_ms, args.limits.count), (group, Some(5), Some(3)));
            assert_eq!(args.streams, [(&b"a"[..], &b">"[..]), (b"b", b"0")]);
        });
        check("XREADGROUP group streams noack group g2 c2 STREAMS s >", |parsed| {
            assert_eq!(parsed.unwrap().group.group, Some((&b"g2"[..], &b"c2"[..])));
        });
        check("XREADGROUP COUNT 1 COUNT 1 STREAMS s >", |parsed| {
            assert_eq!(parsed.unwrap().group.group, None);
        });
    }

    #[test]
    fn limits_on_the_whole_reply() {
        assert_eq!(limits("XREAD MAXCOUNT 5 MAXSIZE 100 STREAMS s 0"), (None, Some(5), Some(100)));
        assert_eq!(limits("XREAD COUNT 5 MAXCOUNT 5 STREAMS s 0"), (Some(5), Some(5), None));
        assert_eq!(limits("XREAD MAXCOUNT 5 COUNT 0 STREAMS s 0"), (None, Some(5), None));
        let below = "ERR MAXCOUNT must be greater than or equal to COUNT";
        for (line, expected) in [
            ("XREAD MAXCOUNT 0 STREAMS s 0", "ERR MAXCOUNT must be a positive integer"),
            ("XREAD MAXCOUNT x STREAMS s 0", "ERR MAXCOUNT must be a positive integer"),
            ("XREAD MAXSIZE -1 STREAMS s 0", "ERR MAXSIZE must be a positive integer"),
            ("XREAD COUNT 6 MAXCOUNT 5 STREAMS s 0", below),
            ("XREADGROUP GROUP g c MAXCOUNT 5 COUNT 6 STREAMS s >", below),
        ] {
            assert_eq!(check(line, |parsed| parsed.unwrap_err().to_string()), expected, "{line}");
        }
    }

    #[test]
    fn errors() {
        let unbalanced = "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified.";
        let not_integer = "ERR timeout is not an integer or out of range";
        let only = |word: &str| text::xreadgroup_only(word);
        for (line, expected) in [
            ("XREAD COUNT x STREAMS s 0", "ERR value is not an integer or out of range"),
            ("XREAD BLOCK -1 STREAMS s 0", "ERR timeout is negative"),
            ("XREAD BLOCK x STREAMS s 0", not_integer),
            ("XREAD BLOCK 99999999999999999999 STREAMS s 0", not_integer),
            ("XREAD BLOCK 9223372036854775807 STREAMS s 0", "ERR timeout is out of range"),
            ("XREAD STREAMS s t 0", unbalanced),
            ("XREAD s 0 0", "ERR syntax error"),
            ("XREAD NOPE 1 STREAMS s 0", "ERR syntax error"),
            ("XREAD COUNT 1 COUNT", "ERR syntax error"),
            ("XREAD COUNT 1 COUNT 2", "ERR syntax error"),
            ("XREAD BLOCK 0 STREAMS", "ERR syntax error"),
            ("XREAD NOACK STREAMS s 0", &only("NOACK")),
            ("XREAD GROUP g c STREAMS s 0", &only("GROUP")),
            ("XREAD CLAIM 5 STREAMS s 0", &only("CLAIM")),
            ("XREADGROUP GROUP g c COUNT 1 s >", "ERR syntax error"),
            ("XREADGROUP GROUP g c CLAIM", "ERR syntax error"),
            ("XREADGROUP GROUP g", "ERR syntax error"),
            ("XREADGROUP STREAMS s > > > >", text::XREADGROUP_UNBALANCED),
            (
                "XREADGROUP GROUP g c CLAIM x STREAMS s >",
                "ERR min-idle-time is not an integer or out of range",
            ),
            ("XREADGROUP GROUP g c CLAIM STREAMS s >", "ERR min-idle-time is not an integer or out of range"),
            ("XREADGROUP GROUP g c CLAIM -1 STREAMS s >", "ERR min-idle-time must be a positive integer"),
        ] {
            assert_eq!(check(line, |parsed| parsed.unwrap_err().to_string()), expected, "{line}");
        }
    }
}
