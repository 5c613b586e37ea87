//! How long nobody answers when the server that owns the data is killed and another one stands by: three servers of NATS, two
//! of Wafka's, `kill -9` under load, again and again.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use wafka_test_nats::{Cluster, Config};

use crate::compare::median;
use crate::error::Context;
use crate::latency::Latency;
use crate::readback::Reader;
use crate::reply::{Id, added};
use crate::server::{Backend, Fsync, Program, Server};
use crate::trial::Workplace;
use crate::{BenchError, Result};

/// The goal, at the default lease: from the kill to the next acknowledged `XADD`.
pub const TARGET: Duration = Duration::from_secs(5);
/// The topic.
const TOPIC: &[u8] = b"bench";
/// Connections that produce when the owner is killed, each with one command under way.
const CONNS: usize = 8;
/// Further topics have so many events each, of which the older half is trimmed; so many connections make them.
const FILL_EVENTS: usize = 20;
const FILL_CONNS: usize = 32;
/// Events are asked for by so many.
const READ_COUNT: usize = 1000;
/// Between two questions to a server that does not serve yet.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// A takeover that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is measured.
pub struct Takeover<'a> {
    /// The server.
    pub wafka: PathBuf,
    /// The plugin's library.
    pub plugin: PathBuf,
    /// How often the owner is killed.
    pub rounds: usize,
    /// How long is produced before that.
    pub load: Duration,
    /// The lease, in milliseconds; `None` for the plugin's default.
    pub lease_ms: Option<u32>,
    /// So many further topics are there, see `FILL_EVENTS`.
    pub topics: usize,
    /// Gets a line after each round.
    pub progress: &'a mut dyn Write,
}

/// What it came to. That it is there means that every acknowledged event is, once.
#[derive(Debug, Clone)]
pub struct Figures {
    /// From each kill to the next acknowledged `XADD`, through the other server.
    pub gaps: Vec<Duration>,
    /// Events acknowledged in all.
    pub events: usize,
}

impl Figures {
    /// The median and the longest, in seconds.
    #[must_use]
    pub fn seconds(&self) -> (f64, f64) {
        let seconds = || self.gaps.iter().map(Duration::as_secs_f64);
        (median(seconds()), seconds().fold(0.0, f64::max))
    }
}

impl Takeover<'_> {
    /// Kills the owner in each round; the other one takes over, and the killed one is started again, to stand by.
    ///
    /// # Errors
    /// A server does not start, nobody takes over, or an acknowledged event is lost.
    pub fn run(self, workplace: &mut Workplace) -> Result<Figures> {
        let config = Config { dir: Some(workplace.path().to_owned()), ..Config::three() };
        let engine = Cluster::start(&config).map_err(|error| BenchError::Setup(error.to_string()))?;
        let lease = self.lease_ms.map_or(String::new(), |lease| format!("lease_ms = {lease}\n"));
        let backend = Backend {
            name: "jetstream".into(),
            plugin: Some(self.plugin.clone()),
            options: format!("{}{lease}", engine.backend_toml()),
        };
        let program = Program::WafkaOn(self.wafka.clone(), backend);
        let (mut of_owner, mut of_other) = (workplace.fresh(), workplace.fresh());
        let mut owner = program.start(&of_owner, Fsync::Always)?;
        let mut other = program.start_listening(&of_other, Fsync::Always)?;
        fill(owner.addr, self.topics)?;
        let mut acknowledged: BTreeSet<Id> = BTreeSet::new();
        let mut gaps = Vec::new();
        for round in 0..self.rounds {
            let gap = fail_over(owner, &other, self.load, &mut acknowledged)?;
            gaps.push(gap);
            let events = acknowledged.len();
            let line = format!("round {}: {:.2} s, {events} events so far", round + 1, gap.as_secs_f64());
            writeln!(self.progress, "{line}").doing(|| "print progress")?;
            owner = other;
            std::mem::swap(&mut of_owner, &mut of_other);
            other = program.start_listening(&of_other, Fsync::Always)?;
        }
        verify(owner.addr, &acknowledged)?;
        Ok(Figures { gaps, events: acknowledged.len() })
    }
}

/// Kills the owner under load; gives the time until the other one has acknowledged an event.
fn fail_over(
    owner: Server,
    other: &Server,
    load: Duration,
    acknowledged: &mut BTreeSet<Id>,
) -> Result<Duration> {
    let addr = owner.addr;
    thread::scope(|scope| {
        let producers: Vec<_> = (0..CONNS).map(|_| scope.spawn(move || produce(addr))).collect();
        thread::sleep(load);
        let killed = Instant::now();
        owner.kill()?;
        let first = first_answer(other.addr, killed);
        let gap = killed.elapsed();
        for producer in producers {
            let ids = producer.join().expect("invariant: a producer does not panic");
            let before = acknowledged.len();
            let count = ids.len();
            acknowledged.extend(ids);
            if acknowledged.len() != before + count {
                return Err(BenchError::ReadBack("an id was given twice".into()));
            }
        }
        acknowledged.insert(first?);
        Ok(gap)
    })
}

/// Makes topics whose older half is trimmed.
fn fill(addr: SocketAddr, topics: usize) -> Result<()> {
    let fill = |first: usize| {
        let mut reader = Reader::open(addr)?;
        for topic in (first..topics).step_by(FILL_CONNS) {
            let (topic, max) = (format!("further-{topic}"), (FILL_EVENTS / 2).to_string());
            for _ in 0..FILL_EVENTS {
                reader.send(&[
                    b"XADD",
                    topic.as_bytes(),
                    b"MAXLEN",
                    max.as_bytes(),
                    b"*",
                    b"f",
                    &[b'x'; 100],
                ])?;
                reader.take("XADD", added)?;
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..FILL_CONNS.min(topics)).map(|first| scope.spawn(move || fill(first))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<()>>| {
            thread.join().expect("invariant: who fills topics does not panic")
        };
        threads.into_iter().try_for_each(join)
    })
}

/// Produces until the server is gone; gives the ids that it acknowledged.
fn produce(addr: SocketAddr) -> Vec<Id> {
    let mut ids = Vec::new();
    // An error is the server's end, which is what this waits for.
    if let Ok(mut reader) = Reader::open(addr) {
        while let Ok(id) = add(&mut reader) {
            ids.push(id);
        }
    }
    ids
}

fn add(reader: &mut Reader) -> Result<Id> {
    reader.send(&[b"XADD", TOPIC, b"*", b"f", &[b'x'; 100]])?;
    reader.take("XADD", added)
}

/// Asks until an event is acknowledged.
fn first_answer(addr: SocketAddr, begun: Instant) -> Result<Id> {
    loop {
        // What refused may have said more than was read: each try has a connection of its own.
        match Reader::open(addr).and_then(|mut reader| add(&mut reader)) {
            Ok(id) => return Ok(id),
            Err(error) if begun.elapsed() > PATIENCE => return Err(error),
            Err(_) => thread::sleep(ASK_EVERY),
        }
    }
}

/// Everything acknowledged is there; ids strictly increase, so nothing is there twice.
fn verify(addr: SocketAddr, acknowledged: &BTreeSet<Id>) -> Result<()> {
    let topic = String::from_utf8_lossy(TOPIC);
    let mut missing = acknowledged.clone();
    Reader::open(addr)?.catch_up(&topic, READ_COUNT, &mut Latency::new(), |id, _| {
        missing.remove(&id);
        Ok(())
    })?;
    match missing.first() {
        None => Ok(()),
        Some(first) => {
            let problem = format!("{} acknowledged events are lost, the first is {first}", missing.len());
            Err(BenchError::ReadBack(problem))
        }
    }
}

/// The result in a line.
#[must_use]
pub fn render(figures: &Figures) -> String {
    let (median, longest) = figures.seconds();
    format!(
        "{} takeovers: median {median:.2} s, longest {longest:.2} s (goal: less than {} s); all {} acknowledged events are there, once",
        figures.gaps.len(),
        TARGET.as_secs(),
        figures.events,
    )
}
