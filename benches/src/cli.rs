//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Produces to, reads from and measures servers that speak Redis's stream commands.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Produce to a running server.
    Load(LoadArgs),
    /// Read a topic of a running server from its start.
    Read(ReadArgs),
    /// Measure Wafka against Redis; starts and stops both.
    Compare(CompareArgs),
    /// Measure Wafka on each of its storage backends.
    Backends(BackendsArgs),
    /// Measure Wafka on NATS JetStream next to programs that publish to it by themselves; starts and stops the servers.
    Jetstream(JetStreamArgs),
    /// Measure how long nobody answers when the server that owns the data on JetStream is killed and another takes over.
    Takeover(TakeoverArgs),
    /// Measure Wafka with a log of many gigabytes.
    Long(LongArgs),
}

#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The server.
    #[arg(long, default_value = "127.0.0.1:6379")]
    pub addr: SocketAddr,
    /// Connections.
    #[arg(long, default_value_t = 50)]
    pub conns: usize,
    /// Commands a connection sends before it waits for their replies.
    #[arg(long, default_value_t = 64)]
    pub pipeline: usize,
    /// Bytes of an event's value.
    #[arg(long, default_value_t = 100)]
    pub size: usize,
    /// Stop after exactly so many events.
    #[arg(long, conflicts_with = "seconds")]
    pub events: Option<u64>,
    /// Stop after so long (default: 5).
    #[arg(long, value_parser = positive)]
    pub seconds: Option<f64>,
    /// Topics that the events of a connection go to in turn.
    #[arg(long, default_value_t = 1)]
    pub topics: usize,
    /// The topic, or with several the beginning of their names (`bench:000`, `bench:001`, …).
    #[arg(long, default_value = "bench")]
    pub topic: String,
    /// Read everything back afterwards: each acknowledged event once and in order. The topics must be empty before.
    #[arg(long)]
    pub verify: bool,
}

#[derive(Debug, Args)]
pub struct ReadArgs {
    /// The server.
    #[arg(long, default_value = "127.0.0.1:6379")]
    pub addr: SocketAddr,
    /// The topic.
    #[arg(long, default_value = "bench")]
    pub topic: String,
    /// Events asked for by one XREAD.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// Check that the topic holds one run of `load` to it alone: of each connection the events 0, 1, 2, … in order,
    /// each once.
    #[arg(long)]
    pub verify: bool,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Runs of each cell against each server.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// How long a load cell produces.
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    pub seconds: f64,
    /// Redis on both sides: shows what ratios this machine's noise makes of 1.
    #[arg(long, conflicts_with = "wafka")]
    pub control: bool,
    #[command(flatten)]
    pub cells: CellsArgs,
    /// Redis's server.
    #[arg(long, default_value = "redis-server")]
    pub redis: PathBuf,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Args)]
pub struct BackendsArgs {
    /// The backends; ratios are to the first one. What is not built in is a plugin, `libwafka_storage_NAME.so`.
    #[arg(long, value_delimiter = ',', default_value = "text,memory,sqlite,redb")]
    pub backends: Vec<String>,
    /// Where the plugins' libraries are (default: beside this program).
    #[arg(long)]
    pub plugins: Option<PathBuf>,
    /// Runs of each cell on each backend.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// How long a load cell produces.
    #[arg(long, default_value_t = 3.0, value_parser = positive)]
    pub seconds: f64,
    #[command(flatten)]
    pub cells: CellsArgs,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Args)]
pub struct JetStreamArgs {
    /// Where the plugin's library is (default: beside this program).
    #[arg(long)]
    pub plugins: Option<PathBuf>,
    /// Runs of each cell on each side.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// How long a load cell produces.
    #[arg(long, default_value_t = 3.0, value_parser = positive)]
    pub seconds: f64,
    #[command(flatten)]
    pub cells: CellsArgs,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Args)]
pub struct TakeoverArgs {
    /// Where the plugin's library is (default: beside this program).
    #[arg(long)]
    pub plugins: Option<PathBuf>,
    /// How often the owner is killed.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// How long is produced before each kill.
    #[arg(long, default_value_t = 2.0, value_parser = positive)]
    pub seconds: f64,
    /// The lease, in milliseconds (default: the plugin's).
    #[arg(long)]
    pub lease_ms: Option<u32>,
    /// So many further topics are taken over, of twenty events each, the older half trimmed.
    #[arg(long, default_value_t = 0)]
    pub topics: usize,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Args)]
pub struct LongArgs {
    /// How much the log holds in the end, in 10^9 bytes on disk.
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    pub gigabytes: f64,
    /// Bytes of an event's value.
    #[arg(long, default_value_t = 100)]
    pub size: usize,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Args)]
pub struct CellsArgs {
    /// Only these cells, by name (`--cells help` lists them).
    #[arg(long, value_delimiter = ',')]
    pub cells: Vec<String>,
    /// One short round, to see that everything works; its figures mean little.
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    pub quick: bool,
    /// Write each run's figures to this file, a line of JSON for each.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CommonArgs {
    /// Wafka's server (default: wafka-server beside this program).
    #[arg(long)]
    pub wafka: Option<PathBuf>,
    /// Where data directories are made (default: beside this program); must be on a disk.
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1e6 => Ok(value),
        _ => Err("expected a number greater than 0 and less than 1,000,000".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn numbers_must_be_positive() {
        assert_eq!(positive("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "nan", "inf", "x"] {
            assert!(positive(wrong).is_err(), "{wrong}");
        }
    }
}
