//! Names of logs, as they cross the boundary.

use std::collections::HashSet;
use std::ffi::c_void;

use wafka_core::Database;
use wafka_core::storage::LogName;
use wafka_plugin_abi as abi;
use wafka_plugin_abi::Bytes;

use crate::text::{borrowed, shown};

/// The longest stem, in bytes.
const STEM_MAX: usize = 255;
/// A backend that lists more logs than this is not believed.
const NAMES_MAX: usize = 1 << 23;

/// A name to lend to the plugin.
pub(super) fn lent(log: &LogName) -> abi::LogName {
    abi::LogName {
        database: u32::from(log.database().0),
        reserved: 0,
        stem: Bytes::new(log.stem().as_bytes()),
    }
}

/// The names that a backend lists.
#[derive(Default)]
pub(super) struct Names {
    found: HashSet<LogName>,
    /// The first one that is none.
    bad: Option<String>,
}

impl Names {
    /// Where the plugin puts the names; `self` must stay where it is as long as the sink is used.
    pub(super) fn sink(&mut self) -> abi::NameSink {
        abi::NameSink { ctx: std::ptr::from_mut(self).cast(), put: Some(put) }
    }

    fn add(&mut self, database: u32, stem: &[u8]) {
        if self.bad.is_some() {
            return;
        }
        let added = name_of(database, stem).and_then(|name| match self.found.len() {
            NAMES_MAX => Err(format!("it lists more than {NAMES_MAX} logs")),
            _ if !self.found.insert(name.clone()) => Err(format!("it lists {name} twice")),
            _ => Ok(()),
        });
        self.bad = added.err();
    }

    /// All names, or what is wrong with one of them.
    pub(super) fn take(self) -> Result<Vec<LogName>, String> {
        self.bad.map_or_else(|| Ok(self.found.into_iter().collect()), Err)
    }
}

fn name_of(database: u32, stem: &[u8]) -> Result<LogName, String> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-%".contains(byte);
    let number = u16::try_from(database)
        .map_err(|_| format!("it lists a log of database {database}, expected at most {}", u16::MAX))?;
    let is_plain = !stem.is_empty() && stem.len() <= STEM_MAX && stem[0] != b'.' && stem.iter().all(plain);
    match std::str::from_utf8(stem) {
        Ok(text) if is_plain => Ok(LogName::new(Database(number), text)),
        _ => Err(format!(
            "it lists a log called '{}', expected 1 to {STEM_MAX} of A-Z a-z 0-9 . _ - %, not beginning with a dot",
            shown(&stem[..stem.len().min(STEM_MAX)])
        )),
    }
}

unsafe extern "C" fn put(ctx: *mut c_void, name: *const abi::LogName) {
    // SAFETY: `ctx` is the `Names` that `sink` was called on, lent for the call of the plugin that calls this.
    let names = unsafe { &mut *ctx.cast::<Names>() };
    if name.is_null() {
        names.bad.get_or_insert_with(|| "it lists a null pointer".to_owned());
        return;
    }
    // SAFETY: not null; the plugin lends the name and its stem for this call.
    let (database, stem) = unsafe { ((*name).database, borrowed((*name).stem)) };
    names.add(database, stem);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for (database, stem) in [
            (0, &b""[..]),
            (0, b"../etc"),
            (0, b".hidden"),
            (0, b"a/b"),
            (0, b"a\0b"),
            (0, b"\xff"),
            (0, &[b'a'; 256]),
            (70_000, b"a-1"),
        ] {
            let mut names = Names::default();
            names.add(0, b"good-1");
            names.add(database, stem);
            names.add(0, b"also-good-1");
            assert!(names.take().is_err(), "{database} {stem:?}");
        }
        let mut names = Names::default();
        names.add(0, b"a-1");
        names.add(3, b"a-1");
        names.add(0, b"%2F.journal");
        assert_eq!(names.take().map(|names| names.len()), Ok(3));
        let mut twice = Names::default();
        twice.add(0, b"a-1");
        twice.add(0, b"a-1");
        assert!(twice.take().unwrap_err().contains("twice"));
    }
}
