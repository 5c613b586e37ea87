//! What stands in a commit journal's file.
//!
//! ```text
//! 0      4096   8192                                                       8192 + bytes
//! │header│header│ … free … │record│record│record│ … free …                 │
//!                          └ position, since
//! header  {"wafka_commit_journal":1,"update":7,"run":3,"since":120,"position":5310,"bytes":16777216,"crc32c":"…"}
//! record  {"commit":120,"run":3,"entries":[{"log":"deliveries-1.txt","position":881,"bytes":240},…],"bytes":960,
//!          "data_crc32c":"…","crc32c":"…"}, a newline, and the bytes of the entries one after the other
//! ```
//!
//! The two headers are written in turn, so that one is always whole; the one with the higher `update` counts. `since`
//! is the first record that matters and `position` where it stands (or would stand), counted from 8192 on. A record may
//! be followed by blanks and a newline, up to the next multiple of 4096, where the next one begins then. One
//! that does not fit before the end stands at position 0. `run` changes with every start, so that a record left over
//! from an earlier one is never taken for a new one.

use crc_fast::{CrcAlgorithm, Digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::turn::Turn;
use crate::line;

/// The size of a header's slot: written as one page.
pub(super) const HEADER_BYTES: usize = 4096;
/// Where records begin in the file.
pub(super) const RECORDS_START: u64 = 2 * HEADER_BYTES as u64;
/// The version of this format.
const VERSION: u32 = 1;

/// Which records matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    wafka_commit_journal: u32,
    /// Counts the headers written.
    pub update: u64,
    /// Counts the starts.
    pub run: u64,
    /// The number of the first record that matters.
    pub since: u64,
    /// Where that record stands.
    pub position: u64,
    /// How many bytes there are for records.
    pub bytes: u64,
}

impl Header {
    /// The header of a new file.
    pub fn new(bytes: u64) -> Self {
        Header { wafka_commit_journal: VERSION, update: 0, run: 1, since: 1, position: 0, bytes }
    }

    /// Where it belongs in the file.
    pub fn slot(&self) -> u64 {
        (self.update % 2) * HEADER_BYTES as u64
    }

    /// A whole slot.
    pub fn encode(&self) -> Vec<u8> {
        let mut slot = serde_json::to_vec(self).expect("invariant: a struct of numbers is JSON");
        slot.pop();
        line::seal(&mut slot, 0);
        slot.resize(HEADER_BYTES - 1, b' ');
        slot.push(b'\n');
        slot
    }

    /// The header in a slot; `None` when none was ever written to it.
    fn decode(slot: &[u8]) -> Result<Option<Header>, String> {
        if slot.iter().all(|b| matches!(b, b' ' | b'\n' | 0)) {
            return Ok(None);
        }
        let line = slot.split(|b| *b == b'\n').next().unwrap_or_default();
        let header: Header = decode_line(line)?;
        match header.wafka_commit_journal {
            VERSION => Ok(Some(header)),
            other => Err(format!("format version {other}, expected {VERSION}")),
        }
    }

    /// The header that counts, of the first two slots of a file; `None` when the file was never finished.
    pub fn newest(slots: &[u8]) -> Result<Option<Header>, String> {
        let Some((first, second)) = slots.split_at_checked(HEADER_BYTES) else { return Ok(None) };
        match (Header::decode(first), Header::decode(second)) {
            (Ok(first), Ok(second)) => Ok(first.into_iter().chain(second).max_by_key(|header| header.update)),
            // One may be torn: by the loss of power that it was being written at. The very first one is alone.
            (Ok(whole), Err(_)) | (Err(_), Ok(whole)) => Ok(whole),
            (Err(reason), Err(_)) => Err(reason),
        }
    }
}

/// Bytes of a log that a record holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The log as it is displayed: its file relative to the data directory.
    pub log: String,
    /// Where the bytes belong in its file.
    pub position: u64,
    /// How many there are.
    pub bytes: u64,
}

/// What a record begins with.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(super) struct RecordLine {
    /// The record's number; the next one's is one higher.
    pub commit: u64,
    /// See [`Header::run`].
    pub run: u64,
    /// What is in it.
    pub entries: Vec<Entry>,
    /// How many bytes of data follow the line.
    pub bytes: u64,
    data_crc32c: String,
}

impl RecordLine {
    pub fn decode(line: &[u8]) -> Option<Self> {
        let record: RecordLine = decode_line(line).ok()?;
        let bytes = record.entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.bytes))?;
        (bytes == record.bytes).then_some(record)
    }

    /// Whether these are the bytes it was written with.
    pub fn holds(&self, data: &[u8]) -> bool {
        format!("{:08x}", crc_fast::crc32_iscsi(data)) == self.data_crc32c
    }
}

/// Writes a record of a turn's entries into `out`. `early` are the bytes of those that were not copied when they were
/// appended; they come first.
pub(super) fn encode(commit: u64, run: u64, turn: &Turn, early: &[u8], out: &mut Vec<u8>) {
    let mut number = itoa::Buffer::new();
    let start = out.len();
    let mut field = |out: &mut Vec<u8>, name: &str, value: u64| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(number.format(value).as_bytes());
    };
    field(out, "{\"commit\":", commit);
    field(out, ",\"run\":", run);
    out.extend_from_slice(b",\"entries\":[");
    for (index, entry) in turn.entries().enumerate() {
        // A log's name is plain: it was checked when the log was opened.
        out.extend_from_slice(if index == 0 { b"{\"log\":\"" } else { b",{\"log\":\"" });
        out.extend_from_slice(entry.log.displayed.as_bytes());
        field(out, "\",\"position\":", entry.position);
        field(out, ",\"bytes\":", entry.bytes);
        out.push(b'}');
    }
    field(out, "],\"bytes\":", (early.len() + turn.data.len()) as u64);
    let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
    crc.update(early);
    crc.update(&turn.data);
    let crc = crc.finalize();
    out.extend_from_slice(format!(",\"data_crc32c\":\"{crc:08x}\"").as_bytes());
    line::seal(out, start);
    out.extend_from_slice(early);
    out.extend_from_slice(&turn.data);
}

/// Parses a sealed line.
fn decode_line<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    let covered = line::verify(line).map_err(|error| error.to_string())?;
    serde_json::from_slice(&[covered, b"}"].concat()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_header_counts_and_one_may_be_torn() {
        let blank = vec![b' '; HEADER_BYTES];
        let older = Header { since: 5, ..Header::new(100) };
        let newer = Header { update: 1, since: 9, position: 7, ..older };
        let slots = |a: &[u8], b: &[u8]| Header::newest(&[a, b].concat());
        assert_eq!((older.slot(), newer.slot()), (0, HEADER_BYTES as u64));
        assert_eq!(slots(&older.encode(), &newer.encode()), Ok(Some(newer)));
        assert_eq!(slots(&newer.encode(), &older.encode()), Ok(Some(newer)));
        assert_eq!(slots(&older.encode(), &blank), Ok(Some(older)));
        assert_eq!(slots(&blank, &blank), Ok(None));
        let mut torn = newer.encode();
        torn[20] ^= 1;
        assert_eq!(slots(&older.encode(), &torn), Ok(Some(older)));
        assert_eq!(slots(&torn, &blank), Ok(None));
        assert!(slots(&torn, &torn).is_err());
        assert_eq!(Header::newest(&older.encode()[..50]), Ok(None));
        let other = Header { wafka_commit_journal: 2, ..older }.encode();
        assert_eq!(slots(&other, &other), Err("format version 2, expected 1".to_owned()));
    }
}
