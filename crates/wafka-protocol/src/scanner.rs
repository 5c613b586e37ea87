//! Finds requests in a stream of bytes: arrays of bulk strings, `*2\r\n$4\r\nXLEN\r\n$1\r\ns\r\n`, and inline lines.
//!
//! The grammar and its faults are Redis's (`processMultibulkBuffer` and `processInlineBuffer` of `networking.c`),
//! stricter in two points: the LF of a length line's CRLF and the CRLF after an argument must really be there.
//! Whether and which error occurs depends on the bytes alone, not on how they were cut into reads.

use crate::inline::{self, Words};
use crate::limits::Limits;
use crate::parse::parse_i64;
use crate::request::{Args, ProtocolError, Scanned};

/// Ranges reserved at most by a request's announced argument count; more memory is taken as arguments arrive.
const MAX_RESERVED: usize = 64;

/// Memory kept from one request to the next, in ranges and in unquoted bytes.
const MAX_KEPT: usize = 1024;

/// Announcing lines up to this length are read whatever [`Limits::max_inline_len`] says; longer than any valid one.
const MIN_LENGTH_LINE: usize = 32;

/// The end of the longest request whose ranges fit their type, with room to add a CRLF.
const MAX_END: usize = u32::MAX as usize - 2;

/// A resumable scanner for the requests of one connection.
///
/// It remembers how far it got in a partial request and looks at no byte twice, and once warm it allocates nothing
/// per request.
///
/// ```
/// use wafka_protocol::{Args, Limits, RequestScanner};
/// let mut scanner = RequestScanner::new();
/// let limits = Limits::default();
/// let bytes = b"*2\r\n$4\r\nXLEN\r\n$1\r\ns\r\nPING\r\n";
/// assert_eq!(scanner.scan(&bytes[..9], &limits), Ok(None));
/// let request = scanner.scan(bytes, &limits).unwrap().unwrap();
/// let mut args = Args::new();
/// scanner.args(bytes, &mut args);
/// assert_eq!(args.as_slice(), [b"XLEN".as_slice(), b"s"]);
/// assert_eq!(&bytes[request.consumed..], b"PING\r\n");
/// ```
#[derive(Debug, Default)]
pub struct RequestScanner {
    state: State,
    /// Where the line being looked for, or the bytes of the argument being waited for, begin.
    pos: usize,
    /// The bytes from `pos` to here hold no line end.
    searched: usize,
    /// Arguments still to come.
    missing: usize,
    /// The length of the argument whose bytes begin at `pos`, once announced.
    announced: Option<usize>,
    ranges: Vec<Range>,
    unquoted: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// Before a request's first byte.
    #[default]
    Start,
    /// In an inline request.
    Line,
    /// In the line `*<count>`.
    Count,
    /// In the arguments.
    Bulks,
    /// After a request, the ranges pointing where it says.
    Complete(Words),
    /// After bytes that are no request.
    Failed(ProtocolError),
}

/// An argument's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    start: u32,
    end: u32,
}

impl Range {
    /// The bytes from `start` up to `end`, neither above [`MAX_END`].
    #[inline]
    pub(crate) fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= MAX_END, "the limits bound a request");
        Range { start: start as u32, end: end as u32 }
    }

    /// The argument in `bytes`.
    #[inline]
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }
}

impl RequestScanner {
    /// A scanner at the start of a connection.
    #[must_use]
    pub fn new() -> Self {
        RequestScanner::default()
    }

    /// Looks for the end of the current request in `buf`, all unread bytes from that request's start on; `None` when
    /// more are needed.
    ///
    /// Between calls the caller may append to the bytes and move them, but drops them from the front only when a
    /// request is complete, and then exactly [`Scanned::consumed`]. An empty request (a blank line, `*0`, `*-1`)
    /// completes without arguments; Redis gives it no reply.
    ///
    /// # Errors
    /// When the bytes are no request or exceed `limits`; the same error is given to every later call.
    #[inline]
    pub fn scan(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Scanned>, ProtocolError> {
        let result = self.advance(buf, limits);
        if let Err(error) = result {
            self.state = State::Failed(error);
        }
        result
    }

    fn advance(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Scanned>, ProtocolError> {
        match self.state {
            State::Complete(_) => self.restart(),
            State::Failed(error) => return Err(error),
            _ => {}
        }
        if self.state == State::Start {
            self.state = match buf.first() {
                None => return Ok(None),
                Some(b'*') => State::Count,
                Some(_) => State::Line,
            };
        }
        if self.state == State::Line {
            return self.scan_line(buf, limits);
        }
        if self.state == State::Count && !self.scan_count(buf, limits)? {
            return Ok(None);
        }
        self.scan_bulks(buf, limits)
    }

    /// Replaces `args` by the arguments of the request just completed, borrowed from `buf`, the same bytes that
    /// completed it, or from the scanner where an inline request's quotes were removed. None before completion.
    ///
    /// # Panics
    /// When `buf` is not those bytes.
    pub fn args<'a>(&'a self, buf: &'a [u8], args: &mut Args<'a>) {
        args.clear();
        let bytes = match self.state {
            State::Complete(Words::InLine) => buf,
            State::Complete(Words::Unquoted) => &self.unquoted,
            _ => return,
        };
        args.extend(self.ranges.iter().map(|range| range.of(bytes)));
    }

    /// How many bytes beyond the `buf_len` present are certainly needed to go on: the rest of the argument under
    /// way, 0 when unknown. A hint for growing the read buffer; since it is the client's claim, growth should be
    /// bounded per step.
    #[must_use]
    pub fn needed(&self, buf_len: usize) -> usize {
        match self.announced {
            Some(len) => (self.pos + len + 2).saturating_sub(buf_len),
            None => 0,
        }
    }

    /// Prepares for the next request; a large one's memory is given back.
    fn restart(&mut self) {
        self.state = State::Start;
        self.pos = 0;
        self.searched = 0;
        self.ranges.clear();
        self.unquoted.clear();
        if self.ranges.capacity() > MAX_KEPT {
            self.ranges.shrink_to(MAX_RESERVED);
        }
        if self.unquoted.capacity() > MAX_KEPT {
            self.unquoted.shrink_to(MAX_KEPT);
        }
    }

    fn complete(&mut self, words: Words, consumed: usize) -> Option<Scanned> {
        self.state = State::Complete(words);
        Some(Scanned { consumed })
    }

    /// Scans an inline request.
    fn scan_line(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Scanned>, ProtocolError> {
        let max_len = limits.max_inline_len.min(MAX_END);
        let found = memchr::memchr(b'\n', buf.get(self.searched..).unwrap_or_default());
        let end = found.map_or(buf.len(), |at| self.searched + at);
        if end > max_len {
            return Err(ProtocolError::InlineTooLong);
        }
        self.searched = end;
        if found.is_none() {
            return Ok(None);
        }
        let line = buf[..end].strip_suffix(b"\r").unwrap_or(&buf[..end]);
        let words = inline::split(line, &mut self.ranges, &mut self.unquoted)?;
        Ok(self.complete(words, end + 1))
    }

    /// Scans `*<count>\r\n`; false when it has not all arrived.
    fn scan_count(&mut self, buf: &[u8], limits: &Limits) -> Result<bool, ProtocolError> {
        let (count, next) = match short_number(buf, 1) {
            Some(found) => found,
            None => match self.long_number(buf, limits, ProtocolError::CountLineTooLong)? {
                Some((Some(count), next)) => (usize::try_from(count).unwrap_or(0), next),
                Some((None, _)) => return Err(ProtocolError::MultibulkLength),
                None => return Ok(false),
            },
        };
        if count > limits.max_args {
            return Err(if limits.unauthenticated && count <= Limits::default().max_args {
                ProtocolError::UnauthenticatedMultibulkLength
            } else {
                ProtocolError::MultibulkLength
            });
        }
        self.ranges.reserve(count.min(MAX_RESERVED));
        self.missing = count;
        self.pos = next;
        self.searched = next;
        self.state = State::Bulks;
        Ok(true)
    }

    /// Scans the arguments, `$<length>\r\n<bytes>\r\n` each.
    fn scan_bulks(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Scanned>, ProtocolError> {
        let max_end = limits.max_request_len.min(MAX_END);
        while self.missing > 0 {
            let len = match self.announced {
                Some(len) => len,
                None => {
                    let Some((len, start)) = self.scan_length(buf, limits)? else { return Ok(None) };
                    if start.saturating_add(len).saturating_add(2) > max_end {
                        return Err(ProtocolError::RequestTooLong);
                    }
                    self.pos = start;
                    len
                }
            };
            let end = self.pos + len;
            match buf.get(end..end + 2) {
                Some(b"\r\n") => {}
                Some(_) => return Err(ProtocolError::BulkTerminator),
                None => {
                    self.announced = Some(len);
                    return Ok(None);
                }
            }
            self.ranges.push(Range::new(self.pos, end));
            self.announced = None;
            self.pos = end + 2;
            self.searched = self.pos;
            self.missing -= 1;
        }
        Ok(self.complete(Words::InLine, self.pos))
    }

    /// Scans `$<length>\r\n` at `pos`: the length and where the bytes begin; `None` when it has not all arrived.
    #[inline]
    fn scan_length(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<(usize, usize)>, ProtocolError> {
        let short = match buf.get(self.pos) {
            None => return Ok(None),
            Some(b'$') => short_number(buf, self.pos + 1),
            Some(&got) => return Err(ProtocolError::ExpectedBulk { got }),
        };
        let (len, start) = match short {
            Some(found) => found,
            None => match self.long_number(buf, limits, ProtocolError::LengthLineTooLong)? {
                Some((Some(len), start)) => {
                    (usize::try_from(len).map_err(|_| ProtocolError::BulkLength)?, start)
                }
                Some((None, _)) => return Err(ProtocolError::BulkLength),
                None => return Ok(None),
            },
        };
        if len > limits.max_bulk_len {
            return Err(if limits.unauthenticated && len <= Limits::default().max_bulk_len {
                ProtocolError::UnauthenticatedBulkLength
            } else {
                ProtocolError::BulkLength
            });
        }
        Ok(Some((len, start)))
    }

    /// Reads the announcing line at `pos` where [`short_number`] could not: it is incomplete, unusual or wrong. The
    /// number (`None` when malformed) and the position after the line; `None` when the line has not all arrived.
    #[cold]
    fn long_number(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        too_long: ProtocolError,
    ) -> Result<Option<(Option<i64>, usize)>, ProtocolError> {
        let max_len = limits.max_inline_len.max(MIN_LENGTH_LINE);
        let found = memchr::memchr(b'\r', buf.get(self.searched..).unwrap_or_default());
        let end = found.map_or(buf.len(), |at| self.searched + at);
        if end - self.pos > max_len {
            return Err(too_long);
        }
        self.searched = end;
        Ok(match buf.get(end + 1) {
            _ if found.is_none() => None,
            None => None,
            Some(b'\n') => Some((parse_i64(&buf[self.pos + 1..end]), end + 2)),
            Some(_) => Some((None, end + 2)),
        })
    }
}

/// Reads `<number>\r\n` at `pos` when all of it is there and the number is of the usual kind: up to nine digits
/// without a leading zero. Returns it and the position after the line.
#[inline]
fn short_number(buf: &[u8], pos: usize) -> Option<(usize, usize)> {
    match *buf.get(pos..)? {
        // Nearly all counts have one or two digits, most lengths up to four.
        [a @ b'0'..=b'9', b'\r', b'\n', ..] => Some((usize::from(a - b'0'), pos + 3)),
        [a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] => Some((decimal([0, 0, a, b]), pos + 4)),
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Some((decimal([0, a, b, c]), pos + 5))
        }
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', d @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Some((decimal([a, b, c, d]), pos + 6))
        }
        [b'1'..=b'9', ref rest @ ..] => {
            let digits = 1 + rest.iter().take(9).take_while(|byte| byte.is_ascii_digit()).count();
            let end = pos + digits;
            if digits > 9 || buf.get(end..end + 2)? != b"\r\n" {
                return None;
            }
            let number = buf[pos..end].iter().fold(0, |number, byte| number * 10 + usize::from(byte - b'0'));
            Some((number, end + 2))
        }
        _ => None,
    }
}

/// The number of these digits; 0 stands for none.
#[inline]
fn decimal(digits: [u8; 4]) -> usize {
    digits.into_iter().fold(0, |number, digit| number * 10 + usize::from(digit.saturating_sub(b'0')))
}

#[cfg(test)]
mod tests;
