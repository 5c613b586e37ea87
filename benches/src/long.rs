//! Wafka alone with a log of many gigabytes: memory while it grows, start-up with it, and what a read by id costs.

use std::cell::RefCell;
use std::fmt;
use std::io::Write;
use std::time::Instant;

use serde::Serialize;

use crate::error::Context;
use crate::latency::{Latency, Percentiles};
use crate::load::{self, Plan, Sample, Stop};
use crate::payload::origin;
use crate::procfs::{self, Reads};
use crate::readback::{self, Reader};
use crate::server::{Fsync, Program, Server};
use crate::table::thousands;
use crate::trial::{BASE, Workplace, watched, wide_plan};
use crate::{BenchError, Result};

const GIGABYTE: f64 = 1e9;
/// Reads by id, each time.
const READS: usize = 1000;

/// The figures of a long run. That they are there means that all events were read back once and in order.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Events in the log.
    pub events: u64,
    /// What the data directory takes on the disk, in bytes.
    pub disk_bytes: u64,
    /// Events per second over the whole load.
    pub events_per_second: f64,
    /// The server's resident memory each time the log had grown by about a gigabyte, and at the end, in bytes.
    pub resident_bytes: Vec<u64>,
    /// The most it was during the load, in bytes.
    pub resident_peak_bytes: u64,
    /// Start-up with the log in the page cache, in seconds.
    pub start_up_seconds: f64,
    /// Start-up after the page cache was dropped, in seconds.
    pub cold_start_up_seconds: f64,
    /// Resident memory after that start-up, in bytes.
    pub restarted_resident_bytes: u64,
    /// Reads of random events by id after that, each with what it touched not in the page cache unless an earlier
    /// one had left it there.
    pub cold_reads: ReadsById,
    /// The same reads again.
    pub warm_reads: ReadsById,
    /// Resident memory after all events were read, in bytes.
    pub read_resident_bytes: u64,
    /// Events per second of that catch-up.
    pub read_events_per_second: f64,
}

/// Figures of reads by id.
#[derive(Debug, Clone, Serialize)]
pub struct ReadsById {
    /// How many.
    pub reads: usize,
    /// Round trips of `XRANGE topic id id`.
    pub round_trip: Percentiles,
    /// Bytes that the server's read calls returned (from files, and requests from the socket if it uses read(2)),
    /// for each.
    pub bytes_by_calls: f64,
    /// Bytes fetched from storage, read-ahead included, for each.
    pub bytes_from_storage: f64,
}

/// Loads until the data directory holds `gigabytes`, then looks at everything.
///
/// # Errors
/// Anything that is not as it should be, a read-back that differs included.
pub fn run(
    program: &Program,
    gigabytes: f64,
    size: usize,
    workplace: &mut Workplace,
    progress: &mut dyn Write,
) -> Result<Report> {
    let dir = workplace.fresh();
    let fsync = Fsync::Always;
    let server = program.start(&dir, fsync)?;
    let pid = server.pid();
    let resident = RefCell::new(Vec::new());
    let mut full = || {
        let used = procfs::disk_use(&dir)? as f64 / GIGABYTE;
        let now = procfs::memory(pid)?.resident;
        let mut resident = resident.borrow_mut();
        if used >= (resident.len() + 1) as f64 {
            resident.push(now);
            writeln!(progress, "{used:.1} GB, RSS {:.1} MB", now as f64 / 1e6).doing(|| "print progress")?;
        }
        Ok(used >= gigabytes)
    };
    let plan = Plan { samples: READS, ..wide_plan(server.addr, size) };
    let outcome = watched(&server, |_| load::run(&plan, Stop::When(&mut full)))?;
    let memory = procfs::memory(pid)?;
    resident.borrow_mut().push(memory.resident);
    let disk_bytes = procfs::disk_use(&dir)?;
    server.stop()?;

    let server = program.start(&dir, fsync)?;
    let start_up_seconds = server.ready_after.as_secs_f64();
    server.stop()?;
    procfs::drop_page_cache(&dir)?;
    let server = program.start(&dir, fsync)?;
    let cold_start_up_seconds = server.ready_after.as_secs_f64();
    let restarted_resident_bytes = procfs::memory(server.pid())?.resident;
    let samples = shuffled(outcome.samples);
    let cold_reads = watched(&server, |_| read_by_id(&server, &samples))?;
    let warm_reads = watched(&server, |_| read_by_id(&server, &samples))?;
    let started = Instant::now();
    watched(&server, |addr| readback::verify(addr, BASE, &outcome.ledger))?;
    let read_events_per_second = outcome.summary.events as f64 / started.elapsed().as_secs_f64();
    let read_resident_bytes = procfs::memory(server.pid())?.resident;
    server.stop()?;
    Ok(Report {
        events: outcome.summary.events,
        disk_bytes,
        events_per_second: outcome.summary.events_per_second,
        resident_bytes: resident.into_inner(),
        resident_peak_bytes: memory.peak,
        start_up_seconds,
        cold_start_up_seconds,
        restarted_resident_bytes,
        cold_reads,
        warm_reads,
        read_resident_bytes,
        read_events_per_second,
    })
}

/// The samples in an order without a pattern, the same each time: by a multiplicative hash of their places.
fn shuffled(samples: Vec<Sample>) -> Vec<Sample> {
    let mut placed: Vec<(u64, Sample)> = samples
        .into_iter()
        .zip(1_u64..)
        .map(|(sample, at)| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15), sample))
        .collect();
    placed.sort_by_key(|(hash, _)| *hash);
    placed.into_iter().map(|(_, sample)| sample).collect()
}

fn read_by_id(server: &Server, samples: &[Sample]) -> Result<ReadsById> {
    let mut reader = Reader::open(server.addr)?;
    let mut latency = Latency::new();
    let before = procfs::reads(server.pid())?;
    for sample in samples {
        let sent = Instant::now();
        reader.by_id(BASE, sample.id, |id, payload| {
            if id == sample.id && origin(payload) == Some(sample.origin) {
                return Ok(());
            }
            let (conn, number) = sample.origin;
            let payload = String::from_utf8_lossy(payload);
            Err(BenchError::ReadBack(format!(
                "{} was acknowledged to connection {conn} as its event {number}; read by id: {id} {payload:?}",
                sample.id
            )))
        })?;
        latency.record(sent.elapsed());
    }
    let after = procfs::reads(server.pid())?;
    let each = |of: fn(&Reads) -> u64| of(&after).saturating_sub(of(&before)) as f64 / samples.len() as f64;
    Ok(ReadsById {
        reads: samples.len(),
        round_trip: latency.percentiles(),
        bytes_by_calls: each(|reads| reads.by_calls),
        bytes_from_storage: each(|reads| reads.from_storage),
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: &u64| format!("{:.1}", *bytes as f64 / 1e6);
        let resident: Vec<String> = self.resident_bytes.iter().map(megabytes).collect();
        writeln!(
            f,
            "log: {} events, {:.2} GB on disk, {:.0} B/event, {}/s",
            thousands(self.events),
            self.disk_bytes as f64 / GIGABYTE,
            self.disk_bytes as f64 / self.events as f64,
            thousands(self.events_per_second as u64),
        )?;
        let peak = megabytes(&self.resident_peak_bytes);
        writeln!(
            f,
            "RSS MB at each GB and at the end: {} (peak {peak}; target <= 64, flat)",
            resident.join(", ")
        )?;
        writeln!(
            f,
            "start-up: {:.3} s in the page cache, {:.3} s without (target < 1); RSS then {} MB",
            self.start_up_seconds,
            self.cold_start_up_seconds,
            megabytes(&self.restarted_resident_bytes),
        )?;
        for (name, reads) in [("not cached", &self.cold_reads), ("cached", &self.warm_reads)] {
            let Percentiles { p50_us, p99_us, p999_us } = reads.round_trip;
            writeln!(
                f,
                "{} random reads by id, {name}: p50/p99/p999 {p50_us:.0}/{p99_us:.0}/{p999_us:.0} us; each {:.0} B by read calls, {:.0} B from storage",
                reads.reads, reads.bytes_by_calls, reads.bytes_from_storage,
            )?;
        }
        writeln!(
            f,
            "catch-up of everything: {}/s, RSS then {} MB; all {} events read back once and in order",
            thousands(self.read_events_per_second as u64),
            megabytes(&self.read_resident_bytes),
            thousands(self.events),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Id;

    #[test]
    fn shuffling_keeps_every_sample_and_leaves_their_order() {
        let samples: Vec<Sample> =
            (0..1000).map(|seq| Sample { id: Id { ms: 1, seq }, origin: (0, seq) }).collect();
        let mixed = shuffled(samples.clone());
        let rising = mixed.windows(2).filter(|pair| pair[0].id < pair[1].id).count();
        assert!((300..700).contains(&rising), "{rising}");
        let mut sorted = mixed;
        sorted.sort_by_key(|sample| sample.id);
        assert_eq!(sorted, samples);
    }
}
