//! What the backend's table in the configuration may say.

use serde::Deserialize;
use wafka_core::storage::StorageError;

/// The name that configuration uses for this backend.
pub const NAME: &str = "sqlite";

/// The options of the backend.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The page cache of each connection, in KiB: one connection writes a file, up to eight read it. 64 to 1,048,576.
    pub cache_kib: u32,
    /// A file's write-ahead log is copied into the database when it has so many pages of 4 KiB. 100 to 1,000,000.
    pub checkpoint_pages: u32,
    /// How long a write waits for another process, such as a `sqlite3` shell, that has the file locked. 0 to 60,000.
    pub busy_timeout_ms: u32,
    /// The most pages a file may have; tests fill a disk with it.
    #[serde(skip)]
    pub(crate) pages_max: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Options { cache_kib: 4096, checkpoint_pages: 4000, busy_timeout_ms: 5000, pages_max: None }
    }
}

impl Options {
    /// Checks that each option is in its range.
    ///
    /// # Errors
    /// [`StorageError::BadOption`] with the option and what was expected.
    pub fn check(&self) -> Result<(), StorageError> {
        let ranges = [
            ("cache_kib", self.cache_kib, 64, 1 << 20),
            ("checkpoint_pages", self.checkpoint_pages, 100, 1_000_000),
            ("busy_timeout_ms", self.busy_timeout_ms, 0, 60_000),
        ];
        for (option, found, min, max) in ranges {
            if !(min..=max).contains(&found) {
                return Err(StorageError::BadOption {
                    backend: NAME.to_owned(),
                    option: option.to_owned(),
                    expected: format!("found {found}, expected a number from {min} to {max}"),
                });
            }
        }
        Ok(())
    }
}
