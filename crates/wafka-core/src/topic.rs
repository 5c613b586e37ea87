//! Topic names, the keys that name a topic or one of its partitions, and the file stems they become.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::place::PartitionId;

/// A database number, as `SELECT` takes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Database(pub u16);

/// The longest percent-encoded form of a topic name, in bytes: with a suffix it stays below the 255 bytes that file
/// systems allow.
pub const ENCODED_NAME_LEN_MAX: usize = 200;

/// The encoded form of the empty name: without it, its files would begin with a dot or a dash. No other name has it.
const ENCODED_EMPTY_NAME: &str = "%";

/// Why bytes are no topic name.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TopicNameError {
    /// The percent-encoded form is too long for a file name.
    #[error(
        "topic name too long: its percent-encoded form has {encoded_len} bytes, at most {ENCODED_NAME_LEN_MAX} are allowed"
    )]
    TooLong {
        /// The length of the encoded form, in bytes.
        encoded_len: usize,
    },
    /// The name has the form that names a partition.
    #[error("a topic name must not end in '#<digits>': that form names one partition of a topic")]
    LooksLikePartition,
}

/// A topic's name: any bytes whose file-name form is short enough. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<[u8]>);

impl TopicName {
    /// Takes the name of a whole topic.
    ///
    /// # Errors
    /// When it is too long for a file name or ends in `#<digits>`.
    pub fn new(bytes: &[u8]) -> Result<Self, TopicNameError> {
        if split_partition(bytes).is_some() {
            return Err(TopicNameError::LooksLikePartition);
        }
        let encoded_len = encoded_len(bytes);
        if encoded_len > ENCODED_NAME_LEN_MAX {
            return Err(TopicNameError::TooLong { encoded_len });
        }
        Ok(TopicName(bytes.into()))
    }

    /// The name whose [`TopicName::file_stem`] is `stem`; `None` when there is none.
    #[must_use]
    pub fn from_file_stem(stem: &str) -> Option<Self> {
        if stem == ENCODED_EMPTY_NAME {
            return Self::new(b"").ok();
        }
        let mut bytes = Vec::with_capacity(stem.len());
        let mut rest = stem.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            if first == b'%' {
                let (digits, after) = after.split_at_checked(2)?;
                bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                rest = after;
            } else {
                bytes.push(first);
                rest = after;
            }
        }
        // Only the one spelling that file_stem writes counts.
        Self::new(&bytes).ok().filter(|name| name.file_stem() == stem)
    }

    /// The bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as it stands in file names: all but `A-Za-z0-9._-`, and a leading dot, percent-encoded; the empty name is
    /// a lone `%`.
    #[must_use]
    pub fn file_stem(&self) -> String {
        if self.0.is_empty() {
            return ENCODED_EMPTY_NAME.to_owned();
        }
        let mut stem = String::with_capacity(self.0.len());
        for (at, &b) in self.0.iter().enumerate() {
            if is_plain(at, b) {
                stem.push(char::from(b));
            } else {
                stem.push('%');
                for nibble in [b >> 4, b & 15] {
                    stem.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
                }
            }
        }
        stem
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl std::borrow::Borrow<[u8]> for TopicName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

fn is_plain(at: usize, b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || (b == b'.' && at > 0)
}

fn encoded_len(bytes: &[u8]) -> usize {
    bytes.iter().enumerate().map(|(at, &b)| if is_plain(at, b) { 1 } else { 3 }).sum()
}

fn split_partition(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let hash = bytes.iter().rposition(|&b| b == b'#')?;
    let digits = &bytes[hash + 1..];
    (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).then(|| (&bytes[..hash], digits))
}

/// What a stream key on the wire names: a topic (`deliveries`), or one partition of it (`deliveries#2`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicKey<'a> {
    /// The topic's name, not yet checked.
    pub topic: &'a [u8],
    /// The partition, when the key names one. `Some(None)` when its number is 0 or does not fit: no such partition.
    pub partition: Option<Option<PartitionId>>,
}

impl<'a> TopicKey<'a> {
    /// Splits a key into topic and partition.
    #[must_use]
    pub fn parse(key: &'a [u8]) -> Self {
        // Nearly every key names a topic; the last byte alone tells.
        if !key.last().is_some_and(u8::is_ascii_digit) {
            return TopicKey { topic: key, partition: None };
        }
        match split_partition(key) {
            None => TopicKey { topic: key, partition: None },
            Some((topic, digits)) => {
                let number = std::str::from_utf8(digits).ok().and_then(|d| d.parse::<u16>().ok());
                TopicKey { topic, partition: Some(number.filter(|n| *n > 0).map(PartitionId)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn file_stems_are_percent_encoded() {
        let stem = |name: &[u8]| TopicName::new(name).unwrap().file_stem();
        assert_eq!(stem(b"deliveries"), "deliveries");
        assert_eq!(stem(b".hidden"), "%2Ehidden");
        assert_eq!(stem(b"a.b_c-9"), "a.b_c-9");
        assert_eq!(stem(b"a/b c\xff"), "a%2Fb%20c%FF");
        assert_eq!(stem(b""), "%");
        assert_eq!(stem(b"%"), "%25");
        assert_eq!(TopicName::from_file_stem(""), None);
    }

    #[test]
    fn partition_keys_are_split() {
        assert_eq!(TopicKey::parse(b"t#2"), TopicKey { topic: b"t", partition: Some(Some(PartitionId(2))) });
        assert_eq!(TopicKey::parse(b"t#0"), TopicKey { topic: b"t", partition: Some(None) });
        assert_eq!(TopicKey::parse(b"t#99999"), TopicKey { topic: b"t", partition: Some(None) });
        assert_eq!(TopicKey::parse(b"t#"), TopicKey { topic: b"t#", partition: None });
        assert_eq!(TopicKey::parse(b"t2"), TopicKey { topic: b"t2", partition: None });
    }

    #[test]
    fn bad_names_say_why() {
        assert_eq!(TopicName::new(b"t#1"), Err(TopicNameError::LooksLikePartition));
        assert_eq!(TopicName::new(&[b'/'; 70]), Err(TopicNameError::TooLong { encoded_len: 210 }));
        assert!(TopicName::new(&[b'a'; 200]).is_ok());
    }

    proptest! {
        #[test]
        fn stems_are_injective_and_safe(a in proptest::collection::vec(any::<u8>(), 0..40),
                                        b in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let (Ok(a), Ok(b)) = (TopicName::new(&a), TopicName::new(&b)) {
                prop_assert_eq!(a == b, a.file_stem() == b.file_stem());
                prop_assert_eq!(TopicName::from_file_stem(&a.file_stem()), Some(a.clone()));
                prop_assert!(!a.file_stem().starts_with('.'));
                prop_assert!(!a.file_stem().contains('/'));
            }
        }
    }
}
