//! Which values are stored as the JSON they are.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// How deep a value stored verbatim may nest: with the line around it, it stays below the limits of common parsers
/// (128 in `serde_json`).
pub(super) const DEPTH_MAX: usize = 100;

/// Whether `value` is stored as it stands: a JSON object or array, from its first byte to its last and on one line,
/// that any parser reads and that cannot be taken for the base64 form.
///
/// Not among them are, so that other readers of the file neither fail nor misread it: an object whose only key is
/// `base64` however it is spelled, what nests deeper than [`DEPTH_MAX`], half of an escaped surrogate pair, and
/// numbers beyond the range of an IEEE 754 double.
pub(super) fn is_verbatim(value: &[u8]) -> bool {
    if !matches!((value.first(), value.last()), (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']'))) {
        return false;
    }
    if memchr::memchr2(b'\n', b'\r', value).is_some() {
        return false;
    }
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let mut json = serde_json::Deserializer::from_str(text);
    let shape = Value { depth_left: DEPTH_MAX }.deserialize(&mut json);
    matches!(shape, Ok(Shape::Other)) && json.end().is_ok()
}

/// What a valid value looks like.
enum Shape {
    /// An object with the key `base64` and no other.
    LikeBase64,
    Other,
}

/// Reads one value in full and keeps nothing of it.
#[derive(Clone, Copy)]
struct Value {
    depth_left: usize,
}

impl Value {
    fn inner<E: Error>(self) -> Result<Self, E> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(|| E::custom("nests too deeply"))?;
        Ok(Value { depth_left })
    }
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let inner = self.inner()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(Shape::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Shape, A::Error> {
        let inner = self.inner()?;
        let (mut keys, mut base64_keys) = (0u64, 0u64);
        while let Some(IsBase64(is_base64)) = entries.next_key()? {
            entries.next_value_seed(inner)?;
            keys += 1;
            base64_keys += u64::from(is_base64);
        }
        // Readers merge keys that repeat, so an object may hold `base64` twice and still have one key.
        Ok(if keys > 0 && keys == base64_keys { Shape::LikeBase64 } else { Shape::Other })
    }
}

/// Whether a key is `base64`.
struct IsBase64(bool);

impl<'de> Deserialize<'de> for IsBase64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl Visitor<'_> for Key {
            type Value = IsBase64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: Error>(self, key: &str) -> Result<IsBase64, E> {
                Ok(IsBase64(key == "base64"))
            }
        }
        deserializer.deserialize_str(Key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_verbatim() {
        for value in [
            "{}",
            "[]",
            r#"{"a":1,"b":[true,null,"x\u0000\ud83d\ude00"],"é":-1.5e300}"#,
            "[ 1 ,\t2 ]",
            r#"{"base64":"eA==","x":1}"#,
            r#"[{"base64":"eA=="}]"#,
            r#"{"x":{"base64":"eA=="}}"#,
        ] {
            assert!(is_verbatim(value.as_bytes()), "{value}");
        }
        assert!(is_verbatim(nested(DEPTH_MAX).as_bytes()));
    }

    #[test]
    fn what_is_stored_as_a_string() {
        for value in [
            "",
            "1",
            "\"x\"",
            "{",
            "[}",
            "[1,]",
            "[01]",
            "{}{}",
            "{} ",
            " {}",
            "[1\n]",
            "[1\r]",
            "[\"a\nb\"]",
            "[\"a\0b\"]",
            "[nul]",
            "[NaN]",
            "[1e999]",
            r#"{"a" 1}"#,
            r#"["\ud800"]"#,
            r#"["\ude00\ud83d"]"#,
            r#"{"\ud800":1}"#,
            r#"{"base64":"eA=="}"#,
            r#"{ "base64" : "eA==" }"#,
            r#"{"base64":1}"#,
            r#"{"\u0062ase64":"x"}"#,
            r#"{"base64":"a","base64":"b"}"#,
        ] {
            assert!(!is_verbatim(value.as_bytes()), "{value}");
        }
        assert!(!is_verbatim(b"[\"\xff\"]"));
        assert!(!is_verbatim(nested(DEPTH_MAX + 1).as_bytes()));
        assert!(!is_verbatim(nested(100_000).as_bytes()));
        assert!(!is_verbatim("[".repeat(100_000).as_bytes()));
    }

    fn nested(depth: usize) -> String {
        "[".repeat(depth) + &"]".repeat(depth)
    }
}
