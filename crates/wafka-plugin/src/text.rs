//! Text that comes from a plugin: it may be anything.

use std::borrow::Cow;

use wafka_plugin_abi::Bytes;

/// The longest text of a plugin that is shown, in bytes.
const SHOWN_MAX: usize = 8 * 1024;

/// Makes bytes fit to be shown in one line of a log or an error: what is no UTF-8 is replaced, control characters are
/// escaped, and what is too long is cut.
pub(crate) fn shown(bytes: &[u8]) -> Cow<'_, str> {
    let (head, cut) = match bytes.get(..SHOWN_MAX) {
        Some(head) if bytes.len() > SHOWN_MAX => (head, true),
        _ => (bytes, false),
    };
    let text = String::from_utf8_lossy(head);
    if !cut && !text.chars().any(char::is_control) {
        return text;
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if character.is_control() {
            clean.extend(character.escape_default());
        } else {
            clean.push(character);
        }
    }
    if cut {
        clean.push('…');
    }
    Cow::Owned(clean)
}

/// The bytes that a plugin lends for the duration of a call; what cannot be bytes counts as none.
///
/// # Safety
/// As [`Bytes::get`].
pub(crate) unsafe fn borrowed<'a>(bytes: Bytes) -> &'a [u8] {
    // SAFETY: the caller's promise is the same.
    unsafe { bytes.get() }.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_one_clean_line() {
        assert_eq!(shown(b"plain"), "plain");
        assert_eq!(shown("häß\u{e9}".as_bytes()), "häß\u{e9}");
        assert_eq!(shown(b"a\nINFO forged\x1b[31m\0"), "a\\nINFO forged\\u{1b}[31m\\u{0}");
        assert_eq!(shown(b"\xff\xfe!"), "\u{fffd}\u{fffd}!");
        let long = shown(&[b'x'; SHOWN_MAX + 1]).into_owned();
        assert_eq!(long.len(), SHOWN_MAX + '…'.len_utf8());
    }

    #[test]
    fn bytes_that_cannot_be_are_none() {
        // SAFETY: neither is read: the one is null, the other longer than memory.
        let (null, long) = unsafe {
            (
                borrowed(Bytes { ptr: std::ptr::null(), len: 5 }),
                borrowed(Bytes { ptr: b"x".as_ptr(), len: usize::MAX }),
            )
        };
        assert!(null.is_empty() && long.is_empty());
    }
}
