//! Why something could not be done to a group.

use thiserror::Error;

use super::membership::NAME_BYTES_MAX;
use crate::error::{AppendError, ReadError};

/// Why something could not be done to a group. The texts begin with the error's RESP code.
#[derive(Debug, Error)]
pub enum GroupError {
    /// There is a group of that name.
    #[error("BUSYGROUP Consumer Group name already exists")]
    Busy,
    /// There is no such group. Redis's text depends on the command.
    #[error("NOGROUP No such consumer group")]
    NoGroup,
    /// A group's or consumer's name is too long to be written with every change.
    #[error(
        "ERR the name of a consumer group or consumer has {bytes} bytes, at most {NAME_BYTES_MAX} are allowed"
    )]
    NameTooLong {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// The topic cannot be written to, or was deleted.
    #[error(transparent)]
    Refused(#[from] AppendError),
    /// Events could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}
