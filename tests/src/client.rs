//! A plain blocking client. It decodes with the `redis-protocol` crate, so that what the server sends is judged by
//! somebody else's idea of RESP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use redis_protocol::{resp2, resp3};

use crate::{PATIENCE, Reply};

/// How much is asked of the socket at a time.
const READ_LEN: usize = 256 * 1024;

/// One connection. Its plain methods panic when the connection fails, those that begin with `try_` return the error.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    /// What of `received` is decoded already.
    decoded: usize,
    resp3: bool,
}

impl Client {
    /// Connects, in RESP2.
    #[track_caller]
    #[must_use]
    pub fn connect(addr: SocketAddr) -> Self {
        Self::try_connect(addr).unwrap_or_else(|error| panic!("cannot connect to {addr}: {error}"))
    }

    /// Connects, in RESP2.
    ///
    /// # Errors
    /// When the server does not accept.
    pub fn try_connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, received: Vec::new(), decoded: 0, resp3: false })
    }

    /// Connects and switches to RESP3.
    #[track_caller]
    #[must_use]
    pub fn connect_resp3(addr: SocketAddr) -> Self {
        let mut client = Self::connect(addr);
        client.send_raw(b"HELLO 3\r\n");
        client.resp3 = true;
        let hello = client.reply();
        assert_eq!(hello.get("proto"), &Reply::Int(3));
        client
    }

    /// The socket, for what the other methods have no words for.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Decodes what comes from now on as RESP3.
    pub fn expect_resp3(&mut self) {
        self.resp3 = true;
    }

    /// How long to wait for a reply.
    pub fn set_patience(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).unwrap();
    }

    /// Sends a command, given as words, and returns its reply.
    #[track_caller]
    pub fn run(&mut self, words: &str) -> Reply {
        let args: Vec<&str> = words.split_ascii_whitespace().collect();
        self.call(&args)
    }

    /// Sends a command and returns its reply.
    #[track_caller]
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.try_call(args).unwrap_or_else(|error| panic!("{}: {error}", show(args)))
    }

    /// Sends a command and returns its reply.
    ///
    /// # Errors
    /// When the connection fails or nothing comes in time.
    pub fn try_call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        let mut request = Vec::new();
        encode(&mut request, args);
        self.stream.write_all(&request)?;
        self.try_reply()
    }

    /// Sends a command without waiting for its reply.
    #[track_caller]
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        let mut request = Vec::new();
        encode(&mut request, args);
        self.send_raw(&request);
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.try_send_raw(bytes).unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Tells the server that nothing more will come.
    pub fn close_sending(&mut self) {
        // A connection that the server has closed already is as good.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next reply.
    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        self.try_reply().unwrap_or_else(|error| panic!("no reply: {error}"))
    }

    /// The next reply.
    ///
    /// # Errors
    /// When the connection ends or fails first, or nothing comes in time.
    pub fn try_reply(&mut self) -> io::Result<Reply> {
        loop {
            if let Some(reply) = self.decode()? {
                return Ok(reply);
            }
            self.receive()?;
        }
    }

    /// Reads on until the server closes the connection, and returns the replies that came before that.
    ///
    /// # Errors
    /// When the server does not close it in time.
    pub fn until_closed(&mut self) -> io::Result<Vec<Reply>> {
        let mut replies = Vec::new();
        loop {
            match self.try_reply() {
                Ok(reply) => replies.push(reply),
                Err(error) if error.kind() == ErrorKind::TimedOut => return Err(error),
                Err(_) => return Ok(replies),
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        self.received.drain(..self.decoded);
        self.decoded = 0;
        let len = self.received.len();
        self.received.resize(len + READ_LEN, 0);
        let read = loop {
            match self.stream.read(&mut self.received[len..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What a read time-out is on Unix.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    break Err(io::Error::new(ErrorKind::TimedOut, "nothing came in time"));
                }
                Ok(0) => {
                    break Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
                }
                other => break other,
            }
        };
        self.received.truncate(len + read.as_ref().copied().unwrap_or(0));
        read.map(drop)
    }

    fn decode(&mut self) -> io::Result<Option<Reply>> {
        let bytes = &self.received[self.decoded..];
        if bytes.is_empty() {
            return Ok(None);
        }
        let invalid = |error| io::Error::new(ErrorKind::InvalidData, format!("no RESP: {error:?}"));
        let decoded = if self.resp3 {
            resp3::decode::complete::decode(bytes).map_err(invalid)?.map(|(frame, len)| (frame.into(), len))
        } else {
            resp2::decode::decode(bytes).map_err(invalid)?.map(|(frame, len)| (frame.into(), len))
        };
        Ok(decoded.map(|(reply, len)| {
            self.decoded += len;
            reply
        }))
    }
}

/// Appends a command as a client sends it: an array of bulk strings.
pub fn encode<A: AsRef<[u8]>>(out: &mut Vec<u8>, args: &[A]) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

fn show<A: AsRef<[u8]>>(args: &[A]) -> String {
    let words: Vec<String> = args
        .iter()
        .map(|arg| arg.as_ref().iter().take(80).copied().collect::<Vec<u8>>().escape_ascii().to_string())
        .collect();
    words.join(" ")
}
