//! `XCLAIM`.

use std::sync::Arc;

use wafka_broker::{ClaimRequest, Topic};
use wafka_core::EventId;
use wafka_protocol::error_text::stream as text;
use wafka_protocol::parse::parse_i64;

use super::by_id::{ByIdOptions, Gone, WantedEvent, WrittenById, append_by_id};
use super::{commit, found, topic_with_group};
use crate::command::{Args, CommandError, HandlerFuture};
use crate::commands::arguments::{event_id, is_word};
use crate::commands::entry_reply::{OpenHeader, READY_COUNT_MAX};
use crate::notify::Classes;
use crate::session::Session;

/// ```text
/// XCLAIM key group consumer min-idle-time id [id …] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count]
///     [FORCE] [JUSTID] [LASTID last-id]
/// ```
///
/// Makes events that are pending with others the consumer's, and answers them; with `JUSTID` their ids.
#[derive(Clone, PartialEq, Eq, Debug)]
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
        let is_idle = claim.delivered_ms < session.now_ms();
        let (just_id, is_long) = (claim.just_id, claim.ids.len() as u64 > READY_COUNT_MAX);
        if just_id {
            // What cannot be answered must not change hands.
            check_room(session, claim.ids.len())?;
        }
        let (claim, work) = (Arc::new(claim), Work::new(session, &topic, group, consumer));
        let (events, claim) = if just_id {
            (None, claim)
        } else {
            let (look, asked) = (Arc::clone(&work), Arc::clone(&claim));
            let look = move || look.topic.would_claim(&look.group, &asked.request(), look.now_ms);
            let looked = if is_long { session.blocking(move |_| look()).await? } else { look() };
            let (ids, gone) = found(looked, || text::no_group(key, group))?;
            let written = ClaimedEvents::write(session, &topic, ids, false).await?;
            let ids = written.ids().iter().copied().chain(gone).collect();
            (Some(written), Arc::new(ClaimArgs { ids, ..ClaimArgs::clone(&claim) }))
        };
        // With FORCE events are looked up.
        let is_long = is_long || claim.force;
        let work = move || work.topic.claim(&work.group, &work.consumer, &claim.request(), work.now_ms);
        let claimed = if is_long { session.blocking(move |_| work()).await? } else { work() };
        let claimed = found(claimed, || text::no_group(key, group))?;
        if claimed.made_consumer {
            session.notify(Classes::STREAM, "xgroup-createconsumer", key);
        }
        if is_idle && !claimed.ids.is_empty() {
            topic.watch_point().notify_claimable(group);
        }
        match events {
            Some(events) => events.keep(session, &claimed.ids),
            None => reply_ids(session, &claimed.ids),
        }
        commit(session, &topic, claimed.ticket).await
    })
}

/// What a claim on another thread needs.
struct Work {
    topic: Arc<Topic>,
    group: Vec<u8>,
    consumer: Vec<u8>,
    now_ms: u64,
}

impl Work {
    fn new(session: &Session, topic: &Arc<Topic>, group: &[u8], consumer: &[u8]) -> Arc<Self> {
        let (group, consumer) = (group.to_vec(), consumer.to_vec());
        Arc::new(Work { topic: Arc::clone(topic), group, consumer, now_ms: session.now_ms() })
    }
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

/// The most bytes that an id takes in a reply.
pub(super) const ID_LEN_MAX: usize = 48;

/// How many bytes the reply may still grow by.
pub(super) fn room(session: &Session) -> usize {
    session.reply_limit().saturating_sub(session.reply_len())
}

/// Whether so many ids can be answered.
pub(super) fn check_room(session: &Session, ids: usize) -> Result<(), CommandError> {
    // And the headers around them.
    match (ids + 2) * ID_LEN_MAX <= room(session) {
        true => Ok(()),
        false => Err(CommandError::ReplyTooLarge { limit: session.reply_limit() }),
    }
}

/// Answers ids.
pub(super) fn reply_ids(session: &mut Session, ids: &[EventId]) {
    let mut reply = session.reply();
    reply.array(ids.len());
    for id in ids {
        reply.bulk_id(*id);
    }
}

/// Events in the reply that are to be claimed: they are read first, so that none changes hands unanswered.
pub(super) struct ClaimedEvents {
    header: OpenHeader,
    begin: usize,
    written: WrittenById,
}

impl ClaimedEvents {
    /// Writes those of `ids` that are there; with `ends_early` as many as there is room for.
    pub(super) async fn write(
        session: &mut Session,
        topic: &Arc<Topic>,
        ids: Vec<EventId>,
        ends_early: bool,
    ) -> Result<Self, CommandError> {
        let header = OpenHeader::array(session.out(), ids.len() as u64);
        let begin = session.out_len();
        let wanted = ids.into_iter().map(|id| WantedEvent { id, delivery: None }).collect();
        let options = ByIdOptions { gone: Gone::LeftOut, max_size: None, ends_early };
        let written = append_by_id(session, topic, wanted, options).await?;
        Ok(ClaimedEvents { header, begin, written })
    }

    /// What was written.
    pub(super) fn ids(&self) -> &[EventId] {
        &self.written.live
    }

    /// Whether there was no room for all.
    pub(super) fn stopped(&self) -> bool {
        self.written.stopped
    }

    /// Takes back what somebody else got hold of meanwhile.
    pub(super) fn keep(mut self, session: &mut Session, claimed: &[EventId]) {
        self.written.keep(session.out(), self.begin, claimed);
        self.header.close(session.out(), self.written.entries);
    }
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
