//! `CLIENT LIST`, `CLIENT INFO`, `CLIENT KILL`: clients shown and chosen.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wafka_protocol::error_text;
use wafka_protocol::parse::parse_i64;

use super::hello::USER;
use crate::clients::{Client, Signals};
use crate::command::{Args, CommandError, table};
use crate::session::Session;

/// A line of `CLIENT LIST`, with Redis's fields in Redis's order.
pub(super) fn line(client: &Client) -> String {
    let labels = client.labels.lock().clone();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut flags = String::new();
    if client.is_monitor() {
        flags.push('O');
    }
    if client.has_subscriptions() {
        flags.push('P');
    }
    if client.queued.load(Ordering::Relaxed) >= 0 {
        flags.push('x');
    }
    if client.is_blocked() {
        flags.push('b');
    }
    if client.no_evict.load(Ordering::Relaxed) {
        flags.push('e');
    }
    if client.no_touch.load(Ordering::Relaxed) {
        flags.push('T');
    }
    if flags.is_empty() {
        flags.push('N');
    }
    let query_len = client.query_len.load(Ordering::Relaxed);
    let capacity = client.query_capacity.load(Ordering::Relaxed);
    let command = client.last_command().map_or("NULL", |index| table::commands()[index].full_name);
    let [sub, psub, ssub] = [0, 1, 2].map(|kind: usize| client.subscriptions[kind].load(Ordering::Relaxed));
    let (oll, omem) = client.inbox.len_and_bytes();
    let mut line = format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={flags} db={} sub={sub} psub={psub} ssub={ssub} \
         multi={} watch={}",
        client.id,
        client.addr,
        client.local,
        client.fd,
        text(&labels.name),
        client.since.elapsed().as_secs(),
        client.idle_secs(),
        client.database().0,
        client.queued.load(Ordering::Relaxed),
        client.watched.load(Ordering::Relaxed),
    );
    // Writing to a String cannot fail.
    let _ = write!(
        line,
        " qbuf={query_len} qbuf-free={} argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll={oll} omem={omem} \
         tot-mem={} events=r cmd={command} user=default redir=-1 resp={} lib-name={} lib-ver={} \
         tot-net-in={} tot-net-out={} tot-cmds={}",
        capacity.saturating_sub(query_len),
        capacity + omem,
        client.version(),
        text(&labels.lib_name),
        text(&labels.lib_ver),
        client.totals.input_bytes.get(),
        client.totals.output_bytes.get(),
        client.totals.commands.get(),
    );
    line
}

/// ```text
/// CLIENT INFO
/// ```
pub(crate) fn info(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let line = line(&session.client) + "\n";
    session.reply().verbatim("txt", line.as_bytes());
    Ok(())
}

/// ```text
/// CLIENT LIST [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]
/// ```
pub(crate) fn list(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let clients = match &args[2..] {
        [] => session.shared.clients.all(),
        [word, kind] if word.eq_ignore_ascii_case(b"type") => {
            let class = ClientClass::parse(kind)?;
            session.shared.clients.all().into_iter().filter(|client| class.has(client)).collect()
        }
        [word, ids @ ..] if word.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
            let mut clients = Vec::new();
            for id in ids {
                let id = parse_i64(id).ok_or(CommandError::from("ERR Invalid client ID"))?;
                clients.extend(u64::try_from(id).ok().and_then(|id| session.shared.clients.get(id)));
            }
            clients
        }
        _ => return Err(CommandError::syntax()),
    };
    let mut text = String::new();
    for client in clients {
        text.push_str(&line(&client));
        text.push('\n');
    }
    session.reply().verbatim("txt", text.as_bytes());
    Ok(())
}

/// Redis's classes of clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ClientClass {
    Normal,
    PubSub,
    /// Masters and replicas, of which there are none.
    None,
}

impl ClientClass {
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        match word.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(ClientClass::Normal),
            b"pubsub" => Ok(ClientClass::PubSub),
            b"master" | b"slave" | b"replica" => Ok(ClientClass::None),
            _ => Err(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(word)).into()),
        }
    }

    fn has(self, client: &Client) -> bool {
        match self {
            ClientClass::Normal => !client.has_subscriptions(),
            ClientClass::PubSub => client.has_subscriptions(),
            ClientClass::None => false,
        }
    }
}

/// ```text
/// CLIENT KILL <ip:port | <[ID client-id] | [TYPE type] | [USER username] | [ADDR ip:port] | [LADDR ip:port] |
///     [SKIPME <YES | NO>] | [MAXAGE seconds]> ...>
/// ```
///
/// Closes all clients that meet every condition; this one too only with `SKIPME no`.
struct KillRequest<'a> {
    id: Option<u64>,
    class: Option<ClientClass>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    max_age_secs: Option<u64>,
    skip_me: bool,
}

fn parse_kill<'a>(options: &'a [&'a [u8]]) -> Result<KillRequest<'a>, CommandError> {
    let mut request =
        KillRequest { id: None, class: None, addr: None, laddr: None, max_age_secs: None, skip_me: true };
    let (pairs, []) = options.as_chunks::<2>() else { return Err(CommandError::syntax()) };
    for [option, value] in pairs {
        match option.to_ascii_lowercase().as_slice() {
            b"id" => {
                let id = parse_i64(value).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
                request.id = Some(id.ok_or(CommandError::from("ERR client-id should be greater than 0"))?);
            }
            b"type" => request.class = Some(ClientClass::parse(value)?),
            b"user" if *value == USER => {}
            b"user" => return Err(format!("ERR No such user '{}'", String::from_utf8_lossy(value)).into()),
            b"addr" => request.addr = Some(value),
            b"laddr" => request.laddr = Some(value),
            b"maxage" => {
                let secs = parse_i64(value)
                    .ok_or(CommandError::from("ERR maxage is not an integer or out of range"))?;
                let error = CommandError::from("ERR maxage should be greater than 0");
                request.max_age_secs = Some(u64::try_from(secs).ok().filter(|secs| *secs > 0).ok_or(error)?);
            }
            b"skipme" => {
                request.skip_me = match value.to_ascii_lowercase().as_slice() {
                    b"yes" => true,
                    b"no" => false,
                    _ => return Err(CommandError::syntax()),
                }
            }
            _ => return Err(CommandError::syntax()),
        }
    }
    Ok(request)
}

impl KillRequest<'_> {
    fn meets(&self, client: &Client) -> bool {
        let is = |wanted: Option<&[u8]>, addr: std::net::SocketAddr| {
            wanted.is_none_or(|wanted| addr.to_string().as_bytes() == wanted)
        };
        self.class.is_none_or(|class| class.has(client))
            && self.id.is_none_or(|id| client.id == id)
            && is(self.addr, client.addr)
            && is(self.laddr, client.local)
            && self.max_age_secs.is_none_or(|secs| client.since.elapsed().as_secs() >= secs)
    }
}

/// Executes `CLIENT KILL`; see [`KillRequest`].
pub(crate) fn kill(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    if let [addr] = &args[2..] {
        let mut clients = session.shared.clients.all().into_iter();
        let client = clients.find(|client| client.addr.to_string().as_bytes() == *addr);
        let client = client.ok_or(CommandError::from(error_text::NO_SUCH_CLIENT))?;
        close(session, &client);
        session.reply().ok();
        return Ok(());
    }
    let request = parse_kill(&args[2..])?;
    let mut killed = 0;
    for client in session.shared.clients.all() {
        let is_me = client.id == session.client.id;
        if request.meets(&client) && !(is_me && request.skip_me) {
            close(session, &client);
            killed += 1;
        }
    }
    session.reply().integer(killed);
    Ok(())
}

/// Closes a client at once; this one only when it has its reply.
fn close(session: &mut Session, client: &Arc<Client>) {
    if client.id == session.client.id {
        session.close();
    } else {
        tracing::info!(client = client.id, by = session.client.id, "killing client");
        client.signal(Signals::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> String {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        parse_kill(&args).err().unwrap().to_string()
    }

    #[test]
    fn bad_conditions() {
        assert_eq!(error("ID 0"), "ERR client-id should be greater than 0");
        assert_eq!(error("ID x"), "ERR client-id should be greater than 0");
        assert_eq!(error("ID 1 SKIPME"), "ERR syntax error");
        assert_eq!(error("SKIPME maybe"), "ERR syntax error");
        assert_eq!(error("NOPE 1"), "ERR syntax error");
        assert_eq!(error("TYPE nope"), "ERR Unknown client type 'nope'");
        assert_eq!(error("USER nobody"), "ERR No such user 'nobody'");
        assert_eq!(error("MAXAGE x"), "ERR maxage is not an integer or out of range");
        assert_eq!(error("MAXAGE 0"), "ERR maxage should be greater than 0");
    }
}
