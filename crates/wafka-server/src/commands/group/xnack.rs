//! `XNACK`.

use std::sync::Arc;

use wafka_broker::{ReleaseMode, ReleaseRequest};
use wafka_core::EventId;
use wafka_protocol::error_text::stream as text;

use super::ids::take_ids;
use super::{commit, found, topic_with_group};
use crate::command::{Args, CommandError, HandlerFuture};
use crate::commands::arguments::{event_id, integer, is_word};
use crate::commands::entry_reply::signed;
use crate::session::Session;

/// ```text
/// XNACK key group <SILENT | FAIL | FATAL> IDS numids id [id …] [RETRYCOUNT count] [FORCE]
/// ```
///
/// Gives pending events back to their group: nobody's, and first in line for whoever claims.
#[derive(PartialEq, Eq, Debug)]
struct Nack<'a> {
    mode: ReleaseMode,
    ids: &'a [&'a [u8]],
    retry_count: Option<u64>,
    force: bool,
}

fn parse<'a>(args: &'a [&'a [u8]]) -> Result<Nack<'a>, CommandError> {
    let modes = [("SILENT", ReleaseMode::Silent), ("FAIL", ReleaseMode::Fail), ("FATAL", ReleaseMode::Fatal)];
    let mode = modes.into_iter().find(|(word, _)| is_word(args[3], word));
    let (_, mode) = mode.ok_or(text::NACK_MODE)?;
    let (mut ids, mut retry_count, mut force) = (None, None, false);
    let mut at = 4;
    while let Some(option) = args.get(at) {
        if is_word(option, "FORCE") {
            force = true;
            at += 1;
        } else if let Some(value) = args.get(at + 1).filter(|_| is_word(option, "RETRYCOUNT")) {
            let count = integer(value)?;
            retry_count = Some(u64::try_from(count).map_err(|_| CommandError::not_integer())?);
            at += 2;
        } else {
            let (found, next) = take_ids(args, at)?;
            (ids, at) = (Some(found), next);
        }
    }
    Ok(Nack { mode, ids: ids.ok_or_else(CommandError::syntax)?, retry_count, force })
}

/// Executes `XNACK`: answers how many were pending, or with `FORCE` are now, once it is durable.
pub(crate) fn xnack<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let (key, group) = (args[1], args[2]);
        let nack = parse(args)?;
        let topic = topic_with_group(session, key, group)?;
        let ids = nack.ids.iter().map(|id| event_id(id)).collect::<Result<Vec<EventId>, _>>()?;
        let released = {
            let (topic, group) = (Arc::clone(&topic), group.to_vec());
            let (mode, deliveries, force) = (nack.mode, nack.retry_count, nack.force);
            let work =
                move || topic.release_pending(&group, &ReleaseRequest { mode, ids: &ids, deliveries, force });
            // Only then events are looked up.
            if force { session.blocking(move |_| work()).await? } else { work() }
        };
        let (released, ticket) = found(released, || text::no_group(key, group))?;
        commit(session, &topic, ticket).await?;
        session.reply().integer(signed(released));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<(ReleaseMode, usize, Option<u64>, bool), String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let nack = parse(&args).map_err(|error| error.to_string())?;
        Ok((nack.mode, nack.ids.len(), nack.retry_count, nack.force))
    }

    #[test]
    fn options_in_any_order() {
        assert_eq!(parsed("XNACK s g SILENT IDS 1 1-1"), Ok((ReleaseMode::Silent, 1, None, false)));
        assert_eq!(
            parsed("XNACK s g fail FORCE RETRYCOUNT 3 IDS 2 1-1 2-1"),
            Ok((ReleaseMode::Fail, 2, Some(3), true))
        );
        assert_eq!(
            parsed("XNACK s g FATAL IDS 2 1-1 2-1 retrycount 0 force"),
            Ok((ReleaseMode::Fatal, 2, Some(0), true))
        );
    }

    #[test]
    fn errors() {
        let not_integer = "ERR value is not an integer or out of range";
        for (line, expected) in [
            ("XNACK s g NOPE IDS 1 1-1", "ERR mode must be SILENT, FAIL, or FATAL"),
            ("XNACK s g FAIL FORCE FORCE FORCE", "ERR syntax error"),
            ("XNACK s g FAIL IDS 2 1-1", text::NUMIDS_MISMATCH),
            ("XNACK s g FAIL IDS 0 1-1", text::NUMIDS_NOT_POSITIVE),
            ("XNACK s g FAIL IDS 1 1-1 NOPE", "ERR syntax error"),
            ("XNACK s g FAIL IDS 1 1-1 RETRYCOUNT x", not_integer),
            ("XNACK s g FAIL IDS 1 1-1 RETRYCOUNT -1", not_integer),
        ] {
            assert_eq!(parsed(line), Err(expected.to_owned()), "{line}");
        }
    }
}
