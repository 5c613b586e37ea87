//! A thread that serves connections: one event loop, on which each connection is a task.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use wafka_protocol::error_text;

use crate::clients::Signals;
use crate::connection::Connection;
use crate::kick::Kicker;
use crate::session::Session;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::wake::{Gathered, Inbox};

/// Threads for blocking work of the connections of one thread: reads of files, creation of topics.
const BLOCKING_THREADS_MAX: usize = 32;

/// Tasks polled between two looks at the sockets. More than there are mostly ready, so that they share one kick.
const EVENT_INTERVAL: u32 = 256;

/// What a client from elsewhere reads in protected mode.
const DENIED: &str = "-DENIED Wafka is running in protected mode: no password is set, so only clients that \
    connect over the loopback address are served. To accept others, set a password (server.requirepass in the \
    configuration, or CONFIG SET requirepass over the loopback address), or, on a network that only you can reach, switch the mode off \
    (server.protected_mode = false, or CONFIG SET protected-mode no).\r\n";

/// A running thread.
pub(crate) struct IoThread {
    sockets: UnboundedSender<(std::net::TcpStream, SocketAddr)>,
    thread: JoinHandle<()>,
    /// Its other end goes with the thread.
    ended: Receiver<()>,
}

impl IoThread {
    /// Starts a thread.
    ///
    /// # Errors
    /// When the system has no thread or event queue left.
    pub(crate) fn start(number: u16, shared: Arc<Shared>) -> io::Result<Self> {
        let (sockets, received) = unbounded_channel();
        let (ready_tx, ready_rx) = std::sync::mpsc::sync_channel(1);
        let (ending, ended) = channel();
        let thread = std::thread::Builder::new().name(format!("wafka-io-{number}")).spawn(move || {
            let _ending: Sender<()> = ending;
            let runtime = Builder::new_current_thread()
                .enable_all()
                .event_interval(EVENT_INTERVAL)
                .max_blocking_threads(BLOCKING_THREADS_MAX)
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => {
                    // The starter waits for this, so it cannot be gone; were it, the sockets' channel would be closed.
                    let _ = ready_tx.send(Ok(()));
                    runtime.block_on(serve(received, shared));
                    // A thread that is stuck in a read must not hold up the end.
                    runtime.shutdown_timeout(Duration::from_secs(1));
                }
                Err(error) => {
                    let _ = ready_tx.send(Err(error));
                }
            }
        })?;
        match ready_rx.recv() {
            Ok(result) => result?,
            Err(_) => return Err(io::Error::other("a connection thread ended before it began")),
        }
        Ok(IoThread { sockets, thread, ended })
    }

    /// Hands a connection over; false when the thread is gone.
    pub(crate) fn serve(&self, socket: std::net::TcpStream, peer: SocketAddr) -> bool {
        self.sockets.send((socket, peer)).is_ok()
    }

    /// Ends threads; connections still open are dropped. False when one has not ended until then: it is left to itself, in
    /// a call that does not return.
    pub(crate) fn stop(threads: Vec<IoThread>, until: Instant) -> bool {
        let threads: Vec<_> = threads.into_iter().map(|thread| (thread.thread, thread.ended)).collect();
        let mut all = true;
        for (thread, ended) in threads {
            let left = until.saturating_duration_since(Instant::now());
            if ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                all = false;
            } else if thread.join().is_err() {
                tracing::error!("a connection thread panicked");
            }
        }
        all
    }
}

/// Turns the sockets received into connections, until there will be no more.
async fn serve(mut sockets: UnboundedReceiver<(std::net::TcpStream, SocketAddr)>, shared: Arc<Shared>) {
    let kicker = Kicker::new(Arc::clone(&shared));
    let kicking = Rc::new(tokio::task::spawn_local(kicker.clone().run()));
    let inbox = Inbox::new();
    let emptying = tokio::task::spawn_local(Arc::clone(&inbox).empty());
    while let Some((socket, peer)) = sockets.recv().await {
        match accept(&shared, &kicker, socket, peer).await {
            Ok(Some(connection)) => {
                tokio::task::spawn_local(Gathered::new(connection.run(), &inbox));
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%peer, %error, "connection lost before it was served"),
        }
    }
    kicking.abort();
    emptying.abort();
}

/// Takes a client in, or tells it why not.
async fn accept(
    shared: &Arc<Shared>,
    kicker: &Kicker,
    socket: std::net::TcpStream,
    peer: SocketAddr,
) -> io::Result<Option<Connection>> {
    shared.stats.connections.add(1);
    let mut stream = TcpStream::from_std(socket)?;
    stream.set_nodelay(true)?;
    let settings = &shared.settings;
    if is_denied(settings, peer.ip()) {
        tracing::warn!(%peer, "refused in protected mode");
        shared.stats.rejected_connections.add(1);
        stream.write_all(DENIED.as_bytes()).await?;
        return Ok(None);
    }
    keep_alive(&stream, shared.config.server.tcp_keepalive)?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&stream);
    let max = usize::try_from(settings.maxclients()).unwrap_or(usize::MAX);
    let Some(client) = shared.clients.add(peer, stream.local_addr()?, fd, max) else {
        shared.stats.rejected_connections.add(1);
        stream.write_all(format!("-{}\r\n", error_text::MAX_CLIENTS).as_bytes()).await?;
        return Ok(None);
    };
    if shared.shutdown.is_asked() {
        // Whoever signalled all clients may have missed this one.
        client.signal(Signals::SHUTDOWN);
    }
    tracing::debug!(client = client.id, %peer, "connection accepted");
    let session = Session::new(Arc::clone(shared), client, stream, kicker.clone());
    Ok(Some(Connection::new(session)))
}

/// Whether protected mode keeps a client out.
fn is_denied(settings: &Settings, peer: IpAddr) -> bool {
    settings.protected_mode() && !settings.password_required() && !peer.to_canonical().is_loopback()
}

/// Makes the system probe a silent client, as Redis sets it up: the first probe after `secs`, then every third of
/// that, three in all.
fn keep_alive(stream: &TcpStream, secs: u32) -> io::Result<()> {
    if secs == 0 {
        return Ok(());
    }
    let secs = u64::from(secs);
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(secs))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs((secs / 3).max(1)))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::server::Server;

    #[test]
    fn protected_mode_keeps_strangers_out_until_there_is_a_password() {
        let settings = Settings::new(&Config::default());
        let denied = |peer: &str| is_denied(&settings, peer.parse().unwrap());
        assert!(denied("192.0.2.1") && denied("2001:db8::1") && denied("::ffff:192.0.2.1"));
        assert!(
            !denied("127.0.0.1") && !denied("127.3.2.1") && !denied("::1") && !denied("::ffff:127.0.0.1")
        );
        settings.set_password("secret");
        assert!(!denied("192.0.2.1"));
        settings.set_password("");
        settings.set_protected_mode(false);
        assert!(!denied("192.0.2.1"));
    }

    #[test]
    fn the_refusal_is_one_error_line() {
        assert!(DENIED.starts_with("-DENIED ") && DENIED.ends_with(".\r\n"));
        assert_eq!(DENIED.matches('\n').count(), 1);
        assert!(!DENIED.contains("  "));
    }

    #[test]
    fn a_connection_taken_in_after_all_were_told_to_end_is_told_too() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.port = 0;
        config.server.brokers = 1;
        config.server.io_threads = 1;
        config.server.data_dir = dir.path().join("data");
        let server = Server::start(config, None).unwrap();
        let shared = Arc::clone(server.shared());
        server.stop();
        assert!(server.wait());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let kicker = Kicker::new(Arc::clone(&shared));
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
        runtime.block_on(async {
            let connection = accept(&shared, &kicker, socket, peer).await.unwrap().unwrap();
            assert!(shared.clients.all()[0].signals().contains(Signals::SHUTDOWN));
            // It ends by itself.
            connection.run().await;
        });
        assert!(shared.clients.is_empty());
    }
}
