//! What goes wrong, and when.

use parking_lot::Mutex;
use wafka_plugin_sdk::storage::StorageError;

/// The faults that are to come.
#[derive(Default)]
pub(crate) struct Script(Mutex<Vec<Fault>>);

struct Fault {
    what: String,
    log: String,
    /// So many occasions pass before.
    skip: u64,
    /// So many times it strikes.
    times: u64,
}

impl Fault {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (what, log) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let mut number = |otherwise| parts.next().map_or(Some(otherwise), |part| part.parse().ok());
        Some(Fault { what, log, skip: number(0)?, times: number(u64::MAX)? })
    }
}

impl Script {
    pub(crate) fn parse(faults: &[String]) -> Result<Self, StorageError> {
        let parse = |text: &String| {
            Fault::parse(text).ok_or_else(|| StorageError::BadOption {
                backend: "scripted".to_owned(),
                option: "faults".to_owned(),
                expected: format!("what:log:skip:times, found '{text}'"),
            })
        };
        Ok(Script(Mutex::new(faults.iter().map(parse).collect::<Result<_, _>>()?)))
    }

    /// Takes a fault that strikes once, as `fault.what.log` or `fault.what+skip.log`.
    pub(crate) fn add(&self, stem: &str) {
        let mut parts = stem.splitn(3, '.').skip(1);
        if let (Some(what), Some(log)) = (parts.next(), parts.next()) {
            let (what, skip) = what.split_once('+').unwrap_or((what, "0"));
            let skip = skip.parse().unwrap_or(0);
            let fault = Fault { what: what.to_owned(), log: log.to_owned(), skip, times: 1 };
            self.0.lock().push(fault);
        }
    }

    /// What is yet to strike for the last time.
    pub(crate) fn armed(&self) -> Vec<String> {
        let faults = self.0.lock();
        let armed = faults.iter().filter(|fault| (1..u64::MAX).contains(&fault.times));
        armed.map(|fault| format!("armed.{}", fault.what)).collect()
    }

    /// Whether it is time for a fault.
    pub(crate) fn strikes(&self, what: &str, log: &str) -> bool {
        let mut faults = self.0.lock();
        let meant = |fault: &&mut Fault| {
            fault.times > 0 && fault.what == what && (fault.log == "*" || fault.log == log)
        };
        match faults.iter_mut().find(meant) {
            Some(fault) if fault.skip > 0 => {
                fault.skip -= 1;
                false
            }
            Some(fault) => {
                fault.times -= 1;
                true
            }
            None => false,
        }
    }

    /// Panics when it is time to.
    pub(crate) fn panic_at(&self, operation: &str, log: &str) {
        assert!(!self.strikes(&format!("panic-{operation}"), log), "scripted panic at {operation}");
    }
}
