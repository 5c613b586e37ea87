//! The texts of the commands on keys of any type.

/// `EXPIRE … NX` together with another condition.
pub const EXPIRE_NX_AND_OTHERS: &str = "ERR NX and XX, GT or LT options at the same time are not compatible";
/// `EXPIRE … GT LT`.
pub const EXPIRE_GT_AND_LT: &str = "ERR GT and LT options at the same time are not compatible";
/// `COPY` or `MOVE` of a key onto itself.
pub const SAME_OBJECT: &str = "ERR source and destination objects are the same";

/// A condition of `EXPIRE` that there is not.
#[must_use]
pub fn unsupported_option(option: &[u8]) -> String {
    format!("ERR Unsupported option {}", String::from_utf8_lossy(option))
}

/// A time that does not fit, for `command`, its lower-case name.
#[must_use]
pub fn invalid_expire_time(command: &str) -> String {
    format!("ERR invalid expire time in '{command}' command")
}

/// `DUMP`, which there is not.
pub const NO_DUMP: &str = "ERR DUMP is not supported: a topic's files are plain text and can be copied as they are; \
    COPY copies a topic within the server";
/// `RESTORE`, which there is not.
pub const NO_RESTORE: &str = "ERR RESTORE is not supported: Redis's dump format is not read; produce the events with \
    XADD and their ids";
/// `SWAPDB`, which there is not.
pub const NO_SWAPDB: &str = "ERR SWAPDB is not supported: topics are moved one by one with MOVE";
