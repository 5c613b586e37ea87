//! Where an event lies: partition, broker, offset.

use std::fmt;

/// A partition of a topic: 1-based, and the number of the broker that holds it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionId(pub u16);

impl PartitionId {
    /// The partition at 0-based `index` of its topic.
    #[must_use]
    pub fn from_index(index: usize) -> Self {
        PartitionId(u16::try_from(index + 1).unwrap_or(u16::MAX))
    }

    /// The 0-based index of this partition within its topic.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0).saturating_sub(1)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A broker (a thread of the server), 1-based.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BrokerId(pub u16);

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The dense 0-based count of a line within its log. Offsets may have gaps after compaction; they never repeat.
pub type Offset = u64;
