//! `XREADGROUP`: the request. Reading stands in [`super::read`], waiting in [`super::wait`].

use wafka_core::EventId;
use wafka_protocol::error_text::stream as text;

use crate::command::CommandError;
use crate::commands::arguments::event_id;
use crate::commands::read_args::{self, GroupArgs, ReadLimits, Reader};

/// ```text
/// XREADGROUP GROUP group consumer [COUNT count] [MAXCOUNT count] [MAXSIZE bytes] [BLOCK milliseconds]
///     [CLAIM min-idle-time] [NOACK] STREAMS key [key …] id [id …]
/// ```
///
/// With the id `>`, events that were delivered to no consumer of the group yet; they are pending for this one from
/// then on, unless with `NOACK`. With `CLAIM`, those that are pending for so long come first. With any other id, what
/// is pending for this consumer above it. Keys are whole topics.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct GroupRead<'a> {
    pub(crate) group: &'a [u8],
    pub(crate) consumer: &'a [u8],
    pub(crate) noack: bool,
    pub(crate) claim_ms: Option<u64>,
    pub(crate) limits: ReadLimits,
    /// Wait for so many milliseconds, 0 being for ever.
    pub(crate) block_ms: Option<u64>,
    /// Keys and ids: each id is looked at once its key and group are known to exist.
    pub(crate) streams: Vec<(&'a [u8], &'a [u8])>,
}

/// What to read of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    /// What is new to the group.
    New,
    /// What is pending for the consumer above this id.
    Pending(EventId),
}

/// Reads the arguments; `now_ms` is the clock that a time-out is added to.
pub(crate) fn parse<'a>(args: &[&'a [u8]], now_ms: u64) -> Result<GroupRead<'a>, CommandError> {
    let args = read_args::parse(args, now_ms, Reader::Group)?;
    let GroupArgs { group, noack, claim } = args.group;
    let (group, consumer) = group.ok_or(text::XREADGROUP_NEEDS_GROUP)?;
    Ok(GroupRead {
        group,
        consumer,
        noack,
        claim_ms: claim,
        limits: args.limits,
        block_ms: args.block_ms,
        streams: args.streams,
    })
}

/// What an id asks for.
pub(crate) fn wanted(id: &[u8]) -> Result<Wanted, CommandError> {
    match id {
        b">" => Ok(Wanted::New),
        b"$" => Err(text::XREADGROUP_LAST_ID.into()),
        b"+" => Err(text::XREADGROUP_TOP_ID.into()),
        _ => match event_id(id)? {
            // To Redis the highest id is what `>` stands for.
            EventId::MAX => Ok(Wanted::New),
            id => Ok(Wanted::Pending(id)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_mandatory() {
        let parse = |line: &str| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            parse(&args, 0).map(|read| read.streams.len()).map_err(|error| error.to_string())
        };
        assert_eq!(parse("XREADGROUP GROUP g c STREAMS s t > 0"), Ok(2));
        let missing = "ERR Missing GROUP option for XREADGROUP";
        assert_eq!(parse("XREADGROUP NOACK NOACK NOACK STREAMS s >"), Err(missing.to_owned()));
    }

    #[test]
    fn ids() {
        assert_eq!(wanted(b">").unwrap(), Wanted::New);
        assert_eq!(wanted(b"18446744073709551615-18446744073709551615").unwrap(), Wanted::New);
        assert_eq!(wanted(b"7").unwrap(), Wanted::Pending(EventId::new(7, 0)));
        let error = |id: &[u8]| wanted(id).unwrap_err().to_string();
        assert!(error(b"$").starts_with("ERR The $ ID is meaningless in the context of XREADGROUP: "));
        assert!(error(b"+").starts_with("ERR The + ID is meaningless in the context of XREADGROUP: "));
        assert_eq!(error(b"x"), "ERR Invalid stream ID specified as stream command argument");
    }
}
