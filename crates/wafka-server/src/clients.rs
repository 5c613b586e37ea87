//! The clients connected: what `CLIENT LIST` shows of them, and the signals by which one is killed or unblocked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use wafka_core::Database;
use wafka_protocol::RespVersion;

use crate::pubsub::Inbox;
use crate::stats::Counter;

/// What a client's connection is told from elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signals(u32);

impl Signals {
    /// End the connection at once: `CLIENT KILL`, the idle time-out.
    pub const KILL: Signals = Signals(1);
    /// End the connection once the replies to what was executed are sent: the server is shutting down.
    pub const SHUTDOWN: Signals = Signals(1 << 1);
    /// Answer the blocked command as if its time was up.
    pub const UNBLOCK: Signals = Signals(1 << 2);
    /// Answer the blocked command with an error.
    pub const UNBLOCK_ERROR: Signals = Signals(1 << 3);

    /// Whether all of `other` are set.
    #[must_use]
    pub fn contains(self, other: Signals) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the connection must end.
    #[must_use]
    pub fn ends_connection(self) -> bool {
        self.contains(Signals::KILL) || self.contains(Signals::SHUTDOWN)
    }
}

/// What a client calls itself.
#[derive(Clone, Default, Debug)]
pub struct Labels {
    /// `CLIENT SETNAME`
    pub name: Vec<u8>,
    /// `CLIENT SETINFO LIB-NAME`
    pub lib_name: Vec<u8>,
    /// `CLIENT SETINFO LIB-VER`
    pub lib_ver: Vec<u8>,
}

/// What was exchanged with a client since it connected.
#[derive(Default, Debug)]
pub struct Totals {
    /// Bytes read from it.
    pub input_bytes: Counter,
    /// Bytes sent to it.
    pub output_bytes: Counter,
    /// Its commands executed.
    pub commands: Counter,
}

/// A connected client, as others see it.
pub struct Client {
    /// Its number, unique over the server's life.
    pub id: u64,
    /// Where it connects from.
    pub addr: SocketAddr,
    /// The address of the server it connected to.
    pub local: SocketAddr,
    /// The file descriptor of its socket.
    pub fd: i32,
    /// When it connected.
    pub since: Instant,
    /// What it calls itself.
    pub labels: Mutex<Labels>,
    /// `CLIENT NO-EVICT`
    pub no_evict: AtomicBool,
    /// `CLIENT NO-TOUCH`
    pub no_touch: AtomicBool,
    /// Bytes read and not yet executed.
    pub query_len: AtomicUsize,
    /// Bytes of memory for what is read.
    pub query_capacity: AtomicUsize,
    /// What was exchanged with it.
    pub totals: Totals,
    /// Its subscriptions: to channels, patterns, shard channels.
    pub subscriptions: [AtomicU32; 3],
    /// The commands it has queued since `MULTI`; -1 outside of a transaction.
    pub queued: AtomicI32,
    /// The names it watches.
    pub watched: AtomicU32,
    /// Whether it is in `MONITOR` mode.
    pub monitor: AtomicBool,
    /// What it is to be told out of turn.
    pub inbox: Inbox,
    signals: AtomicU32,
    wake: Notify,
    blocked: AtomicBool,
    busy: AtomicBool,
    database: AtomicU16,
    version: AtomicU8,
    /// Milliseconds from `since` to the last sign of life.
    active_ms: AtomicU64,
    /// The index of the last command in the table, plus one.
    command: AtomicUsize,
    /// Nanoseconds for which the current command was blocked.
    blocked_nanos: AtomicU64,
}

impl Client {
    /// Sets a signal and wakes the connection.
    pub fn signal(&self, signal: Signals) {
        self.signals.fetch_or(signal.0, Ordering::Release);
        self.wake.notify_one();
    }

    /// Wakes the connection: there is something in its inbox.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// The signals set.
    #[must_use]
    pub fn signals(&self) -> Signals {
        Signals(self.signals.load(Ordering::Acquire))
    }

    /// Takes a signal back.
    pub fn clear(&self, signal: Signals) {
        self.signals.fetch_and(!signal.0, Ordering::AcqRel);
    }

    /// Resolves at the next signal or message, also one that came since the last call resolved. The connection's own task only.
    pub async fn signalled(&self) {
        self.wake.notified().await;
    }

    /// Resolves once the client is killed.
    pub async fn killed(&self) {
        while !self.signals().contains(Signals::KILL) {
            self.signalled().await;
        }
    }

    /// Ends the blocking of a command, if one blocks; whether one did.
    pub fn unblock(&self, with_error: bool) -> bool {
        let blocked = self.blocked.load(Ordering::Acquire);
        if blocked {
            self.signal(if with_error { Signals::UNBLOCK_ERROR } else { Signals::UNBLOCK });
        }
        blocked
    }

    /// Whether a command of this client blocks.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Notes that a command begins or ends to block. A late unblocking must not reach the next one.
    pub fn set_blocked(&self, blocked: bool) {
        self.clear(Signals::UNBLOCK);
        self.clear(Signals::UNBLOCK_ERROR);
        self.blocked.store(blocked, Ordering::Release);
    }

    /// Notes for how long the current command was blocked.
    pub fn add_blocked_time(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.blocked_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// For how long the command that ends now was blocked.
    pub fn take_blocked_time(&self) -> Duration {
        Duration::from_nanos(self.blocked_nanos.swap(0, Ordering::Relaxed))
    }

    /// Whether it is in `MONITOR` mode.
    #[must_use]
    pub fn is_monitor(&self) -> bool {
        self.monitor.load(Ordering::Relaxed)
    }

    /// Whether it has subscriptions of any kind.
    #[must_use]
    pub fn has_subscriptions(&self) -> bool {
        self.subscriptions.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// The database chosen.
    #[must_use]
    pub fn database(&self) -> Database {
        Database(self.database.load(Ordering::Relaxed))
    }

    /// Notes the database chosen.
    pub fn set_database(&self, database: Database) {
        self.database.store(database.0, Ordering::Relaxed);
    }

    /// The protocol version chosen, as its number.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version.load(Ordering::Relaxed)
    }

    /// Notes the protocol version chosen.
    pub fn set_version(&self, version: RespVersion) {
        self.version.store(if version == RespVersion::V3 { 3 } else { 2 }, Ordering::Relaxed);
    }

    /// Whether a command of this client is being executed, blocked or held back by `CLIENT PAUSE`: it is the server then
    /// that takes its time.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Notes whether the server is to make the next step; what it was before.
    pub fn set_busy(&self, busy: bool) -> bool {
        self.busy.swap(busy, Ordering::Relaxed)
    }

    /// Notes a sign of life: requests arrived, replies were taken, or the client could not do anything until now.
    pub fn touch(&self) {
        let elapsed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.active_ms.store(elapsed, Ordering::Relaxed);
    }

    /// Seconds since the client's last sign of life.
    #[must_use]
    pub fn idle_secs(&self) -> u64 {
        let elapsed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        elapsed.saturating_sub(self.active_ms.load(Ordering::Relaxed)) / 1000
    }

    /// The index of the last command in the table; `None` before the first.
    #[must_use]
    pub fn last_command(&self) -> Option<usize> {
        self.command.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Notes the command being executed by its index in the table.
    pub fn set_last_command(&self, index: usize) {
        self.command.store(index + 1, Ordering::Relaxed);
    }
}

/// All connected clients.
#[derive(Default)]
pub struct Clients {
    by_id: Mutex<BTreeMap<u64, Arc<Client>>>,
    last_id: AtomicU64,
    /// Notified when the last one is gone.
    emptied: Notify,
}

impl Clients {
    /// Takes in a new connection, unless `max` are there already.
    pub fn add(&self, addr: SocketAddr, local: SocketAddr, fd: i32, max: usize) -> Option<Arc<Client>> {
        let mut by_id = self.by_id.lock();
        if by_id.len() >= max {
            return None;
        }
        let client = Arc::new(Client {
            id: self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            addr,
            local,
            fd,
            since: Instant::now(),
            labels: Mutex::default(),
            no_evict: AtomicBool::new(false),
            no_touch: AtomicBool::new(false),
            query_len: AtomicUsize::new(0),
            query_capacity: AtomicUsize::new(0),
            totals: Totals::default(),
            subscriptions: Default::default(),
            queued: AtomicI32::new(-1),
            watched: AtomicU32::new(0),
            monitor: AtomicBool::new(false),
            inbox: Inbox::default(),
            signals: AtomicU32::new(0),
            wake: Notify::new(),
            blocked: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            database: AtomicU16::new(0),
            version: AtomicU8::new(2),
            active_ms: AtomicU64::new(0),
            command: AtomicUsize::new(0),
            blocked_nanos: AtomicU64::new(0),
        });
        by_id.insert(client.id, Arc::clone(&client));
        Some(client)
    }

    /// Forgets a client whose connection ended.
    pub fn remove(&self, id: u64) {
        let mut by_id = self.by_id.lock();
        by_id.remove(&id);
        if by_id.is_empty() {
            self.emptied.notify_one();
        }
    }

    /// Resolves when no client is connected. For one waiter, which lets none in any more.
    pub async fn all_gone(&self) {
        while !self.is_empty() {
            self.emptied.notified().await;
        }
    }

    /// Sends a signal to every client.
    pub fn signal_all(&self, signal: Signals) {
        for client in self.by_id.lock().values() {
            client.signal(signal);
        }
    }

    /// Wakes every connection, so that it looks whether what it waits for can still come.
    pub fn wake_all(&self) {
        for client in self.by_id.lock().values() {
            client.wake();
        }
    }

    /// The client with that id.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.by_id.lock().get(&id).cloned()
    }

    /// All clients, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.by_id.lock().values().cloned().collect()
    }

    /// How many names they watch, each client's counted for itself.
    #[must_use]
    pub fn watched_names(&self) -> u64 {
        let by_id = self.by_id.lock();
        by_id.values().map(|client| u64::from(client.watched.load(Ordering::Relaxed))).sum()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.lock().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
