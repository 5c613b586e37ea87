//! `XADD`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wafka_broker::{AppendError, AppendRequest, IdSpec, Idempotent, Trim};
use wafka_core::{EventId, Fields, TopicKey};
use wafka_protocol::error_text::{idempotence, stream as text};

use super::arguments::{event_id, is_word};
use super::idempotence::{SentBy, content_id, prepare};
use super::target::{no_such_partition, topic_name};
use super::trim_args::TrimArgs;
use crate::command::{Append, Args, CommandError, HandlerFuture};
use crate::notify::Classes;
use crate::session::{Session, TopicSlot};

/// ```text
/// XADD key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] [IDMPAUTO producer-id | IDMP producer-id idempotent-id]
///     [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | ms | ms-* | ms-seq> field value [field value …]
/// ```
///
/// Appends an event and answers its id once it is committed. `key` names a topic, or with `topic#n` one partition of
/// it. The topic is created if need be, as it is declared or by the defaults; with `NOMKSTREAM` the reply is null
/// instead. With `IDMP` or `IDMPAUTO` an event that its producer sent before is not added again, and the reply is the id
/// of the first.
#[derive(Debug)]
pub(crate) struct AddRequest<'a> {
    key: &'a [u8],
    create: bool,
    id: IdSpec,
    fields: Fields<'a>,
    trim: Option<Trim>,
    sent_by: SentBy<'a>,
}

/// Checks in Redis's order: options and id from left to right, what contradicts among the options, the fields, `0-0`.
pub(crate) fn parse<'a>(args: &'a [&'a [u8]]) -> Result<AddRequest<'a>, CommandError> {
    let mut at = 2;
    let mut create = true;
    let mut trim = TrimArgs::default();
    let mut sent_by = SentBy::default();
    let id = loop {
        let arg = *args.get(at).ok_or(CommandError::Arity("xadd"))?;
        if arg == b"*" {
            break IdSpec::Auto;
        }
        if let Some(next) = trim.take(args, at)? {
            at = next;
        } else if is_word(arg, "NOMKSTREAM") {
            create = false;
            at += 1;
        } else if let Some(next) = sent_by.take(args, at)? {
            at = next;
        } else {
            break id_spec(arg)?;
        }
    };
    let trim = trim.finish(None)?;
    if sent_by != SentBy::Anybody && id != IdSpec::Auto {
        return Err(idempotence::AUTO_ID_ONLY.into());
    }
    let fields = Fields::new(&args[at + 1..])
        .filter(|fields| !fields.is_empty())
        .ok_or(CommandError::Arity("xadd"))?;
    if id == IdSpec::Explicit(EventId::MIN) {
        return Err(text::ID_ZERO.into());
    }
    Ok(AddRequest { key: args[1], create, id, fields, trim, sent_by })
}

fn id_spec(arg: &[u8]) -> Result<IdSpec, CommandError> {
    match arg {
        [ms @ .., b'-', b'*'] if !ms.contains(&b'-') => Ok(IdSpec::AutoSeq { ms: event_id(ms)?.ms }),
        _ => event_id(arg).map(IdSpec::Explicit),
    }
}

/// Appends to a topic that exists, without waiting.
pub(crate) fn fast(session: &mut Session, args: &Args<'_>) -> Result<Append, CommandError> {
    let request = parse(args)?;
    let key = TopicKey::parse(request.key);
    let Some(slot) = session.topic_slot(key.topic) else { return Ok(Append::Slow) };
    match append(session, slot, key, &request) {
        Ok(()) => Ok(Append::Pending),
        Err(CommandError::Append(AppendError::Deleted | AppendError::NotPrepared)) => Ok(Append::Slow),
        Err(error) => Err(error),
    }
}

/// Creates the topic if need be, and appends.
pub(crate) fn slow<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let request = parse(args)?;
        let key = TopicKey::parse(request.key);
        loop {
            let Some(slot) = session.topic_slot(key.topic) else {
                if request.create {
                    create(session, &request, key).await?;
                } else if session.engine().topic(session.database(), key.topic).is_some() {
                    // On its way out, unless its deletion fails.
                    session.blocking(|engine| engine.wait_for_deletions()).await?;
                } else {
                    session.reply().null();
                    return Ok(());
                }
                continue;
            };
            match append(session, slot, key, &request) {
                // Deleted since it was looked up, so not found again: its successor, if any, takes the event.
                Err(CommandError::Append(AppendError::Deleted)) => {}
                Err(CommandError::Append(AppendError::NotPrepared)) => {
                    let topic = Arc::clone(session.topic_in(slot));
                    match prepare(session, &topic).await {
                        Ok(()) | Err(AppendError::Deleted) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error),
                // Its commit is awaited together with those of the requests behind it.
                Ok(()) => return Ok(()),
            }
        }
    })
}

fn append(
    session: &mut Session,
    slot: TopicSlot,
    key: TopicKey<'_>,
    request: &AddRequest<'_>,
) -> Result<(), CommandError> {
    let topic = session.topic_in(slot);
    let partition = match key.partition {
        None => None,
        Some(Some(partition)) => Some(partition),
        Some(None) => return Err(no_such_partition(topic.name(), request.key, topic.partitions())),
    };
    let hash;
    let idempotence = match request.sent_by {
        SentBy::Anybody => None,
        SentBy::Named { producer, iid } => Some(Idempotent { producer, iid }),
        SentBy::ByContent { producer } => {
            hash = content_id(request.fields);
            Some(Idempotent { producer, iid: &hash })
        }
    };
    let appended = topic.append(&AppendRequest {
        id: request.id,
        partition,
        fields: request.fields,
        trim: request.trim,
        idempotence,
        now_ms: session.now_ms(),
    })?;
    if !session.client.no_touch.load(Ordering::Relaxed) {
        // The time of the request will do; reading the clock for each event would cost.
        session.topic_in(slot).touch_at(session.now_ms());
    }
    session.push_append(slot, appended);
    Ok(())
}

async fn create(session: &Session, request: &AddRequest<'_>, key: TopicKey<'_>) -> Result<(), CommandError> {
    let name = topic_name(key.topic)?;
    let database = session.database();
    if let Some(partition) = key.partition {
        // A failing XADD must not leave a new topic behind.
        let spec = session.engine().spec_of(database, &name);
        let partitions = spec.partitions.unwrap_or_else(|| session.shared.config.server.broker_count());
        if partition.is_none_or(|partition| partition.0 > partitions) {
            return Err(no_such_partition(&name, request.key, partitions));
        }
    }
    let work = session.blocking(move |engine| {
        let spec = engine.spec_of(database, &name).clone();
        engine.create_topic(database, &name, Some(&spec))
    });
    let (topic, created) = work.await??;
    if created {
        session.notify(Classes::NEW, "new", topic.name().as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use wafka_broker::{RefPolicy, TrimStrategy};

    use super::*;

    fn check<T>(line: &str, then: impl FnOnce(Result<AddRequest<'_>, CommandError>) -> T) -> T {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        then(parse(&args))
    }

    fn error(line: &str) -> String {
        check(line, |parsed| parsed.unwrap_err().to_string())
    }

    fn id(line: &str) -> IdSpec {
        check(line, |parsed| parsed.unwrap().id)
    }

    fn trim(line: &str) -> Option<Trim> {
        check(line, |parsed| parsed.unwrap().trim)
    }

    #[test]
    fn ids() {
        assert_eq!(id("XADD s * f v"), IdSpec::Auto);
        assert_eq!(id("XADD s 1-1 f v"), IdSpec::Explicit(EventId::new(1, 1)));
        assert_eq!(id("XADD s 7 f v"), IdSpec::Explicit(EventId::new(7, 0)));
        assert_eq!(id("XADD s 1-* f v"), IdSpec::AutoSeq { ms: 1 });
        assert_eq!(id("XADD new 0-* f v"), IdSpec::AutoSeq { ms: 0 });
        for bad in
            ["abc", "1-x", "1-1-1", "-1", "18446744073709551616-1", "$", "+", "-", "-*", "1-1-*", "x-*"]
        {
            assert_eq!(
                error(&format!("XADD s {bad} f v")),
                "ERR Invalid stream ID specified as stream command argument",
                "{bad}"
            );
        }
        assert_eq!(error("XADD s 0-0 f v"), "ERR The ID specified in XADD must be greater than 0-0");
        assert_eq!(error("XADD s 0 f v"), "ERR The ID specified in XADD must be greater than 0-0");
    }

    #[test]
    fn fields_come_in_pairs() {
        let arity = "ERR wrong number of arguments for 'xadd' command";
        for bad in ["XADD s 9999999999999-1 f v w", "XADD s * f", "XADD s NOMKSTREAM *", "XADD s 0-0 f v w"] {
            assert_eq!(error(bad), arity, "{bad}");
        }
        assert_eq!(error("XADD s NOMKSTREAM MAXLEN 5"), arity);
        check("XADD s * f v f w", |parsed| {
            let fields = parsed.unwrap().fields;
            assert_eq!(fields.as_flat(), [&b"f"[..], b"v", b"f", b"w"]);
        });
    }

    #[test]
    fn trimming() {
        let max_len = |approximate, limit| {
            Some(Trim { strategy: TrimStrategy::MaxLen(10), approximate, limit, refs: RefPolicy::Keep })
        };
        assert_eq!(trim("XADD s * f v"), None);
        assert_eq!(trim("XADD s MAXLEN 10 * f v"), max_len(false, None));
        assert_eq!(trim("XADD s maxlen = 10 * f v"), max_len(false, None));
        assert_eq!(trim("XADD s MAXLEN ~ 10 * f v"), max_len(true, None));
        assert_eq!(trim("XADD s MAXLEN ~ 10 LIMIT 100 * f v"), max_len(true, Some(100)));
        assert_eq!(trim("XADD s LIMIT 0 MAXLEN ~ 10 * f v"), max_len(true, Some(0)));
        let refs = |refs| max_len(false, None).map(|trim| Trim { refs, ..trim });
        assert_eq!(trim("XADD s MAXLEN 10 DELREF 9-4 f v"), refs(RefPolicy::Delete));
        assert_eq!(trim("XADD s acked MAXLEN 10 9-4 f v"), refs(RefPolicy::Acked));
        assert_eq!(
            trim("XADD s MINID 5 * f v"),
            Some(Trim {
                strategy: TrimStrategy::MinId(EventId::new(5, 0)),
                approximate: false,
                limit: None,
                refs: RefPolicy::Keep
            })
        );
        assert!(trim("XADD s KEEPREF 9-5 f v").is_none());
    }

    #[test]
    fn trimming_errors() {
        let not_integer = "ERR value is not an integer or out of range";
        let invalid_id = "ERR Invalid stream ID specified as stream command argument";
        let no_approx = "ERR syntax error, LIMIT cannot be used without the special ~ option";
        let no_strategy = "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy";
        let both = "ERR syntax error, MAXLEN and MINID options at the same time are not compatible";
        for (line, expected) in [
            ("XADD s MAXLEN 10 LIMIT 100 * f v", no_approx),
            ("XADD s MAXLEN = 10 LIMIT 100 * f v", no_approx),
            ("XADD s LIMIT 0 * f v", no_approx),
            ("XADD s LIMIT 100 * f v", no_strategy),
            ("XADD s MAXLEN ~ 10 LIMIT -1 * f v", "ERR The LIMIT argument must be >= 0."),
            ("XADD s MAXLEN ~ 10 LIMIT x * f v", not_integer),
            ("XADD s MAXLEN -1 * f v", "ERR The MAXLEN argument must be >= 0."),
            ("XADD s MAXLEN x * f v", not_integer),
            ("XADD s MAXLEN * f v", not_integer),
            ("XADD s MAXLEN ~ * f v", not_integer),
            ("XADD s MINID x * f v", invalid_id),
            ("XADD s MINID 5 MAXLEN 3 * f v", both),
            ("XADD s MAXLEN 5 MAXLEN 3 * f v", both),
            ("XADD s NOSUCH 5 * f v", invalid_id),
            ("XADD s DELREF ACKED MAXLEN 5 9-6 f v", invalid_id),
        ] {
            assert_eq!(error(line), expected, "{line}");
        }
    }

    #[test]
    fn idempotence() {
        let sent_by = |line: &str| check(line, |parsed| format!("{:?}", parsed.unwrap().sent_by));
        let named = format!("{:?}", SentBy::Named { producer: b"p1", iid: b"i1" });
        let by_content = format!("{:?}", SentBy::ByContent { producer: b"p1" });
        assert_eq!(sent_by("XADD s IDMP p1 i1 * f v"), named);
        assert_eq!(sent_by("XADD s MAXLEN 100 idmp p1 i1 NOMKSTREAM * f v"), named);
        assert_eq!(sent_by("XADD s IDMP p1 i1 MAXLEN ~ 100 KEEPREF * f v"), named);
        assert_eq!(sent_by("XADD s IDMPAUTO p1 * f v"), by_content);
        assert_eq!(sent_by("XADD s * IDMPAUTO p1"), "Anybody");
        let auto = "ERR syntax error, IDMP/IDMPAUTO can be used only with auto-generated IDs";
        let twice = "ERR syntax error, IDMP/IDMPAUTO specified multiple times";
        for (line, expected) in [
            ("XADD s IDMP p1 i1 5-5 f v", auto),
            ("XADD s IDMPAUTO p1 5-* f v", auto),
            ("XADD s IDMP p1 i1 IDMPAUTO p1 * f v", twice),
            ("XADD s IDMP p1 i1 IDMP p1 i1 * f v", twice),
            ("XADD s IDMP  i1 * f v", "ERR syntax error, IDMP requires a non-empty producer ID"),
            ("XADD s IDMP p1  * f v", "ERR syntax error, IDMP requires a non-empty idempotent ID"),
            ("XADD s IDMPAUTO  * f v", "ERR syntax error, IDMPAUTO requires a non-empty producer ID"),
            ("XADD s IDMP p1 * f v", "ERR Invalid stream ID specified as stream command argument"),
        ] {
            assert_eq!(error(line), expected, "{line}");
        }
    }

    #[test]
    fn nomkstream() {
        assert!(!check("XADD none NOMKSTREAM * f v", |parsed| parsed.unwrap().create));
        assert!(!check("XADD none MAXLEN 3 nomkstream 1-1 f v", |parsed| parsed.unwrap().create));
        assert!(check("XADD s * NOMKSTREAM v", |parsed| parsed.unwrap().create));
    }
}
