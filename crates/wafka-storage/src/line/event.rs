//! The event line, the only kind of line in a partition's file.
//!
//! ```text
//! {"event_id":"<ms>-<seq>","topic_name":<name>,"partition":<n>,"offset":<n>,"timestamp":"<RFC 3339>"
//!   [,"<key>":<any JSON value>]…,"message":<object or array of pairs>,"crc32c":"<8 hex digits>"}\n
//! ```
//!
//! Without the spaces and the line break shown here; the order is fixed. `<name>` is a string, or `{"base64":"…"}` when
//! it is not UTF-8 (or long and mostly to be escaped, as in a message). The keys between `timestamp` and `message` are
//! optional metadata; readers pass over what they do not know.

use std::borrow::Cow;
use std::ops::Range;

use wafka_core::{EventId, Fields, Offset, PartitionId};

use super::json::{self, Text};
use super::message::{DecodedFields, FieldBuf, MessageEncoder};
use super::scan::{Piece, Scan};
use super::time::{TIMESTAMP_LEN, Timestamp};
use super::{LineError, seal, verify};

const EVENT_ID: &str = "{\"event_id\":\"";
const TOPIC_NAME: &str = "\",\"topic_name\":";
const PARTITION: &str = ",\"partition\":";
const OFFSET: &str = ",\"offset\":";
const TIMESTAMP: &str = ",\"timestamp\":\"";
const MESSAGE: &str = ",\"message\":";
/// What a field-value pair takes beside its bytes: quotes, colon, comma, and room for a few escapes.
const PAIR_OVERHEAD: usize = 16;

/// Writes the event lines of one partition.
///
/// From one event to the next little changes before the message: the encoder keeps the line's beginning as text and
/// replaces the digits of sequence number and offset in it as long as they keep their length.
#[derive(Clone, Debug)]
pub struct EventEncoder {
    /// From behind the id to the offset: `","topic_name":…,"partition":…,"offset":`.
    middle: Vec<u8>,
    /// The line up to the end of the timestamp, as last written; empty before the first event.
    head: Vec<u8>,
    /// The millisecond that `head` is of.
    ms: u64,
    /// Where the sequence number stands in `head`.
    seq_digits: Range<usize>,
    /// Where the offset stands in `head`.
    offset_digits: Range<usize>,
    timestamp: Timestamp,
    message: MessageEncoder,
}

impl EventEncoder {
    /// An encoder for `partition` of the topic of that name.
    #[must_use]
    pub fn new(topic: &[u8], partition: PartitionId) -> Self {
        let mut middle = TOPIC_NAME.as_bytes().to_vec();
        json::push(&mut middle, topic, Text::of(topic));
        middle.extend_from_slice(PARTITION.as_bytes());
        middle.extend_from_slice(itoa::Buffer::new().format(partition.0).as_bytes());
        middle.extend_from_slice(OFFSET.as_bytes());
        EventEncoder {
            middle,
            head: Vec::new(),
            ms: 0,
            seq_digits: 0..0,
            offset_digits: 0..0,
            timestamp: Timestamp::new(),
            message: MessageEncoder::default(),
        }
    }

    /// Appends the line of one event, with its newline. `timestamp` shows `id.ms`; beyond year 9999, which RFC 3339
    /// cannot express, it shows that year's last millisecond.
    ///
    /// `metadata` holds optional keys, usually none; `message` and the other keys of the line are not among them.
    pub fn encode(
        &mut self,
        out: &mut Vec<u8>,
        id: EventId,
        offset: Offset,
        metadata: &[(&str, &[u8])],
        fields: Fields<'_>,
    ) {
        let start = out.len();
        self.set_head(id, offset);
        let parts_len: usize = fields.as_flat().iter().map(|part| part.len() + PAIR_OVERHEAD / 2).sum();
        out.reserve(self.head.len() + parts_len + 64);
        out.extend_from_slice(&self.head);
        for (key, value) in metadata {
            debug_assert!(*key != "message", "the message is no metadata");
            out.push(b',');
            json::push(out, key.as_bytes(), Text::Utf8);
            out.push(b':');
            json::push(out, value, Text::of(value));
        }
        out.extend_from_slice(MESSAGE.as_bytes());
        self.message.encode(out, fields);
        seal(out, start);
    }

    /// Appends the line of an event that stands in another partition, or in another topic's, as one of this partition's,
    /// with its newline: id, metadata and message stay as they are, byte for byte.
    pub fn copy(&mut self, out: &mut Vec<u8>, line: &EventLine<'_>, offset: Offset) {
        let start = out.len();
        self.set_head(line.id, offset);
        out.extend_from_slice(&self.head);
        out.extend_from_slice(&line.covered[line.metadata_at..]);
        seal(out, start);
    }

    /// Makes `head` that of this event.
    fn set_head(&mut self, id: EventId, offset: Offset) {
        let (mut seq_text, mut offset_text) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (seq_text, offset_text) =
            (seq_text.format(id.seq).as_bytes(), offset_text.format(offset).as_bytes());
        let fits = !self.head.is_empty()
            && self.ms == id.ms
            && self.seq_digits.len() == seq_text.len()
            && self.offset_digits.len() == offset_text.len();
        if fits {
            self.head[self.seq_digits.clone()].copy_from_slice(seq_text);
            self.head[self.offset_digits.clone()].copy_from_slice(offset_text);
            return;
        }
        let head = &mut self.head;
        head.clear();
        head.extend_from_slice(EVENT_ID.as_bytes());
        head.extend_from_slice(itoa::Buffer::new().format(id.ms).as_bytes());
        head.push(b'-');
        self.seq_digits = head.len()..head.len() + seq_text.len();
        head.extend_from_slice(seq_text);
        head.extend_from_slice(&self.middle);
        self.offset_digits = head.len()..head.len() + offset_text.len();
        head.extend_from_slice(offset_text);
        head.extend_from_slice(TIMESTAMP.as_bytes());
        head.extend_from_slice(self.timestamp.text(id.ms));
        head.push(b'"');
        self.ms = id.ms;
    }
}

/// An event line, taken apart as far as its header goes. The message is decoded by [`EventLine::fields`].
#[derive(Clone, Copy, Debug)]
pub struct EventLine<'a> {
    /// The event's id.
    pub id: EventId,
    /// The partition it belongs to.
    pub partition: PartitionId,
    /// Its offset in that partition.
    pub offset: Offset,
    /// The bytes that the checksum covers.
    covered: &'a [u8],
    id_end: usize,
    /// Where the metadata begins, or the key of the message.
    metadata_at: usize,
    message_at: usize,
}

/// The beginning of what looks like an event line, up to its offset. Nothing else of the line was looked at.
#[derive(Clone, Copy, Debug)]
pub struct EventHeader {
    /// The event's id.
    pub id: EventId,
    /// The partition it belongs to.
    pub partition: PartitionId,
    /// Its offset in that partition.
    pub offset: Offset,
    /// Where the id's text ends.
    id_end: usize,
    /// Where the timestamp begins.
    at: usize,
}

impl EventHeader {
    /// Reads the header of a line; `None` when it does not begin like an event line.
    #[inline]
    #[must_use]
    pub fn read(line: &[u8]) -> Option<Self> {
        header(&mut Scan::new(line, 0)).ok()
    }

    /// Takes apart the line that this is the header of, given as the bytes that its checksum covers.
    ///
    /// # Errors
    /// When it is no event line.
    pub fn event(self, covered: &[u8]) -> Result<EventLine<'_>, LineError> {
        let EventHeader { id, partition, offset, id_end, .. } = self;
        let (metadata_at, message_at) = self.message(covered)?;
        match (covered.get(message_at), covered.last()) {
            (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')) => {
                Ok(EventLine { id, partition, offset, covered, id_end, metadata_at, message_at })
            }
            _ => {
                let expected = "a message: an object or an array of pairs";
                Err(LineError::Syntax { at: message_at, expected })
            }
        }
    }

    /// Decodes the message of the line that this is the header of; as [`EventLine::fields`] of [`EventHeader::event`].
    ///
    /// # Errors
    /// When it is no event line, or its message not one that [`EventEncoder::encode`] writes.
    #[inline]
    pub fn fields<'b>(
        &self,
        covered: &'b [u8],
        into: &'b mut FieldBuf,
    ) -> Result<DecodedFields<'b>, LineError> {
        let (_, message_at) = self.message(covered)?;
        into.decode(covered, EVENT_ID.len()..self.id_end, message_at)
    }

    /// Where the metadata begins, and where the message does.
    #[inline]
    fn message(&self, covered: &[u8]) -> Result<(usize, usize), LineError> {
        let mut scan = Scan::new(covered, self.at);
        timestamp(&mut scan)?;
        let metadata_at = scan.at();
        while !scan.accept(MESSAGE.as_bytes()) {
            key_value(&mut scan)?;
        }
        Ok((metadata_at, scan.at()))
    }
}

/// Reads the headers of a log's lines one after the other: what stands between id and offset is the same in all of
/// them, so it is compared with that of the line before, and parsed only where it differs.
#[derive(Clone, Debug, Default)]
pub struct HeaderReader {
    /// From behind the id to the offset.
    middle: Vec<u8>,
    /// The partition it names; `None` before the first line.
    partition: Option<PartitionId>,
}

impl HeaderReader {
    /// Reads the header of a line; `None` when it does not begin like an event line.
    #[inline]
    #[must_use]
    pub fn read(&mut self, line: &[u8]) -> Option<EventHeader> {
        self.alike(line).or_else(|| self.any(line))
    }

    #[inline(always)]
    fn alike(&self, line: &[u8]) -> Option<EventHeader> {
        let mut scan = Scan::new(line, 0);
        let id = id(&mut scan).ok()?;
        let (id_end, partition) = (scan.at(), self.partition?);
        if !scan.accept(&self.middle) {
            return None;
        }
        let offset = scan.number().ok().filter(|_| scan.rest().first() == Some(&b','))?;
        Some(EventHeader { id, partition, offset, id_end, at: scan.at() })
    }

    #[cold]
    fn any(&mut self, line: &[u8]) -> Option<EventHeader> {
        let header = EventHeader::read(line)?;
        let digits = itoa::Buffer::new().format(header.offset).len();
        self.middle.clear();
        self.middle.extend_from_slice(&line[header.id_end..header.at - digits]);
        self.partition = Some(header.partition);
        Some(header)
    }
}

impl<'a> EventLine<'a> {
    /// Checks a line, given with or without its newline, and takes its header apart.
    ///
    /// # Errors
    /// When the line is not whole, see [`verify`], or is whole but no event line.
    pub fn parse(line: &'a [u8]) -> Result<Self, LineError> {
        let covered = verify(line)?;
        header(&mut Scan::new(covered, 0))?.event(covered)
    }

    /// Id and offset of what begins like an event line; nothing else is verified. For merging and searching lines that
    /// are verified later, or were before.
    #[must_use]
    pub fn peek(line: &[u8]) -> Option<(EventId, Offset)> {
        let header = EventHeader::read(line)?;
        Some((header.id, header.offset))
    }

    /// The topic's name.
    ///
    /// # Errors
    /// When the name holds an escape or base64 that does not decode.
    pub fn topic_name(&self) -> Result<Cow<'a, [u8]>, LineError> {
        let mut scan = Scan::new(self.covered, self.id_end);
        scan.expect(TOPIC_NAME)?;
        scan.text()?.decode(self.covered)
    }

    /// The optional keys between `timestamp` and `message`, in their order.
    #[must_use]
    pub fn metadata(&self) -> Metadata<'a> {
        let end = self.message_at - MESSAGE.len();
        Metadata { scan: Scan::new(&self.covered[..end], self.metadata_at) }
    }

    /// The message as it stands in the line: JSON, an object or an array of pairs.
    #[must_use]
    pub fn message(&self) -> &'a [u8] {
        &self.covered[self.message_at..]
    }

    /// Decodes the message. The pairs borrow from the line where they stand in it as they are, and from `into`, whose
    /// memory is used again, where they had to be decoded.
    ///
    /// # Errors
    /// When the message is not one that [`EventEncoder::encode`] writes.
    #[inline]
    pub fn fields<'b>(&self, into: &'b mut FieldBuf) -> Result<DecodedFields<'b>, LineError>
    where
        'a: 'b,
    {
        into.decode(self.covered, EVENT_ID.len()..self.id_end, self.message_at)
    }
}

/// The metadata of an event line: `(key, value)`, a value that is a string or `{"base64":"…"}` decoded, any other as the
/// JSON it is. An entry that does not decode is an error, and the last.
#[derive(Clone, Debug)]
pub struct Metadata<'a> {
    scan: Scan<'a>,
}

impl<'a> Iterator for Metadata<'a> {
    type Item = Result<(Cow<'a, [u8]>, Cow<'a, [u8]>), LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.scan.rest().is_empty() {
            return None;
        }
        let line = self.scan.line();
        let entry =
            key_value(&mut self.scan).and_then(|(key, value)| Ok((key.decode(line)?, value.decode(line)?)));
        if entry.is_err() {
            self.scan = Scan::new(&[], 0);
        }
        Some(entry)
    }
}

/// What stands up to the offset.
#[inline]
fn header(scan: &mut Scan<'_>) -> Result<EventHeader, LineError> {
    let id = id(scan)?;
    let id_end = scan.at();
    scan.expect(TOPIC_NAME)?;
    scan.text()?;
    scan.expect(PARTITION)?;
    let at = scan.at();
    let partition = u16::try_from(scan.number()?)
        .map_err(|_| LineError::Syntax { at, expected: "a partition number of at most 65535" })?;
    let offset = offset(scan)?;
    Ok(EventHeader { id, partition: PartitionId(partition), offset, id_end, at: scan.at() })
}

/// What stands up to the end of the id.
#[inline(always)]
fn id(scan: &mut Scan<'_>) -> Result<EventId, LineError> {
    scan.expect(EVENT_ID)?;
    let ms = scan.number()?;
    scan.expect("-")?;
    Ok(EventId::new(ms, scan.number()?))
}

/// The key `offset`, and the comma that must follow it.
#[inline]
pub(super) fn offset(scan: &mut Scan<'_>) -> Result<Offset, LineError> {
    scan.expect(OFFSET)?;
    let offset = scan.number()?;
    if scan.rest().first() != Some(&b',') {
        return Err(scan.error("a comma"));
    }
    Ok(offset)
}

/// The key `timestamp`. Its value is for people: it says nothing that the id, or the record, does not.
#[inline]
pub(super) fn timestamp(scan: &mut Scan<'_>) -> Result<(), LineError> {
    scan.expect(TIMESTAMP)?;
    match scan.rest().get(..=TIMESTAMP_LEN) {
        Some([.., b'"']) => scan.advance(TIMESTAMP_LEN + 1),
        _ => return Err(scan.error("an RFC 3339 timestamp with milliseconds, in UTC")),
    }
    Ok(())
}

/// `,"key":value` with any JSON value.
pub(super) fn key_value(scan: &mut Scan<'_>) -> Result<(Piece, Piece), LineError> {
    scan.expect(",")?;
    let key = scan.string()?;
    scan.expect(":")?;
    Ok((key, scan.any_value()?))
}

#[cfg(test)]
mod tests;
