//! What a plugin says about its failure.

use std::ptr;

use wafka_plugin_abi::{ErrorOut, status};

use crate::text::shown;

/// How long a text a plugin can give with a failure, in bytes.
pub(crate) const TEXT_MAX: usize = 1024;

/// The memory that a failure's text goes into.
pub(crate) type TextBuffer = [u8; TEXT_MAX];

/// An [`ErrorOut`] for one call, with its text in `buffer`.
pub(crate) fn error_out(buffer: &mut TextBuffer) -> ErrorOut {
    ErrorOut {
        struct_size: const { size_of::<ErrorOut>() as u32 },
        os_error: 0,
        value: 0,
        text: ptr::from_mut(buffer).cast(),
        text_capacity: TEXT_MAX,
        text_len: 0,
    }
}

/// A failure as the plugin tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// One of [`status`], but never [`status::OK`].
    pub(crate) status: u32,
    /// The operating system's error number, or 0.
    pub(crate) os_error: i32,
    /// What belongs to the status.
    pub(crate) value: u64,
    /// The text, as it came.
    pub(crate) text: Vec<u8>,
}

impl Failure {
    /// What the plugin left in `out`, whose text is in `buffer`, with a status that is not OK.
    pub(crate) fn take(status: u32, out: &ErrorOut, buffer: &TextBuffer) -> Self {
        // The length may be any: only what fits counts. The pointer is not read back, as it may be any by now.
        let text = &buffer[..out.text_len.min(TEXT_MAX)];
        // Nor is a NUL that ends a string in C, which is easily counted with it.
        let len = text.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        Failure { status, os_error: out.os_error, value: out.value, text: text[..len].to_vec() }
    }

    /// The failure in one line.
    pub(crate) fn to_line(&self) -> String {
        let said = shown(&self.text);
        let said = if said.is_empty() { "no reason given" } else { &said };
        match self.status {
            status::PANICKED => format!("panicked: {said}"),
            status::OK..=status::NOT_OWNER => said.to_owned(),
            unknown => format!("{said} (unknown status {unknown})"),
        }
    }

    /// The option's key and what was expected of it, when the text has both.
    pub(crate) fn option(&self) -> Option<(String, String)> {
        let nul = self.text.iter().position(|&byte| byte == 0)?;
        Some((shown(&self.text[..nul]).into_owned(), shown(&self.text[nul + 1..]).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_leaves_is_not_trusted() {
        let mut buffer = [b'x'; TEXT_MAX];
        let mut out = error_out(&mut buffer);
        out.text_len = usize::MAX;
        out.text = ptr::null_mut();
        let failure = Failure::take(status::FAILED, &out, &buffer);
        assert_eq!(failure.text, [b'x'; TEXT_MAX]);
        out.text_len = 0;
        assert_eq!(Failure::take(77, &out, &buffer).to_line(), "no reason given (unknown status 77)");
    }

    #[test]
    fn options_are_told_apart_from_text() {
        let failure =
            |text: &[u8]| Failure { status: status::BAD_OPTION, os_error: 0, value: 0, text: text.to_vec() };
        let expected = Some(("weights".to_owned(), "a list, found 7".to_owned()));
        assert_eq!(failure(b"weights\0a list, found 7").option(), expected);
        assert_eq!(failure(b"weights").option(), None);
    }
}
