//! The producer: one thread, one epoll, many connections.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use serde::Serialize;

use crate::conn::Conn;
use crate::error::Context;
use crate::latency::{Latency, Percentiles};
use crate::ledger::Ledger;
use crate::payload::{Batch, MAX_CONNS, MIN_SIZE};
use crate::procfs::thread_cpu;
use crate::reply::Id;
use crate::{BenchError, Result};

/// How long the server may stay silent.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often a run that ends by a condition looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const BUFFER: usize = 256 * 1024;

/// What to send, and where.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server.
    pub addr: SocketAddr,
    /// Connections, all served by the calling thread.
    pub conns: usize,
    /// Commands a connection sends before it waits for their replies.
    pub pipeline: usize,
    /// Bytes of an event's only value.
    pub size: usize,
    /// Topics the events of a connection go to in turn.
    pub topics: usize,
    /// The topics' name, see [`crate::payload::topic_name`].
    pub base: String,
    /// How many acknowledged events to remember for reading them by id later.
    pub samples: usize,
}

/// When to stop sending; replies to what was sent are always waited for.
pub enum Stop<'a> {
    /// After exactly so many events.
    Events(u64),
    /// After so long.
    After(Duration),
    /// When the condition holds; it is evaluated about ten times a second.
    When(&'a mut dyn FnMut() -> Result<bool>),
}

/// One acknowledged event, remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Its id.
    pub id: Id,
    /// The connection that sent it, and its number there.
    pub origin: (usize, u64),
}

/// What a run did.
#[derive(Debug)]
pub struct Outcome {
    /// What was acknowledged.
    pub ledger: Ledger,
    /// Remembered events, spread over the run.
    pub samples: Vec<Sample>,
    /// The figures.
    pub summary: Summary,
}

/// The figures of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Acknowledged events, without those that made the topics where there are many.
    pub events: u64,
    /// From the first write to the last reply.
    pub seconds: f64,
    /// Acknowledged events per second.
    pub events_per_second: f64,
    /// This program's own CPU time, in microseconds per event.
    pub client_cpu_us_per_event: f64,
    /// Round trips of batches (for a pipeline of 1: of commands).
    pub round_trip: Percentiles,
}

/// Runs the plan on the calling thread.
///
/// # Errors
/// Whatever keeps an event from being acknowledged: nothing is retried, no error reply is passed over.
pub fn run(plan: &Plan, stop: Stop<'_>) -> Result<Outcome> {
    check(plan)?;
    let mut producer = Producer::open(plan, stop)?;
    let made = producer.make_topics(plan)?;
    let cpu = thread_cpu();
    let started = Instant::now();
    let ended = producer.run(started)?;
    let cpu = thread_cpu().saturating_sub(cpu);
    let ledger =
        Ledger { topics: plan.topics, conns: producer.conns.iter().map(|conn| conn.acked).collect() };
    let (events, seconds) = (ledger.events() - made, ended.duration_since(started).as_secs_f64());
    let summary = Summary {
        events,
        seconds,
        events_per_second: events as f64 / seconds,
        client_cpu_us_per_event: cpu.as_secs_f64() * 1e6 / events as f64,
        round_trip: producer.latency.percentiles(),
    };
    Ok(Outcome { ledger, samples: producer.sampler.samples, summary })
}

fn check(plan: &Plan) -> Result<()> {
    let problem = if plan.conns == 0 || plan.conns > MAX_CONNS {
        format!("conns is {}, expected 1 to {MAX_CONNS}", plan.conns)
    } else if plan.pipeline == 0 || plan.topics == 0 {
        "pipeline and topics must be at least 1".to_owned()
    } else if plan.size < MIN_SIZE {
        format!(
            "size is {}, expected at least {MIN_SIZE} bytes (a payload says where it comes from)",
            plan.size
        )
    } else {
        return Ok(());
    };
    Err(BenchError::Setup(problem))
}

struct Producer<'a> {
    poll: Poll,
    conns: Vec<Conn>,
    pipeline: usize,
    stop: Stop<'a>,
    /// Events sent so far, and connections with replies to come.
    sent: u64,
    busy: usize,
    stopped: bool,
    latency: Latency,
    sampler: Sampler,
}

impl<'a> Producer<'a> {
    fn open(plan: &Plan, stop: Stop<'a>) -> Result<Self> {
        let poll = Poll::new().doing(|| "epoll")?;
        let mut conns = Vec::with_capacity(plan.conns);
        for number in 0..plan.conns {
            let batch = Batch::new(&plan.base, plan.topics, number, plan.conns, plan.pipeline, plan.size);
            let mut conn = Conn::open(plan.addr, number, batch, plan.topics == 1)?;
            poll.registry()
                .register(&mut conn.stream, Token(number), Interest::READABLE | Interest::WRITABLE)
                .doing(|| "epoll registration")?;
            conns.push(conn);
        }
        Ok(Self {
            poll,
            conns,
            pipeline: plan.pipeline,
            stop,
            sent: 0,
            busy: 0,
            stopped: false,
            latency: Latency::new(),
            sampler: Sampler::new(plan.samples),
        })
    }

    /// With many topics, what is measured is appending to them, not making them: every connection sends a batch, and with
    /// it the topics up to the next connection's first one come into being, before the clock starts. Returns how many
    /// events that took.
    fn make_topics(&mut self, plan: &Plan) -> Result<u64> {
        let events = (plan.conns * plan.pipeline) as u64;
        if plan.topics == 1 || matches!(self.stop, Stop::Events(wanted) if wanted <= events) {
            return Ok(0);
        }
        let stop = std::mem::replace(&mut self.stop, Stop::Events(events));
        self.run(Instant::now())?;
        self.stop = stop;
        self.latency = Latency::new();
        Ok(events)
    }

    /// Sends and receives until there is nothing more to send and nothing more to come; gives the time of the last
    /// reply.
    fn run(&mut self, started: Instant) -> Result<Instant> {
        for number in 0..self.conns.len() {
            self.send(number, started, started)?;
        }
        let mut buffer = vec![0; BUFFER];
        let mut events = Events::with_capacity(self.conns.len().min(1024));
        let (mut ended, mut looked) = (started, started);
        while self.busy > 0 {
            if let Err(error) = self.poll.poll(&mut events, Some(PATIENCE)) {
                if error.kind() == ErrorKind::Interrupted {
                    continue;
                }
                return Err(error).doing(|| "epoll wait");
            }
            if events.is_empty() {
                let what = format!("{} connections with commands sent", self.busy);
                return Err(BenchError::Stalled { what, seconds: PATIENCE.as_secs() });
            }
            for event in &events {
                let number = event.token().0;
                if event.is_writable() {
                    self.conns[number].flush()?;
                }
                let closing = event.is_read_closed() || event.is_error();
                if (closing || event.is_readable()) && self.conns[number].receive(&mut buffer, closing)? {
                    ended = Instant::now();
                    self.busy -= 1;
                    self.latency.record(ended.duration_since(self.conns[number].sent_at));
                    self.sampler.offer(number, &self.conns[number]);
                    self.send(number, started, ended)?;
                }
            }
            if let Stop::When(condition) = &mut self.stop
                && ended.duration_since(looked) >= LOOK_EVERY
            {
                looked = ended;
                self.stopped |= condition()?;
            }
        }
        Ok(ended)
    }

    fn send(&mut self, number: usize, started: Instant, now: Instant) -> Result<()> {
        let commands = match &self.stop {
            Stop::Events(events) => {
                usize::try_from(events - self.sent).map_or(self.pipeline, |n| n.min(self.pipeline))
            }
            Stop::After(time) if now.duration_since(started) >= *time => 0,
            Stop::When(_) if self.stopped => 0,
            Stop::After(_) | Stop::When(_) => self.pipeline,
        };
        if commands > 0 {
            self.busy += 1;
            self.sent += commands as u64;
            self.conns[number].send(commands, now)?;
        }
        Ok(())
    }
}

/// Remembers some of the acknowledged events, evenly spread over the run: the last of every `every`th batch; when
/// full, every second one is forgotten and `every` doubles.
struct Sampler {
    samples: Vec<Sample>,
    most: usize,
    every: u64,
    offered: u64,
}

impl Sampler {
    fn new(most: usize) -> Self {
        Self { samples: Vec::with_capacity(most), most, every: 1, offered: 0 }
    }

    fn offer(&mut self, number: usize, conn: &Conn) {
        if self.most == 0 {
            return;
        }
        let turn = self.offered.is_multiple_of(self.every);
        self.offered += 1;
        let Some((id, counter)) = conn.last_event().filter(|_| turn) else { return };
        if self.samples.len() >= self.most {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
            self.every *= 2;
        }
        self.samples.push(Sample { id, origin: (number, counter) });
    }
}

#[cfg(test)]
mod tests;
