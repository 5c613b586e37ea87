//! Flat scanners of the replies that are measured: the id an `XADD` returns, and the entries of an `XREAD` or
//! `XRANGE` (RESP2: <https://redis.io/docs/latest/develop/reference/protocol-spec/>). They read a buffer that may end
//! anywhere: `None` means that more bytes are needed.

use std::fmt;

use memchr::memchr;

/// An id of an event, `<ms>-<seq>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Id {
    /// Milliseconds since 1970.
    pub ms: u64,
    /// Number within the millisecond.
    pub seq: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl Id {
    /// The id written as `text`, or `None` when it isn't one.
    #[inline]
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let dash = memchr(b'-', text)?;
        Some(Self { ms: decimal(&text[..dash])?, seq: decimal(&text[dash + 1..])? })
    }
}

/// Why a reply is not the one expected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The server answered with an error.
    #[error("the server answered: {0}")]
    Server(String),
    /// The bytes are not the expected reply.
    #[error("expected {expected}, got {got:?}")]
    Unexpected {
        /// What should have stood there.
        expected: &'static str,
        /// The beginning of what stood there.
        got: String,
    },
}

fn unexpected(expected: &'static str, bytes: &[u8]) -> ReplyError {
    ReplyError::Unexpected {
        expected,
        got: String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned(),
    }
}

/// The value of 1 to 19 decimal digits.
#[inline]
#[must_use]
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut value = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value)
}

/// A number and its `\r\n`, after a type byte that has been read: `15\r\n`. Gives the number and the bytes used.
#[inline]
fn length(bytes: &[u8], expected: &'static str) -> Result<Option<(usize, usize)>, ReplyError> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        match byte {
            b'0'..=b'9' => value = value * 10 + usize::from(byte - b'0'),
            b'\r' if at > 0 => {
                return match bytes.get(at + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some((value, at + 2))),
                    Some(_) => Err(unexpected(expected, bytes)),
                };
            }
            _ => return Err(unexpected(expected, bytes)),
        }
    }
    if bytes.len() < 10 { Ok(None) } else { Err(unexpected(expected, bytes)) }
}

/// The first byte of the reply is not the one expected: an error reply as soon as its line is whole, else a surprise.
#[cold]
fn not_expected<T>(bytes: &[u8], expected: &'static str) -> Result<Option<T>, ReplyError> {
    match bytes.first() {
        None => Ok(None),
        Some(b'-') => match memchr(b'\n', bytes) {
            None => Ok(None),
            Some(end) => {
                Err(ReplyError::Server(String::from_utf8_lossy(&bytes[1..end]).trim_end().to_owned()))
            }
        },
        Some(_) => Err(unexpected(expected, bytes)),
    }
}

/// `$<length>\r\n<bytes>\r\n` at the start of `bytes`: the string and the bytes used.
#[inline]
fn bulk<'a>(bytes: &'a [u8], expected: &'static str) -> Result<Option<(&'a [u8], usize)>, ReplyError> {
    if bytes.first() != Some(&b'$') {
        return not_expected(bytes, expected);
    }
    let Some((len, used)) = length(&bytes[1..], expected)? else { return Ok(None) };
    let rest = &bytes[1 + used..];
    match rest.get(len..len + 2) {
        None => Ok(None),
        Some(b"\r\n") => Ok(Some((&rest[..len], 1 + used + len + 2))),
        Some(_) => Err(unexpected(expected, bytes)),
    }
}

/// The reply to one `XADD` at the start of `bytes`: the id and the bytes used.
///
/// # Errors
/// An error reply, or anything but an id.
#[inline]
pub fn added(bytes: &[u8]) -> Result<Option<(Id, usize)>, ReplyError> {
    const EXPECTED: &str = "an id as a bulk string";
    let Some((text, used)) = bulk(bytes, EXPECTED)? else { return Ok(None) };
    let id = Id::parse(text).ok_or_else(|| unexpected(EXPECTED, bytes))?;
    Ok(Some((id, used)))
}

/// `*<count>\r\n` at the start of `bytes`: the count (`None` for the null array `*-1`) and the bytes used.
///
/// # Errors
/// An error reply, or anything but an array's head.
pub fn array(bytes: &[u8], expected: &'static str) -> Result<Option<(Option<usize>, usize)>, ReplyError> {
    const NULL: &[u8] = b"*-1\r\n";
    if bytes.first() != Some(&b'*') {
        return not_expected(bytes, expected);
    }
    if bytes.starts_with(NULL) {
        return Ok(Some((None, NULL.len())));
    }
    if NULL.starts_with(bytes) {
        return Ok(None);
    }
    Ok(length(&bytes[1..], expected)?.map(|(count, used)| (Some(count), 1 + used)))
}

/// The head of an `XREAD` reply for one stream, up to its first entry: the number of entries (`None` when there was
/// nothing to read) and the bytes used.
///
/// # Errors
/// An error reply, or anything but such a head.
pub fn xread_head(bytes: &[u8]) -> Result<Option<(Option<usize>, usize)>, ReplyError> {
    const EXPECTED: &str = "an array of one stream";
    let Some((streams, mut at)) = array(bytes, EXPECTED)? else { return Ok(None) };
    match streams {
        None => return Ok(Some((None, at))),
        Some(1) => {}
        Some(_) => return Err(unexpected(EXPECTED, bytes)),
    }
    let Some((pair, used)) = array(&bytes[at..], EXPECTED)? else { return Ok(None) };
    if pair != Some(2) {
        return Err(unexpected(EXPECTED, bytes));
    }
    at += used;
    let Some((_, used)) = bulk(&bytes[at..], EXPECTED)? else { return Ok(None) };
    at += used;
    let Some((entries, used)) = array(&bytes[at..], EXPECTED)? else { return Ok(None) };
    Ok(Some((entries, at + used)))
}

/// One event of an `XREAD` or `XRANGE` reply.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The event's id.
    pub id: Id,
    /// The value of its only field.
    pub payload: &'a [u8],
    /// Bytes of the reply that the entry takes.
    pub used: usize,
}

/// Scans entries of one field. All entries of a run look alike between the id and the payload, so what stood there
/// last time is compared as a whole before anything is parsed.
#[derive(Debug, Default)]
pub struct EntryScanner {
    between: Vec<u8>,
    payload_len: usize,
}

impl EntryScanner {
    /// The entry at the start of `bytes`.
    ///
    /// # Errors
    /// An error reply, or anything but an entry with one field.
    #[inline]
    pub fn scan<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Entry<'a>>, ReplyError> {
        const EXPECTED: &str = "an entry: an id and one field";
        let Some((pair, at)) = array(bytes, EXPECTED)? else { return Ok(None) };
        if pair != Some(2) {
            return Err(unexpected(EXPECTED, bytes));
        }
        let Some((text, used)) = bulk(&bytes[at..], EXPECTED)? else { return Ok(None) };
        let id = Id::parse(text).ok_or_else(|| unexpected(EXPECTED, bytes))?;
        let at = at + used;
        let rest = &bytes[at..];
        if self.between.is_empty() || !rest.starts_with(&self.between) {
            match fields_head(rest, EXPECTED)? {
                None => return Ok(None),
                Some((payload_len, used)) => {
                    self.between = rest[..used].to_vec();
                    self.payload_len = payload_len;
                }
            }
        }
        let payload = &rest[self.between.len()..];
        match payload.get(self.payload_len..self.payload_len + 2) {
            None => Ok(None),
            Some(b"\r\n") => Ok(Some(Entry {
                id,
                payload: &payload[..self.payload_len],
                used: at + self.between.len() + self.payload_len + 2,
            })),
            Some(_) => Err(unexpected(EXPECTED, bytes)),
        }
    }
}

/// `*2\r\n$<n>\r\n<field>\r\n$<m>\r\n`: m and the bytes used.
fn fields_head(bytes: &[u8], expected: &'static str) -> Result<Option<(usize, usize)>, ReplyError> {
    let Some((fields, at)) = array(bytes, expected)? else { return Ok(None) };
    if fields != Some(2) {
        return Err(unexpected(expected, bytes));
    }
    let Some((_, used)) = bulk(&bytes[at..], expected)? else { return Ok(None) };
    let at = at + used;
    match bytes.get(at) {
        None => Ok(None),
        Some(b'$') => Ok(length(&bytes[at + 1..], expected)?.map(|(len, used)| (len, at + 1 + used))),
        Some(_) => Err(unexpected(expected, bytes)),
    }
}

#[cfg(test)]
mod tests;
