//! Wafka against itself on each of its storage backends: the same work in turn, on the same machine and disk.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::cell::{self, Cell, Scale};
use crate::compare::median;
use crate::error::Context;
use crate::server::{Backend, Program};
use crate::table::{align, thousands};
use crate::trial::{self, Trial, Workplace};
use crate::{BenchError, Result};

/// The cells that say something about a backend: syncs with much and with little behind each, no syncs, reading, and
/// many small topics.
const CELLS: [&str; 5] = ["always-50x64", "always-50x1", "everysec-50x64", "read", "topics-1000"];

/// The cells of this comparison, in the order of the table.
#[must_use]
pub fn cells() -> Vec<Cell> {
    cell::all().into_iter().filter(|cell| CELLS.contains(&cell.name)).collect()
}

/// What is compared.
pub struct Backends<'a> {
    /// The server.
    pub wafka: PathBuf,
    /// Its backends; ratios are to the first one.
    pub backends: Vec<Backend>,
    /// The cells.
    pub cells: Vec<Cell>,
    /// Runs of each cell on each backend.
    pub rounds: usize,
    /// How much is done in a cell.
    pub scale: Scale,
    /// Gets a line after each run.
    pub progress: &'a mut dyn Write,
    /// Gets each run's figures as a line of JSON.
    pub raw: Option<&'a mut dyn Write>,
}

/// A cell's runs.
#[derive(Debug, Clone)]
pub struct Measured {
    /// What the table calls the cell.
    pub title: &'static str,
    /// For each backend its runs, one for each round.
    pub runs: Vec<(String, Vec<Trial>)>,
}

#[derive(Serialize)]
struct Raw<'a> {
    cell: &'a str,
    round: usize,
    backend: &'a str,
    #[serde(flatten)]
    trial: &'a Trial,
}

impl Backends<'_> {
    /// Runs all cells. The backend that goes first changes from round to round.
    ///
    /// # Errors
    /// The first run that fails ends the comparison.
    pub fn run(mut self, workplace: &mut Workplace) -> Result<Vec<Measured>> {
        let mut measured = Vec::with_capacity(self.cells.len());
        for cell in std::mem::take(&mut self.cells) {
            let names = self.backends.iter().map(|backend| backend.name.clone());
            let mut runs: Vec<(String, Vec<Trial>)> = names.map(|name| (name, Vec::new())).collect();
            for round in 0..self.rounds {
                for turn in 0..runs.len() {
                    let at = (turn + round) % runs.len();
                    let trial = self.one(&cell, round, at, workplace)?;
                    runs[at].1.push(trial);
                }
            }
            let title = cell.rows.first().map_or(cell.name, |row| row.title);
            measured.push(Measured { title, runs });
        }
        Ok(measured)
    }

    fn one(&mut self, cell: &Cell, round: usize, at: usize, workplace: &mut Workplace) -> Result<Trial> {
        let backend = &self.backends[at];
        let program = Program::WafkaOn(self.wafka.clone(), backend.clone());
        let trial = trial::run(&program, cell, &self.scale, workplace).map_err(|error| {
            let (cell, round) = (cell.name, round + 1);
            BenchError::Setup(format!("cell {cell}, backend {}, round {round}: {error}", backend.name))
        })?;
        let line = format!(
            "{:<15} round {} {:<8} {:>9.0} events/s, {:.2} us CPU/event, {:.0} B/event on disk, {} verified",
            cell.name,
            round + 1,
            backend.name,
            trial.events_per_second,
            trial.server_cpu_us_per_event,
            trial.disk_bytes_per_event,
            trial.events,
        );
        writeln!(self.progress, "{line}").doing(|| "print progress")?;
        if let Some(raw) = &mut self.raw {
            let raw_line = Raw { cell: cell.name, round: round + 1, backend: &backend.name, trial: &trial };
            let text = serde_json::to_string(&raw_line).doing(|| "write figures as JSON")?;
            writeln!(raw, "{text}").doing(|| "write figures")?;
        }
        Ok(trial)
    }
}

const HEAD: [&str; 9] = [
    "cell",
    "backend",
    "events/s",
    "ratio",
    "CPU us/event",
    "disk B/event",
    "RSS MB",
    "p50/p99/p999 us",
    "read back",
];

/// The table: for each cell a row for each backend.
#[must_use]
pub fn render(measured: &[Measured]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    for cell in measured {
        let Some((_, first)) = cell.runs.first() else { continue };
        for (name, runs) in &cell.runs {
            let of = |figure: fn(&Trial) -> f64| median(runs.iter().map(figure));
            let rate = |trial: &Trial| trial.events_per_second;
            // Of each round its own, which a change of the machine's speed between rounds does not touch.
            let ratio = median(runs.iter().zip(first).map(|(run, first)| rate(run) / rate(first)));
            let trips = [
                of(|trial| trial.round_trip.p50_us),
                of(|trial| trial.round_trip.p99_us),
                of(|trial| trial.round_trip.p999_us),
            ];
            lines.push([
                cell.title.to_owned(),
                name.clone(),
                thousands(of(rate).round() as u64),
                format!("{ratio:.2}"),
                format!("{:.2}", of(|trial| trial.server_cpu_us_per_event)),
                format!("{:.0}", of(|trial| trial.disk_bytes_per_event)),
                format!("{:.0}", of(|trial| trial.resident_bytes as f64 / 1e6)),
                trips.map(|micros| format!("{micros:.0}")).join("/"),
                format!("all {}", thousands(runs.iter().map(|trial| trial.events).sum())),
            ]);
        }
    }
    align(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::measured;

    #[test]
    fn every_cell_is_one_there_is() {
        assert_eq!(cells().len(), CELLS.len());
    }

    #[test]
    fn ratios_are_to_the_first_backend_round_by_round() {
        let rounds = measured("always-50x64", &[(400e3, 100e3), (200e3, 60e3), (100e3, 10e3)]).rounds;
        let (first, second) = rounds.into_iter().map(|round| (round.reference, round.subject)).unzip();
        let cell =
            Measured { title: "always", runs: vec![("text".to_owned(), first), ("redb".to_owned(), second)] };
        let text = render(&[cell]);
        let rows: Vec<Vec<&str>> =
            text.lines().skip(2).map(|line| line.split('|').map(str::trim).collect()).collect();
        assert_eq!(rows[0][1..6], ["always", "text", "200,000", "1.00", "5.00"]);
        assert_eq!(rows[1][1..6], ["always", "redb", "60,000", "0.25", "16.67"]);
        assert_eq!(rows[1][9], "all 3,000,000");
    }
}
