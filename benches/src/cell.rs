//! The cells of the comparison: what is run, and what it should reach.

use std::time::Duration;

use crate::server::Fsync;

/// What is done in a cell. All loads send events of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Produce for a while.
    Load {
        /// Connections.
        conns: usize,
        /// Commands a connection sends before it waits for their replies.
        pipeline: usize,
        /// Bytes of an event's value.
        size: usize,
        /// Topics visited in turn.
        topics: usize,
    },
    /// Produce a number of events, then read them from the start.
    Read {
        /// Bytes of an event's value.
        size: usize,
    },
    /// Produce a number of events, then drain them by the consumers of a group.
    Group {
        /// Consumers.
        consumers: usize,
        /// Events asked for at a time, and acknowledged together.
        count: usize,
    },
    /// Produce events at a steady pace while readers are blocked waiting for them.
    Delivery {
        /// Blocked readers.
        readers: usize,
        /// Events per second.
        per_second: u64,
    },
    /// Let many events be pending in a group.
    Pending,
    /// Produce a number of events, look at the memory, stop the server and start it again.
    Restart {
        /// Bytes of an event's value.
        size: usize,
    },
}

/// What is taken from a cell's runs for a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Events per second.
    Rate,
    /// The server's CPU time per event, in microseconds.
    Cpu,
    /// The server's resident memory after the load, in MB (10^6 bytes).
    Resident,
    /// From the start of the process to the first `PONG`, in seconds.
    StartUp,
    /// Half of the round trips, or deliveries, took at most this, in microseconds.
    P50,
    /// 99 of 100 took at most this, in microseconds.
    P99,
    /// `XPENDING`'s summary: how many times as long it takes with many pending entries as with 100.
    SummaryGrowth,
    /// The same of `XACK`.
    AckGrowth,
}

impl Measure {
    /// Whether a higher figure is the better one.
    #[must_use]
    pub fn higher_is_better(self) -> bool {
        self == Self::Rate
    }
}

/// What a row should reach: a ratio Wafka / Redis, a figure of Wafka's own, or both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Bound of the ratio.
    pub ratio: Option<f64>,
    /// Bound of Wafka's figure, in the measure's unit.
    pub figure: Option<f64>,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// What it says first.
    pub title: &'static str,
    /// What it shows.
    pub measure: Measure,
    /// What it should be.
    pub target: Target,
}

/// One cell: a piece of work, and the rows that come out of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Its name on the command line.
    pub name: &'static str,
    /// When replies may be given.
    pub fsync: Fsync,
    /// What is done.
    pub work: Work,
    /// What is printed.
    pub rows: Vec<Row>,
}

/// How much is done in each cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// How long a load cell produces.
    pub load: Duration,
    /// Events that are read, when they are smaller than 1 KB; of others a quarter.
    pub read_events: u64,
    /// Events in the log when memory and start-up are looked at.
    pub restart_events: u64,
    /// Pending entries, where they are many.
    pub pending: u64,
}

impl Scale {
    /// As little as shows that everything works.
    #[must_use]
    pub fn quick() -> Self {
        let load = Duration::from_millis(300);
        Scale { load, read_events: 40_000, restart_events: 50_000, pending: 5_000 }
    }

    /// Events to read in a read cell.
    #[must_use]
    pub fn events_to_read(&self, size: usize) -> u64 {
        if size < 1024 { self.read_events } else { self.read_events / 4 }
    }
}

fn row(title: &'static str, measure: Measure, ratio: f64) -> Row {
    Row { title, measure, target: Target { ratio: Some(ratio), figure: None } }
}

fn load(name: &'static str, title: &'static str, fsync: Fsync, shape: [usize; 4], ratio: f64) -> Cell {
    let [conns, pipeline, size, topics] = shape;
    let work = Work::Load { conns, pipeline, size, topics };
    Cell { name, fsync, work, rows: vec![row(title, Measure::Rate, ratio)] }
}

/// All cells, in the order of the table.
#[must_use]
pub fn all() -> Vec<Cell> {
    use Fsync::{Always, EverySec};
    let cpu = Row {
        title: "CPU us/event, always, 50 x 64, 100 B",
        measure: Measure::Cpu,
        target: Target { ratio: Some(0.4), figure: Some(0.7) },
    };
    let resident = Row {
        title: "RSS MB after the load",
        measure: Measure::Resident,
        target: Target { ratio: None, figure: Some(64.0) },
    };
    let mut always = load("always-50x64", "always, 50 x 64, 100 B", Always, [50, 64, 100, 1], 2.5);
    always.rows.push(cpu);
    let read = |name, title, size, ratio| {
        let rows = vec![row(title, Measure::Rate, ratio)];
        Cell { name, fsync: EverySec, work: Work::Read { size }, rows }
    };
    vec![
        always,
        load("always-50x64-1k", "always, 50 x 64, 1 KB", Always, [50, 64, 1024, 1], 1.6),
        load("always-50x1", "always, 50 x 1, 100 B", Always, [50, 1, 100, 1], 1.0),
        load("always-1x1", "always, 1 x 1, 100 B", Always, [1, 1, 100, 1], 0.9),
        load("everysec-50x64", "everysec, 50 x 64, 100 B", EverySec, [50, 64, 100, 1], 3.0),
        load("everysec-50x64-1k", "everysec, 50 x 64, 1 KB", EverySec, [50, 64, 1024, 1], 1.8),
        load("everysec-50x1", "everysec, 50 x 1, 100 B", EverySec, [50, 1, 100, 1], 1.0),
        load("everysec-1x1", "everysec, 1 x 1, 100 B", EverySec, [1, 1, 100, 1], 0.9),
        read("read", "catch-up XREAD, 100 B", 100, 1.1),
        read("read-1k", "catch-up XREAD, 1 KB", 1024, 1.3),
        read_always(),
        Cell {
            name: "restart",
            fsync: Always,
            work: Work::Restart { size: 100 },
            rows: vec![resident, row("start-up s with that log", Measure::StartUp, 0.1)],
        },
        load("topics-1000", "1,000 topics, always, 50 x 64", Always, [50, 64, 100, 1000], 0.8),
        group("group", "group of 4, everysec, COUNT 100 + XACK", EverySec),
        group("group-always", "group of 4, always, COUNT 100 + XACK", Always),
        delivery("blocked-1", ["to 1 blocked reader, us p50", "to 1 blocked reader, us p99"], 1),
        delivery("blocked-100", ["to 100 blocked readers, us p50", "to 100 blocked readers, us p99"], 100),
        pending(),
    ]
}

fn group(name: &'static str, title: &'static str, fsync: Fsync) -> Cell {
    let work = Work::Group { consumers: 4, count: 100 };
    Cell { name, fsync, work, rows: vec![row(title, Measure::Rate, 1.0)] }
}

/// What large batches wrote with `always` is not in the page cache.
fn read_always() -> Cell {
    let target = Target { ratio: None, figure: None };
    let row = Row { title: "catch-up XREAD, 100 B, after always", measure: Measure::Rate, target };
    Cell { name: "read-always", fsync: Fsync::Always, work: Work::Read { size: 100 }, rows: vec![row] }
}

fn delivery(name: &'static str, titles: [&'static str; 2], readers: usize) -> Cell {
    let work = Work::Delivery { readers, per_second: 1000 };
    let [p50, p99] = titles;
    let rows = vec![row(p50, Measure::P50, 1.2), row(p99, Measure::P99, 1.2)];
    Cell { name, fsync: Fsync::EverySec, work, rows }
}

fn pending() -> Cell {
    // The same time, but for what two medians of microseconds differ by anyway.
    let target = Target { ratio: None, figure: Some(1.3) };
    let rows = vec![
        Row { title: "XPENDING, 1 million / 100 pending", measure: Measure::SummaryGrowth, target },
        Row { title: "XACK, 1 million / 100 pending", measure: Measure::AckGrowth, target },
    ];
    Cell { name: "pending", fsync: Fsync::EverySec, work: Work::Pending, rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_cell_has_a_row() {
        let cells = all();
        for (at, cell) in cells.iter().enumerate() {
            assert!(!cell.rows.is_empty(), "{}", cell.name);
            assert!(cells[..at].iter().all(|other| other.name != cell.name), "{}", cell.name);
        }
    }
}
