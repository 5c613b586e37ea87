//! `XCLAIM`.

use std::sync::Arc;

use wafka_broker::{ClaimRequest, Topic};
use wafka_core::EventId;
use wafka_protocol::error_text::stream as text;
use wafka_protocol::parse::parse_i64;

use super::by_id::{ByIdOptions, Gone, WantedEvent, append_by_id};
use super::{commit, found, topic_with_group};
use crate::command::{Args, CommandError, HandlerFuture};
use crate::commands::arguments::{event_id, is_word};
use crate::commands::entry_reply::OpenHeader;
use crate::notify::Classes;
use crate::session::Session;

/// ```text
/// XCLAIM key group consumer min-idle-time id [id …] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count]
///     [FORCE] [JUSTID] [LASTID last-id]
/// ```
///
/// Makes events that are pending with others the consumer's, and answers them; with `JUSTID` their ids.
#[derive(PartialEq, Eq, Debug)]
struct ClaimArgs {
    min_idle_ms: u64,
    ids: Vec<EventId>,
    /// When they count as delivered, in milliseconds since 1970.
    delivered_ms: u64,
    retry_count: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: EventId,
}

fn parse(args: &[&[u8]], now_ms: u64) -> Result<ClaimArgs, CommandError> {
    let min_idle = parse_i64(args[4]).ok_or_else(|| text::invalid_min_idle("XCLAIM"))?;
    let ids: Vec<EventId> = args[5..].iter().map_while(|id| EventId::parse(id, 0).ok()).collect();
    let mut claim = ClaimArgs {
        min_idle_ms: u64::try_from(min_idle).unwrap_or(0),
        delivered_ms: now_ms,
        retry_count: None,
        force: false,
        just_id: false,
        last_id: EventId::MIN,
        ids,
    };
    // -1 is what Redis takes for "not given".
    let mut delivered: i64 = -1;
    let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let mut at = 5 + claim.ids.len();
    while let Some(option) = args.get(at) {
        let number = |name: &str, value: &[u8]| {
            parse_i64(value).ok_or_else(|| CommandError::from(text::invalid_claim_argument(name)))
        };
        match args.get(at + 1) {
            _ if is_word(option, "FORCE") => {
                claim.force = true;
                at += 1;
                continue;
            }
            _ if is_word(option, "JUSTID") => {
                claim.just_id = true;
                at += 1;
                continue;
            }
            Some(value) if is_word(option, "IDLE") => {
                delivered = now.saturating_sub(number("IDLE", value)?);
            }
            Some(value) if is_word(option, "TIME") => delivered = number("TIME", value)?,
            Some(value) if is_word(option, "RETRYCOUNT") => {
                claim.retry_count = u64::try_from(number("RETRYCOUNT", value)?).ok();
            }
            Some(value) if is_word(option, "LASTID") => claim.last_id = event_id(value)?,
            _ => return Err(text::unknown_claim_option(option).into()),
        }
        at += 2;
    }
    // A time that cannot be is taken for now, as Redis does: the client's clock may be off.
    if let Ok(delivered) = u64::try_from(delivered) {
        claim.delivered_ms = delivered.min(now_ms);
    }
    Ok(claim)
}

/// Executes `XCLAIM`.
pub(crate) fn xclaim<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let (key, group, consumer) = (args[1], args[2], args[3]);
        let topic = topic_with_group(session, key, group)?;
        let claim = parse(args, session.now_ms())?;
        let (just_id, force) = (claim.just_id, claim.force);
        let is_idle = claim.delivered_ms < session.now_ms();
        let claimed = {
            let (topic, now_ms) = (Arc::clone(&topic), session.now_ms());
            let (group, consumer) = (group.to_vec(), consumer.to_vec());
            let work = move || topic.claim(&group, &consumer, &claim.request(), now_ms);
            // Only then events are looked up.
            if force { session.blocking(move |_| work()).await? } else { work() }
        };
        let claimed = found(claimed, || text::no_group(key, group))?;
        if claimed.made_consumer {
            session.notify(Classes::STREAM, "xgroup-createconsumer", key);
        }
        if is_idle && !claimed.ids.is_empty() {
            topic.watch_point().notify_claimable(group);
        }
        reply_claimed(session, &topic, claimed.ids, just_id).await?;
        commit(session, &topic, claimed.ticket).await
    })
}

impl ClaimArgs {
    fn request(&self) -> ClaimRequest<'_> {
        ClaimRequest {
            min_idle_ms: self.min_idle_ms,
            ids: &self.ids,
            delivered_ms: Some(self.delivered_ms),
            deliveries: self.retry_count,
            force: self.force,
            just_ids: self.just_id,
            last_id: Some(self.last_id),
        }
    }
}

/// Answers what was claimed: the events, or their ids alone.
pub(super) async fn reply_claimed(
    session: &mut Session,
    topic: &Arc<Topic>,
    ids: Vec<EventId>,
    just_id: bool,
) -> Result<(), CommandError> {
    if just_id {
        let mut reply = session.reply();
        reply.array(ids.len());
        for id in ids {
            reply.bulk_id(id);
        }
        return Ok(());
    }
    let header = OpenHeader::array(session.out(), ids.len() as u64);
    let wanted = ids.into_iter().map(|id| WantedEvent { id, delivery: None }).collect();
    let options = ByIdOptions { gone: Gone::LeftOut, max_size: None, ends_early: false };
    let written = append_by_id(session, topic, wanted, options).await?;
    header.close(session.out(), written.entries);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_763_859_377_000;

    fn parsed(line: &str) -> Result<ClaimArgs, String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        parse(&args, NOW).map_err(|error| error.to_string())
    }

    fn plain(ids: &[EventId]) -> ClaimArgs {
        ClaimArgs {
            min_idle_ms: 0,
            ids: ids.to_vec(),
            delivered_ms: NOW,
            retry_count: None,
            force: false,
            just_id: false,
            last_id: EventId::MIN,
        }
    }

    #[test]
    fn options_follow_the_ids() {
        let id = EventId::new;
        assert_eq!(parsed("XCLAIM s g c 0 1-1"), Ok(plain(&[id(1, 1)])));
        assert_eq!(parsed("XCLAIM s g c -5 1 2-1"), Ok(plain(&[id(1, 0), id(2, 1)])));
        assert_eq!(
            parsed("XCLAIM s g c 9 1-1 FORCE idle 5000 RETRYCOUNT 7 justid LASTID 3-1"),
            Ok(ClaimArgs {
                min_idle_ms: 9,
                delivered_ms: NOW - 5000,
                retry_count: Some(7),
                force: true,
                just_id: true,
                last_id: id(3, 1),
                ..plain(&[id(1, 1)])
            })
        );
        assert_eq!(parsed("XCLAIM s g c 0 JUSTID"), Ok(ClaimArgs { just_id: true, ..plain(&[]) }));
        assert_eq!(parsed("XCLAIM s g c 0 1-1 RETRYCOUNT -1"), Ok(plain(&[id(1, 1)])));
    }

    #[test]
    fn times_that_cannot_be_are_now() {
        let at = |line: &str| parsed(line).unwrap().delivered_ms;
        assert_eq!(at("XCLAIM s g c 0 1-1 TIME 1000"), 1000);
        assert_eq!(at("XCLAIM s g c 0 1-1 TIME 9999999999999"), NOW);
        assert_eq!(at("XCLAIM s g c 0 1-1 TIME -7"), NOW);
        assert_eq!(at("XCLAIM s g c 0 1-1 IDLE -7"), NOW);
        assert_eq!(at("XCLAIM s g c 0 1-1 IDLE 9223372036854775807"), NOW);
    }

    #[test]
    fn errors() {
        let invalid_id = "ERR Invalid stream ID specified as stream command argument";
        for (line, expected) in [
            ("XCLAIM s g c x 1-1", "ERR Invalid min-idle-time argument for XCLAIM"),
            ("XCLAIM s g c 0 x", "ERR Unrecognized XCLAIM option 'x'"),
            ("XCLAIM s g c 0 1-1 NOPE", "ERR Unrecognized XCLAIM option 'NOPE'"),
            ("XCLAIM s g c 0 1-1 JUSTID 2-1", "ERR Unrecognized XCLAIM option '2-1'"),
            ("XCLAIM s g c 0 1-1 IDLE", "ERR Unrecognized XCLAIM option 'IDLE'"),
            ("XCLAIM s g c 0 1-1 IDLE x", "ERR Invalid IDLE option argument for XCLAIM"),
            ("XCLAIM s g c 0 1-1 TIME x", "ERR Invalid TIME option argument for XCLAIM"),
            ("XCLAIM s g c 0 1-1 RETRYCOUNT x", "ERR Invalid RETRYCOUNT option argument for XCLAIM"),
            ("XCLAIM s g c 0 1-1 LASTID x", invalid_id),
        ] {
            assert_eq!(parsed(line), Err(expected.to_owned()), "{line}");
        }
    }
}
