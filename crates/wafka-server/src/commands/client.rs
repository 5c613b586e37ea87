//! `CLIENT`, but for `LIST`, `INFO` and `KILL`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wafka_protocol::error_text;
use wafka_protocol::parse::parse_i64;

use super::help::reply_help;
use crate::command::{Args, CommandError};
use crate::pause::PauseMode;
use crate::session::{ReplyMode, Session};

/// ```text
/// CLIENT ID
/// ```
pub(crate) fn id(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let id = session.client.id;
    session.reply().integer(id.try_into().unwrap_or(i64::MAX));
    Ok(())
}

/// Whether bytes may be a client's name or its library's: printable ASCII without blanks, so that `CLIENT LIST` can
/// be taken apart.
fn is_label(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_graphic)
}

/// Checks a client's name.
pub(super) fn check_name(name: &[u8]) -> Result<(), CommandError> {
    if is_label(name) { Ok(()) } else { Err(error_text::CLIENT_NAME.into()) }
}

/// ```text
/// CLIENT SETNAME connection-name
/// ```
pub(crate) fn set_name(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    check_name(args[2])?;
    args[2].clone_into(&mut session.client.labels.lock().name);
    session.reply().ok();
    Ok(())
}

/// ```text
/// CLIENT GETNAME
/// ```
pub(crate) fn get_name(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let name = session.client.labels.lock().name.clone();
    if name.is_empty() {
        session.reply().null();
    } else {
        session.reply().bulk(&name);
    }
    Ok(())
}

/// ```text
/// CLIENT SETINFO <LIB-NAME libname | LIB-VER libver>
/// ```
pub(crate) fn set_info(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let (attribute, value) = (args[2], args[3]);
    let is_name = attribute.eq_ignore_ascii_case(b"lib-name");
    if !is_name && !attribute.eq_ignore_ascii_case(b"lib-ver") {
        return Err(error_text::client_info_option(attribute).into());
    }
    if !is_label(value) {
        return Err(error_text::client_info_value(&String::from_utf8_lossy(attribute)).into());
    }
    let mut labels = session.client.labels.lock();
    value.clone_into(if is_name { &mut labels.lib_name } else { &mut labels.lib_ver });
    drop(labels);
    session.reply().ok();
    Ok(())
}

/// ```text
/// CLIENT REPLY <ON | OFF | SKIP>
/// ```
///
/// Only `ON` is answered.
pub(crate) fn reply(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    match args[2].to_ascii_lowercase().as_slice() {
        b"on" => {
            session.set_reply_mode(ReplyMode::On);
            session.reply().ok();
        }
        b"off" => session.set_reply_mode(ReplyMode::Off),
        // Without effect while all replies are off.
        b"skip" if session.reply_mode() == ReplyMode::Off => {}
        b"skip" => session.set_reply_mode(ReplyMode::SkipNext),
        _ => return Err(CommandError::syntax()),
    }
    Ok(())
}

/// ```text
/// CLIENT PAUSE timeout [WRITE | ALL]
/// ```
pub(crate) fn pause(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let mode = match args.get(3).map(|mode| mode.to_ascii_lowercase()).as_deref() {
        None | Some(b"all") => PauseMode::All,
        Some(b"write") => PauseMode::Write,
        Some(_) => return Err("ERR CLIENT PAUSE mode must be WRITE or ALL".into()),
    };
    if args.len() > 4 {
        return Err(CommandError::syntax());
    }
    let millis = parse_i64(args[2]).ok_or(CommandError::from(error_text::TIMEOUT_NOT_INTEGER))?;
    let millis = u64::try_from(millis).map_err(|_| CommandError::from(error_text::TIMEOUT_NEGATIVE))?;
    session.shared.pause.pause(mode, Duration::from_millis(millis));
    session.reply().ok();
    Ok(())
}

/// ```text
/// CLIENT UNPAUSE
/// ```
pub(crate) fn unpause(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    session.shared.pause.unpause();
    session.reply().ok();
    Ok(())
}

/// ```text
/// CLIENT NO-EVICT <ON | OFF>
/// ```
///
/// Shown in `CLIENT LIST`; no client is ever evicted here.
pub(crate) fn no_evict(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    switch(session, args, |session| &session.client.no_evict)
}

/// ```text
/// CLIENT NO-TOUCH <ON | OFF>
/// ```
///
/// With it on, no command of the client but `TOUCH` makes a topic count as used, as `OBJECT IDLETIME` tells it.
pub(crate) fn no_touch(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    switch(session, args, |session| &session.client.no_touch)
}

fn switch(
    session: &mut Session,
    args: &Args<'_>,
    which: fn(&Session) -> &AtomicBool,
) -> Result<(), CommandError> {
    let on = match args[2].to_ascii_lowercase().as_slice() {
        b"on" => true,
        b"off" => false,
        _ => return Err(CommandError::syntax()),
    };
    which(session).store(on, Ordering::Relaxed);
    session.reply().ok();
    Ok(())
}

/// ```text
/// CLIENT UNBLOCK client-id [TIMEOUT | ERROR]
/// ```
pub(crate) fn unblock(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let with_error = match args.get(3).map(|reason| reason.to_ascii_lowercase()).as_deref() {
        None | Some(b"timeout") => false,
        Some(b"error") => true,
        Some(_) => return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".into()),
    };
    if args.len() > 4 {
        return Err(CommandError::syntax());
    }
    let id = parse_i64(args[2]).ok_or_else(CommandError::not_integer)?;
    let client = u64::try_from(id).ok().and_then(|id| session.shared.clients.get(id));
    let unblocked = client.is_some_and(|client| client.unblock(with_error));
    session.reply().integer(i64::from(unblocked));
    Ok(())
}

/// ```text
/// CLIENT TRACKING <ON | OFF> [REDIRECT client-id] [PREFIX prefix ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]
/// ```
///
/// Always off: Wafka does not note what clients have read.
pub(crate) fn tracking(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    check_tracking_options(&args[3..])?;
    match args[2].to_ascii_lowercase().as_slice() {
        b"off" => {
            session.reply().ok();
            Ok(())
        }
        b"on" => {
            Err("ERR client-side caching is not supported: Wafka does not track what clients read".into())
        }
        _ => Err(CommandError::syntax()),
    }
}

fn check_tracking_options(options: &[&[u8]]) -> Result<(), CommandError> {
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match option.to_ascii_lowercase().as_slice() {
            b"redirect" => {
                let id = options.next().ok_or_else(CommandError::syntax)?;
                parse_i64(id).ok_or_else(CommandError::not_integer)?;
            }
            b"prefix" => drop(options.next().ok_or_else(CommandError::syntax)?),
            b"bcast" | b"optin" | b"optout" | b"noloop" => {}
            _ => return Err(CommandError::syntax()),
        }
    }
    Ok(())
}

/// ```text
/// CLIENT CACHING <YES | NO>
/// ```
pub(crate) fn caching(_session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    Err("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
         enabled"
        .into())
}

/// ```text
/// CLIENT TRACKINGINFO
/// ```
///
/// Tracking is always off.
pub(crate) fn tracking_info(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let mut reply = session.reply();
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(1);
    reply.bulk(b"off");
    reply.bulk(b"redirect");
    reply.integer(-1);
    reply.bulk(b"prefixes");
    reply.array(0);
    Ok(())
}

/// ```text
/// CLIENT GETREDIR
/// ```
pub(crate) fn get_redir(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    session.reply().integer(-1);
    Ok(())
}

/// ```text
/// CLIENT HELP
/// ```
pub(crate) fn help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    reply_help(
        session,
        "CLIENT",
        &[
            "GETNAME",
            "    Return the name of the current connection.",
            "GETREDIR",
            "    Return -1: tracking is not available.",
            "ID",
            "    Return the ID of the current connection.",
            "INFO",
            "    Return information about the current connection.",
            "KILL <ip:port>",
            "    Close the connection from that address.",
            "KILL <option> <value> [<option> <value> [...]]",
            "    Close connections by ID, TYPE, USER, ADDR, LADDR, MAXAGE; SKIPME (yes|no) spares this one.",
            "LIST [TYPE <type>] [ID <id> [<id> ...]]",
            "    Return information about client connections.",
            "NO-EVICT (ON|OFF)",
            "    Shown in LIST; no client is evicted.",
            "NO-TOUCH (ON|OFF)",
            "    With ON, commands of this connection, but for TOUCH, do not count as use of a topic.",
            "PAUSE <timeout> [WRITE|ALL]",
            "    Hold back commands for <timeout> milliseconds.",
            "REPLY (ON|OFF|SKIP)",
            "    Control the replies sent to the current connection.",
            "SETINFO <LIB-NAME|LIB-VER> <value>",
            "    Set information about the client's library.",
            "SETNAME <name>",
            "    Assign the name <name> to the current connection.",
            "TRACKING (ON|OFF)",
            "    Tracking is not available: ON is an error.",
            "TRACKINGINFO",
            "    Report that tracking is off.",
            "UNBLOCK <id> [TIMEOUT|ERROR]",
            "    Unblock the blocked client with that ID.",
            "UNPAUSE",
            "    End a PAUSE.",
        ],
    );
    Ok(())
}
