//! A request to a server and its answer, in NATS's text protocol, without a runtime: enough to ask how things stand.

use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Login;

/// Longer lines are none of this protocol's.
const LINE_MAX: u64 = 1 << 20;
/// Longer answers are none to what is asked here.
const ANSWER_MAX: usize = 64 << 20;
/// Where answers are sent to; each request has a connection of its own.
const INBOX: &str = "_INBOX.wafka";

/// Asks the server at `port`, and returns the first answer, which is JSON.
///
/// # Errors
/// Nobody answers in time, the server refuses, or it is not JSON.
pub(crate) fn ask(
    port: u16,
    login: Login,
    subject: &str,
    body: &str,
    patience: Duration,
) -> io::Result<Value> {
    let until = Instant::now() + patience;
    let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), patience)?;
    stream.set_nodelay(true)?;
    let hello = json!({
        "verbose": false, "pedantic": false, "lang": "wafka-test", "version": "1",
        "user": login.user, "pass": login.password, "headers": true, "no_responders": true,
    });
    let request =
        format!("CONNECT {hello}\r\nSUB {INBOX} 1\r\nPUB {subject} {INBOX} {}\r\n{body}\r\n", body.len());
    let mut writer = &stream;
    writer.write_all(request.as_bytes())?;
    let mut reader = BufReader::new(&stream);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(ErrorKind::TimedOut, format!("no answer on {subject}")));
        }
        stream.set_read_timeout(Some(left))?;
        let mut line = String::new();
        if reader.by_ref().take(LINE_MAX).read_line(&mut line)? == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
        }
        match line.split_ascii_whitespace().next() {
            Some("PING") => writer.write_all(b"PONG\r\n")?,
            Some("-ERR") => return Err(Error::other(line.trim_end().to_owned())),
            // Only a message without an answer's body has headers here: that nobody listens.
            Some("HMSG") => return Err(Error::other(format!("nobody listens on {subject}"))),
            Some("MSG") => {
                let len = line.split_ascii_whitespace().last().and_then(|len| len.parse::<usize>().ok());
                let len = len.filter(|len| *len <= ANSWER_MAX);
                let len = len.ok_or_else(|| Error::new(ErrorKind::InvalidData, line.clone()))?;
                let mut answer = vec![0; len];
                reader.read_exact(&mut answer)?;
                return Ok(serde_json::from_slice(&answer)?);
            }
            _ => {}
        }
    }
}
