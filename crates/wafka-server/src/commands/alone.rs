//! What Redis has for replication and modules, of which there are none here.

use super::help::reply_help;
use crate::command::{Args, CommandError};
use crate::session::Session;

/// ```text
/// REPLICAOF <host port | NO ONE>
/// ```
///
/// This is no replica already.
pub(crate) fn replica_of(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    if args[1].eq_ignore_ascii_case(b"no") && args[2].eq_ignore_ascii_case(b"one") {
        session.reply().ok();
        return Ok(());
    }
    Err("ERR Wafka does not replicate: it cannot become a replica".into())
}

/// ```text
/// FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]
/// ```
pub(crate) fn failover(_session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    match args[1..] {
        [option] if option.eq_ignore_ascii_case(b"abort") => Err("ERR No failover in progress.".into()),
        [] => Err("ERR FAILOVER requires connected replicas.".into()),
        [option, ..] if option.eq_ignore_ascii_case(b"to") || option.eq_ignore_ascii_case(b"timeout") => {
            Err("ERR FAILOVER requires connected replicas.".into())
        }
        _ => Err(CommandError::syntax()),
    }
}

/// ```text
/// MODULE LIST
/// ```
///
/// Redis's modules are not for Wafka; `PLUGIN LIST` tells of its plugins.
pub(crate) fn modules(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    session.reply().array(0);
    Ok(())
}

/// `MODULE LOAD`, `MODULE LOADEX`, `MODULE UNLOAD`.
pub(crate) fn no_modules(_session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    Err("ERR Wafka loads no modules of Redis".into())
}

/// ```text
/// MODULE HELP
/// ```
pub(crate) fn module_help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    reply_help(session, "MODULE", &["LIST", "    Return the modules loaded: none."]);
    Ok(())
}

/// ```text
/// LOLWUT [VERSION version]
/// ```
pub(crate) fn lolwut(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let text = format!("Wafka ver. {}\n", crate::shared::WAFKA_VERSION);
    session.reply().verbatim("txt", text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::lookup;

    #[test]
    fn both_names_of_a_replica_are_known() {
        assert!(lookup(b"REPLICAOF").is_some() && lookup(b"slaveof").is_some());
    }
}
