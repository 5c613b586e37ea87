//! The catch-up reader: one connection, `XREAD COUNT n STREAMS topic last` from the start until nothing comes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde::Serialize;

use crate::error::Context;
use crate::latency::{Latency, Percentiles};
use crate::ledger::{Ledger, Verifier};
use crate::load::PATIENCE;
use crate::payload::topic_name;
use crate::procfs::thread_cpu;
use crate::reply::{EntryScanner, Id, ReplyError, array, xread_head};
use crate::{BenchError, Result};

/// Room for what has arrived; small enough to stay in a core's cache.
const BUFFER: usize = 256 * 1024;
/// The largest piece of a reply (an entry) that is waited for.
const BUFFER_MAX: usize = 512 * 1024 * 1024;

/// A blocking connection with what has arrived on it.
#[derive(Debug)]
pub struct Reader {
    addr: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
    head: usize,
    tail: usize,
    command: Vec<u8>,
    scanner: EntryScanner,
}

/// The figures of a catch-up.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Events read.
    pub events: u64,
    /// From the first command to the empty reply.
    pub seconds: f64,
    /// Events per second.
    pub events_per_second: f64,
    /// This program's own CPU time, in microseconds per event.
    pub client_cpu_us_per_event: f64,
    /// Round trips of `XREAD`s, to the reply's last byte.
    pub round_trip: Percentiles,
}

impl Reader {
    /// Connects.
    ///
    /// # Errors
    /// The server does not take the connection.
    pub fn open(addr: SocketAddr) -> Result<Self> {
        let what = || format!("connection to {addr}");
        let stream = TcpStream::connect(addr).doing(what)?;
        stream.set_nodelay(true).doing(what)?;
        stream.set_read_timeout(Some(PATIENCE)).doing(what)?;
        Ok(Self {
            addr,
            stream,
            buffer: vec![0; BUFFER],
            head: 0,
            tail: 0,
            command: Vec::new(),
            scanner: EntryScanner::default(),
        })
    }

    /// Sends a command.
    pub(crate) fn send(&mut self, arguments: &[&[u8]]) -> Result<()> {
        self.command.clear();
        let mut number = itoa::Buffer::new();
        let mut head = |command: &mut Vec<u8>, kind: u8, count: usize| {
            command.push(kind);
            command.extend_from_slice(number.format(count).as_bytes());
            command.extend_from_slice(b"\r\n");
        };
        head(&mut self.command, b'*', arguments.len());
        for argument in arguments {
            head(&mut self.command, b'$', argument.len());
            self.command.extend_from_slice(argument);
            self.command.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&self.command).doing(|| format!("write to {}", self.addr))
    }

    /// Takes in more of the reply.
    fn fill(&mut self) -> Result<()> {
        if self.head == self.tail {
            (self.head, self.tail) = (0, 0);
        } else if self.tail == self.buffer.len() {
            self.buffer.copy_within(self.head..self.tail, 0);
            (self.head, self.tail) = (0, self.tail - self.head);
            if self.tail * 2 > self.buffer.len() {
                if self.buffer.len() >= BUFFER_MAX {
                    return Err(BenchError::Setup(format!("an entry of more than {BUFFER_MAX} bytes")));
                }
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        match self.stream.read(&mut self.buffer[self.tail..]) {
            Ok(0) => Err(BenchError::Closed { what: format!("connection to {}", self.addr), outstanding: 1 }),
            Ok(got) => {
                self.tail += got;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(BenchError::Stalled {
                    what: format!("read from {}", self.addr),
                    seconds: PATIENCE.as_secs(),
                })
            }
            Err(error) => Err(error).doing(|| format!("read from {}", self.addr)),
        }
    }

    /// Takes one whole piece of the reply: what `scan` finds at its start, with the bytes used.
    pub(crate) fn take<T>(
        &mut self,
        what: &str,
        scan: impl Fn(&[u8]) -> Result<Option<(T, usize)>, ReplyError>,
    ) -> Result<T> {
        loop {
            let found = scan(&self.buffer[self.head..self.tail])
                .map_err(|source| BenchError::Reply { what: format!("{what} from {}", self.addr), source })?;
            if let Some((value, used)) = found {
                self.head += used;
                return Ok(value);
            }
            self.fill()?;
        }
    }

    /// Takes `count` entries, which must stand in order of their ids, after `last`; gives the last one's id.
    pub(crate) fn entries(
        &mut self,
        topic: &str,
        count: usize,
        mut last: Id,
        each: &mut impl FnMut(Id, &[u8]) -> Result<()>,
    ) -> Result<Id> {
        for _ in 0..count {
            loop {
                let found = self.scanner.scan(&self.buffer[self.head..self.tail]).map_err(|source| {
                    BenchError::Reply { what: format!("an entry of {topic} after {last}"), source }
                })?;
                if let Some(entry) = found {
                    if entry.id <= last {
                        let what = format!("topic {topic}");
                        return Err(BenchError::IdOrder { what, last, next: entry.id });
                    }
                    last = entry.id;
                    each(entry.id, entry.payload)?;
                    self.head += entry.used;
                    break;
                }
                self.fill()?;
            }
        }
        Ok(last)
    }

    /// Reads `topic` from its start to its end, `count` events a time, and shows each to `each`.
    ///
    /// # Errors
    /// A wrong reply, ids that do not strictly increase, a broken connection, or an error of `each`.
    pub fn catch_up(
        &mut self,
        topic: &str,
        count: usize,
        latency: &mut Latency,
        mut each: impl FnMut(Id, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let most = count.to_string();
        let mut last = Id::default();
        loop {
            let sent = Instant::now();
            let from = last.to_string();
            self.send(&[b"XREAD", b"COUNT", most.as_bytes(), b"STREAMS", topic.as_bytes(), from.as_bytes()])?;
            let Some(got) = self.take("XREAD", xread_head)?.filter(|got| *got > 0) else { return Ok(()) };
            last = self.entries(topic, got, last, &mut each)?;
            latency.record(sent.elapsed());
        }
    }

    /// Reads the one event with this id and shows its payload to `each`.
    ///
    /// # Errors
    /// It isn't there, or the reply is wrong.
    pub fn by_id(
        &mut self,
        topic: &str,
        id: Id,
        mut each: impl FnMut(Id, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let text = id.to_string();
        self.send(&[b"XRANGE", topic.as_bytes(), text.as_bytes(), text.as_bytes()])?;
        let got = self.take("XRANGE", |bytes| array(bytes, "an array of one entry"))?;
        if got != Some(1) {
            return Err(BenchError::ReadBack(format!(
                "XRANGE of the acknowledged id {id} gave {got:?} entries"
            )));
        }
        self.entries(topic, 1, Id::default(), &mut each).map(|_| ())
    }

    /// The number of events in `topic`.
    ///
    /// # Errors
    /// A wrong reply, a broken connection.
    pub fn len(&mut self, topic: &str) -> Result<u64> {
        self.send(&[b"XLEN", topic.as_bytes()])?;
        self.number("XLEN")
    }

    /// Takes a reply that is a number.
    ///
    /// # Errors
    /// Another reply, a broken connection.
    pub(crate) fn number(&mut self, command: &str) -> Result<u64> {
        let line = self.take(command, line)?;
        line.strip_prefix(':')
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| self.surprise("a number", line))
    }

    /// Takes the reply `+OK`.
    ///
    /// # Errors
    /// Another reply, a broken connection.
    pub(crate) fn ok(&mut self, command: &str) -> Result<()> {
        let line = self.take(command, line)?;
        if line == "+OK" { Ok(()) } else { Err(self.surprise("OK", line)) }
    }

    /// Asks `PING`: `Ok(true)` for `PONG`, `Ok(false)` while the server says that it is still loading.
    ///
    /// # Errors
    /// Any other reply, a broken connection.
    pub fn ping(&mut self) -> Result<bool> {
        self.send(&[b"PING"])?;
        let line = self.take("PING", line)?;
        match line.as_str() {
            "+PONG" => Ok(true),
            line if line.starts_with("-LOADING") => Ok(false),
            _ => Err(self.surprise("PONG", line)),
        }
    }

    fn surprise(&self, expected: &'static str, got: String) -> BenchError {
        let source = ReplyError::Unexpected { expected, got };
        BenchError::Reply { what: format!("reply from {}", self.addr), source }
    }
}

/// One line of a reply, without its end.
fn line(bytes: &[u8]) -> Result<Option<(String, usize)>, ReplyError> {
    Ok(memchr::memchr(b'\n', bytes)
        .map(|end| (String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned(), end + 1)))
}

/// Reads one topic from start to end, checking only that ids strictly increase: the pass whose speed is measured.
///
/// # Errors
/// As [`Reader::catch_up`].
pub fn measure(addr: SocketAddr, topic: &str, count: usize) -> Result<Summary> {
    measure_each(addr, topic, count, |_, _| Ok(()))
}

/// As [`measure`], and shows each event to `each`.
///
/// # Errors
/// As [`Reader::catch_up`].
pub fn measure_each(
    addr: SocketAddr,
    topic: &str,
    count: usize,
    mut each: impl FnMut(Id, &[u8]) -> Result<()>,
) -> Result<Summary> {
    let mut reader = Reader::open(addr)?;
    let mut latency = Latency::new();
    let mut events = 0_u64;
    let cpu = thread_cpu();
    let started = Instant::now();
    reader.catch_up(topic, count, &mut latency, |id, payload| {
        events += 1;
        each(id, payload)
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let cpu = thread_cpu().saturating_sub(cpu);
    Ok(Summary {
        events,
        seconds,
        events_per_second: events as f64 / seconds,
        client_cpu_us_per_event: cpu.as_secs_f64() * 1e6 / events as f64,
        round_trip: latency.percentiles(),
    })
}

/// Reads all topics of a run and checks that exactly what was acknowledged is there.
///
/// # Errors
/// A difference, or as [`Reader::catch_up`].
pub fn verify(addr: SocketAddr, base: &str, ledger: &Ledger) -> Result<()> {
    let mut reader = Reader::open(addr)?;
    let mut verifier = Verifier::new(ledger.conns.len(), ledger.topics);
    let mut latency = Latency::new();
    for index in 0..ledger.topics {
        verifier.begin_topic(index);
        let topic = topic_name(base, index, ledger.topics);
        reader.catch_up(&topic, 1000, &mut latency, |id, payload| verifier.event(id, payload))?;
    }
    verifier.finish(ledger)
}
