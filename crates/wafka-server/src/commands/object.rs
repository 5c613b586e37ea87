//! `OBJECT`, and `MEMORY USAGE`.

use std::sync::Arc;

use wafka_protocol::error_text;

use super::arguments::{integer, is_word};
use super::help::reply_help;
use super::target::{Target, exists};
use crate::command::{Args, CommandError, HandlerFuture};
use crate::session::Session;

/// Redis's error when keys are not evicted by how often they are used.
const NO_FREQUENCY: &str = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
    that when switching between policies at runtime LRU and LFU data will take some time to adjust.";

/// ```text
/// OBJECT ENCODING key
/// ```
///
/// `stream`; null when there is no such topic.
pub(crate) fn encoding(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    if exists(session.engine(), session.database(), args[2]) {
        session.reply().bulk(b"stream");
    } else {
        session.reply().null();
    }
    Ok(())
}

/// ```text
/// OBJECT REFCOUNT key
/// ```
///
/// 1; null when there is no such topic.
pub(crate) fn ref_count(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    if exists(session.engine(), session.database(), args[2]) {
        session.reply().integer(1);
    } else {
        session.reply().null();
    }
    Ok(())
}

/// ```text
/// OBJECT IDLETIME key
/// ```
///
/// For how many seconds no command used a topic, at most since the server started; null when there is no such topic.
pub(crate) fn idle_time(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    match Target::look_up(session.engine(), session.database(), args[2])? {
        Some(target) => {
            let seconds = target.topic.idle_ms() / 1000;
            session.reply().integer(i64::try_from(seconds).unwrap_or(i64::MAX));
        }
        None => session.reply().null(),
    }
    Ok(())
}

/// ```text
/// OBJECT FREQ key
/// ```
///
/// Not tracked: Redis's error for a topic that exists, else null.
pub(crate) fn frequency(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    if exists(session.engine(), session.database(), args[2]) {
        return Err(NO_FREQUENCY.into());
    }
    session.reply().null();
    Ok(())
}

/// ```text
/// OBJECT HELP
/// ```
pub(crate) fn help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    reply_help(
        session,
        "OBJECT",
        &[
            "ENCODING <key>",
            "    Return the kind of internal representation used in order to store the value",
            "    associated with a <key>.",
            "FREQ <key>",
            "    Return an error: how often a <key> is used is not tracked.",
            "IDLETIME <key>",
            "    Return the idle time of the <key>, that is the approximated number of seconds",
            "    elapsed since the last access to the <key>.",
            "REFCOUNT <key>",
            "    Return the number of references of the value associated with the specified",
            "    <key>.",
        ],
    );
    Ok(())
}

/// ```text
/// MEMORY USAGE key [SAMPLES count]
/// ```
///
/// The bytes that a topic's events take, or those of one partition: of its files, for they are not kept in memory.
/// Null when there is no such topic. `SAMPLES` is checked and has no effect, for nothing is estimated.
pub(crate) fn memory_usage<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        check_samples(&args[3..])?;
        let Some(target) = Target::find(session, args[2])? else {
            session.reply().null();
            return Ok(());
        };
        let topic = Arc::clone(&target.topic);
        let info = session.blocking(move |_| topic.info()).await??;
        let wanted = |id| target.partition.is_none_or(|partition| partition == id);
        let bytes: u64 =
            info.partitions.iter().filter(|found| wanted(found.partition)).map(|found| found.bytes).sum();
        session.reply().integer(i64::try_from(bytes).unwrap_or(i64::MAX));
        Ok(())
    })
}

fn check_samples(args: &[&[u8]]) -> Result<(), CommandError> {
    let mut options = args.iter();
    while let Some(option) = options.next() {
        match options.next() {
            Some(value) if is_word(option, "SAMPLES") => {
                if integer(value)? < 0 {
                    return Err(error_text::SYNTAX.into());
                }
            }
            _ => return Err(CommandError::syntax()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples() {
        let check = |args: &[&[u8]]| check_samples(args).map_err(|error| error.to_string());
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[b"samples", b"0"]), Ok(()));
        let syntax = Err("ERR syntax error".to_owned());
        assert_eq!(check(&[b"SAMPLES"]), syntax);
        assert_eq!(check(&[b"SAMPLES", b"-1"]), syntax);
        assert_eq!(check(&[b"NOPE", b"1"]), syntax);
        let not_integer = Err("ERR value is not an integer or out of range".to_owned());
        assert_eq!(check(&[b"SAMPLES", b"x"]), not_integer);
    }
}
