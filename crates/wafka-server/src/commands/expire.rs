//! `EXPIRE`, `PEXPIRE`, `EXPIREAT`, `PEXPIREAT`, `TTL`, `PTTL`, `EXPIRETIME`, `PEXPIRETIME`, `PERSIST`: topics with a
//! time to live.
//!
//! A topic is gone from the millisecond on that its time names. A key that names one partition can be asked for its
//! topic's time; only whole topics can be given one.

use std::sync::Arc;

use wafka_broker::{AppendError, ExpireIf, Expiry, Topic};
use wafka_protocol::error_text::generic as text;

use super::arguments::{integer, is_word};
use super::keys::delete;
use super::target::Target;
use crate::command::{Args, CommandError, HandlerFuture};
use crate::notify::Classes;
use crate::session::Session;

/// How a command counts time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Unit {
    /// The command, for the error.
    command: &'static str,
    /// Milliseconds in its unit.
    ms: i64,
    /// From 1970 on, not from now on.
    absolute: bool,
}

const EXPIRE: Unit = Unit { command: "expire", ms: 1000, absolute: false };
const PEXPIRE: Unit = Unit { command: "pexpire", ms: 1, absolute: false };
const EXPIREAT: Unit = Unit { command: "expireat", ms: 1000, absolute: true };
const PEXPIREAT: Unit = Unit { command: "pexpireat", ms: 1, absolute: true };

/// ```text
/// EXPIRE key seconds [NX | XX | GT | LT]
/// PEXPIRE key milliseconds [NX | XX | GT | LT]
/// EXPIREAT key unix-time-seconds [NX | XX | GT | LT]
/// PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]
/// ```
///
/// Sets when a topic's time comes; 1 once that is durable, 0 when there is no such topic or the condition does not
/// hold. A time that has passed deletes the topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ExpireRequest<'a> {
    key: &'a [u8],
    at_ms: i64,
    condition: ExpireIf,
}

fn parse<'a>(args: &[&'a [u8]], unit: Unit, now_ms: u64) -> Result<ExpireRequest<'a>, CommandError> {
    let mut condition = ExpireIf::default();
    for option in &args[3..] {
        if is_word(option, "NX") {
            condition.none = true;
        } else if is_word(option, "XX") {
            condition.some = true;
        } else if is_word(option, "GT") {
            condition.later = true;
        } else if is_word(option, "LT") {
            condition.earlier = true;
        } else {
            return Err(text::unsupported_option(option).into());
        }
    }
    if condition.none && (condition.some || condition.later || condition.earlier) {
        return Err(text::EXPIRE_NX_AND_OTHERS.into());
    }
    if condition.later && condition.earlier {
        return Err(text::EXPIRE_GT_AND_LT.into());
    }
    let now = if unit.absolute { 0 } else { i64::try_from(now_ms).unwrap_or(i64::MAX) };
    let at_ms = integer(args[2])?.checked_mul(unit.ms).and_then(|ms| ms.checked_add(now));
    let at_ms = at_ms.ok_or_else(|| CommandError::from(text::invalid_expire_time(unit.command)))?;
    Ok(ExpireRequest { key: args[1], at_ms, condition })
}

/// Executes `EXPIRE`.
pub(crate) fn expire<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(set(session, args, EXPIRE))
}

/// Executes `PEXPIRE`.
pub(crate) fn pexpire<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(set(session, args, PEXPIRE))
}

/// Executes `EXPIREAT`.
pub(crate) fn expire_at<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(set(session, args, EXPIREAT))
}

/// Executes `PEXPIREAT`.
pub(crate) fn pexpire_at<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(set(session, args, PEXPIREAT))
}

async fn set(session: &mut Session, args: &Args<'_>, unit: Unit) -> Result<(), CommandError> {
    let request = parse(args, unit, session.now_ms())?;
    let found = Target::find_topic(session, request.key)?;
    let outcome = match &found {
        Some(topic) => unless_gone(topic.expire(request.at_ms, request.condition))?,
        None => None,
    };
    let done = match (outcome, found) {
        (Some(Expiry::Set(ticket)), Some(topic)) => {
            session.commit(&topic, ticket).await?;
            session.notify(Classes::GENERIC, "expire", request.key);
            true
        }
        (Some(Expiry::Due), _) => delete(session, &[request.key]).await? > 0,
        _ => false,
    };
    session.reply().integer(i64::from(done));
    Ok(())
}

/// `None` for a topic that is gone since it was looked up.
fn unless_gone<T>(outcome: Result<T, AppendError>) -> Result<Option<T>, CommandError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(AppendError::Deleted) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// ```text
/// PERSIST key
/// ```
///
/// Lets a topic live on: 1 once that is durable, 0 when it had no time or there is no such topic.
pub(crate) fn persist<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let found = Target::find_topic(session, args[1])?;
        let mut done = false;
        if let Some(topic) = found
            && let Some(Some(ticket)) = unless_gone(topic.persist())?
        {
            session.commit(&topic, ticket).await?;
            session.notify(Classes::GENERIC, "persist", args[1]);
            done = true;
        }
        session.reply().integer(i64::from(done));
        Ok(())
    })
}

/// ```text
/// TTL key
/// ```
///
/// How long a topic has to live, in seconds; -1 when it has no time, -2 when there is no such topic.
pub(crate) fn ttl(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    tell(session, args, |left, _| seconds(left))
}

/// ```text
/// PTTL key
/// ```
///
/// As `TTL`, in milliseconds.
pub(crate) fn pttl(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    tell(session, args, |left, _| left)
}

/// ```text
/// EXPIRETIME key
/// ```
///
/// When a topic's time comes, in seconds since 1970; otherwise as `TTL`.
pub(crate) fn expire_time(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    tell(session, args, |_, at| seconds(at))
}

/// ```text
/// PEXPIRETIME key
/// ```
///
/// When a topic's time comes, in milliseconds since 1970; otherwise as `TTL`.
pub(crate) fn pexpire_time(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    tell(session, args, |_, at| at)
}

fn tell(session: &mut Session, args: &Args<'_>, of: fn(u64, u64) -> u64) -> Result<(), CommandError> {
    let now = session.shared.now_ms();
    let time = |topic: &Arc<Topic>| {
        let at = topic.expire_at_ms()?;
        Some(i64::try_from(of(at.saturating_sub(now), at)).unwrap_or(i64::MAX))
    };
    let reply = match Target::look_up(session.engine(), session.database(), args[1])? {
        None => -2,
        Some(target) => time(&target.topic).unwrap_or(-1),
    };
    session.reply().integer(reply);
    Ok(())
}

/// Redis rounds half up.
fn seconds(ms: u64) -> u64 {
    ms.saturating_add(500) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str, unit: Unit) -> Result<(i64, ExpireIf), String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        parse(&args, unit, 1_000)
            .map(|request| (request.at_ms, request.condition))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn times() {
        let none = ExpireIf::default();
        assert_eq!(parsed("EXPIRE k 5", EXPIRE), Ok((6_000, none)));
        assert_eq!(parsed("PEXPIRE k 5", PEXPIRE), Ok((1_005, none)));
        assert_eq!(parsed("EXPIREAT k 5", EXPIREAT), Ok((5_000, none)));
        assert_eq!(parsed("PEXPIREAT k -5", PEXPIREAT), Ok((-5, none)));
        let invalid = |command| Err(format!("ERR invalid expire time in '{command}' command"));
        assert_eq!(parsed("EXPIRE k 9223372036854775807", EXPIRE), invalid("expire"));
        assert_eq!(parsed("EXPIRE k -9223372036854775808", EXPIRE), invalid("expire"));
        assert_eq!(parsed("PEXPIRE k 9223372036854775807", PEXPIRE), invalid("pexpire"));
        assert_eq!(parsed("EXPIREAT k 9223372036854775807", EXPIREAT), invalid("expireat"));
        assert_eq!(parsed("PEXPIREAT k 9223372036854775807", PEXPIREAT), Ok((i64::MAX, none)));
    }

    #[test]
    fn conditions() {
        let condition = |line| parsed(line, EXPIRE).map(|(_, condition)| condition);
        assert_eq!(condition("EXPIRE k 5 nx"), Ok(ExpireIf { none: true, ..ExpireIf::default() }));
        let both = ExpireIf { some: true, later: true, ..ExpireIf::default() };
        assert_eq!(condition("EXPIRE k 5 XX xx GT"), Ok(both));
        let nx = "ERR NX and XX, GT or LT options at the same time are not compatible";
        for (line, error) in [
            ("EXPIRE k x FOO", "ERR Unsupported option FOO"),
            ("EXPIRE k 10 NX GT FOO", "ERR Unsupported option FOO"),
            ("EXPIRE k x NX LT", nx),
            ("EXPIRE k 10 NX XX", nx),
            ("EXPIRE k x GT LT", "ERR GT and LT options at the same time are not compatible"),
            ("EXPIRE k x", "ERR value is not an integer or out of range"),
        ] {
            assert_eq!(condition(line), Err(error.to_owned()), "{line}");
        }
    }

    #[test]
    fn seconds_are_rounded() {
        assert_eq!([0, 499, 500, 1_499, u64::MAX].map(seconds), [0, 0, 1, 1, u64::MAX / 1000]);
    }
}
