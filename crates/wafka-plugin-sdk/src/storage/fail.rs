//! Failures and panics, on their way to the host.

use std::sync::OnceLock;

use wafka_core::storage::StorageError;
use wafka_plugin_abi::{ErrorOut, status};

use crate::OptionsError;
use crate::fail::{catch, say_all};

/// A failure as the host is told it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) status: u32,
    pub(super) os_error: i32,
    pub(super) value: u64,
    pub(super) text: String,
}

impl Told {
    pub(super) fn new(status: u32, text: impl Into<String>) -> Self {
        Told { status, os_error: 0, value: 0, text: text.into() }
    }

    /// Writes the failure where the host looks for it.
    ///
    /// # Safety
    /// `error` is null or an [`ErrorOut`] of the host, with as much room for a text as it says.
    unsafe fn write(&self, error: *mut ErrorOut) -> u32 {
        // SAFETY: the caller's promise is the same.
        unsafe { say_all(error, self.os_error, self.value, &self.text) };
        self.status
    }
}

impl From<StorageError> for Told {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io { log, operation, source } => {
                let os_error = source.raw_os_error().unwrap_or(0);
                // The host says itself which log and operation it is about; a path it does not know.
                let text =
                    if is_log(&log) { source.to_string() } else { format!("{log}: {operation}: {source}") };
                Told { os_error, ..Told::new(status::IO, text) }
            }
            StorageError::NotFound(log) => Told::new(status::NOT_FOUND, log.to_string()),
            StorageError::Exists(log) => Told::new(status::EXISTS, log.to_string()),
            StorageError::Fenced { batch, end, .. } => {
                let text = format!("the batch begins at offset {batch} but the log ends at {end}");
                Told { value: end, ..Told::new(status::FENCED, text) }
            }
            StorageError::NotOwner { reason, .. } => Told::new(status::NOT_OWNER, reason),
            StorageError::Poisoned { reason, .. } => Told::new(status::POISONED, reason),
            StorageError::Damaged { position, reason, .. } => {
                Told { value: position, ..Told::new(status::DAMAGED, reason) }
            }
            StorageError::BadOption { option, expected, .. } => {
                Told::new(status::BAD_OPTION, format!("{option}\0{expected}"))
            }
            StorageError::Unsupported { operation, .. } => Told::new(status::UNSUPPORTED, operation),
            other => Told::new(status::FAILED, other.to_string()),
        }
    }
}

impl From<OptionsError> for Told {
    fn from(error: OptionsError) -> Self {
        Told::new(status::BAD_OPTION, format!("{}\0{}", error.option(), error.expected()))
    }
}

/// Whether a text is the name of a log, as [`wafka_core::storage::LogName`] is shown in a backend, and no path.
fn is_log(text: &str) -> bool {
    let stem = match text.strip_prefix("db").and_then(|rest| rest.split_once('/')) {
        Some((number, stem)) if number.bytes().all(|byte| byte.is_ascii_digit()) => stem,
        _ => text,
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-%".contains(&byte);
    !stem.is_empty() && stem.bytes().all(plain)
}

/// Whether something behind a handle panicked: the handle is used no more, as nobody knows what state it is in.
#[derive(Debug, Default)]
pub(super) struct Poison(OnceLock<String>);

impl Poison {
    /// Notes a panic.
    fn note(&self, text: String) -> Told {
        // Only the first of several panics is kept.
        let _ = self.0.set(text.clone());
        Told::new(status::PANICKED, text)
    }
}

/// Runs what a function of the vtable does. A failure and a panic go to `error`; the result is the status.
///
/// # Safety
/// `error` is null or an [`ErrorOut`] of the host, with as much room for a text as it says.
pub(super) unsafe fn guarded(
    error: *mut ErrorOut,
    poison: &Poison,
    run: impl FnOnce() -> Result<(), Told>,
) -> u32 {
    let result = match poison.0.get() {
        Some(reason) => Err(Told::new(status::PANICKED, format!("{reason} (earlier)"))),
        None => catch(run).unwrap_or_else(|panic| Err(poison.note(panic))),
    };
    match result {
        Ok(()) => status::OK,
        // SAFETY: the caller's promise is the same.
        Err(told) => unsafe { told.write(error) },
    }
}

/// As [`guarded`], for functions that have nothing to say when they fail.
pub(super) fn contained<T>(poison: &Poison, otherwise: T, run: impl FnOnce() -> T) -> T {
    if poison.0.get().is_some() {
        return otherwise;
    }
    catch(run).unwrap_or_else(|panic| {
        let _told = poison.note(panic);
        otherwise
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: StorageError) -> (u32, String) {
        let Told { status, text, .. } = error.into();
        (status, text)
    }

    #[test]
    fn a_path_is_told_and_a_log_is_not() {
        let io = |log: &str| StorageError::Io {
            log: log.to_owned(),
            operation: "open",
            source: std::io::Error::other("no"),
        };
        assert_eq!(told(io("a-1")), (status::IO, "no".to_owned()));
        assert_eq!(told(io("db12/a.journal")), (status::IO, "no".to_owned()));
        assert_eq!(told(io("/data/a-1")), (status::IO, "/data/a-1: open: no".to_owned()));
        assert_eq!(told(io("the servers")), (status::IO, "the servers: open: no".to_owned()));
        assert_eq!(told(io("data/x.sqlite")), (status::IO, "data/x.sqlite: open: no".to_owned()));
    }

    #[test]
    fn after_a_panic_nothing_runs() {
        let poison = Poison::default();
        let out = std::ptr::null_mut::<ErrorOut>();
        for _ in 0..2 {
            // SAFETY: no error is wanted.
            assert_eq!(unsafe { guarded(out, &poison, || panic!("once")) }, status::PANICKED);
        }
        // SAFETY: as above.
        assert_eq!(unsafe { guarded(out, &poison, || Ok(())) }, status::PANICKED);
        assert_eq!(contained(&poison, 5, || 6), 5);
        assert_eq!(contained(&Poison::default(), 5, || 6), 6);
    }
}
