//! `LATENCY`: spikes, and how long commands take.

use wafka_protocol::ReplyWriter;

use super::command_info::find;
use super::help::reply_help;
use super::latency_report::{doctor as diagnose, graph as draw};
use crate::command::{Args, Command, CommandError, table};
use crate::observe::Sample;
use crate::session::Session;

/// ```text
/// LATENCY LATEST
/// ```
///
/// Of each kind of event: its name, the time of the latest spike, its milliseconds, those of the longest.
pub(crate) fn latest(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let events = session.shared.observers.latency.events();
    let mut reply = session.reply();
    reply.array(events.len());
    for (event, spikes) in events {
        let last = spikes.samples.back().copied().unwrap_or(Sample { at_secs: 0, millis: 0 });
        reply.array(4);
        reply.bulk(event.as_bytes());
        for number in [last.at_secs, last.millis, spikes.max_millis] {
            integer(&mut reply, number);
        }
    }
    Ok(())
}

/// ```text
/// LATENCY HISTORY event
/// ```
pub(crate) fn history(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let found = session.shared.observers.latency.event(args[2]);
    let samples = found.map(|(_, spikes)| spikes.samples).unwrap_or_default();
    let mut reply = session.reply();
    reply.array(samples.len());
    for sample in samples {
        reply.array(2);
        integer(&mut reply, sample.at_secs);
        integer(&mut reply, sample.millis);
    }
    Ok(())
}

/// ```text
/// LATENCY RESET [event ...]
/// ```
pub(crate) fn reset(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let cleared = session.shared.observers.latency.clear(&args[2..]);
    integer(&mut session.reply(), cleared as u64);
    Ok(())
}

/// ```text
/// LATENCY GRAPH event
/// ```
pub(crate) fn graph(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let found = session.shared.observers.latency.event(args[2]);
    let (event, spikes) = found.ok_or_else(|| {
        CommandError::from(format!(
            "ERR No samples available for event '{}'",
            String::from_utf8_lossy(args[2])
        ))
    })?;
    let drawn = draw(event, &spikes, session.shared.now_ms() / 1000);
    session.reply().verbatim("txt", drawn.as_bytes());
    Ok(())
}

/// ```text
/// LATENCY DOCTOR
/// ```
pub(crate) fn doctor(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let latency = &session.shared.observers.latency;
    let report = diagnose(latency.threshold_millis(), &latency.events());
    session.reply().verbatim("txt", report.as_bytes());
    Ok(())
}

/// ```text
/// LATENCY HISTOGRAM [command ...]
/// ```
///
/// Of each command that was executed: how often, and how many executions took no longer than so many microseconds.
pub(crate) fn histogram(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let mut asked: Vec<&'static Command> = Vec::new();
    if args.len() == 2 {
        asked.extend(table::commands());
    }
    for command in args[2..].iter().filter_map(|name| find(name)) {
        asked.push(command);
        asked.extend(command.children());
    }
    let stats = &session.shared.stats;
    let of =
        |command: &'static Command| (command.full_name, stats.command(command.index).latencies.cumulated());
    let found: Vec<_> = asked.into_iter().map(of).filter(|(_, bounds)| !bounds.is_empty()).collect();
    let mut reply = session.reply();
    reply.map(found.len());
    for (name, bounds) in found {
        reply.bulk(name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        integer(&mut reply, bounds.last().map_or(0, |(_, executions)| *executions));
        reply.bulk(b"histogram_usec");
        reply.map(bounds.len());
        for (micros, executions) in bounds {
            integer(&mut reply, micros);
            integer(&mut reply, executions);
        }
    }
    Ok(())
}

fn integer(reply: &mut ReplyWriter<'_>, number: u64) {
    reply.integer(i64::try_from(number).unwrap_or(i64::MAX));
}

/// ```text
/// LATENCY HELP
/// ```
pub(crate) fn help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    reply_help(
        session,
        "LATENCY",
        &[
            "DOCTOR",
            "    Return a report on latency for people.",
            "GRAPH <event>",
            "    Return a drawing of the spikes of the <event> class.",
            "HISTORY <event>",
            "    Return the spikes of the <event> class, one per second at most.",
            "LATEST",
            "    Return the latest spike of every event class.",
            "RESET [<event> ...]",
            "    Forget the spikes of these <event> classes (default: of all).",
            "HISTOGRAM [COMMAND ...]",
            "    Return how many executions of commands took no longer than what, of all without any named.",
        ],
    );
    Ok(())
}
