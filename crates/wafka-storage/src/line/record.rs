//! The lines of journals and catalogs.
//!
//! ```text
//! {"journal":<topic's name>,"offset":<n>,"timestamp":"<RFC 3339>"[,"<key>":<any JSON value>]…,"record":<any JSON value>,"crc32c":"<8 hex digits>"}\n
//! {"catalog":<name>,        …the same
//! {"transactions":<name>,   …the same
//! ```
//!
//! Without the spaces; the order is fixed; a name is written as in event lines.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use wafka_core::Offset;

use super::event::{key_value, offset, timestamp};
use super::json::{self, Text};
use super::scan::{Piece, Scan};
use super::time::Timestamp;
use super::{LineError, RecordError, seal, verify};

const JOURNAL: &str = "{\"journal\":";
const CATALOG: &str = "{\"catalog\":";
const TRANSACTIONS: &str = "{\"transactions\":";
const OFFSET: &[u8] = b",\"offset\":";
const TIMESTAMP: &[u8] = b",\"timestamp\":\"";
const RECORD: &[u8] = b",\"record\":";

/// Which log a record belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RecordKind {
    /// A topic's journal.
    Journal,
    /// The catalog.
    Catalog,
    /// The log of transactions.
    Transactions,
}

impl RecordKind {
    fn open(self) -> &'static str {
        match self {
            RecordKind::Journal => JOURNAL,
            RecordKind::Catalog => CATALOG,
            RecordKind::Transactions => TRANSACTIONS,
        }
    }
}

/// Appends the line of a record, with its newline; `now_ms` is for its `timestamp`, in milliseconds since 1970.
///
/// # Errors
/// When the record does not serialize, or to JSON on more than one line; `out` is then as it was.
pub fn encode_record<R: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    kind: RecordKind,
    name: &[u8],
    offset: Offset,
    now_ms: u64,
    record: &R,
) -> Result<(), RecordError> {
    let start = out.len();
    out.extend_from_slice(kind.open().as_bytes());
    json::push(out, name, Text::of(name));
    out.extend_from_slice(OFFSET);
    out.extend_from_slice(itoa::Buffer::new().format(offset).as_bytes());
    out.extend_from_slice(TIMESTAMP);
    out.extend_from_slice(Timestamp::new().text(now_ms));
    out.push(b'"');
    out.extend_from_slice(RECORD);
    let record_at = out.len();
    let written = serde_json::to_writer(&mut *out, record).map_err(RecordError::from);
    let one_line = || match memchr::memchr2(b'\n', b'\r', &out[record_at..]) {
        Some(_) => Err(RecordError::Newline),
        None => Ok(()),
    };
    if let Err(error) = written.and_then(|()| one_line()) {
        out.truncate(start);
        return Err(error);
    }
    seal(out, start);
    Ok(())
}

/// A journal or catalog line, taken apart.
#[derive(Clone, Debug)]
pub struct RecordLine<'a> {
    /// The line's offset in its log.
    pub offset: Offset,
    /// The kind of log it belongs to.
    pub kind: RecordKind,
    /// The record, as JSON.
    pub record: &'a str,
    covered: &'a [u8],
    name: Piece,
}

impl<'a> RecordLine<'a> {
    /// Checks a line, given with or without its newline, and takes it apart. Keys that a later version put between
    /// `timestamp` and `record` are passed over.
    ///
    /// # Errors
    /// When the line is not whole, see [`verify`], or is whole but no record line. Whether the record is what the
    /// reader wants shows when it is deserialized.
    pub fn parse(line: &'a [u8]) -> Result<Self, LineError> {
        let covered = verify(line)?;
        let mut scan = Scan::new(covered, 0);
        let kind = if scan.accept(JOURNAL.as_bytes()) {
            RecordKind::Journal
        } else if scan.accept(CATALOG.as_bytes()) {
            RecordKind::Catalog
        } else if scan.accept(TRANSACTIONS.as_bytes()) {
            RecordKind::Transactions
        } else {
            return Err(scan.error("a line of a journal, a catalog or transactions"));
        };
        let name = scan.text()?;
        let offset = offset(&mut scan)?;
        timestamp(&mut scan)?;
        while !scan.accept(RECORD) {
            key_value(&mut scan)?;
        }
        match std::str::from_utf8(scan.rest()) {
            Ok(record) if !record.is_empty() => Ok(RecordLine { offset, kind, record, covered, name }),
            _ => Err(scan.error("a record: JSON in UTF-8")),
        }
    }

    /// The topic's name, or the catalog's.
    ///
    /// # Errors
    /// When the name holds an escape or base64 that does not decode.
    pub fn name(&self) -> Result<Cow<'a, [u8]>, LineError> {
        self.name.decode(self.covered)
    }

    /// The record as a value; borrowed parts borrow from the line.
    ///
    /// # Errors
    /// When the record is no `T`.
    pub fn deserialize<T: Deserialize<'a>>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.record)
    }
}

#[cfg(test)]
mod tests {
    use super::super::offset_of;
    use super::*;
    use proptest::prelude::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(rename_all = "snake_case")]
    enum Record {
        Trimmed { below: u64 },
        Note(String),
    }

    #[test]
    fn the_lines_are_these() {
        let mut out = Vec::new();
        encode_record(
            &mut out,
            RecordKind::Journal,
            b"deliveries",
            12,
            1_795_402_577_000,
            &Record::Trimmed { below: 7 },
        )
        .unwrap();
        let journal = out.len();
        encode_record(&mut out, RecordKind::Catalog, b"\xff", 0, 0, "x").unwrap();
        let text = String::from_utf8(out.clone()).unwrap();
        let unsealed: Vec<_> =
            text.lines().map(|line| line.split_once(",\"crc32c\":\"").unwrap().0).collect();
        assert_eq!(
            unsealed,
            [
                r#"{"journal":"deliveries","offset":12,"timestamp":"2026-11-23T02:56:17.000Z","record":{"trimmed":{"below":7}}"#,
                r#"{"catalog":{"base64":"/w=="},"offset":0,"timestamp":"1970-01-01T00:00:00.000Z","record":"x""#,
            ]
        );
        let line = RecordLine::parse(&out[journal..]).unwrap();
        assert_eq!((line.kind, line.offset, line.record), (RecordKind::Catalog, 0, "\"x\""));
        assert_eq!(line.name().unwrap(), &b"\xff"[..]);
    }

    #[test]
    fn what_cannot_be_one_line_leaves_nothing_behind() {
        let mut out = b"before".to_vec();
        let raw: Box<serde_json::value::RawValue> = serde_json::from_str("{\n}").unwrap();
        let newline = encode_record(&mut out, RecordKind::Journal, b"a", 0, 0, &raw);
        assert!(matches!(newline, Err(RecordError::Newline)));
        let bytes_as_key: std::collections::HashMap<(u8, u8), u8> = [((1, 2), 3)].into();
        let no_json = encode_record(&mut out, RecordKind::Journal, b"a", 0, 0, &bytes_as_key);
        assert!(matches!(no_json, Err(RecordError::Json(_))));
        assert_eq!(out, b"before");
    }

    #[test]
    fn later_keys_are_passed_over_and_event_lines_refused() {
        let mut later = br#"{"journal":"a","offset":3,"timestamp":"1970-01-01T00:00:00.000Z","by":{"record":[1,"]"]},"n":-1,"record":{"note":"x"}"#.to_vec();
        seal(&mut later, 0);
        let line = RecordLine::parse(&later).unwrap();
        assert_eq!(line.deserialize::<Record>().unwrap(), Record::Note("x".into()));
        let mut event = br#"{"event_id":"1-0","topic_name":"a""#.to_vec();
        seal(&mut event, 0);
        assert_eq!(
            RecordLine::parse(&event).unwrap_err(),
            LineError::Syntax { at: 0, expected: "a line of a journal, a catalog or transactions" }
        );
    }

    proptest! {
        #[test]
        fn records_round_trip(name: Vec<u8>, offset: u64, now_ms: u64, note: String, kind in 0..3_usize) {
            let kind = [RecordKind::Journal, RecordKind::Catalog, RecordKind::Transactions][kind];
            let mut out = Vec::new();
            let record = Record::Note(note);
            encode_record(&mut out, kind, &name, offset, now_ms, &record).unwrap();
            prop_assert_eq!(memchr::memchr2(b'\n', 0, &out), Some(out.len() - 1));
            prop_assert_eq!(offset_of(&out), Some(offset));
            let line = RecordLine::parse(&out).unwrap();
            prop_assert_eq!((line.kind, line.offset), (kind, offset));
            prop_assert_eq!(line.name().unwrap(), name);
            prop_assert_eq!(line.deserialize::<Record>().unwrap(), record);
            serde_json::from_slice::<serde_json::Value>(&out).unwrap();
        }

        #[test]
        fn no_bytes_make_parsing_panic(content in "\\{\"(journal|catalog)\":\"a\",\"offset\":1,\"timestamp\":\"[0-9]{0,30}\"?[\\[\\]{}\",:\\\\rcdo]{0,30}(,\"record\":1?)?") {
            let mut line = content.into_bytes();
            seal(&mut line, 0);
            if let Ok(record) = RecordLine::parse(&line) {
                prop_assert_eq!(offset_of(&line), Some(record.offset));
                let _ = record.deserialize::<Record>();
            }
        }
    }
}
