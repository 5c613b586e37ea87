//! `XAUTOCLAIM`.

use wafka_broker::{AutoClaimRequest, AutoClaimed, ClaimRequest};
use wafka_core::EventId;
use wafka_protocol::ReplyWriter;
use wafka_protocol::error_text::stream as text;
use wafka_protocol::parse::parse_i64;

use super::xclaim::{ClaimedEvents, ID_LEN_MAX, check_room, reply_ids, room};
use super::{commit, found, topic_with_group};
use crate::command::{Args, CommandError, HandlerFuture};
use crate::commands::arguments::{interval_start, is_word};
use crate::notify::Classes;
use crate::session::Session;

/// How many events are claimed without `COUNT`.
const COUNT_DEFAULT: u64 = 100;
/// Redis's highest `COUNT`, from the size of a list of ids.
const COUNT_MAX: u64 = i64::MAX.unsigned_abs() / 16;
/// No more are claimed in one go, whatever `COUNT` says: the topic is locked meanwhile. The reply tells where to go on.
const CLAIMED_MAX: usize = 10_000;

/// ```text
/// XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]
/// ```
///
/// Makes events that have been pending for some time the consumer's, and answers from which id to go on, these events
/// or their ids, and the ids of those that are gone and are pending no more.
fn parse(args: &[&[u8]]) -> Result<AutoClaimRequest, CommandError> {
    let min_idle = parse_i64(args[4]).ok_or_else(|| text::invalid_min_idle("XAUTOCLAIM"))?;
    let mut claim = AutoClaimRequest {
        min_idle_ms: u64::try_from(min_idle).unwrap_or(0),
        start: interval_start(args[5])?,
        count: COUNT_DEFAULT,
        just_ids: false,
    };
    let mut at = 6;
    while let Some(option) = args.get(at) {
        match args.get(at + 1) {
            Some(value) if is_word(option, "COUNT") => {
                let count = parse_i64(value).and_then(|count| u64::try_from(count).ok());
                let count = count.filter(|count| (1..=COUNT_MAX).contains(count));
                claim.count = count.ok_or(text::AUTOCLAIM_COUNT)?;
                at += 2;
            }
            _ if is_word(option, "JUSTID") => {
                claim.just_ids = true;
                at += 1;
            }
            _ => return Err(CommandError::syntax()),
        }
    }
    Ok(claim)
}

/// Executes `XAUTOCLAIM`.
pub(crate) fn xautoclaim<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let (key, group, consumer) = (args[1], args[2], args[3]);
        let mut request = parse(args)?;
        let topic = topic_with_group(session, key, group)?;
        check_room(session, 3)?;
        let count_max = (room(session) / ID_LEN_MAX - 2).min(CLAIMED_MAX);
        request.count = request.count.min(count_max as u64);
        session.reply().array(3);
        if request.just_ids {
            let claimed = topic.auto_claim(group, consumer, &request, session.now_ms());
            let claimed = found(claimed, || text::no_group(key, group))?;
            session.reply().bulk_id(claimed.next);
            reply_ids(session, &claimed.ids);
            reply_ids(session, &claimed.deleted);
            tell_if_made(session, claimed.made_consumer, key);
            return commit(session, &topic, claimed.ticket).await;
        }
        let idle = topic.auto_claimable(group, &request, session.now_ms());
        let AutoClaimed { next, ids, mut deleted, .. } = found(idle, || text::no_group(key, group))?;
        let cursor_at = session.out_len();
        session.reply().bulk_id(next);
        let cursor_end = session.out_len();
        let events = ClaimedEvents::write(session, &topic, ids.clone(), true).await?;
        let last = events.ids().last();
        let unread = ids.iter().find(|id| events.stopped() && last.is_none_or(|last| *id > last)).copied();
        deleted.retain(|id| unread.is_none_or(|unread| *id < unread));
        deleted.truncate(room(session) / ID_LEN_MAX);
        let all: Vec<EventId> = events.ids().iter().chain(&deleted).copied().collect();
        let claim = ClaimRequest {
            min_idle_ms: request.min_idle_ms,
            ids: &all,
            delivered_ms: None,
            deliveries: None,
            force: false,
            just_ids: false,
            last_id: None,
        };
        let claimed = topic.claim(group, consumer, &claim, session.now_ms());
        let claimed = found(claimed, || text::no_group(key, group))?;
        events.keep(session, &claimed.ids);
        if let Some(unread) = unread {
            let mut cursor = Vec::new();
            ReplyWriter::new(&mut cursor, session.version()).bulk_id(unread);
            session.out().splice(cursor_at..cursor_end, cursor);
        }
        // There is room for what comes behind the events, however close to the limit they end.
        let is_close = room(session) < ID_LEN_MAX * (deleted.len() + 1);
        session.note_entries(false, is_close);
        reply_ids(session, &deleted);
        tell_if_made(session, claimed.made_consumer, key);
        commit(session, &topic, claimed.ticket).await
    })
}

fn tell_if_made(session: &Session, made_consumer: bool, key: &[u8]) {
    if made_consumer {
        session.notify(Classes::STREAM, "xgroup-createconsumer", key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<(u64, String, u64, bool), String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let claim = parse(&args).map_err(|error| error.to_string())?;
        Ok((claim.min_idle_ms, claim.start.to_string(), claim.count, claim.just_ids))
    }

    #[test]
    fn options() {
        let claim = |idle, start: &str, count, just_id| Ok((idle, start.to_owned(), count, just_id));
        assert_eq!(parsed("XAUTOCLAIM s g c 5 0"), claim(5, "0-0", 100, false));
        assert_eq!(parsed("XAUTOCLAIM s g c -5 - count 2 JUSTID"), claim(0, "0-0", 2, true));
        assert_eq!(parsed("XAUTOCLAIM s g c 0 (1-1 justid COUNT 7"), claim(0, "1-2", 7, true));
        let max = "18446744073709551615-18446744073709551615";
        assert_eq!(parsed("XAUTOCLAIM s g c 0 +"), claim(0, max, 100, false));
    }

    #[test]
    fn errors() {
        for (line, expected) in [
            ("XAUTOCLAIM s g c x 0", "ERR Invalid min-idle-time argument for XAUTOCLAIM"),
            ("XAUTOCLAIM s g c 0 x", "ERR Invalid stream ID specified as stream command argument"),
            ("XAUTOCLAIM s g c 0 0 COUNT 0", "ERR COUNT must be > 0"),
            ("XAUTOCLAIM s g c 0 0 COUNT -1", "ERR COUNT must be > 0"),
            ("XAUTOCLAIM s g c 0 0 COUNT x", "ERR COUNT must be > 0"),
            ("XAUTOCLAIM s g c 0 0 COUNT 576460752303423488", "ERR COUNT must be > 0"),
            ("XAUTOCLAIM s g c 0 0 COUNT", "ERR syntax error"),
            ("XAUTOCLAIM s g c 0 0 NOPE", "ERR syntax error"),
        ] {
            assert_eq!(parsed(line), Err(expected.to_owned()), "{line}");
        }
    }
}
