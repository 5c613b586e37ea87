//! Commands about the server: `TIME`, `SHUTDOWN`, `DEBUG SLEEP`, `MEMORY`, and those of snapshots, replicas and
//! clusters, which are answered honestly.

use std::time::Duration;

use wafka_protocol::error_text;
use wafka_protocol::parse::parse_i64;

use super::help::reply_help;
use super::process;
use crate::command::{Args, CommandError, HandlerFuture};
use crate::session::{Interrupt, Session};

/// The longest `DEBUG SLEEP`.
const SLEEP_SECS_MAX: f64 = 3600.0;

/// ```text
/// TIME
/// ```
pub(crate) fn time(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let now_ms = session.shared.now_ms();
    let mut reply = session.reply();
    reply.array(2);
    reply.bulk((now_ms / 1000).to_string().as_bytes());
    reply.bulk((now_ms % 1000 * 1000).to_string().as_bytes());
    Ok(())
}

/// ```text
/// SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]
/// ```
///
/// Everything accepted is committed and synced in any case, so the options change nothing. Closes the connection
/// instead of a reply.
pub(crate) fn shutdown(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let (mut save, mut nosave, mut abort, mut others) = (false, false, false, false);
    for option in &args[1..] {
        match option.to_ascii_lowercase().as_slice() {
            b"save" => save = true,
            b"nosave" => nosave = true,
            b"now" | b"force" => others = true,
            b"abort" => abort = true,
            _ => return Err(CommandError::syntax()),
        }
    }
    if save && nosave || abort && (save || nosave || others) {
        return Err(CommandError::syntax());
    }
    if abort {
        return Err("ERR No shutdown in progress.".into());
    }
    tracing::info!(client = session.client.id, "shutdown asked for by a client");
    session.shared.shutdown.ask();
    Err(CommandError::Closed)
}

/// ```text
/// WAIT numreplicas timeout
/// ```
///
/// There are no replicas, and none will come while one waits.
pub(crate) fn wait(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    parse_i64(args[1]).ok_or_else(CommandError::not_integer)?;
    timeout(args[2])?;
    session.reply().integer(0);
    Ok(())
}

fn timeout(arg: &[u8]) -> Result<(), CommandError> {
    match parse_i64(arg) {
        Some(0..) => Ok(()),
        Some(_) => Err(error_text::TIMEOUT_NEGATIVE.into()),
        None => Err(error_text::TIMEOUT_NOT_INTEGER.into()),
    }
}

/// ```text
/// WAITAOF numlocal numreplicas timeout
/// ```
///
/// What was answered before is on disk when every event is synced; else nobody has waited for that. What is in memory
/// only never is.
pub(crate) fn wait_aof(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let local = parse_i64(args[1]).ok_or_else(CommandError::not_integer)?;
    parse_i64(args[2]).ok_or_else(CommandError::not_integer)?;
    timeout(args[3])?;
    if !(0..=1).contains(&local) {
        return Err("ERR value is out of range, must be between 0 and 1".into());
    }
    let engine = session.engine();
    let synced = engine.backends().is_durable() && engine.is_synced();
    let mut reply = session.reply();
    reply.array(2);
    reply.integer(i64::from(synced));
    reply.integer(0);
    Ok(())
}

/// ```text
/// LASTSAVE
/// ```
///
/// There are no snapshots; as in a Redis that made none, this is when the server started.
pub(crate) fn last_save(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let secs = session.shared.started_ms / 1000;
    session.reply().integer(secs.try_into().unwrap_or(i64::MAX));
    Ok(())
}

/// `SAVE`, `BGSAVE`, `BGREWRITEAOF`.
pub(crate) fn no_snapshots(_session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    Err("ERR Wafka makes no snapshots: every event it has answered is in its partition's file already".into())
}

/// ```text
/// ROLE
/// ```
pub(crate) fn role(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let mut reply = session.reply();
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(0);
    reply.array(0);
    Ok(())
}

/// `CLUSTER`, `READONLY`, `READWRITE`.
pub(crate) fn no_cluster(_session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    Err(error_text::CLUSTER_DISABLED.into())
}

/// ```text
/// DEBUG SLEEP seconds
/// ```
///
/// Delays this connection only, whereas Redis stops.
pub(crate) fn debug_sleep<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let secs = std::str::from_utf8(args[2]).ok().and_then(|secs| secs.parse::<f64>().ok());
        let secs = secs
            .filter(|secs| (0.0..=SLEEP_SECS_MAX).contains(secs))
            .ok_or(CommandError::from("ERR value is not a valid number of seconds from 0 to 3600"))?;
        let sleep = tokio::time::sleep(Duration::from_secs_f64(secs));
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                biased;
                interrupt = session.interrupted() => {
                    if interrupt == Interrupt::Closed {
                        return Err(CommandError::Closed);
                    }
                }
                () = &mut sleep => break,
            }
        }
        session.reply().ok();
        Ok(())
    })
}

/// ```text
/// DEBUG HELP
/// ```
pub(crate) fn debug_help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let lines = ["SLEEP <seconds>", "    Delay this connection for <seconds>. Decimals allowed."];
    reply_help(session, "DEBUG", &lines);
    Ok(())
}

/// ```text
/// MEMORY DOCTOR
/// ```
pub(crate) fn memory_doctor(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let report = format!(
        "Wafka keeps no events in memory beyond the recent ones, {} bytes of them at most (storage.tail_bytes). \
         The process has {} bytes resident.",
        session.shared.config.storage.tail_bytes.get(),
        process::usage().resident_bytes,
    );
    session.reply().verbatim("txt", report.as_bytes());
    Ok(())
}

/// ```text
/// MEMORY STATS
/// ```
///
/// Those of Redis's numbers that there are here.
pub(crate) fn memory_stats(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let usage = process::usage();
    let clients: usize = session
        .shared
        .clients
        .all()
        .iter()
        .map(|client| client.query_capacity.load(std::sync::atomic::Ordering::Relaxed))
        .sum();
    let keys: usize = (0..session.shared.config.server.databases)
        .filter_map(|db| Some(session.shared.engine()?.topic_count(wafka_core::Database(db))))
        .sum();
    let numbers = [
        ("peak.allocated", usage.resident_peak_bytes),
        ("total.allocated", usage.resident_bytes),
        ("clients.normal", clients as u64),
        ("keys.count", keys as u64),
    ];
    let mut reply = session.reply();
    reply.map(numbers.len());
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(number.try_into().unwrap_or(i64::MAX));
    }
    Ok(())
}

/// ```text
/// MEMORY PURGE
/// ```
///
/// There is nothing to purge: the system's allocator gives memory back as it becomes free.
pub(crate) fn memory_purge(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    session.reply().ok();
    Ok(())
}

/// ```text
/// MEMORY MALLOC-STATS
/// ```
pub(crate) fn malloc_stats(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    session.reply().verbatim("txt", b"Stats not supported for the current allocator");
    Ok(())
}

/// ```text
/// MEMORY HELP
/// ```
pub(crate) fn memory_help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    reply_help(
        session,
        "MEMORY",
        &[
            "DOCTOR",
            "    Return memory problems reports.",
            "MALLOC-STATS",
            "    Return that the allocator keeps no statistics.",
            "PURGE",
            "    Return OK: memory is given back as it becomes free.",
            "STATS",
            "    Return information about the memory usage of the server.",
            "USAGE <key> [SAMPLES <count>]",
            "    Return memory in bytes used by <key> and its value.",
        ],
    );
    Ok(())
}
