//! Reading a line from left to right: no recursion, no allocation, nothing assumed of the bytes.

use std::borrow::Cow;
use std::ops::Range;

use super::json::{self, BASE64_CLOSE, BASE64_OPEN, first_marked, repeat, zero_bytes};
use super::seal::leading_u64;
use super::{LineError, verbatim};

/// How deep a value may nest that is passed over, far enough for what is stored verbatim. What is written stays below it; the bound is the bits of a `u128`.
const NESTING_MAX: u32 = 120;
const _: () = assert!(verbatim::DEPTH_MAX < NESTING_MAX as usize && NESTING_MAX < u128::BITS);

/// A position in a line. Errors count from the line's first byte.
#[derive(Clone, Debug)]
pub(super) struct Scan<'a> {
    line: &'a [u8],
    rest: &'a [u8],
}

/// A JSON string, or the base64 form of bytes: where its inside stands and what must be done to read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) inside: Range<usize>,
    pub(super) coding: Coding,
}

/// How bytes stand in a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Coding {
    /// As they are.
    Raw,
    /// Within a string, with escapes.
    Escaped,
    /// As base64 digits.
    Base64,
}

impl<'a> Scan<'a> {
    /// A scan of `line` from the byte at `at`, or its end.
    pub(super) fn new(line: &'a [u8], at: usize) -> Self {
        Scan { line, rest: line.get(at..).unwrap_or_default() }
    }

    /// All the bytes, those already read too.
    pub(super) fn line(&self) -> &'a [u8] {
        self.line
    }

    /// How many bytes have been read.
    #[inline]
    pub(super) fn at(&self) -> usize {
        self.line.len() - self.rest.len()
    }

    /// The bytes not yet read.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[cold]
    pub(super) fn error(&self, expected: &'static str) -> LineError {
        LineError::Syntax { at: self.at(), expected }
    }

    /// Steps over `literal` if it stands here.
    #[inline(always)]
    pub(super) fn accept(&mut self, literal: &[u8]) -> bool {
        match self.rest.strip_prefix(literal) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Steps over `literal`, which must stand here.
    #[inline(always)]
    pub(super) fn expect(&mut self, literal: &'static str) -> Result<(), LineError> {
        if self.accept(literal.as_bytes()) { Ok(()) } else { Err(self.error(literal)) }
    }

    /// Steps over bytes that have been looked at, at most to the end.
    #[inline(always)]
    pub(super) fn advance(&mut self, len: usize) {
        self.rest = self.rest.get(len..).unwrap_or_default();
    }

    /// An unsigned decimal number without leading zeros.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Result<u64, LineError> {
        let Some((value, len)) = leading_u64(self.rest) else {
            return Err(self.error("an unsigned 64-bit decimal number"));
        };
        self.advance(len);
        Ok(value)
    }

    /// A string.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Result<Piece, LineError> {
        if !self.accept(b"\"") {
            return Err(self.error("a string"));
        }
        let start = self.at();
        let mut coding = Coding::Raw;
        while let Some(step) = find_quote(self.rest) {
            let is_end = self.rest[step] == b'"';
            if is_end {
                let inside = start..self.at() + step;
                self.advance(step + 1);
                return Ok(Piece { inside, coding });
            }
            coding = Coding::Escaped;
            self.advance(step + 2);
        }
        Err(LineError::Syntax { at: start, expected: "the end of the string that begins here" })
    }

    /// A string, or the base64 form.
    #[inline]
    pub(super) fn text(&mut self) -> Result<Piece, LineError> {
        if self.rest.first() == Some(&b'"') {
            return self.string();
        }
        self.base64().ok_or_else(|| self.error("a string or {\"base64\":\"…\"}"))
    }

    /// A string, the base64 form, or an object or array that stands for its own bytes.
    #[inline]
    pub(super) fn value(&mut self) -> Result<Piece, LineError> {
        match self.rest.first() {
            Some(b'"') => self.string(),
            Some(b'{' | b'[') => match self.base64() {
                Some(piece) => Ok(piece),
                None => Ok(Piece { inside: self.skip()?, coding: Coding::Raw }),
            },
            _ => Err(self.error("a string, an object or an array")),
        }
    }

    /// Any JSON value: a string or the base64 form to be decoded, anything else stands for its own bytes.
    pub(super) fn any_value(&mut self) -> Result<Piece, LineError> {
        match self.rest.first() {
            Some(b'"' | b'{' | b'[') => self.value(),
            _ => Ok(Piece { inside: self.skip()?, coding: Coding::Raw }),
        }
    }

    /// The base64 form in its one spelling; any other object stands for itself.
    fn base64(&mut self) -> Option<Piece> {
        let digits = self.rest.strip_prefix(BASE64_OPEN)?;
        let len = memchr::memchr2(b'"', b'\\', digits)?;
        digits[len..].starts_with(BASE64_CLOSE).then(|| {
            let start = self.at() + BASE64_OPEN.len();
            self.advance(BASE64_OPEN.len() + len + BASE64_CLOSE.len());
            Piece { inside: start..start + len, coding: Coding::Base64 }
        })
    }

    /// Steps over any JSON value: strings and brackets are matched, what stands between them is not judged.
    pub(super) fn skip(&mut self) -> Result<Range<usize>, LineError> {
        let start = self.at();
        let mut depth = 0;
        // One bit for every bracket that is open, the innermost lowest: set for a brace.
        let mut open: u128 = 0;
        loop {
            match self.rest.first() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(&b @ (b'{' | b'[')) => {
                    if depth == NESTING_MAX {
                        return Err(self.error("a value that nests less deeply"));
                    }
                    open = open << 1 | u128::from(b == b'{');
                    depth += 1;
                    self.advance(1);
                }
                Some(&b @ (b'}' | b']')) if depth > 0 && (open & 1 == 1) == (b == b'}') => {
                    open >>= 1;
                    depth -= 1;
                    self.advance(1);
                }
                Some(b',' | b':' | b' ' | b'\t') if depth > 0 => self.advance(1),
                Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') => self.skip_scalar(),
                _ => return Err(self.error("a JSON value")),
            }
            if depth == 0 {
                return Ok(start..self.at());
            }
        }
    }

    fn skip_scalar(&mut self) {
        let is_scalar = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        self.advance(self.rest.iter().take_while(|b| is_scalar(b)).count());
    }
}

/// The first quote or backslash. Most strings of a line are short: a few words are looked at here before the search
/// for long ones is worth its start.
#[inline(always)]
pub(super) fn find_quote(bytes: &[u8]) -> Option<usize> {
    const WORDS: usize = 3;
    let mut at = 0;
    for word in bytes.as_chunks::<8>().0.iter().take(WORDS) {
        let word = u64::from_le_bytes(*word);
        let found = first_marked(zero_bytes(word ^ repeat(b'"')) | zero_bytes(word ^ repeat(b'\\')));
        if found < 8 {
            return Some(at + found);
        }
        at += 8;
    }
    memchr::memchr2(b'"', b'\\', &bytes[at..]).map(|found| at + found)
}

impl Piece {
    /// Appends what the piece of `line` stands for.
    pub(super) fn decode_into(&self, line: &[u8], out: &mut Vec<u8>) -> Result<(), LineError> {
        let start = self.inside.start;
        let inside = &line[self.inside.clone()];
        match self.coding {
            Coding::Raw => out.extend_from_slice(inside),
            Coding::Escaped => json::unescape(inside, out)
                .map_err(|at| LineError::Syntax { at: start + at, expected: "an escape of JSON" })?,
            Coding::Base64 => {
                if !json::decode_base64(inside, out) {
                    return Err(LineError::Syntax { at: start, expected: "padded standard base64" });
                }
            }
        }
        Ok(())
    }

    /// What the piece of `line` stands for.
    pub(super) fn decode<'a>(&self, line: &'a [u8]) -> Result<Cow<'a, [u8]>, LineError> {
        if self.coding == Coding::Raw {
            return Ok(Cow::Borrowed(&line[self.inside.clone()]));
        }
        let mut out = Vec::new();
        self.decode_into(line, &mut out)?;
        Ok(Cow::Owned(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn any_value_can_be_passed_over() {
        for value in ["1", "-1.5e+3", "true", "null", "\"a\\\"]\"", "{}", "[ [ ], {\"a}\":[1,\t2]} ]"] {
            let text = format!("{value},\"message\"");
            let mut scan = Scan::new(text.as_bytes(), 0);
            assert_eq!(scan.skip(), Ok(0..value.len()), "{value}");
        }
    }

    #[test]
    fn what_is_not_closed_or_closed_wrongly_is_refused() {
        let deep = "[".repeat(100_000);
        for bad in ["", ",", "]", "[", "[}", "{]", "\"", "\"\\", "\"\\\"", "[\0]", &deep] {
            assert!(Scan::new(bad.as_bytes(), 0).skip().is_err(), "{bad:.10}");
        }
    }

    #[test]
    fn the_base64_form_has_one_spelling() {
        for (value, coding) in [
            (r#"{"base64":""}"#, Coding::Base64),
            (r#"{"base64":"eA=="}"#, Coding::Base64),
            (r#"{"base64":"a\"}","x":1}"#, Coding::Raw),
            (r#"{"base64":"eA==","x":1}"#, Coding::Raw),
        ] {
            let mut scan = Scan::new(value.as_bytes(), 0);
            assert_eq!(scan.value().unwrap().coding, coding, "{value}");
            assert_eq!(scan.at(), value.len());
        }
    }

    proptest! {
        #[test]
        fn the_first_quote_or_backslash_is_found(bytes in "[\"\\\\!#a\\[\\]\u{a2}\u{dc}]{0,6}[a!#\u{a2}]{0,40}[\"\\\\]?a{0,9}") {
            let expected = bytes.bytes().position(|b| matches!(b, b'"' | b'\\'));
            prop_assert_eq!(find_quote(bytes.as_bytes()), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in "[\\[\\]{}\",:\\\\a0 \0]{0,40}", at in 0usize..50) {
            for read in [Scan::skip, |s: &mut Scan<'_>| s.value().map(|p| p.inside), |s: &mut Scan<'_>| s.text().map(|p| p.inside)] {
                let mut scan = Scan::new(bytes.as_bytes(), at);
                if let Ok(range) = read(&mut scan) {
                    prop_assert!(range.end <= scan.at() && scan.at() <= bytes.len());
                }
            }
        }
    }
}
