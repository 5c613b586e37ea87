//! `MONITOR` and `SLOWLOG`: commands shown to operators.

use wafka_protocol::error_text;
use wafka_protocol::parse::parse_i64;

use super::help::reply_help;
use crate::command::{Args, CommandError};
use crate::observe::SlowCommand;
use crate::session::Session;

/// Entries that `SLOWLOG GET` shows without a count.
const COUNT_DEFAULT: usize = 10;

/// ```text
/// MONITOR
/// ```
///
/// From now on the client is shown every command but those of administrators; `RESET` ends that. It may not touch topics
/// meanwhile.
pub(crate) fn monitor(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    if session.client.is_monitor() {
        // As in Redis, it is not answered twice.
        return Ok(());
    }
    session.reply().ok();
    session.start_monitoring();
    Ok(())
}

/// ```text
/// SLOWLOG GET [count]
/// ```
///
/// The commands that took longest to execute, the latest first. Where a reply waits for the disk that is part of the
/// time, but for appends, whose replies wait for it together.
pub(crate) fn get(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let count = match args {
        [_, _] => COUNT_DEFAULT,
        [_, _, count] => parse_count(count)?,
        _ => return Err(error_text::subcommand_syntax("SLOWLOG", args[1]).into()),
    };
    let commands = session.shared.observers.slow_log.latest(count);
    let mut reply = session.reply();
    reply.array(commands.len());
    for SlowCommand { id, at_secs, micros, args, addr, name } in commands {
        reply.array(6);
        for number in [id, at_secs, micros] {
            reply.integer(i64::try_from(number).unwrap_or(i64::MAX));
        }
        reply.array(args.len());
        for arg in args {
            reply.bulk(&arg);
        }
        reply.bulk(addr.as_bytes());
        reply.bulk(&name);
    }
    Ok(())
}

/// -1 is all.
fn parse_count(arg: &[u8]) -> Result<usize, CommandError> {
    match parse_i64(arg) {
        Some(-1) => Ok(usize::MAX),
        Some(count @ 0..) => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
        _ => Err("ERR count should be greater than or equal to -1".into()),
    }
}

/// ```text
/// SLOWLOG LEN
/// ```
pub(crate) fn len(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let len = session.shared.observers.slow_log.len();
    session.reply().integer(i64::try_from(len).unwrap_or(i64::MAX));
    Ok(())
}

/// ```text
/// SLOWLOG RESET
/// ```
pub(crate) fn reset(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    session.shared.observers.slow_log.clear();
    session.reply().ok();
    Ok(())
}

/// ```text
/// SLOWLOG HELP
/// ```
pub(crate) fn help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    reply_help(
        session,
        "SLOWLOG",
        &[
            "GET [<count>]",
            "    Return the latest <count> slow commands (default: 10, -1 means all), each with",
            "    its id, time of day, time taken in microseconds, arguments, client and client's name.",
            "LEN",
            "    Return the number of slow commands kept.",
            "RESET",
            "    Forget all slow commands.",
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(parse_count(b"-1").unwrap(), usize::MAX);
        assert_eq!(parse_count(b"0").unwrap(), 0);
        for bad in ["-2", "x", ""] {
            let error = parse_count(bad.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, "ERR count should be greater than or equal to -1", "{bad}");
        }
    }
}
