//! Why bytes are not a line, and why a record cannot become one.

use thiserror::Error;

/// Why bytes are not the line they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum LineError {
    /// The bytes do not end the way every line ends: cut short, or never a line.
    #[error("the line does not end in ,\"crc32c\":\"<8 lower-case hex digits>\"}}")]
    NoSeal,
    /// The bytes are not those the checksum was made of.
    #[error("checksum mismatch: the line says crc32c {found:08x}, its bytes give {expected:08x}")]
    Checksum {
        /// What the bytes give.
        expected: u32,
        /// What stands in the line.
        found: u32,
    },
    /// The content is not of this kind of line.
    #[error("at byte {at} of the line: expected {expected}")]
    Syntax {
        /// Where, counted in bytes from the line's first.
        at: usize,
        /// What should stand there.
        expected: &'static str,
    },
}

/// Why a record cannot become a line.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The record does not serialize to JSON.
    #[error("the record does not serialize: {0}")]
    Json(#[from] serde_json::Error),
    /// The record serializes to JSON on several lines (a raw value can).
    #[error("the record serializes to JSON that holds a raw newline")]
    Newline,
}
