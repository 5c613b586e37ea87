//! `ACL`: the one user there is, and what commands are grouped by.

use std::fs::File;
use std::io::Read;

use sha2::{Digest, Sha256};
use wafka_protocol::error_text;
use wafka_protocol::parse::parse_i64;

use super::hello::USER;
use super::help::reply_help;
use crate::command::{Args, CATEGORIES, CommandError, Handler, categories, lookup, subcommand, table};
use crate::observe::AuthFailure;
use crate::session::Session;

/// Bits of a password that `ACL GENPASS` makes without being told how many.
const PASSWORD_BITS: u16 = 256;
/// The most bits it can be told.
const PASSWORD_BITS_MAX: u16 = 4096;
/// Entries that `ACL LOG` shows without a count.
const LOG_COUNT: usize = 10;

/// ```text
/// ACL WHOAMI
/// ```
pub(crate) fn who_am_i(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    session.reply().bulk(USER);
    Ok(())
}

/// ```text
/// ACL USERS
/// ```
pub(crate) fn users(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let mut reply = session.reply();
    reply.array(1);
    reply.bulk(USER);
    Ok(())
}

/// The hash by which Redis shows the password; none when there is none.
fn password_hash(session: &Session) -> Option<String> {
    let password = session.shared.settings.password();
    let hash = || Sha256::digest(password.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    (!password.is_empty()).then(hash)
}

/// ```text
/// ACL LIST
/// ```
pub(crate) fn list(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let rules = match password_hash(session) {
        None => "nopass sanitize-payload".to_owned(),
        Some(hash) => format!("sanitize-payload #{hash}"),
    };
    let line = format!("user default on {rules} ~* &* +@all");
    let mut reply = session.reply();
    reply.array(1);
    reply.bulk(line.as_bytes());
    Ok(())
}

/// ```text
/// ACL GETUSER username
/// ```
pub(crate) fn get_user(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    if args[2] != USER {
        session.reply().null_array();
        return Ok(());
    }
    let hash = password_hash(session);
    let flags: &[&str] =
        if hash.is_none() { &["on", "nopass", "sanitize-payload"] } else { &["on", "sanitize-payload"] };
    let mut reply = session.reply();
    reply.map(6);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(hash.iter().len());
    hash.iter().for_each(|hash| reply.bulk(hash.as_bytes()));
    for (name, rules) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        reply.bulk(name.as_bytes());
        reply.bulk(rules.as_bytes());
    }
    reply.bulk(b"selectors");
    reply.array(0);
    Ok(())
}

/// ```text
/// ACL CAT [category]
/// ```
pub(crate) fn cat(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let names: Vec<&str> = match args {
        [_, _] => CATEGORIES.to_vec(),
        [_, _, category] => {
            let known = CATEGORIES.iter().find(|known| known.as_bytes().eq_ignore_ascii_case(category));
            let known = known.ok_or_else(|| {
                CommandError::from(format!("ERR Unknown category '{}'", String::from_utf8_lossy(category)))
            })?;
            let of = |category: &&str| category[1..] == **known;
            let commands = table::commands().iter().filter(|command| categories(command).iter().any(of));
            commands.map(|command| command.full_name).collect()
        }
        _ => return Err(error_text::subcommand_syntax("ACL", args[1]).into()),
    };
    let mut reply = session.reply();
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(())
}

/// ```text
/// ACL DRYRUN username command [arg ...]
/// ```
///
/// The one user may do everything, so this checks the command's name and the number of its arguments.
pub(crate) fn dry_run(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let quoted = |arg: &[u8]| String::from_utf8_lossy(arg).into_owned();
    if args[2] != USER {
        return Err(format!("ERR User '{}' not found", quoted(args[2])).into());
    }
    let request = &args[3..];
    let command = lookup(request[0]).and_then(|command| match (command.handler, request.get(1)) {
        (Handler::Container(_), Some(name)) => subcommand(command, name),
        _ => Some(command),
    });
    let Some(command) = command else {
        return Err(format!("ERR Command '{}' not found", quoted(request[0])).into());
    };
    if !command.accepts(request.len()) {
        return Err(error_text::wrong_arity(command.full_name).into());
    }
    session.reply().ok();
    Ok(())
}

/// ```text
/// ACL GENPASS [bits]
/// ```
///
/// Random bits in hexadecimal digits, from the system's generator.
pub(crate) fn gen_pass(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let digits = usize::from(password_bits(args)?.div_ceil(4));
    let mut bytes = [0; PASSWORD_BITS_MAX as usize / 8];
    let bytes = &mut bytes[..digits.div_ceil(2)];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(bytes))
        .map_err(|error| CommandError::from(format!("ERR the system gives no random bytes: {error}")))?;
    let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    session.reply().bulk(text.as_bytes());
    Ok(())
}

fn password_bits(args: &Args<'_>) -> Result<u16, CommandError> {
    let bits = match args {
        [_, _] => return Ok(PASSWORD_BITS),
        [_, _, bits] => parse_i64(bits).ok_or_else(CommandError::not_integer)?,
        _ => return Err(error_text::subcommand_syntax("ACL", args[1]).into()),
    };
    u16::try_from(bits).ok().filter(|bits| (1..=PASSWORD_BITS_MAX).contains(bits)).ok_or(
        "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096"
            .into(),
    )
}

/// ```text
/// ACL LOG [count | RESET]
/// ```
///
/// Failed attempts to authenticate, the latest first.
pub(crate) fn log(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let log = &session.shared.observers.auth_log;
    let count = match args {
        [_, _] => LOG_COUNT,
        [_, _, reset] if reset.eq_ignore_ascii_case(b"reset") => {
            log.clear();
            session.reply().ok();
            return Ok(());
        }
        [_, _, count] => {
            usize::try_from(parse_i64(count).ok_or_else(CommandError::not_integer)?).unwrap_or(0)
        }
        _ => return Err(error_text::subcommand_syntax("ACL", args[1]).into()),
    };
    let (entries, now_ms) = (log.latest(count), session.shared.now_ms());
    session.reply().array(entries.len());
    for entry in entries {
        write_failure(session, &entry, now_ms);
    }
    Ok(())
}

fn write_failure(session: &mut Session, entry: &AuthFailure, now_ms: u64) {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut reply = session.reply();
    reply.map(10);
    reply.bulk(b"count");
    reply.integer(number(entry.count));
    for (name, value) in [
        ("reason", &b"auth"[..]),
        ("context", b"toplevel"),
        ("object", &entry.command),
        ("username", &entry.user),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(value);
    }
    reply.bulk(b"age-seconds");
    reply.double(now_ms.saturating_sub(entry.last_ms) as f64 / 1000.0);
    reply.bulk(b"client-info");
    reply.bulk(entry.client.as_bytes());
    for (name, value) in [
        ("entry-id", entry.id),
        ("timestamp-created", entry.first_ms),
        ("timestamp-last-updated", entry.last_ms),
    ] {
        reply.bulk(name.as_bytes());
        reply.integer(number(value));
    }
}

/// `ACL SETUSER`, `ACL LOAD`, `ACL SAVE`.
pub(crate) fn one_user(_session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    Err("ERR Wafka has one user, 'default', who may do everything: CONFIG SET requirepass sets the password, and \
         server.requirepass in the configuration keeps it"
        .into())
}

/// ```text
/// ACL DELUSER username [username ...]
/// ```
pub(crate) fn del_user(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    if args[2..].contains(&USER) {
        return Err("ERR The 'default' user cannot be removed".into());
    }
    session.reply().integer(0);
    Ok(())
}

/// ```text
/// ACL HELP
/// ```
pub(crate) fn help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    reply_help(
        session,
        "ACL",
        &[
            "CAT [<category>]",
            "    List the commands of a <category>, or the categories when none is named.",
            "DELUSER <username> [<username> ...]",
            "    Return 0: there is one user, who cannot be removed.",
            "DRYRUN <username> <command> [<arg> ...]",
            "    Return whether the user can execute the command, without executing it.",
            "GETUSER <username>",
            "    Return the details of the user.",
            "GENPASS [<bits>]",
            "    Return a random password of 256 bits, or of <bits>.",
            "LIST",
            "    Return the user in the form of Redis's configuration.",
            "LOG [<count> | RESET]",
            "    Return failed attempts to authenticate, or forget them.",
            "USERS",
            "    Return the names of all users: default.",
            "WHOAMI",
            "    Return the name of the connection's user.",
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_a_password() {
        let bits = |args: &[&[u8]]| password_bits(args).map_err(|error| error.to_string());
        assert_eq!(bits(&[b"ACL", b"GENPASS"]), Ok(256));
        assert_eq!(bits(&[b"ACL", b"GENPASS", b"5"]), Ok(5));
        for bad in ["0", "-1", "4097"] {
            assert!(bits(&[b"ACL", b"GENPASS", bad.as_bytes()]).unwrap_err().contains("up to 4096"), "{bad}");
        }
        assert_eq!(
            bits(&[b"ACL", b"GENPASS", b"x"]),
            Err("ERR value is not an integer or out of range".to_owned())
        );
    }
}
