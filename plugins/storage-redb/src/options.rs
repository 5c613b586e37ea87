//! What `[backends.redb]` may say.

use serde::Deserialize;

/// Bytes in a MiB.
const MIB: usize = 1 << 20;

/// The backend's options, all of which have a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Memory for pages of the file, in MiB: 1 to 1,048,576.
    pub cache_mib: u32,
    /// Lines that are appended and not yet committed, in MiB: with more an append commits first. 1 to 1,048,576.
    pub pending_mib: u32,
    /// Whether each commit says what a start after a crash would otherwise find out by reading the whole file. A commit
    /// takes two syncs then.
    pub quick_repair: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { cache_mib: 64, pending_mib: 32, quick_repair: false }
    }
}

impl Options {
    /// The option that is out of range, and what was expected of it.
    pub(crate) fn out_of_range(&self) -> Option<(&'static str, String)> {
        let sizes = [("cache_mib", self.cache_mib), ("pending_mib", self.pending_mib)];
        sizes.into_iter().find(|(_, mib)| !(1..=1 << 20).contains(mib)).map(|(option, mib)| {
            (option, format!("expected a number of MiB between 1 and 1048576, got {mib}"))
        })
    }

    pub(crate) fn cache_bytes(&self) -> usize {
        self.cache_mib as usize * MIB
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_mib as usize * MIB
    }
}
