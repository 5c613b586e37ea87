//! A reply exactly as it came: kinds of null apart, maps in their order, duplicates kept.
//!
//! The comparison must not be blind to what a client library smooths over, so this reads RESP on its own.

use std::fmt;

/// Arrays within arrays that a reply may have; servers send six at most.
const DEPTH_MAX: usize = 32;

/// A reply.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Value {
    /// `+OK`
    Status(String),
    /// `-ERR …`
    Error(String),
    /// `:5`
    Int(i64),
    /// `$2`
    Bulk(Vec<u8>),
    /// `=`: RESP3's text with a format.
    Verbatim(Vec<u8>),
    /// `$-1`
    NilBulk,
    /// `*-1`
    NilArray,
    /// `_`
    Null,
    /// `#t`
    Bool(bool),
    /// `,1.5` and `(123`, as text.
    Number(String),
    /// `*2`
    Array(Vec<Value>),
    /// `%1`: keys and values in turn.
    Map(Vec<Value>),
    /// `~2`
    Set(Vec<Value>),
    /// `>2`
    Push(Vec<Value>),
    /// What the comparison put in the place of something that differs from run to run.
    Masked(String),
}

/// What is wrong with bytes that are no reply.
#[derive(Debug, PartialEq, Eq)]
pub struct NoReply(pub String);

impl Value {
    /// Reads the reply that `bytes` begin with: it and its length, or none while it is incomplete.
    ///
    /// # Errors
    /// When this is no RESP.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Value, usize)>, NoReply> {
        let mut at = 0;
        Ok(parse(bytes, &mut at, 0)?.map(|value| (value, at)))
    }

    /// A bulk string.
    #[must_use]
    pub fn bulk(text: &str) -> Self {
        Value::Bulk(text.as_bytes().to_vec())
    }

    /// The elements of an array, a set or a push, the keys and values of a map.
    #[must_use]
    pub fn elements(&self) -> Option<&[Value]> {
        match self {
            Value::Array(all) | Value::Map(all) | Value::Set(all) | Value::Push(all) => Some(all),
            _ => None,
        }
    }

    /// See [`Value::elements`].
    pub fn elements_mut(&mut self) -> Option<&mut Vec<Value>> {
        match self {
            Value::Array(all) | Value::Map(all) | Value::Set(all) | Value::Push(all) => Some(all),
            _ => None,
        }
    }

    /// The text of a status, error or bulk string.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Status(text) | Value::Error(text) => Some(text),
            Value::Bulk(bytes) | Value::Verbatim(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The value of a key in a map, or in a flat array of keys and values.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        let all = self.elements_mut()?;
        let at = all.chunks_exact(2).position(|pair| pair[0].text() == Some(key))?;
        all.get_mut(at * 2 + 1)
    }

    /// Takes a key and its value out of a map, or of a flat array of keys and values; whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let Some(all) = self.elements_mut() else { return false };
        let Some(at) = all.chunks_exact(2).position(|pair| pair[0].text() == Some(key)) else { return false };
        all.drain(at * 2..at * 2 + 2);
        true
    }
}

fn parse(bytes: &[u8], at: &mut usize, depth: usize) -> Result<Option<Value>, NoReply> {
    let Some(line) = line(bytes, at) else { return Ok(None) };
    let Some((kind, rest)) = line.split_first() else { return Err(NoReply("an empty line".to_owned())) };
    let text = || String::from_utf8_lossy(rest).into_owned();
    let number = || text().parse::<i64>().map_err(|_| NoReply(format!("no number: {}", text())));
    let value = match kind {
        b'+' => Value::Status(text()),
        b'-' => Value::Error(text()),
        b':' => Value::Int(number()?),
        b'_' => Value::Null,
        b'#' => Value::Bool(rest == b"t"),
        b',' | b'(' => Value::Number(text()),
        b'$' | b'=' => match usize::try_from(number()?) {
            Err(_) => Value::NilBulk,
            Ok(len) => {
                let Some(data) = bytes.get(*at..*at + len + 2) else { return Ok(None) };
                *at += len + 2;
                let data = data[..len].to_vec();
                if *kind == b'$' { Value::Bulk(data) } else { Value::Verbatim(data) }
            }
        },
        b'*' | b'%' | b'~' | b'>' => match usize::try_from(number()?) {
            Err(_) => Value::NilArray,
            Ok(_) if depth == DEPTH_MAX => return Err(NoReply("nested too deeply".to_owned())),
            Ok(len) => {
                let len = if *kind == b'%' { len * 2 } else { len };
                let mut all = Vec::new();
                for _ in 0..len {
                    let Some(value) = parse(bytes, at, depth + 1)? else { return Ok(None) };
                    all.push(value);
                }
                match kind {
                    b'*' => Value::Array(all),
                    b'%' => Value::Map(all),
                    b'~' => Value::Set(all),
                    _ => Value::Push(all),
                }
            }
        },
        other => return Err(NoReply(format!("no kind of reply: {}", other.escape_ascii()))),
    };
    Ok(Some(value))
}

fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = &bytes[*at..];
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    *at += end + 2;
    Some(&rest[..end])
}

/// In the notation of `redis-cli`, on one line.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Status(text) => write!(f, "+{text}"),
            Value::Error(text) => write!(f, "-{text}"),
            Value::Int(number) => write!(f, "{number}"),
            Value::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Value::Verbatim(bytes) => write!(f, "txt:\"{}\"", bytes.escape_ascii()),
            Value::NilBulk => f.write_str("nil"),
            Value::NilArray => f.write_str("nil[]"),
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "#{value}"),
            Value::Number(text) => write!(f, ",{text}"),
            Value::Array(all) => list(f, "[", all, "]"),
            Value::Set(all) => list(f, "~[", all, "]"),
            Value::Push(all) => list(f, ">[", all, "]"),
            Value::Map(all) => {
                f.write_str("{")?;
                for (n, pair) in all.chunks_exact(2).enumerate() {
                    let comma = if n == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {}", pair[0], pair[1])?;
                }
                f.write_str("}")
            }
            Value::Masked(what) => write!(f, "<{what}>"),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, open: &str, all: &[Value], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (n, value) in all.iter().enumerate() {
        let comma = if n == 0 { "" } else { ", " };
        write!(f, "{comma}{value}")?;
    }
    f.write_str(close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_and_shown() {
        let wire = b"*11\r\n+OK\r\n-ERR no\r\n:-5\r\n$2\r\na\n\r\n=6\r\ntxt:hi\r\n$-1\r\n*-1\r\n_\r\n#t\r\n,1.5\r\n%1\r\n+k\r\n~1\r\n:1\r\n";
        let (value, len) = Value::parse(wire).unwrap().unwrap();
        assert_eq!(len, wire.len());
        let shown = "[+OK, -ERR no, -5, \"a\\n\", txt:\"txt:hi\", nil, nil[], null, #true, ,1.5, {+k: ~[1]}]";
        assert_eq!(value.to_string(), shown);
        for len in 0..wire.len() {
            assert_eq!(Value::parse(&wire[..len]), Ok(None), "{len} bytes");
        }
    }

    #[test]
    fn garbage_is_no_reply() {
        assert!(Value::parse(b"?\r\n").is_err());
        assert!(Value::parse(b":x\r\n").is_err());
        assert!(Value::parse("*1\r\n".repeat(100).as_bytes()).is_err());
    }

    #[test]
    fn keys_are_found_in_maps_and_flat_arrays() {
        let mut flat = Value::Array(vec![Value::bulk("a"), Value::Int(1), Value::bulk("b"), Value::Int(2)]);
        assert_eq!(flat.get_mut("b"), Some(&mut Value::Int(2)));
        assert!(flat.remove("a") && !flat.remove("a"));
        assert_eq!(flat.to_string(), "[\"b\", 2]");
    }
}
