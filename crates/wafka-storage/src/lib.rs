//! The text log: line codec, files, recovery, compaction; and the memory backend.

pub mod conformance;
mod factory;
pub mod fs;
pub mod line;
pub mod memory;
pub mod text;

pub use factory::{MemoryFactory, TextFactory};
pub use memory::{MemoryStorage, SharedMemory};
pub use text::{LINE_BYTES_MAX, TextOptions, TextStorage};
