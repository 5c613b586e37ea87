//! One producing connection: sends a batch of commands in one write, takes their replies, sends the next.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;

use crate::error::Context;
use crate::ledger::Acked;
use crate::payload::Batch;
use crate::reply::{Id, added};
use crate::{BenchError, Result};

/// A connection and its place in the run.
#[derive(Debug)]
pub struct Conn {
    number: usize,
    /// The socket, for registration.
    pub stream: TcpStream,
    batch: Batch,
    /// Commands of the batch in flight, and bytes of it that the socket has taken.
    in_flight: usize,
    written: usize,
    outstanding: usize,
    /// The beginning of a reply whose end has not arrived.
    partial: Vec<u8>,
    /// Ids of different topics can't be compared; the read-back sees to those.
    checks_order: bool,
    last: Id,
    /// What was acknowledged.
    pub acked: Acked,
    /// When the batch in flight was sent.
    pub sent_at: Instant,
}

impl Conn {
    /// Connects.
    ///
    /// # Errors
    /// The server does not take the connection.
    pub fn open(addr: SocketAddr, number: usize, batch: Batch, checks_order: bool) -> Result<Self> {
        let what = || format!("connection {number} to {addr}");
        let stream = std::net::TcpStream::connect(addr).doing(what)?;
        stream.set_nodelay(true).doing(what)?;
        stream.set_nonblocking(true).doing(what)?;
        Ok(Self {
            number,
            stream: TcpStream::from_std(stream),
            batch,
            in_flight: 0,
            written: 0,
            outstanding: 0,
            partial: Vec::new(),
            checks_order,
            last: Id::default(),
            acked: Acked::default(),
            sent_at: Instant::now(),
        })
    }

    /// Sends the first `commands` commands of the batch.
    ///
    /// # Errors
    /// The connection broke.
    pub fn send(&mut self, commands: usize, now: Instant) -> Result<()> {
        self.in_flight = commands;
        self.outstanding = commands;
        self.written = 0;
        self.sent_at = now;
        self.flush()
    }

    /// Hands the socket what it has not taken yet.
    ///
    /// # Errors
    /// The connection broke.
    pub fn flush(&mut self) -> Result<()> {
        let bytes = self.batch.bytes(self.in_flight);
        while self.written < bytes.len() {
            match self.stream.write(&bytes[self.written..]) {
                Ok(taken) => self.written += taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).doing(|| format!("connection {}: write", self.number)),
            }
        }
        Ok(())
    }

    /// Takes what has arrived, by way of `buffer`. Says whether this ended a batch; the next one is then laid out.
    ///
    /// A read that does not fill the buffer has emptied the socket (epoll(7), on edge-triggered stream sockets), so
    /// a batch normally costs one read. Only where the other side is `closing` there may be an end behind the bytes
    /// that no further edge will tell of.
    ///
    /// # Errors
    /// An error reply, a wrong one, an id that does not increase, a closed or broken connection.
    pub fn receive(&mut self, buffer: &mut [u8], closing: bool) -> Result<bool> {
        let before = self.outstanding;
        loop {
            let kept = self.partial.len();
            buffer[..kept].copy_from_slice(&self.partial);
            let space = buffer.len() - kept;
            let got = match self.stream.read(&mut buffer[kept..]) {
                Ok(0) => {
                    let what = format!("connection {}", self.number);
                    return Err(BenchError::Closed { what, outstanding: self.outstanding });
                }
                Ok(got) => got,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).doing(|| format!("connection {}: read", self.number)),
            };
            let bytes = &buffer[..kept + got];
            let used = self.take_replies(bytes)?;
            let rest = &bytes[used..];
            if rest.len() > buffer.len() / 2 {
                return Err(BenchError::Setup(format!(
                    "connection {}: a reply of more than {} bytes",
                    self.number,
                    rest.len()
                )));
            }
            self.partial.clear();
            self.partial.extend_from_slice(rest);
            if got < space && !closing {
                break;
            }
        }
        let ended = before > 0 && self.outstanding == 0;
        if ended {
            self.batch.advance();
        }
        Ok(ended)
    }

    fn take_replies(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let reply = added(&bytes[at..]).map_err(|source| BenchError::Reply {
                what: format!("XADD {} on connection {}", self.acked.count, self.number),
                source,
            })?;
            let Some((id, used)) = reply else { break };
            if self.outstanding == 0 {
                let what = format!("connection {}: more replies than commands", self.number);
                return Err(BenchError::Setup(what));
            }
            if self.checks_order && id <= self.last {
                let what = format!("connection {}", self.number);
                return Err(BenchError::IdOrder { what, last: self.last, next: id });
            }
            self.last = id;
            self.acked.add(id);
            self.outstanding -= 1;
            at += used;
        }
        Ok(at)
    }

    /// The id acknowledged last, and the number of its event.
    #[must_use]
    pub fn last_event(&self) -> Option<(Id, u64)> {
        self.acked.count.checked_sub(1).map(|number| (self.last, number))
    }
}
