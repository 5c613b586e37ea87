//! A connection's loop: read what there is, execute all complete requests, wait for their commits once, write all
//! replies at once.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wafka_protocol::{Args, Limits, ProtocolError, RequestScanner};

use crate::execute::{self, Outcome};
use crate::session::{FLUSH_AT, Session};

/// The first capacity of the read buffer, in bytes: a pipeline of 64 small events.
const READ_CAPACITY: usize = 16 * 1024;

/// The capacity up to which the read buffer grows to take a batch by one read, in bytes.
const READ_CAPACITY_MAX: usize = 256 * 1024;

/// The most that the read buffer grows at once for a request whose announced length is the client's claim, in bytes.
const GROWTH_MAX: usize = 1024 * 1024;

/// After so many reads that took less than a quarter of the read buffer, it is made smaller.
const SMALL_READS_MAX: u32 = 128;

/// A client's connection.
pub(crate) struct Connection {
    session: Session,
    scanner: RequestScanner,
    limits: Limits,
    /// What was read and not yet executed, from `start` on.
    buf: Vec<u8>,
    start: usize,
    /// The capacity that batches seem to need.
    capacity: usize,
    small_reads: u32,
}

impl Connection {
    pub(crate) fn new(session: Session) -> Self {
        Connection {
            limits: session.request_limits(),
            session,
            scanner: RequestScanner::new(),
            buf: Vec::new(),
            start: 0,
            capacity: READ_CAPACITY,
            small_reads: 0,
        }
    }

    /// Serves the client until it leaves, is killed, or the server shuts down.
    pub(crate) async fn run(mut self) {
        let id = self.session.client.id;
        match self.serve().await {
            Ok(()) => tracing::debug!(client = id, "connection closed"),
            Err(error) => tracing::debug!(client = id, %error, "connection lost"),
        }
    }

    async fn serve(&mut self) -> io::Result<()> {
        while self.fill().await? {
            self.session.begin_batch();
            self.limits = self.session.request_limits();
            self.execute_all().await?;
            self.session.settle().await;
            self.session.take_pushes();
            self.session.flush().await?;
            if self.session.is_closing() {
                return self.finish().await;
            }
        }
        Ok(())
    }

    /// Reads what there is, waiting for it; false when the connection ends instead.
    async fn fill(&mut self) -> io::Result<bool> {
        if self.session.client.signals().ends_connection() {
            return Ok(false);
        }
        self.make_room();
        let client = &self.session.client;
        client.query_len.store(self.buf.len(), std::sync::atomic::Ordering::Relaxed);
        client.query_capacity.store(self.buf.capacity(), std::sync::atomic::Ordering::Relaxed);
        if !self.session.read_ahead.is_empty() {
            self.buf.append(&mut self.session.read_ahead);
            return Ok(true);
        }
        let read = loop {
            self.session.send_pushes().await?;
            let client = &self.session.client;
            if client.signals().ends_connection() {
                return Ok(false);
            }
            let more = self.session.has_pushes_to_send();
            tokio::select! {
                biased;
                read = self.session.stream.read_buf(&mut self.buf) => break read?,
                () = client.signalled() => {}
                () = std::future::ready(()), if more => {}
            }
        };
        if read == 0 {
            return Ok(false);
        }
        self.session.client.touch();
        let more = self.read_rest()?;
        self.adapt(read + more);
        self.session.note_input(read + more);
        Ok(true)
    }

    /// Drops what was executed, and makes room for the next read.
    fn make_room(&mut self) {
        if self.start == self.buf.len() {
            self.buf.clear();
            if self.buf.capacity() > self.capacity {
                self.buf.shrink_to(self.capacity);
            }
        } else if self.start > 0 {
            self.buf.drain(..self.start);
        }
        self.start = 0;
        let needed = self.scanner.needed(self.buf.len()).min(GROWTH_MAX);
        let batch = self.capacity.saturating_sub(self.buf.len());
        self.buf.reserve(needed.max(batch).max(READ_CAPACITY / 4));
    }

    /// Reads on without waiting while the buffer was filled to the brim, for a batch is answered at once.
    fn read_rest(&mut self) -> io::Result<usize> {
        let mut total = 0;
        while self.buf.len() == self.buf.capacity() && self.buf.capacity() < READ_CAPACITY_MAX {
            self.buf.reserve(self.buf.capacity());
            match self.session.stream.try_read_buf(&mut self.buf) {
                // The end of the stream shows again at the next read.
                Ok(0) => break,
                Ok(read) => total += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    /// Fits the buffer's capacity to what reads bring.
    fn adapt(&mut self, read: usize) {
        if read >= self.capacity && self.capacity < READ_CAPACITY_MAX {
            self.capacity = read.next_power_of_two().clamp(READ_CAPACITY, READ_CAPACITY_MAX);
            self.small_reads = 0;
        } else if read < self.capacity / 4 && self.capacity > READ_CAPACITY {
            self.small_reads += 1;
            if self.small_reads > SMALL_READS_MAX {
                self.capacity = (self.capacity / 2).max(READ_CAPACITY);
                self.small_reads = 0;
            }
        } else {
            self.small_reads = 0;
        }
    }

    /// Executes all complete requests in the buffer.
    async fn execute_all(&mut self) -> io::Result<()> {
        while !self.session.is_closing() {
            let unread = &self.buf[self.start..];
            let scanned = match self.scanner.scan(unread, &self.limits) {
                Ok(Some(scanned)) => scanned,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.refuse(error).await;
                    return Ok(());
                }
            };
            let mut args = Args::new();
            self.scanner.args(unread, &mut args);
            if !args.is_empty() {
                match execute::without_waiting(&mut self.session, &args) {
                    Outcome::Done => {}
                    Outcome::Waits(request) => {
                        self.session.settle().await;
                        execute::waiting(&mut self.session, request, &args).await;
                        // The client may have authenticated.
                        self.limits = self.session.request_limits();
                        self.session.take_pushes();
                    }
                }
            }
            self.start += scanned.consumed;
            if self.session.out_len() >= FLUSH_AT {
                // Replies that are owed come after those written, but not before their turn.
                self.session.flush().await?;
            }
            if self.session.client.signals().ends_connection() {
                self.session.close();
            }
        }
        Ok(())
    }

    /// Answers bytes that are no request; the connection ends after that.
    async fn refuse(&mut self, error: ProtocolError) {
        self.session.settle().await;
        tracing::info!(client = self.session.client.id, addr = %self.session.client.addr, %error, "closing connection");
        if error == ProtocolError::RequestTooLong {
            self.session.shared.stats.query_limit_disconnections.add(1);
        }
        let text = format!("ERR {error}");
        self.session.shared.stats.count_error(&text);
        self.session.reply().error(&text);
        self.session.close();
    }

    /// Closes the connection so that the last reply arrives: unread input would make the system reset it.
    async fn finish(&mut self) -> io::Result<()> {
        self.session.stream.shutdown().await?;
        for _ in 0..16 {
            self.buf.clear();
            match self.session.stream.try_read_buf(&mut self.buf) {
                Ok(read) if read > 0 => {}
                _ => break,
            }
        }
        Ok(())
    }
}

impl Drop for Connection {
    /// However the connection ends, its place is free again.
    fn drop(&mut self) {
        self.session.stop_listening();
        self.session.discard();
        self.session.shared.clients.remove(self.session.client.id);
    }
}
