//! The syntax of arguments that commands share: integers and glob patterns.

/// Parses a signed 64-bit decimal number as strictly as Redis's `string2ll`: no blanks, no `+`, no leading zeros, and
/// not `-0`. `None` when it is anything else or out of range.
#[must_use]
pub fn parse_i64(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [b'-', b'0', ..] => None,
        [b'-', digits @ ..] => 0_i64.checked_sub_unsigned(parse_u64(digits)?),
        digits => i64::try_from(parse_u64(digits)?).ok(),
    }
}

/// Parses an unsigned 64-bit decimal number as strictly as [`parse_i64`].
///
/// The parts of an event id are laxer in Redis, which allows them leading zeros; see
/// [`EventId`](wafka_core::EventId).
#[must_use]
pub fn parse_u64(bytes: &[u8]) -> Option<u64> {
    match bytes {
        [] | [b'0', _, ..] => None,
        _ => bytes.iter().try_fold(0_u64, |number, &byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        }),
    }
}

/// Whether `text` matches the glob `pattern` as in `KEYS`, `SCAN MATCH` and `CONFIG GET`: `*`, `?`, `[abc]`, `[^a-z]`,
/// and `\` before a byte to take it literally; `nocase` ignores ASCII case.
///
/// As Redis's `stringmatchlen`, with its treatment of malformed patterns: a class without `]` ends with the pattern,
/// a `\` at the end stands for itself. Only `*` against the empty text, which Redis's function refuses, matches here.
/// Every other element of a pattern stands for exactly one byte, so on a mismatch only the last `*` seen need be
/// stretched: the time is at most the product of the two lengths, and there is no recursion.
#[must_use]
pub fn glob_match(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where the pattern goes on after the last `*`, and how far in the text that `*` reaches.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at_pattern) == Some(&b'*') {
            at_pattern += 1;
            star = Some((at_pattern, at_text));
            continue;
        }
        let Some(&byte) = text.get(at_text) else { return at_pattern >= pattern.len() };
        if let Some(len) = match_one(&pattern[at_pattern..], byte, nocase) {
            at_pattern += len;
            at_text += 1;
            continue;
        }
        let Some((after_star, reach)) = &mut star else { return false };
        if *after_star == pattern.len() {
            return true;
        }
        *reach += 1;
        at_pattern = *after_star;
        at_text = *reach;
    }
}

/// Matches `byte` against the pattern's first element, not a `*`; the element's length in the pattern, or `None`.
fn match_one(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    match *pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', ref class @ ..] => match_class(class, byte, nocase).map(|len| len + 1),
        [b'\\', literal, ..] => same(literal, byte, nocase).then_some(2),
        [literal, ..] => same(literal, byte, nocase).then_some(1),
    }
}

/// Matches `byte` against a class, given from behind its `[`; the class's length with its `]`, or `None`.
fn match_class(class: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    let negated = class.first() == Some(&b'^');
    let mut pos = usize::from(negated);
    let mut found = false;
    loop {
        match class[pos..] {
            // Case counts for an escaped byte in Redis, whatever `nocase` says.
            [b'\\', literal, ..] => {
                found |= literal == byte;
                pos += 2;
            }
            [b']', ..] => {
                pos += 1;
                break;
            }
            [] => break,
            [first, b'-', last, ..] => {
                let (low, high) = (first.min(last), first.max(last));
                found |= if nocase {
                    (low.to_ascii_lowercase()..=high.to_ascii_lowercase())
                        .contains(&byte.to_ascii_lowercase())
                } else {
                    (low..=high).contains(&byte)
                };
                pos += 3;
            }
            [literal, ..] => {
                found |= same(literal, byte, nocase);
                pos += 1;
            }
        }
    }
    (found != negated).then_some(pos)
}

/// Whether two bytes are equal, or their lower-case forms are.
fn same(a: u8, b: u8, nocase: bool) -> bool {
    a == b || nocase && a.eq_ignore_ascii_case(&b)
}

#[cfg(test)]
mod tests;
