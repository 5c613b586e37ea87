//! `wafka-bench`: produces, reads back, and compares. See `benches/README.md`.

mod cli;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde::Serialize;
use wafka_bench::backends::{self, Backends};
use wafka_bench::cell::{self, Cell, Scale};
use wafka_bench::compare::Comparison;
use wafka_bench::error::Context;
use wafka_bench::jetstream::{self, JetStream, Side};
use wafka_bench::ledger::Verifier;
use wafka_bench::load::{self, Plan, Stop};
use wafka_bench::payload::{MAX_CONNS, topic_name};
use wafka_bench::readback::{self, Reader};
use wafka_bench::server::{Backend, Program};
use wafka_bench::table::{self, thousands};
use wafka_bench::takeover::{self, Takeover};
use wafka_bench::trial::{Workplace, beside_this_program};
use wafka_bench::{BenchError, Result, long};

use cli::{
    BackendsArgs, CellsArgs, Cli, Command, CommonArgs, CompareArgs, JetStreamArgs, LoadArgs, LongArgs,
    ReadArgs, TakeoverArgs,
};

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Load(args) => load_command(args),
        Command::Read(args) => read_command(&args),
        Command::Compare(args) => compare_command(args),
        Command::Backends(args) => backends_command(&args),
        Command::Jetstream(args) => jetstream_command(&args),
        Command::Takeover(args) => takeover_command(&args),
        Command::Long(args) => long_command(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wafka-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn load_command(args: LoadArgs) -> Result<()> {
    let LoadArgs { addr, conns, pipeline, size, topics, topic: base, .. } = args;
    let plan = Plan { addr, conns, pipeline, size, topics, base, samples: 0 };
    if args.verify {
        let mut reader = Reader::open(addr)?;
        for index in 0..topics {
            let topic = topic_name(&plan.base, index, topics);
            let events = reader.len(&topic)?;
            if events > 0 {
                let problem =
                    format!("topic {topic} holds {events} events already; --verify needs empty topics");
                return Err(BenchError::Setup(problem));
            }
        }
    }
    let stop = match args.events {
        Some(events) => Stop::Events(events),
        None => Stop::After(Duration::from_secs_f64(args.seconds.unwrap_or(5.0))),
    };
    let outcome = load::run(&plan, stop)?;
    let summary = &outcome.summary;
    say(&format!(
        "{} events in {:.2} s: {}/s; client CPU {:.3} us/event; round trip p50/p99/p999 {:.0}/{:.0}/{:.0} us",
        thousands(summary.events),
        summary.seconds,
        thousands(summary.events_per_second as u64),
        summary.client_cpu_us_per_event,
        summary.round_trip.p50_us,
        summary.round_trip.p99_us,
        summary.round_trip.p999_us,
    ))?;
    if args.verify {
        readback::verify(addr, &plan.base, &outcome.ledger)?;
        say(&format!("all {} events read back once and in order", thousands(summary.events)))?;
    }
    print_json(summary)
}

fn read_command(args: &ReadArgs) -> Result<()> {
    let count = args.count as usize;
    let summary = if args.verify {
        let mut verifier = Verifier::new(MAX_CONNS + 1, 1);
        verifier.begin_topic(0);
        let summary =
            readback::measure_each(args.addr, &args.topic, count, |id, payload| verifier.event(id, payload))?;
        let conns = verifier.seen().iter().filter(|seen| seen.count > 0).count();
        say(&format!("events of {conns} connections, each once and in order, none missing in between"))?;
        summary
    } else {
        readback::measure(args.addr, &args.topic, count)?
    };
    say(&format!(
        "{} events in {:.2} s: {}/s; client CPU {:.3} us/event; XREAD p50/p99/p999 {:.0}/{:.0}/{:.0} us",
        thousands(summary.events),
        summary.seconds,
        thousands(summary.events_per_second as u64),
        summary.client_cpu_us_per_event,
        summary.round_trip.p50_us,
        summary.round_trip.p99_us,
        summary.round_trip.p999_us,
    ))?;
    print_json(&summary)
}

fn compare_command(args: CompareArgs) -> Result<()> {
    let Some(cells) = chosen(&args.cells.cells, cell::all())? else {
        for cell in cell::all() {
            say(&format!(
                "{:<18} {}",
                cell.name,
                cell.rows.iter().map(|row| row.title).collect::<Vec<_>>().join("; ")
            ))?;
        }
        return Ok(());
    };
    let (rounds, scale) = extent(args.cells.quick, args.rounds, args.seconds);
    let reference = Program::Redis(args.redis);
    let subject = if args.control { reference.clone() } else { wafka(&args.common)? };
    let mut workplace = Workplace::new(args.common.dir.as_deref())?;
    let mut json = args.cells.file()?;
    let comparison = Comparison {
        reference,
        subject,
        cells,
        rounds,
        scale,
        progress: &mut std::io::stderr(),
        raw: json.as_mut().map(|file| file as &mut dyn Write),
    };
    let measured = comparison.run(&mut workplace)?;
    let what = if args.control { "Redis against itself (in both columns)" } else { "Redis and Wafka" };
    say(&format!(
        "{what}: medians of {rounds} interleaved rounds; ratio = median of the rounds' own ratios\n"
    ))?;
    say(table::render(&measured).trim_end())
}

impl CellsArgs {
    /// Where each run's figures go.
    fn file(&self) -> Result<Option<File>> {
        let create = |path: &PathBuf| File::create(path).doing(|| path.display().to_string());
        self.json.as_ref().map(create).transpose()
    }
}

/// How many rounds, and how much in each.
fn extent(quick: bool, rounds: u32, seconds: f64) -> (usize, Scale) {
    if quick {
        return (1, Scale::quick());
    }
    let load = Duration::from_secs_f64(seconds);
    (rounds as usize, Scale { load, read_events: 2_000_000, restart_events: 2_000_000, pending: 1_000_000 })
}

fn backends_command(args: &BackendsArgs) -> Result<()> {
    let Some(cells) = chosen(&args.cells.cells, backends::cells())? else {
        for cell in backends::cells() {
            say(&format!("{:<15} {}", cell.name, cell.rows.first().map_or("", |row| row.title)))?;
        }
        return Ok(());
    };
    let (rounds, scale) = extent(args.cells.quick, args.rounds, args.seconds);
    let chosen = args.backends.iter().map(|name| backend(name, args.plugins.as_deref()));
    let mut workplace = Workplace::new(args.common.dir.as_deref())?;
    let mut json = args.cells.file()?;
    let comparison = Backends {
        wafka: server_path(&args.common)?,
        backends: chosen.collect::<Result<_>>()?,
        cells,
        rounds,
        scale,
        progress: &mut std::io::stderr(),
        raw: json.as_mut().map(|file| file as &mut dyn Write),
    };
    let measured = comparison.run(&mut workplace)?;
    say(&format!(
        "Wafka on its backends: medians of {rounds} interleaved rounds; ratio = median of the rounds' own ratios to {}\n",
        args.backends.first().map_or("", String::as_str)
    ))?;
    say(backends::render(&measured).trim_end())
}

fn backend(name: &str, plugins: Option<&Path>) -> Result<Backend> {
    if ["text", "memory"].contains(&name) {
        return Ok(Backend { name: name.to_owned(), plugin: None, options: String::new() });
    }
    let plugin = Some(plugin_path("storage", name, plugins)?);
    Ok(Backend { name: name.to_owned(), plugin, options: String::new() })
}

fn plugin_path(kind: &str, name: &str, plugins: Option<&Path>) -> Result<PathBuf> {
    let file = format!("libwafka_{kind}_{name}.so");
    let path = match plugins {
        Some(dir) => dir.join(&file),
        None => beside_this_program(&file)?,
    };
    let hint = format!(
        "build it with cargo build --release -p wafka-{kind}-{name}, or name its directory with --plugins"
    );
    Path::canonicalize(&path).doing(|| format!("{} ({hint})", path.display()))
}

fn jetstream_command(args: &JetStreamArgs) -> Result<()> {
    let all = jetstream::cells();
    let names: Vec<&str> = all.iter().map(|cell| cell.name.as_str()).collect();
    let Some(wanted) = wanted(&args.cells.cells, &names)? else { return say(&names.join("\n")) };
    let (rounds, scale) = extent(args.cells.quick, args.rounds, args.seconds);
    let mut workplace = Workplace::new(args.common.dir.as_deref())?;
    let mut json = args.cells.file()?;
    let cells: Vec<_> = all.iter().filter(|cell| wanted(&cell.name)).cloned().collect();
    let sticky = cells.iter().any(|cell| cell.sides().contains(&Side::Sticky));
    let sticky = sticky.then(|| plugin_path("partitioner", "sticky", args.plugins.as_deref()));
    let comparison = JetStream {
        wafka: server_path(&args.common)?,
        plugin: plugin_path("storage", "jetstream", args.plugins.as_deref())?,
        sticky: sticky.transpose()?.unwrap_or_default(),
        cells,
        rounds,
        load: scale.load,
        progress: &mut std::io::stderr(),
        raw: json.as_mut().map(|file| file as &mut dyn Write),
    };
    let measured = comparison.run(&mut workplace)?;
    say(&format!(
        "Wafka on JetStream, and programs that publish the same bytes by themselves: medians of {rounds} interleaved \
         rounds; share = median of the rounds' own, Wafka / the other\n"
    ))?;
    say(jetstream::render(&measured).trim_end())
}

fn takeover_command(args: &TakeoverArgs) -> Result<()> {
    let takeover = Takeover {
        wafka: server_path(&args.common)?,
        plugin: plugin_path("storage", "jetstream", args.plugins.as_deref())?,
        rounds: args.rounds as usize,
        load: Duration::from_secs_f64(args.seconds),
        lease_ms: args.lease_ms,
        topics: args.topics,
        progress: &mut std::io::stderr(),
    };
    let figures = takeover.run(&mut Workplace::new(args.common.dir.as_deref())?)?;
    say(&takeover::render(&figures))
}

/// Those of `all` with these names, all without any; `None` when help was asked for.
fn chosen(names: &[String], all: Vec<Cell>) -> Result<Option<Vec<Cell>>> {
    let known: Vec<&str> = all.iter().map(|cell| cell.name).collect();
    let Some(wanted) = wanted(names, &known)? else { return Ok(None) };
    Ok(Some(all.into_iter().filter(|cell| wanted(cell.name)).collect()))
}

/// Which of the `known` ones are among `names`, all without any; `None` when help was asked for.
fn wanted<'a>(names: &'a [String], known: &[&str]) -> Result<Option<impl Fn(&str) -> bool + 'a>> {
    if names.iter().any(|name| name == "help") {
        return Ok(None);
    }
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(BenchError::Setup(format!("no cell {unknown:?}; there are {}", known.join(", "))));
    }
    Ok(Some(move |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name)))
}

fn long_command(args: &LongArgs) -> Result<()> {
    let program = wafka(&args.common)?;
    let mut workplace = Workplace::new(args.common.dir.as_deref())?;
    let report = long::run(&program, args.gigabytes, args.size, &mut workplace, &mut std::io::stderr())?;
    say(report.to_string().trim_end())?;
    print_json(&report)
}

fn wafka(args: &CommonArgs) -> Result<Program> {
    server_path(args).map(Program::Wafka)
}

fn server_path(args: &CommonArgs) -> Result<PathBuf> {
    let path: PathBuf = match &args.wafka {
        Some(path) => path.clone(),
        None => beside_this_program("wafka-server")?,
    };
    // Absolute, as the server is started in another directory.
    let hint = "build it with cargo build --release -p wafka-server, or name it with --wafka";
    Path::canonicalize(&path).doing(|| format!("{} ({hint})", path.display()))
}

fn print_json(figures: &impl Serialize) -> Result<()> {
    say(&serde_json::to_string(figures).doing(|| "write figures as JSON")?)
}

/// Prints a line of results; a closed pipe is an error like any other.
fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").doing(|| "write to stdout")
}
