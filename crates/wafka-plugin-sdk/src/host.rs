//! The host's log, behind the `log` crate.

use std::sync::OnceLock;

use log::{Level, LevelFilter, Log, Metadata, Record};
use wafka_plugin_abi::{Bytes, Host, level};

use crate::fail;

/// A copy: the host's own may be shorter.
static HOST: OnceLock<Host> = OnceLock::new();

struct HostLog;

/// Sends the log, and panics' places, to the host. The plugin has a standard library and a `log` crate of its own, so that
/// this concerns nobody else.
pub(crate) fn connect(host: Host) {
    // A library is entered once; where it was entered before, the first host stays.
    if HOST.set(host).is_err() {
        return;
    }
    if log::set_logger(&HostLog).is_ok() {
        log::set_max_level(LevelFilter::Trace);
    }
    std::panic::set_hook(Box::new(|info| {
        log::error!("{info}");
        fail::note_panic(info);
    }));
}

fn number_of(level: Level) -> u32 {
    match level {
        Level::Error => level::ERROR,
        Level::Warn => level::WARN,
        Level::Info => level::INFO,
        Level::Debug => level::DEBUG,
        Level::Trace => level::TRACE,
    }
}

impl Log for HostLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let Some((host, enabled)) = HOST.get().and_then(|host| Some((host, host.log_enabled?))) else {
            return false;
        };
        let (level, target) = (number_of(metadata.level()), Bytes::new(metadata.target().as_bytes()));
        // SAFETY: the host's own `ctx`, and a target that is there during the call.
        unsafe { enabled(host.ctx, level, target) != 0 }
    }

    fn log(&self, record: &Record<'_>) {
        // Asked first: building the text may be costly.
        if !self.enabled(record.metadata()) {
            return;
        }
        let Some((host, log)) = HOST.get().and_then(|host| Some((host, host.log?))) else { return };
        let text = record.args().to_string();
        let (level, target) = (number_of(record.level()), Bytes::new(record.target().as_bytes()));
        // SAFETY: the host's own `ctx`, and text that is there during the call.
        unsafe { log(host.ctx, level, target, Bytes::new(text.as_bytes())) };
    }

    fn flush(&self) {}
}
