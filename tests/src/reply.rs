//! A reply, whichever protocol it came in.

use std::fmt;

use redis_protocol::resp2::types::OwnedFrame as Frame2;
use redis_protocol::resp3::types::OwnedFrame as Frame3;

/// A reply of the server.
#[derive(Clone, PartialEq)]
pub enum Reply {
    /// A simple string: `OK`.
    Status(String),
    /// An error, beginning with its code.
    Error(String),
    /// An integer.
    Int(i64),
    /// A bulk string, or a verbatim one.
    Bulk(Vec<u8>),
    /// Any null: RESP2's bulk and array, RESP3's own.
    Nil,
    /// RESP3's boolean.
    Bool(bool),
    /// RESP3's double.
    Double(f64),
    /// An array.
    Array(Vec<Reply>),
    /// RESP3's map; the order is not kept.
    Map(Vec<(Reply, Reply)>),
    /// RESP3's set; the order is not kept.
    Set(Vec<Reply>),
    /// RESP3's out-of-band message.
    Push(Vec<Reply>),
}

impl Reply {
    /// An error whose text begins like this?
    #[must_use]
    pub fn is_error(&self, beginning: &str) -> bool {
        matches!(self, Reply::Error(text) if text.starts_with(beginning))
    }

    /// The text of an error.
    #[must_use]
    #[track_caller]
    pub fn error(&self) -> &str {
        match self {
            Reply::Error(text) => text,
            other => panic!("an error was expected, not {other:?}"),
        }
    }

    /// The integer.
    #[must_use]
    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Reply::Int(number) => *number,
            other => panic!("an integer was expected, not {other:?}"),
        }
    }

    /// The bytes of a bulk or simple string.
    #[must_use]
    #[track_caller]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Reply::Bulk(bytes) => bytes,
            Reply::Status(text) => text.as_bytes(),
            other => panic!("a string was expected, not {other:?}"),
        }
    }

    /// The text of a bulk or simple string.
    #[must_use]
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.bytes()).expect("a text was expected, not other bytes")
    }

    /// The elements of an array or set.
    #[must_use]
    #[track_caller]
    pub fn array(&self) -> &[Reply] {
        match self {
            Reply::Array(elements) | Reply::Set(elements) => elements,
            other => panic!("an array was expected, not {other:?}"),
        }
    }

    /// The value of a key, of a map or of RESP2's flat array of keys and values.
    #[must_use]
    #[track_caller]
    pub fn get(&self, key: &str) -> &Reply {
        let found = match self {
            Reply::Map(pairs) => pairs.iter().find(|(k, _)| k.bytes() == key.as_bytes()).map(|(_, v)| v),
            Reply::Array(flat) => {
                flat.chunks_exact(2).find(|pair| pair[0].bytes() == key.as_bytes()).map(|pair| &pair[1])
            }
            other => panic!("a map was expected, not {other:?}"),
        };
        found.unwrap_or_else(|| panic!("no key {key} in {self:?}"))
    }
}

impl From<Frame2> for Reply {
    fn from(frame: Frame2) -> Self {
        match frame {
            Frame2::SimpleString(text) => Reply::Status(String::from_utf8(text).unwrap()),
            Frame2::Error(text) => Reply::Error(text),
            Frame2::Integer(number) => Reply::Int(number),
            Frame2::BulkString(bytes) => Reply::Bulk(bytes),
            Frame2::Array(frames) => Reply::Array(frames.into_iter().map(Reply::from).collect()),
            Frame2::Null => Reply::Nil,
        }
    }
}

impl From<Frame3> for Reply {
    fn from(frame: Frame3) -> Self {
        match frame {
            Frame3::SimpleString { data, .. } => Reply::Status(String::from_utf8(data).unwrap()),
            Frame3::SimpleError { data, .. } => Reply::Error(data),
            Frame3::BlobError { data, .. } => Reply::Error(String::from_utf8(data).unwrap()),
            Frame3::Number { data, .. } => Reply::Int(data),
            Frame3::BlobString { data, .. } | Frame3::VerbatimString { data, .. } => Reply::Bulk(data),
            Frame3::Boolean { data, .. } => Reply::Bool(data),
            Frame3::Double { data, .. } => Reply::Double(data),
            Frame3::Null => Reply::Nil,
            Frame3::Array { data, .. } => Reply::Array(data.into_iter().map(Reply::from).collect()),
            Frame3::Map { data, .. } => {
                Reply::Map(data.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
            }
            Frame3::Set { data, .. } => Reply::Set(data.into_iter().map(Reply::from).collect()),
            Frame3::Push { data, .. } => Reply::Push(data.into_iter().map(Reply::from).collect()),
            other @ (Frame3::BigNumber { .. } | Frame3::Hello { .. } | Frame3::ChunkedString(_)) => {
                panic!("no server sends {other:?}")
            }
        }
    }
}

/// As `redis-cli` shows replies, on one line.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Status(text) => write!(f, "+{text}"),
            Reply::Error(text) => write!(f, "-{text}"),
            Reply::Int(number) => write!(f, "{number}"),
            Reply::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Reply::Nil => f.write_str("nil"),
            Reply::Bool(value) => write!(f, "#{value}"),
            Reply::Double(value) => write!(f, ",{value}"),
            Reply::Array(elements) => f.debug_list().entries(elements).finish(),
            Reply::Map(pairs) => {
                f.debug_map().entries(pairs.iter().map(|(key, value)| (key, value))).finish()
            }
            Reply::Set(elements) => f.debug_set().entries(elements).finish(),
            Reply::Push(elements) => {
                f.write_str(">").and_then(|()| f.debug_list().entries(elements).finish())
            }
        }
    }
}
