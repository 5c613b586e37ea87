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
use super::json::{first_marked, repeat};

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
    let crc = crc_fast::crc32_iscsi(out.get(line_start..).unwrap_or_default());
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
    let (covered, digits) = split(line).ok_or(LineError::NoSeal)?;
    let expected = crc_fast::crc32_iscsi(covered);
    if *digits == to_hex(expected) {
        return Ok(covered);
    }
    let found = from_hex(digits).ok_or(LineError::NoSeal)?;
    Err(LineError::Checksum { expected, found })
}

/// The bytes of a line that its checksum covers, the checksum unseen: for lines that were verified before, or never left
/// the memory.
///
/// # Errors
/// [`LineError::NoSeal`] when the line does not end in a seal.
pub fn covered(line: &[u8]) -> Result<&[u8], LineError> {
    split(line).map(|(covered, _)| covered).ok_or(LineError::NoSeal)
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
#[inline(always)]
pub(super) fn leading_u64(bytes: &[u8]) -> Option<(u64, usize)> {
    let (mut value, mut len) = (0u64, 0);
    let words = bytes.as_chunks::<8>().0.iter();
    let ended = words.map(|word| leading_digits(*word)).any(|(part, digits)| {
        value = value.wrapping_mul(POWERS_OF_TEN[digits]).wrapping_add(part);
        len += digits;
        digits < 8
    });
    if !ended {
        for digit in bytes[len..].iter().map(|b| b.wrapping_sub(b'0')).take_while(|digit| *digit < 10) {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            len += 1;
        }
    }
    match len {
        0 => None,
        1 => Some((value, 1)),
        _ if bytes[0] == b'0' => None,
        // So many digits always fit 64 bits.
        2..=19 => Some((value, len)),
        _ => Some((checked_u64(&bytes[..len])?, len)),
    }
}

const POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The number that the digits at the beginning of `bytes` make, and how many there are: all worked on at once in one
/// word.
#[inline(always)]
fn leading_digits(bytes: [u8; 8]) -> (u64, usize) {
    let word = u64::from_le_bytes(bytes) ^ repeat(b'0');
    // From 10 on, adding 0x76 reaches the highest bit. What carries into the next byte is above 0x80, and marked itself.
    let len = first_marked((word.wrapping_add(repeat(0x76)) | word) & repeat(0x80));
    // The digits as the last ones of eight: the first digit is in the lowest byte.
    let digits = word.checked_shl(64 - 8 * len as u32).unwrap_or(0);
    // Neighbours become numbers of two digits, those of four, and those of eight.
    let twos = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = twos.wrapping_mul(100).wrapping_add(twos >> 16) & 0x0000_ffff_0000_ffff;
    let eight = fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff;
    (eight, len)
}

/// The value of decimal digits if it fits.
#[cold]
fn checked_u64(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, b| value.checked_mul(10)?.checked_add(u64::from(b - b'0')))
}

/// Splits a line into the covered bytes and the digits of its seal.
#[inline]
fn split(line: &[u8]) -> Option<(&[u8], &[u8; DIGITS])> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (covered, seal) = line.split_at_checked(line.len().checked_sub(SEAL_LEN)?)?;
    let digits = seal.strip_prefix(SEAL_OPEN)?.strip_suffix(SEAL_CLOSE)?;
    Some((covered, digits.as_array()?))
}

/// The hex digits of a checksum, all eight worked on at once in one word.
#[inline]
fn to_hex(crc: u32) -> [u8; DIGITS] {
    // One nibble to a byte, the first digit in the highest.
    let mut nibbles = u64::from(crc);
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & repeat(0x0f);
    // From 10 on, adding 6 carries into the high nibble: those become letters.
    let letters = ((nibbles + repeat(6)) >> 4) & repeat(1);
    (nibbles + repeat(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

fn from_hex(digits: &[u8; DIGITS]) -> Option<u32> {
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
        fn hex_digits_are_those_of_the_formatter(crc: u32) {
            let digits = to_hex(crc);
            prop_assert_eq!(std::str::from_utf8(&digits).unwrap(), format!("{crc:08x}"));
            prop_assert_eq!(from_hex(&digits), Some(crc));
        }

        #[test]
        fn numbers_end_where_their_digits_end(value: u64, cut in 0u32..64, rest in "[^0-9].{0,10}|") {
            let value = value >> cut;
            let text = value.to_string();
            prop_assert_eq!(leading_u64(format!("{text}{rest}").as_bytes()), Some((value, text.len())));
            prop_assert_eq!(leading_u64(format!("0{text}").as_bytes()), None);
            prop_assert_eq!(leading_u64(format!("2{value:020}").as_bytes()), None);
        }

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
