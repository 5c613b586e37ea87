//! `COMMAND`, but for `DOCS`: what the table says, in Redis's form.

use wafka_protocol::ReplyWriter;
use wafka_protocol::parse::glob_match;

use super::help::reply_help;
use crate::command::{
    Args, Command, CommandError, CommandSpec, Keys, KeysOf, categories, lookup, subcommand, table,
};
use crate::session::Session;

/// ```text
/// COMMAND
/// ```
pub(crate) fn all(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let mut reply = session.reply();
    reply.array(table::top_level().len());
    for command in table::top_level() {
        write_info(&mut reply, command);
    }
    Ok(())
}

/// ```text
/// COMMAND COUNT
/// ```
pub(crate) fn count(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    session.reply().integer(table::top_level().len().try_into().unwrap_or(i64::MAX));
    Ok(())
}

/// ```text
/// COMMAND INFO [command-name [command-name ...]]
/// ```
pub(crate) fn info(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    if args.len() == 2 {
        return all(session, args);
    }
    let mut reply = session.reply();
    reply.array(args.len() - 2);
    for name in &args[2..] {
        match find(name) {
            Some(command) => write_info(&mut reply, command),
            None => reply.null(),
        }
    }
    Ok(())
}

/// The command or subcommand of that full name, in any case: `xadd`, `client|id`.
pub(super) fn find(name: &[u8]) -> Option<&'static Command> {
    match name.iter().position(|byte| *byte == b'|') {
        None => lookup(name),
        Some(bar) => subcommand(lookup(&name[..bar])?, &name[bar + 1..]),
    }
}

/// ```text
/// COMMAND LIST [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]
/// ```
pub(crate) fn list(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let is = |arg: &[u8], word: &str| arg.eq_ignore_ascii_case(word.as_bytes());
    let names: Vec<&str> = match &args[2..] {
        [] => table::top_level().iter().map(|command| command.name).collect(),
        [filter, by, value] if is(filter, "filterby") => {
            let wanted = |command: &&Command| match () {
                () if is(by, "pattern") => glob_match(value, command.full_name.as_bytes(), true),
                () if is(by, "aclcat") => {
                    categories(command).into_iter().any(|category| is(value, &category[1..]))
                }
                // There are no modules.
                () => false,
            };
            if !["module", "aclcat", "pattern"].into_iter().any(|word| is(by, word)) {
                return Err(CommandError::syntax());
            }
            table::commands().iter().filter(wanted).map(|command| command.full_name).collect()
        }
        _ => return Err(CommandError::syntax()),
    };
    let mut reply = session.reply();
    reply.array(names.len());
    for name in names {
        reply.bulk(name.as_bytes());
    }
    Ok(())
}

/// ```text
/// COMMAND GETKEYS command [arg [arg ...]]
/// ```
pub(crate) fn get_keys(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let (_, keys) = keys_of(&args[2..])?;
    let mut reply = session.reply();
    reply.array(keys.len());
    for key in keys {
        reply.bulk(key);
    }
    Ok(())
}

/// ```text
/// COMMAND GETKEYSANDFLAGS command [arg [arg ...]]
/// ```
pub(crate) fn get_keys_and_flags(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let (command, keys) = keys_of(&args[2..])?;
    let mut reply = session.reply();
    reply.array(keys.len());
    let mut flags = command.key_flags.split(';');
    let mut key_flags = "";
    for key in keys {
        // The last are those of all keys that follow.
        key_flags = flags.next().unwrap_or(key_flags);
        reply.array(2);
        reply.bulk(key);
        write_key_flags(&mut reply, key_flags);
    }
    Ok(())
}

/// What a request is for, and its keys.
fn keys_of<'a>(request: &Args<'a>) -> Result<(&'static Command, Vec<&'a [u8]>), CommandError> {
    let invalid = || CommandError::from("ERR Invalid command specified");
    let command = lookup(request[0]).ok_or_else(invalid)?;
    let command = match request.get(1) {
        Some(name) if !command.children().is_empty() => subcommand(command, name).ok_or_else(invalid)?,
        _ => command,
    };
    if command.keys == Keys::None {
        return Err("ERR The command has no key arguments".into());
    }
    if !command.accepts(request.len()) {
        return Err("ERR Invalid number of arguments specified for command".into());
    }
    let keys = KeysOf::find(command.keys, request).ok_or("ERR Invalid arguments specified for command")?;
    Ok((command, keys.iter().collect()))
}

/// The ten elements of `COMMAND INFO`.
fn write_info(reply: &mut ReplyWriter<'_>, command: &Command) {
    let (first, last, step) = match command.keys {
        Keys::Range { first, last, step } => (first, last, step),
        Keys::None | Keys::Streams => (0, 0, 0),
    };
    reply.array(10);
    reply.bulk(command.full_name.as_bytes());
    reply.integer(i64::from(command.arity));
    write_set(reply, command.flags.names().collect(), |reply, text| reply.simple(text));
    for place in [first, last, step] {
        reply.integer(i64::from(place));
    }
    write_set(reply, categories(command), |reply, text| reply.simple(text));
    let tips = command.tips.split_ascii_whitespace().collect();
    write_set(reply, tips, |reply, tip| reply.bulk(tip.as_bytes()));
    write_key_specs(reply, command);
    reply.set(command.children().len());
    for child in command.children() {
        write_info(reply, child);
    }
}

fn write_set(reply: &mut ReplyWriter<'_>, elements: Vec<&str>, write: fn(&mut ReplyWriter<'_>, &str)) {
    reply.set(elements.len());
    for element in elements {
        write(reply, element);
    }
}

fn write_key_flags(reply: &mut ReplyWriter<'_>, key_flags: &str) {
    write_set(reply, key_flags.split_ascii_whitespace().collect(), |reply, text| reply.simple(text));
}

/// What Redis notes of the key of `XADD`.
const XADD_KEY_NOTES: &str = "UPDATE instead of INSERT because of the optional trimming feature";

/// Redis's key specifications (<https://redis.io/docs/latest/develop/reference/key-specs/>).
fn write_key_specs(reply: &mut ReplyWriter<'_>, command: &CommandSpec) {
    if command.keys == Keys::None {
        reply.set(0);
        return;
    }
    let flags: Vec<&str> = command.key_flags.split(';').collect();
    reply.set(flags.len());
    for (at, key_flags) in (0..).zip(&flags) {
        match command.keys {
            // Keys that differ are specified one by one.
            Keys::Range { first, step, .. } if flags.len() > 1 => {
                let first = first + at * step;
                write_key_spec(reply, command, key_flags, Keys::Range { first, last: first, step });
            }
            keys => write_key_spec(reply, command, key_flags, keys),
        }
    }
}

fn write_key_spec(reply: &mut ReplyWriter<'_>, command: &CommandSpec, key_flags: &str, keys: Keys) {
    let notes = (command.full_name == "xadd").then_some(XADD_KEY_NOTES);
    reply.map(3 + notes.iter().len());
    if let Some(notes) = notes {
        reply.bulk(b"notes");
        reply.bulk(notes.as_bytes());
    }
    reply.bulk(b"flags");
    write_key_flags(reply, key_flags);
    let (search, found) = match keys {
        Keys::Range { first, last, step } => {
            // Relative to the first key, or from the end when negative.
            let last = if last < 0 { last } else { last - first };
            (Search::Index(first), [("lastkey", last), ("keystep", step), ("limit", 0)])
        }
        Keys::None | Keys::Streams => (Search::Streams, [("lastkey", -1), ("keystep", 1), ("limit", 2)]),
    };
    reply.bulk(b"begin_search");
    reply.map(2);
    reply.bulk(b"type");
    match search {
        Search::Index(index) => {
            reply.bulk(b"index");
            reply.bulk(b"spec");
            reply.map(1);
            reply.bulk(b"index");
            reply.integer(i64::from(index));
        }
        Search::Streams => {
            reply.bulk(b"keyword");
            reply.bulk(b"spec");
            reply.map(2);
            reply.bulk(b"keyword");
            reply.bulk(b"STREAMS");
            reply.bulk(b"startfrom");
            // Behind the group and the consumer, who may have that name.
            reply.integer(if command.name == "xreadgroup" { 4 } else { 1 });
        }
    }
    reply.bulk(b"find_keys");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"range");
    reply.bulk(b"spec");
    reply.map(found.len());
    for (name, number) in found {
        reply.bulk(name.as_bytes());
        reply.integer(i64::from(number));
    }
}

/// Where the keys begin.
enum Search {
    Index(i16),
    Streams,
}

/// ```text
/// COMMAND HELP
/// ```
pub(crate) fn help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    reply_help(
        session,
        "COMMAND",
        &[
            "(no subcommand)",
            "    Return details about all commands.",
            "COUNT",
            "    Return the total number of commands in this server.",
            "DOCS [<command-name> ...]",
            "    Return documentation details about multiple commands.",
            "GETKEYS <full-command>",
            "    Return the keys from a full command.",
            "GETKEYSANDFLAGS <full-command>",
            "    Return the keys from a full command, and what it does with them.",
            "INFO [<command-name> ...]",
            "    Return details about multiple commands.",
            "LIST [FILTERBY (MODULE|ACLCAT|PATTERN) <value>]",
            "    Return a list of all commands in this server.",
        ],
    );
    Ok(())
}
