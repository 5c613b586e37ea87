//! `XREAD`: the request. Executing it stands in [`super::xread_wait`].

use wafka_core::EventId;
use wafka_protocol::error_text::stream as text;

use super::arguments::event_id;
use super::read_args::{self, ReadLimits, Reader};
use crate::command::CommandError;

/// ```text
/// XREAD [COUNT count] [MAXCOUNT count] [MAXSIZE bytes] [BLOCK milliseconds] STREAMS key [key …] id [id …]
/// ```
///
/// The events of each key above its id, at most `count` (0 or less: all) of each. An id is `ms`, `ms-seq`, `$` for
/// the last one at the moment, or `+` for the last event itself. Without any event the reply is null, after waiting
/// for one with `BLOCK`, for ever if it is 0.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct ReadRequest<'a> {
    /// How much to read.
    pub(crate) limits: ReadLimits,
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
    let args = read_args::parse(args, now_ms, Reader::Plain)?;
    let streams =
        args.streams.iter().map(|(key, id)| Ok((*key, after(id)?))).collect::<Result<_, CommandError>>()?;
    Ok(ReadRequest { limits: args.limits, block_ms: args.block_ms, streams })
}

fn after(arg: &[u8]) -> Result<After, CommandError> {
    match arg {
        b"$" => Ok(After::LastId),
        b"+" => Ok(After::LastEvent),
        b">" => Err(text::XREAD_NEW_ID.into()),
        _ => event_id(arg).map(After::Id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T>(line: &str, then: impl FnOnce(Result<ReadRequest<'_>, CommandError>) -> T) -> T {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        then(parse(&args, 1_763_859_377_000))
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
    fn errors() {
        let invalid_id = "ERR Invalid stream ID specified as stream command argument";
        for (line, expected) in [
            ("XREAD STREAMS s x", invalid_id),
            ("XREAD STREAMS s -", invalid_id),
            (
                "XREAD STREAMS s >",
                "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> \
                 option.",
            ),
        ] {
            assert_eq!(check(line, |parsed| parsed.unwrap_err().to_string()), expected, "{line}");
        }
    }
}
