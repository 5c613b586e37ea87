//! The connection, and whether the servers behind it keep what they acknowledge.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use wafka_core::storage::StorageError;

use crate::io_error;
use crate::options::{Login, Options, bad_option};
use crate::wires::ELECTED;

/// A connection that was lost is noticed after three of these.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(2);
/// The longest pause before it is tried to connect again.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(500);
/// The pause before another error of a connection that cannot be made is logged.
const ERROR_PAUSE: Duration = Duration::from_secs(60);
/// Acknowledgements that may wait to be looked at. More are dropped, and looked up in the log.
const ANSWERS_MAX: usize = 1 << 17;
/// How long the servers have to say how they sync.
const ASK_SERVERS: Duration = Duration::from_secs(2);

/// The first version of the servers that stores messages all or none, major and minor number. An earlier one does not
/// know the headers for that, and stores each by itself.
const VERSION_MIN: (u32, u32) = (2, 12);

/// Connects.
pub(crate) async fn connect(options: &Options, login: &Login) -> Result<Client, StorageError> {
    let last_error: Arc<Mutex<Option<Instant>>> = Arc::default();
    let connect = manner(options, login).await?.event_callback(move |event| {
        let last_error = Arc::clone(&last_error);
        async move { report(&event, &last_error) }
    });
    let addresses = addresses(&options.servers)?;
    let servers = shown(&addresses);
    let failed = |reason: String| io_error(&servers, "connect", std::io::Error::other(reason));
    let client = connect.connect(addresses).await.map_err(|error| failed(error.to_string()))?;
    let info = client.server_info();
    check_version(&info.server_name, &info.version).map_err(failed)?;
    Ok(client)
}

/// Connects to one address alone, now or when somebody listens there, and again whenever that was lost. `is_new` is set
/// each time.
pub(crate) async fn connect_later(
    options: &Options,
    server: &str,
    is_new: &Arc<AtomicBool>,
) -> Result<Client, StorageError> {
    let addresses = addresses(&[server.to_owned()])?;
    let failed = |reason: String| io_error(&shown(&addresses), "connect", std::io::Error::other(reason));
    let (address, is_new, is_away) = (shown(&addresses), Arc::clone(is_new), AtomicBool::new(false));
    let told = Arc::new(move |event: &Event| report_one(&address, event, &is_new, &is_away));
    let connect = manner(options, &options.login)
        .await?
        .ignore_discovered_servers()
        .retry_on_initial_connect()
        .event_callback(move |event| {
            let told = Arc::clone(&told);
            async move { told(&event) }
        });
    connect.connect(addresses.clone()).await.map_err(|error| failed(error.to_string()))
}

/// How every connection is made.
async fn manner(options: &Options, login: &Login) -> Result<ConnectOptions, StorageError> {
    let mut connect = ConnectOptions::new()
        .name("wafka")
        .ping_interval(PING_INTERVAL)
        .connection_timeout(options.request_timeout().min(Duration::from_secs(5)))
        .request_timeout(None)
        .subscription_capacity(ANSWERS_MAX)
        .max_reconnects(None)
        .skip_subject_validation(true)
        .reconnect_delay_callback(|attempts| {
            RECONNECT_PAUSE_MAX.min(Duration::from_millis(20 * attempts as u64))
        })
        .require_tls(options.tls_required);
    if let Some(file) = &options.tls_ca {
        connect = connect.add_root_certificates(file.clone());
    }
    if let (Some(user), Some(password)) = (&login.user, &login.password) {
        connect = connect.user_and_password(user.clone(), password.clone());
    }
    if let Some(token) = &login.token {
        connect = connect.token(token.clone());
    }
    if let Some(file) = &login.credentials {
        let read = connect.credentials_file(file).await;
        connect = read.map_err(|source| io_error(&file.display().to_string(), "credentials", source))?;
    }
    Ok(connect)
}

fn addresses(servers: &[String]) -> Result<Vec<ServerAddr>, StorageError> {
    let addresses: Result<Vec<ServerAddr>, _> = servers.iter().map(|server| server.parse()).collect();
    addresses.map_err(|error| bad_option("servers", format!("expected addresses: {error}")))
}

/// The addresses without the passwords that may stand in them.
fn shown(addresses: &[ServerAddr]) -> String {
    let shown: Vec<String> =
        addresses.iter().map(|address| format!("{}:{}", address.host(), address.port())).collect();
    shown.join(",")
}

/// Whether a server stores messages all or none.
pub(crate) fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.').map(|number| number.parse::<u32>().ok());
    let mut number = || numbers.next().flatten();
    number().zip(number()).is_some_and(|version| version >= VERSION_MIN)
}

fn check_version(server: &str, version: &str) -> Result<(), String> {
    let (major, minor) = VERSION_MIN;
    let wrong = || {
        let version = version.escape_debug();
        format!("server {server} has version '{version}', expected {major}.{minor} or later")
    };
    is_new_enough(version).then_some(()).ok_or_else(wrong)
}

/// Says what becomes of the connection. While it cannot be made, an error comes with each attempt: one a minute is said.
fn report(event: &Event, last_error: &Mutex<Option<Instant>>) {
    if let Event::ClientError(_) = event {
        let mut last = last_error.lock();
        if last.is_some_and(|last| last.elapsed() < ERROR_PAUSE) {
            return;
        }
        *last = Some(Instant::now());
    }
    match event {
        Event::Connected => ::log::info!("connected to the engine"),
        Event::Disconnected => ::log::warn!("the connection to the engine was lost"),
        Event::ServerError(error) if error.to_string().contains(ELECTED) => {
            ::log::info!("no more than a moment is lost by this after an election of the engine's: {error}");
        }
        Event::ServerError(_) | Event::ClientError(_) | Event::SlowConsumer(_) => {
            ::log::warn!("the connection to the engine: {event}");
        }
        _ => {}
    }
}

/// The same for the connection to one server, beside the main one.
fn report_one(address: &str, event: &Event, is_new: &AtomicBool, is_away: &AtomicBool) {
    match event {
        Event::Connected => is_new.store(true, Ordering::Relaxed),
        Event::Disconnected | Event::ClientError(_) => {}
        // These do not end it.
        Event::ServerError(_) | Event::SlowConsumer(_) => {
            ::log::warn!("the connection to the engine at {address}: {event}");
            return;
        }
        _ => return,
    }
    match is_first(event, is_away) {
        Some(true) => ::log::warn!(
            "the engine at {address}: {event}; until that is over, what it leads is written by way of the others"
        ),
        Some(false) => ::log::info!("connected to the engine at {address} again"),
        None => {}
    }
}

/// Whether an event is the first that says that a server is not there (true) or is again (false): each further attempt to
/// reach it says the same.
fn is_first(event: &Event, is_away: &AtomicBool) -> Option<bool> {
    let away = *event != Event::Connected;
    (is_away.swap(away, Ordering::Relaxed) != away).then_some(away)
}

/// What a server says of itself to its system account.
#[derive(Deserialize)]
struct Answer {
    data: Varz,
}

#[derive(Deserialize)]
struct Varz {
    server_name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    cluster: Routes,
    jetstream: Option<JetStream>,
}

/// Those that a server is configured to replicate with.
#[derive(Default, Deserialize)]
struct Routes {
    #[serde(default)]
    urls: Vec<String>,
}

#[derive(Deserialize)]
struct JetStream {
    /// Empty where the server does not store.
    config: Option<JetStreamConfig>,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct JetStreamConfig {
    #[serde(default)]
    sync_always: bool,
}

#[derive(Deserialize)]
struct Meta {
    cluster_size: usize,
}

/// Makes sure that the servers sync before they acknowledge, or that whoever configured the backend says that they need
/// not. A connected client cannot see it: the system account can.
pub(crate) async fn check_syncs(options: &Options) -> Result<(), StorageError> {
    if options.accept_unsynced_loss {
        ::log::warn!(
            "accept_unsynced_loss: nobody checks whether the servers sync before they acknowledge, and what they \
             acknowledged may be lost with the power"
        );
        return Ok(());
    }
    let Some(login) = &options.system_login else {
        let expected = "expected a user of the servers' system account: it is asked whether each server has \
                        `sync_interval: always`, without which what was acknowledged may be lost with the power; \
                        `accept_unsynced_loss = true` accepts that instead";
        return Err(bad_option("system_login", expected));
    };
    let client = connect(options, login).await?;
    let found = ask_servers(&client).await;
    // Nothing is to be sent: if this fails, the connection is gone already.
    let _gone = client.drain().await;
    judge(&found?)
}

/// Asks every server; returns what each said, by its name, and how many there are to be.
async fn ask_servers(client: &Client) -> Result<(BTreeMap<String, bool>, usize), StorageError> {
    let error = |reason: String| io_error("the servers", "ask how they sync", std::io::Error::other(reason));
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|source| error(source.to_string()))?;
    let asked = client.publish_with_reply("$SYS.REQ.SERVER.PING.VARZ", inbox, Bytes::new()).await;
    asked.map_err(|source| error(source.to_string()))?;
    let deadline = Instant::now() + ASK_SERVERS;
    let (mut said, mut expected, mut others) = (BTreeMap::new(), 1, 0);
    while said.len() < expected {
        let Ok(Some(answer)) = timeout_at(deadline, answers.next()).await else { break };
        if answer.status.is_some_and(|status| status.as_u16() == 503) {
            let refused = "nobody answers: expected a user of the servers' system account";
            return Err(bad_option("system_login", refused));
        }
        let varz = serde_json::from_slice::<Answer>(&answer.payload);
        let varz = varz.map_err(|source| error(format!("an answer is not understood: {source}")))?.data;
        match varz.jetstream.and_then(|jetstream| Some((jetstream.config?, jetstream.meta))) {
            Some((config, meta)) => {
                check_version(&varz.server_name, &varz.version).map_err(error)?;
                said.insert(varz.server_name, config.sync_always);
                // A server that was just started may not know yet how many there are.
                let known = meta.map_or(varz.cluster.urls.len(), |meta| meta.cluster_size);
                expected = expected.max(known);
            }
            // A server that does not store is none of the cluster that does.
            None => others += 1,
        }
    }
    if said.is_empty() {
        let reason = format!(
            "no server with JetStream answered within {} ms ({others} without it did): expected a user of the \
             servers' system account",
            ASK_SERVERS.as_millis()
        );
        return Err(bad_option("system_login", reason));
    }
    Ok((said, expected))
}

fn judge((said, expected): &(BTreeMap<String, bool>, usize)) -> Result<(), StorageError> {
    let unsynced: Vec<&str> =
        said.iter().filter(|(_, always)| !**always).map(|(name, _)| name.as_str()).collect();
    if !unsynced.is_empty() {
        let expected = format!(
            "expected `sync_interval: always` in the `jetstream` section of every server, {} not: what was \
             acknowledged may be lost with the power (`accept_unsynced_loss = true` accepts that)",
            match unsynced[..] {
                [one] => format!("{one} has it"),
                _ => format!("{} have it", unsynced.join(", ")),
            }
        );
        return Err(bad_option("servers", expected));
    }
    if said.len() * 2 <= *expected {
        let reason = format!("only {} of {expected} servers said how they sync, expected most", said.len());
        return Err(io_error("the servers", "ask how they sync", std::io::Error::other(reason)));
    }
    if said.len() < *expected {
        ::log::warn!(
            "{} of {expected} servers said that they sync before they acknowledge; the others did not answer",
            said.len()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(said: &[(&str, bool)], expected: usize) -> Result<(), String> {
        let said = said.iter().map(|(name, always)| ((*name).to_owned(), *always)).collect();
        judge(&(said, expected)).map_err(|error| error.to_string())
    }

    #[test]
    fn servers_before_those_with_batches_are_refused() {
        for good in ["2.12.0", "2.12.0-RC.1", "v2.15.1", "3.0.0-dev"] {
            assert_eq!(check_version("n0", good), Ok(()), "{good}");
        }
        for bad in ["2.11.9", "2.9.0", "1.99.0", "", "2", "two.twelve"] {
            let error = check_version("n0", bad).expect_err(bad);
            assert!(error.contains("n0") && error.contains("expected 2.12 or later"), "{error}");
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_said_to_be_so_once() {
        let away = AtomicBool::new(false);
        let error = || Event::ClientError(async_nats::ClientError::Other("refused".into()));
        let events = [Event::Connected, Event::Disconnected, error(), error(), Event::Connected, error()];
        let said: Vec<Option<bool>> = events.iter().map(|event| is_first(event, &away)).collect();
        assert_eq!(said, [None, Some(true), None, None, Some(false), Some(true)]);
    }

    /// Its end would not be said else, and nothing would say that it is over.
    #[test]
    fn what_does_not_end_a_connection_is_not_taken_for_its_end() {
        let (new, away) = (AtomicBool::new(false), AtomicBool::new(false));
        let refused = async_nats::ServerError::Other("permissions violation".into());
        for event in [Event::ServerError(refused), Event::SlowConsumer(1)] {
            report_one("a:1", &event, &new, &away);
            assert!(!away.load(Ordering::Relaxed), "{event}");
        }
        report_one("a:1", &Event::Disconnected, &new, &away);
        assert!(away.load(Ordering::Relaxed));
    }

    #[test]
    fn every_server_that_answers_must_sync_and_most_must_answer() {
        assert_eq!(judged(&[("a", true), ("b", true), ("c", true)], 3), Ok(()));
        assert_eq!(judged(&[("a", true), ("b", true)], 3), Ok(()));
        let error = judged(&[("a", true), ("b", false), ("c", true)], 3).expect_err("b does not sync");
        assert!(error.contains("'servers'") && error.contains("b has it not"), "{error}");
        let error = judged(&[("a", true)], 3).expect_err("one of three");
        assert!(error.contains("only 1 of 3"), "{error}");
        let error = judged(&[("a", true), ("b", true)], 4).expect_err("half is not most");
        assert!(error.contains("only 2 of 4"), "{error}");
    }
}
