//! Writes replies in RESP2 and RESP3 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).

use wafka_core::EventId;

/// The protocol a connection speaks: RESP2 until `HELLO 3` is accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RespVersion {
    /// RESP2: simple strings, errors, integers, bulk strings, arrays.
    V2,
    /// RESP3: also null, maps, sets, doubles, booleans, verbatim strings and pushes.
    V3,
}

/// Appends replies to a byte buffer. What RESP2 has no type for is written as Redis writes it there: a map as the
/// array of its keys and values, a set or push as an array, a double as a bulk string.
///
/// An aggregate ([`array`](Self::array), [`map`](Self::map), …) announces how many replies must follow as its
/// elements; the writer does not count them.
#[derive(Debug)]
pub struct ReplyWriter<'a> {
    out: &'a mut Vec<u8>,
    version: RespVersion,
}

impl<'a> ReplyWriter<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>, version: RespVersion) -> Self {
        ReplyWriter { out, version }
    }

    /// The protocol version written.
    #[must_use]
    pub fn version(&self) -> RespVersion {
        self.version
    }

    /// The buffer appended to, for ready bytes and for taking back a reply begun.
    pub fn out(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A simple string; line ends in it become blanks.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// An error, `text` beginning with its code: `ERR syntax error`. As in Redis, line ends around the text are
    /// dropped and those within become blanks.
    pub fn error(&mut self, text: &str) {
        self.line(b'-', text.trim_matches(['\r', '\n']));
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + HEADER_LEN);
        self.length(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// An event id as the bulk string `ms-seq`.
    pub fn bulk_id(&mut self, id: EventId) {
        let (mut ms, mut seq) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (ms, seq) = (ms.format(id.ms).as_bytes(), seq.format(id.seq).as_bytes());
        self.length(b'$', ms.len() + 1 + seq.len());
        // Put together first: appending it once is what makes it fast.
        let mut text = [0; 2 * 20 + 1 + 2];
        let (dash, end) = (ms.len(), ms.len() + 1 + seq.len());
        text[..dash].copy_from_slice(ms);
        text[dash] = b'-';
        text[dash + 1..end].copy_from_slice(seq);
        text[end..end + 2].copy_from_slice(b"\r\n");
        self.out.extend_from_slice(&text[..end + 2]);
    }

    /// An event as `XRANGE` shows it, an array of its id and the array of its fields and values; `id` is the id as text.
    #[inline]
    pub fn entry<'p>(&mut self, id: &[u8], parts: impl ExactSizeIterator<Item = &'p [u8]>) {
        self.array(2);
        self.bulk(id);
        self.array(parts.len());
        for part in parts {
            self.bulk(part);
        }
    }

    /// No value in the place of a string or number: `$-1`, in RESP3 null.
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.version {
            RespVersion::V2 => b"$-1\r\n",
            RespVersion::V3 => b"_\r\n",
        });
    }

    /// No value in the place of an array: `*-1`, in RESP3 null.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.version {
            RespVersion::V2 => b"*-1\r\n",
            RespVersion::V3 => b"_\r\n",
        });
    }

    /// Begins an array of the next `len` replies.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.length(b'*', len);
    }

    /// Begins a map of the next `pairs` pairs of replies, key before value; an array of twice as many in RESP2.
    pub fn map(&mut self, pairs: usize) {
        match self.version {
            RespVersion::V2 => self.header(b'*', pairs.saturating_mul(2)),
            RespVersion::V3 => self.header(b'%', pairs),
        }
    }

    /// Begins a set of the next `len` replies; an array in RESP2.
    pub fn set(&mut self, len: usize) {
        self.aggregate(b'~', len);
    }

    /// Begins a push message of the next `len` replies, out of the order of requests; an array in RESP2.
    pub fn push(&mut self, len: usize) {
        self.aggregate(b'>', len);
    }

    /// A double, by the fewest digits that give it back; infinities are `inf` and `-inf`, no number is `nan`. A bulk
    /// string in RESP2.
    pub fn double(&mut self, value: f64) {
        let size = value.abs();
        let text = if value.is_nan() {
            "nan".to_owned()
        } else if size == 0.0 || (1e-5..1e17).contains(&size) || value.is_infinite() {
            value.to_string()
        } else {
            format!("{value:e}")
        };
        match self.version {
            RespVersion::V2 => self.bulk(text.as_bytes()),
            RespVersion::V3 => self.line(b',', &text),
        }
    }

    /// A boolean; the integer 1 or 0 in RESP2.
    pub fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(match (self.version, value) {
            (RespVersion::V2, false) => b":0\r\n",
            (RespVersion::V2, true) => b":1\r\n",
            (RespVersion::V3, false) => b"#f\r\n",
            (RespVersion::V3, true) => b"#t\r\n",
        });
    }

    /// A text for people, `format` being `txt` or `mkd`; a bulk string in RESP2. Another format's name is cut or
    /// filled up with blanks to the three bytes the protocol has for it.
    pub fn verbatim(&mut self, format: &str, bytes: &[u8]) {
        if self.version == RespVersion::V2 {
            return self.bulk(bytes);
        }
        self.header(b'=', bytes.len() + 4);
        self.out.extend(format.bytes().chain(*b"   ").take(3));
        self.out.push(b':');
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Begins an aggregate that is an array in RESP2.
    fn aggregate(&mut self, marker: u8, len: usize) {
        self.header(if self.version == RespVersion::V2 { b'*' } else { marker }, len);
    }

    /// A line of a type's marker and a length, most of which are short.
    #[inline(always)]
    fn length(&mut self, marker: u8, length: usize) {
        match length {
            0..10 => self.out.extend_from_slice(&[marker, b'0' + length as u8, b'\r', b'\n']),
            10..100 => {
                let [tens, ones] = [length / 10, length % 10].map(|digit| b'0' + digit as u8);
                self.out.extend_from_slice(&[marker, tens, ones, b'\r', b'\n']);
            }
            100..1000 => {
                let digits = [length / 100, length / 10 % 10, length % 10].map(|digit| b'0' + digit as u8);
                self.out.extend_from_slice(&[marker, digits[0], digits[1], digits[2], b'\r', b'\n']);
            }
            _ => self.header(marker, length),
        }
    }

    fn header(&mut self, marker: u8, number: impl itoa::Integer) {
        self.out.push(marker);
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// A line of a type's marker and a text.
    fn line(&mut self, marker: u8, text: &str) {
        self.out.push(marker);
        let start = self.out.len();
        self.out.extend_from_slice(text.as_bytes());
        for byte in &mut self.out[start..] {
            if matches!(*byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

/// The most bytes a bulk string takes beside its own: `$`, up to 20 digits, two CRLFs.
const HEADER_LEN: usize = 25;

#[cfg(test)]
mod tests;
