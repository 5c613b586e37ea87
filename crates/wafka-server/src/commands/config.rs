//! `CONFIG`.

use wafka_protocol::error_text;
use wafka_protocol::parse::glob_match;

use super::config_params::{Change, PARAMS, Param};
use super::help::reply_help;
use crate::command::{Args, CommandError, HandlerFuture};
use crate::engine::fsync_policy;
use crate::session::Session;

/// ```text
/// CONFIG GET parameter [parameter ...]
/// ```
///
/// Each is a glob pattern.
pub(crate) fn get(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let matches =
        |param: &&Param| args[2..].iter().any(|pattern| glob_match(pattern, param.name.as_bytes(), true));
    let found: Vec<(&str, String)> =
        PARAMS.iter().filter(matches).map(|param| (param.name, (param.get)(&session.shared))).collect();
    let mut reply = session.reply();
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    Ok(())
}

/// ```text
/// CONFIG SET parameter value [parameter value ...]
/// ```
///
/// Sets all or, when one cannot be set, none.
pub(crate) fn set<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        for change in check(session, args)? {
            match change {
                // What is not synced yet is synced first.
                Change::Fsync(fsync) => {
                    session.blocking(move |engine| engine.set_fsync(fsync_policy(fsync))).await?;
                }
                Change::Setting(setting) => setting.apply(&session.shared),
            }
        }
        session.reply().ok();
        Ok(())
    })
}

/// All changes that are asked for, or what is wrong with one.
fn check(session: &Session, args: &Args<'_>) -> Result<Vec<Change>, CommandError> {
    let (pairs, []) = args[2..].as_chunks::<2>() else { return Err(CommandError::Arity("config|set")) };
    let mut changes = Vec::with_capacity(pairs.len());
    for (at, [name, value]) in pairs.iter().enumerate() {
        let param = PARAMS.iter().find(|param| param.name.as_bytes().eq_ignore_ascii_case(name));
        let param = param.ok_or_else(|| CommandError::from(error_text::config_unknown(name)))?;
        let failed = |reason: &str| CommandError::from(error_text::config_failed(param.name, reason));
        if pairs[..at].iter().any(|[earlier, _]| earlier.eq_ignore_ascii_case(name)) {
            return Err(failed("duplicate parameter"));
        }
        let value = std::str::from_utf8(value).map_err(|_| failed("argument is not UTF-8"))?;
        let change = param.check(&session.shared, value).map_err(|reason| failed(&reason))?;
        if change.as_ref().is_some_and(Change::needs_engine) && session.shared.engine().is_none() {
            return Err(session.shared.standing.not_open().into());
        }
        changes.extend(change);
    }
    Ok(changes)
}

/// ```text
/// CONFIG RESETSTAT
/// ```
pub(crate) fn reset_stat(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    session.shared.stats.reset();
    session.reply().ok();
    Ok(())
}

/// ```text
/// CONFIG REWRITE
/// ```
pub(crate) fn rewrite(_session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    Err("ERR Wafka does not write its configuration file: change it by hand, so that its comments stay"
        .into())
}

/// ```text
/// CONFIG HELP
/// ```
pub(crate) fn help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    reply_help(
        session,
        "CONFIG",
        &[
            "GET <pattern> [<pattern> ...]",
            "    Return parameters matching the glob-like <pattern>s and their values.",
            "SET <parameter> <value> [<parameter> <value> ...]",
            "    Set the configuration parameters to the values, until the server stops.",
            "RESETSTAT",
            "    Reset statistics reported by the INFO command.",
            "REWRITE",
            "    Not available: the configuration file is changed by hand.",
        ],
    );
    Ok(())
}
