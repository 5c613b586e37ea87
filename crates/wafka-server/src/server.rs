//! The server as a whole: starts, accepts, goes down in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use wafka_broker::lease::{BootClock, LeaseClock};
use wafka_core::storage::{Owner, StorageFactory};
use wafka_core::{Clock, SystemClock};

use crate::clients::Signals;
use crate::config::Config;
use crate::data_dir::{DataDir, DataDirError};
use crate::descriptors;
use crate::engine::{self, EngineError};
use crate::io_thread::IoThread;
use crate::ownership::{Keeper, Standing};
use crate::plugins::{Plugins, PluginsError};
use crate::shared::{Place, Shared};
use crate::telemetry::LogLevel;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Between two looks at idle clients and rates.
const TICK: Duration = Duration::from_secs(1);

/// How long to wait before accepting again when the system has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long killed connections have to end.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// How long the threads of the connections have to end. They take a second at most, unless a plugin does not return.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Why the server could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source} (server.bind, server.port)")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Plugins cannot be used.
    #[error(transparent)]
    Plugins(#[from] PluginsError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The system has no thread or event queue left.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A running server.
pub struct Server {
    addr: SocketAddr,
    shared: Arc<Shared>,
    /// Says whether all went well.
    thread: JoinHandle<bool>,
}

impl Server {
    /// Starts a server; it accepts connections when this returns. Of `log`, `CONFIG SET loglevel` makes use.
    ///
    /// Where other servers reach the same data, the server serves it when this returns, or is a standby: see
    /// [`ownership`](crate::ownership).
    ///
    /// # Errors
    /// When plugins, the data directory, the engine or the address cannot be used; nothing is left running then.
    pub fn start(config: Config, log: Option<LogLevel>) -> Result<Self, StartError> {
        Server::start_with(config, log, Extras::default())
    }

    /// As [`Server::start`], with what only programs have to give.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_with(config: Config, log: Option<LogLevel>, extras: Extras) -> Result<Self, StartError> {
        // First of all: what is wrong with one must not leave anything behind.
        let plugins = Plugins::load_with(&config, extras.storages)?;
        let mut data_dir = DataDir::open(&config.server.data_dir)?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        // Before the engine starts, which may take longer: two servers must not both believe they have the port.
        let listener = listen(&runtime, SocketAddr::new(config.server.bind, config.server.port))?;
        let addr = runtime.block_on(async { listener.local_addr() }).map_err(StartError::Thread)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let place = Place { addr, data_dir: data_dir.path().to_owned(), run_id: run_id() };
        let me = owner(&config, &place);
        let prepared = engine::prepare(&config, &plugins, &data_dir, &clock, &me)?;
        let Some(ownership) = prepared.ownership() else {
            let engine = prepared.start(&mut data_dir)?;
            let shared = Arc::new(Shared::new(config, plugins, Standing::alone(), place, log, clock));
            shared.set_engine(engine);
            return Server::run(
                shared,
                runtime,
                listener,
                Held { keeper: None, data_dir: Arc::new(data_dir.into()) },
            );
        };
        let standing = Standing::standby(me.clone(), Arc::clone(&extras.lease_clock), Arc::clone(&clock));
        let shared = Arc::new(Shared::new(config, plugins, standing, place, log, clock));
        let data_dir = Arc::new(Mutex::new(data_dir));
        let open = {
            let data_dir = Arc::clone(&data_dir);
            Box::new(move || prepared.start(&mut data_dir.lock()))
        };
        let keeper = Keeper::start(ownership, me, extras.lease_clock, Arc::clone(&shared), open);
        let (keeper, first) = keeper.map_err(StartError::Thread)?;
        let server = Server::run(shared, runtime, listener, Held { keeper: Some(keeper), data_dir })?;
        // Without a word the thread that opens the data has panicked: the server ends, as `wait` tells.
        match first.recv() {
            Ok(Err(error)) => {
                server.stop();
                // What is wrong is told by the error.
                let _ = server.wait();
                Err(error.into())
            }
            Ok(Ok(())) | Err(_) => Ok(server),
        }
    }

    /// Serves connections.
    fn run(
        shared: Arc<Shared>,
        runtime: Runtime,
        listener: TcpListener,
        held: Held,
    ) -> Result<Self, StartError> {
        let mut io_threads = Vec::new();
        for number in 1..=shared.config.server.io_thread_count() {
            match IoThread::start(number, Arc::clone(&shared)) {
                Ok(thread) => io_threads.push(thread),
                Err(error) => {
                    held.let_go(&shared);
                    return Err(StartError::Thread(error));
                }
            }
        }
        // Now that all event queues are open, and all logs, unless another server owns them.
        descriptors::limit_clients(&shared);
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("wafka-accept".to_owned()).spawn(move || {
            let shared = serving;
            runtime.block_on(accept_until_asked(listener, &io_threads, &shared));
            runtime.block_on(let_clients_go(&shared));
            stop(io_threads, &shared);
            held.let_go(&shared);
            !shared.standing.has_failed()
        });
        let thread = thread.map_err(StartError::Thread)?;
        Ok(Server { addr: shared.addr, shared, thread })
    }

    /// The address it listens on, with the port that was really taken.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What its connections share.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Asks it to shut down.
    pub fn stop(&self) {
        self.shared.shutdown.ask();
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until it has shut down: what was accepted is committed and synced. False when it failed at that.
    #[must_use]
    pub fn wait(self) -> bool {
        self.thread.join().unwrap_or(false)
    }
}

/// What a program may give a server beyond its configuration.
pub struct Extras {
    /// Storage backends beside those built in and those of plugins.
    pub storages: Vec<Arc<dyn StorageFactory>>,
    /// The clock that a lease on the data is counted by.
    pub lease_clock: Arc<dyn LeaseClock>,
}

impl Default for Extras {
    fn default() -> Self {
        Extras { storages: Vec::new(), lease_clock: Arc::new(BootClock) }
    }
}

/// What a server gives up last.
struct Held {
    keeper: Option<Keeper>,
    data_dir: Arc<Mutex<DataDir>>,
}

impl Held {
    /// Commits what was accepted, then lets others have the data.
    fn let_go(self, shared: &Shared) {
        let closed = self.keeper.as_ref().is_none_or(|keeper| keeper.close(Instant::now() + STOP_GRACE));
        if !closed {
            // What it writes yet is its own until the lease ends; it is not given up.
            tracing::error!("the data takes long to open: the server ends without waiting for it");
            return;
        }
        if let Some(engine) = shared.engine() {
            engine.shutdown();
        }
        if let Some(keeper) = self.keeper {
            keeper.end();
        }
        // Unlocked last, when nothing writes any more.
        drop(self.data_dir);
    }
}

/// This server as others are told of it.
fn owner(config: &Config, place: &Place) -> Owner {
    let advertised = config.server.advertise.clone();
    let address = if advertised.is_empty() { place.addr.to_string() } else { advertised };
    Owner { id: place.run_id.clone(), address }
}

fn listen(runtime: &Runtime, addr: SocketAddr) -> Result<TcpListener, StartError> {
    let _context = runtime.enter();
    let listen = || {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| StartError::Bind { addr, source })
}

/// Accepts connections, and looks after idle clients and rates, until a shutdown is asked for.
async fn accept_until_asked(listener: TcpListener, io_threads: &[IoThread], shared: &Shared) {
    let mut next = io_threads.iter().cycle();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut sampled = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.asked() => return,
            accepted = listener.accept() => match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
                Ok((socket, peer)) => {
                    let taken = next.next().is_some_and(|thread| thread.serve(socket, peer));
                    if !taken {
                        tracing::error!(%peer, "no thread to serve a connection");
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = tick.tick() => {
                let now = Instant::now();
                shared.stats.sample(now - sampled);
                sampled = now;
                close_idle(shared);
            }
        }
    }
}

/// Whether an error of accepting concerns only the connection that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Closes clients that were idle for too long. One whose command is being executed is not idle, nor is one that listens.
fn close_idle(shared: &Shared) {
    let timeout = u64::from(shared.settings.timeout_secs());
    if timeout == 0 {
        return;
    }
    for client in shared.clients.all() {
        let listens = client.has_subscriptions() || client.is_monitor();
        if client.idle_secs() > timeout && !client.is_busy() && !listens {
            tracing::debug!(client = client.id, "closing idle connection");
            client.signal(Signals::KILL);
        }
    }
}

/// Lets every client have the replies to what was executed; those that do not read them in time are dropped.
async fn let_clients_go(shared: &Shared) {
    tracing::info!("shutting down");
    shared.clients.signal_all(Signals::SHUTDOWN);
    let grace = Duration::from_secs(u64::from(shared.config.server.shutdown_timeout));
    if tokio::time::timeout(grace, shared.clients.all_gone()).await.is_err() {
        tracing::warn!(clients = shared.clients.len(), "closing clients that do not read their replies");
        shared.clients.signal_all(Signals::KILL);
        // What is left after that is dropped with its thread.
        let _ = tokio::time::timeout(KILL_GRACE, shared.clients.all_gone()).await;
    }
}

/// Ends the threads of the connections; one that is in a plugin's call that does not return must not hold up the end.
fn stop(io_threads: Vec<IoThread>, shared: &Shared) {
    let stopped = IoThread::stop(io_threads, Instant::now() + STOP_GRACE);
    if !stopped && shared.engine().is_none_or(|engine| engine.abandon_routes() == 0) {
        tracing::error!("a connection thread is in a call that does not return: the server ends without it");
    }
}

/// 40 hexadecimal digits that differ from run to run.
fn run_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    // Each RandomState has keys of its own, drawn from the system's randomness.
    let parts: String = (0..3).map(|n| format!("{:016x}", RandomState::new().hash_one(n))).collect();
    parts[..40].to_owned()
}
