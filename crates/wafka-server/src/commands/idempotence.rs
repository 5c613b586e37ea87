//! Idempotent producing: what `XADD` takes for it, `XCFGSET`, `XIDMPRECORD`.

use std::sync::Arc;

use wafka_broker::{
    AppendError, IdempotenceChange, IdempotenceSettings, Idempotent, ReadError, RecordError, Topic,
};
use wafka_core::{EventId, Fields};
use wafka_protocol::error_text::{self, idempotence as text};
use xxhash_rust::xxh3::Xxh3;

use super::arguments::{event_id, integer, is_word};
use super::target::Target;
use crate::command::{Args, CommandError, HandlerFuture};
use crate::session::Session;

/// Seconds that a record may be kept.
pub(crate) const DURATION_SECS: std::ops::RangeInclusive<u32> = 1..=86_400;
/// Records of a producer that may be kept.
pub(crate) const MAX_IIDS: std::ops::RangeInclusive<u32> = 1..=10_000;

/// `IDMP producer-id idempotent-id` or `IDMPAUTO producer-id`, if one of them is there.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum SentBy<'a> {
    /// Nobody who sends things twice.
    #[default]
    Anybody,
    /// The event has an id of the producer's own.
    Named { producer: &'a [u8], iid: &'a [u8] },
    /// What the event says tells it from others.
    ByContent { producer: &'a [u8] },
}

impl<'a> SentBy<'a> {
    /// Reads the option at `args[at]`; the index behind it and its values, `None` when it is another option.
    pub(crate) fn take(&mut self, args: &[&'a [u8]], at: usize) -> Result<Option<usize>, CommandError> {
        let (read, used) = match args[at..] {
            [option, producer, iid, ..] if is_word(option, "IDMP") => (SentBy::Named { producer, iid }, 3),
            [option, producer, ..] if is_word(option, "IDMPAUTO") => (SentBy::ByContent { producer }, 2),
            _ => return Ok(None),
        };
        if *self != SentBy::Anybody {
            return Err(text::TWICE.into());
        }
        match read {
            SentBy::Named { producer: b"", .. } => return Err(text::IDMP_NO_PRODUCER.into()),
            SentBy::Named { iid: b"", .. } => return Err(text::IDMP_NO_IID.into()),
            SentBy::ByContent { producer: b"" } => return Err(text::IDMPAUTO_NO_PRODUCER.into()),
            _ => *self = read,
        }
        Ok(Some(at + used))
    }
}

/// The idempotence id of an event that is told from others by what it says: a hash in hexadecimal digits. Whoever sends
/// the same pairs in another order sends the same.
pub(crate) fn content_id(fields: Fields<'_>) -> [u8; 32] {
    let mut sum = 0u128;
    for pair in fields.as_flat().chunks(2) {
        let mut hasher = Xxh3::new();
        for part in pair {
            // With its length, so that no two pairs run together to the same bytes.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        sum = sum.wrapping_add(hasher.digest128());
    }
    let mut digits = [0; 32];
    for (at, digit) in digits.iter_mut().enumerate() {
        let shift = 124 - 4 * at;
        let nibble = usize::try_from((sum >> shift) & 0xf).unwrap_or(0);
        *digit = b"0123456789abcdef"[nibble];
    }
    digits
}

/// ```text
/// XCFGSET key [IDMP-DURATION seconds] [IDMP-MAXSIZE count]
/// ```
///
/// Sets for how long, and how many of each producer's last events, a topic knows what was sent. Where that changes
/// something, what it knew is forgotten.
fn parse_config(args: &[&[u8]]) -> Result<IdempotenceChange, CommandError> {
    let mut change = IdempotenceChange::default();
    let mut options = args[2..].iter();
    while let Some(option) = options.next() {
        let (slot, range, error) = if is_word(option, "IDMP-DURATION") {
            (&mut change.duration_secs, DURATION_SECS, text::DURATION_RANGE)
        } else if is_word(option, "IDMP-MAXSIZE") {
            (&mut change.max_iids, MAX_IIDS, text::MAXSIZE_RANGE)
        } else {
            return Err(CommandError::syntax());
        };
        let value = integer(options.next().ok_or_else(CommandError::syntax)?)?;
        let value = u32::try_from(value).ok().filter(|value| range.contains(value));
        *slot = Some(value.ok_or(error)?);
    }
    if change == IdempotenceChange::default() {
        return Err(text::NO_PARAMETER.into());
    }
    Ok(change)
}

/// Executes `XCFGSET`.
pub(crate) fn xcfgset<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let change = parse_config(args)?;
        let topic = find(session, args[1])?;
        let defaults = session.shared.settings.idempotence();
        let ticket = topic.configure_idempotence(change, defaults).map_err(refused)?;
        if let Some(ticket) = ticket {
            session.commit(&topic, ticket).await?;
        }
        session.reply().ok();
        Ok(())
    })
}

/// ```text
/// XIDMPRECORD key producer-id idempotent-id id
/// ```
///
/// Notes that a producer sent an event that is there. Redis has it for its own files; here it is as good as any other
/// command.
pub(crate) fn xidmprecord<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let (producer, iid, id) = parse_record(args)?;
        let topic = find(session, args[1])?;
        prepare(session, &topic).await?;
        let (work, names) = (Arc::clone(&topic), (producer.to_vec(), iid.to_vec()));
        let recorded = session
            .blocking(move |_| work.record_idempotent(Idempotent { producer: &names.0, iid: &names.1 }, id));
        let ticket = recorded.await?.map_err(|error| match error {
            RecordError::Refused(error) => refused(error),
            RecordError::Read(ReadError::Refused(error)) => refused(error),
            RecordError::Read(error) => error.into(),
            error @ (RecordError::NoSuchEvent | RecordError::Taken(_)) => {
                CommandError::Reply(error.to_string().into())
            }
        })?;
        if let Some(ticket) = ticket {
            session.commit(&topic, ticket).await?;
        }
        session.reply().ok();
        Ok(())
    })
}

fn parse_record<'a>(args: &[&'a [u8]]) -> Result<(&'a [u8], &'a [u8], EventId), CommandError> {
    let (producer, iid) = (args[2], args[3]);
    if producer.is_empty() {
        return Err(text::IDMP_NO_PRODUCER.into());
    }
    if iid.is_empty() {
        return Err(text::IDMP_NO_IID.into());
    }
    Ok((producer, iid, event_id(args[4])?))
}

fn find(session: &Session, key: &[u8]) -> Result<Arc<Topic>, CommandError> {
    Target::find_topic(session, key)?.ok_or(error_text::NO_SUCH_KEY.into())
}

fn refused(error: AppendError) -> CommandError {
    match error {
        AppendError::Deleted => error_text::NO_SUCH_KEY.into(),
        error => error.into(),
    }
}

/// Waits until a topic can take idempotent events: once in its life it has to write that down first.
pub(crate) async fn prepare(session: &Session, topic: &Arc<Topic>) -> Result<(), AppendError> {
    let defaults: IdempotenceSettings = session.shared.settings.idempotence();
    while let Some(ticket) = topic.prepare_idempotence(defaults)? {
        session.commit(topic, ticket).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_tells_events_apart_whatever_their_order() {
        let id = |flat: &[&[u8]]| content_id(Fields::new(flat).unwrap());
        let one = id(&[b"a", b"1", b"b", b"2"]);
        assert_eq!(one, id(&[b"b", b"2", b"a", b"1"]));
        assert!(one.iter().all(u8::is_ascii_hexdigit));
        for other in [
            &[&b"a"[..], b"2", b"b", b"1"][..],
            &[b"a", b"1"],
            &[b"a", b"1", b"b", b"2", b"b", b"2"],
            &[b"a1", b"", b"b", b"2"],
            &[b"", b"a1", b"b", b"2"],
        ] {
            assert_ne!(one, id(other));
        }
        assert_ne!(id(&[b"x", b"1", b"x", b"1"]), id(&[b"y", b"1", b"y", b"1"]));
    }

    fn config(line: &str) -> Result<(Option<u32>, Option<u32>), String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        parse_config(&args)
            .map(|change| (change.duration_secs, change.max_iids))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn settings() {
        assert_eq!(config("XCFGSET s IDMP-DURATION 300"), Ok((Some(300), None)));
        assert_eq!(
            config("XCFGSET s idmp-maxsize 10000 IDMP-DURATION 86400"),
            Ok((Some(86_400), Some(10_000)))
        );
        let duration = "ERR IDMP-DURATION must be between 1 and 86400 seconds";
        let maxsize = "ERR IDMP-MAXSIZE must be between 1 and 10000 entries";
        let integer = "ERR value is not an integer or out of range";
        for (line, error) in [
            ("XCFGSET s", "ERR At least one parameter must be specified"),
            ("XCFGSET s IDMP-DURATION", "ERR syntax error"),
            ("XCFGSET s NOPE 5", "ERR syntax error"),
            ("XCFGSET s IDMP-DURATION 0", duration),
            ("XCFGSET s IDMP-DURATION -100", duration),
            ("XCFGSET s IDMP-DURATION 86401", duration),
            ("XCFGSET s IDMP-MAXSIZE 0", maxsize),
            ("XCFGSET s IDMP-MAXSIZE 10001", maxsize),
            ("XCFGSET s IDMP-MAXSIZE x", integer),
            ("XCFGSET s IDMP-MAXSIZE IDMP-MAXSIZE", integer),
            ("XCFGSET s IDMP-DURATION INVALID IDMP-MAXSIZE", integer),
        ] {
            assert_eq!(config(line), Err(error.to_owned()), "{line}");
        }
    }
}
