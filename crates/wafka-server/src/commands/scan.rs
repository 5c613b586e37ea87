//! `SCAN`.

use wafka_protocol::error_text;
use wafka_protocol::parse::glob_match;

use super::arguments::{integer, is_word};
use crate::command::{Args, CommandError};
use crate::session::Session;

/// Names looked at in one call without `COUNT`.
const COUNT_DEFAULT: usize = 10;

/// ```text
/// SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
/// ```
///
/// Some names of topics and the cursor to go on with, 0 at the end. A topic that exists from the first call to the
/// last is among the names. `COUNT` is how many are looked at, not how many match.
#[derive(PartialEq, Eq, Debug)]
struct ScanRequest<'a> {
    cursor: u64,
    count: usize,
    pattern: Option<&'a [u8]>,
    /// Only topics are asked for, or keys of any type; every key is a topic.
    streams: bool,
}

fn parse<'a>(args: &[&'a [u8]]) -> Result<ScanRequest<'a>, CommandError> {
    let mut request =
        ScanRequest { cursor: cursor(args[1])?, count: COUNT_DEFAULT, pattern: None, streams: true };
    let mut options = args[2..].iter();
    while let Some(option) = options.next() {
        let value = *options.next().ok_or_else(CommandError::syntax)?;
        if is_word(option, "COUNT") {
            let count = usize::try_from(integer(value)?).ok().filter(|count| *count > 0);
            request.count = count.ok_or_else(CommandError::syntax)?;
        } else if is_word(option, "MATCH") {
            request.pattern = Some(value);
        } else if is_word(option, "TYPE") {
            request.streams = is_word(value, "stream");
        } else {
            return Err(CommandError::syntax());
        }
    }
    Ok(request)
}

/// Redis reads a cursor by C's `strtoull`: white space before it and a sign are allowed, but not a negative number.
fn cursor(arg: &[u8]) -> Result<u64, CommandError> {
    let text = arg.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let number = text.and_then(|text| text.parse::<u64>().ok()).filter(|number| !negative || *number == 0);
    number.ok_or(error_text::INVALID_CURSOR.into())
}

/// Executes `SCAN`.
pub(crate) fn scan(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let request = parse(args)?;
    let (next, mut topics) = session.engine().scan(session.database(), request.cursor, request.count);
    topics.retain(|topic| {
        let name = topic.name().as_bytes();
        request.streams && request.pattern.is_none_or(|pattern| glob_match(pattern, name, false))
    });
    let mut reply = session.reply();
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(topics.len());
    for topic in topics {
        reply.bulk(topic.name().as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed<'a>(args: &[&'a [u8]]) -> Result<ScanRequest<'a>, String> {
        parse(args).map_err(|error| error.to_string())
    }

    #[test]
    fn options() {
        let request = parsed(&[b"SCAN", b"17", b"match", b"s*", b"COUNT", b"5", b"TYPE", b"STREAM"]);
        let expected = ScanRequest { cursor: 17, count: 5, pattern: Some(b"s*"), streams: true };
        assert_eq!(request, Ok(expected));
        assert!(!parsed(&[b"SCAN", b"0", b"TYPE", b"string"]).unwrap().streams);
    }

    #[test]
    fn cursors() {
        for (text, cursor) in
            [("0", 0), ("-0", 0), ("+1", 1), (" 007", 7), ("18446744073709551615", u64::MAX)]
        {
            assert_eq!(
                parsed(&[b"SCAN", text.as_bytes()]).map(|request| request.cursor),
                Ok(cursor),
                "{text}"
            );
        }
        for bad in ["", "x", "0x", "1 ", "-", "+", "-1", "18446744073709551616"] {
            let expected = "ERR invalid cursor";
            assert_eq!(parsed(&[b"SCAN", bad.as_bytes()]), Err(expected.to_owned()), "{bad}");
        }
    }

    #[test]
    fn errors() {
        for (args, expected) in [
            (&[&b"SCAN"[..], b"0", b"COUNT", b"0"][..], "ERR syntax error"),
            (&[b"SCAN", b"0", b"COUNT", b"-1"], "ERR syntax error"),
            (&[b"SCAN", b"0", b"COUNT", b"x"], "ERR value is not an integer or out of range"),
            (&[b"SCAN", b"0", b"COUNT"], "ERR syntax error"),
            (&[b"SCAN", b"0", b"NOPE", b"x"], "ERR syntax error"),
            (&[b"SCAN", b"x", b"NOPE", b"x"], "ERR invalid cursor"),
        ] {
            assert_eq!(parsed(args), Err(expected.to_owned()), "{args:?}");
        }
    }
}
