//! The line codec: what stands in one line of a log and how it is made whole.
//!
//! Every log (partition, topic journal, catalog) is a text file of lines, each one JSON object that ends in
//! `,"crc32c":"xxxxxxxx"}` and a newline. No raw newline and no NUL byte ever stands inside a line: JSON escapes both,
//! and a value that holds one is never stored verbatim. Recovery relies on it: the next newline always ends the line,
//! and a run of NUL bytes is never content but space that a crash left unwritten.
//!
//! `event` writes and reads the lines of partitions, `record` those of journals and catalogs, `seal` checks any line.

mod error;
mod event;
mod json;
mod message;
mod record;
mod scan;
mod seal;
mod time;
mod verbatim;

pub use error::{LineError, RecordError};
pub use event::{EventEncoder, EventHeader, EventLine, HeaderReader, Metadata};
pub use message::{DecodedFields, FieldBuf};
pub use record::{RecordKind, RecordLine, encode_record};
pub use seal::{covered, offset_of, seal, verify};
pub use time::timestamp;
