//! The replies of `HELP` subcommands.

use crate::session::Session;

/// Answers what `command` can do, in Redis's form: a line each, `lines` in pairs of subcommand and indented
/// explanation.
pub(crate) fn reply_help(session: &mut Session, command: &str, lines: &[&str]) {
    let mut reply = session.reply();
    reply.array(lines.len() + 3);
    reply.simple(&format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        reply.simple(line);
    }
    reply.simple("HELP");
    reply.simple("    Print this help.");
}
