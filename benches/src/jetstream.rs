//! Wafka with its logs on NATS JetStream, next to programs that publish the same bytes to the same servers without it.

mod bare;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Runtime;
use wafka_test_nats::{Cluster, Config};

use crate::cell::{self, Scale, Work};
use crate::compare::median;
use crate::error::Context;
use crate::latency::Percentiles;
use crate::server::{Backend, Fsync, Program, quoted};
use crate::table::{align, thousands};
use crate::trial::{self, Workplace};
use crate::{BenchError, Result};

pub use bare::Manner;

/// Wafka reaches at least this share of the faster of the two ways to publish.
pub const TARGET: f64 = 0.8;

/// How much is on its way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Connections to Wafka.
    pub conns: usize,
    /// Commands a connection sends before it waits for their replies.
    pub pipeline: usize,
    /// Bytes of an event's value.
    pub size: usize,
}

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Its name on the command line.
    pub name: String,
    /// How many servers there are, which is how many hold each log.
    pub replicas: usize,
    /// The work.
    pub shape: Shape,
}

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Wafka, asked by Redis clients.
    Wafka,
    /// The same, with the strategy `sticky`: what is committed together goes to one partition.
    Sticky,
    /// A program that publishes by itself.
    Bare(Manner),
}

impl Side {
    /// What the table calls it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Side::Wafka => "Wafka",
            Side::Sticky => "Wafka, sticky",
            Side::Bare(Manner::Single) => "bare, single",
            Side::Bare(Manner::Batches) => "bare, batches",
        }
    }
}

/// What a run gave. That it is there means that everything acknowledged was read back once and in order.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figures {
    /// Events acknowledged.
    pub events: u64,
    /// How many in a second.
    pub events_per_second: f64,
    /// From sending to acknowledgement: of a connection's pipeline, of a message, of a batch.
    pub round_trip: Percentiles,
}

/// All cells, in the order of the table.
#[must_use]
pub fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for replicas in [1, 3] {
        for (conns, pipeline) in [(50, 64), (50, 1), (1, 1)] {
            for (size, suffix) in [(100, ""), (1024, "-1k")] {
                let name = format!("r{replicas}-{conns}x{pipeline}{suffix}");
                cells.push(Cell { name, replicas, shape: Shape { conns, pipeline, size } });
            }
        }
    }
    cells
}

impl Cell {
    fn title(&self) -> String {
        let Shape { conns, pipeline, size } = self.shape;
        let size = if size < 1024 { format!("{size} B") } else { format!("{} KB", size / 1024) };
        format!("R{}, {conns} x {pipeline}, {size}", self.replicas)
    }

    /// One message at a time is no batch. Where many clients have one event each on its way, it matters whether these are
    /// committed as one batch or as one for each partition.
    #[must_use]
    pub fn sides(&self) -> Vec<Side> {
        let Shape { conns, pipeline, .. } = self.shape;
        let mut sides = vec![Side::Wafka];
        if conns > 1 && pipeline == 1 {
            sides.push(Side::Sticky);
        }
        sides.push(Side::Bare(Manner::Single));
        if conns * pipeline > 1 {
            sides.push(Side::Bare(Manner::Batches));
        }
        sides
    }
}

/// The partitions of a topic: Wafka's default.
fn partitions() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2))
}

/// What is compared.
pub struct JetStream<'a> {
    /// The server.
    pub wafka: PathBuf,
    /// The backend's library.
    pub plugin: PathBuf,
    /// The library of the strategy `sticky`; not looked at where no cell has that side.
    pub sticky: PathBuf,
    /// The cells.
    pub cells: Vec<Cell>,
    /// Runs of each cell on each side.
    pub rounds: usize,
    /// How long each produces.
    pub load: Duration,
    /// Gets a line after each run.
    pub progress: &'a mut dyn Write,
    /// Gets each run's figures as a line of JSON.
    pub raw: Option<&'a mut dyn Write>,
}

/// A cell's runs.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The cell.
    pub cell: Cell,
    /// For each side its runs, one for each round.
    pub runs: Vec<(Side, Vec<Figures>)>,
}

#[derive(Serialize)]
struct Raw<'a> {
    cell: &'a str,
    round: usize,
    side: &'a str,
    #[serde(flatten)]
    figures: &'a Figures,
}

impl JetStream<'_> {
    /// Runs all cells, those with the same number of servers on the same servers. The side that goes first changes from
    /// round to round.
    ///
    /// # Errors
    /// The first run that fails ends the comparison.
    pub fn run(mut self, workplace: &mut Workplace) -> Result<Vec<Measured>> {
        let runtime = Runtime::new().doing(|| "make a runtime")?;
        let (mut measured, mut names) = (Vec::new(), 0);
        let cells = std::mem::take(&mut self.cells);
        for same in cells.chunk_by(|a, b| a.replicas == b.replicas) {
            let servers = same.first().map_or(1, |cell| cell.replicas);
            let config = Config { servers, dir: Some(workplace.path().to_owned()), ..Config::one() };
            let engine = Cluster::start(&config).map_err(|error| bare::failed("the engine", error))?;
            for cell in same {
                let mut runs: Vec<(Side, Vec<Figures>)> =
                    cell.sides().into_iter().map(|side| (side, Vec::new())).collect();
                for round in 0..self.rounds {
                    for turn in 0..runs.len() {
                        let at = (turn + round) % runs.len();
                        let (side, done) = &mut runs[at];
                        // A name is not used twice: an engine with one replica may bring back what it had under it. It is short,
                        // as each message carries it.
                        names += 1;
                        let prefix = format!("b{names}");
                        done.push(self.one(&runtime, &engine, (cell, round, *side), &prefix, workplace)?);
                    }
                }
                measured.push(Measured { cell: cell.clone(), runs });
            }
        }
        Ok(measured)
    }

    fn one(
        &mut self,
        runtime: &Runtime,
        engine: &Cluster,
        (cell, round, side): (&Cell, usize, Side),
        prefix: &str,
        workplace: &mut Workplace,
    ) -> Result<Figures> {
        let figures = match side {
            Side::Wafka => self.wafka(engine, cell, prefix, "", workplace),
            Side::Sticky => {
                let path = quoted(&self.sticky.display().to_string())?;
                let strategy = format!("partitioner = \"sticky\"\n\n[[plugins]]\npath = {path}\n");
                self.wafka(engine, cell, prefix, &strategy, workplace)
            }
            Side::Bare(manner) => {
                // What was written before is brought to the disk, as before a run of Wafka's.
                rustix::fs::sync();
                runtime.block_on(bare::run(engine, cell.shape, manner, prefix, self.load))
            }
        };
        let named = |error| {
            BenchError::Setup(format!("{}, {}, round {}: {error}", cell.name, side.title(), round + 1))
        };
        let figures = figures.map_err(named)?;
        if let Side::Wafka | Side::Sticky = side {
            let deleted = async { bare::delete_streams(&bare::connect(engine).await?, prefix).await };
            runtime.block_on(deleted).map_err(named)?;
        }
        let line = format!(
            "{:<12} round {} {:<13} {:>8.0} events/s, p50 {:.0} us, {} verified",
            cell.name,
            round + 1,
            side.title(),
            figures.events_per_second,
            figures.round_trip.p50_us,
            figures.events,
        );
        writeln!(self.progress, "{line}").doing(|| "print progress")?;
        if let Some(raw) = &mut self.raw {
            let line = Raw { cell: &cell.name, round: round + 1, side: side.title(), figures: &figures };
            let text = serde_json::to_string(&line).doing(|| "write figures as JSON")?;
            writeln!(raw, "{text}").doing(|| "write figures")?;
        }
        Ok(figures)
    }

    fn wafka(
        &self,
        engine: &Cluster,
        cell: &Cell,
        prefix: &str,
        topic: &str,
        workplace: &mut Workplace,
    ) -> Result<Figures> {
        let Shape { conns, pipeline, size } = cell.shape;
        let work = Work::Load { conns, pipeline, size, topics: 1 };
        let work = cell::Cell { name: "jetstream", fsync: Fsync::Always, work, rows: Vec::new() };
        let scale = Scale { load: self.load, ..Scale::quick() };
        let backend = Backend {
            name: "jetstream".to_owned(),
            plugin: Some(self.plugin.clone()),
            // The topic is made at the start, as the other sides make their streams before they begin.
            options: format!(
                "{}prefix = \"{prefix}\"\n\n[topics.{}]\n{topic}",
                engine.backend_toml(),
                trial::BASE
            ),
        };
        let trial = trial::run(&Program::WafkaOn(self.wafka.clone(), backend), &work, &scale, workplace)?;
        let (events, events_per_second) = (trial.events, trial.events_per_second);
        Ok(Figures { events, events_per_second, round_trip: trial.round_trip })
    }
}

impl Measured {
    fn rates(&self, side: Side) -> impl Iterator<Item = f64> {
        let runs = self.runs.iter().filter(move |(of, _)| *of == side).flat_map(|(_, runs)| runs);
        runs.map(|figures| figures.events_per_second)
    }

    /// One side's share of another's rate: the median of the rounds' own, which a change of the machine's speed between
    /// rounds does not touch.
    #[must_use]
    pub fn share(&self, side: Side, of: Side) -> f64 {
        median(self.rates(side).zip(self.rates(of)).map(|(wafka, bare)| wafka / bare))
    }

    /// A side's share of the faster of the bare ones.
    #[must_use]
    pub fn least_share(&self, side: Side) -> f64 {
        let others = self.runs.iter().map(|(other, _)| *other).filter(|other| matches!(other, Side::Bare(_)));
        others.map(|other| self.share(side, other)).fold(f64::INFINITY, f64::min)
    }
}

const HEAD: [&str; 6] = ["cell", "who", "events/s", "Wafka's share", "p50/p99/p999 us", "read back"];

/// The table: for each cell a row for each side. Wafka's own show the share that counts, that of the faster bare one.
#[must_use]
pub fn render(measured: &[Measured]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    for cell in measured {
        for (side, runs) in &cell.runs {
            let of = |figure: fn(&Figures) -> f64| median(runs.iter().map(figure));
            let share = match side {
                Side::Wafka | Side::Sticky => {
                    let share = cell.least_share(*side);
                    let met = if share >= TARGET { "" } else { " (missed)" };
                    format!("**{share:.2}**{met}")
                }
                other => format!("{:.2}", cell.share(Side::Wafka, *other)),
            };
            let trips = [
                of(|figures| figures.round_trip.p50_us),
                of(|figures| figures.round_trip.p99_us),
                of(|figures| figures.round_trip.p999_us),
            ];
            lines.push([
                cell.cell.title(),
                side.title().to_owned(),
                thousands(of(|figures| figures.events_per_second).round() as u64),
                share,
                trips.map(|micros| format!("{micros:.0}")).join("/"),
                format!("all {}", thousands(runs.iter().map(|figures| figures.events).sum())),
            ]);
        }
    }
    align(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(events_per_second: f64) -> Figures {
        let round_trip = Percentiles { p50_us: 1.0, p99_us: 2.0, p999_us: 3.0 };
        Figures { events: 1000, events_per_second, round_trip }
    }

    #[test]
    fn cells_have_names_of_their_own_and_servers_are_started_twice() {
        let cells = cells();
        let names: std::collections::BTreeSet<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
        assert_eq!(names.len(), 12);
        assert_eq!(cells.chunk_by(|a, b| a.replicas == b.replicas).count(), 2);
    }

    #[test]
    fn wafka_is_measured_by_the_faster_one_round_by_round() {
        let cell = cells().remove(0);
        assert_eq!(cell.title(), "R1, 50 x 64, 100 B");
        let side = |side, rates: &[f64]| (side, rates.iter().map(|rate| figures(*rate)).collect::<Vec<_>>());
        let measured = Measured {
            cell,
            runs: vec![
                side(Side::Wafka, &[9e3, 18e3, 4e3]),
                side(Side::Bare(Manner::Single), &[1e3, 2e3, 0.4e3]),
                side(Side::Bare(Manner::Batches), &[10e3, 20e3, 8e3]),
            ],
        };
        assert!((measured.share(Side::Wafka, Side::Bare(Manner::Single)) - 9.0).abs() < 1e-9);
        assert!((measured.least_share(Side::Wafka) - 0.9).abs() < 1e-9);
        let text = render(&[measured]);
        let rows: Vec<Vec<&str>> =
            text.lines().skip(2).map(|line| line.split('|').map(str::trim).collect()).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0][1..5], ["R1, 50 x 64, 100 B", "Wafka", "9,000", "**0.90**"]);
        assert_eq!(rows[2][2..5], ["bare, batches", "10,000", "0.90"]);
        assert_eq!(rows[0][5..7], ["1/2/3", "all 3,000"]);
    }
}
