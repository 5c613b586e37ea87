//! A connection to each of the engine's servers, so that lines go straight to the one that leads their log's stream.
//!
//! Any server takes a line, and hands on what it does not lead: work for two servers and the way between them, there and
//! back, for each message of a batch. So there is a connection to each address that is configured, beside the main one, with
//! an inbox of its own; the main one serves everything else, and lines whose leader is not known or not reached.
//!
//! Nothing but speed depends on who leads, or is thought to: a publication may come over any connection, however late it
//! comes (see [`crate::writer`]). A connection that was lost may send what it still had when it is made again, behind the
//! same lines over another one: it is refused, as it follows what something else follows by then.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, SubscribeError};
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;
use wafka_core::storage::StorageError;

use crate::connect::{PING_INTERVAL, is_new_enough};
use crate::log::Log;
use crate::options::Options;
use crate::{connect, io_error, writer};

/// More addresses get no connection of their own.
const WIRES_MAX: usize = 16;
/// So long a leader that did not answer is not sent to directly. By then pings have ended a connection that is dead.
const AVOID: Duration = PING_INTERVAL.saturating_mul(4);
/// Who was elected to lead a stream, of all that the account has.
pub(crate) const ELECTED: &str = "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.*";

/// The logs by what their acknowledgements go by.
pub(crate) type ByKey = Arc<Mutex<HashMap<u64, Weak<Log>>>>;

/// A connection, and where acknowledgements of what was sent over it come.
pub(crate) struct Wire {
    pub client: Client,
    pub inbox: String,
    /// The name of the server that it leads to; behind an address there may be another one after a while.
    server: Mutex<String>,
    /// It was made, or made again, since that was looked at.
    is_new: Arc<AtomicBool>,
}

/// All of them.
pub(crate) struct Wires {
    pub main: Wire,
    direct: Vec<Wire>,
    /// Who leads the logs' streams.
    leaders: Mutex<HashMap<String, Leader>>,
}

/// Who leads a stream.
struct Leader {
    server: String,
    avoid_until: Option<Instant>,
}

impl Wires {
    /// Makes the connections beside the main one, in the background.
    ///
    /// # Errors
    /// The main one has ended, or credentials are not there any more. That a server is not there is no error.
    pub(crate) async fn open(
        main: Client,
        options: &Options,
        logs: &ByKey,
    ) -> Result<Arc<Self>, StorageError> {
        let mut direct: Vec<Wire> = Vec::new();
        let mut addresses: Vec<&String> = options.servers.iter().collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.len() > 1 {
            for address in addresses.into_iter().take(WIRES_MAX) {
                let is_new = Arc::default();
                let client = connect::connect_later(options, address, &is_new).await?;
                direct.push(Wire::new(client, is_new, logs).await?);
            }
        }
        let main = Wire::new(main, Arc::default(), logs).await?;
        let wires = Arc::new(Wires { main, direct, leaders: Mutex::default() });
        if !wires.direct.is_empty() {
            let elections = wires.main.client.subscribe(ELECTED).await;
            let mut elections = elections.map_err(unsubscribed)?;
            let of = Arc::downgrade(&wires);
            tokio::spawn(async move {
                while let Some(election) = elections.next().await {
                    let Some(wires) = of.upgrade() else { return };
                    wires.hear(&election.payload);
                }
            });
        }
        Ok(wires)
    }

    /// Over which connection lines of a stream go.
    pub(crate) fn to(&self, stream: &str) -> &Wire {
        if self.direct.is_empty() {
            return &self.main;
        }
        let leaders = self.leaders.lock();
        let leader = leaders.get(stream).filter(|leader| leader.is_trusted());
        let wire = leader.and_then(|leader| self.direct.iter().find(|wire| wire.leads_to(&leader.server)));
        wire.unwrap_or(&self.main)
    }

    /// Whether it matters who leads.
    pub(crate) fn is_choice(&self) -> bool {
        !self.direct.is_empty()
    }

    /// Takes note of who leads a log's stream, as far as that is known.
    pub(crate) fn leads(&self, stream: &str, server: Option<&str>) {
        if let (Some(server), true) = (server, self.is_choice()) {
            let mut leaders = self.leaders.lock();
            match leaders.get_mut(stream) {
                Some(leader) => leader.becomes(server),
                None => {
                    let leader = Leader { server: server.to_owned(), avoid_until: None };
                    leaders.insert(stream.to_owned(), leader);
                }
            }
        }
    }

    /// Sends to the leader of a stream over the main connection, for a while or until there is another: it, or the
    /// connection to it, did not answer.
    pub(crate) fn avoid(&self, stream: &str) {
        if let Some(leader) = self.leaders.lock().get_mut(stream) {
            leader.avoid_until = Some(Instant::now() + AVOID);
        }
    }

    /// Forgets a log that was closed.
    pub(crate) fn forget(&self, stream: &str) {
        self.leaders.lock().remove(stream);
    }

    /// Takes note of an election. Most streams may be others' than ours.
    fn hear(&self, election: &[u8]) {
        #[derive(Deserialize)]
        struct Elected {
            stream: String,
            leader: String,
        }
        // What is not understood matters no more than what is not heard.
        let Ok(Elected { stream, leader }) = serde_json::from_slice(election) else { return };
        if let Some(known) = self.leaders.lock().get_mut(&stream) {
            known.becomes(&leader);
        }
    }
}

impl Leader {
    fn becomes(&mut self, server: &str) {
        if self.server != server {
            *self = Leader { server: server.to_owned(), avoid_until: None };
        }
    }

    fn is_trusted(&self) -> bool {
        self.avoid_until.is_none_or(|until| until <= Instant::now())
    }
}

impl Wire {
    /// Takes in acknowledgements over a connection, also one that is not there yet.
    async fn new(client: Client, is_new: Arc<AtomicBool>, logs: &ByKey) -> Result<Self, StorageError> {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(format!("{inbox}.*")).await.map_err(unsubscribed)?;
        let (logs, skip) = (Arc::clone(logs), inbox.len() + 1);
        tokio::spawn(async move {
            while let Some(answer) = answers.next().await {
                let token = answer.subject.get(skip..).unwrap_or_default();
                let find = |key| logs.lock().get(&key).and_then(Weak::upgrade);
                let take = || writer::take_note(token, find, || crate::api::acknowledged(&answer));
                // Nobody else takes acknowledgements: what is wrong with one must not end that.
                if catch_unwind(AssertUnwindSafe(take)).is_err() {
                    ::log::error!("an acknowledgement that could not be taken: {token}");
                }
            }
        });
        Ok(Wire { client, inbox, server: Mutex::default(), is_new })
    }

    fn leads_to(&self, server: &str) -> bool {
        if self.client.connection_state() != State::Connected {
            return false;
        }
        let mut known = self.server.lock();
        if self.is_new.swap(false, Ordering::Relaxed) {
            let info = self.client.server_info();
            // One that does not know batches would store each line of one by itself.
            *known = if is_new_enough(&info.version) { info.server_name } else { String::new() };
        }
        *known == server
    }
}

fn unsubscribed(error: SubscribeError) -> StorageError {
    io_error("the engine", "subscribe", std::io::Error::other(error))
}
