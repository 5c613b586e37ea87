//! Reads partition files as somebody would who knows nothing but their description: with a JSON parser, a base64
//! decoder and a CRC-32C, not with Wafka's own code.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::events::{Event, Fields, Id};

/// What every line ends in, around the checksum's 8 digits.
const SEAL: (&str, &str) = (",\"crc32c\":\"", "\"}");

/// One line of a partition's file.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    /// `event_id`.
    pub id: Id,
    /// `topic_name`.
    pub topic: Vec<u8>,
    /// `partition`.
    pub partition: u16,
    /// `offset`.
    pub offset: u64,
    /// `timestamp`.
    pub timestamp: String,
    /// `message`, as the producer sent it.
    pub fields: Fields,
}

/// The keys of a JSON object in their order, the values as they stand there.
#[derive(Debug)]
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Pairs).map(Object)
    }
}

impl Line {
    /// Reads one line, without its newline, and checks everything that the format promises.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(line).map_err(|error| format!("not UTF-8: {error}"))?;
        let unclosed = text.strip_suffix(SEAL.1).ok_or("does not end in the seal")?;
        let (covered, digits) = unclosed.rsplit_once(SEAL.0).ok_or("no crc32c at the end")?;
        let crc = format!("{:08x}", crc32c::crc32c(covered.as_bytes()));
        if digits != crc {
            return Err(format!("crc32c is {digits}, the bytes before it give {crc}"));
        }
        let Object(pairs) = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
        let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
        let [event_id, topic, partition, offset, timestamp, .., message, _crc] = pairs.as_slice() else {
            return Err(format!("too few keys: {keys:?}"));
        };
        let ends = [keys[0], keys[1], keys[2], keys[3], keys[4], keys[keys.len() - 2], keys[keys.len() - 1]];
        if ends != ["event_id", "topic_name", "partition", "offset", "timestamp", "message", "crc32c"] {
            return Err(format!("the keys are not in their order: {keys:?}"));
        }
        let line = Line {
            id: Id::parse(json(event_id.1)?),
            topic: bytes(topic.1)?,
            partition: json::<u16>(partition.1)?,
            offset: json(offset.1)?,
            timestamp: json(timestamp.1)?,
            fields: fields(message.1)?,
        };
        Ok(line)
    }

    /// Its id and fields.
    #[must_use]
    pub fn event(self) -> Event {
        (self.id, self.fields)
    }
}

fn json<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|error| format!("{}: {error}", raw.get()))
}

/// The bytes that a value stands for: a string, `{"base64":"…"}`, or JSON that is itself the value.
fn bytes(raw: &RawValue) -> Result<Vec<u8>, String> {
    let text = raw.get();
    if text.starts_with('"') {
        return json::<String>(raw).map(String::into_bytes);
    }
    if let Ok(Object(pairs)) = serde_json::from_str::<Object<'_>>(text)
        && let [(key, value)] = pairs.as_slice()
        && key == "base64"
    {
        return STANDARD.decode(json::<String>(value)?).map_err(|error| format!("{text}: {error}"));
    }
    Ok(text.as_bytes().to_vec())
}

fn fields(message: &RawValue) -> Result<Fields, String> {
    let mut fields = Fields::new();
    if message.get().starts_with('{') {
        let Object(pairs) = json(message)?;
        for (field, value) in pairs {
            fields.push(field.into_bytes());
            fields.push(bytes(value)?);
        }
    } else {
        for (field, value) in json::<Vec<(&RawValue, &RawValue)>>(message)? {
            fields.push(bytes(field)?);
            fields.push(bytes(value)?);
        }
    }
    Ok(fields)
}

/// The file of a topic's partition in database 0; `stem` is the topic's name as file names show it.
#[must_use]
pub fn path(data_dir: &Path, stem: &str, partition: u16) -> PathBuf {
    data_dir.join(format!("{stem}-{partition}.txt"))
}

/// Reads a partition's file whole: every line must be whole, of this topic and partition, ids and offsets going up.
///
/// # Panics
/// When anything is wrong with it.
#[must_use]
#[track_caller]
pub fn read(data_dir: &Path, topic: &str, partition: u16) -> Vec<Line> {
    let path = path(data_dir, topic, partition);
    let content = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (lines, rest) = read_whole_lines(&path, &content);
    assert!(rest.is_empty(), "{}: an unfinished last line: {}", path.display(), rest.escape_ascii());
    for line in &lines {
        assert_eq!(
            (line.topic.as_slice(), line.partition),
            (topic.as_bytes(), partition),
            "{}",
            path.display()
        );
    }
    lines
}

/// Reads the lines that end in a newline, and returns what follows them beside.
///
/// # Panics
/// When anything is wrong with them.
#[must_use]
#[track_caller]
pub fn read_whole_lines<'a>(path: &Path, content: &'a [u8]) -> (Vec<Line>, &'a [u8]) {
    let end = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut lines: Vec<Line> = Vec::new();
    for (number, text) in content[..end].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let line = Line::parse(&text[..text.len() - 1]).unwrap_or_else(|reason| {
            panic!("{} line {}: {reason}:\n{}", path.display(), number + 1, text.escape_ascii())
        });
        if let Some(before) = lines.last() {
            assert!(before.id < line.id, "{}: {} before {}", path.display(), before.id, line.id);
            assert!(
                before.offset < line.offset,
                "{}: offset {} before {}",
                path.display(),
                before.offset,
                line.offset
            );
        }
        lines.push(line);
    }
    (lines, &content[end..])
}
