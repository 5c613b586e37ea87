//! A connection that takes replies as they are.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::value::Value;
use crate::client::encode;

/// How much is asked of the socket at a time.
const READ_LEN: usize = 16 * 1024;

/// A connection to a server.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
    buffer: Box<[u8]>,
}

impl Wire {
    /// Connects; a reply that takes longer than `patience` is an error.
    ///
    /// # Errors
    /// When the server does not accept.
    pub fn connect(addr: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Wire { stream, received: Vec::new(), buffer: vec![0; READ_LEN].into() })
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<()> {
        let mut request = Vec::new();
        encode(&mut request, args);
        self.stream.write_all(&request)
    }

    /// The next reply.
    ///
    /// # Errors
    /// When the connection is gone, or nothing comes in time.
    pub fn reply(&mut self) -> io::Result<Value> {
        loop {
            if let Some(value) = self.parse()? {
                return Ok(value);
            }
            self.receive()?;
        }
    }

    /// Sends a command, given as words, and returns its reply.
    ///
    /// # Errors
    /// When the connection is gone, or nothing comes in time.
    pub fn run(&mut self, words: &str) -> io::Result<Value> {
        self.send(&words.split_ascii_whitespace().collect::<Vec<_>>())?;
        self.reply()
    }

    /// The next reply if it is there already.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn try_reply(&mut self) -> io::Result<Option<Value>> {
        if let Some(value) = self.parse()? {
            return Ok(Some(value));
        }
        self.stream.set_nonblocking(true)?;
        let received = self.receive();
        self.stream.set_nonblocking(false)?;
        match received {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
            Ok(()) => self.parse(),
        }
    }

    fn parse(&mut self) -> io::Result<Option<Value>> {
        if self.received.is_empty() {
            return Ok(None);
        }
        let parsed = Value::parse(&self.received);
        let parsed = parsed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error.0))?;
        Ok(parsed.map(|(value, len)| {
            self.received.drain(..len);
            value
        }))
    }

    fn receive(&mut self) -> io::Result<()> {
        loop {
            match self.stream.read(&mut self.buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(0) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
                }
                Ok(len) => {
                    self.received.extend_from_slice(&self.buffer[..len]);
                    return Ok(());
                }
            }
        }
    }
}
