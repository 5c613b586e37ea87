//! The long form of the differential test: random commands against a real Redis and against Wafka, until something differs.

#![allow(clippy::print_stdout, reason = "it talks to people")]

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use wafka_tests::diff::campaign::{Limits, Pair};
use wafka_tests::diff::reference::Program;
use wafka_tests::diff::script::Script;
use wafka_tests::diff::servers::Servers;

/// Plays random commands against a real Redis and against Wafka, and compares every reply.
#[derive(Parser, Debug)]
struct Options {
    /// The reference.
    #[arg(long, value_enum, default_value = "redis8")]
    reference: Redis,
    /// What is compared with it: another Redis tests the test.
    #[arg(long, value_enum, default_value = "wafka")]
    subject: Subject,
    /// Partitions of each topic of Wafka.
    #[arg(long, default_value_t = 2)]
    partitions: u16,
    /// The number of the first script.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Commands of a script.
    #[arg(long, default_value_t = 60)]
    steps: usize,
    /// How many commands to play.
    #[arg(long, default_value_t = 1_000_000)]
    commands: usize,
    /// How many seconds to play at most.
    #[arg(long, default_value_t = 24 * 60 * 60)]
    seconds: u64,
    /// How many differences to find before it ends.
    #[arg(long, default_value_t = 1)]
    findings: usize,
    /// Leaves out commands with one of these words: XCLAIM,LIMIT
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Plays this script instead, as a finding shows it.
    #[arg(long)]
    script: Option<PathBuf>,
    /// Seconds that a reply may take.
    #[arg(long, default_value_t = 5)]
    patience: u64,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum Redis {
    Redis7,
    Redis8,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum Subject {
    Wafka,
    Redis7,
    Redis8,
}

impl Redis {
    fn program(self) -> Result<Program, String> {
        match self {
            Redis::Redis7 => Program::redis_7(),
            Redis::Redis8 => Program::redis_8(),
        }
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing differed.
fn run(options: &Options) -> Result<bool, String> {
    let reference = options.reference.program()?;
    let servers = match options.subject {
        Subject::Wafka => Servers::wafka(&reference, options.partitions),
        Subject::Redis7 => Servers::redis(&reference, &Redis::Redis7.program()?),
        Subject::Redis8 => Servers::redis(&reference, &Redis::Redis8.program()?),
    };
    let pair = servers.pair(Duration::from_secs(options.patience));
    let result = match &options.script {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let script = Script::parse(&text).map_err(|error| format!("{}: {}", path.display(), error.0))?;
            play_one(&pair, &script)
        }
        None => play_many(&pair, options),
    };
    result.map_err(|error| error.to_string())
}

fn play_one(pair: &Pair, script: &Script) -> io::Result<bool> {
    let comparison = pair.compare(script)?;
    for rule in &comparison.accepted {
        println!("accepted: {rule}");
    }
    match &comparison.divergence {
        None => println!("the same: {} replies", comparison.replies),
        Some(divergence) => println!("they part at {divergence}"),
    }
    Ok(comparison.divergence.is_none())
}

fn play_many(pair: &Pair, options: &Options) -> io::Result<bool> {
    let limits = Limits {
        first_seed: options.seed,
        steps: options.steps,
        commands: options.commands,
        time: Duration::from_secs(options.seconds),
        findings: options.findings,
        without: options.without.clone(),
    };
    let tally = pair.campaign(&limits, |finding| println!("{finding}"))?;
    println!("{} scripts, {} commands, {} replies compared", tally.scripts, tally.commands, tally.replies);
    for (rule, times) in &tally.accepted {
        println!("accepted {times} times: {rule}");
    }
    Ok(tally.findings == 0)
}
