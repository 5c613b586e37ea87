//! The `message` of an event line: the producer's field-value pairs as JSON.
//!
//! * An object, in the producer's order, when every field name is a string and none repeats; else an array of
//!   `[field, value]` pairs.
//! * A field name is a string, or `{"base64":"…"}` when it is not UTF-8, or when as a string it would be longer than 64
//!   KiB and longer than that: a byte that JSON escapes takes up to six.
//! * A value is the same, or, when it is itself a JSON object or array on one line, that JSON byte for byte; the module
//!   `verbatim` says which. An object that *reads* as `{"base64":"…"}` is therefore always bytes.

use std::ops::Range;

use wafka_core::Fields;

use super::LineError;
use super::json::{self, Text};
use super::scan::{Coding, Scan, find_quote};
use super::verbatim::is_verbatim;

/// Up to so many fields, looking for a repeated name compares each with each; above, names are sorted.
const PAIRWISE_MAX: usize = 12;

/// Memory above this is given back before the next message, in bytes: one huge event must not weigh for ever.
const SCRATCH_KEPT_MAX: usize = 1 << 20;

/// Writes messages; keeps the memory it needs for messages of many fields.
#[derive(Clone, Debug, Default)]
pub(super) struct MessageEncoder {
    order: Vec<u32>,
}

impl MessageEncoder {
    /// Appends `fields` as JSON.
    pub(super) fn encode(&mut self, out: &mut Vec<u8>, fields: Fields<'_>) {
        if !self.names_are_unique(fields) {
            return push_pairs(out, fields);
        }
        let start = out.len();
        out.push(b'{');
        for (at, (name, value)) in fields.iter().enumerate() {
            let text = Text::of(name);
            if text == Text::Binary {
                out.truncate(start);
                return push_pairs(out, fields);
            }
            if at > 0 {
                out.push(b',');
            }
            json::push(out, name, text);
            out.push(b':');
            push_value(out, value);
        }
        out.push(b'}');
    }

    fn names_are_unique(&mut self, fields: Fields<'_>) -> bool {
        let flat = fields.as_flat();
        let count = fields.len();
        if count <= PAIRWISE_MAX {
            return (1..count).all(|i| (0..i).all(|j| flat[2 * i] != flat[2 * j]));
        }
        // More fields than a u32 counts do not fit a request; as pairs they would be right too.
        let Ok(count) = u32::try_from(count) else { return false };
        let name = |&at: &u32| flat[2 * at as usize];
        self.order.clear();
        self.order.extend(0..count);
        self.order.sort_unstable_by_key(name);
        let unique = self.order.windows(2).all(|pair| name(&pair[0]) != name(&pair[1]));
        self.order.shrink_to(SCRATCH_KEPT_MAX / size_of::<u32>());
        unique
    }
}

fn push_pairs(out: &mut Vec<u8>, fields: Fields<'_>) {
    out.push(b'[');
    for (at, (name, value)) in fields.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.push(b'[');
        json::push(out, name, Text::of(name));
        out.push(b',');
        push_value(out, value);
        out.push(b']');
    }
    out.push(b']');
}

fn push_value(out: &mut Vec<u8>, value: &[u8]) {
    if matches!(value.first(), Some(b'{' | b'[')) && is_verbatim(value) {
        out.extend_from_slice(value);
    } else {
        json::push(out, value, Text::of(value));
    }
}

/// Memory for decoding messages, to be used again for the next one: parts that stand in the line as they are stay
/// there, only escaped and base64 parts are copied here.
#[derive(Debug, Default)]
pub struct FieldBuf {
    parts: Vec<Part>,
    scratch: Vec<u8>,
}

/// One field name or value.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: usize,
    end: usize,
    /// In the scratch, not in the line.
    decoded: bool,
}

impl FieldBuf {
    /// No memory yet.
    #[must_use]
    pub fn new() -> Self {
        FieldBuf::default()
    }

    /// Decodes the message that fills `line` from `message_at` to its end; `id` is where the event's id stands.
    #[inline]
    pub(super) fn decode<'b>(
        &'b mut self,
        line: &'b [u8],
        id: Range<usize>,
        message_at: usize,
    ) -> Result<DecodedFields<'b>, LineError> {
        self.clear();
        if !self.plain_strings(line, message_at) {
            self.clear();
            self.any_message(line, message_at)?;
        }
        Ok(DecodedFields { line, id, buf: self })
    }

    #[inline]
    fn clear(&mut self) {
        self.parts.clear();
        self.scratch.clear();
        if self.parts.capacity() > SCRATCH_KEPT_MAX / size_of::<Part>()
            || self.scratch.capacity() > SCRATCH_KEPT_MAX
        {
            *self = FieldBuf::default();
        }
    }

    /// The most common message, an object of strings without escapes; `false` when it is another, or none.
    #[inline]
    fn plain_strings(&mut self, line: &[u8], message_at: usize) -> bool {
        let Some(mut rest) = line.get(message_at..).and_then(|message| message.strip_prefix(b"{\"")) else {
            return false;
        };
        loop {
            let Some(behind_name) = self.plain_string(line, rest) else { return false };
            let Some(value) = behind_name.strip_prefix(b"\":\"") else { return false };
            rest = match self.plain_string(line, value) {
                Some(b"\"}") => return true,
                Some([b'"', b',', b'"', name @ ..]) => name,
                _ => return false,
            };
        }
    }

    /// Takes the string whose inside `rest`, the end of `line`, begins with; returns what comes behind, from the closing
    /// quote on. `None` when an escape stands in it, or it has no end.
    #[inline(always)]
    fn plain_string<'l>(&mut self, line: &[u8], rest: &'l [u8]) -> Option<&'l [u8]> {
        let len = find_quote(rest)?;
        let start = line.len() - rest.len();
        self.parts.push(Part { start, end: start + len, decoded: false });
        Some(&rest[len..])
    }

    fn any_message(&mut self, line: &[u8], message_at: usize) -> Result<(), LineError> {
        let mut scan = Scan::new(line, message_at);
        if scan.accept(b"{") {
            self.object(line, &mut scan)?;
        } else if scan.accept(b"[") {
            self.pairs(line, &mut scan)?;
        } else {
            return Err(scan.error("a message: an object or an array of pairs"));
        }
        if scan.rest().is_empty() { Ok(()) } else { Err(scan.error("the end of the message")) }
    }

    fn object(&mut self, line: &[u8], scan: &mut Scan<'_>) -> Result<(), LineError> {
        if scan.accept(b"}") {
            return Ok(());
        }
        loop {
            let name = scan.string()?;
            self.push(line, name)?;
            if !scan.accept(b":") {
                return Err(scan.error("a colon"));
            }
            let value = scan.value()?;
            self.push(line, value)?;
            if scan.accept(b"}") {
                return Ok(());
            }
            if !scan.accept(b",") {
                return Err(scan.error("a comma or the end of the object"));
            }
        }
    }

    fn pairs(&mut self, line: &[u8], scan: &mut Scan<'_>) -> Result<(), LineError> {
        if scan.accept(b"]") {
            return Ok(());
        }
        loop {
            if !scan.accept(b"[") {
                return Err(scan.error("a [field, value] pair"));
            }
            let name = scan.text()?;
            self.push(line, name)?;
            if !scan.accept(b",") {
                return Err(scan.error("a comma"));
            }
            let value = scan.value()?;
            self.push(line, value)?;
            if !scan.accept(b"]") {
                return Err(scan.error("the end of the pair"));
            }
            if scan.accept(b"]") {
                return Ok(());
            }
            if !scan.accept(b",") {
                return Err(scan.error("a comma or the end of the array"));
            }
        }
    }

    #[inline]
    fn push(&mut self, line: &[u8], piece: super::scan::Piece) -> Result<(), LineError> {
        let part = if piece.coding == Coding::Raw {
            Part { start: piece.inside.start, end: piece.inside.end, decoded: false }
        } else {
            let start = self.scratch.len();
            piece.decode_into(line, &mut self.scratch)?;
            Part { start, end: self.scratch.len(), decoded: true }
        };
        self.parts.push(part);
        Ok(())
    }
}

/// The field-value pairs of one event, read from its line.
#[derive(Clone, Debug)]
pub struct DecodedFields<'b> {
    line: &'b [u8],
    id: Range<usize>,
    buf: &'b FieldBuf,
}

impl<'b> DecodedFields<'b> {
    /// The event's id as text, `<ms>-<seq>`.
    #[inline]
    #[must_use]
    pub fn id_text(&self) -> &'b [u8] {
        &self.line[self.id.clone()]
    }

    /// The number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buf.parts.len() / 2
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buf.parts.is_empty()
    }

    /// Field names and values in the producer's order, flat: `field, value, field, value, …`.
    #[inline]
    pub fn parts(&self) -> impl ExactSizeIterator<Item = &'b [u8]> + use<'b> {
        let DecodedFields { line, buf, .. } = *self;
        buf.parts.iter().map(move |part| {
            let from = if part.decoded { &buf.scratch } else { line };
            &from[part.start..part.end]
        })
    }

    /// The pairs in the producer's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'b [u8], &'b [u8])> + use<'b> {
        let mut parts = self.parts();
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }
}
