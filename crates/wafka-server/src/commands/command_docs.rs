//! `COMMAND DOCS`.

use wafka_protocol::ReplyWriter;

use super::command_info::find;
use crate::command::syntax::{self, Argument};
use crate::command::{Args, Command, CommandError, Keys, table};
use crate::session::Session;

/// ```text
/// COMMAND DOCS [command-name [command-name ...]]
/// ```
///
/// Names that do not exist are left out.
pub(crate) fn docs(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let commands: Vec<&Command> = match &args[2..] {
        [] => table::top_level().iter().collect(),
        names => names.iter().filter_map(|name| find(name)).collect(),
    };
    let mut reply = session.reply();
    reply.map(commands.len());
    for command in commands {
        write_docs(&mut reply, command);
    }
    Ok(())
}

/// A command's name and its documentation.
fn write_docs(reply: &mut ReplyWriter<'_>, command: &Command) {
    let arguments = syntax::parse(command.syntax);
    let texts = [("summary", command.summary), ("since", command.since), ("group", command.group.name())];
    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let children = command.children();
    reply.bulk(command.full_name.as_bytes());
    reply.map(texts.clone().count() + usize::from(!arguments.is_empty()) + usize::from(!children.is_empty()));
    for (name, text) in texts {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        write_arguments(reply, &arguments, command.keys != Keys::None);
    }
    if !children.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(children.len());
        for child in children {
            write_docs(reply, child);
        }
    }
}

fn write_arguments(reply: &mut ReplyWriter<'_>, arguments: &[Argument], has_keys: bool) {
    reply.array(arguments.len());
    for argument in arguments {
        let flags: Vec<&str> = [(argument.optional, "optional"), (argument.multiple, "multiple")]
            .into_iter()
            .filter_map(|(set, name)| set.then_some(name))
            .collect();
        let is_key = argument.kind == "key" && has_keys;
        let displayed = argument.arguments.is_empty() && argument.kind != "pure-token";
        let parts =
            [is_key, displayed, argument.token.is_some(), !flags.is_empty(), !argument.arguments.is_empty()];
        reply.map(2 + parts.into_iter().filter(|part| *part).count());
        write_text(reply, "name", &argument.name);
        write_text(reply, "type", &argument.kind);
        if displayed {
            write_text(reply, "display_text", &argument.name);
        }
        if is_key {
            reply.bulk(b"key_spec_index");
            reply.integer(0);
        }
        if let Some(token) = &argument.token {
            write_text(reply, "token", token);
        }
        if !flags.is_empty() {
            reply.bulk(b"flags");
            reply.set(flags.len());
            for flag in flags {
                reply.simple(flag);
            }
        }
        if !argument.arguments.is_empty() {
            reply.bulk(b"arguments");
            write_arguments(reply, &argument.arguments, has_keys);
        }
    }
}

fn write_text(reply: &mut ReplyWriter<'_>, name: &str, text: &str) {
    reply.bulk(name.as_bytes());
    reply.bulk(text.as_bytes());
}
