//! `PLUGIN`.

use wafka_plugin::Plugin;
use wafka_plugin::file::hex;
use wafka_protocol::ReplyWriter;

use super::describe::{count, key};
use super::help::reply_help;
use crate::command::{Args, CommandError};
use crate::session::Session;

/// ```text
/// PLUGIN LIST
/// ```
///
/// The plugins loaded, in the order in which the configuration names them.
pub(crate) fn list(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let shared = std::sync::Arc::clone(&session.shared);
    let mut reply = session.reply();
    reply.array(shared.plugins.all().len());
    for plugin in shared.plugins.all() {
        write_plugin(&mut reply, plugin);
    }
    Ok(())
}

/// ```text
/// PLUGIN HELP
/// ```
pub(crate) fn help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    reply_help(
        session,
        "PLUGIN",
        &["LIST", "    List the plugins loaded: name, version, kind, file, checksum, ABI."],
    );
    Ok(())
}

fn write_plugin(reply: &mut ReplyWriter<'_>, plugin: &Plugin) {
    let info = plugin.info();
    reply.map(9);
    key(reply, "name").bulk(info.name.as_bytes());
    key(reply, "version").bulk(info.version.as_bytes());
    key(reply, "kind").bulk(info.kind.as_str().as_bytes());
    key(reply, "description").bulk(info.description.as_bytes());
    key(reply, "file").bulk(info.file.as_os_str().as_encoded_bytes());
    key(reply, "sha256").bulk(hex(&info.sha256).as_bytes());
    key(reply, "abi").bulk(format!("{}.{}", info.abi.0, info.abi.1).as_bytes());
    count(key(reply, "slow_calls"), plugin.slow_calls());
    count(key(reply, "panics"), plugin.panics());
}
