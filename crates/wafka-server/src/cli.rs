//! The command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{self, Config, ConfigError, Override, Sources};
use crate::descriptors;
use crate::plugins::Plugins;
use crate::server::Server;
use crate::telemetry::{self, LogLevel};

/// Wafka: an event log with Kafka's model, Redis's protocol, and files that anyone can read.
#[derive(Parser, Debug)]
#[command(name = "wafka-server", version)]
struct Cli {
    /// The configuration file; without one, all keys have their defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address to listen on (server.bind)
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<String>,
    /// The TCP port; 0 takes a free one (server.port)
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Where the data is (server.data_dir)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Sets any key of the configuration, for example storage.fsync=everysec; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Checks the configuration and exits: loads the plugins, opens no data
    #[arg(long)]
    check_config: bool,
}

/// Runs the server as the command line says, to its end.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let config = match sources(&cli).and_then(|sources| config::load(&sources)) {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    // Before anything that may log: a plugin that is loaded may have something to say.
    let log = match telemetry::start(&config.log) {
        Ok(log) => log,
        Err(error) => return fail(&error),
    };
    if cli.check_config { check(&config) } else { serve(config, log) }
}

/// Checks what can be checked without opening the data.
fn check(config: &Config) -> ExitCode {
    let checked = Plugins::load(config).and_then(|plugins| plugins.check_topics(config));
    if let Err(error) = checked {
        return fail(&error);
    }
    match writeln!(std::io::stdout(), "configuration ok") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Starts the server, says that it is ready, and waits for its end.
fn serve(config: Config, log: LogLevel) -> ExitCode {
    descriptors::raise_limit();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    // Before the start: a signal during a long start must not be lost.
    let signals = runtime.block_on(async {
        Ok::<_, std::io::Error>((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    });
    let (mut terminate, mut interrupt) = match signals {
        Ok(signals) => signals,
        Err(error) => return fail(&error),
    };
    let server = match Server::start(config, Some(log)) {
        Ok(server) => server,
        Err(error) => return fail(&error),
    };
    let mut stdout = std::io::stdout();
    if let Err(error) = writeln!(stdout, "wafka ready on {}", server.addr()).and_then(|()| stdout.flush()) {
        tracing::warn!(%error, "cannot write the ready line to standard output");
    }
    tracing::info!(addr = %server.addr(), version = env!("CARGO_PKG_VERSION"), "ready");
    let shared = std::sync::Arc::clone(server.shared());
    let ended = runtime.block_on(async {
        let waiting = tokio::task::spawn_blocking(move || server.wait());
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                ended = &mut waiting => break ended.unwrap_or(false),
                _ = terminate.recv() => shared.shutdown.ask(),
                _ = interrupt.recv() => shared.shutdown.ask(),
            }
        }
    });
    if !ended {
        return fail(&"the server ended by a fault of its own; see the log");
    }
    tracing::info!("bye");
    ExitCode::SUCCESS
}

/// The configuration's sources as the command line and the environment give them.
fn sources(cli: &Cli) -> Result<Sources, ConfigError> {
    let bind = cli.bind.as_ref().map(|value| Override::text("--bind", "server.bind", value));
    let port = cli.port.as_ref().map(|value| Override::option("--port", "server.port", value));
    let data_dir = cli.data_dir.as_ref().map(|value| Override::text("--data-dir", "server.data_dir", value));
    let mut overrides: Vec<Override> = [bind, port, data_dir].into_iter().flatten().collect();
    for text in &cli.set {
        overrides.push(Override::set(text)?);
    }
    // A variable that is not UTF-8 cannot be ours: no key takes such a value.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(Sources { file: cli.config.clone(), environment: environment.collect(), overrides })
}

/// Reports why the server cannot run, also where there is no log yet.
fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    // Standard error is all there is to tell it on.
    let _ = writeln!(std::io::stderr(), "wafka-server: {error}");
    ExitCode::FAILURE
}
