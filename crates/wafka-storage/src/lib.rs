//! The text log: line codec, files, recovery, compaction; and the memory backend.

pub mod line;
