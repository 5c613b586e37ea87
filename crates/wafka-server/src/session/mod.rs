//! A connection's state as the commands see it: database, protocol version, the reply being written, and the appends
//! whose replies wait for their commit.

mod keys;
mod listening;
mod multi;
mod turn;

use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;
use wafka_broker::{AppendError, Appended, Engine, Ticket, Topic, Transaction};
use wafka_core::Database;
use wafka_protocol::{ReplyWriter, RespVersion};

use crate::clients::{Client, Signals};
use crate::command::CommandError;
use crate::gate::Held;
use crate::kick::Kicker;
use crate::ownership::Role;
use crate::pubsub::Subscriptions;
use crate::shared::Shared;

use listening::HeldEvent;
use multi::Watching;
pub(crate) use multi::{Queue, Queued};
pub(crate) use turn::FLUSH_AT;

/// What is read from a client while one of its commands waits, in bytes; more is left to the socket.
const READ_AHEAD_MAX: usize = 64 * 1024;

/// Whether replies are sent: `CLIENT REPLY`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyMode {
    /// All.
    On,
    /// None until `CLIENT REPLY ON`.
    Off,
    /// All but the one to the next command.
    SkipNext,
    /// Not the one to this command.
    Skip,
}

/// What ends the waiting of a blocked command before its data or its deadline does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupt {
    /// The client is gone, was killed, or the server is shutting down: answer with [`CommandError::Closed`].
    Closed,
    /// `CLIENT UNBLOCK`: answer as if the time was up.
    TimedOut,
    /// `CLIENT UNBLOCK … ERROR`: answer with
    /// [`error_text::UNBLOCKED`](wafka_protocol::error_text::UNBLOCKED).
    Error,
    /// Another server has taken the data over: answer with `CommandError::fenced`.
    Fenced,
}

/// A topic among those that this batch of requests appends to; valid until the command ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicSlot(usize);

/// An append whose reply waits for its commit.
struct PendingAppend {
    topic: TopicSlot,
    appended: Appended,
    silent: bool,
    /// What became of it, once it was waited for.
    outcome: Result<(), AppendError>,
}

/// A connection's state.
pub struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) client: Arc<Client>,
    pub(crate) stream: TcpStream,
    kicker: Kicker,
    database: Database,
    version: RespVersion,
    authenticated: bool,
    reply_mode: ReplyMode,
    /// Set when nothing more is to be executed: the connection ends once `out` is written.
    closing: bool,
    out: Vec<u8>,
    /// How much of `out` is sent already.
    sent: usize,
    /// Where in `out` the reply to the current command begins: within a transaction that to `EXEC`.
    reply_begin: usize,
    /// Where in `out` an error would stand: within a transaction, the reply to the current one of its commands.
    command_begin: usize,
    /// That reply has entries.
    has_entries: bool,
    /// An entry of that reply was let through beyond the limit.
    beyond_limit: bool,
    pending: Vec<PendingAppend>,
    /// The topics of `pending`.
    topics: Vec<Arc<Topic>>,
    /// The topic last appended to, which the next batch will probably append to again. An idle producer must not keep
    /// the files or the memory of a deleted one.
    last_topic: Weak<Topic>,
    /// Wall-clock time of the current batch of requests.
    now_ms: u64,
    /// What of `pending` is not counted yet.
    uncounted: turn::Uncounted,
    /// What was read while a command waited.
    pub(crate) read_ahead: Vec<u8>,
    subscriptions: Subscriptions,
    /// What a transaction did, to be published when it is committed.
    held_events: RefCell<Vec<HeldEvent>>,
    /// The gates of the current command's keys.
    keys: keys::Keys,
    /// The commands queued since `MULTI`.
    queue: Option<Queue>,
    watching: Watching,
    /// `EXEC` is under way.
    in_transaction: bool,
    /// What makes it count as a whole.
    transaction: Option<Arc<Transaction>>,
}

impl Session {
    /// The state of a new connection.
    pub(crate) fn new(shared: Arc<Shared>, client: Arc<Client>, stream: TcpStream, kicker: Kicker) -> Self {
        let authenticated = !shared.settings.password_required();
        Session {
            client,
            stream,
            kicker,
            database: Database(0),
            version: RespVersion::V2,
            authenticated,
            reply_mode: ReplyMode::On,
            closing: false,
            out: Vec::new(),
            sent: 0,
            reply_begin: 0,
            command_begin: 0,
            has_entries: false,
            beyond_limit: false,
            pending: Vec::new(),
            topics: Vec::new(),
            last_topic: Weak::new(),
            now_ms: shared.now_ms(),
            uncounted: turn::Uncounted::default(),
            read_ahead: Vec::new(),
            subscriptions: Subscriptions::default(),
            held_events: RefCell::default(),
            keys: keys::Keys::new(Held::new(Arc::clone(&shared.gates))),
            queue: None,
            watching: Watching::default(),
            in_transaction: false,
            transaction: None,
            shared,
        }
    }

    /// The engine that holds the topics. For commands that Redis refuses while it loads: the others may be executed before
    /// there is one, see [`Shared::engine`].
    ///
    /// # Panics
    /// Never: before there is an engine every such command is refused ([`Standing`](crate::ownership::Standing)), and an
    /// engine stays.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        let engine = self.shared.engine();
        engine.expect("invariant: a command that needs topics begins when there is an engine, which stays")
    }

    /// The database that `SELECT` chose.
    #[must_use]
    pub fn database(&self) -> Database {
        self.database
    }

    /// Milliseconds since 1970 when the current batch of requests arrived.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The protocol version that `HELLO` chose.
    #[must_use]
    pub fn version(&self) -> RespVersion {
        self.version
    }

    /// Whether `EXEC` is executing the command: it must not wait for data.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// Appends to the reply.
    pub fn reply(&mut self) -> ReplyWriter<'_> {
        ReplyWriter::new(&mut self.out, self.version)
    }

    /// How many bytes the reply to this command has so far.
    #[must_use]
    pub fn reply_len(&self) -> usize {
        self.out.len().saturating_sub(self.reply_begin)
    }

    /// The most bytes that one reply may have: a command whose reply grows beyond should stop early and fail with
    /// [`CommandError::ReplyTooLarge`]. Only a first entry is let through beyond it.
    #[must_use]
    pub fn reply_limit(&self) -> usize {
        self.shared.settings.output_buffer_limit()
    }

    /// The topic called `name` in the session's database; fast when it is the one the session last appended to. One that
    /// is being deleted is not found.
    pub fn topic_slot(&mut self, name: &[u8]) -> Option<TopicSlot> {
        let database = self.database;
        let is_it = |topic: &Arc<Topic>| {
            topic.name().as_bytes() == name && topic.database() == database && !topic.is_absent()
        };
        if !self.topics.last().is_some_and(is_it) {
            let last = if self.topics.is_empty() { self.last_topic.upgrade().filter(is_it) } else { None };
            let found = last.or_else(|| self.shared.engine()?.topic(database, name).filter(is_it))?;
            self.topics.push(found);
        }
        Some(TopicSlot(self.topics.len() - 1))
    }

    /// The topic in a slot.
    #[must_use]
    pub fn topic_in(&self, slot: TopicSlot) -> &Arc<Topic> {
        &self.topics[slot.0]
    }

    /// Owes the client the reply to an append: the event's id once it is committed, else the error.
    pub fn push_append(&mut self, topic: TopicSlot, appended: Appended) {
        let silent = self.is_silent();
        self.pending.push(PendingAppend { topic, appended, silent, outcome: Ok(()) });
    }

    /// Waits until what `ticket` stands for is durable and visible.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn commit(&self, topic: &Arc<Topic>, ticket: Ticket) -> Result<(), AppendError> {
        self.kicker.kick(1);
        committed(topic, ticket).await
    }

    /// Runs `work` on a thread that may block: for what reads or writes files or waits for a commit.
    ///
    /// # Errors
    /// When the server is shutting down and the thread is gone.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Engine>) -> T + Send + 'static,
    ) -> Result<T, CommandError> {
        let Some(engine) = self.shared.engine().cloned() else {
            return Err(self.shared.standing.not_open().into());
        };
        tokio::task::spawn_blocking(move || work(&engine)).await.map_err(|error| {
            tracing::error!(%error, "a command's work on a blocking thread failed");
            CommandError::ShuttingDown
        })
    }

    /// Counts bytes read from the client.
    pub(crate) fn note_input(&self, bytes: usize) {
        self.shared.stats.input_bytes.add(bytes as u64);
        self.client.totals.input_bytes.add(bytes as u64);
    }

    /// Marks the client as blocked, for `CLIENT UNBLOCK`, `CLIENT LIST` and `INFO`, until the guard is dropped.
    #[must_use]
    pub fn block(&self) -> BlockedGuard {
        self.client.set_blocked(true);
        self.shared.stats.blocked_clients.add(1);
        let (shared, client) = (Arc::clone(&self.shared), Arc::clone(&self.client));
        BlockedGuard { shared, client, since: Instant::now() }
    }

    /// What has been signalled to a blocked command.
    fn interrupt(&self) -> Option<Interrupt> {
        let signals = self.client.signals();
        if signals.ends_connection() {
            return Some(Interrupt::Closed);
        }
        // What it waits for does not come any more.
        if self.client.is_blocked() && self.shared.standing.role() == Role::Fenced {
            return Some(Interrupt::Fenced);
        }
        if signals.contains(Signals::UNBLOCK_ERROR) {
            self.client.clear(Signals::UNBLOCK_ERROR);
            return Some(Interrupt::Error);
        }
        if signals.contains(Signals::UNBLOCK) {
            self.client.clear(Signals::UNBLOCK);
            return Some(Interrupt::TimedOut);
        }
        None
    }

    /// Resolves when a blocked command must stop waiting. Requests that arrive in the meantime are kept for later, and
    /// messages for the client are sent: no part of the reply may be written yet. May be dropped and called again
    /// without losing anything.
    pub async fn interrupted(&mut self) -> Interrupt {
        loop {
            if let Some(interrupt) = self.interrupt() {
                return interrupt;
            }
            if self.send_pushes().await.is_err() {
                self.closing = true;
                return Interrupt::Closed;
            }
            // Sending to a client that does not read takes the wake-up of a signal that does not end it.
            if let Some(interrupt) = self.interrupt() {
                return interrupt;
            }
            let more = self.has_pushes_to_send();
            if self.read_ahead.len() >= READ_AHEAD_MAX {
                // The rest stays in the socket.
                tokio::select! {
                    biased;
                    () = self.client.signalled() => {}
                    () = hung_up(&self.stream) => {
                        self.closing = true;
                        return Interrupt::Closed;
                    }
                    () = std::future::ready(()), if more => {}
                }
                continue;
            }
            self.read_ahead.reserve(4096);
            tokio::select! {
                biased;
                () = self.client.signalled() => {}
                read = self.stream.read_buf(&mut self.read_ahead) => match read {
                    Ok(0) | Err(_) => {
                        self.closing = true;
                        return Interrupt::Closed;
                    }
                    Ok(read) => self.note_input(read),
                },
                () = std::future::ready(()), if more => {}
            }
        }
    }
}

/// Unmarks a blocked client when dropped.
pub struct BlockedGuard {
    shared: Arc<Shared>,
    client: Arc<Client>,
    since: Instant,
}

impl Drop for BlockedGuard {
    fn drop(&mut self) {
        self.client.set_blocked(false);
        self.client.add_blocked_time(self.since.elapsed());
        self.shared.stats.blocked_clients.sub(1);
    }
}

/// Resolves when the client has ended its side of the connection, or the connection is broken, without reading what it
/// sent before that.
async fn hung_up(stream: &TcpStream) {
    // The end of the stream counts as priority; whether there is something to read must not wake this.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let interest = Interest::PRIORITY | Interest::ERROR;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let interest = Interest::ERROR;
    match stream.ready(interest).await {
        // Urgent data, which the protocol does not have: it must not wake this again and again.
        Ok(ready) if !ready.is_read_closed() && !ready.is_error() => std::future::pending().await,
        _ => {}
    }
}

/// Waits for a commit, at once when it is there.
async fn committed(topic: &Arc<Topic>, ticket: Ticket) -> Result<(), AppendError> {
    match topic.is_committed(&ticket) {
        Some(outcome) => outcome,
        None => topic.committed(ticket).await,
    }
}
