//! The server's own log, on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// Changes the log's level while the server runs.
#[derive(Clone)]
pub struct LogLevel {
    handle: reload::Handle<EnvFilter, tracing_subscriber::Registry>,
}

/// Reads a level, or levels by module: `info,wafka_broker=debug`.
///
/// # Errors
/// When it is neither.
pub(crate) fn parse_filter(level: &str) -> Result<(), ParseError> {
    EnvFilter::builder().parse(level).map(|_| ())
}

/// Starts to log to standard error. A program does this once; where it was done before, as by a test, nothing
/// changes.
///
/// # Errors
/// When the level is none.
pub fn start(config: &LogConfig) -> Result<LogLevel, ParseError> {
    let (filter, handle) = reload::Layer::new(EnvFilter::builder().parse(&config.level)?);
    let registry = tracing_subscriber::registry().with(filter);
    // An error means that a log was started before, which goes on.
    let _ = match config.format {
        LogFormat::Text => {
            let layer = tracing_subscriber::fmt::layer().with_ansi(io::stderr().is_terminal());
            registry.with(layer.with_writer(io::stderr)).try_init()
        }
        LogFormat::Json => {
            registry.with(tracing_subscriber::fmt::layer().json().with_writer(io::stderr)).try_init()
        }
    };
    Ok(LogLevel { handle })
}

impl LogLevel {
    /// Logs by this filter from now on.
    ///
    /// # Errors
    /// When it is no level.
    pub fn set(&self, level: &str) -> Result<(), ParseError> {
        let filter = EnvFilter::builder().parse(level)?;
        // An error means that this log was never started, or is gone: there is nothing to change.
        let _ = self.handle.reload(filter);
        Ok(())
    }
}
