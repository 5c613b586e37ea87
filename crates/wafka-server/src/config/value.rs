//! Values of the configuration that are more than a number or a string.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use thiserror::Error;

/// Text that is no value of the kind wanted.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("found '{found}', expected {expected}")]
pub struct ParseValueError {
    /// The text.
    pub found: String,
    /// What there can be instead.
    pub expected: &'static str,
}

/// A number of bytes: an integer, or a string with a unit as in Redis's configuration (`"64kb"`, `"512mb"`, `"1gb"`
/// are powers of 1024, `k`, `m`, `g` of 1000).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

const SIZE: &str = "a size in bytes, such as 65536, \"64kb\", \"512mb\" or \"1gb\"";

impl ByteSize {
    /// This many bytes.
    #[must_use]
    pub const fn bytes(n: u64) -> Self {
        ByteSize(n)
    }

    /// This many times 1024 bytes.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        ByteSize(n * 1024)
    }

    /// This many times 1024 * 1024 bytes.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        ByteSize(n * 1024 * 1024)
    }

    /// In bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// In bytes, the largest there can be on this machine when it is more.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, ParseValueError> {
        let error = || ParseValueError { found: text.to_owned(), expected: SIZE };
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let unit: u64 = match text[digits..].trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" => 1000,
            "kb" => 1 << 10,
            "m" => 1_000_000,
            "mb" => 1 << 20,
            "g" => 1_000_000_000,
            "gb" => 1 << 30,
            _ => return Err(error()),
        };
        let number: u64 = text[..digits].parse().map_err(|_| error())?;
        number.checked_mul(unit).map(ByteSize).ok_or_else(error)
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SIZE)
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(n))
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<ByteSize, E> {
                u64::try_from(n).map(ByteSize).map_err(|_| E::invalid_value(de::Unexpected::Signed(n), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Size)
    }
}

/// Defines an enum of words, each with its spelling, and how it is read and shown.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// The word in the configuration.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word),+
                }
            }
        }

        impl FromStr for $name {
            type Err = ParseValueError;

            fn from_str(text: &str) -> Result<Self, ParseValueError> {
                match text {
                    $($word => Ok($name::$variant),)+
                    _ => Err(ParseValueError { found: text.to_owned(), expected: $expected }),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

words! {
    /// When an event is synced to disk: Redis's `appendfsync`.
    Fsync, "always, everysec or no",
    /// Before its `XADD` is answered.
    Always = "always",
    /// Once a second.
    EverySec = "everysec",
    /// When the system does so on its own.
    No = "no"
}

words! {
    /// What `XINFO` shows as the lag of a consumer group.
    Lag, "exact or redis",
    /// How many events are still to be delivered.
    Exact = "exact",
    /// Redis's own estimate, which may be null.
    Redis = "redis"
}

words! {
    /// How a line of the server's log looks.
    LogFormat, "text or json",
    /// For people.
    Text = "text",
    /// One JSON object a line.
    Json = "json"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units_as_redis_does() {
        let size = |text: &str| text.parse::<ByteSize>().map(ByteSize::get).ok();
        assert_eq!(size("0"), Some(0));
        assert_eq!(size("65536"), Some(65536));
        assert_eq!(size("64kb"), Some(65536));
        assert_eq!(size("64 KB"), Some(65536));
        assert_eq!(size("64k"), Some(64000));
        assert_eq!(size("3mb"), Some(3 << 20));
        assert_eq!(size("2gb"), Some(2 << 30));
        for bad in ["", "kb", "-1", "1.5mb", "1tb", "18446744073709551616", "18446744073709551615kb"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn words_are_read_as_they_are_shown() {
        for fsync in [Fsync::Always, Fsync::EverySec, Fsync::No] {
            assert_eq!(fsync.word().parse(), Ok(fsync));
        }
        let error = "sometimes".parse::<Fsync>().unwrap_err();
        assert_eq!(error.to_string(), "found 'sometimes', expected always, everysec or no");
    }
}
