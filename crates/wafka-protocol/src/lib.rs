//! RESP, the wire protocol of Redis, from the server's side and without I/O.
//!
//! - [`RequestScanner`] finds requests in the bytes read from a connection, however they were cut into packets.
//! - [`ReplyWriter`] appends replies in RESP2 or RESP3 to a byte buffer.
//! - [`error_text`] holds the texts of Redis's own errors, [`parse`] the argument syntax that commands share.

pub mod error_text;
mod inline;
mod limits;
pub mod parse;
mod reply;
mod request;
mod scanner;

pub use limits::Limits;
pub use reply::{ReplyWriter, RespVersion};
pub use request::{Args, ProtocolError, Scanned};
pub use scanner::RequestScanner;
