//! `XRANGE` and `XREVRANGE`.

use wafka_broker::ReadRange;
use wafka_core::EventId;

use super::arguments::{count, interval_end, interval_start, is_word};
use super::entry_reply::append_entries;
use super::target::Target;
use crate::command::{Args, CommandError, HandlerFuture};
use crate::session::Session;

/// ```text
/// XRANGE key start end [COUNT count]
/// XREVRANGE key end start [COUNT count]
/// ```
///
/// `start` and `end` are `-`, `+`, `ms`, `ms-seq`, or `(` and an id to leave that one out. `COUNT` of 0 or less gives
/// a null array. With `topic#n` as key, the events of one partition.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct RangeRequest<'a> {
    key: &'a [u8],
    from: EventId,
    to: EventId,
    count: Option<u64>,
    reverse: bool,
}

fn parse<'a>(args: &[&'a [u8]], reverse: bool) -> Result<RangeRequest<'a>, CommandError> {
    let (start, end) = if reverse { (args[3], args[2]) } else { (args[2], args[3]) };
    let (from, to) = (interval_start(start)?, interval_end(end)?);
    let mut limit = None;
    let mut options = args[4..].iter();
    while let Some(option) = options.next() {
        match options.next() {
            Some(value) if is_word(option, "COUNT") => limit = Some(count(value)?),
            _ => return Err(CommandError::syntax()),
        }
    }
    Ok(RangeRequest { key: args[1], from, to, count: limit, reverse })
}

/// Executes `XRANGE`.
pub(crate) fn xrange<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move { execute(session, &parse(args, false)?).await })
}

/// Executes `XREVRANGE`.
pub(crate) fn xrevrange<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move { execute(session, &parse(args, true)?).await })
}

async fn execute(session: &mut Session, request: &RangeRequest<'_>) -> Result<(), CommandError> {
    let Some(target) = Target::find(session, request.key)? else {
        session.reply().array(0);
        return Ok(());
    };
    if request.count == Some(0) {
        session.reply().null_array();
        return Ok(());
    }
    let range = ReadRange {
        from: request.from,
        to: request.to,
        count: request.count,
        reverse: request.reverse,
        partition: target.partition,
    };
    append_entries(session, &target, range).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str, reverse: bool) -> Result<(EventId, EventId, Option<u64>), String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        match parse(&args, reverse) {
            Ok(request) => Ok((request.from, request.to, request.count)),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn intervals() {
        let id = EventId::new;
        assert_eq!(parsed("XRANGE s - +", false), Ok((EventId::MIN, EventId::MAX, None)));
        assert_eq!(parsed("XRANGE s 2 2", false), Ok((id(2, 0), id(2, u64::MAX), None)));
        assert_eq!(parsed("XREVRANGE s 2 2", true), Ok((id(2, 0), id(2, u64::MAX), None)));
        assert_eq!(parsed("XREVRANGE s (3-1 (1-1", true), Ok((id(1, 2), id(3, 0), None)));
        assert_eq!(parsed("XRANGE s + -", false), Ok((EventId::MAX, EventId::MIN, None)));
    }

    #[test]
    fn counts() {
        let with = |count| Ok((EventId::MIN, EventId::MAX, Some(count)));
        assert_eq!(parsed("XRANGE s - + COUNT 1", false), with(1));
        assert_eq!(parsed("XRANGE s - + count 0", false), with(0));
        assert_eq!(parsed("XRANGE s - + COUNT -1", false), with(0));
        assert_eq!(parsed("XRANGE s - + COUNT 1 COUNT 2", false), with(2));
    }

    #[test]
    fn errors() {
        let invalid_id = "ERR Invalid stream ID specified as stream command argument";
        for (line, expected) in [
            ("XRANGE s - + COUNT x", "ERR value is not an integer or out of range"),
            ("XRANGE s - + COUNT", "ERR syntax error"),
            ("XRANGE s - + NOPE 1", "ERR syntax error"),
            ("XRANGE s x +", invalid_id),
            ("XRANGE s (x +", invalid_id),
            ("XRANGE s (- +", invalid_id),
            ("XRANGE s - (+", invalid_id),
            ("XRANGE s - (0-0", "ERR invalid end ID for the interval"),
            (
                "XRANGE s (18446744073709551615-18446744073709551615 +",
                "ERR invalid start ID for the interval",
            ),
            ("XRANGE s $ +", invalid_id),
        ] {
            assert_eq!(parsed(line, false), Err(expected.to_owned()), "{line}");
        }
        assert_eq!(parsed("XREVRANGE s (0-0 -", true), Err("ERR invalid end ID for the interval".to_owned()));
    }
}
