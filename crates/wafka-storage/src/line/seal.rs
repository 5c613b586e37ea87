//! What makes any line of any log whole: a checksum at its end.
//!
//! ```text
//! {"…":…, … ,"crc32c":"1a2b3c4d"}\n
//! └─ covered ┘└──── the seal ────┘
//! ```
//!
//! The checksum is CRC-32C (Castagnoli, RFC 3720 §B.4) as 8 lower-case hex digits, over every byte of the line that
//! stands before the comma of `,"crc32c":`. The seal has one spelling only, so a change of any byte of a line shows.

use memchr::memchr_iter;
use wafka_core::Offset;

use super::LineError;

/// What stands between the covered bytes and the digits.
const SEAL_OPEN: &[u8; 11] = b",\"crc32c\":\"";
/// How many hex digits the checksum has.
const DIGITS: usize = 8;
/// What stands behind the digits, without the newline.
const SEAL_CLOSE: &[u8; 2] = b"\"}";
/// The length of the seal in bytes, without the newline.
const SEAL_LEN: usize = SEAL_OPEN.len() + DIGITS + SEAL_CLOSE.len();
/// The key that every line of every log holds once, before anything of a producer's but the topic name.
const OFFSET_KEY: &[u8] = b",\"offset\":";

/// Ends the line that begins at `out[line_start]`: appends `,"crc32c":"xxxxxxxx"}` and a newline. What stands there is
/// a JSON object with at least one key, still open. A `line_start` beyond the end counts as the end.
pub fn seal(out: &mut Vec<u8>, line_start: usize) {
    let crc = crc32c::crc32c(out.get(line_start..).unwrap_or_default());
    let mut tail = [b'\n'; SEAL_LEN + 1];
    tail[..SEAL_OPEN.len()].copy_from_slice(SEAL_OPEN);
    tail[SEAL_OPEN.len()..SEAL_OPEN.len() + DIGITS].copy_from_slice(&to_hex(crc));
    tail[SEAL_OPEN.len() + DIGITS..SEAL_LEN].copy_from_slice(SEAL_CLOSE);
    out.extend_from_slice(&tail);
}

/// Checks a line, given with or without its newline, and returns the bytes that the checksum covers: the object up to,
/// not including, the comma before `"crc32c"`.
///
/// # Errors
/// [`LineError::NoSeal`] when the line does not end in a seal, [`LineError::Checksum`] when its bytes are not those
/// that were sealed.
pub fn verify(line: &[u8]) -> Result<&[u8], LineError> {
    let (covered, found) = split(line).ok_or(LineError::NoSeal)?;
    let expected = crc32c::crc32c(covered);
    if expected == found { Ok(covered) } else { Err(LineError::Checksum { expected, found }) }
}

/// The line's offset: the number behind the first `,"offset":`. Nothing is verified.
///
/// Only a topic name stands before that key, and its quotes are escaped, so the first occurrence is the key itself.
#[must_use]
pub fn offset_of(line: &[u8]) -> Option<Offset> {
    let at = memchr_iter(b',', line).find(|&comma| line[comma..].starts_with(OFFSET_KEY))?;
    let (offset, len) = leading_u64(&line[at + OFFSET_KEY.len()..])?;
    (line.get(at + OFFSET_KEY.len() + len) == Some(&b',')).then_some(offset)
}

/// The decimal number that `bytes` begins with, and its length: without sign, without leading zeros, within 64 bits.
pub(super) fn leading_u64(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value: u64 = 0;
    let mut len = 0;
    while let Some(digit) = bytes.get(len).map(|b| b.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
        // 19 digits always fit; only from the 20th on can the number be too large.
        value = if len < 19 {
            value * 10 + u64::from(digit)
        } else {
            value.checked_mul(10)?.checked_add(u64::from(digit))?
        };
        len += 1;
    }
    (len == 1 || (len > 1 && bytes[0] != b'0')).then_some((value, len))
}

/// Splits a line into the covered bytes and the checksum its seal states.
fn split(line: &[u8]) -> Option<(&[u8], u32)> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (covered, seal) = line.split_at_checked(line.len().checked_sub(SEAL_LEN)?)?;
    let digits = seal.strip_prefix(SEAL_OPEN)?.strip_suffix(SEAL_CLOSE)?;
    Some((covered, from_hex(digits)?))
}

fn to_hex(crc: u32) -> [u8; DIGITS] {
    let mut digits = [0; DIGITS];
    for (digit, shift) in digits.iter_mut().zip((0..8).rev()) {
        let nibble = (crc >> (4 * shift)) & 15;
        *digit = b"0123456789abcdef"[nibble as usize];
    }
    digits
}

fn from_hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |crc, &b| {
        let nibble = match b {
            b'0'..=b'9' => b - b'0',
            b'a'..=b'f' => b - b'a' + 10,
            _ => return None,
        };
        Some(crc << 4 | u32::from(nibble))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealed(content: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        out.extend_from_slice(content);
        seal(&mut out, 6);
        out.split_off(6)
    }

    #[test]
    fn a_sealed_line_is_whole_with_and_without_its_newline() {
        // 0xe3069283 is the check value of CRC-32C for "123456789".
        let line = sealed(b"123456789");
        assert_eq!(line, b"123456789,\"crc32c\":\"e3069283\"}\n");
        assert_eq!(verify(&line), Ok(&b"123456789"[..]));
        assert_eq!(verify(&line[..line.len() - 1]), Ok(&b"123456789"[..]));
    }

    #[test]
    fn what_is_cut_is_no_line() {
        let line = sealed(b"{\"a\":1");
        for len in 0..line.len() - 1 {
            assert_eq!(verify(&line[..len]), Err(LineError::NoSeal), "{len}");
        }
    }

    #[test]
    fn the_offset_is_found_behind_a_name_that_imitates_it() {
        let line = br#"{"journal":"a,\"offset\":7,","offset":18446744073709551615,"timestamp":"#;
        assert_eq!(offset_of(line), Some(u64::MAX));
        for bad in
            ["", ",\"offset\":", ",\"offset\":7", ",\"offset\":07,", ",\"offset\":18446744073709551616,"]
        {
            assert_eq!(offset_of(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_change_of_any_byte_shows(content: Vec<u8>, at: prop::sample::Index, flip in 1u8..) {
            let mut line = sealed(&content);
            prop_assert_eq!(verify(&line), Ok(&content[..]));
            let at = at.index(line.len());
            line[at] ^= flip;
            prop_assert!(verify(&line).is_err());
        }
    }
}
