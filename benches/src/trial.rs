//! One run of one cell against one server, on a data directory of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::TempDir;

use crate::cell::{Cell, Measure, Scale, Work};
use crate::error::Context;
use crate::group::PendingFigures;
use crate::latency::Percentiles;
use crate::ledger::Ledger;
use crate::load::{self, Plan, Stop};
use crate::server::{Program, Server};
use crate::{BenchError, Result, delivery, group, procfs, readback};

/// The name of the topics of all runs.
pub const BASE: &str = "bench";
/// Events asked for by one `XREAD`.
const READ_COUNT: usize = 1000;

/// What one run gave. That it is there means that everything acknowledged was read back once and in order.
#[derive(Debug, Clone, Serialize)]
pub struct Trial {
    /// Events acknowledged, and verified.
    pub events: u64,
    /// Events per second: produced, or in a read cell read.
    pub events_per_second: f64,
    /// The server's CPU time while this was measured, in microseconds per event.
    pub server_cpu_us_per_event: f64,
    /// This program's CPU time meanwhile, in microseconds per event.
    pub client_cpu_us_per_event: f64,
    /// The server's resident memory afterwards, in bytes.
    pub resident_bytes: u64,
    /// The most it was until then, in bytes.
    pub resident_peak_bytes: u64,
    /// What its data directory takes on the disk, in bytes per event.
    pub disk_bytes_per_event: f64,
    /// Round trips: of batches, or in a read cell of `XREAD`s.
    pub round_trip: Percentiles,
    /// Start-up with the log, in seconds, where that was looked at.
    pub start_up_seconds: Option<f64>,
    /// What long and short lists of pending entries cost, where that was looked at.
    pub pending: Option<PendingFigures>,
}

impl Trial {
    /// The figure that a row shows; `None` when the cell doesn't measure it.
    #[must_use]
    pub fn figure(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::Rate => Some(self.events_per_second),
            Measure::Cpu => Some(self.server_cpu_us_per_event),
            Measure::Resident => Some(self.resident_bytes as f64 / 1e6),
            Measure::StartUp => self.start_up_seconds,
            Measure::P50 => Some(self.round_trip.p50_us),
            Measure::P99 => Some(self.round_trip.p99_us),
            Measure::SummaryGrowth => self.pending.map(|p| p.summary_many_us / p.summary_few_us),
            Measure::AckGrowth => self.pending.map(|p| p.ack_many_us / p.ack_few_us),
        }
    }
}

/// A place for data directories. Dropped, it is deleted.
#[derive(Debug)]
pub struct Workplace {
    dir: TempDir,
    runs: usize,
}

impl Workplace {
    /// A new directory in `parent`, by default in the directory of this program, which is where it was built.
    ///
    /// # Errors
    /// It cannot be made, or lies in memory, where syncing costs nothing and nothing would be compared.
    pub fn new(parent: Option<&Path>) -> Result<Self> {
        let parent = match parent {
            Some(parent) => parent.to_owned(),
            None => beside_this_program("")?,
        };
        if procfs::is_memory(&parent)? {
            let problem =
                "is on a file system in memory, where a sync costs nothing; name another directory (--dir)";
            return Err(BenchError::Setup(format!("{} {problem}", parent.display())));
        }
        let dir = tempfile::Builder::new().prefix("wafka-bench-").tempdir_in(&parent);
        Ok(Self { dir: dir.doing(|| format!("make a directory in {}", parent.display()))?, runs: 0 })
    }

    /// The directory that the others are in.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A name for a data directory that hasn't been used. What was written before is brought to the disk, so that
    /// no run pays for the one before it.
    pub fn fresh(&mut self) -> PathBuf {
        self.runs += 1;
        rustix::fs::sync();
        self.dir.path().join(format!("run-{}", self.runs))
    }
}

/// The path of `name` in the directory of this program.
///
/// # Errors
/// The system doesn't say where this program is.
pub fn beside_this_program(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe().doing(|| "find this program's own path")?;
    Ok(program.parent().unwrap_or(Path::new("/")).join(name))
}

/// Runs `cell` once against a new server on a new data directory, and deletes that afterwards.
///
/// # Errors
/// Anything that is not as it should be, a read-back that differs included.
pub fn run(program: &Program, cell: &Cell, scale: &Scale, workplace: &mut Workplace) -> Result<Trial> {
    let dir = workplace.fresh();
    let server = program.start(&dir, cell.fsync)?;
    let trial = match cell.work {
        Work::Load { conns, pipeline, size, topics } => {
            let plan = |addr| Plan { addr, conns, pipeline, size, topics, base: BASE.to_owned(), samples: 0 };
            load_cell(server, &dir, &plan, scale)
        }
        Work::Read { size } => read_cell(server, &dir, size, scale.events_to_read(size)),
        Work::Group { consumers, count } => group_cell(server, &dir, (consumers, count), scale.read_events),
        Work::Delivery { readers, per_second } => delivery_cell(server, &dir, readers, per_second, scale),
        Work::Pending => pending_cell(server, &dir, scale.pending),
        Work::Restart { size } => restart_cell(program, cell, server, &dir, size, scale.restart_events),
    }?;
    // Thousands of files that were just deleted slow down those that the next run makes (ext4 looks at each recently
    // deleted inode before it gives out another): they go when everything is measured.
    if !matches!(cell.work, Work::Load { topics: 2.., .. }) {
        fs::remove_dir_all(&dir).doing(|| format!("delete {}", dir.display()))?;
    }
    Ok(trial)
}

fn load_cell(server: Server, dir: &Path, plan: &dyn Fn(SocketAddr) -> Plan, scale: &Scale) -> Result<Trial> {
    let (trial, ledger) =
        watched(&server, |addr| produce(&server, dir, &plan(addr), Stop::After(scale.load)))?;
    watched(&server, |addr| readback::verify(addr, BASE, &ledger))?;
    server.stop()?;
    Ok(trial)
}

fn read_cell(server: Server, dir: &Path, size: usize, events: u64) -> Result<Trial> {
    let (mut trial, ledger) =
        watched(&server, |addr| produce(&server, dir, &wide_plan(addr, size), Stop::Events(events)))?;
    let cpu = procfs::process_cpu(server.pid())?;
    let read = watched(&server, |addr| readback::measure(addr, BASE, READ_COUNT))?;
    let cpu = procfs::process_cpu(server.pid())?.saturating_sub(cpu);
    if read.events != events {
        let problem = format!("{events} events acknowledged, {} read", read.events);
        return Err(server.problem(BenchError::ReadBack(problem).to_string()));
    }
    let memory = procfs::memory(server.pid())?;
    trial.events_per_second = read.events_per_second;
    trial.server_cpu_us_per_event = cpu.as_secs_f64() * 1e6 / events as f64;
    trial.client_cpu_us_per_event = read.client_cpu_us_per_event;
    trial.round_trip = read.round_trip;
    (trial.resident_bytes, trial.resident_peak_bytes) = (memory.resident, memory.peak);
    watched(&server, |addr| readback::verify(addr, BASE, &ledger))?;
    server.stop()?;
    Ok(trial)
}

fn group_cell(server: Server, dir: &Path, (consumers, count): (usize, usize), events: u64) -> Result<Trial> {
    let (mut trial, ledger) =
        watched(&server, |addr| produce(&server, dir, &wide_plan(addr, 100), Stop::Events(events)))?;
    let cpu = procfs::process_cpu(server.pid())?;
    let drained = watched(&server, |addr| group::drain(addr, BASE, consumers, count, &ledger))?;
    let cpu = procfs::process_cpu(server.pid())?.saturating_sub(cpu);
    trial.events_per_second = drained.events as f64 / drained.seconds;
    trial.server_cpu_us_per_event = cpu.as_secs_f64() * 1e6 / events as f64;
    trial.client_cpu_us_per_event = drained.client_cpu_us_per_event;
    trial.round_trip = drained.round_trip;
    let memory = procfs::memory(server.pid())?;
    (trial.resident_bytes, trial.resident_peak_bytes) = (memory.resident, memory.peak);
    trial.disk_bytes_per_event = procfs::disk_use(dir)? as f64 / events as f64;
    server.stop()?;
    Ok(trial)
}

fn delivery_cell(
    server: Server,
    dir: &Path,
    readers: usize,
    per_second: u64,
    scale: &Scale,
) -> Result<Trial> {
    let cpu = procfs::process_cpu(server.pid())?;
    let run = watched(&server, |addr| delivery::run(addr, BASE, readers, per_second, scale.load))?;
    let cpu = procfs::process_cpu(server.pid())?.saturating_sub(cpu);
    watched(&server, |addr| readback::verify(addr, BASE, &run.ledger))?;
    let (events, memory) = (run.ledger.events(), procfs::memory(server.pid())?);
    let trial = Trial {
        events,
        events_per_second: run.events_per_second,
        server_cpu_us_per_event: cpu.as_secs_f64() * 1e6 / events as f64,
        client_cpu_us_per_event: run.client_cpu_us_per_event,
        resident_bytes: memory.resident,
        resident_peak_bytes: memory.peak,
        disk_bytes_per_event: procfs::disk_use(dir)? as f64 / events as f64,
        round_trip: run.latency,
        start_up_seconds: None,
        pending: None,
    };
    server.stop()?;
    Ok(trial)
}

fn pending_cell(server: Server, dir: &Path, many: u64) -> Result<Trial> {
    let events = group::events_for(many);
    let (mut trial, _) =
        watched(&server, |addr| produce(&server, dir, &wide_plan(addr, 100), Stop::Events(events)))?;
    let (figures, acks) = watched(&server, |addr| group::measure_pending(addr, BASE, many))?;
    trial.pending = Some(figures);
    trial.round_trip = acks;
    let memory = procfs::memory(server.pid())?;
    (trial.resident_bytes, trial.resident_peak_bytes) = (memory.resident, memory.peak);
    server.stop()?;
    Ok(trial)
}

fn restart_cell(
    program: &Program,
    cell: &Cell,
    server: Server,
    dir: &Path,
    size: usize,
    events: u64,
) -> Result<Trial> {
    let (mut trial, ledger) =
        watched(&server, |addr| produce(&server, dir, &wide_plan(addr, size), Stop::Events(events)))?;
    server.stop()?;
    let server = program.start(dir, cell.fsync)?;
    trial.start_up_seconds = Some(server.ready_after.as_secs_f64());
    watched(&server, |addr| readback::verify(addr, BASE, &ledger))?;
    server.stop()?;
    Ok(trial)
}

/// 50 connections with a pipeline of 64.
#[must_use]
pub fn wide_plan(addr: SocketAddr, size: usize) -> Plan {
    Plan { addr, conns: 50, pipeline: 64, size, topics: 1, base: BASE.to_owned(), samples: 0 }
}

/// Runs a load and takes the server's figures.
fn produce(server: &Server, dir: &Path, plan: &Plan, stop: Stop<'_>) -> Result<(Trial, Ledger)> {
    let cpu = procfs::process_cpu(server.pid())?;
    let outcome = load::run(plan, stop)?;
    let cpu = procfs::process_cpu(server.pid())?.saturating_sub(cpu);
    let memory = procfs::memory(server.pid())?;
    let events = outcome.summary.events;
    let trial = Trial {
        events,
        events_per_second: outcome.summary.events_per_second,
        server_cpu_us_per_event: cpu.as_secs_f64() * 1e6 / events as f64,
        client_cpu_us_per_event: outcome.summary.client_cpu_us_per_event,
        resident_bytes: memory.resident,
        resident_peak_bytes: memory.peak,
        disk_bytes_per_event: procfs::disk_use(dir)? as f64 / events as f64,
        round_trip: outcome.summary.round_trip,
        start_up_seconds: None,
        pending: None,
    };
    Ok((trial, outcome.ledger))
}

/// Does something with a server; an error is told together with the end of the server's output.
///
/// # Errors
/// The error of `act`, as [`BenchError::Server`].
pub fn watched<T>(server: &Server, act: impl FnOnce(SocketAddr) -> Result<T>) -> Result<T> {
    act(server.addr).map_err(|error| server.problem(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_new_and_deleted_in_the_end() {
        let parent = beside_this_program("").unwrap();
        let mut workplace = Workplace::new(Some(&parent)).unwrap();
        let place = workplace.dir.path().to_owned();
        let (first, second) = (workplace.fresh(), workplace.fresh());
        assert!(first != second && first.starts_with(&place) && place.starts_with(parent));
        fs::create_dir(&first).unwrap();
        drop(workplace);
        assert!(!place.exists());
    }
}
