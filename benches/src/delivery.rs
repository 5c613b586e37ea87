//! How soon an event reaches readers that are blocked waiting for it: `XREAD BLOCK 0` on many connections, one producer
//! that sends events at a steady pace, and one clock for both ends, on one thread with one epoll.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::error::Context;
use crate::latency::{Latency, Percentiles};
use crate::ledger::{Acked, Ledger};
use crate::load::PATIENCE;
use crate::payload::{Batch, origin};
use crate::procfs::thread_cpu;
use crate::reply::{EntryScanner, Id, ReplyError, added, xread_head};
use crate::{BenchError, Result};

/// Events before those that count: the first makes the topic.
const WARM_UP: u64 = 200;
/// Bytes of an event's value.
const SIZE: usize = 100;
const BUFFER: usize = 256 * 1024;

/// What a run gave.
#[derive(Debug)]
pub struct Delivered {
    /// What was produced.
    pub ledger: Ledger,
    /// Events per second, as they were really sent.
    pub events_per_second: f64,
    /// This program's CPU time, in microseconds per event and reader.
    pub client_cpu_us_per_event: f64,
    /// From before the event's `XADD` was written until epoll said that a reader's reply was there.
    pub latency: Percentiles,
}

/// A connection that is read without blocking.
struct Line {
    stream: TcpStream,
    /// What has arrived and was not used yet.
    bytes: Vec<u8>,
}

/// A reader, blocked most of the time.
struct Waiting {
    line: Line,
    scanner: EntryScanner,
    last: Id,
    /// The number of the event that must come next.
    next: u64,
}

/// Sends `per_second` events a second to `topic` for `time`, with `readers` readers waiting for them; every reader must
/// have every event, once and in order.
///
/// # Errors
/// A wrong reply, an event missing or out of order, a broken connection.
pub fn run(
    addr: SocketAddr,
    topic: &str,
    readers: usize,
    per_second: u64,
    time: Duration,
) -> Result<Delivered> {
    let mut run = Run::open(addr, topic, readers, per_second)?;
    let events = WARM_UP + (time.as_secs_f64() * per_second as f64) as u64;
    let (mut buffer, mut ready) = (vec![0; BUFFER], Events::with_capacity(1024));
    let cpu = thread_cpu();
    let started = Instant::now();
    while run.unfinished(events) {
        let due = run.send_due(events)?;
        run.poll.poll(&mut ready, Some(due.unwrap_or(PATIENCE))).or_else(|error| {
            if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error).doing(|| "epoll wait") }
        })?;
        let now = Instant::now();
        if due.is_none() && ready.is_empty() {
            let what = "readers of the last events".to_owned();
            return Err(BenchError::Stalled { what, seconds: PATIENCE.as_secs() });
        }
        for event in &ready {
            match event.token().0 {
                0 => run.take_acknowledgements(&mut buffer)?,
                reader => run.take_events(reader - 1, now, &mut buffer)?,
            }
        }
    }
    let cpu = thread_cpu().saturating_sub(cpu);
    Ok(Delivered {
        ledger: Ledger { topics: 1, conns: vec![run.acked] },
        events_per_second: events as f64 / started.elapsed().as_secs_f64(),
        client_cpu_us_per_event: cpu.as_secs_f64() * 1e6 / (events * readers as u64) as f64,
        latency: run.latency.percentiles(),
    })
}

struct Run {
    poll: Poll,
    topic: String,
    producer: Line,
    batch: Batch,
    acked: Acked,
    readers: Vec<Waiting>,
    /// When each event was sent.
    sent: Vec<Instant>,
    started: Instant,
    pace: Duration,
    latency: Latency,
}

impl Run {
    fn open(addr: SocketAddr, topic: &str, readers: usize, per_second: u64) -> Result<Self> {
        let poll = Poll::new().doing(|| "epoll")?;
        let open = |number: usize| -> Result<Line> {
            let what = || format!("connection {number} to {addr}");
            let stream = std::net::TcpStream::connect(addr).doing(what)?;
            stream.set_nodelay(true).doing(what)?;
            stream.set_nonblocking(true).doing(what)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE).doing(what)?;
            Ok(Line { stream, bytes: Vec::new() })
        };
        let producer = open(0)?;
        let mut waiting = Vec::with_capacity(readers);
        for number in 1..=readers {
            let line = open(number)?;
            let mut reader = Waiting { line, scanner: EntryScanner::default(), last: Id::default(), next: 0 };
            reader.wait(topic)?;
            waiting.push(reader);
        }
        Ok(Self {
            poll,
            topic: topic.to_owned(),
            producer,
            batch: Batch::new(topic, 1, 0, 1, 1, SIZE),
            acked: Acked::default(),
            readers: waiting,
            sent: Vec::new(),
            started: Instant::now(),
            pace: Duration::from_secs(1) / u32::try_from(per_second.max(1)).unwrap_or(u32::MAX),
            latency: Latency::new(),
        })
    }

    fn unfinished(&self, events: u64) -> bool {
        self.acked.count < events || self.readers.iter().any(|reader| reader.next < events)
    }

    /// Sends the events whose time has come; how long until the next one, `None` when that was the last.
    fn send_due(&mut self, events: u64) -> Result<Option<Duration>> {
        loop {
            let number = self.sent.len() as u64;
            if number >= events {
                return Ok(None);
            }
            let now = Instant::now();
            let due = self.started + self.pace * u32::try_from(number).unwrap_or(u32::MAX);
            if due > now {
                return Ok(Some(due - now));
            }
            self.sent.push(now);
            self.producer.send(self.batch.bytes(1))?;
            self.batch.advance();
        }
    }

    fn take_acknowledgements(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.producer.receive(buffer)?;
        let mut used = 0;
        while let Some((id, len)) = added(&self.producer.bytes[used..]).map_err(wrong("XADD"))? {
            self.acked.add(id);
            used += len;
        }
        self.producer.bytes.drain(..used);
        Ok(())
    }

    fn take_events(&mut self, reader: usize, now: Instant, buffer: &mut [u8]) -> Result<()> {
        let reader = &mut self.readers[reader];
        reader.line.receive(buffer)?;
        let before = reader.next;
        if !reader.take_reply()? {
            return Ok(());
        }
        for number in before..reader.next {
            let sent = usize::try_from(number).ok().and_then(|number| self.sent.get(number));
            let Some(sent) = sent else {
                return Err(BenchError::ReadBack(format!("event {number} came before it was sent")));
            };
            if number >= WARM_UP {
                self.latency.record(now.saturating_duration_since(*sent));
            }
        }
        reader.wait(&self.topic)
    }
}

impl Waiting {
    /// Asks for what comes after the last event.
    fn wait(&mut self, topic: &str) -> Result<()> {
        let last = self.last.to_string();
        let command = format!(
            "*6\r\n$5\r\nXREAD\r\n$5\r\nBLOCK\r\n$1\r\n0\r\n$7\r\nSTREAMS\r\n${}\r\n{topic}\r\n${}\r\n{last}\r\n",
            topic.len(),
            last.len()
        );
        self.line.send(command.as_bytes())
    }

    /// Takes the reply once all of it is there.
    fn take_reply(&mut self) -> Result<bool> {
        let bytes = &self.line.bytes;
        let Some((count, mut at)) = xread_head(bytes).map_err(wrong("XREAD"))? else { return Ok(false) };
        let (mut last, mut next) = (self.last, self.next);
        for _ in 0..count.unwrap_or(0) {
            let Some(entry) = self.scanner.scan(&bytes[at..]).map_err(wrong("XREAD"))? else {
                return Ok(false);
            };
            if origin(entry.payload) != Some((0, next)) || entry.id <= last {
                let found = String::from_utf8_lossy(entry.payload).into_owned();
                return Err(BenchError::ReadBack(format!(
                    "event {next} should follow {last}, got {found:?}"
                )));
            }
            (last, next) = (entry.id, next + 1);
            at += entry.used;
        }
        (self.last, self.next) = (last, next);
        self.line.bytes.drain(..at);
        Ok(true)
    }
}

impl Line {
    /// Writes a command. There is always room for one: what is outstanding on a connection is short.
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).doing(|| "write a command")
    }

    /// Takes in what has arrived.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<()> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => {
                    return Err(BenchError::Closed { what: "a connection".into(), outstanding: 1 });
                }
                Ok(got) => {
                    self.bytes.extend_from_slice(&buffer[..got]);
                    // A read that does not fill the buffer has emptied the socket.
                    if got < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).doing(|| "read a reply"),
            }
        }
    }
}

fn wrong(what: &'static str) -> impl Fn(ReplyError) -> BenchError {
    move |source| BenchError::Reply { what: what.to_owned(), source }
}
