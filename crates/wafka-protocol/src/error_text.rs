//! The texts of Redis's own errors, code first, as [`ReplyWriter::error`](crate::ReplyWriter::error) takes them.
//!
//! Texts that quote what a client sent show bytes that are not UTF-8 as U+FFFD, so that a client which decodes errors
//! as UTF-8 can read them; Redis sends the bytes.

use std::borrow::Cow;

pub mod generic;
pub mod idempotence;
pub mod stream;

/// The option or its place in the command is wrong.
pub const SYNTAX: &str = "ERR syntax error";
/// A number is malformed or does not fit 64 bits.
pub const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
/// The key holds another type than the command is for.
pub const WRONGTYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
/// The key does not exist.
pub const NO_SUCH_KEY: &str = "ERR no such key";
/// A number does not fit the 32 bits that Redis has for it.
pub const INT_RANGE: &str = "ERR value is out of range, value must between -2147483648 and 2147483647";
/// `SELECT` of a database that is not configured.
pub const DB_INDEX: &str = "ERR DB index is out of range";
/// `SCAN` with a cursor that is not a number.
pub const INVALID_CURSOR: &str = "ERR invalid cursor";

/// `BLOCK` with something else than milliseconds.
pub const TIMEOUT_NOT_INTEGER: &str = "ERR timeout is not an integer or out of range";
/// `BLOCK` with a negative number of milliseconds.
pub const TIMEOUT_NEGATIVE: &str = "ERR timeout is negative";
/// `CLIENT UNBLOCK id ERROR` for the client it ends the waiting of.
pub const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// A command before the client has authenticated.
pub const NOAUTH: &str = "NOAUTH Authentication required.";
/// `HELLO` without `AUTH` before the client has authenticated.
pub const NOAUTH_HELLO: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
    HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol \
    version at the same time";
/// `AUTH` with a wrong user or password.
pub const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
/// `AUTH password` where no password is set.
pub const AUTH_WITHOUT_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the \
    default user. Are you sure your configuration is correct?";
/// `HELLO` with a protocol version other than 2 and 3.
pub const NOPROTO: &str = "NOPROTO unsupported protocol version";
/// `HELLO` with something else than a number.
pub const PROTO_NOT_INTEGER: &str = "ERR Protocol version is not an integer or out of range";
/// A client name with bytes it may not have.
pub const CLIENT_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";
/// `CLIENT KILL` of an address that nobody is connected from.
pub const NO_SUCH_CLIENT: &str = "ERR No such client";
/// The connections allowed are all taken.
pub const MAX_CLIENTS: &str = "ERR max number of clients reached";
/// A command about keys from a client in `MONITOR` mode, which to Redis is a kind of replica.
pub const MONITOR_KEYSPACE: &str = "ERR Replica can't interact with the keyspace";
/// A command of Redis Cluster.
pub const CLUSTER_DISABLED: &str = "ERR This instance has cluster support disabled";

/// The command of that full lower-case name from a client that listens to channels and speaks RESP2.
#[must_use]
pub fn subscriber_only(command: &str) -> String {
    format!(
        "ERR Can't execute '{command}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
         this context"
    )
}

/// A command that cannot be queued after `MULTI`.
pub const NO_MULTI: &str = "ERR Command not allowed inside a transaction";

/// What Redis quotes of a client's bytes at most.
const MAX_QUOTED: usize = 128;

/// The number of arguments is wrong for `command`, its full lower-case name: `xadd`, `client|id`.
#[must_use]
pub fn wrong_arity(command: &str) -> String {
    format!("ERR wrong number of arguments for '{command}' command")
}

/// `EXEC` refused with `error`.
#[must_use]
pub fn exec_abort(error: &str) -> String {
    let error = error.strip_prefix("ERR ").unwrap_or(error);
    format!("EXECABORT Transaction discarded because of: {error}")
}

/// `command` works in Redis's transactions, and not in Wafka's.
#[must_use]
pub fn not_in_transaction(command: &str) -> String {
    let command = command.replace('|', " ").to_ascii_uppercase();
    format!(
        "ERR {command} is not allowed inside a transaction: it could not be undone together with the others"
    )
}

/// There is no command `name`; up to 128 bytes of it and of the arguments after it are quoted.
#[must_use]
pub fn unknown_command(name: &[u8], args: &[&[u8]]) -> String {
    let mut text = format!("ERR unknown command '{}'", quoted(name, MAX_QUOTED));
    if args.is_empty() {
        return text;
    }
    text.push_str(", with args beginning with: ");
    // Redis counts the quotes and the blank of the arguments before, not those of the argument it cuts.
    let mut taken = 0;
    for arg in args {
        if taken >= MAX_QUOTED {
            break;
        }
        let shown = until_nul(arg, MAX_QUOTED - taken);
        text.push('\'');
        text.push_str(&String::from_utf8_lossy(shown));
        text.push_str("' ");
        taken += shown.len() + 3;
    }
    text
}

/// `command` has no subcommand `name`.
#[must_use]
pub fn unknown_subcommand(command: &str, name: &[u8]) -> String {
    let name = quoted(name, MAX_QUOTED);
    format!("ERR unknown subcommand '{name}'. Try {} HELP.", command.to_ascii_uppercase())
}

/// Subcommand `name` of `command` exists, but not with these arguments, where the arity alone does not show it.
#[must_use]
pub fn subcommand_syntax(command: &str, name: &[u8]) -> String {
    let (name, command) = (quoted(name, MAX_QUOTED), command.to_ascii_uppercase());
    format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try {command} HELP.")
}

/// `HELLO` with an option it does not know or that lacks its arguments.
#[must_use]
pub fn hello_option(option: &[u8]) -> String {
    format!("ERR Syntax error in HELLO option '{}'", quoted(option, usize::MAX))
}

/// `CLIENT SETINFO` of an attribute other than `LIB-NAME` and `LIB-VER`.
#[must_use]
pub fn client_info_option(option: &[u8]) -> String {
    format!("ERR Unrecognized option '{}'", quoted(option, usize::MAX))
}

/// `CLIENT SETINFO` of `attribute`, as the client wrote it, to a value with bytes it may not have.
#[must_use]
pub fn client_info_value(attribute: &str) -> String {
    format!("ERR {attribute} cannot contain spaces, newlines or special characters.")
}

/// `CONFIG SET` of a key that does not exist.
#[must_use]
pub fn config_unknown(key: &[u8]) -> String {
    format!("ERR Unknown option or number of arguments for CONFIG SET - '{}'", quoted(key, usize::MAX))
}

/// `CONFIG SET` of `key` to a value it cannot have, for `reason`.
#[must_use]
pub fn config_failed(key: &str, reason: &str) -> String {
    format!("ERR CONFIG SET failed (possibly related to argument '{key}') - {reason}")
}

/// The first bytes of `bytes`, to a NUL at most as C's `%.*s` does.
fn until_nul(bytes: &[u8], max_len: usize) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(max_len)];
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

/// [`until_nul`] as text.
fn quoted(bytes: &[u8], max_len: usize) -> Cow<'_, str> {
    String::from_utf8_lossy(until_nul(bytes, max_len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_commands_quote_their_arguments() {
        let with = "ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' ";
        assert_eq!(unknown_command(b"NOSUCH", &[b"a", b"b"]), with);
        assert_eq!(unknown_command(b"nosuch", &[]), "ERR unknown command 'nosuch'");
    }

    #[test]
    fn quotes_end_after_128_bytes() {
        let long = [b'x'; 200];
        let cut = "x".repeat(128);
        assert_eq!(unknown_command(&long, &[]), format!("ERR unknown command '{cut}'"));
        let text = unknown_command(b"c", &[&long, b"never shown"]);
        assert_eq!(text, format!("ERR unknown command 'c', with args beginning with: '{cut}' "));
        // 'aaa..' of 100 bytes takes 103 of the 128, so 25 remain for the next and none for the third.
        let text = unknown_command(b"c", &[&long[..100], &long, b"never shown"]);
        let (first, second) = ("x".repeat(100), "x".repeat(25));
        assert_eq!(text, format!("ERR unknown command 'c', with args beginning with: '{first}' '{second}' "));
        assert_eq!(
            unknown_subcommand("xgroup", &long),
            format!("ERR unknown subcommand '{cut}'. Try XGROUP HELP.")
        );
    }

    #[test]
    fn quotes_are_text() {
        assert_eq!(unknown_command(b"a\0b", &[]), "ERR unknown command 'a'");
        assert_eq!(unknown_command(b"\xff", &[]), "ERR unknown command '\u{fffd}'");
    }

    #[test]
    fn texts_with_names_are_redis_s() {
        assert_eq!(wrong_arity("client|id"), "ERR wrong number of arguments for 'client|id' command");
        assert_eq!(unknown_subcommand("xgroup", b"NOPE"), "ERR unknown subcommand 'NOPE'. Try XGROUP HELP.");
        assert_eq!(
            subcommand_syntax("XINFO", b"STREAM"),
            "ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP."
        );
        assert_eq!(hello_option(b"AUTH"), "ERR Syntax error in HELLO option 'AUTH'");
    }
}
