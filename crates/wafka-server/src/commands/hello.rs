//! `HELLO` and `AUTH`.

use wafka_protocol::parse::parse_i64;
use wafka_protocol::{RespVersion, error_text};

use super::client::check_name;
use super::client_list::line as client_line;
use crate::command::{Args, CommandError};
use crate::session::Session;
use crate::shared::REDIS_VERSION;

/// The only user there is.
pub(super) const USER: &[u8] = b"default";

/// ```text
/// AUTH [username] password
/// ```
pub(crate) fn auth(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    match args {
        [_, _] if !session.shared.settings.password_required() => {
            return Err(error_text::AUTH_WITHOUT_PASSWORD.into());
        }
        [_, password] => authenticate(session, args[0], USER, password)?,
        [_, user, password] => authenticate(session, args[0], user, password)?,
        _ => return Err(CommandError::syntax()),
    }
    session.reply().ok();
    Ok(())
}

/// Lets the client in with the right user and password; with any password where none is set, as Redis does.
fn authenticate(
    session: &mut Session,
    command: &[u8],
    user: &[u8],
    password: &[u8],
) -> Result<(), CommandError> {
    let settings = &session.shared.settings;
    let right = user == USER && (!settings.password_required() || settings.password_is(password));
    if !right {
        let (client, addr) = (session.client.id, session.client.addr);
        tracing::warn!(client, %addr, "wrong user or password");
        let shown = client_line(&session.client);
        session.shared.observers.auth_log.add(command, user, shown, session.shared.now_ms());
        return Err(error_text::WRONGPASS.into());
    }
    session.set_authenticated(true);
    Ok(())
}

/// ```text
/// HELLO [protover [AUTH username password] [SETNAME clientname]]
/// ```
///
/// Checks everything before it changes anything.
#[derive(Debug, PartialEq, Eq)]
struct HelloRequest<'a> {
    version: Option<RespVersion>,
    auth: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

fn parse<'a>(args: &'a Args<'a>) -> Result<HelloRequest<'a>, CommandError> {
    let mut request = HelloRequest { version: None, auth: None, name: None };
    if let Some(version) = args.get(1) {
        request.version = Some(match parse_i64(version) {
            Some(2) => RespVersion::V2,
            Some(3) => RespVersion::V3,
            Some(_) => return Err(error_text::NOPROTO.into()),
            None => return Err(error_text::PROTO_NOT_INTEGER.into()),
        });
    }
    let mut rest = args.get(2..).unwrap_or_default();
    while let [option, after @ ..] = rest {
        rest = match after {
            [user, password, after @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                request.auth = Some((user, password));
                after
            }
            [name, after @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                check_name(name)?;
                request.name = Some(name);
                after
            }
            _ => return Err(error_text::hello_option(option).into()),
        };
    }
    Ok(request)
}

/// Executes `HELLO`; see [`HelloRequest`].
pub(crate) fn hello(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let request = parse(args)?;
    if let Some((user, password)) = request.auth {
        authenticate(session, args[0], user, password)?;
    }
    if !session.is_authenticated() {
        return Err(error_text::NOAUTH_HELLO.into());
    }
    if let Some(name) = request.name {
        name.clone_into(&mut session.client.labels.lock().name);
    }
    if let Some(version) = request.version {
        session.set_version(version);
    }
    let (id, version) = (session.client.id, i64::from(session.client.version()));
    let mut reply = session.reply();
    reply.map(7);
    for (key, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(version);
    reply.bulk(b"id");
    reply.integer(id.try_into().unwrap_or(i64::MAX));
    for (key, value) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(key.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> String {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        parse(&args).unwrap_err().to_string()
    }

    #[test]
    fn everything_is_checked_first() {
        assert_eq!(error("HELLO 4"), "NOPROTO unsupported protocol version");
        assert_eq!(error("HELLO x"), "ERR Protocol version is not an integer or out of range");
        assert_eq!(error("HELLO 3 AUTH default"), "ERR Syntax error in HELLO option 'AUTH'");
        assert_eq!(error("HELLO 3 SETNAME"), "ERR Syntax error in HELLO option 'SETNAME'");
        assert_eq!(error("HELLO 3 NOPE"), "ERR Syntax error in HELLO option 'NOPE'");
        assert_eq!(
            error("HELLO 3 SETNAME a\nb"),
            "ERR Client names cannot contain spaces, newlines or special characters."
        );
    }

    #[test]
    fn options_come_in_any_order() {
        let args: [&[u8]; 7] = [b"HELLO", b"3", b"setname", b"me", b"auth", b"u", b"p"];
        let expected =
            HelloRequest { version: Some(RespVersion::V3), auth: Some((b"u", b"p")), name: Some(b"me") };
        assert_eq!(parse(&args).unwrap(), expected);
        assert_eq!(parse(&args[..1]).unwrap(), HelloRequest { version: None, auth: None, name: None });
    }
}
