//! `XREAD`: the request. Executing it stands in [`super::xread_wait`].

use wafka_core::EventId;
use wafka_protocol::error_text::{self, stream as text};
use wafka_protocol::parse::parse_i64;

use super::arguments::{count, event_id, is_word};
use crate::command::CommandError;

/// A time-out whose end does not fit Redis's clock.
const TIMEOUT_TOO_LONG: &str = "ERR timeout is out of range";

/// ```text
/// XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key …] id [id …]
/// ```
///
/// The events of each key above its id, at most `count` (0 or less: all) of each. An id is `ms`, `ms-seq`, `$` for
/// the last one at the moment, or `+` for the last event itself. Without any event the reply is null, after waiting
/// for one with `BLOCK`, for ever if it is 0.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct ReadRequest<'a> {
    /// At most so many events of each key.
    pub(crate) count: Option<u64>,
    /// Wait for so many milliseconds, 0 being for ever.
    pub(crate) block_ms: Option<u64>,
    /// What to read.
    pub(crate) streams: Vec<(&'a [u8], After)>,
}

/// Where to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    /// Above this id.
    Id(EventId),
    /// `$`: above the last id at the moment.
    LastId,
    /// `+`: at the last event at the moment.
    LastEvent,
}

/// Reads the arguments; `now_ms` is the clock that a time-out is added to.
pub(crate) fn parse<'a>(args: &[&'a [u8]], now_ms: u64) -> Result<ReadRequest<'a>, CommandError> {
    let mut limit = None;
    let mut block_ms = None;
    let mut at = 1;
    while let Some(option) = args.get(at) {
        let more = args.len() - at - 1;
        if is_word(option, "BLOCK") && more > 0 {
            block_ms = Some(timeout(args[at + 1], now_ms)?);
            at += 2;
        } else if is_word(option, "COUNT") && more > 0 {
            limit = Some(count(args[at + 1])?).filter(|count| *count > 0);
            at += 2;
        } else if is_word(option, "STREAMS") && more > 0 {
            return Ok(ReadRequest { count: limit, block_ms, streams: streams(&args[at + 1..])? });
        } else {
            return Err(not_an_option(option, more));
        }
    }
    Err(CommandError::syntax())
}

fn streams<'a>(args: &[&'a [u8]]) -> Result<Vec<(&'a [u8], After)>, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(text::XREAD_UNBALANCED.into());
    }
    let (keys, ids) = args.split_at(args.len() / 2);
    keys.iter().zip(ids).map(|(key, id)| Ok((*key, after(id)?))).collect()
}

fn after(arg: &[u8]) -> Result<After, CommandError> {
    match arg {
        b"$" => Ok(After::LastId),
        b"+" => Ok(After::LastEvent),
        b">" => Err(text::XREAD_NEW_ID.into()),
        _ => event_id(arg).map(After::Id),
    }
}

fn timeout(arg: &[u8], now_ms: u64) -> Result<u64, CommandError> {
    let ms = parse_i64(arg).ok_or(error_text::TIMEOUT_NOT_INTEGER)?;
    let ms = u64::try_from(ms).map_err(|_| error_text::TIMEOUT_NEGATIVE)?;
    match now_ms.checked_add(ms) {
        Some(end) if i64::try_from(end).is_ok() => Ok(ms),
        _ => Err(TIMEOUT_TOO_LONG.into()),
    }
}

/// What stands in the place of an option: one of `XREADGROUP`'s own, or an error.
fn not_an_option(option: &[u8], more: usize) -> CommandError {
    let groups_own = [("GROUP", 2), ("NOACK", 0), ("CLAIM", 1)];
    match groups_own.iter().find(|(word, values)| is_word(option, word) && more >= *values) {
        Some((word, _)) => CommandError::Reply(text::xreadgroup_only(word).into()),
        None => CommandError::syntax(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T>(line: &str, then: impl FnOnce(Result<ReadRequest<'_>, CommandError>) -> T) -> T {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        then(parse(&args, 1_763_859_377_000))
    }

    fn options(line: &str) -> (Option<u64>, Option<u64>) {
        check(line, |parsed| parsed.map(|request| (request.count, request.block_ms)).unwrap())
    }

    #[test]
    fn keys_and_ids_are_paired() {
        check("XREAD STREAMS s t u 3-1 $ +", |parsed| {
            let streams = parsed.unwrap().streams;
            assert_eq!(
                streams,
                [(&b"s"[..], After::Id(EventId::new(3, 1))), (b"t", After::LastId), (b"u", After::LastEvent)]
            );
        });
    }

    #[test]
    fn options_may_repeat_and_have_any_case() {
        assert_eq!(options("XREAD STREAMS s 0"), (None, None));
        assert_eq!(options("XREAD COUNT 1 COUNT 2 STREAMS s 0"), (Some(2), None));
        assert_eq!(options("XREAD count 0 block 0 streams s 0"), (None, Some(0)));
        assert_eq!(options("XREAD COUNT -1 BLOCK 20 STREAMS s 0"), (None, Some(20)));
    }

    #[test]
    fn errors() {
        let invalid_id = "ERR Invalid stream ID specified as stream command argument";
        let unbalanced = "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified.";
        let not_integer = "ERR timeout is not an integer or out of range";
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
            ("XREAD STREAMS s x", invalid_id),
            ("XREAD STREAMS s -", invalid_id),
            (
                "XREAD STREAMS s >",
                "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> \
                 option.",
            ),
            (
                "XREAD NOACK STREAMS s 0",
                "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
            ),
            (
                "XREAD GROUP g c STREAMS s 0",
                "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
            ),
            (
                "XREAD CLAIM 5 STREAMS s 0",
                "ERR The CLAIM option is only supported by XREADGROUP. You called XREAD instead.",
            ),
        ] {
            assert_eq!(check(line, |parsed| parsed.unwrap_err().to_string()), expected, "{line}");
        }
    }
}
