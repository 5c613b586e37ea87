//! Inline requests: a line of words, as typed into a terminal, split as Redis's `sdssplitargs` does.
//!
//! A NUL byte is a byte like others here, where Redis's C strings end at it.

use crate::request::ProtocolError;
use crate::scanner::Range;

/// Where the ranges of a split line point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Words {
    /// Into the line itself: nothing was quoted.
    InLine,
    /// Into the buffer of unquoted bytes.
    Unquoted,
}

/// Splits `line` (without its line end) into words, pushing their ranges.
pub(crate) fn split(
    line: &[u8],
    ranges: &mut Vec<Range>,
    unquoted: &mut Vec<u8>,
) -> Result<Words, ProtocolError> {
    if memchr::memchr2(b'"', b'\'', line).is_none() {
        let mut pos = 0;
        while let Some(start) = next_word(line, pos) {
            pos = line[start..].iter().position(|&b| ends_word(b)).map_or(line.len(), |len| start + len);
            ranges.push(Range::new(start, pos));
        }
        return Ok(Words::InLine);
    }
    let mut pos = 0;
    while let Some(start) = next_word(line, pos) {
        let begin = unquoted.len();
        pos = unquote_word(line, start, unquoted)?;
        ranges.push(Range::new(begin, unquoted.len()));
    }
    Ok(Words::Unquoted)
}

/// Where the first word at or after `pos` begins.
fn next_word(line: &[u8], pos: usize) -> Option<usize> {
    line.get(pos..)?.iter().position(|&b| !is_space(b)).map(|blanks| pos + blanks)
}

/// C's `isspace`, by which words are found.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// What ends an unquoted word: a shorter list than [`is_space`] in Redis, and so here.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// Appends the word at `pos` to `out` and returns where it ended. Quotes may open in the middle of a word, but
/// closing one ends it.
fn unquote_word(line: &[u8], mut pos: usize, out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    while let Some(&byte) = line.get(pos) {
        match byte {
            b'"' => return closed(line, double_quoted(line, pos + 1, out)?),
            b'\'' => return closed(line, single_quoted(line, pos + 1, out)?),
            _ if ends_word(byte) => return Ok(pos),
            _ => out.push(byte),
        }
        pos += 1;
    }
    Ok(pos)
}

/// Checks what follows a closing quote: a blank or the end of the line.
fn closed(line: &[u8], after: usize) -> Result<usize, ProtocolError> {
    match line.get(after) {
        Some(&byte) if !is_space(byte) => Err(ProtocolError::UnbalancedQuotes),
        _ => Ok(after),
    }
}

/// Appends what stands between double quotes; returns the position after the closing one.
fn double_quoted(line: &[u8], mut pos: usize, out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match *line.get(pos..).unwrap_or_default() {
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex_digit(high) << 4 | hex_digit(low));
                pos += 4;
            }
            [b'\\', escaped, ..] => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                pos += 2;
            }
            [b'"', ..] => return Ok(pos + 1),
            [byte, ..] => {
                out.push(byte);
                pos += 1;
            }
            [] => return Err(ProtocolError::UnbalancedQuotes),
        }
    }
}

/// Appends what stands between single quotes; returns the position after the closing one.
fn single_quoted(line: &[u8], mut pos: usize, out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match *line.get(pos..).unwrap_or_default() {
            [b'\\', b'\'', ..] => {
                out.push(b'\'');
                pos += 2;
            }
            [b'\'', ..] => return Ok(pos + 1),
            [byte, ..] => {
                out.push(byte);
                pos += 1;
            }
            [] => return Err(ProtocolError::UnbalancedQuotes),
        }
    }
}

/// The value of a hexadecimal digit.
fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::{ProtocolError, split};

    fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
        let (mut ranges, mut unquoted) = (Vec::new(), Vec::new());
        let bytes = match split(line, &mut ranges, &mut unquoted)? {
            super::Words::InLine => line,
            super::Words::Unquoted => &unquoted,
        };
        Ok(ranges.iter().map(|range| range.of(bytes).to_vec()).collect())
    }

    fn check(line: &[u8], expected: &[&[u8]]) {
        assert_eq!(words(line).unwrap(), expected, "{:?}", line.escape_ascii().to_string());
    }

    #[test]
    fn blanks_separate_words() {
        check(b"", &[]);
        check(b" \t ", &[]);
        check(b"  PING\t a ", &[b"PING", b"a"]);
        check(b"a\rb", &[b"a", b"b"]);
        check(b"a\x0bb \x0b\x0cc", &[b"a\x0bb", b"c"]);
        check(b"a\0b", &[b"a\0b"]);
    }

    #[test]
    fn double_quotes_take_escapes() {
        check(br#"SET k "a b""#, &[b"SET", b"k", b"a b"]);
        check(br#""\x00\xfF\n\r\t\b\a\\\"\q\xg""#, &[b"\x00\xff\n\r\t\x08\x07\\\"qxg"]);
        check(br#""" "" a"#, &[b"", b"", b"a"]);
        check(br#"foo"bar""#, &[b"foobar"]);
        check(br#""it's""#, &[b"it's"]);
        check(b"\"a\"\x0bb", &[b"a", b"b"]);
    }

    #[test]
    fn single_quotes_take_only_an_escaped_quote() {
        check(br"'a\'b' 'c\n'", &[b"a'b", br"c\n"]);
        check(br#"'"' x"#, &[b"\"", b"x"]);
    }

    #[test]
    fn quotes_must_be_closed_and_end_the_word() {
        for line in [
            br#"""#.as_slice(),
            br#""a"#,
            br#""a\"#,
            br#""a\""#,
            br#""a"b"#,
            b"'",
            b"'a",
            br"'a\'",
            b"'a'b",
            b"''''",
        ] {
            let name = line.escape_ascii();
            assert_eq!(words(line), Err(ProtocolError::UnbalancedQuotes), "{name}");
        }
        assert_eq!(words(br#"set """test-key""" test-value"#), Err(ProtocolError::UnbalancedQuotes));
    }
}
