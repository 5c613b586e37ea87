//! Bytes as JSON: a string when they are UTF-8, else `{"base64":"…"}` (RFC 4648 §4, padded).
//!
//! An escape takes up to six bytes for one. UTF-8 whose string would be longer than [`ESCAPED_BYTES_MAX`], and longer
//! than its base64, is therefore base64 too: so long a text, with so many control characters, is none.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What JSON's strings make of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Text {
    /// ASCII without anything to escape.
    Plain,
    /// UTF-8; some of it may have to be escaped.
    Utf8,
    /// Not UTF-8, or so much to escape that base64 is shorter.
    Binary,
}

/// A string of at most so many bytes, quotes and escapes included, stays readable whatever it holds.
pub(super) const ESCAPED_BYTES_MAX: usize = 64 << 10;

impl Text {
    /// Looks at `bytes`, once when they are plain.
    pub(super) fn of(bytes: &[u8]) -> Self {
        if is_plain(bytes) {
            Text::Plain
        } else if std::str::from_utf8(bytes).is_ok() && !base64_is_better(bytes) {
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

/// Bytes that JSON (RFC 8259 §7) wants escaped in a string.
#[inline]
fn needs_escape(b: u8) -> bool {
    (b < 0x20) | (b == b'"') | (b == b'\\')
}

/// Bytes that need an escape, or may not be UTF-8.
#[inline]
fn is_special(b: u8) -> bool {
    // As a signed number, everything from 0x80 on is negative: one comparison finds it and the control characters.
    ((b as i8) < 0x20) | (b == b'"') | (b == b'\\')
}

/// Whether nothing in `bytes` is special. Ends are covered by chunks that overlap.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<64>() {
        return !bytes.as_chunks::<64>().0.iter().chain([last]).any(|chunk| any(chunk, is_special));
    }
    if let Some(last) = bytes.last_chunk::<8>() {
        let words = bytes.as_chunks::<8>().0.iter().chain([last]);
        return words.fold(0, |marks, word| marks | special_marks(*word)) == 0;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let [a, b, c, d] = *first;
        let [e, f, g, h] = *last;
        return special_marks([a, b, c, d, e, f, g, h]) == 0;
    }
    !bytes.iter().any(|&b| is_special(b))
}

/// Whether a string of these bytes would be too long.
fn base64_is_better(bytes: &[u8]) -> bool {
    // Most are so short that nothing has to be counted.
    let longest = bytes.len().saturating_mul(ESCAPE_LEN_MAX).saturating_add(2);
    longest > ESCAPED_BYTES_MAX && escaped_len(bytes) > ESCAPED_BYTES_MAX.max(base64_len(bytes.len()))
}

/// How long the string of these bytes is, with its quotes.
fn escaped_len(bytes: &[u8]) -> usize {
    // What an escape adds to its byte: one, or five where there is no short form. Sums this short fit two bytes.
    let added = |&b: &u8| {
        let short = (b == b'"') | (b == b'\\') | (b.wrapping_sub(0x08) < 6) & (b != 0x0b);
        u16::from(short) + 5 * u16::from((b < 0x20) & !short)
    };
    let blocks = bytes.chunks(BLOCK_LEN).map(|block| usize::from(block.iter().map(added).sum::<u16>()));
    2 + bytes.len() + blocks.sum::<usize>()
}

/// How long the base64 form of so many bytes is.
fn base64_len(len: usize) -> usize {
    BASE64_OPEN.len() + len.div_ceil(3) * 4 + BASE64_CLOSE.len()
}

/// Whether a byte of the chunk is such. Without an early exit the compiler turns this into vector instructions.
#[inline]
fn any<const N: usize>(chunk: &[u8; N], is: impl Fn(u8) -> bool) -> bool {
    chunk.iter().fold(false, |any, &b| any | is(b))
}

/// Zero when no byte is special.
#[inline]
fn special_marks(bytes: [u8; 8]) -> u64 {
    let word = u64::from_le_bytes(bytes);
    (word | control_bytes(word) | zero_bytes(word ^ repeat(b'"')) | zero_bytes(word ^ repeat(b'\\')))
        & repeat(0x80)
}

/// How many bytes are escaped at a time.
const BLOCK_LEN: usize = 64;
/// The longest escape, `\u001f`, in bytes.
const ESCAPE_LEN_MAX: usize = 6;
/// Room for an escaped block; runs are copied by the word, so one may reach over the block's end.
type EscapedBlock = [u8; BLOCK_LEN * ESCAPE_LEN_MAX + 8];

fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let (blocks, rest) = bytes.as_chunks::<BLOCK_LEN>();
    let mut escaped: EscapedBlock = [0; _];
    for block in blocks {
        if any(block, needs_escape) {
            let len = escape_block(block, &mut escaped);
            out.extend_from_slice(&escaped[..len]);
        } else {
            out.extend_from_slice(block);
        }
    }
    let len = escape_block(rest, &mut escaped);
    out.extend_from_slice(&escaped[..len]);
    out.push(b'"');
}

/// Escapes at most [`BLOCK_LEN`] bytes and returns how many they became.
fn escape_block(block: &[u8], out: &mut EscapedBlock) -> usize {
    let (mut at, mut len) = (0, 0);
    while at < block.len() {
        if let Some(word) = block[at..].first_chunk::<8>() {
            // All eight bytes are copied, and counted as far as none needs an escape.
            out[len..len + 8].copy_from_slice(word);
            let run = first_to_escape(u64::from_le_bytes(*word));
            at += run;
            len += run;
            if run == 8 {
                continue;
            }
        } else if !needs_escape(block[at]) {
            out[len] = block[at];
            at += 1;
            len += 1;
            continue;
        }
        let (escape, escape_len) = escape(block[at]);
        out[len..len + ESCAPE_LEN_MAX].copy_from_slice(&escape);
        at += 1;
        len += escape_len;
    }
    len
}

/// The index of the first byte of a little-endian word that needs an escape; 8 when none does.
#[inline]
fn first_to_escape(word: u64) -> usize {
    first_marked(control_bytes(word) | zero_bytes(word ^ repeat(b'"')) | zero_bytes(word ^ repeat(b'\\')))
}

/// The byte in every byte of a word.
pub(super) const fn repeat(b: u8) -> u64 {
    u64::from_le_bytes([b; 8])
}

/// Marks, by its highest bit, the lowest byte of `word` that is zero. Bytes above that one may be marked too: a
/// subtraction borrows from them.
#[inline]
pub(super) const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeat(1)) & !word & repeat(0x80)
}

/// Marks the lowest byte of `word` that is a control character, as [`zero_bytes`] does.
#[inline]
const fn control_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeat(0x20)) & !word & repeat(0x80)
}

/// The index of the lowest byte that is marked; 8 when none is.
#[inline]
pub(super) const fn first_marked(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

/// An escape and its length; the bytes behind it mean nothing.
#[inline]
fn escape(b: u8) -> ([u8; ESCAPE_LEN_MAX], usize) {
    let short = match b {
        b'"' | b'\\' => b,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let [high, low] = [b >> 4, b & 15].map(|nibble| b"0123456789abcdef"[usize::from(nibble)]);
            return ([b'\\', b'u', b'0', b'0', high, low], ESCAPE_LEN_MAX);
        }
    };
    ([b'\\', short, 0, 0, 0, 0], 2)
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

/// Appends what the inside of a JSON string, without its quotes, stands for. Otherwise says how far it got, with `out`
/// as it was: an unknown escape, or half of a surrogate pair, stands there.
pub(super) fn unescape(inside: &[u8], out: &mut Vec<u8>) -> Result<(), usize> {
    let start = out.len();
    // No escape is shorter than what it stands for; runs are copied by the word, so one may reach over the end.
    out.resize(start + inside.len() + 8, 0);
    let unescaped = unescape_to(inside, &mut out[start..]);
    out.truncate(start + unescaped.unwrap_or(0));
    unescaped.map(drop)
}

/// Unescapes into `out`, which is at least eight bytes longer than `inside`; returns the length.
fn unescape_to(inside: &[u8], out: &mut [u8]) -> Result<usize, usize> {
    let (mut at, mut len) = (0, 0);
    while at < inside.len() {
        if let Some(word) = inside[at..].first_chunk::<8>() {
            out[len..len + 8].copy_from_slice(word);
            let run = first_marked(zero_bytes(u64::from_le_bytes(*word) ^ repeat(b'\\')));
            at += run;
            len += run;
            if run == 8 {
                continue;
            }
        } else if inside[at] != b'\\' {
            out[len] = inside[at];
            at += 1;
            len += 1;
            continue;
        }
        let short = match inside.get(at + 1) {
            Some(&b @ (b'"' | b'\\' | b'/')) => b,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'u') => {
                let (char, escape_len) = unicode_escape(&inside[at..]).ok_or(at)?;
                len += char.encode_utf8(&mut out[len..]).len();
                at += escape_len;
                continue;
            }
            _ => return Err(at),
        };
        out[len] = short;
        len += 1;
        at += 2;
    }
    Ok(len)
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
    fn what_is_short_stays_readable() {
        let limit = ESCAPED_BYTES_MAX;
        // Two quotes and six bytes each.
        let control = vec![1; (limit - 2) / 6];
        assert_eq!(Text::of(&control), Text::Utf8);
        assert!(pushed(&control).len() <= limit);
        assert_eq!(Text::of(&vec![1; control.len() + 1]), Text::Binary);
        // Escapes that cost less than base64 stay, however many there are.
        let quotes = "\"xyz".repeat(limit);
        assert_eq!(Text::of(quotes.as_bytes()), Text::Utf8);
        assert_eq!(Text::of("\"x".repeat(limit).as_bytes()), Text::Binary);
        assert_eq!(Text::of("é\n".repeat(limit).as_bytes()), Text::Utf8);
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
        fn strings_are_those_of_serde_json(text in ".{0,40}|[\"\\\\\\x00-\x1fa-f\u{7f}é]{0,300}") {
            let json = pushed(text.as_bytes());
            prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), &text[..]);
            let mut out = Vec::new();
            prop_assert_eq!(unescape(&json[1..json.len() - 1], &mut out), Ok(()));
            prop_assert_eq!(out, text.as_bytes());
            let theirs = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(json, theirs.as_bytes());
        }

        /// A byte takes at most six in a short string, and 4/3 in a long one.
        #[test]
        fn length_is_bounded(text in "[\\x00-\x1f\"\\\\a-cé]{1,60}|[\\x00-\x03a-z]{1,60}", times in 1usize..4000) {
            let bytes = text.repeat(times).into_bytes();
            let mut escaped = Vec::new();
            push_escaped(&mut escaped, &bytes);
            prop_assert_eq!(escaped.len(), escaped_len(&bytes));
            let mut base64 = Vec::new();
            push_base64(&mut base64, &bytes);
            prop_assert_eq!(base64.len(), base64_len(bytes.len()));
            let json = pushed(&bytes);
            prop_assert!(json.len() <= ESCAPED_BYTES_MAX.max(base64.len()));
            let expected = if escaped.len() > ESCAPED_BYTES_MAX.max(base64.len()) { base64 } else { escaped };
            prop_assert!(json == expected);
        }

        #[test]
        fn anything_can_be_unescaped_or_refused(inside in "[a-z0-9\\\\u\"dD8]{0,60}") {
            let inside = inside.into_bytes();
            let mut out = Vec::new();
            match unescape(&inside, &mut out) {
                Ok(()) => prop_assert!(out.len() <= inside.len()),
                Err(at) => prop_assert!(out.is_empty() && inside[at] == b'\\'),
            }
        }
    }
}
