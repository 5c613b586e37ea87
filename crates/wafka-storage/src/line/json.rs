//! Bytes as JSON: a string when they are UTF-8, else `{"base64":"…"}` (RFC 4648 §4, padded).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What JSON's strings make of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Text {
    /// ASCII without anything to escape.
    Plain,
    /// UTF-8; some of it may have to be escaped.
    Utf8,
    /// Not UTF-8.
    Binary,
}

impl Text {
    /// Looks at `bytes`, once when they are plain.
    pub(super) fn of(bytes: &[u8]) -> Self {
        if is_plain(bytes) {
            Text::Plain
        } else if std::str::from_utf8(bytes).is_ok() {
            Text::Utf8
        } else {
            Text::Binary
        }
    }
}

/// Appends `bytes` as JSON; `text` is what [`Text::of`] says of them.
pub(super) fn push(out: &mut Vec<u8>, bytes: &[u8], text: Text) {
    match text {
        Text::Plain => {
            out.push(b'"');
            out.extend_from_slice(bytes);
            out.push(b'"');
        }
        Text::Utf8 => push_escaped(out, bytes),
        Text::Binary => push_base64(out, bytes),
    }
}

/// Bytes that cannot stand in a JSON string as they are, or may not be UTF-8.
fn is_special(b: u8) -> bool {
    // As a signed number, everything from 0x80 on is negative: one comparison finds it and the control characters.
    ((b as i8) < 0x20) | (b == b'"') | (b == b'\\')
}

/// Bytes that JSON (RFC 8259 §7) wants escaped in a string.
fn needs_escape(b: u8) -> bool {
    (b < 0x20) | (b == b'"') | (b == b'\\')
}

// Without an early exit the compiler turns this into a few vector instructions.
fn any<const N: usize>(chunk: &[u8; N], is: impl Fn(u8) -> bool) -> bool {
    chunk.iter().fold(false, |any, &b| any | is(b))
}

/// Whether nothing in `bytes` is special. Ends are covered by chunks that overlap.
fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<32>() {
        return !bytes.as_chunks::<32>().0.iter().any(|chunk| any(chunk, is_special))
            && !any(last, is_special);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<16>(), bytes.last_chunk::<16>()) {
        return !any(first, is_special) && !any(last, is_special);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        return !any(first, is_special) && !any(last, is_special);
    }
    !bytes.iter().any(|&b| is_special(b))
}

/// The length of the run at the beginning of `bytes` that needs no escape.
fn run_len(bytes: &[u8]) -> usize {
    let (chunks, rest) = bytes.as_chunks::<16>();
    let whole = chunks.iter().take_while(|chunk| !any(chunk, needs_escape)).count();
    let next = chunks.get(whole).map_or(rest, |chunk| &chunk[..]);
    whole * 16 + next.iter().position(|&b| needs_escape(b)).unwrap_or(next.len())
}

fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let mut rest = bytes;
    loop {
        let (run, tail) = rest.split_at(run_len(rest));
        out.extend_from_slice(run);
        let Some((&b, after)) = tail.split_first() else { break };
        push_escape(out, b);
        rest = after;
    }
    out.push(b'"');
}

fn push_escape(out: &mut Vec<u8>, b: u8) {
    let short = match b {
        b'"' | b'\\' => b,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let [high, low] = [b >> 4, b & 15].map(|nibble| b"0123456789abcdef"[usize::from(nibble)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// What stands before the digits of the base64 form.
pub(super) const BASE64_OPEN: &[u8] = b"{\"base64\":\"";
/// What stands behind them.
pub(super) const BASE64_CLOSE: &[u8] = b"\"}";

fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(BASE64_OPEN);
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, b'=');
    STANDARD
        .encode_slice(bytes, &mut out[start..])
        .expect("invariant: 4 digits for every 3 bytes begun suffice");
    out.extend_from_slice(BASE64_CLOSE);
}

/// Appends the bytes that base64 digits stand for; false, with `out` as it was, when they are not canonical base64.
pub(super) fn decode_base64(digits: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let decoded = STANDARD.decode_vec(digits, out).is_ok();
    if !decoded {
        out.truncate(start);
    }
    decoded
}

/// Appends what the inside of a JSON string, without its quotes, stands for. Otherwise says how far it got: an unknown
/// escape, or half of a surrogate pair, stands there.
pub(super) fn unescape(inside: &[u8], out: &mut Vec<u8>) -> Result<(), usize> {
    let mut at = 0;
    while let Some(run) = memchr::memchr(b'\\', &inside[at..]) {
        out.extend_from_slice(&inside[at..at + run]);
        at += run;
        let short = match inside.get(at + 1) {
            Some(&b @ (b'"' | b'\\' | b'/')) => b,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'u') => {
                let (char, len) = unicode_escape(&inside[at..]).ok_or(at)?;
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                at += len;
                continue;
            }
            _ => return Err(at),
        };
        out.push(short);
        at += 2;
    }
    out.extend_from_slice(&inside[at..]);
    Ok(())
}

/// The character of a `\uXXXX`, or of two that form a surrogate pair, and the length of the escape.
fn unicode_escape(bytes: &[u8]) -> Option<(char, usize)> {
    let first = unicode_unit(bytes)?;
    if !(0xd800..0xe000).contains(&first) {
        return Some((char::from_u32(u32::from(first))?, 6));
    }
    let pair = [first, unicode_unit(&bytes[6..])?];
    let char = char::decode_utf16(pair).next()?.ok()?;
    Some((char, 12))
}

fn unicode_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.get(..6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit: u16, &b| {
        let digit = char::from(b).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pushed(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out, bytes, Text::of(bytes));
        out
    }

    #[test]
    fn escapes_are_the_short_ones_where_json_has_one() {
        assert_eq!(
            pushed(b"\"\\\n\r\t\x08\x0c\x00\x1f\x7f/"),
            br#""\"\\\n\r\t\b\f\u0000\u001f"#.to_vec().into_iter().chain(*b"\x7f/\"").collect::<Vec<_>>()
        );
        assert_eq!(pushed("a\u{2028}é".as_bytes()), "\"a\u{2028}é\"".as_bytes());
        assert_eq!(pushed(b"\xff"), br#"{"base64":"/w=="}"#);
    }

    #[test]
    fn one_special_byte_is_found_at_any_place_of_any_length() {
        for len in 1..100 {
            assert_eq!(Text::of(&vec![b' '; len]), Text::Plain);
            for at in 0..len {
                for (special, text) in
                    [(b'"', Text::Utf8), (0, Text::Utf8), (b'\\', Text::Utf8), (0x80, Text::Binary)]
                {
                    let mut bytes = vec![b'~'; len];
                    bytes[at] = special;
                    assert_eq!(Text::of(&bytes), text, "{special} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn foreign_escapes_are_understood_and_halves_of_pairs_refused() {
        let mut out = Vec::new();
        assert_eq!(unescape(br"\u00e9\ud83d\uDE00\/", &mut out), Ok(()));
        assert_eq!(out, "é😀/".as_bytes());
        for bad in [r"\ud83d", r"\ud83dx", r"\ud83d\u0041", r"\ude00", r"\u12", r"\u+123", r"\x", "\\"] {
            assert_eq!(unescape(format!("ab{bad}").as_bytes(), &mut out), Err(2), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn strings_are_those_of_serde_json(text: String) {
            let json = pushed(text.as_bytes());
            prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), &text[..]);
            let mut out = Vec::new();
            prop_assert_eq!(unescape(&json[1..json.len() - 1], &mut out), Ok(()));
            prop_assert_eq!(out, text.as_bytes());
            let theirs = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(json, theirs.as_bytes());
        }

        #[test]
        fn anything_can_be_unescaped_or_refused(inside: Vec<u8>) {
            let mut out = Vec::new();
            let _ = unescape(&inside, &mut out);
            prop_assert!(out.len() <= inside.len());
        }
    }
}
