//! Calls into a backend's plugin, and what their failures become.

use std::ffi::c_void;
use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use wafka_core::storage::{LogName, StorageError};
use wafka_plugin_abi::{ErrorOut, LogFailure, StorageVtable, status};

use super::slow::Calls;
use crate::failure::{Failure, TEXT_MAX, error_out};
use crate::text::borrowed;

/// A handle that the plugin made: opaque, and only ever given back to the plugin's functions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handle(pub(super) *mut c_void);

// SAFETY: the pointer is never followed on this side. Which of the plugin's functions may be called with it from which
// threads is what the types that hold it see to.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    pub(super) const NONE: Handle = Handle(std::ptr::null_mut());
}

/// A backend's plugin.
#[derive(Debug)]
pub(super) struct Backend {
    /// The name that configuration uses.
    pub(super) name: String,
    /// The library.
    pub(super) file: PathBuf,
    /// The plugin's functions; all those are there that must be.
    pub(super) vtable: StorageVtable,
    /// The calls that brokers wait for.
    pub(super) calls: Calls,
    pub(super) panics: AtomicU64,
}

impl Backend {
    pub(super) fn new(name: String, file: PathBuf, vtable: StorageVtable) -> Self {
        Backend { name, file, vtable, calls: Calls::default(), panics: AtomicU64::new(0) }
    }

    /// [`Backend::call`] of a function that a broker waits for.
    pub(super) fn waited_call(
        &self,
        operation: &'static str,
        run: impl FnOnce(*mut ErrorOut) -> u32,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        self.calls.begin(begun);
        let result = self.call(run);
        if let Some(took) = self.calls.end(begun, Instant::now()) {
            tracing::warn!(
                file = %self.file.display(), backend = self.name, operation,
                "a plugin's call took {} ms; a broker waited for it", took.as_millis()
            );
        }
        result
    }

    /// Calls a function that returns a status; `run` makes the call.
    pub(super) fn call(&self, run: impl FnOnce(*mut ErrorOut) -> u32) -> Result<(), Failure> {
        let mut buffer = [0; TEXT_MAX];
        let mut out = error_out(&mut buffer);
        match run(&raw mut out) {
            status::OK => Ok(()),
            failed => {
                if failed == status::PANICKED {
                    self.panics.fetch_add(1, Ordering::Relaxed);
                }
                Err(Failure::take(failed, &out, &buffer))
            }
        }
    }

    /// A function's failure in the core's words, when it has to do with a log.
    pub(super) fn log_error(
        &self,
        log: &LogName,
        operation: &'static str,
        failure: &Failure,
    ) -> StorageError {
        match failure.status {
            status::NOT_FOUND => StorageError::NotFound(log.clone()),
            status::EXISTS => StorageError::Exists(log.clone()),
            status::POISONED => StorageError::Poisoned { log: log.clone(), reason: failure.to_line() },
            status::DAMAGED => {
                StorageError::Damaged { log: log.clone(), position: failure.value, reason: failure.to_line() }
            }
            _ => self.error(log, operation, failure),
        }
    }

    /// A function's failure in the core's words.
    pub(super) fn error(&self, of: impl Display, operation: &'static str, failure: &Failure) -> StorageError {
        match failure.status {
            status::PANICKED => self.faulty(of, operation, failure.to_line()),
            status::NOT_OWNER => StorageError::NotOwner { log: of.to_string(), reason: failure.to_line() },
            status::UNSUPPORTED => StorageError::Unsupported { backend: self.name.clone(), operation },
            status::BAD_OPTION => {
                let (option, expected) =
                    failure.option().unwrap_or_else(|| ("?".to_owned(), failure.to_line()));
                StorageError::BadOption { backend: self.name.clone(), option, expected }
            }
            _ => {
                let source = match failure.os_error {
                    0 => io::Error::other(failure.to_line()),
                    code if failure.text.is_empty() => io::Error::from_raw_os_error(code),
                    code => io::Error::new(io::Error::from_raw_os_error(code).kind(), failure.to_line()),
                };
                StorageError::Io { log: of.to_string(), operation, source }
            }
        }
    }

    /// The plugin did what the contract rules out.
    pub(super) fn faulty(&self, of: impl Display, operation: &'static str, reason: String) -> StorageError {
        StorageError::Faulty {
            backend: self.name.clone(),
            file: self.file.display().to_string(),
            log: of.to_string(),
            operation,
            reason,
        }
    }

    /// A log's failure as a sync tells it.
    ///
    /// # Safety
    /// The text of `failure` is valid as [`wafka_plugin_abi::Bytes::get`] wants it, for this call.
    pub(super) unsafe fn sync_error(&self, log: &LogName, failure: &LogFailure) -> StorageError {
        // SAFETY: the caller's promise is the same.
        let text = unsafe { borrowed(failure.text) };
        let failure = Failure {
            status: failure.status.max(status::FAILED),
            os_error: failure.os_error,
            value: failure.value,
            text: text[..text.len().min(TEXT_MAX)].to_vec(),
        };
        self.log_error(log, "sync", &failure)
    }
}
