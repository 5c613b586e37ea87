//! What the backend's table in the configuration may say.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

/// The name that configuration uses for this backend.
pub const NAME: &str = "sqlite";

/// The options of the backend.
#[derive(Clone, Debug, serde::Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The page cache of each connection, in KiB: one connection writes a file, up to eight read it. 64 to 1,048,576.
    #[serde(deserialize_with = "within::<_, 64, 1_048_576>")]
    pub cache_kib: u32,
    /// A file's write-ahead log is copied into the database when it has so many pages of 4 KiB. 100 to 1,000,000.
    #[serde(deserialize_with = "within::<_, 100, 1_000_000>")]
    pub checkpoint_pages: u32,
    /// How long a write waits for another process, such as a `sqlite3` shell, that has the file locked, 0 to 60,000.
    /// Every topic of the broker waits with it, those of other backends, too; then the file is left alone for 20 times
    /// as long, at most a second.
    #[serde(deserialize_with = "within::<_, 0, 60_000>")]
    pub busy_timeout_ms: u32,
    /// The most pages a file may have; tests fill a disk with it.
    #[serde(skip)]
    pub(crate) pages_max: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Options { cache_kib: 4096, checkpoint_pages: 4000, busy_timeout_ms: 50, pages_max: None }
    }
}

impl Options {
    pub(crate) fn busy_timeout(&self) -> Duration {
        Duration::from_millis(self.busy_timeout_ms.into())
    }
}

fn within<'de, D: Deserializer<'de>, const MIN: u32, const MAX: u32>(from: D) -> Result<u32, D::Error> {
    let expected = |found| D::Error::custom(format!("{found}: expected a number from {MIN} to {MAX}"));
    let found = i64::deserialize(from)?;
    let number = u32::try_from(found).map_err(|_| expected(found))?;
    if (MIN..=MAX).contains(&number) { Ok(number) } else { Err(expected(found)) }
}
