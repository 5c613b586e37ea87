//! The rounds: every cell against both servers in turn, on the same machine and disk, minutes apart at most.

use std::io::Write;

use serde::Serialize;

use crate::cell::{Cell, Row, Scale};
use crate::error::Context;
use crate::server::Program;
use crate::trial::{self, Trial, Workplace};
use crate::{BenchError, Result};

/// What is compared.
pub struct Comparison<'a> {
    /// What it is compared with.
    pub reference: Program,
    /// What is measured.
    pub subject: Program,
    /// The cells.
    pub cells: Vec<Cell>,
    /// Runs of each cell against each server.
    pub rounds: usize,
    /// How much is done in a cell.
    pub scale: Scale,
    /// Gets a line after each run.
    pub progress: &'a mut dyn Write,
    /// Gets each run's figures as a line of JSON.
    pub raw: Option<&'a mut dyn Write>,
}

/// One round of a cell.
#[derive(Debug, Clone)]
pub struct Round {
    /// Redis's run.
    pub reference: Trial,
    /// Wafka's run.
    pub subject: Trial,
}

/// A cell and its rounds.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The cell.
    pub cell: Cell,
    /// One entry for each round.
    pub rounds: Vec<Round>,
}

#[derive(Serialize)]
struct Raw<'a> {
    cell: &'a str,
    round: usize,
    side: &'a str,
    #[serde(flatten)]
    trial: &'a Trial,
}

impl Comparison<'_> {
    /// Runs all cells. Who goes first changes from round to round.
    ///
    /// # Errors
    /// The first run that fails ends the comparison.
    pub fn run(mut self, workplace: &mut Workplace) -> Result<Vec<Measured>> {
        let mut measured = Vec::with_capacity(self.cells.len());
        for cell in std::mem::take(&mut self.cells) {
            let mut rounds = Vec::with_capacity(self.rounds);
            for round in 0..self.rounds {
                let (reference, subject);
                if round % 2 == 0 {
                    reference = self.side(&cell, round, false, workplace)?;
                    subject = self.side(&cell, round, true, workplace)?;
                } else {
                    subject = self.side(&cell, round, true, workplace)?;
                    reference = self.side(&cell, round, false, workplace)?;
                }
                rounds.push(Round { reference, subject });
            }
            measured.push(Measured { cell, rounds });
        }
        Ok(measured)
    }

    fn side(&mut self, cell: &Cell, round: usize, subject: bool, workplace: &mut Workplace) -> Result<Trial> {
        let (program, side) =
            if subject { (&self.subject, "subject") } else { (&self.reference, "reference") };
        let name = match program {
            Program::Redis(_) => "redis",
            Program::Wafka(_) | Program::WafkaOn(..) => "wafka",
        };
        let trial = trial::run(program, cell, &self.scale, workplace).map_err(|error| {
            BenchError::Setup(format!("cell {}, round {}: {error}", cell.name, round + 1))
        })?;
        let line = format!(
            "{:<18} round {} {name}: {:>9.0} events/s, {:.2} us CPU/event (client {:.2}), {} verified",
            cell.name,
            round + 1,
            trial.events_per_second,
            trial.server_cpu_us_per_event,
            trial.client_cpu_us_per_event,
            trial.events,
        );
        writeln!(self.progress, "{line}").doing(|| "print progress")?;
        if let Some(raw) = &mut self.raw {
            let raw_line = Raw { cell: cell.name, round: round + 1, side, trial: &trial };
            let text = serde_json::to_string(&raw_line).doing(|| "write figures as JSON")?;
            writeln!(raw, "{text}").doing(|| "write figures")?;
        }
        Ok(trial)
    }
}

impl Measured {
    /// The median over the rounds of a figure of Redis's runs and of Wafka's.
    #[must_use]
    pub fn medians(&self, figure: impl Fn(&Trial) -> f64) -> (f64, f64) {
        (
            median(self.rounds.iter().map(|round| figure(&round.reference))),
            median(self.rounds.iter().map(|round| figure(&round.subject))),
        )
    }

    /// The median of the rounds' own ratios Wafka / Redis, which a change of the machine's speed between rounds does
    /// not touch.
    #[must_use]
    pub fn ratio(&self, figure: impl Fn(&Trial) -> f64) -> f64 {
        median(self.rounds.iter().map(|round| figure(&round.subject) / figure(&round.reference)))
    }

    /// Whether a row's target is met.
    #[must_use]
    pub fn meets(&self, row: &Row) -> bool {
        let figure = |trial: &Trial| trial.figure(row.measure).unwrap_or(f64::NAN);
        let within = |value: f64, bound: Option<f64>| {
            bound.is_none_or(
                |bound| if row.measure.higher_is_better() { value >= bound } else { value <= bound },
            )
        };
        within(self.ratio(figure), row.target.ratio) && within(self.medians(figure).1, row.target.figure)
    }
}

/// The middle value, or the mean of the middle two; NaN without any.
#[must_use]
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cell;
    use crate::latency::Percentiles;

    /// Rounds of the cell `name` with these rates of Redis and Wafka.
    pub(crate) fn measured(name: &str, rates: &[(f64, f64)]) -> Measured {
        let trial = |rate| Trial {
            events: 1_000_000,
            events_per_second: rate,
            server_cpu_us_per_event: 1e6 / rate,
            client_cpu_us_per_event: 0.1,
            resident_bytes: 50_000_000,
            resident_peak_bytes: 60_000_000,
            disk_bytes_per_event: 200.0,
            round_trip: Percentiles { p50_us: 100.0, p99_us: 200.0, p999_us: 12_345.6 },
            start_up_seconds: Some(0.05),
            pending: None,
        };
        let round = |&(reference, subject)| Round { reference: trial(reference), subject: trial(subject) };
        let cell = cell::all().into_iter().find(|cell| cell.name == name).unwrap();
        Measured { cell, rounds: rates.iter().map(round).collect() }
    }

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), 2.5);
        assert!(median(std::iter::empty()).is_nan());
    }

    #[test]
    fn the_ratio_is_the_median_of_each_rounds_own() {
        // The machine was twice as fast in one round and five times as slow in another: the ratio doesn't mind.
        let rates = [(100e3, 250e3), (200e3, 520e3), (20e3, 48e3)];
        let measured = measured("always-50x64", &rates);
        let rate = |trial: &Trial| trial.events_per_second;
        assert!((measured.ratio(rate) - 2.5).abs() < 1e-9);
        assert_eq!(measured.medians(rate), (100e3, 250e3));
        assert!(measured.meets(&measured.cell.rows[0]));
    }

    #[test]
    fn targets_bound_the_ratio_and_the_figure() {
        let met = |name, rates, row: usize| {
            let measured: Measured = measured(name, &[rates]);
            measured.meets(&measured.cell.rows[row])
        };
        assert!(!met("always-50x64", (500e3, 1240e3), 0));
        // CPU: at most 0.4 of Redis's and at most 0.7 us.
        assert!(met("always-50x64", (500e3, 1500e3), 1));
        assert!(!met("always-50x64", (800e3, 1500e3), 1), "ratio 0.53");
        assert!(!met("always-50x64", (500e3, 1400e3), 1), "0.71 us");
        assert!(met("restart", (1.0, 1.0), 0), "50 MB");
        assert!(!met("restart", (1.0, 1.0), 1), "start-up as long as Redis's");
    }
}
